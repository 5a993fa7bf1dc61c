//! Out of an overlay, to the outer network or into another overlay: who may send, and where it goes.

use std::net::IpAddr;

use wire::icmpv6;
use wire::{EtherType, IpProtocol};

use super::decapsulate::{Expected, Outer};
use super::ecn;
use super::encapsulate::LinkAddresses;
use super::filter;
use super::flow;
use super::ingress::{self, Ingress};
use super::ip::{self, IpHeader};
use super::link::Link;
use super::{Context, Stop};
use crate::api::{Admission, PortIndex};
use crate::counters::Reason;
use crate::tables::flow::{Flow, FlowKey};
use crate::tables::{Onward, OverlayIndex, Snapshot, Way};

/// ICMPv6 types of neighbour discovery: router and neighbour solicitation and advertisement, redirect (RFC 4861 §4).
const NDP_TYPES: std::ops::RangeInclusive<u8> = 133..=137;
/// UDP port of servers and relays (RFC 2131 §4.1).
const DHCPV4_SERVER_PORT: u16 = 67;
/// The same for DHCPv6 (RFC 8415 §7.2).
const DHCPV6_SERVER_PORT: u16 = 547;

/// A frame of an endpoint, read as far as the tables are not needed. Flat, and filled in place: it is on the path of
/// every packet.
pub(crate) struct Arrival {
    /// The sender, or nobody.
    pub(crate) key: FlowKey,
    outer: Outer,
    /// Where the inner network layer starts in the frame.
    packet: u16,
    audience: Audience,
    /// What is wrong with the inner frame is of interest only once its sender was admitted.
    content: Content,
    /// Of an earlier frame unless `content` says that there is one.
    header: IpHeader,
}

/// Whom the inner frame is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Audience {
    Router,
    Group,
    Another,
}

#[derive(Clone, Copy)]
enum Content {
    Ip,
    Arp,
    /// Its sender cannot be a station.
    NoSender,
    Bad(Reason),
}

impl Arrival {
    pub(crate) const NONE: Self = Self {
        key: FlowKey::NOBODY,
        outer: Outer::NONE,
        packet: 0,
        audience: Audience::Another,
        content: Content::Arp,
        header: IpHeader::NONE,
    };

    /// Reads the headers, outer and inner.
    #[inline]
    pub(crate) fn read(&mut self, expected: &Expected<'_>, frame: &[u8]) -> Result<(), Reason> {
        self.key = FlowKey::NOBODY;
        self.outer = Outer::parse(expected, frame)?;
        let inner_frame = &frame[self.outer.inner.into()..self.outer.end.into()];
        let link = match Link::parse(inner_frame, Reason::InnerVlan) {
            Ok(link) => link,
            Err(reason) => {
                self.content = Content::Bad(reason);
                return Ok(());
            }
        };
        if !link.source.is_unicast() || link.source == expected.router_mac {
            self.content = Content::NoSender;
            return Ok(());
        }
        self.key = FlowKey::mac(self.outer.vni, link.source);
        self.packet = self.outer.inner + link.payload;
        self.audience = if link.destination == expected.router_mac {
            Audience::Router
        } else if link.destination.is_multicast() {
            Audience::Group
        } else {
            Audience::Another
        };
        self.content = match link.ethertype {
            EtherType::Arp => Content::Arp,
            ethertype => match IpHeader::parse(ethertype, link.payload_of(inner_frame)) {
                Ok(header) => {
                    self.header = header;
                    Content::Ip
                }
                Err(reason) => Content::Bad(reason),
            },
        };
        Ok(())
    }
}

/// A packet that may leave its overlay for the outer network.
pub(crate) struct Egress<'a> {
    /// Where the inner packet starts in the frame.
    pub(crate) packet: u16,
    pub(crate) header: &'a IpHeader,
    /// Its ECN field, where the underlay changed it.
    pub(crate) ecn: Option<u8>,
    pub(crate) overlay: OverlayIndex,
    pub(crate) reason: Reason,
    pub(crate) port: PortIndex,
    pub(crate) link: LinkAddresses,
}

