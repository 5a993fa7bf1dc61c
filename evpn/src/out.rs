//! What we announce, and how far each peer has been told.
//!
//! There is one table for all peers. Every change gets a number; the table is ordered by it, and a peer is told what is
//! above the number that it has got to. So a peer costs a number, not a queue: a slow peer makes nothing grow, and is told
//! the latest state alone. A new peer, or one that asks again, starts at 0.

pub(crate) mod encode;
pub(crate) mod journal;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use rustbgpd_wire::ExtendedCommunity;
use wire::{MacAddr, Vni};

use crate::attributes::{ARP_ND, ARP_ND_ROUTER, TUNNEL_VXLAN, Weigh};
use crate::family::Family;
use crate::overlay::targets::RouteTarget;
use crate::segment::EthernetSegment;

/// REACH of the source's terms: a MAC address of an overlay, with or without one of its IP addresses, is at an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// The overlay.
    pub vni: Vni,
    /// The MAC address.
    pub mac: MacAddr,
    /// Its IP address.
    pub ip: Option<IpAddr>,
    /// VTEP that it is behind; need not be ours.
    pub endpoint: IpAddr,
    /// Mobility sequence (RFC 7432 §7.7). 0 is not written, and means the same.
    pub sequence: u32,
    /// It may not move (RFC 7432 §15.2).
    pub sticky: bool,
    /// Default gateway community (RFC 7432 §7.8).
    pub default_gateway: bool,
    /// R flag for the IP address (RFC 9047).
    pub router: bool,
    /// LOCAL_PREF for internal peers; 100 if there is none.
    pub local_pref: Option<u32>,
}

/// Attributes of a unicast prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixAttributes {
    /// Next hop; need not be ours. An IPv6 next hop of an IPv4 prefix is told to peers that can take it (RFC 8950).
    pub next_hop: IpAddr,
    /// MED.
    pub med: Option<u32>,
    /// LOCAL_PREF for internal peers; 100 if there is none.
    pub local_pref: Option<u32>,
    /// Communities (RFC 1997).
    pub communities: Vec<u32>,
}

/// What is announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Key {
    Mac {
        vni: Vni,
        mac: MacAddr,
        ip: Option<IpAddr>,
    },
    Flood {
        vni: Vni,
        vtep: IpAddr,
    },
    Segment {
        segment: EthernetSegment,
        vtep: IpAddr,
        router_id: Ipv4Addr,
    },
    Prefix(IpNet),
    /// A host route, which other peers get than prefixes.
    Host(IpAddr),
}

impl Key {
    pub(crate) fn family(&self) -> Family {
        match self {
            Self::Mac { .. } | Self::Flood { .. } | Self::Segment { .. } => Family::Evpn,
            Self::Prefix(IpNet::V4(_)) | Self::Host(IpAddr::V4(_)) => Family::Ipv4,
            Self::Prefix(IpNet::V6(_)) | Self::Host(IpAddr::V6(_)) => Family::Ipv6,
        }
    }

    /// Whether the route's own bytes have an IPv6 VTEP, which not every peer can read.
    pub(crate) fn has_ipv6_originator(&self) -> bool {
        matches!(self, Self::Flood { vtep: IpAddr::V6(_), .. } | Self::Segment { vtep: IpAddr::V6(_), .. })
    }

    pub(crate) fn vni(&self) -> Option<Vni> {
        match self {
            Self::Mac { vni, .. } | Self::Flood { vni, .. } => Some(*vni),
            Self::Segment { .. } | Self::Prefix(_) | Self::Host(_) => None,
        }
    }
}

/// With which attributes. What peers get of them depends on the peer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Attributes {
    pub(crate) next_hop: IpAddr,
    pub(crate) med: Option<u32>,
    pub(crate) local_pref: u32,
    pub(crate) communities: Vec<u32>,
    pub(crate) targets: Vec<RouteTarget>,
    pub(crate) extended: Vec<ExtendedCommunity>,
    /// VNI and VTEP of ingress replication.
    pub(crate) replication: Option<(Vni, IpAddr)>,
}

impl Weigh for Attributes {
    fn lists(&self) -> usize {
        size_of_val(&*self.communities) + size_of_val(&*self.targets) + size_of_val(&*self.extended)
    }
}

const LOCAL_PREF: u32 = 100;

impl Reach {
    pub(crate) fn key(&self) -> Key {
        Key::Mac { vni: self.vni, mac: self.mac, ip: self.ip }
    }

    pub(crate) fn attributes(&self, targets: Vec<RouteTarget>) -> Attributes {
        let mut extended = vec![ExtendedCommunity::bgp_encapsulation(TUNNEL_VXLAN)];
        if self.sequence != 0 || self.sticky {
            extended.push(ExtendedCommunity::mac_mobility(self.sticky, self.sequence));
        }
        if self.default_gateway {
            extended.push(ExtendedCommunity::default_gateway());
        }
        if self.router && self.ip.is_some() {
            let router = u64::from(ARP_ND) << 48 | u64::from(ARP_ND_ROUTER) << 40;
            extended.push(ExtendedCommunity::new(router));
        }
        Attributes {
            next_hop: self.endpoint,
            med: None,
            local_pref: self.local_pref.unwrap_or(LOCAL_PREF),
            communities: Vec::new(),
            targets,
            extended,
            replication: None,
        }
    }
}

impl Attributes {
    /// Of a type 3 route.
    pub(crate) fn flood(vni: Vni, vtep: IpAddr, targets: Vec<RouteTarget>) -> Self {
        Self {
            next_hop: vtep,
            med: None,
            local_pref: LOCAL_PREF,
            communities: Vec::new(),
            targets,
            extended: vec![ExtendedCommunity::bgp_encapsulation(TUNNEL_VXLAN)],
            replication: Some((vni, vtep)),
        }
    }

    /// Of a type 4 route.
    pub(crate) fn segment(segment: EthernetSegment, vtep: IpAddr) -> Self {
        Self {
            next_hop: vtep,
            med: None,
            local_pref: LOCAL_PREF,
            communities: Vec::new(),
            targets: Vec::new(),
            extended: vec![segment.import_target()],
            replication: None,
        }
    }

    pub(crate) fn prefix(attributes: PrefixAttributes) -> Self {
        let PrefixAttributes { next_hop, med, local_pref, communities } = attributes;
        Self {
            next_hop,
            med,
            local_pref: local_pref.unwrap_or(LOCAL_PREF),
            communities,
            targets: Vec::new(),
            extended: Vec::new(),
            replication: None,
        }
    }
}
