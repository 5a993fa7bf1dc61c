//! What is mirrored of the kernel, in plain values: no netlink above this line.

use std::net::IpAddr;

use ipnet::IpNet;
use wire::MacAddr;

/// A netdev.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
    /// Set up by the operator.
    pub(crate) up: bool,
    /// The cable is in and the other side is there.
    pub(crate) carrier: bool,
    /// `None`: not Ethernet.
    pub(crate) mac: Option<MacAddr>,
    pub(crate) mtu: u32,
    /// Receive queues that the netdev was made with; it may use fewer.
    pub(crate) rx_queues: u32,
    /// Identifier of the XDP program that is attached.
    pub(crate) xdp_program: Option<u32>,
}

/// An address of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// The netdev that has it.
    pub(crate) link: u32,
    pub(crate) address: IpAddr,
    /// Of global scope, and here to stay: not deprecated, a duplicate (RFC 4862 §5.4, §5.5.4) or temporary.
    pub(crate) global: bool,
    /// Not to be used until it is known that nobody else has it (RFC 4862 §5.4).
    pub(crate) tentative: bool,
}

/// A route of the main table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KernelRoute {
    pub(crate) prefix: IpNet,
    /// The lower one is better.
    pub(crate) metric: u32,
    /// Who installed it (`RTPROT_*`).
    pub(crate) protocol: u8,
    pub(crate) kind: RouteKind,
}

/// What a route does with a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RouteKind {
    /// Forwards it to one of these.
    Unicast(Vec<Hop>),
    /// Drops it silently.
    Blackhole,
    /// Refuses it in another way, or forwards it in one that is not ours: unreachable, prohibit, throw, tunnels.
    Other,
}

/// Where a route leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hop {
    pub(crate) link: u32,
    /// `None`: the destination is on the link.
    pub(crate) gateway: Option<IpAddr>,
    /// Neither dead nor without carrier.
    pub(crate) usable: bool,
    /// Its share of the flows; at least 1.
    pub(crate) weight: u16,
}

/// What identifies a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct NeighbourKey {
    pub(crate) link: u32,
    pub(crate) address: IpAddr,
}

/// A neighbour, as the kernel knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Neighbour {
    pub(crate) key: NeighbourKey,
    pub(crate) state: Reachability,
    /// Resolved by nobody (static, or of a kind that needs no resolution): never asked for again.
    pub(crate) fixed: bool,
    /// Installed by this program, and kept fresh by the kernel.
    pub(crate) ours: bool,
}

/// Whether a neighbour's MAC address is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reachability {
    /// Being resolved for the first time, or not at all.
    Unresolved,
    /// It has this address.
    Known(MacAddr),
    /// It does not answer.
    Failed,
}

/// All that routes are derived from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tables {
    pub(crate) links: Vec<Link>,
    pub(crate) addresses: Vec<Address>,
    /// The main table's, both families.
    pub(crate) routes: Vec<KernelRoute>,
}

/// What the kernel says of its own accord.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// An address or a route changed, or a link is gone: [`Tables`] are to be read anew.
    Tables,
    /// The same of a link that is there, which now is like this.
    Link(Link),
    /// A neighbour is there, or changed.
    Neighbour(Neighbour),
    /// A neighbour is gone.
    NeighbourGone(NeighbourKey),
    /// Notices were lost: all is to be read anew.
    Overrun,
}
