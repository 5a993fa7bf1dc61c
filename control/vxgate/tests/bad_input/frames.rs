//! Frames by hand, well-formed until a test spoils them; headers come from an encoder that is not the product's.

use std::net::IpAddr;

use etherparse::{IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, PacketBuilder};
use wire::MacAddr;

pub(crate) const IPV4: u16 = 0x0800;
pub(crate) const IPV6: u16 = 0x86dd;
pub(crate) const ARP: u16 = 0x0806;
pub(crate) const VLAN: u16 = 0x8100;
pub(crate) const QINQ: u16 = 0x88a8;

/// UDP port of VXLAN.
pub(crate) const VXLAN_PORT: u16 = 4789;

pub(crate) const ICMPV6: u8 = 58;
/// IPv6 fragment header.
pub(crate) const FRAGMENT: u8 = 44;

pub(crate) const ETHERNET_LEN: usize = 14;

/// Bytes of an IP header of the address's family, without options.
pub(crate) fn ip_len(address: IpAddr) -> usize {
    if address.is_ipv4() { 20 } else { 40 }
}

/// EtherType of the address's family.
pub(crate) fn ethertype(address: IpAddr) -> u16 {
    if address.is_ipv4() { IPV4 } else { IPV6 }
}

/// Addresses of a packet, TTL or hop limit, and UDP ports.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flow {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) ttl: u8,
    pub(crate) ports: (u16, u16),
}

impl Flow {
    pub(crate) fn new(source: IpAddr, destination: IpAddr) -> Self {
        Self { source, destination, ttl: 64, ports: (4000, crate::stage::PORT) }
    }

    pub(crate) fn ttl(self, ttl: u8) -> Self {
        Self { ttl, ..self }
    }

    pub(crate) fn ports(self, source: u16, destination: u16) -> Self {
        Self { ports: (source, destination), ..self }
    }

    /// A UDP packet from the IP header on.
    pub(crate) fn udp(&self, payload: &[u8]) -> Vec<u8> {
        let mut packet = Vec::new();
        let ip = match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                PacketBuilder::ipv4(source.octets(), destination.octets(), self.ttl)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                PacketBuilder::ipv6(source.octets(), destination.octets(), self.ttl)
            }
            mixed => panic!("one family: {mixed:?}"),
        };
        ip.udp(self.ports.0, self.ports.1).write(&mut packet, payload).expect("a buffer grows");
        packet
    }

    /// A packet of any protocol from the IP header on.
    pub(crate) fn ip(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = Vec::new();
        let len = u16::try_from(payload.len()).expect("a short packet");
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let (source, destination) = (source.octets(), destination.octets());
                let header = Ipv4Header::new(len, self.ttl, IpNumber(protocol), source, destination);
                header.expect("a short packet").write(&mut packet).expect("a buffer grows");
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let header = Ipv6Header {
                    traffic_class: 0,
                    flow_label: Ipv6FlowLabel::ZERO,
                    payload_length: len,
                    next_header: IpNumber(protocol),
                    hop_limit: self.ttl,
                    source: source.octets(),
                    destination: destination.octets(),
                };
                header.write(&mut packet).expect("a buffer grows");
            }
            mixed => panic!("one family: {mixed:?}"),
        }
        packet.extend_from_slice(payload);
        packet
    }

    /// An ICMPv6 message with its checksum, from the IP header on.
    pub(crate) fn icmpv6(&self, kind: u8, body: &[u8]) -> Vec<u8> {
        let (IpAddr::V6(source), IpAddr::V6(destination)) = (self.source, self.destination) else {
            panic!("ICMPv6 over IPv4")
        };
        let mut message = vec![kind, 0, 0, 0];
        message.extend_from_slice(body);
        let mut sum = message.len() as u32 + u32::from(ICMPV6);
        let words = [&source.octets()[..], &destination.octets(), &message].concat();
        for pair in words.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
        }
        let sum = fold(sum);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        self.ip(ICMPV6, &message)
    }
}

/// An Ethernet frame.
pub(crate) fn ethernet(destination: MacAddr, source: MacAddr, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [&destination.0[..], &source.0, &ethertype.to_be_bytes(), payload].concat()
}

/// The frame with an 802.1Q or 802.1ad tag.
pub(crate) fn tagged(frame: &[u8], tpid: u16, vid: u16) -> Vec<u8> {
    [&frame[..12], &tpid.to_be_bytes(), &vid.to_be_bytes(), &frame[12..]].concat()
}

/// A VXLAN header and what follows.
pub(crate) fn vxlan(vni: u32, inner: &[u8]) -> Vec<u8> {
    [&[8, 0, 0, 0][..], &(vni << 8).to_be_bytes(), inner].concat()
}

/// `bytes` with other ones at `at`.
pub(crate) fn patched(mut bytes: Vec<u8>, at: usize, other: &[u8]) -> Vec<u8> {
    bytes[at..at + other.len()].copy_from_slice(other);
    bytes
}

/// An IPv4 packet with its header checksum made right again, so that it is not what a case fails by.
pub(crate) fn ipv4_checked(packet: Vec<u8>) -> Vec<u8> {
    let header = usize::from(packet[0] & 0x0f) * 4;
    let packet = patched(packet, 10, &[0, 0]);
    let words = packet[..header.min(packet.len())].chunks(2);
    let sum = words.map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    patched(packet, 10, &fold(sum).to_be_bytes())
}

/// An IPv4 packet with options, a multiple of 4 bytes, in its header.
pub(crate) fn with_options(packet: &[u8], options: &[u8]) -> Vec<u8> {
    let len = (packet.len() + options.len()) as u16;
    let packet = [&packet[..20], options, &packet[20..]].concat();
    let packet = patched(packet, 0, &[0x45 + (options.len() / 4) as u8]);
    ipv4_checked(patched(packet, 2, &len.to_be_bytes()))
}

/// The fragment of a packet without options that begins `offset` bytes (a multiple of 8) after its header and is `len`
/// bytes long, with more to follow or not.
pub(crate) fn fragment(packet: &[u8], offset: usize, len: usize, more: bool) -> Vec<u8> {
    let ipv4 = packet[0] >> 4 == 4;
    let header = if ipv4 { 20 } else { 40 };
    let data = &packet[header + offset..header + offset + len];
    if ipv4 {
        let field = (offset / 8) as u16 | if more { 0x2000 } else { 0 };
        let whole = [&packet[..header], data].concat();
        let whole = patched(whole, 2, &((header + len) as u16).to_be_bytes());
        return ipv4_checked(patched(whole, 6, &field.to_be_bytes()));
    }
    let field = offset as u16 | u16::from(more);
    let extension = [&[packet[6], 0][..], &field.to_be_bytes(), &[0, 0, 0, 1]].concat();
    let whole = [&packet[..header], &extension, data].concat();
    let whole = patched(whole, 4, &((8 + len) as u16).to_be_bytes());
    patched(whole, 6, &[FRAGMENT])
}

fn fold(mut sum: u32) -> u16 {
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
