//! From an overlay to the outer network: who may send, and where it goes.

use std::net::IpAddr;

use wire::icmpv6;
use wire::{EtherType, IpProtocol, MacAddr};

use super::decapsulate::{Expected, Outer};
use super::ip::{self, IpHeader};
use super::link::Link;
use super::{Punt, Stop};
use crate::api::{NextHop, PortIndex};
use crate::counters::Reason;
use crate::pipeline::encapsulate::LinkAddresses;
use crate::tables::flow::{Flow, FlowKey};
use crate::tables::{OverlayIndex, Snapshot, Way};

/// ICMPv6 types of neighbour discovery: router and neighbour solicitation and advertisement, redirect (RFC 4861 §4).
const NDP_TYPES: std::ops::RangeInclusive<u8> = 133..=137;
/// UDP ports of DHCP servers: DHCPv4 (RFC 2131 §4.1), DHCPv6 (RFC 8415 §7.2).
const DHCP_SERVER_PORTS: [u16; 2] = [67, 547];

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
    pub(crate) fn read(&mut self, expected: &Expected, frame: &[u8]) -> Result<(), Reason> {
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

/// A packet that may leave its overlay.
pub(crate) struct Egress<'a> {
    /// Where the inner packet starts in the frame.
    pub(crate) packet: u16,
    pub(crate) header: &'a IpHeader,
    pub(crate) overlay: OverlayIndex,
    pub(crate) port: PortIndex,
    pub(crate) link: LinkAddresses,
}

/// Decides about a frame whose sender was looked up.
#[inline]
pub(crate) fn decide<'a>(
    tables: &Snapshot,
    arrival: &'a Arrival,
    station: Option<&Flow>,
    frame: &[u8],
) -> Result<Egress<'a>, Stop> {
    let Arrival { outer, packet, audience, header, .. } = arrival;
    let Some(station) = station else { return Err(stranger(tables, arrival).into()) };
    let overlay = OverlayIndex(station.overlay);
    // The endpoint that a station is known behind belongs to the overlay; any other must be asked about.
    if tables.endpoints.get(station.endpoint).address != outer.endpoint {
        admit_endpoint(tables, overlay, outer.endpoint)?;
    }
    if *audience == Audience::Another {
        return Err(Reason::NotForRouter.into());
    }
    let punt = |reason| {
        let Outer { vni, endpoint, inner, end } = *outer;
        Stop::Punt(Punt::FromStation { reason, vni, endpoint, inner, end })
    };
    match arrival.content {
        Content::Ip => {}
        Content::Arp => return Err(punt(Reason::Arp)),
        Content::Bad(reason) => return Err(reason.into()),
        Content::NoSender => return Err(Reason::BadSourceMac.into()),
    }
    if header.is(IpProtocol::Icmpv6) && is_ndp(header, &frame[usize::from(*packet)..]) {
        return Err(punt(Reason::Ndp));
    }
    if !tables.overlays.is_station_source(overlay, header.source) {
        return Err(no_station_source(header, &frame[usize::from(*packet)..]).into());
    }
    // What was sent to a group of stations is not for a router to pass on (RFC 1812 §5.3.4).
    if *audience != Audience::Router {
        return Err(Reason::NotForRouter.into());
    }
    if header.ttl <= 1 {
        return Err(check_destination(tables, overlay, header).err().unwrap_or(Reason::TtlExceeded).into());
    }
    let step = route(tables, overlay, header)?;
    let (NextStep::Send(port, _) | NextStep::Resolve(NextHop { port, .. })) = step;
    if header.len > tables.fixed.port(port).mtu {
        return Err(Reason::TooBig.into());
    }
    match step {
        NextStep::Send(port, destination) => {
            let link = LinkAddresses { destination, source: tables.fixed.port_mac(port) };
            Ok(Egress { packet: *packet, header, overlay, port, link })
        }
        NextStep::Resolve(next_hop) => {
            Err(Stop::Punt(Punt::Resolve { next_hop, packet: *packet, end: packet + header.len }))
        }
    }
}

