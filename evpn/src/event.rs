//! What a speaker tells: changes for the data plane, events for the operator.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ipnet::IpNet;
use wire::{MacAddr, Vni};

use crate::family::Family;
use crate::session::SessionState;

/// A peer of a speaker, numbered from 0 in the order of configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(pub u16);

/// A change of what the network says, to be applied in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A station is at this endpoint, new or moved there, with all its addresses.
    Station {
        /// Its overlay.
        vni: Vni,
        /// Its MAC address.
        mac: MacAddr,
        /// VTEP that it is behind.
        endpoint: IpAddr,
        /// It may not move (RFC 7432 §15.2).
        sticky: bool,
        /// It is a default gateway (RFC 7432 §10.1).
        default_gateway: bool,
    },
    /// Nobody announces this station any longer; its addresses went before.
    StationGone {
        /// Its overlay.
        vni: Vni,
        /// Its MAC address.
        mac: MacAddr,
    },
    /// A station, told of before, has this address.
    Address {
        /// Its overlay.
        vni: Vni,
        /// Its MAC address.
        mac: MacAddr,
        /// Its IP address.
        ip: IpAddr,
        /// It is a router (RFC 9047 R flag).
        router: bool,
    },
    /// Nobody announces this address of the station any longer.
    AddressGone {
        /// Its overlay.
        vni: Vni,
        /// Its MAC address.
        mac: MacAddr,
        /// Its IP address.
        ip: IpAddr,
    },
    /// An endpoint takes part in an overlay: it gets what is flooded, and may send.
    Flood {
        /// The overlay.
        vni: Vni,
        /// The VTEP.
        endpoint: IpAddr,
    },
    /// An endpoint does not take part any longer.
    FloodGone {
        /// The overlay.
        vni: Vni,
        /// The VTEP.
        endpoint: IpAddr,
    },
    /// Somebody announces a shared MAC address in an overlay, whether that counts or not: other gateways of the cluster are to
    /// know the highest mobility sequence that endpoints may have seen.
    SharedMac {
        /// The overlay.
        vni: Vni,
        /// Its mobility sequence; 0 without one (RFC 7432 §7.7).
        sequence: u32,
    },
    /// A gateway is of our cluster, as an Ethernet segment route of [`Identity::segment`](crate::Identity::segment) says.
    Member {
        /// Its VTEP.
        vtep: IpAddr,
    },
    /// No such route of it is there any longer.
    MemberGone {
        /// Its VTEP.
        vtep: IpAddr,
    },
    /// Best route to a prefix outside, by IPv4 or IPv6 unicast.
    Prefix {
        /// The prefix.
        prefix: IpNet,
        /// Its next hop.
        next_hop: IpAddr,
    },
    /// No route to this prefix any longer.
    PrefixGone {
        /// The prefix.
        prefix: IpNet,
    },
}

/// Why a session ended, or did not come up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DownReason {
    /// The connection was closed or reset by the peer, or could not be kept.
    Closed,
    /// Nothing was heard for the hold time.
    HoldTimer,
    /// The peer read nothing for so long that keepalives pile up (RFC 9687).
    SendHoldTimer,
    /// The peer sent a NOTIFICATION.
    Received {
        /// Code and subcode (RFC 4271 §4.5).
        code: (u8, u8),
        /// What the codes mean.
        meaning: &'static str,
        /// Its operator's words (RFC 9003).
        communication: Option<String>,
    },
    /// A NOTIFICATION was sent.
    Sent {
        /// Code and subcode.
        code: (u8, u8),
        /// What the codes mean.
        meaning: &'static str,
        /// What was wrong.
        detail: String,
    },
    /// Stopped by the operator.
    Stopped,
    /// BFD or the like said that the peer is dead.
    PeerDown,
    /// More routes than allowed.
    MaxRoutes {
        /// The family.
        family: Family,
        /// How many are allowed.
        limit: usize,
    },
    /// The attributes of its routes take more memory than they may.
    MaxAttributes {
        /// How many bytes they may take.
        limit: usize,
    },
    /// Another connection to the same peer won (RFC 4271 §6.8).
    Collision,
    /// There is no TCP connection, or none that may be used. Told once of many attempts in a row that end alike.
    Transport {
        /// Why.
        detail: String,
    },
}

