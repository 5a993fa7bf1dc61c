//! What control says to the engine, and what the engine says back.
//!
//! Control resolves nothing on the packet path and the engine knows no kernel: control mirrors the kernel's
//! routes and neighbours and sends the outcome as [`Update`]s; the slow-path thread, the only writer of the
//! tables, applies them. What the engine needs resolved it asks for with an [`Event`].

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use port::{BindRequest, Idle, XdpRequest};
use wire::{MacAddr, Vni};

/// Index of a port in [`Config::ports`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortIndex(pub u8);

/// What a port is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Toward the endpoints: carries VXLAN.
    Underlay,
    /// Toward the outer network: carries plain IP.
    Uplink,
}

/// One netdev and what it is used for.
#[derive(Clone, Debug)]
pub struct PortConfig {
    /// Name of the netdev.
    pub interface: String,
    /// Its index in the kernel.
    pub ifindex: u32,
    /// What the port is for.
    pub role: Role,
    /// Underlay: the VTEP addresses (at most one a family). Uplink: the port's own addresses.
    pub addresses: Vec<IpAddr>,
    /// MAC address of the netdev.
    pub mac: MacAddr,
    /// MTU of the netdev: bytes of an IP packet.
    pub mtu: u16,
    /// How the XDP program is to be attached.
    pub xdp: XdpRequest,
    /// How the socket is to be bound.
    pub bind: BindRequest,
}

/// All that the engine needs to start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Ports; for now exactly one of each role.
    pub ports: Vec<PortConfig>,
    /// What a worker does when there is nothing to do.
    pub idle: Idle,
    /// Core that the worker is pinned to.
    pub core: Option<usize>,
    /// MAC address of every overlay's router.
    pub router_mac: MacAddr,
    /// Prefixes that hold all overlay prefixes: what is inside is never forwarded by the kernel, nor between
    /// overlays.
    pub blocks: Vec<IpNet>,
    /// The overlays.
    pub overlays: Vec<Overlay>,
    /// The stations known from the start.
    pub stations: Vec<Station>,
    /// Most entries of the flow table: one for a station, and one for each of its addresses.
    pub max_flows: u32,
}

/// Entries of the flow table unless configured: a million stations with two addresses each, and as many again.
/// Memory is reserved for them, and used as they come.
pub const DEFAULT_MAX_FLOWS: u32 = 6_000_000;

/// One isolated L2 network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlay {
    /// Its VXLAN network identifier.
    pub vni: Vni,
    /// Its IP subnets, each inside a block.
    pub subnets: Vec<Subnet>,
    /// Addresses of the endpoints that may send into it; shared by the overlays of a configuration block.
    pub endpoints: Arc<[IpAddr]>,
    /// Largest IP packet inside the overlay, in bytes.
    pub mtu: u16,
}

/// A subnet of an overlay, and the gateway's address in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// The prefix, host bits zero.
    pub prefix: IpNet,
    /// The router's address: inside `prefix`, the same on all gateways.
    pub router: IpAddr,
}

/// A host inside an overlay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Station {
    /// The overlay it is in.
    pub vni: Vni,
    /// Its MAC address: unicast.
    pub mac: MacAddr,
    /// The endpoint it is attached to.
    pub endpoint: IpAddr,
    /// Its IP addresses, inside the overlay's subnets.
    pub addresses: Vec<IpAddr>,
}

/// A neighbour that frames are sent to: an address on the link of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NextHop {
    /// The port.
    pub port: PortIndex,
    /// IPv4 or IPv6 address on its link (an IPv4 route may have an IPv6 one, RFC 5549).
    pub address: IpAddr,
}

/// Where a route of the outer network leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RouteTarget {
    /// Through a router.
    Via(NextHop),
    /// The destination is on the link of this port.
    OnLink(PortIndex),
    /// Nowhere that the engine may send to: another interface, blackhole, unreachable, prohibit.
    Reject,
}

/// A route of the outer network, as the kernel would use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Destination, host bits zero.
    pub prefix: IpNet,
    /// Where it leads.
    pub target: RouteTarget,
}

/// A write to the engine's tables.
#[derive(Clone, Debug)]
pub enum Update {
    /// The whole table of routes toward the outer network; replaces what was there, at once.
    Routes(Vec<Route>),
    /// How to reach an endpoint; `None`: no usable route.
    Endpoint {
        /// Underlay address of the endpoint.
        address: IpAddr,
        /// The router toward it, or itself if it is on the link.
        next_hop: Option<NextHop>,
    },
    /// MAC address of a neighbour; `None`: it does not answer.
    Neighbour {
        /// The neighbour.
        next_hop: NextHop,
        /// Its MAC address.
        mac: Option<MacAddr>,
    },
    /// All addresses of the host itself, to which no station may send; replaces what was there.
    HostAddresses(Vec<IpAddr>),
    /// A port's netdev changed its MAC address.
    PortMac {
        /// The port.
        port: PortIndex,
        /// Its new MAC address.
        mac: MacAddr,
    },
}

/// What the engine asks of control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A packet wants to go to this on-link neighbour, whose MAC address is not known.
    Resolve(NextHop),
}
