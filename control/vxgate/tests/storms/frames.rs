//! Frames by hand: what a hostile host sends, inside VXLAN or on the uplink.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wire::arp::{self, ArpOperation, ArpRepr};
use wire::ethernet::{self, EthernetRepr};
use wire::icmpv4::Icmpv4Packet;
use wire::icmpv6::{self, Icmpv6Packet};
use wire::ipv4::{self, Ipv4Packet, Ipv4Repr};
use wire::ipv6::{self, Ipv6Repr};
use wire::udp::{self, UdpRepr};
use wire::vxlan::{self, VxlanRepr};
use wire::{EtherType, IpProtocol, MacAddr, Vni};

/// A protocol for experiments (RFC 3692): nobody expects it.
pub(crate) const EXPERIMENT: IpProtocol = IpProtocol::Unknown(253);

/// Who sends a packet to whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flow {
    pub(crate) from: IpAddr,
    pub(crate) to: IpAddr,
    /// TTL or hop limit.
    pub(crate) ttl: u8,
}

impl Flow {
    /// With a TTL that suffices.
    pub(crate) fn new(from: impl Into<IpAddr>, to: impl Into<IpAddr>) -> Self {
        Self { from: from.into(), to: to.into(), ttl: 64 }
    }

    pub(crate) fn ttl(self, ttl: u8) -> Self {
        Self { ttl, ..self }
    }

    /// A packet from its IP header on. IPv4 is not to be fragmented.
    ///
    /// # Panics
    /// If the addresses are of different families.
    pub(crate) fn packet(&self, protocol: IpProtocol, payload: &[u8]) -> Vec<u8> {
        let payload_len = payload.len() as u16;
        let mut packet = match (self.from, self.to) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let mut header = vec![0; ipv4::HEADER_LEN];
                let ttl = self.ttl;
                Ipv4Repr { src, dst, protocol, ttl, dscp_ecn: 0, ident: 0, dont_fragment: true, payload_len }
                    .emit(&mut header);
                header
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let mut header = vec![0; ipv6::HEADER_LEN];
                let hop_limit = self.ttl;
                Ipv6Repr {
                    src,
                    dst,
                    next_header: protocol,
                    hop_limit,
                    traffic_class: 0,
                    flow_label: 0,
                    payload_len,
                }
                .emit(&mut header);
                header
            }
            mixed => panic!("{mixed:?}"),
        };
        packet.extend_from_slice(payload);
        packet
    }

    /// A UDP packet.
    pub(crate) fn udp(&self, src_port: u16, dst_port: u16, payload: &[u8]) -> Vec<u8> {
        let mut datagram = vec![0; udp::HEADER_LEN];
        datagram.extend_from_slice(payload);
        let ports = UdpRepr { src_port, dst_port };
        match (self.from, self.to) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => ports.emit_v4(&mut datagram, src, dst),
            (IpAddr::V6(src), IpAddr::V6(dst)) => ports.emit_v6(&mut datagram, src, dst),
            mixed => panic!("{mixed:?}"),
        }
        self.packet(IpProtocol::Udp, &datagram)
    }

    /// A message of ICMP, or over IPv6 of ICMPv6; `body` follows the checksum.
    pub(crate) fn icmp(&self, kind: u8, code: u8, body: &[u8]) -> Vec<u8> {
        let mut message = vec![kind, code, 0, 0];
        message.extend_from_slice(body);
        message.resize(message.len().max(8), 0);
        match (self.from, self.to) {
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                Icmpv6Packet::new_checked(&mut message[..]).unwrap().fill_checksum(src, dst);
                self.packet(IpProtocol::Icmpv6, &message)
            }
            _ => {
                Icmpv4Packet::new_checked(&mut message[..]).unwrap().fill_checksum();
                self.packet(IpProtocol::Icmp, &message)
            }
        }
    }

    /// An echo request.
    pub(crate) fn echo(&self) -> Vec<u8> {
        self.icmp(if self.from.is_ipv4() { 8 } else { icmpv6::ECHO_REQUEST }, 0, &[0; 12])
    }
}

/// The last fragment, far from the beginning, of an IPv4 packet: as `packet`, but with an offset.
pub(crate) fn last_fragment(mut packet: Vec<u8>) -> Vec<u8> {
    packet[6..8].copy_from_slice(&100_u16.to_be_bytes());
    Ipv4Packet::new_checked(&mut packet[..]).unwrap().fill_checksum();
    packet
}

/// An Ethernet frame with an IP packet.
pub(crate) fn ethernet(dst: MacAddr, src: MacAddr, packet: &[u8]) -> Vec<u8> {
    let ethertype = if packet[0] >> 4 == 4 { EtherType::Ipv4 } else { EtherType::Ipv6 };
    with_header(EthernetRepr { dst, src, ethertype }, packet)
}

/// An ARP frame whose sender speaks for itself.
pub(crate) fn arp(
    dst: MacAddr,
    src: MacAddr,
    operation: ArpOperation,
    sender_ip: Ipv4Addr,
    target_ip: Ipv4Addr,
) -> Vec<u8> {
    let mut packet = vec![0; arp::LEN];
    ArpRepr { operation, sender_mac: src, sender_ip, target_mac: MacAddr::ZERO, target_ip }.emit(&mut packet);
    with_header(EthernetRepr { dst, src, ethertype: EtherType::Arp }, &packet)
}

fn with_header(header: EthernetRepr, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; ethernet::HEADER_LEN];
    header.emit(&mut frame);
    frame.extend_from_slice(payload);
    frame
}

/// The way from one VTEP to another on the same link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tunnel {
    pub(crate) from: (MacAddr, IpAddr),
    pub(crate) to: (MacAddr, IpAddr),
    pub(crate) vni: Vni,
}

impl Tunnel {
    /// The frame of the overlay as it is on the underlay.
    pub(crate) fn frame(&self, inner: &[u8]) -> Vec<u8> {
        let mut payload = vec![0; vxlan::HEADER_LEN];
        VxlanRepr { vni: self.vni }.emit(&mut payload);
        payload.extend_from_slice(inner);
        let packet = Flow::new(self.from.1, self.to.1).udp(50_000, vxlan::UDP_PORT, &payload);
        ethernet(self.to.0, self.from.0, &packet)
    }
}

/// Body of a neighbour solicitation (RFC 4861 §4.3): reserved bytes, target, options.
pub(crate) fn solicitation(target: Ipv6Addr, options: &[u8]) -> Vec<u8> {
    [&[0; 4][..], &target.octets(), options].concat()
}

/// Body of a neighbour advertisement (RFC 4861 §4.4) that overrides what was known, with a target link-layer address.
pub(crate) fn advertisement(target: Ipv6Addr, mac: MacAddr) -> Vec<u8> {
    [&[0x20, 0, 0, 0][..], &target.octets(), &link_layer(2, mac)].concat()
}

/// An option of neighbour discovery with a MAC address: of the source (1) or the target (2).
pub(crate) fn link_layer(kind: u8, mac: MacAddr) -> [u8; 8] {
    let [a, b, c, d, e, f] = mac.0;
    [kind, 1, a, b, c, d, e, f]
}
