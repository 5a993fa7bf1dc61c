//! What control says to the engine, and what the engine says back.
//!
//! Control resolves nothing on the packet path and the engine knows no kernel: control mirrors the kernel's
//! routes and neighbours and sends the outcome as [`Update`]s; the slow-path thread, the only writer of the
//! tables, applies them. What the engine needs resolved it asks for with an [`Event`].

mod announced;
mod bindings;
mod groups;

use std::net::{IpAddr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use port::{BindRequest, Polling, XdpRequest};
use wire::{MacAddr, Vni};

pub use announced::{AnnouncedStatistics, Announcement, EndpointStatus};
pub(crate) use bindings::Place;
pub use bindings::{BindingCursor, BindingPage};
pub use groups::{Group, MAX_SHARDS, Responsibility, Shard};

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
    /// Both on one netdev: a router on a stick.
    Both,
}

impl Role {
    /// Whether endpoints are there.
    pub const fn is_underlay(self) -> bool {
        matches!(self, Self::Underlay | Self::Both)
    }

    /// Whether the outer network is there.
    pub const fn is_uplink(self) -> bool {
        matches!(self, Self::Uplink | Self::Both)
    }
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
    /// Its own addresses. Errors about packets from the outer network come from those of an uplink.
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
    /// Ports, at most [`MAX_PORTS`], at least one of each role.
    pub ports: Vec<PortConfig>,
    /// The VTEP addresses, at most one a family: VXLAN for them is taken at every underlay port, and sent from them.
    pub vteps: Vec<IpAddr>,
    /// The shards of a cluster, at most [`MAX_SHARDS`], by number; this gateway owns none at the start. Empty: there is no
    /// such cluster.
    pub shards: Vec<Shard>,
    /// What workers do when there is nothing to do.
    pub polling: Polling,
    /// One worker each, pinned to this core if one is named. The n-th serves the n-th queue of each port.
    pub workers: Vec<Option<usize>>,
    /// MAC address of every overlay's router.
    pub router_mac: MacAddr,
    /// Prefixes that hold all overlay prefixes: what is inside is never forwarded by the kernel, nor between
    /// overlays.
    pub blocks: Vec<IpNet>,
    /// The overlays.
    pub overlays: Vec<Overlay>,
    /// The stations known from the start.
    pub stations: Vec<Station>,
    /// What may be forwarded between overlays and out of them; the first that matches decides. What none matches is
    /// rejected between overlays, and allowed outward.
    pub rules: Vec<Rule>,
    /// How much the slow path is given.
    pub punt_limits: PuntLimits,
    /// Most entries of the flow table: one for a station, and one for each of its addresses.
    pub max_flows: u32,
    /// What was received before a time as long as this in which nobody ran is dropped: another gateway may have taken over.
    /// `None`: there is none.
    pub stale_after: Option<Duration>,
}

/// Most ports of a gateway.
pub const MAX_PORTS: usize = 16;

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
    /// Whether this gateway is the one that answers in the overlay, and sends with the shared MAC address, until
    /// [`Update::Responsibility`] says otherwise; counts for nothing in a shard. One that is not resolves stations only in
    /// ways that leave their entry of the router untouched. It forwards what comes for the shared MAC address until an
    /// update says that it is not the owner: then it is one of several, and the owner forwards that.
    pub owner: bool,
    /// The shard that it is in, whose addresses are the overlay's; `None`: the overlay is a group of its own.
    pub shard: Option<u16>,
    /// The gateway's own MAC address in the overlay, beside the shared one; needed where it is not the owner.
    pub own_mac: Option<MacAddr>,
    /// How stations are treated; shared by the overlays of a configuration table.
    pub policy: Arc<OverlayPolicy>,
}