/// Where a packet from an overlay goes.
pub(crate) enum Decision<'a> {
    /// To the outer network.
    Out(Egress<'a>),
    /// Into an overlay, another or the same.
    Across(Ingress<'a>),
}

/// Decides about a frame whose sender was looked up.
#[inline]
pub(crate) fn decide<'a>(
    context: &Context<'a>,
    arrival: &'a Arrival,
    station: Option<&Flow>,
    frame: &[u8],
) -> Result<Decision<'a>, Stop> {
    let tables = context.tables;
    let Arrival { outer, packet, audience, header, .. } = arrival;
    let Some(station) = station else { return Err(stranger(tables, arrival, frame)) };
    let overlay = OverlayIndex(station.overlay);
    if !tables.is_vtep_of(overlay, outer, frame) {
        return Err(Reason::ForeignVtep.into());
    }
    // The endpoint that a station is known behind belongs to the overlay; any other must be asked about.
    let elsewhere = tables.endpoints.get(station.endpoint).address != outer.endpoint;
    if elsewhere {
        admit_elsewhere(tables, overlay, outer.endpoint)?;
    }
    if *audience == Audience::Another && !is_for_own_mac(tables, overlay, outer, frame) {
        return Err(Reason::NotForRouter.into());
    }
    // The address that this gateway alone has is always its own.
    let for_owner = *audience == Audience::Router && !tables.overlays.is_owner(overlay);
    if for_owner && !tables.overlays.forwards_for_owner(overlay) {
        return Err(Reason::NotOwner.into());
    }
    match arrival.content {
        Content::Ip => {}
        Content::Arp => return Err(Stop::punt(Reason::Arp, overlay)),
        Content::Bad(reason) => return Err(reason.into()),
        Content::NoSender => return Err(Reason::BadSourceMac.into()),
    }
    let bytes = &frame[usize::from(*packet)..];
    if header.is(IpProtocol::Icmpv6) && is_ndp(header, bytes) {
        return Err(Stop::punt(Reason::Ndp, overlay));
    }
    if !tables.overlays.is_station_source(overlay, header.source) {
        return Err(no_station_source(tables, overlay, arrival, bytes));
    }
    // What was sent to a group of stations is not for a router to pass on (RFC 1812 §5.3.4).
    if *audience == Audience::Group {
        return Err(if is_to_dhcp_server(header, bytes) {
            Stop::punt(Reason::Dhcp, overlay)
        } else {
            Reason::NotForRouter.into()
        });
    }
    let ecn = ecn::decapsulated(outer.ecn, header.traffic_class)?;
    let way = tables.fib.lookup(header.destination).unwrap_or(&Way::Reject);
    if matches!(way, Way::Local) {
        return local(context, overlay, *packet, header, ecn, frame).map(Decision::Across);
    }
    let (port, destination) =
        match tables.onward(way, header.destination, || flow::of_packet(header, bytes).path()) {
            Onward::To(port, neighbour) => (port, Some(neighbour)),
            Onward::Ask(next_hop) => (next_hop.port, None),
            Onward::NoNeighbour => return Err(Reason::NoNeighbour.into()),
            Onward::Nowhere => return Err(Stop::punt(Reason::NoRoute, overlay)),
        };
    if header.ttl <= 1 {
        return Err(Stop::punt(Reason::TtlExceeded, overlay));
    }
    filter::outward(tables, overlay, header, bytes)?;
    let mtu = tables.fixed.port(port).mtu;
    if header.len > mtu {
        return Err(Stop::too_big(header, bytes, overlay, mtu));
    }
    let Some(destination) = destination else { return Err(Stop::punt(Reason::Resolving, overlay)) };
    tables.overlays.limit_egress(overlay, header.len)?;
    let link = LinkAddresses { destination, source: tables.fixed.port_mac(port) };
    let reason = match (for_owner, elsewhere) {
        (true, _) => Reason::EgressForOwner,
        (false, true) => Reason::EgressElsewhere,
        (false, false) => Reason::Egress,
    };
    Ok(Decision::Out(Egress { packet: *packet, header, ecn, overlay, reason, port, link }))
}

/// The table of routes also knows what is never forwarded to the outer network: overlays, the host, groups, link-local
/// and reserved addresses, so that one look-up decides. This says which of them a destination is; an overlay it may be
/// forwarded into.
fn local<'a>(
    context: &Context<'a>,
    overlay: OverlayIndex,
    packet: u16,
    header: &'a IpHeader,
    ecn: Option<u8>,
    frame: &[u8],
) -> Result<Ingress<'a>, Stop> {
    let Context { tables, flows, .. } = context;
    let destination = header.destination;
    if tables.overlays.get(overlay).is_router(destination, tables.fixed.router_link_local) {
        return Err(Stop::punt(Reason::ToRouter, overlay));
    }
    if ip::is_link_local(destination) {
        return Err(Reason::LinkLocal.into());
    }
    if !ip::is_forwardable_destination(destination) {
        return Err(Reason::BadDestination.into());
    }
    if tables.fixed.blocks.lookup(destination).is_none() {
        let ours = tables.host.contains(&destination)
            || tables.fixed.vteps.contains(&destination)
            || tables.overlays.shards.contains(destination);
        return Err(if ours { Reason::ToHost } else { Reason::BadDestination }.into());
    }
    let Some(other) = tables.overlays.by_address(destination) else {
        return Err(Stop::punt(Reason::NoRoute, overlay));
    };
    if other != overlay {
        filter::between(tables, overlay, header, &frame[usize::from(packet)..])?;
    }
    let station = FlowKey::global(destination).and_then(|key| flows.get(key));
    let way = match &station {
        Some(station) => ingress::toward(tables, packet, header, station, frame),
        None => Err(ingress::nobody(tables, header)),
    };
    let mut ingress = way.map_err(|stop| stop.at_cost_of(overlay))?;
    // In this order: what is above the one's limit takes nothing from the other.
    tables.overlays.limit_egress(overlay, header.len)?;
    ingress.limit(tables)?;
    ingress.reason = Reason::Across;
    if let Some(ecn) = ecn {
        // What the first underlay said goes on in the second one (RFC 6040 §4.1: outside as inside).
        ingress.traffic_class = ingress.traffic_class & !ip::ECN | ecn;
        ingress.ecn = Some(ecn);
    }
    Ok(ingress)
}

