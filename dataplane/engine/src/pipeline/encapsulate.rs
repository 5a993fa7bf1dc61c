//! Outer headers, written before an inner frame.

use wire::ethernet::{self, EthernetRepr};
use wire::udp::{self, UdpRepr};
use wire::vxlan::{self, VxlanRepr};
use wire::{EtherType, MacAddr, Vni, checksum, ipv4, ipv6};

use crate::tables::OuterHeader;

/// MAC addresses of a frame that goes out of a port.
#[derive(Clone, Copy)]
pub(crate) struct LinkAddresses {
    pub(crate) destination: MacAddr,
    pub(crate) source: MacAddr,
}

/// Bytes from the start of the outer Ethernet header to the inner frame.
#[inline]
pub(crate) fn overhead(outer: &OuterHeader) -> usize {
    ethernet::HEADER_LEN + outer.len()
}

/// What outer headers say that differs from packet to packet.
#[derive(Clone, Copy)]
pub(crate) struct Label {
    pub(crate) vni: Vni,
    /// Entropy.
    pub(crate) source_port: u16,
    /// DSCP and ECN.
    pub(crate) traffic_class: u8,
}

/// Writes Ethernet, IP, UDP and VXLAN headers at the start of `frame`, which is [`overhead`] bytes of room and then the
/// inner frame.
#[inline]
pub(crate) fn write(frame: &mut [u8], outer: &OuterHeader, link: LinkAddresses, label: Label) {
    let ethertype = match outer {
        OuterHeader::V4 { .. } => EtherType::Ipv4,
        OuterHeader::V6 { .. } => EtherType::Ipv6,
    };
    EthernetRepr { dst: link.destination, src: link.source, ethertype }.emit(frame);
    let packet = &mut frame[ethernet::HEADER_LEN..];
    match outer {
        OuterHeader::V4 { header, sum } => {
            let total_len = packet.len() as u16;
            packet[..ipv4::HEADER_LEN].copy_from_slice(header);
            packet[1] = label.traffic_class;
            packet[2..4].copy_from_slice(&total_len.to_be_bytes());
            let header_checksum =
                checksum::finish(sum + u32::from(total_len) + u32::from(label.traffic_class));
            packet[10..12].copy_from_slice(&header_checksum.to_be_bytes());
            // Zero: none (RFC 7348 §5).
            write_udp_and_vxlan(&mut packet[ipv4::HEADER_LEN..], label);
        }
        OuterHeader::V6 { header, pseudo_sum } => {
            let payload_len = (packet.len() - ipv6::HEADER_LEN) as u16;
            packet[..ipv6::HEADER_LEN].copy_from_slice(header);
            packet[0] |= label.traffic_class >> 4;
            packet[1] |= label.traffic_class << 4;
            packet[4..6].copy_from_slice(&payload_len.to_be_bytes());
            let datagram = &mut packet[ipv6::HEADER_LEN..];
            write_udp_and_vxlan(datagram, label);
            // Zero is not allowed over IPv6 unless both ends agreed (RFC 6935), and means all ones (RFC 768).
            let sum = checksum::ones_sum(datagram, pseudo_sum + u32::from(payload_len));
            let udp_checksum = match checksum::finish(sum) {
                0 => 0xffff,
                sum => sum,
            };
            datagram[6..8].copy_from_slice(&udp_checksum.to_be_bytes());
        }
    }
}

#[inline]
fn write_udp_and_vxlan(datagram: &mut [u8], Label { vni, source_port, .. }: Label) {
    UdpRepr { src_port: source_port, dst_port: vxlan::UDP_PORT }.emit(datagram);
    VxlanRepr { vni }.emit(&mut datagram[udp::HEADER_LEN..]);
}