/// How the stations of an overlay are treated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverlayPolicy {
    /// What becomes of stations that are where they are not expected.
    pub admission: Admission,
    /// For whom the router answers ARP and neighbour solicitations.
    pub proxy: Proxy,
    /// Most addresses that are learned of one station.
    pub addresses_per_station: u16,
    /// Router advertisements; `None`: none are sent.
    pub advertisement: Option<RouterAdvertisement>,
    /// Servers in the outer network that DHCP of the same family is relayed to.
    pub dhcp_servers: Vec<IpAddr>,
    /// DSCP of outer packets.
    pub dscp: Dscp,
    /// Limit of what leaves the overlay through the gateway.
    pub egress_limit: RateLimit,
    /// Limit of what the gateway sends into the overlay.
    pub ingress_limit: RateLimit,
}

impl Default for OverlayPolicy {
    fn default() -> Self {
        Self {
            admission: Admission::Loose,
            proxy: Proxy::Own,
            addresses_per_station: DEFAULT_ADDRESSES_PER_STATION,
            advertisement: None,
            dhcp_servers: Vec::new(),
            dscp: Dscp::Copy,
            egress_limit: RateLimit::default(),
            ingress_limit: RateLimit::default(),
        }
    }
}

/// Addresses that are learned of one station unless configured.
pub const DEFAULT_ADDRESSES_PER_STATION: u16 = 16;

/// What becomes of a frame whose sender is known behind another endpoint of the overlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Forwarded and counted; nothing is learned. Stations may roam.
    Loose,
    /// Dropped.
    Strict,
}

/// For whom the router answers ARP requests and neighbour solicitations of stations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxy {
    /// For itself alone.
    Own,
    /// Also for stations whose binding is fresh, with their MAC addresses (RFC 9161).
    Known,
    /// For all addresses of the subnet, with the router's MAC address: stations talk through the gateway.
    Isolate,
}

/// What router advertisements say beside the overlay's subnets and MTU (RFC 4861 §4.2, RFC 8106).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterAdvertisement {
    /// Whether addresses are to be had by DHCPv6 (M).
    pub managed: bool,
    /// Whether other settings are to be had by DHCPv6 (O).
    pub other: bool,
    /// Whether stations may make addresses from the prefixes themselves (A).
    pub autonomous: bool,
    /// For how long the router is one: whole seconds, 9 000 at most, 0 for not a default router.
    pub router_lifetime: Duration,
    /// For how long an address made from a prefix is preferred; whole seconds.
    pub preferred_lifetime: Duration,
    /// For how long it is valid; whole seconds.
    pub valid_lifetime: Duration,
    /// Longest time between two that nobody asked for; the shortest is a third of it.
    pub interval: Duration,
    /// Recursive DNS servers.
    pub dns_servers: Vec<Ipv6Addr>,
    /// DNS search list.
    pub dns_search: Vec<String>,
}

/// The DSCP of outer packets (RFC 2983). ECN is not a choice (RFC 6040).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dscp {
    /// That of the inner packet.
    Copy,
    /// Always this: 0 to 63.
    Set(u8),
}

/// A limit, kept by token buckets; `None`: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateLimit {
    /// Bits of IP packets in a second.
    pub bits: Option<u64>,
    /// Packets in a second.
    pub packets: Option<u64>,
}

/// What is done with a packet that a rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Forwarded.
    Allow,
    /// Dropped, and its sender is told (administratively prohibited).
    Reject,
    /// Dropped.
    Drop,
}

/// One rule about packets from overlays. Overlays are given by their prefixes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What is done.
    pub action: Action,
    /// Prefixes of the source; empty: any.
    pub from: Arc<[IpNet]>,
    /// Prefixes of the destination; empty: any.
    pub to: Arc<[IpNet]>,
    /// Upper-layer protocol.
    pub protocol: Option<u8>,
    /// Ports of the source.
    pub source_ports: Option<RangeInclusive<u16>>,
    /// Ports of the destination.
    pub destination_ports: Option<RangeInclusive<u16>>,
}

/// Packets in a second, and how many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketRate {
    /// Packets in a second; at least 1.
    pub rate: u32,
    /// Packets at once after a pause; at least 1.
    pub burst: u32,
}