/// Why a frame without a known sender is not forwarded.
#[cold]
fn stranger(tables: &Snapshot, arrival: &Arrival, frame: &[u8]) -> Stop {
    let Arrival { outer, content, key, audience, .. } = arrival;
    let Some(overlay) = tables.overlays.by_vni(outer.vni) else { return Reason::UnknownVni.into() };
    if let Err(reason) = admit_endpoint(tables, overlay, outer.endpoint) {
        return reason.into();
    }
    if !tables.is_vtep_of(overlay, outer, frame) {
        return Reason::ForeignVtep.into();
    }
    if *audience == Audience::Router
        && !tables.overlays.is_owner(overlay)
        && !tables.overlays.forwards_for_owner(overlay)
    {
        return Reason::NotOwner.into();
    }
    match content {
        Content::Bad(reason) if *key == FlowKey::NOBODY => (*reason).into(),
        Content::NoSender => Reason::BadSourceMac.into(),
        _ => Stop::punt(Reason::UnknownStation, overlay),
    }
}

#[cold]
fn admit_elsewhere(tables: &Snapshot, overlay: OverlayIndex, endpoint: IpAddr) -> Result<(), Reason> {
    admit_endpoint(tables, overlay, endpoint)?;
    match tables.overlays.get(overlay).policy.admission {
        Admission::Loose => Ok(()),
        Admission::Strict => Err(Reason::WrongEndpoint),
    }
}

#[cold]
fn admit_endpoint(tables: &Snapshot, overlay: OverlayIndex, endpoint: IpAddr) -> Result<(), Reason> {
    if tables.admits(overlay, endpoint) {
        return Ok(());
    }
    let known = tables.endpoints.index_of(endpoint).is_some();
    Err(if known { Reason::ForeignEndpoint } else { Reason::UnknownEndpoint })
}

/// Whether the inner frame is for the MAC address that this gateway alone has.
#[cold]
fn is_for_own_mac(tables: &Snapshot, overlay: OverlayIndex, outer: &Outer, frame: &[u8]) -> bool {
    let destination = &frame[usize::from(outer.inner)..][..6];
    tables.overlays.get(overlay).own_mac.is_some_and(|own| own.0 == *destination)
}

#[inline]
fn is_ndp(header: &IpHeader, packet: &[u8]) -> bool {
    matches!(header.source, IpAddr::V6(_))
        && header.upper_layer(packet, 0, icmpv6::HEADER_LEN).is_some_and(|icmp| NDP_TYPES.contains(&icmp[0]))
}

/// What becomes of a packet whose source is no station's: only ARP, ND and DHCP may come from such addresses, and what
/// is for the router, on the link itself.
#[cold]
fn no_station_source(tables: &Snapshot, overlay: OverlayIndex, arrival: &Arrival, packet: &[u8]) -> Stop {
    let header = &arrival.header;
    let is_link_local = ip::is_link_local(header.source) && header.source != tables.fixed.router_link_local;
    if !is_link_local && !header.source.is_unspecified() {
        return Reason::SpoofedSource.into();
    }
    if is_to_dhcp_server(header, packet) {
        return Stop::punt(Reason::Dhcp, overlay);
    }
    // Link-local IPv4 is for hosts without a router (RFC 3927 §2.7).
    let to_router = header.source.is_ipv6()
        && tables.overlays.get(overlay).is_router(header.destination, tables.fixed.router_link_local);
    if is_link_local && to_router && arrival.audience != Audience::Group {
        return Stop::punt(Reason::ToRouter, overlay);
    }
    Reason::LinkLocal.into()
}

/// Whether it is a client's DHCP, to any server or to the router as one.
#[cold]
fn is_to_dhcp_server(header: &IpHeader, packet: &[u8]) -> bool {
    let port = header.upper_layer(packet, 2, 2).filter(|_| header.is(IpProtocol::Udp));
    let port = port.and_then(|port| port.try_into().ok()).map(u16::from_be_bytes);
    port == Some(if header.source.is_ipv4() { DHCPV4_SERVER_PORT } else { DHCPV6_SERVER_PORT })
}
