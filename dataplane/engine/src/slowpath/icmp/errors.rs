//! What a sender is told of a packet that was not forwarded, and when nothing may be said.

use std::net::IpAddr;

use wire::icmpv4::{self, Icmpv4Repr};
use wire::icmpv6::{self, Icmpv6Repr};
use wire::{IpProtocol, ipv4, ndp};

use super::packet::{Identity, Packet, emit_v4, emit_v6};
use super::{back, is_one_host};
use crate::counters::Reason;
use crate::pipeline::ip;
use crate::slowpath::{Deed, Origin, Output, Received, Tally};
use crate::tables::Snapshot;

/// Code point CS6 (precedence 6), which IPv4 errors are sent with (RFC 1812 §4.3.2.5).
const INTERNETWORK_CONTROL: u8 = 0xc0;

/// Bytes of an IPv4 error before what it quotes (RFC 792).
const HEADERS_V4: usize = ipv4::HEADER_LEN + 8;

/// What went wrong.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// TTL or hop limit used up.
    TimeExceeded,
    /// Longer than this many bytes, and not to be cut.
    TooBig(u16),
    /// Not delivered; the codes for IPv4 and IPv6 say why.
    Unreachable(u8, u8),
}

impl Fault {
    const NO_ROUTE: Self = Self::Unreachable(icmpv4::UNREACHABLE_NET, icmpv6::UNREACHABLE_NO_ROUTE);
    const PROHIBITED: Self =
        Self::Unreachable(icmpv4::UNREACHABLE_PROHIBITED, icmpv6::UNREACHABLE_PROHIBITED);
    const NO_ADDRESS: Self = Self::Unreachable(icmpv4::UNREACHABLE_HOST, icmpv6::UNREACHABLE_ADDRESS);
    const NO_PORT: Self = Self::Unreachable(icmpv4::UNREACHABLE_PORT, icmpv6::UNREACHABLE_PORT);

    /// `None` where nobody is told.
    fn of(reason: Reason, mtu: u16) -> Option<Self> {
        Some(match reason {
            Reason::TtlExceeded => Self::TimeExceeded,
            Reason::TooBig => Self::TooBig(mtu),
            Reason::NoRoute => Self::NO_ROUTE,
            Reason::BetweenOverlays | Reason::RuleReject => Self::PROHIBITED,
            _ => return None,
        })
    }

    fn v4(self, packet: &[u8]) -> Icmpv4Repr<'_> {
        let invoking = icmpv4::invoking(packet);
        match self {
            Self::TimeExceeded => Icmpv4Repr::TimeExceeded { code: 0, invoking },
            Self::TooBig(mtu) => Icmpv4Repr::FragmentationNeeded { mtu, invoking },
            Self::Unreachable(code, _) => Icmpv4Repr::DestinationUnreachable { code, invoking },
        }
    }

    fn v6(self, packet: &[u8]) -> Icmpv6Repr<'_> {
        let invoking = icmpv6::invoking(packet);
        match self {
            Self::TimeExceeded => Icmpv6Repr::TimeExceeded { code: 0, invoking },
            Self::TooBig(mtu) => Icmpv6Repr::PacketTooBig { mtu: mtu.into(), invoking },
            Self::Unreachable(_, code) => Icmpv6Repr::DestinationUnreachable { code, invoking },
        }
    }
}

/// The error about a packet that was not forwarded for `reason`; `mtu`: the longest that could have passed, in bytes.
pub(in crate::slowpath) fn error(
    tables: &Snapshot,
    received: &Received<'_>,
    reason: Reason,
    mtu: u16,
    tally: &Tally,
) -> Option<Output> {
    tell(tables, received, Fault::of(reason, mtu)?, tally)
}

/// The error about a packet whose receiver did not tell its MAC address (RFC 1812 §5.2.7.1, RFC 4861 §7.2.2).
pub(in crate::slowpath) fn address_unreachable(
    tables: &Snapshot,
    received: &Received<'_>,
    tally: &Tally,
) -> Option<Output> {
    tell(tables, received, Fault::NO_ADDRESS, tally)
}

/// The error about a datagram for a port of the router's where nobody listens.
pub(super) fn port_unreachable(tables: &Snapshot, received: &Received<'_>, tally: &Tally) -> Option<Output> {
    tell(tables, received, Fault::NO_PORT, tally)
}

