//! Which frames a tap is for.

use std::net::IpAddr;
use std::num::NonZeroU32;

use ipnet::IpNet;
use wire::{IpProtocol, MacAddr, Vni};

use super::Direction;
use super::headers::{Headers, Layer};
use crate::api::PortIndex;
use crate::tables::Snapshot;

/// Which frames a tap is for: those that meet all conditions. Addresses are looked for in VXLAN and outside of it;
/// protocol and port in what is innermost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TapFilter {
    /// At these ports; empty: at all.
    pub ports: Vec<PortIndex>,
    /// This way; `None`: both.
    pub direction: Option<Direction>,
    /// Of this overlay: VXLAN with this VNI, and plain packets from or to its subnets.
    pub vni: Option<Vni>,
    /// From or to this address, ARP's included.
    pub host: Option<IpAddr>,
    /// From or to this MAC address.
    pub mac: Option<MacAddr>,
    /// Upper-layer protocol.
    pub protocol: Option<ProtocolFilter>,
    /// Source or destination port of the upper layer. Later fragments have none.
    pub l4_port: Option<u16>,
    /// Only frames that were dropped.
    pub dropped: bool,
    /// One of so many of each worker's frames that meet the other conditions; `None`: all.
    pub every: Option<NonZeroU32>,
}

/// An upper-layer protocol of either IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolFilter {
    /// ICMP in IPv4, ICMPv6 in IPv6.
    Icmp,
    /// By number.
    Number(u8),
}

impl ProtocolFilter {
    fn matches(self, protocol: u8) -> bool {
        match self {
            Self::Icmp => [IpProtocol::Icmp, IpProtocol::Icmpv6].contains(&protocol.into()),
            Self::Number(number) => number == protocol,
        }
    }
}

/// A filter with what it needs of the tables.
pub(super) struct Filter {
    pub(super) wanted: TapFilter,
    /// Of the overlay that is asked for.
    subnets: Vec<IpNet>,
}

impl Filter {
    pub(super) fn new(wanted: TapFilter, tables: &Snapshot) -> Self {
        let overlay = wanted.vni.and_then(|vni| tables.overlays.by_vni(vni));
        let subnets = overlay.map(|overlay| &tables.overlays.get(overlay).subnets);
        let subnets = subnets.into_iter().flatten().map(|subnet| subnet.prefix).collect();
        Self { wanted, subnets }
    }

    /// Whether frames that go this way at this port are wanted at all.
    pub(super) fn is_for(&self, port: PortIndex, direction: Direction) -> bool {
        let TapFilter { ports, direction: only, dropped, .. } = &self.wanted;
        let was_sent = direction == Direction::Transmitted;
        (ports.is_empty() || ports.contains(&port))
            && only.is_none_or(|only| only == direction)
            && !(*dropped && was_sent)
    }

    /// Whether a frame is wanted, as far as its bytes say.
    pub(super) fn matches(&self, frame: &[u8]) -> bool {
        let TapFilter { vni, host, mac, protocol, l4_port, .. } = self.wanted;
        if vni.is_none() && host.is_none() && mac.is_none() && protocol.is_none() && l4_port.is_none() {
            return true;
        }
        let headers = Headers::read(frame);
        let any = |has: &dyn Fn(&Layer) -> bool| headers.layers().any(has);
        let Layer { protocol: carried, ports, .. } = headers.innermost();
        vni.is_none_or(|vni| self.is_of(&headers, vni))
            && host.is_none_or(|host| any(&|layer| layer.addresses.contains(&host)))
            && mac.is_none_or(|mac| any(&|layer| layer.macs.contains(&mac)))
            && protocol.is_none_or(|wanted| carried.is_some_and(|carried| wanted.matches(carried)))
            && l4_port.is_none_or(|port| ports.is_some_and(|ports| ports.contains(&port)))
    }

    fn is_of(&self, headers: &Headers, vni: Vni) -> bool {
        let is_inside = |address: &IpAddr| self.subnets.iter().any(|subnet| subnet.contains(address));
        match headers.inner {
            Some(_) => headers.vni == Some(vni),
            None => headers.outer.addresses.iter().any(is_inside),
        }
    }
}
