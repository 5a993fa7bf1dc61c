//! A second link on each side of the gateway.
//!
//! ```text
//!  endpoints ── underlay ── spine ═╤═ underlay0 ┐           ┌ uplink0 ── uplink ══╤═ router ── outer
//!                                  └─ underlay1 ┴ [gateway] ┴ uplink1 ────────────┘
//! ```
//!
//! The VTEP addresses are on the gateway's `lo`. Spine, router and gateway have routes with both links, and choose by
//! flow; what has no carrier they leave out.

use std::fmt::Write;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::error::Result;
use crate::link::wait_link_up;
use crate::namespace::Namespace;
use crate::segment::{Attach, Nic, Segment};
use crate::state::Lab;
use crate::topology::{Family, Subnets, Topology, TopologyOptions};

/// Both ends of a link, with a bridge between them.
#[derive(Clone, Debug)]
pub struct Link {
    /// The gateway's end.
    pub near: Nic,
    /// The other end: the spine's, or the router's.
    pub far: Nic,
}

/// The links and what is at their far ends.
#[derive(Clone, Debug)]
pub struct SecondLinks {
    /// The router between the gateway and the endpoints' segment.
    pub spine: Namespace,
    /// The gateway's links to the spine.
    pub underlay: [Link; 2],
    /// The gateway's links to the router; on the first there may be other hosts too.
    pub uplink: [Link; 2],
}

impl Link {
    /// Takes the carrier from both ends; neither is set down. It is gone when this returns.
    ///
    /// # Errors
    /// [`Error::Command`](crate::Error::Command) if the link is gone.
    pub fn cut(&self) -> Result<()> {
        self.set("down")
    }

    /// Gives both ends their carrier back, and waits until they have it.
    ///
    /// # Errors
    /// As [`cut`](Self::cut); [`Error::Timeout`](crate::Error::Timeout) if the carrier does not come.
    pub fn mend(&self) -> Result<()> {
        self.set("up")?;
        [&self.near, &self.far].into_iter().try_for_each(|nic| wait_link_up(&nic.namespace, &nic.interface))
    }

    fn set(&self, state: &str) -> Result<()> {
        for nic in [&self.near, &self.far] {
            nic.far_namespace.ip(&format!("link set {} {state}", nic.far_interface))?;
        }
        Ok(())
    }
}

impl SecondLinks {
    /// Where the gateway's VTEP addresses are from: it is number 1.
    pub const VTEPS: Subnets = Subnets { v4: [198, 18, 255], v6: [0x2001, 0xdb8, 0, 0xff] };
    /// Subnets of the links to the spine: the gateway is number 1, the spine 254.
    pub const UNDERLAY: [Subnets; 2] = [
        Subnets { v4: [198, 18, 3], v6: [0x2001, 0xdb8, 0, 4] },
        Subnets { v4: [198, 18, 4], v6: [0x2001, 0xdb8, 0, 5] },
    ];
    /// Subnets of the links to the router: the gateway is number 1, the router 254.
    pub const UPLINK: [Subnets; 2] =
        [Topology::UPLINK, Subnets { v4: [198, 18, 5], v6: [0x2001, 0xdb8, 0, 6] }];
    /// The spine's number on the underlay, where the endpoints are.
    pub const SPINE: u8 = 254;

    /// Everything but the first uplink, and all routes.
    pub(crate) fn build(
        lab: &Lab,
        options: &TopologyOptions,
        underlay: &Segment,
        first_uplink: Link,
    ) -> Result<Self> {
        let (gateway, router) = (&first_uplink.near.namespace, &first_uplink.far.namespace);
        let spine = lab.namespace("spine")?;
        let link = |name: &str, mtu, interface: &str, far: &Namespace, subnets: Subnets| {
            let segment = Segment::new(&lab.namespace(name)?, "bridge", mtu, options.offloads)?;
            let attach = |number, queues| Attach { mac: None, addresses: subnets.addresses(number), queues };
            let near = segment.attach(gateway, interface, attach(Topology::GATEWAY, options.queues))?;
            let far = segment.attach(far, interface, attach(Self::SPINE, 1))?;
            Result::Ok(Link { near, far })
        };
        let on_spine = |name, interface, subnets| link(name, options.mtu + 100, interface, &spine, subnets);
        let links = Self {
            underlay: [
                on_spine("leaf0", "underlay0", Self::UNDERLAY[0])?,
                on_spine("leaf1", "underlay1", Self::UNDERLAY[1])?,
            ],
            uplink: [
                first_uplink.clone(),
                link("uplink-b", options.mtu, "uplink1", router, Self::UPLINK[1])?,
            ],
            spine: spine.clone(),
        };

        let addresses = Topology::UNDERLAY.addresses(Self::SPINE);
        underlay.attach(&spine, "endpoints", Attach { mac: None, addresses, queues: 1 })?;
        let vteps = Self::VTEPS.both(Topology::GATEWAY).map(IpNet::from);
        gateway.ip(&vteps.map(|vtep| format!("address add {vtep} dev lo\n")).concat())?;
        for forwarder in [&spine, router] {
            forwarder.set("net.ipv4.ip_forward", "1")?;
            forwarder.set("net.ipv6.conf.all.forwarding", "1")?;
            for family in ["ipv4", "ipv6"] {
                // Addresses and ports.
                forwarder.set(&format!("net.{family}.fib_multipath_hash_policy"), "1")?;
                forwarder.set(&format!("net.{family}.conf.all.ignore_routes_with_linkdown"), "1")?;
            }
        }
        // What is to be seen is how long the gateway takes, not how long its peers look for it again.
        for far in links.underlay.iter().chain(&links.uplink).map(|link| &link.far) {
            for key in ["ipv4.conf.IF.arp_evict_nocarrier", "ipv6.conf.IF.ndisc_evict_nocarrier"] {
                far.namespace.set(&format!("net.{}", key.replace("IF", &far.interface)), "0")?;
            }
        }
        let net = |subnets: Subnets| subnets.addresses(0).into_iter().map(|net| net.trunc());
        let defaults = ["0.0.0.0/0", "::/0"].iter().filter_map(|net| net.parse().ok());
        gateway.ip(&multipath_routes(net(Topology::UNDERLAY), &links.underlay, |link| &link.far))?;
        gateway.ip(&multipath_routes(defaults, &links.uplink, |link| &link.far))?;
        spine.ip(&multipath_routes(vteps, &links.underlay, |link| &link.near))?;
        router.ip(&multipath_routes(options.blocks.iter().copied(), &links.uplink, |link| &link.near))?;
        Ok(links)
    }
}

/// Lines for `ip`: these destinations are reached over both links, whose next hop is the `hop` of each.
fn multipath_routes(
    destinations: impl IntoIterator<Item = IpNet>,
    links: &[Link; 2],
    hop: impl Fn(&Link) -> &Nic,
) -> String {
    let mut lines = String::new();
    for destination in destinations {
        let family = Family::of(destination.addr());
        // Writing to a `String` cannot fail.
        let _ = write!(lines, "route replace {destination}");
        for link in links {
            let of_family = |address: &IpAddr| Family::of(*address) == family;
            let address = hop(link).addresses.iter().map(IpNet::addr).find(of_family);
            // Both ends have an address of each family.
            let Some(address) = address else { continue };
            let _ = write!(lines, " nexthop via {address}");
        }
        lines.push('\n');
    }
    lines
}
