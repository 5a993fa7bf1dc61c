//! The network around one gateway.
//!
//! ```text
//!  station ─ endpoint ─┐                                    ┌─ neighbour (on-link host)
//!  station ─ endpoint ─┤ underlay                    uplink ├
//!                      └── underlay0 [ gateway ] uplink0 ───┴─ router ─── outer ─── outer hosts
//! ```
//!
//! Underlay, uplink and outer network are [`Segment`]s, each with its bridge in a namespace of its own. There can be a
//! [second link](SecondLinks) on each side.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::endpoint::Endpoint;
use crate::error::Result;
use crate::link::Offloads;
use crate::namespace::Namespace;
use crate::second_links::{Link, SecondLinks};
use crate::segment::{Attach, Host, Nic, Segment, default_routes};
use crate::state::Lab;

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The two.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// What most programs call it: `-4`, `-6`.
    pub(crate) fn option(self) -> &'static str {
        match self {
            Self::V4 => "-4",
            Self::V6 => "-6",
        }
    }
}

/// The two subnets of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnets {
    /// The IPv4 subnet: a /24.
    pub(crate) v4: [u8; 3],
    /// The IPv6 subnet: a /64.
    pub(crate) v6: [u16; 4],
}

impl Subnets {
    /// The address of host number `number`, of one family.
    pub const fn address(self, family: Family, number: u8) -> IpAddr {
        match family {
            Family::V4 => {
                let [a, b, c] = self.v4;
                IpAddr::V4(Ipv4Addr::new(a, b, c, number))
            }
            Family::V6 => {
                let [a, b, c, d] = self.v6;
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, number as u16))
            }
        }
    }

    /// Both addresses of host number `number`, with the subnets' prefix lengths.
    pub fn addresses(self, number: u8) -> Vec<IpNet> {
        Family::BOTH.map(|family| on_link(self.address(family, number))).to_vec()
    }

    pub(crate) fn both(self, number: u8) -> [IpAddr; 2] {
        Family::BOTH.map(|family| self.address(family, number))
    }
}

fn on_link(address: IpAddr) -> IpNet {
    match address {
        IpAddr::V4(address) => IpNet::V4(Ipv4Net::new_assert(address, 24)),
        IpAddr::V6(address) => IpNet::V6(Ipv6Net::new_assert(address, 64)),
    }
}

/// What may differ from one topology to the next.
#[derive(Clone, Debug)]
pub struct TopologyOptions {
    /// What the router and the hosts on the uplink send to the gateway: the blocks of the overlays' prefixes.
    pub blocks: Vec<IpNet>,
    /// Whether the kernels around the gateway may send unfinished frames.
    pub offloads: Offloads,
    /// Queues of the gateway's netdevs.
    pub queues: u16,
    /// Bytes of the longest packet in overlays and outside; the underlay carries 100 more: an Ethernet header (14, and 4
    /// to spare), and VXLAN, UDP and IPv6 (56) fit.
    pub mtu: u16,
    /// Whether the gateway has a second link on each side, and its VTEP addresses on `lo`.
    pub second_links: bool,
}

impl TopologyOptions {
    /// One queue, frames as on a wire, packets of at most 1 500 bytes, one link on each side.
    pub fn new(blocks: &[IpNet]) -> Self {
        Self { blocks: blocks.to_vec(), offloads: Offloads::Off, queues: 1, mtu: 1500, second_links: false }
    }
}

/// The network around one gateway, itself a namespace in which nothing runs yet.
#[derive(Clone, Debug)]
pub struct Topology {
    /// The lab it is in.
    pub lab: Lab,
    /// The gateway: default routes by the router, forwarding off.
    pub gateway: Namespace,
    /// Its netdev on the underlay.
    pub underlay0: Nic,
    /// Its netdev on the uplink.
    pub uplink0: Nic,
    /// The router between the uplink and the outer network; forwards, and sends the blocks to the gateway.
    pub router: Namespace,
    /// The router's netdev on the uplink: the gateway's next hop.
    pub router_uplink: Nic,
    /// Where gateway and endpoints are.
    pub underlay: Segment,
    /// Where gateway and router are.
    pub uplink: Segment,
    /// Behind the router.
    pub outer: Segment,
    /// What there is more if that was asked for.
    pub second_links: Option<SecondLinks>,
    blocks: Vec<IpNet>,
    mtu: u16,
    queues: u16,
}