/// Why a frame without a known sender is dropped.
#[cold]
fn stranger(tables: &Snapshot, Arrival { outer, content, key, .. }: &Arrival) -> Reason {
    let Some(overlay) = tables.overlays.by_vni(outer.vni) else { return Reason::UnknownVni };
    if let Err(reason) = admit_endpoint(tables, overlay, outer.endpoint) {
        return reason;
    }
    match content {
        Content::Bad(reason) if *key == FlowKey::NOBODY => *reason,
        Content::NoSender => Reason::BadSourceMac,
        _ => Reason::UnknownStation,
    }
}

#[cold]
fn admit_endpoint(tables: &Snapshot, overlay: OverlayIndex, endpoint: IpAddr) -> Result<(), Reason> {
    if tables.overlays.admits(overlay, endpoint) {
        return Ok(());
    }
    let known = tables.endpoints.index_of(endpoint).is_some();
    Err(if known { Reason::ForeignEndpoint } else { Reason::UnknownEndpoint })
}

#[inline]
fn is_ndp(header: &IpHeader, packet: &[u8]) -> bool {
    matches!(header.source, IpAddr::V6(_))
        && header.upper_layer(packet, 0, icmpv6::HEADER_LEN).is_some_and(|icmp| NDP_TYPES.contains(&icmp[0]))
}

/// Why a packet whose source is no station's is dropped: only ARP, ND and DHCP may come from such addresses.
#[cold]
fn no_station_source(header: &IpHeader, packet: &[u8]) -> Reason {
    if !ip::is_link_local(header.source) && !header.source.is_unspecified() {
        return Reason::SpoofedSource;
    }
    // To the router as relay or server; a unicast renewal through it comes from a station's address.
    let destination_port = header
        .upper_layer(packet, 2, 2)
        .filter(|_| header.is(IpProtocol::Udp))
        .and_then(|port| port.try_into().ok());
    match destination_port.map(u16::from_be_bytes) {
        Some(port) if DHCP_SERVER_PORTS.contains(&port) => Reason::ToRouter,
        _ => Reason::LinkLocal,
    }
}

/// Where a packet that may leave goes.
enum NextStep {
    Send(PortIndex, MacAddr),
    /// To a neighbour whose MAC address is not known yet.
    Resolve(NextHop),
}

/// The table of routes also knows what is never forwarded: overlays, the host, groups, link-local and reserved
/// addresses, so that one look-up decides.
#[inline]
fn route(tables: &Snapshot, overlay: OverlayIndex, header: &IpHeader) -> Result<NextStep, Reason> {
    let destination = header.destination;
    match tables.fib.lookup(destination) {
        Some(Way::Via(adjacency)) => {
            Ok(NextStep::Send(adjacency.port, adjacency.mac.get().ok_or(Reason::NoNeighbour)?))
        }
        Some(Way::OnLink(port)) => {
            let next_hop = NextHop { port: *port, address: destination };
            let known = tables.on_link.get(&next_hop).and_then(|adjacency| adjacency.mac.get());
            Ok(known.map_or(NextStep::Resolve(next_hop), |mac| NextStep::Send(*port, mac)))
        }
        Some(Way::Local) => {
            Err(check_destination(tables, overlay, header).err().unwrap_or(Reason::BadDestination))
        }
        Some(Way::Reject) | None => Err(Reason::NoRoute),
    }
}

/// Why a destination is never forwarded to, if it is one of those.
#[cold]
fn check_destination(tables: &Snapshot, index: OverlayIndex, header: &IpHeader) -> Result<(), Reason> {
    let destination = header.destination;
    if tables.overlays.get(index).is_router(destination, tables.fixed.router_link_local) {
        return Err(Reason::ToRouter);
    }
    if ip::is_link_local(destination) {
        return Err(Reason::LinkLocal);
    }
    if !ip::is_forwardable_destination(destination) {
        return Err(Reason::BadDestination);
    }
    if tables.fixed.blocks.lookup(destination).is_some() {
        return Err(match tables.overlays.by_address(destination) {
            Some(other) if other == index => Reason::SameOverlay,
            _ => Reason::BetweenOverlays,
        });
    }
    if tables.host.contains(&destination) || tables.fixed.vteps.contains(&destination) {
        return Err(Reason::ToHost);
    }
    Ok(())
}
