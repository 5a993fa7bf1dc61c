//! From the outer network into an overlay.

use wire::{EtherType, MacAddr, Vni};

use super::encapsulate::{LinkAddresses, overhead};
use super::flow;
use super::ip::IpHeader;
use super::link::Link;
use crate::api::PortIndex;
use crate::counters::Reason;
use crate::tables::flow::{Flow, FlowKey};
use crate::tables::{OuterHeader, OverlayIndex, Snapshot, Way};

/// A packet from the outer network, read as far as the tables are not needed.
pub(crate) struct Arrival {
    /// Where the packet starts in the frame.
    packet: u16,
    header: IpHeader,
    /// The receiver.
    pub(crate) key: FlowKey,
}

impl Arrival {
    pub(crate) const NONE: Self = Self { packet: 0, header: IpHeader::NONE, key: FlowKey::NOBODY };

    /// Reads the headers.
    #[inline]
    pub(crate) fn read(&mut self, port_mac: MacAddr, frame: &[u8]) -> Result<(), Reason> {
        self.key = FlowKey::NOBODY;
        let link = Link::parse(frame, Reason::Vlan)?;
        if link.destination != port_mac {
            return Err(Reason::ForeignMac);
        }
        if !matches!(link.ethertype, EtherType::Ipv4 | EtherType::Ipv6) {
            return Err(Reason::UnknownEtherType);
        }
        self.packet = link.payload;
        self.header = IpHeader::parse(link.ethertype, link.payload_of(frame))?;
        // Groups and link-local addresses lie in no overlay's subnets, and mean other things in the flow table.
        self.key = FlowKey::global(self.header.destination).ok_or(Reason::NoOverlay)?;
        Ok(())
    }
}

/// A packet for a station, and how to get it there.
pub(crate) struct Ingress<'a> {
    /// Where the packet starts in the frame.
    pub(crate) packet: u16,
    pub(crate) header: &'a IpHeader,
    pub(crate) overlay: OverlayIndex,
    pub(crate) vni: Vni,
    pub(crate) station: MacAddr,
    pub(crate) port: PortIndex,
    pub(crate) link: LinkAddresses,
    pub(crate) outer: &'a OuterHeader,
    pub(crate) source_port: u16,
}

/// Decides about a packet whose receiver was looked up.
#[inline]
pub(crate) fn decide<'a>(
    tables: &'a Snapshot,
    arrival: &'a Arrival,
    station: Option<&Flow>,
    frame: &[u8],
) -> Result<Ingress<'a>, Reason> {
    let Arrival { packet, ref header, .. } = *arrival;
    let Some(station) = station else { return Err(nobody(tables, header)) };
    check_source(tables, header)?;
    if header.ttl <= 1 {
        return Err(Reason::TtlExceeded);
    }
    let endpoint = tables.endpoints.get(station.endpoint);
    let adjacency = endpoint.adjacency.as_ref().ok_or(Reason::NoRoute)?;
    let neighbour = adjacency.mac.get().ok_or(Reason::NoNeighbour)?;
    let port = tables.fixed.port(adjacency.port);
    // Of the overhead, the outer Ethernet header does not count toward the underlay's MTU, but the inner one does.
    let outer_len = usize::from(header.len) + overhead(&endpoint.outer);
    if header.len > station.mtu || outer_len > usize::from(port.mtu) {
        return Err(Reason::TooBig);
    }
    Ok(Ingress {
        packet,
        header,
        overlay: OverlayIndex(station.overlay),
        vni: station.vni,
        station: station.mac,
        port: adjacency.port,
        link: LinkAddresses { destination: neighbour, source: tables.fixed.port_mac(adjacency.port) },
        outer: &endpoint.outer,
        source_port: flow::source_port(header, &frame[packet.into()..]),
    })
}

#[inline]
fn check_source(tables: &Snapshot, header: &IpHeader) -> Result<(), Reason> {
    match tables.fib.lookup(header.source) {
        Some(Way::Local) => Err(local_source(tables, header)),
        _ => Ok(()),
    }
}

/// Why a source that is in an overlay, our own or no host's at all is refused.
#[cold]
fn local_source(tables: &Snapshot, header: &IpHeader) -> Reason {
    // A router that sends an overlay's packets back would join overlays that we keep apart.
    match tables.fixed.blocks.lookup(header.source) {
        Some(()) => Reason::OverlaySource,
        None => Reason::MartianSource,
    }
}

/// Why a packet that is for no station is dropped.
#[cold]
fn nobody(tables: &Snapshot, header: &IpHeader) -> Reason {
    let Some(index) = tables.overlays.by_address(header.destination) else { return Reason::NoOverlay };
    if let Err(reason) = check_source(tables, header) {
        return reason;
    }
    if tables.overlays.get(index).is_router(header.destination, tables.fixed.router_link_local) {
        return Reason::ToRouter;
    }
    if header.ttl <= 1 {
        return Reason::TtlExceeded;
    }
    Reason::NoStation
}
