//! IP packets as ICMP sees them: what they carry, and how those of the router are written.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wire::IpProtocol;
use wire::icmpv4::Icmpv4Repr;
use wire::icmpv6::Icmpv6Repr;
use wire::ipv4::{self, Ipv4Packet, Ipv4Repr};
use wire::ipv6::{self, Ipv6Packet, Ipv6Repr};

use crate::pipeline::ip::IpHeader;
use crate::slowpath::Received;

/// TTL and hop limit of what the router sends.
const TTL: u8 = 64;

/// A packet that was received, as far as its upper layer.
pub(super) struct Packet<'a> {
    pub(super) header: IpHeader,
    /// All of it, without padding.
    pub(super) bytes: &'a [u8],
    /// What `payload` is; of a later fragment, what the first one's is.
    pub(super) protocol: IpProtocol,
    /// What follows the IP header, its options and extension headers.
    pub(super) payload: &'a [u8],
    /// Whether this is not the whole packet.
    pub(super) is_fragment: bool,
    /// Whether `payload` starts in the middle.
    pub(super) is_later_fragment: bool,
}

impl<'a> Packet<'a> {
    /// `None` if it is no IP, or its headers are wrong or cannot be followed.
    pub(super) fn parse(received: &Received<'a>) -> Option<Self> {
        let header = IpHeader::parse(received.ethertype, received.packet).ok()?;
        let bytes = received.packet.get(..header.len.into())?;
        Some(match header.source {
            IpAddr::V4(_) => {
                let packet = Ipv4Packet::new_checked(bytes).ok()?;
                Self {
                    header,
                    bytes,
                    protocol: packet.protocol(),
                    payload: bytes.get(packet.header_len()..)?,
                    is_fragment: packet.is_fragment(),
                    is_later_fragment: packet.fragment_offset() != 0,
                }
            }
            IpAddr::V6(_) => {
                let upper = Ipv6Packet::new_checked(bytes).ok()?.upper_layer().ok()?;
                Self {
                    header,
                    bytes,
                    protocol: upper.protocol,
                    payload: bytes.get(upper.offset..)?,
                    is_fragment: upper.is_fragment(),
                    is_later_fragment: upper.fragment_offset.is_some_and(|offset| offset != 0),
                }
            }
        })
    }

    /// What tells it from others that may be cut.
    pub(super) fn identity(&self) -> Identity {
        match Ipv4Packet::new_checked(self.bytes) {
            Ok(packet) => Identity { ident: packet.ident(), dont_fragment: packet.dont_fragment() },
            Err(_) => Identity::ATOMIC,
        }
    }
}

/// Identification and DF of an IPv4 packet.
#[derive(Clone, Copy)]
pub(super) struct Identity {
    ident: u16,
    dont_fragment: bool,
}

impl Identity {
    /// Of packets that are never cut, whose identification means nothing (RFC 6864 §4.1).
    pub(super) const ATOMIC: Self = Self { ident: 0, dont_fragment: true };
}

/// An IPv4 packet with `message`.
pub(super) fn emit_v4(
    src: Ipv4Addr,
    dst: Ipv4Addr,
    dscp_ecn: u8,
    Identity { ident, dont_fragment }: Identity,
    message: &Icmpv4Repr<'_>,
) -> Vec<u8> {
    let payload_len = message.buffer_len() as u16;
    let protocol = IpProtocol::Icmp;
    let header = Ipv4Repr { src, dst, protocol, ttl: TTL, dscp_ecn, ident, dont_fragment, payload_len };
    let mut packet = vec![0; ipv4::HEADER_LEN + message.buffer_len()];
    header.emit(&mut packet);
    message.emit(&mut packet[ipv4::HEADER_LEN..]);
    packet
}

/// An IPv6 packet with `message`.
pub(super) fn emit_v6(src: Ipv6Addr, dst: Ipv6Addr, traffic_class: u8, message: &Icmpv6Repr<'_>) -> Vec<u8> {
    let payload_len = message.buffer_len() as u16;
    let next_header = IpProtocol::Icmpv6;
    let header =
        Ipv6Repr { src, dst, next_header, hop_limit: TTL, traffic_class, flow_label: 0, payload_len };
    let mut packet = vec![0; ipv6::HEADER_LEN + message.buffer_len()];
    header.emit(&mut packet);
    message.emit(&mut packet[ipv6::HEADER_LEN..], src, dst);
    packet
}
