//! From the outer network into an overlay.

use wire::{EtherType, MacAddr, Vni};

use super::Stop;
use super::encapsulate::{LinkAddresses, overhead};
use super::flow;
use super::ip::{self, IpHeader};
use super::link::Link;
use crate::api::PortIndex;
use crate::counters::Reason;
use crate::tables::{OuterHeader, Snapshot};

/// A packet for a station, and how to get it there.
pub(crate) struct Ingress<'a> {
    /// Where the packet starts in the frame.
    pub(crate) packet: usize,
    pub(crate) header: IpHeader,
    pub(crate) vni: Vni,
    pub(crate) station: MacAddr,
    pub(crate) port: PortIndex,
    pub(crate) link: LinkAddresses,
    pub(crate) outer: &'a OuterHeader,
    pub(crate) source_port: u16,
}

/// Decides about a frame from an uplink port.
#[inline]
pub(crate) fn decide<'a>(tables: &'a Snapshot, port: PortIndex, frame: &[u8]) -> Result<Ingress<'a>, Stop> {
    let link = Link::parse(frame, Reason::Vlan)?;
    if link.destination != tables.fixed.port_mac(port) {
        return Err(Reason::ForeignMac.into());
    }
    if !matches!(link.ethertype, EtherType::Ipv4 | EtherType::Ipv6) {
        return Err(Reason::UnknownEtherType.into());
    }
    let packet = &frame[link.payload..];
    let header = IpHeader::parse(link.ethertype, packet)?;
    let index = tables.overlays.by_address(header.destination).ok_or(Reason::NoOverlay)?;
    let overlay = tables.overlays.get(index);
    // A router that sends an overlay's packets back would join overlays that we keep apart.
    if tables.fixed.blocks.lookup(header.source).is_some() {
        return Err(Reason::OverlaySource.into());
    }
    if !ip::is_forwardable_source(header.source) {
        return Err(Reason::MartianSource.into());
    }
    if overlay.is_router(header.destination, tables.fixed.router_link_local) {
        return Err(Reason::ToRouter.into());
    }
    if header.ttl <= 1 {
        return Err(Reason::TtlExceeded.into());
    }
    let station = tables.stations.by_address(overlay.vni, header.destination).ok_or(Reason::NoStation)?;
    let endpoint = tables.endpoints.get(station.endpoint);
    let adjacency = endpoint.adjacency.as_ref().ok_or(Reason::NoRoute)?;
    let neighbour = adjacency.mac.get().ok_or(Reason::NoNeighbour)?;
    // Of the overhead, the outer Ethernet header does not count toward the underlay's MTU, but the inner one does.
    let outer_len = header.len + overhead(&endpoint.outer);
    if header.len > usize::from(overlay.mtu) || outer_len > usize::from(tables.fixed.port(adjacency.port).mtu)
    {
        return Err(Reason::TooBig.into());
    }
    Ok(Ingress {
        packet: link.payload,
        header,
        vni: overlay.vni,
        station: station.mac,
        port: adjacency.port,
        link: LinkAddresses { destination: neighbour, source: tables.fixed.port_mac(adjacency.port) },
        outer: &endpoint.outer,
        source_port: flow::source_port(&header, packet),
    })
}