impl Topology {
    /// Subnets of the underlay: the gateway is number 1.
    pub const UNDERLAY: Subnets = Subnets { v4: [198, 18, 0], v6: [0x2001, 0xdb8, 0, 1] };
    /// Subnets of the uplink: the gateway is number 1, the router 254.
    pub const UPLINK: Subnets = Subnets { v4: [198, 18, 1], v6: [0x2001, 0xdb8, 0, 2] };
    /// Subnets of the outer network: the router is number 1.
    pub const OUTER: Subnets = Subnets { v4: [198, 18, 2], v6: [0x2001, 0xdb8, 0, 3] };
    /// MTU of the underlay in bytes, unless it is [made otherwise](TopologyOptions::mtu).
    pub const UNDERLAY_MTU: u16 = 1600;
    /// The gateway's number on underlay and uplink.
    pub const GATEWAY: u8 = 1;
    /// The router's number on the uplink.
    pub const ROUTER: u8 = 254;

    const OUTER_ROUTER: u8 = 1;

    /// Builds gateway, router and segments; endpoints and hosts are added as needed.
    ///
    /// # Errors
    /// [`Error::Command`](crate::Error::Command) if the lab has a topology already.
    pub fn build(lab: &Lab, options: &TopologyOptions) -> Result<Self> {
        let gateway = lab.namespace("gw")?;
        let router = lab.namespace("router")?;
        let segment = |name, mtu| Segment::new(&lab.namespace(name)?, "bridge", mtu, options.offloads);
        let underlay = segment("underlay", options.mtu + 100)?;
        let uplink = segment("uplink", options.mtu)?;
        let outer = segment("outer", options.mtu)?;

        let queues = options.queues;
        let uplink0 = attach_uplink(&uplink, &gateway, Self::GATEWAY, queues)?;
        let attach = |addresses| Attach { addresses, ..Attach::default() };
        let router_uplink = uplink.attach(&router, "uplink", attach(Self::UPLINK.addresses(Self::ROUTER)))?;
        outer.attach(&router, "outer", attach(Self::OUTER.addresses(Self::OUTER_ROUTER)))?;
        router.set("net.ipv4.ip_forward", "1")?;
        router.set("net.ipv6.conf.all.forwarding", "1")?;
        router.ip(&block_routes(&options.blocks))?;

        let (underlay0, second_links) = if options.second_links {
            let first_uplink = Link { near: uplink0.clone(), far: router_uplink.clone() };
            let links = SecondLinks::build(lab, options, &underlay, first_uplink)?;
            (links.underlay[0].near.clone(), Some(links))
        } else {
            (attach_underlay(&underlay, &gateway, Self::GATEWAY, queues)?, None)
        };

        let (lab, blocks, mtu) = (lab.clone(), options.blocks.clone(), options.mtu);
        Ok(Self {
            lab,
            gateway,
            underlay0,
            uplink0,
            router,
            router_uplink,
            underlay,
            uplink,
            outer,
            second_links,
            blocks,
            mtu,
            queues,
        })
    }

    /// One more gateway in a namespace `name`, number `number` on underlay and uplink: its netdevs `underlay0` and
    /// `uplink0`, attached as the first gateway's are.
    ///
    /// # Errors
    /// [`Error::Command`](crate::Error::Command) if the name is taken.
    pub fn another_gateway(&self, name: &str, number: u8) -> Result<(Namespace, [Nic; 2])> {
        let gateway = self.lab.namespace(name)?;
        let uplink0 = attach_uplink(&self.uplink, &gateway, number, self.queues)?;
        let underlay0 = attach_underlay(&self.underlay, &gateway, number, self.queues)?;
        Ok((gateway, [underlay0, uplink0]))
    }

