//! Into an overlay, from the outer network or from another overlay.

use wire::{EtherType, MacAddr, Vni};

use super::encapsulate::{LinkAddresses, overhead};
use super::ip::IpHeader;
use super::link::Link;
use super::{Stop, ecn, flow};
use crate::api::PortIndex;
use crate::counters::Reason;
use crate::tables::flow::{Flow, FlowKey};
use crate::tables::{Onward, OuterHeader, OverlayIndex, ShardRecord, Snapshot, Way};

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
    /// Its ECN field, where the underlay changed it on the way here.
    pub(crate) ecn: Option<u8>,
    pub(crate) overlay: OverlayIndex,
    pub(crate) reason: Reason,
    pub(crate) vni: Vni,
    pub(crate) station: MacAddr,
    /// What the router's side of the overlay sends from.
    pub(crate) source: MacAddr,
    pub(crate) port: PortIndex,
    pub(crate) link: LinkAddresses,
    pub(crate) outer: &'a OuterHeader,
    /// The overlay's shard, from whose address the frame is sent.
    pub(crate) shard: Option<&'a ShardRecord>,
    pub(crate) source_port: u16,
    pub(crate) traffic_class: u8,
}

/// Decides about a packet from the outer network whose receiver was looked up.
#[inline]
pub(crate) fn decide<'a>(
    tables: &'a Snapshot,
    arrival: &'a Arrival,
    station: Option<&Flow>,
    frame: &[u8],
) -> Result<Ingress<'a>, Stop> {
    let Arrival { packet, ref header, .. } = *arrival;
    check_source(tables, header)?;
    match station {
        Some(station) => {
            let ingress = toward(tables, packet, header, station, frame)?;
            ingress.limit(tables)?;
            Ok(ingress)
        }
        None => Err(nobody(tables, header)),
    }
}

impl Ingress<'_> {
    /// Counts it against the limit of what enters its overlay: last of all, since what is dropped takes nothing from it.
    #[inline]
    pub(crate) fn limit(&self, tables: &Snapshot) -> Result<(), Reason> {
        let treatment = tables.overlays.treatment(self.overlay);
        tables.overlays.limit_ingress(self.overlay, treatment, self.header.len)
    }
}

/// The way to a station, not yet [limited](Ingress::limit).
#[inline]
pub(crate) fn toward<'a>(
    tables: &'a Snapshot,
    packet: u16,
    header: &'a IpHeader,
    station: &Flow,
    frame: &[u8],
) -> Result<Ingress<'a>, Stop> {
    let overlay = OverlayIndex(station.overlay);
    if header.ttl <= 1 {
        return Err(Stop::punt(Reason::TtlExceeded, overlay));
    }
    let endpoint = tables.endpoints.get(station.endpoint);
    let bytes = &frame[packet.into()..];
    let entropy = flow::of_packet(header, bytes);
    let (port, neighbour) = match tables.onward(&endpoint.way, endpoint.address, || entropy.path()) {
        Onward::To(port, neighbour) => (port, neighbour),
        Onward::Nowhere => return Err(Reason::NoRoute.into()),
        Onward::NoNeighbour | Onward::Ask(_) => return Err(Reason::NoNeighbour.into()),
    };
    let mtu = station.mtu.min(fits(tables.fixed.port(port).mtu, &endpoint.outer));
    if header.len > mtu {
        return Err(Stop::too_big(header, bytes, overlay, mtu));
    }
    let treatment = tables.overlays.treatment(overlay);
    Ok(Ingress {
        packet,
        header,
        ecn: None,
        overlay,
        reason: if treatment.is_owned() { Reason::Ingress } else { Reason::IngressForOwner },
        vni: station.vni,
        station: station.mac,
        // In a shard a frame is the same whoever sends it.
        source: if treatment.shard.is_some() { tables.fixed.router_mac } else { tables.sender(overlay) },
        port,
        link: LinkAddresses { destination: neighbour, source: tables.fixed.port_mac(port) },
        outer: &endpoint.outer,
        shard: treatment.shard,
        source_port: entropy.source_port(),
        traffic_class: ecn::encapsulated(treatment.dscp(), header.traffic_class),
    })
}

/// The longest packet that fits the underlay's MTU. Of the overhead, the outer Ethernet header does not count toward
/// it, but the inner one does.
#[inline]
pub(super) fn fits(mtu: u16, outer: &OuterHeader) -> u16 {
    mtu.saturating_sub(overhead(outer) as u16)
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

/// What becomes of a packet whose receiver no station is known to be.
#[cold]
pub(crate) fn nobody(tables: &Snapshot, header: &IpHeader) -> Stop {
    let Some(overlay) = tables.overlays.by_address(header.destination) else {
        return Reason::NoOverlay.into();
    };
    let record = tables.overlays.get(overlay);
    if record.is_router(header.destination, tables.fixed.router_link_local) {
        return Stop::punt(Reason::ToRouter, overlay);
    }
    if record.is_edge(header.destination) {
        return Reason::DirectedBroadcast.into();
    }
    if header.ttl <= 1 {
        return Stop::punt(Reason::TtlExceeded, overlay);
    }
    Stop::punt(Reason::Unresolved, overlay)
}
