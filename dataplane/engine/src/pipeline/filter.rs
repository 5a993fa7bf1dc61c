//! What rules say about a packet that leaves its overlay.

use std::net::IpAddr;

use wire::IpProtocol;
use wire::ipv4::Ipv4Packet;
use wire::ipv6::Ipv6Packet;

use super::Stop;
use super::ip::IpHeader;
use crate::api::Action;
use crate::counters::Reason;
use crate::tables::rules::Packet;
use crate::tables::{OverlayIndex, Snapshot};

/// Stream control transmission protocol and UDP-Lite: ports where TCP has them (RFC 9260, RFC 3828).
const WITH_PORTS: [IpProtocol; 4] =
    [IpProtocol::Tcp, IpProtocol::Udp, IpProtocol::Unknown(132), IpProtocol::Unknown(136)];

/// To the outer network: allowed unless a rule says otherwise.
#[inline]
pub(crate) fn outward(
    tables: &Snapshot,
    overlay: OverlayIndex,
    header: &IpHeader,
    packet: &[u8],
) -> Result<(), Stop> {
    if tables.rules.is_empty() {
        return Ok(());
    }
    obey(tables, overlay, header, packet, Ok(()))
}

/// Into another overlay: rejected unless a rule says otherwise.
pub(crate) fn between(
    tables: &Snapshot,
    overlay: OverlayIndex,
    header: &IpHeader,
    packet: &[u8],
) -> Result<(), Stop> {
    obey(tables, overlay, header, packet, Err(Stop::punt(Reason::BetweenOverlays, overlay)))
}

fn obey(
    tables: &Snapshot,
    overlay: OverlayIndex,
    header: &IpHeader,
    packet: &[u8],
    otherwise: Result<(), Stop>,
) -> Result<(), Stop> {
    match tables.rules.decide(&describe(header, packet)?) {
        None => otherwise,
        Some((_, Action::Allow)) => Ok(()),
        Some((_, Action::Reject)) => Err(Stop::punt(Reason::RuleReject, overlay)),
        Some((_, Action::Drop)) => Err(Reason::RuleDrop.into()),
    }
}

/// What rules look at. Nothing hides behind IPv6 extension headers, nor in a first fragment that is too short for its
/// ports (RFC 1858 §4.2.1, RFC 7112 §5).
pub(crate) fn describe(header: &IpHeader, packet: &[u8]) -> Result<Packet, Reason> {
    let IpHeader { source, destination, .. } = *header;
    let (protocol, ports_at) = match source {
        IpAddr::V4(_) => {
            let packet = Ipv4Packet::new_checked(packet)?;
            (packet.protocol(), (packet.fragment_offset() == 0).then_some(packet.header_len()))
        }
        IpAddr::V6(_) => {
            let upper = Ipv6Packet::new_checked(packet)?.upper_layer()?;
            let is_later = upper.fragment_offset.is_some_and(|offset| offset != 0);
            (upper.protocol, (!is_later).then_some(upper.offset))
        }
    };
    let ports = match ports_at.filter(|_| WITH_PORTS.contains(&protocol)) {
        Some(at) => match packet.get(at..at + 4) {
            Some(&[a, b, c, d]) => Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))),
            _ => return Err(Reason::Truncated),
        },
        None => None,
    };
    Ok(Packet { source, destination, protocol: protocol.into(), ports })
}