/// What the slow path is asked for, for limits of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PuntClass {
    /// ARP and neighbour discovery of stations.
    Neighbour,
    /// Packets for addresses whose MAC address is not known.
    Resolve,
    /// Frames from stations that are not known.
    Stranger,
    /// For the router itself: echo requests, DHCP, packets to be cut.
    Host,
    /// Errors to be told: time exceeded, too big, unreachable, prohibited.
    Error,
}

impl PuntClass {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Neighbour, Self::Resolve, Self::Stranger, Self::Host, Self::Error];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Neighbour => "neighbour",
            Self::Resolve => "resolve",
            Self::Stranger => "stranger",
            Self::Host => "host",
            Self::Error => "error",
        }
    }
}

/// Limits of what the slow path is given; what is above them is dropped and counted. By [`PuntClass`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PuntLimits {
    /// For each overlay, so that one's storm costs others nothing.
    pub overlay: [PacketRate; PuntClass::ALL.len()],
    /// For all overlays together, a worker.
    pub total: [PacketRate; PuntClass::ALL.len()],
}

impl Default for PuntLimits {
    fn default() -> Self {
        let rate = |rate, burst| PacketRate { rate, burst };
        Self {
            overlay: [rate(200, 100), rate(100, 64), rate(100, 64), rate(200, 50), rate(100, 50)],
            total: [50_000, 20_000, 20_000, 20_000, 20_000].map(|each| rate(each, each / 20)),
        }
    }
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

/// That a station has an address: what the slow path has learned, for `show`, and to be carried to another gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The overlay.
    pub vni: Vni,
    /// The address.
    pub address: IpAddr,
    /// The station's MAC address.
    pub mac: MacAddr,
    /// Since it was last confirmed.
    pub age: Duration,
}

/// An address in an overlay, as the slow path knows it: learned, or being asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighbourStatus {
    /// The overlay.
    pub vni: Vni,
    /// The address.
    pub address: IpAddr,
    /// The MAC address of the station that has it.
    pub mac: Option<MacAddr>,
    /// How sure that is.
    pub state: NeighbourState,
    /// Since there was evidence; of what has no MAC address, since it was asked for or failed.
    pub age: Duration,
}

/// How sure it is that a station has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighbourState {
    /// All are being asked.
    Incomplete,
    /// The station answered within its lifetime.
    Reachable,
    /// The station was heard of, but has not answered the router.
    Stale,
    /// The lifetime is over, and the station is being asked.
    Probe,
    /// Nobody answered.
    Failed,
}

impl NeighbourState {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Incomplete => "incomplete",
            Self::Reachable => "reachable",
            Self::Stale => "stale",
            Self::Probe => "probe",
            Self::Failed => "failed",
        }
    }
}