impl fmt::Display for DownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("connection closed"),
            Self::HoldTimer => f.write_str("hold timer expired: nothing was heard"),
            Self::SendHoldTimer => f.write_str("send hold timer expired: the peer reads nothing"),
            Self::Received { code: (code, subcode), meaning, communication } => {
                write!(f, "peer sent {code}/{subcode}: {meaning}")?;
                communication.as_ref().map_or(Ok(()), |text| write!(f, " ({})", text.escape_debug()))
            }
            Self::Sent { code: (code, subcode), meaning, detail } => {
                write!(f, "sent {code}/{subcode}: {meaning} ({detail})")
            }
            Self::Stopped => f.write_str("stopped"),
            Self::PeerDown => f.write_str("peer reported dead"),
            Self::MaxRoutes { family, limit } => write!(f, "more than {limit} routes of {family}"),
            Self::MaxAttributes { limit } => {
                write!(f, "attributes of its routes take more than {limit} bytes")
            }
            Self::Collision => f.write_str("another connection to the same peer won"),
            Self::Transport { detail } => f.write_str(detail),
        }
    }
}

/// Why a route is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rejection {
    /// An attribute is malformed; the route counts as withdrawn (RFC 7606 §2).
    Malformed,
    /// Our own AS is in its path (RFC 4271 §9.1.2).
    AsLoop,
    /// An external peer's AS is not the first of the path.
    FirstAs,
    /// The label is no VNI.
    VniZero,
    /// The station's MAC address is a group address or all zero.
    NoStationMac,
    /// Its endpoint's address is none that a host on the underlay has.
    NoVtep,
    /// Its next hop is one of our own VTEP addresses.
    OwnVtep,
    /// It claims the shared MAC address, and its next hop is no gateway of the cluster.
    SharedMacStranger,
    /// Its encapsulation is not VXLAN (RFC 8365 §5.1.3).
    Encapsulation,
    /// An inclusive multicast route without ingress replication (RFC 8365 §9).
    NoIngressReplication,
    /// The station has more routes than are kept.
    TooManyRoutes,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "malformed, treated as withdrawn",
            Self::AsLoop => "our own AS is in its path",
            Self::FirstAs => "the path does not start with the peer's AS",
            Self::VniZero => "VNI 0",
            Self::NoStationMac => "MAC address of no station",
            Self::NoVtep => "endpoint with an address of no host",
            Self::OwnVtep => "next hop is our own VTEP",
            Self::SharedMacStranger => "the shared MAC address from a stranger",
            Self::Encapsulation => "encapsulation is not VXLAN",
            Self::NoIngressReplication => "no ingress replication",
            Self::TooManyRoutes => "too many routes of one station",
        })
    }
}

/// Something that the operator may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A session came to another state. Of a peer that is tried again and again without a connection, only the first try
    /// is told.
    Session {
        /// The peer.
        peer: PeerId,
        /// Its state now.
        state: SessionState,
        /// The peer's BGP identifier, once established.
        router_id: Option<Ipv4Addr>,
    },
    /// A session or an attempt at one ended.
    Down {
        /// The peer.
        peer: PeerId,
        /// Why.
        reason: DownReason,
    },
    /// Nothing has been heard of a peer for two thirds of the hold time, or something again: it may have given the session up
    /// without our knowing.
    Silence {
        /// The peer.
        peer: PeerId,
        /// Whether it is silent.
        silent: bool,
    },
    /// A route is not used.
    Rejected {
        /// The peer that sent it.
        peer: PeerId,
        /// Why.
        reason: Rejection,
        /// The route, or what is known of it.
        route: String,
    },
    /// An UPDATE had faults that are forgiven (RFC 7606).
    Malformed {
        /// The peer.
        peer: PeerId,
        /// The faults.
        detail: String,
    },
    /// Peers cannot connect for now: there are no descriptors or no memory for their connections. It is tried again.
    NotAccepting {
        /// What the kernel says.
        error: String,
    },
    /// A peer has told all its routes of a family (RFC 4724 §2).
    EndOfRib {
        /// The peer.
        peer: PeerId,
        /// The family.
        family: Family,
    },
    /// A station's MAC address jumps between endpoints (RFC 7432 §15.1): its place is held.
    Duplicate {
        /// Its overlay.
        vni: Vni,
        /// Its MAC address.
        mac: MacAddr,
        /// Where it is held.
        held: IpAddr,
        /// The other endpoint.
        other: IpAddr,
        /// When its routes count again; `None`: when told.
        recovery: Option<Duration>,
    },
    /// A duplicate's routes count again.
    Recovered {
        /// Its overlay.
        vni: Vni,
        /// Its MAC address.
        mac: MacAddr,
    },
}