fn tell(tables: &Snapshot, received: &Received<'_>, fault: Fault, tally: &Tally) -> Option<Output> {
    let message = Packet::parse(received)
        .filter(|packet| may_be_told(tables, received, packet))
        .and_then(|packet| message(tables, received, &packet, fault));
    tally.count(if message.is_some() { Deed::ErrorSent } else { Deed::ErrorSuppressed });
    message.map(|message| back(received, message))
}

/// The whole packet: from the router, quoting as much of `packet` as may be.
fn message(tables: &Snapshot, received: &Received<'_>, packet: &Packet<'_>, fault: Fault) -> Option<Vec<u8>> {
    match (source(tables, received, packet)?, packet.header.source) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            // An overlay of IPv4 alone may take less than such an error may be long.
            let room = match received.origin {
                Origin::Station { overlay, .. } => tables.overlays.get(overlay).mtu.into(),
                Origin::Outer => usize::MAX,
            };
            let quoted = packet.bytes.len().min(room.saturating_sub(HEADERS_V4));
            let error = fault.v4(&packet.bytes[..quoted]);
            Some(emit_v4(from, to, INTERNETWORK_CONTROL, Identity::ATOMIC, &error))
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => Some(emit_v6(from, to, 0, &fault.v6(packet.bytes))),
        _ => None,
    }
}

/// The address that the router speaks from about `packet`: the one that it was sent to if that is the router's
/// (RFC 4443 §2.2 a), else one on the side that it came from (RFC 1812 §4.3.2.4).
fn source(tables: &Snapshot, received: &Received<'_>, packet: &Packet<'_>) -> Option<IpAddr> {
    let (sender, receiver) = (packet.header.source, packet.header.destination);
    let fixed = &tables.fixed;
    let concerned = tables.overlays.get(received.overlay);
    if concerned.is_router(receiver, fixed.router_link_local) {
        return Some(receiver);
    }
    match received.origin {
        Origin::Station { overlay, .. } => {
            let link_local = sender.is_ipv6().then_some(fixed.router_link_local.into());
            tables.overlays.get(overlay).router_for(sender).or(link_local)
        }
        Origin::Outer => {
            let fits = |address: IpAddr| address.is_ipv4() == sender.is_ipv4() && !ip::is_link_local(address);
            let mut uplinks = fixed.uplink_addresses.iter().filter(|(_, address)| fits(*address));
            let own = uplinks.clone().find(|(port, _)| *port == received.port);
            let uplink = own.or_else(|| uplinks.next()).map(|(_, address)| *address);
            uplink.or_else(|| concerned.router_for(receiver))
        }
    }
}

/// Whether an error may be sent about `packet` (RFC 1812 §4.3.2.7, RFC 4443 §2.4 e): it must be from one host and for
/// one, and be no error itself; and the first of IPv4 fragments speaks for all.
fn may_be_told(tables: &Snapshot, received: &Received<'_>, packet: &Packet<'_>) -> bool {
    let (sender, receiver) = (packet.header.source, packet.header.destination);
    let is_repeated = packet.is_later_fragment && sender.is_ipv4();
    !received.receiver.is_multicast()
        && is_one_host(tables, received, sender)
        && ip::is_forwardable_destination(receiver)
        && !is_directed_broadcast(tables, receiver)
        && !is_repeated
        && !is_error(packet)
}

fn is_directed_broadcast(tables: &Snapshot, receiver: IpAddr) -> bool {
    let overlay = tables.overlays.by_address(receiver).filter(|_| receiver.is_ipv4());
    overlay.is_some_and(|overlay| tables.overlays.get(overlay).is_edge(receiver))
}

/// Whether `packet` is an ICMP error or a redirect, or may be one as far as can be seen.
fn is_error(packet: &Packet<'_>) -> bool {
    let kind = packet.payload.first().filter(|_| !packet.is_later_fragment);
    match (packet.header.source, packet.protocol) {
        (IpAddr::V4(_), IpProtocol::Icmp) => kind.is_none_or(|kind| icmpv4::is_error(*kind)),
        (IpAddr::V6(_), IpProtocol::Icmpv6) => {
            kind.is_none_or(|kind| icmpv6::is_error(*kind) || *kind == ndp::REDIRECT)
        }
        _ => false,
    }
}