    /// An endpoint `name`, number `number` on the underlay, that tunnels over `family`.
    ///
    /// # Errors
    /// [`Error::Command`](crate::Error::Command) if the name is taken.
    pub fn endpoint(&self, name: &str, number: u8, family: Family) -> Result<Endpoint> {
        let attach = Attach { addresses: Self::UNDERLAY.addresses(number), ..Attach::default() };
        let spine = Self::UNDERLAY.both(SecondLinks::SPINE);
        let routers = if self.second_links.is_some() { &spine[..] } else { &[] };
        let Host { namespace, nic } = self.underlay.host(&self.lab, name, attach, routers)?;
        Ok(Endpoint { namespace, nic, vtep: Self::UNDERLAY.address(family, number), overlay_mtu: self.mtu })
    }

    /// The address at which an endpoint of `family` finds the gateway.
    pub fn gateway_vtep(&self, family: Family) -> IpAddr {
        match self.second_links {
            Some(_) => SecondLinks::VTEPS.address(family, Self::GATEWAY),
            None => Self::UNDERLAY.address(family, Self::GATEWAY),
        }
    }

    /// A host behind the router, number `number` of the outer network.
    ///
    /// # Errors
    /// [`Error::Command`](crate::Error::Command) if the name is taken.
    pub fn outer_host(&self, name: &str, number: u8) -> Result<Host> {
        let attach = Attach { addresses: Self::OUTER.addresses(number), ..Attach::default() };
        self.outer.host(&self.lab, name, attach, &Self::OUTER.both(Self::OUTER_ROUTER))
    }

    /// Lets the router send to an outer host no packets of more than `mtu` bytes: longer ones are answered with an
    /// error. Hosts know the MTU of their own links; of this one they learn only by path-MTU discovery.
    ///
    /// # Errors
    /// [`Error::Command`](crate::Error::Command) if the host is none of the outer network.
    pub fn limit_packets_to(&self, host: &Host, mtu: u16) -> Result<()> {
        let lines: String = host
            .nic
            .addresses
            .iter()
            .map(|net| format!("route replace {} dev outer mtu lock {mtu}\n", net.addr()))
            .collect();
        self.router.ip(&lines)
    }

    /// A host on the uplink itself, number `number`: it sends the blocks to the gateway and the rest to the
    /// router.
    ///
    /// # Errors
    /// [`Error::Command`](crate::Error::Command) if the name is taken.
    pub fn uplink_host(&self, name: &str, number: u8) -> Result<Host> {
        let attach = Attach { addresses: Self::UPLINK.addresses(number), ..Attach::default() };
        let host = self.uplink.host(&self.lab, name, attach, &Self::UPLINK.both(Self::ROUTER))?;
        host.namespace.ip(&block_routes(&self.blocks))?;
        Ok(host)
    }
}

/// A gateway's netdev on the underlay.
fn attach_underlay(underlay: &Segment, gateway: &Namespace, number: u8, queues: u16) -> Result<Nic> {
    let addresses = Topology::UNDERLAY.addresses(number);
    underlay.attach(gateway, "underlay0", Attach { mac: None, addresses, queues })
}

/// A gateway's netdev on the uplink, and default routes by the router.
fn attach_uplink(uplink: &Segment, gateway: &Namespace, number: u8, queues: u16) -> Result<Nic> {
    let addresses = Topology::UPLINK.addresses(number);
    let nic = uplink.attach(gateway, "uplink0", Attach { mac: None, addresses, queues })?;
    gateway.ip(&default_routes(&Topology::UPLINK.both(Topology::ROUTER)))?;
    Ok(nic)
}

/// Lines for `ip`: the blocks are reached through the gateway.
fn block_routes(blocks: &[IpNet]) -> String {
    let mut lines = String::new();
    for block in blocks {
        let family = Family::of(block.addr());
        let gateway = Topology::UPLINK.address(family, Topology::GATEWAY);
        // Writing to a `String` cannot fail.
        let _ = writeln!(lines, "route add {} via {gateway}", block.trunc());
    }
    lines
}
