//! ICMP and ICMPv6 of the router (RFC 792, RFC 4443): echo replies, and errors about packets that went no further.
//!
//! Pure functions: a frame that was handed over and the tables in, at most one packet out. An answer goes back the way
//! that the frame came, to the station and behind the endpoint that sent it, or to the outer network: never into
//! another overlay.

mod errors;
mod packet;

use std::net::IpAddr;

use wire::IpProtocol;
use wire::icmpv4::{Icmpv4Packet, Icmpv4Repr};
use wire::icmpv6::{Icmpv6Packet, Icmpv6Repr};
use wire::udp::UdpPacket;

use super::{Deed, Origin, Output, Received, Tally};
use crate::pipeline::ip::{self, ECN};
use crate::tables::Snapshot;
pub(super) use errors::{address_unreachable, error};
use packet::{Packet, emit_v4, emit_v6};

/// The answer to a packet for one of the router's addresses: an echo reply, or that nobody listens at a UDP port. All
/// else is ignored, fragments among it: the router does not reassemble.
pub(super) fn answer(tables: &Snapshot, received: &Received<'_>, tally: &Tally) -> Option<Output> {
    let packet = Packet::parse(received).filter(|packet| {
        let router = tables.overlays.get(received.overlay);
        !packet.is_fragment && router.is_router(packet.header.destination, tables.fixed.router_link_local)
    });
    if let Some(packet) = &packet
        && is_whole_datagram(packet)
    {
        return errors::port_unreachable(tables, received, tally);
    }
    let reply = packet
        .filter(|packet| is_one_host(tables, received, packet.header.source))
        .and_then(|packet| echo_reply(&packet));
    tally.count(if reply.is_some() { Deed::EchoAnswered } else { Deed::NotServed });
    reply.map(|reply| back(received, reply))
}

/// The reply to an echo request: from the address that was asked, with all its data, and its code point (RFC 1812
/// §4.3.3.6, RFC 4443 §4.2).
fn echo_reply(packet: &Packet<'_>) -> Option<Vec<u8>> {
    let traffic_class = packet.header.traffic_class & !ECN;
    match (packet.header.destination, packet.header.source, packet.protocol) {
        (IpAddr::V4(asked), IpAddr::V4(asker), IpProtocol::Icmp) => {
            let request = Icmpv4Packet::new_checked(packet.payload).ok()?;
            let Icmpv4Repr::EchoRequest { ident, sequence, data } = Icmpv4Repr::parse(&request).ok()? else {
                return None;
            };
            let reply = Icmpv4Repr::EchoReply { ident, sequence, data };
            // With the request's identification and DF it is as unique as its sender made that (RFC 6864 §4).
            Some(emit_v4(asked, asker, traffic_class, packet.identity(), &reply))
        }
        (IpAddr::V6(asked), IpAddr::V6(asker), IpProtocol::Icmpv6) => {
            let request = Icmpv6Packet::new_checked(packet.payload).ok()?;
            let Icmpv6Repr::EchoRequest { ident, sequence, data } =
                Icmpv6Repr::parse(&request, asker, asked).ok()?
            else {
                return None;
            };
            let reply = Icmpv6Repr::EchoReply { ident, sequence, data };
            Some(emit_v6(asked, asker, traffic_class, &reply))
        }
        _ => None,
    }
}

/// Whether it is UDP that a host would look at: with a checksum that is right (RFC 1122 §4.1.3.4, RFC 8200 §8.1).
fn is_whole_datagram(packet: &Packet<'_>) -> bool {
    let Ok(datagram) = UdpPacket::new_checked(packet.payload) else { return false };
    packet.protocol == IpProtocol::Udp
        && match (packet.header.source, packet.header.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => datagram.verify_checksum_v4(source, destination),
            (IpAddr::V6(source), IpAddr::V6(destination)) => datagram.verify_checksum_v6(source, destination),
            _ => false,
        }
}

/// Whether `source` is the address of one host, that can be answered (RFC 1812 §4.3.2.7, RFC 4443 §2.4 e.6): no group,
/// nor the network or broadcast address of a subnet.
fn is_one_host(tables: &Snapshot, received: &Received<'_>, source: IpAddr) -> bool {
    let is_edge = match received.origin {
        Origin::Station { overlay, .. } => tables.overlays.get(overlay).is_edge(source),
        Origin::Outer => false,
    };
    ip::is_forwardable_destination(source) && !is_edge
}

/// `packet`, one of the router's own and of the family of what was received, to where that came from.
fn back(received: &Received<'_>, packet: Vec<u8>) -> Output {
    match received.origin {
        Origin::Station { overlay, endpoint } => {
            let (mac, ethertype) = (received.sender, received.ethertype);
            Output::Station { overlay, endpoint, mac, ethertype, payload: packet }
        }
        Origin::Outer => Output::Outer(packet),
    }
}

#[cfg(test)]
mod tests;
