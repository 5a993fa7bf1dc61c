//! Layer 2 segments, and hosts on them.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use wire::MacAddr;

use crate::error::Result;
use crate::link::{Offloads, VethEnd, VethOptions, veth, wait_link_up};
use crate::namespace::Namespace;
use crate::state::Lab;

/// A segment: a Linux bridge that floods at once, asks nobody and judges no frame, in some namespace.
#[derive(Clone, Debug)]
pub struct Segment {
    namespace: Namespace,
    bridge: String,
    mtu: u16,
    offloads: Offloads,
}

/// How a namespace is attached to a segment.
#[derive(Clone, Debug)]
pub struct Attach {
    /// MAC address of its netdev; `None`: one made of the names.
    pub mac: Option<MacAddr>,
    /// Its addresses, with the prefix length of the link.
    pub addresses: Vec<IpNet>,
    /// Queues of its netdev.
    pub queues: u16,
}

impl Default for Attach {
    fn default() -> Self {
        Self { mac: None, addresses: Vec::new(), queues: 1 }
    }
}

/// A netdev on a segment.
#[derive(Clone, Debug)]
pub struct Nic {
    /// Where it is.
    pub namespace: Namespace,
    /// Its name.
    pub interface: String,
    /// Its MAC address.
    pub mac: MacAddr,
    /// Its addresses.
    pub addresses: Vec<IpNet>,
    /// The namespace of the segment's bridge.
    pub far_namespace: Namespace,
    /// The bridge's port toward this netdev: what the netdev sends arrives there, even what AF_XDP sends.
    pub far_interface: String,
}

/// A host on a segment.
#[derive(Clone, Debug)]
pub struct Host {
    /// The host.
    pub namespace: Namespace,
    /// Its netdev.
    pub nic: Nic,
}

impl Segment {
    /// A segment whose bridge, called `bridge`, is in `namespace`.
    ///
    /// # Errors
    /// [`Error::Command`](crate::Error::Command) if the name is taken.
    pub fn new(namespace: &Namespace, bridge: &str, mtu: u16, offloads: Offloads) -> Result<Self> {
        namespace.ip(&format!(
            "link add {bridge} mtu {mtu} type bridge forward_delay 0 stp_state 0 mcast_snooping 0"
        ))?;
        // Netfilter would drop, on the bridge, what no correct host sends, and put fragments together.
        namespace.set_if_there(&[
            ("net.bridge.bridge-nf-call-iptables", "0"),
            ("net.bridge.bridge-nf-call-ip6tables", "0"),
            ("net.bridge.bridge-nf-call-arptables", "0"),
        ])?;
        // A bridge is a host too: it shall have no addresses, and send nothing of its own.
        namespace.set(&format!("net.ipv6.conf.{bridge}.disable_ipv6"), "1")?;
        namespace.ip(&format!("link set {bridge} up"))?;
        Ok(Self { namespace: namespace.clone(), bridge: bridge.to_owned(), mtu, offloads })
    }

    /// Where the bridge is.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// The bridge's name.
    pub fn bridge(&self) -> &str {
        &self.bridge
    }

    /// Attaches a namespace by a new netdev called `interface`. The bridge's port bears the name of the
    /// attached namespace, which must not exceed 15 bytes.
    ///
    /// # Errors
    /// [`Error::Command`](crate::Error::Command) if a name is taken or too long.
    pub fn attach(&self, namespace: &Namespace, interface: &str, attach: Attach) -> Result<Nic> {
        let port = namespace.name();
        let mut near = VethEnd::new(namespace, interface);
        near.mac = attach.mac.unwrap_or(near.mac);
        let far = VethEnd::new(&self.namespace, port);
        veth(near, far, VethOptions { mtu: self.mtu, queues: attach.queues, offloads: self.offloads })?;
        self.add_port(port)?;
        let mut lines = String::new();
        for address in &attach.addresses {
            // Writing to a `String` cannot fail.
            let _ = writeln!(lines, "address add {address} dev {interface}");
        }
        namespace.ip(&lines)?;
        Ok(Nic {
            namespace: namespace.clone(),
            interface: interface.to_owned(),
            mac: near.mac,
            addresses: attach.addresses,
            far_namespace: self.namespace.clone(),
            far_interface: port.to_owned(),
        })
    }

    /// Makes a host in a namespace of its own, with its netdev `eth0` on this segment and default routes by
    /// `routers` (at most one a family; one of a family in which the host has no address is left out).
    ///
    /// # Errors
    /// As [`attach`](Self::attach); [`Error::Command`](crate::Error::Command) if a router is not on the link.
    pub fn host(&self, lab: &Lab, name: &str, attach: Attach, routers: &[IpAddr]) -> Result<Host> {
        self.host_in(lab.namespace(name)?, attach, routers)
    }

    /// Makes a host without addresses in a namespace of its own, with its netdev `eth0` on this segment: it takes what
    /// routers advertise ([`Nic::autoconf`]), and detects duplicates of its IPv6 addresses.
    ///
    /// # Errors
    /// As [`attach`](Self::attach).
    pub fn client(&self, lab: &Lab, name: &str, mac: MacAddr) -> Result<Host> {
        let namespace = lab.namespace(name)?;
        namespace.accept_advertisements()?;
        self.host_in(namespace, Attach { mac: Some(mac), ..Attach::default() }, &[])
    }

    fn host_in(&self, namespace: Namespace, attach: Attach, routers: &[IpAddr]) -> Result<Host> {
        let nic = self.attach(&namespace, "eth0", attach)?;
        let usable =
            |router: &&IpAddr| nic.addresses.iter().any(|net| net.addr().is_ipv4() == router.is_ipv4());
        namespace.ip(&default_routes(routers.iter().filter(usable)))?;
        Ok(Host { namespace, nic })
    }

    /// Moves the far end of a link here, from the segment that it is on.
    pub(crate) fn take(&self, nic: &mut Nic) -> Result<()> {
        let port = &nic.far_interface;
        nic.far_namespace.ip(&format!("link set {port} netns {}", self.namespace.full_name()))?;
        nic.far_namespace = self.namespace.clone();
        self.add_port(port)?;
        wait_link_up(&nic.namespace, &nic.interface)
    }

    /// Makes a netdev of the bridge's namespace a port of it.
    pub(crate) fn add_port(&self, interface: &str) -> Result<()> {
        // No link-local address: a bridge's port is nobody's host either.
        self.namespace.set(&format!("net.ipv6.conf.{interface}.disable_ipv6"), "1")?;
        self.namespace.ip(&format!("link set {interface} master {} up", self.bridge))?;
        wait_link_up(&self.namespace, interface)
    }
}

impl Host {
    /// Its IPv4 address.
    pub fn ipv4(&self) -> Option<Ipv4Addr> {
        self.nic.addresses.iter().find_map(|net| match net {
            IpNet::V4(net) => Some(net.addr()),
            IpNet::V6(_) => None,
        })
    }

    /// Its IPv6 address.
    pub fn ipv6(&self) -> Option<Ipv6Addr> {
        self.nic.addresses.iter().find_map(|net| match net {
            IpNet::V4(_) => None,
            IpNet::V6(net) => Some(net.addr()),
        })
    }
}

/// Lines for `ip`.
pub(crate) fn default_routes<'a>(routers: impl IntoIterator<Item = &'a IpAddr>) -> String {
    routers.into_iter().map(|router| format!("route add default via {router}\n")).collect()
}