macro_rules! neighbour_statistics {
    ($($(#[doc = $doc:literal])+ $field:ident: $type:ty,)+) => {
        /// What the slow path knows of addresses in all overlays: entries by state now, and counts of events since the
        /// start.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct NeighbourStatistics { $($(#[doc = $doc])+ pub $field: $type,)+ }

        impl NeighbourStatistics {
            /// Each: its name, how many, and what it means in a sentence.
            pub fn each(&self) -> impl Iterator<Item = (&'static str, u64, &'static str)> + use<> {
                [$((stringify!($field), self.$field as u64, concat!($($doc,)+).trim_ascii()),)+]
                    .into_iter()
            }
        }
    };
}

neighbour_statistics! {
    /// Addresses that are being asked for.
    incomplete: usize,
    /// Addresses whose station answered within its lifetime.
    reachable: usize,
    /// Addresses whose station was heard of, but has not answered the router.
    stale: usize,
    /// Addresses whose lifetime is over, and whose station is being asked.
    probe: usize,
    /// Addresses that nobody answered for.
    failed: usize,
    /// Packets that wait for an address.
    waiting: usize,
    /// Claims to an address that another MAC address has and keeps.
    conflicts: u64,
    /// Claims to an address that another MAC address had, and gave up.
    moved: u64,
    /// Learned addresses that gave way to a later one of their station.
    evicted: u64,
    /// Failed addresses that gave way before their time.
    failed_evicted: u64,
    /// Packets for an unknown address of an overlay that asks for too many.
    refused_by_overlay: u64,
    /// Packets for an unknown address while too many are asked for in all.
    refused_unresolved: u64,
    /// Packets and learned addresses for which there was no entry left.
    refused_full: u64,
    /// Addresses not learned because their station may not have more.
    refused_by_station: u64,
    /// Packets to a failed address before it is asked for again.
    held_off: u64,
    /// Waiting packets dropped in favour of a later one to the same address.
    displaced: u64,
    /// Packets dropped because too many wait, of their overlay or in all. Their addresses are asked for all the same.
    refused_waiting: u64,
}

/// A neighbour that frames are sent to: an address on the link of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NextHop {
    /// The port.
    pub port: PortIndex,
    /// IPv4 or IPv6 address on its link (an IPv4 route may have an IPv6 one, RFC 5549).
    pub address: IpAddr,
}

/// One of the paths of a route, or to an endpoint. Flows are spread over them, and each keeps to its own (RFC 2992).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path {
    /// The port that it leaves by.
    pub port: PortIndex,
    /// The router on the port's link; `None`: the destination itself is there.
    pub gateway: Option<IpAddr>,
    /// Its share of the flows, beside those of the other paths; at least 1.
    pub weight: u16,
}

impl Path {
    /// The path through a router.
    pub const fn via(NextHop { port, address }: NextHop) -> Self {
        Self { port, gateway: Some(address), weight: 1 }
    }

    /// The path to what is on the link of a port.
    pub const fn on_link(port: PortIndex) -> Self {
        Self { port, gateway: None, weight: 1 }
    }

    /// The neighbour that a packet to `destination` is sent to.
    pub fn next_hop(&self, destination: IpAddr) -> NextHop {
        NextHop { port: self.port, address: self.gateway.unwrap_or(destination) }
    }
}

/// All paths of a route, in no order, at most [`MAX_PATHS`]; none: it leads nowhere that the engine may send to. Shared by
/// routes that have the same.
pub type Paths = Arc<[Path]>;

/// Most paths of a route.
pub const MAX_PATHS: usize = 64;

/// A route of the outer network, as the kernel would use it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Destination, host bits zero.
    pub prefix: IpNet,
    /// Where it leads; none: to another interface, blackhole, unreachable, prohibit.
    pub paths: Paths,
}

/// A write to the engine's tables.
#[derive(Clone, Debug)]
pub enum Update {
    /// The whole table of routes toward the outer network; replaces what was there, at once.
    Routes(Vec<Route>),
    /// How to reach an endpoint.
    Endpoint {
        /// Underlay address of the endpoint.
        address: IpAddr,
        /// Where frames to it go; none: there is no usable route.
        paths: Paths,
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
    /// Bindings that another gateway has learned: taken over, and confirmed soon. Those of stations that are not known
    /// are left out.
    Bindings(Vec<Binding>),
    /// What the network announces, changed; in order.
    Announced(Vec<Announcement>),
    /// What this gateway is to these groups from now on. Costs as much as there are groups here, however many overlays are
    /// in them.
    Responsibility(Vec<(Group, Responsibility)>),
    /// A port's netdev changed its MAC address.
    PortMac {
        /// The port.
        port: PortIndex,
        /// Its new MAC address.
        mac: MacAddr,
    },
    /// A port went up or down; of several paths those by a port that is down are not taken. All are up at the start.
    PortState {
        /// The port.
        port: PortIndex,
        /// Whether it is up and has a carrier.
        is_up: bool,
    },
}

/// What the engine asks of control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A packet wants to go to this on-link neighbour, whose MAC address is not known.
    Resolve(NextHop),
    /// Endpoints have come or gone: those that [`Engine::endpoints`](crate::Engine::endpoints) tells are to be resolved.
    Endpoints,
}
