//! From an overlay to the outer network: who may send, and where it goes.

use std::net::IpAddr;

use wire::icmpv6;
use wire::{EtherType, IpProtocol, MacAddr, Vni};

use super::decapsulate::Outer;
use super::ip::{self, IpHeader};
use super::link::Link;
use super::{Punt, Stop};
use crate::api::{NextHop, Overlay, PortIndex};
use crate::counters::Reason;
use crate::pipeline::encapsulate::LinkAddresses;
use crate::tables::{OverlayIndex, Snapshot, Way};

/// ICMPv6 types of neighbour discovery: router and neighbour solicitation and advertisement, redirect (RFC 4861 §4).
const NDP_TYPES: std::ops::RangeInclusive<u8> = 133..=137;
/// UDP ports of DHCP servers: DHCPv4 (RFC 2131 §4.1), DHCPv6 (RFC 8415 §7.2).
const DHCP_SERVER_PORTS: [u16; 2] = [67, 547];

/// A packet that may leave its overlay.
pub(crate) struct Egress {
    /// Where the inner packet starts in the frame.
    pub(crate) packet: usize,
    pub(crate) header: IpHeader,
    pub(crate) port: PortIndex,
    pub(crate) link: LinkAddresses,
}

/// Decides about a frame from an underlay port.
#[inline]
pub(crate) fn decide(tables: &Snapshot, port: PortIndex, frame: &[u8]) -> Result<Egress, Stop> {
    let outer = Outer::parse(&tables.fixed, port, frame)?;
    let index = admit_endpoint(tables, outer.vni, outer.endpoint)?;
    let overlay = tables.overlays.get(index);

    let inner = &frame[outer.inner..outer.end];
    let link = Link::parse(inner, Reason::InnerVlan)?;
    admit_station(tables, outer.vni, &link)?;

    let for_router = link.destination == tables.fixed.router_mac;
    if !for_router && !link.destination.is_multicast() {
        return Err(Reason::NotForRouter.into());
    }
    let punt = |reason| {
        Stop::Punt(Punt::FromStation {
            reason,
            vni: outer.vni,
            endpoint: outer.endpoint,
            inner: outer.inner,
            end: outer.end,
        })
    };
    if link.ethertype == EtherType::Arp {
        return Err(punt(Reason::Arp));
    }
    let packet = &inner[link.payload..];
    let header = IpHeader::parse(link.ethertype, packet)?;
    if is_ndp(&header, packet) {
        return Err(punt(Reason::Ndp));
    }
    if is_dhcp(&header, packet) {
        return Err(Reason::ToRouter.into());
    }
    // What was sent to a group of stations is not for a router to pass on (RFC 1812 §5.3.4).
    if !for_router {
        return Err(Reason::NotForRouter.into());
    }
    check_source(tables, overlay, &header)?;
    check_destination(tables, overlay, index, &header)?;
    if header.ttl <= 1 {
        return Err(Reason::TtlExceeded.into());
    }
    let packet = outer.inner + link.payload;
    let step = route(tables, header.destination)?;
    let (NextStep::Send(port, _) | NextStep::Resolve(NextHop { port, .. })) = step;
    if header.len > usize::from(tables.fixed.port(port).mtu) {
        return Err(Reason::TooBig.into());
    }
    match step {
        NextStep::Send(port, destination) => {
            let link = LinkAddresses { destination, source: tables.fixed.port_mac(port) };
            Ok(Egress { packet, header, port, link })
        }
        NextStep::Resolve(next_hop) => {
            Err(Stop::Punt(Punt::Resolve { next_hop, packet, end: packet + header.len }))
        }
    }
}

/// The overlay of `vni`, if the endpoint may send into it.
#[inline]
fn admit_endpoint(tables: &Snapshot, vni: Vni, endpoint: IpAddr) -> Result<OverlayIndex, Reason> {
    let index = tables.overlays.by_vni(vni).ok_or(Reason::UnknownVni)?;
    if tables.overlays.admits(index, endpoint) {
        return Ok(index);
    }
    let known = tables.endpoints.index_of(endpoint).is_some();
    Err(if known { Reason::ForeignEndpoint } else { Reason::UnknownEndpoint })
}

#[inline]
fn admit_station(tables: &Snapshot, vni: Vni, link: &Link) -> Result<(), Reason> {
    if !link.source.is_unicast() || link.source == tables.fixed.router_mac {
        return Err(Reason::BadSourceMac);
    }
    match tables.stations.by_mac(vni, link.source) {
        Some(_) => Ok(()),
        None => Err(Reason::UnknownStation),
    }
}

#[inline]
fn is_ndp(header: &IpHeader, packet: &[u8]) -> bool {
    header.protocol == IpProtocol::Icmpv6
        && header.payload.and_then(|at| packet.get(at)).is_some_and(|kind| NDP_TYPES.contains(kind))
        && header.len >= wire::ipv6::HEADER_LEN + icmpv6::HEADER_LEN
}

#[inline]
fn is_dhcp(header: &IpHeader, packet: &[u8]) -> bool {
    // A unicast renewal through the router to a server outside is ordinary traffic.
    let local = ip::is_link_local(header.source)
        || header.source.is_unspecified()
        || !ip::is_forwardable_destination(header.destination);
    local
        && header.protocol == IpProtocol::Udp
        && header
            .payload
            .and_then(|at| packet.get(at + 2..at + 4))
            .and_then(|port| port.try_into().ok())
            .is_some_and(|port| DHCP_SERVER_PORTS.contains(&u16::from_be_bytes(port)))
}

/// The source must lie in the overlay's own subnets (BCP 38).
#[inline]
fn check_source(tables: &Snapshot, overlay: &Overlay, header: &IpHeader) -> Result<(), Reason> {
    let source = header.source;
    if ip::is_link_local(source) || source.is_unspecified() {
        return Err(Reason::LinkLocal);
    }
    if overlay.subnet_of(source).is_none() || overlay.is_router(source, tables.fixed.router_link_local) {
        return Err(Reason::SpoofedSource);
    }
    Ok(())
}

#[inline]
fn check_destination(
    tables: &Snapshot,
    overlay: &Overlay,
    index: OverlayIndex,
    header: &IpHeader,
) -> Result<(), Reason> {
    let destination = header.destination;
    if overlay.is_router(destination, tables.fixed.router_link_local) {
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

/// Where a packet that may leave goes.
enum NextStep {
    Send(PortIndex, MacAddr),
    /// To a neighbour whose MAC address is not known yet.
    Resolve(NextHop),
}

#[inline]
fn route(tables: &Snapshot, destination: IpAddr) -> Result<NextStep, Reason> {
    match tables.fib.lookup(destination) {
        Some(Way::Via(adjacency)) => {
            Ok(NextStep::Send(adjacency.port, adjacency.mac.get().ok_or(Reason::NoNeighbour)?))
        }
        Some(Way::OnLink(port)) => {
            let next_hop = NextHop { port: *port, address: destination };
            let known = tables.on_link.get(&next_hop).and_then(|adjacency| adjacency.mac.get());
            Ok(known.map_or(NextStep::Resolve(next_hop), |mac| NextStep::Send(*port, mac)))
        }
        Some(Way::Reject) | None => Err(Reason::NoRoute),
    }
}
