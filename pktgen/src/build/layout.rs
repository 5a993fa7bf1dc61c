//! Where everything is in a stream's frames.

use arrayvec::ArrayVec;
use wire::{IpProtocol, checksum};

use super::Length;
use super::patch::{Patch, Place, SLOTS, Sums, Width};
use crate::profile::{
    Arp, Echo, Exchange, Field, Headers, Ipv4, Ipv6, Network, Stream, Tcp, Transport, Udp, Vlan,
};

/// Protocol number for experiments (RFC 3692 §2.1).
const EXPERIMENT: u8 = 253;

const OUTER_IP: usize = 0;
const OUTER_TRANSPORT: usize = 1;
const IP: usize = 2;
const TRANSPORT: usize = 3;

/// A frame's template, and what is to be done to copies of it.
pub(super) struct Layout {
    pub(super) bytes: Vec<u8>,
    pub(super) patches: Vec<Patch>,
    pub(super) lengths: Vec<Length>,
    pub(super) checks: ArrayVec<Check, SLOTS>,
}

/// A checksum.
#[derive(Clone, Copy, Debug)]
pub(super) struct Check {
    /// Which of the sums is its own.
    pub(super) slot: usize,
    /// Where it is.
    pub(super) at: usize,
    /// Zero would say that there is none (RFC 768).
    pub(super) never_zero: bool,
    /// All ones if the stamp is among what it covers.
    pub(super) covers_stamp: u64,
    /// The sum that it is a part of itself.
    pub(super) covered_by: Option<usize>,
    /// First byte that it covers.
    from: usize,
    /// First byte that it does not cover; none if it covers all to the end.
    to: Option<usize>,
    /// Protocol and place of the pseudo header's addresses.
    pseudo: Option<(u8, Addresses)>,
}

/// Where addresses are.
#[derive(Clone, Copy, Debug)]
struct Addresses {
    at: usize,
    len: usize,
}

impl Check {
    /// Whether it is that of an IPv4 header, and no transport's.
    pub(super) fn is_ipv4_header(&self) -> bool {
        self.to.is_some()
    }

    /// Whether a packet may do without: UDP over IPv4 (RFC 768).
    pub(super) fn may_be_left_out(&self) -> bool {
        self.never_zero && self.pseudo.is_some_and(|(_, addresses)| addresses.len == 8)
    }

    /// First byte that it covers.
    pub(super) fn from(&self) -> usize {
        self.from
    }

    /// The sum of what it covers in a frame whose changing fields are zero.
    pub(super) fn base(&self, frame: &[u8]) -> u64 {
        let covered = &frame[self.from..self.to.unwrap_or(frame.len())];
        let pseudo = self.pseudo.map_or(0, |(protocol, addresses)| {
            let addresses = &frame[addresses.at..addresses.at + addresses.len];
            checksum::ones_sum(addresses, u32::from(protocol) + covered.len() as u32)
        });
        checksum::ones_sum(covered, pseudo).into()
    }
}

/// Which checksums a level of headers has, and what covers it from outside.
#[derive(Clone, Copy)]
struct Level {
    ip: usize,
    transport: usize,
    /// Whether its transport has a checksum.
    sums_transport: bool,
    /// The outer transport's, if that is computed.
    outer: Option<usize>,
}

impl Level {
    /// All ones for these sums and the outer one.
    fn covers(self, slots: &[usize]) -> Sums {
        let mut covers = [0; SLOTS];
        for &slot in slots.iter().chain(&self.outer) {
            covers[slot] = u64::MAX;
        }
        covers
    }

    fn covers_transport(self) -> Sums {
        let mut covers = self.covers(&[]);
        if self.sums_transport {
            covers[self.transport] = u64::MAX;
        }
        covers
    }

    /// Of the addresses: `has_pseudo`, whether the transport's checksum has a pseudo header.
    fn covers_addresses(self, has_pseudo: bool) -> Sums {
        let mut covers = if has_pseudo { self.covers_transport() } else { self.covers(&[]) };
        covers[self.ip] = u64::MAX;
        covers
    }
}

impl Layout {
    pub(super) fn new(stream: &Stream) -> Self {
        let mut layout =
            Self { bytes: Vec::new(), patches: Vec::new(), lengths: Vec::new(), checks: ArrayVec::new() };
        let mut outer = None;
        if let Some(vxlan) = &stream.vxlan {
            let sums_transport = vxlan.checksum;
            let level = Level { ip: OUTER_IP, transport: OUTER_TRANSPORT, sums_transport, outer: None };
            outer = sums_transport.then_some(OUTER_TRANSPORT);
            layout.headers(&vxlan.outer, level);
            let at = layout.space(wire::vxlan::HEADER_LEN);
            // The I flag (RFC 7348 §5).
            layout.bytes[at] = 0x08;
            let place = Place { at: at + 4, width: Width::U32, bits: 24, shift: 8 };
            layout.put(&vxlan.vni, place, level.covers_transport());
        }
        let sums_transport = match &stream.headers.network {
            Network::Arp(_) | Network::Ipv4(_, Transport::None) | Network::Ipv6(_, Transport::None) => false,
            Network::Ipv4(..) | Network::Ipv6(..) => true,
        };
        let level = Level { ip: IP, transport: TRANSPORT, sums_transport, outer };
        layout.headers(&stream.headers, level);
        let payload = layout.bytes.len();
        layout.bytes.resize(stream.max_len(), stream.payload.fill);
        for field in &stream.payload.fields {
            let (width, shift) = match field.bytes {
                1 => (Width::U16, 8),
                2 => (Width::U16, 0),
                3 => (Width::U32, 8),
                _ => (Width::U32, 0),
            };
            let at = payload + usize::from(field.at);
            let place = Place { at, width, bits: 8 * u32::from(field.bytes), shift };
            layout.put(&field.value, place, level.covers_transport());
        }
        layout.checks.sort_by_key(|check| std::cmp::Reverse(check.slot));
        layout
    }

    /// Adds bytes of zero, and says where.
    fn space(&mut self, len: usize) -> usize {
        let at = self.bytes.len();
        self.bytes.resize(at + len, 0);
        at
    }

    /// Puts a value in if it is always the same, and else notes what is to be put in.
    fn put(&mut self, field: &Field, place: Place, covers: Sums) {
        match field.constant() {
            Some(value) => place.put(&mut self.bytes, value),
            None => {
                place.put(&mut self.bytes, 0);
                self.patches.push(Patch::new(field, place, covers));
            }
        }
    }

    fn put_16(&mut self, field: &Field, at: usize, covers: Sums) {
        self.put(field, Place { at, width: Width::U16, bits: 16, shift: 0 }, covers);
    }

    fn put_32(&mut self, field: &Field, at: usize, covers: Sums) {
        self.put(field, Place { at, width: Width::U32, bits: 32, shift: 0 }, covers);
    }

    fn put_mac(&mut self, field: &Field, at: usize, covers: Sums) {
        self.put(field, Place { at, width: Width::U48, bits: 48, shift: 0 }, covers);
    }

    fn put_128(&mut self, field: &Field, at: usize, covers: Sums) {
        self.put(field, Place { at, width: Width::U128, bits: 128, shift: 0 }, covers);
    }

    fn bytes_at(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn headers(&mut self, headers: &Headers, level: Level) {
        let covers = level.covers(&[]);
        let at = self.space(wire::ethernet::HEADER_LEN);
        self.put_mac(&headers.ethernet.dst, at, covers);
        self.put_mac(&headers.ethernet.src, at + 6, covers);
        self.tags(&headers.vlans, covers);
        let ether_type: u16 = match &headers.network {
            Network::Arp(_) => 0x0806,
            Network::Ipv4(..) => 0x0800,
            Network::Ipv6(..) => 0x86dd,
        };
        let end = self.bytes.len();
        self.bytes_at(end - 2, &ether_type.to_be_bytes());
        match &headers.network {
            Network::Arp(arp) => self.arp(arp, covers),
            Network::Ipv4(ip, transport) => {
                let has_pseudo = !matches!(transport, Transport::Echo(_));
                let covers = level.covers_addresses(has_pseudo);
                let addresses = self.ipv4(ip, protocol(transport, IpProtocol::Icmp.into()), level, covers);
                self.transport(transport, addresses, level);
            }
            Network::Ipv6(ip, transport) => {
                let addresses = self.ipv6(ip, protocol(transport, IpProtocol::Icmpv6.into()), level);
                self.transport(transport, addresses, level);
            }
        }
    }

    /// The type before a tag is its own; what follows the last is written by the caller.
    fn tags(&mut self, vlans: &[Vlan], covers: Sums) {
        for (nth, vlan) in vlans.iter().enumerate() {
            // A service tag comes first (IEEE 802.1Q §9.5).
            let tpid: u16 = if nth + 1 < vlans.len() { 0x88a8 } else { 0x8100 };
            let end = self.bytes.len();
            self.bytes_at(end - 2, &tpid.to_be_bytes());
            let at = self.space(wire::vlan::HEADER_LEN);
            self.put(&vlan.priority, Place { at, width: Width::U16, bits: 3, shift: 13 }, covers);
            self.put(&vlan.id, Place { at, width: Width::U16, bits: 12, shift: 0 }, covers);
        }
    }

    fn arp(&mut self, arp: &Arp, covers: Sums) {
        let at = self.space(wire::arp::LEN);
        let operation = match arp.operation {
            Exchange::Request => 1,
            Exchange::Reply => 2,
        };
        // Ethernet and IPv4, with the lengths of their addresses.
        self.bytes_at(at, &[0, 1, 8, 0, 6, 4, 0, operation]);
        self.put_mac(&arp.sender_mac, at + 8, covers);
        self.put_32(&arp.sender, at + 14, covers);
        self.put_mac(&arp.target_mac, at + 18, covers);
        self.put_32(&arp.target, at + 24, covers);
    }

    fn ipv4(&mut self, ip: &Ipv4, protocol: u8, level: Level, covers_addresses: Sums) -> Addresses {
        let at = self.space(wire::ipv4::HEADER_LEN);
        let covers = level.covers(&[level.ip]);
        self.bytes[at] = 0x45;
        // Don't fragment.
        self.bytes[at + 6] = 0x40;
        self.bytes[at + 9] = protocol;
        self.lengths.push(Length { at: at + 2, from: at });
        self.put(&ip.dscp, Place { at, width: Width::U16, bits: 6, shift: 2 }, covers);
        self.put_16(&ip.id, at + 4, covers);
        self.put(&ip.ttl, Place { at: at + 8, width: Width::U16, bits: 8, shift: 8 }, covers);
        self.put_32(&ip.src, at + 12, covers_addresses);
        self.put_32(&ip.dst, at + 16, covers_addresses);
        self.checks.push(Check {
            slot: level.ip,
            at: at + 10,
            never_zero: false,
            covers_stamp: 0,
            covered_by: level.outer,
            from: at,
            to: Some(at + wire::ipv4::HEADER_LEN),
            pseudo: None,
        });
        Addresses { at: at + 12, len: 8 }
    }

    fn ipv6(&mut self, ip: &Ipv6, protocol: u8, level: Level) -> Addresses {
        let at = self.space(wire::ipv6::HEADER_LEN);
        let covers = level.covers(&[]);
        self.bytes[at] = 0x60;
        self.bytes[at + 6] = protocol;
        self.lengths.push(Length { at: at + 4, from: at + wire::ipv6::HEADER_LEN });
        self.put(&ip.dscp, Place { at, width: Width::U32, bits: 6, shift: 22 }, covers);
        self.put(&ip.flow_label, Place { at, width: Width::U32, bits: 20, shift: 0 }, covers);
        self.put(&ip.hop_limit, Place { at: at + 6, width: Width::U16, bits: 8, shift: 0 }, covers);
        self.put_128(&ip.src, at + 8, level.covers_addresses(true));
        self.put_128(&ip.dst, at + 24, level.covers_addresses(true));
        Addresses { at: at + 8, len: 32 }
    }

    fn transport(&mut self, transport: &Transport, addresses: Addresses, level: Level) {
        let from = self.bytes.len();
        let covers = level.covers_transport();
        let (offset, pseudo, never_zero) = match transport {
            Transport::None => return,
            Transport::Udp(udp) => {
                self.udp(udp, covers);
                (6, Some((IpProtocol::Udp.into(), addresses)), true)
            }
            Transport::Tcp(tcp) => {
                self.tcp(tcp, covers);
                (16, Some((IpProtocol::Tcp.into(), addresses)), false)
            }
            Transport::Echo(echo) => {
                let is_v6 = addresses.len == 32;
                self.echo(echo, is_v6, covers);
                (2, is_v6.then_some((IpProtocol::Icmpv6.into(), addresses)), false)
            }
        };
        if level.sums_transport {
            self.checks.push(Check {
                slot: level.transport,
                at: from + offset,
                never_zero,
                covers_stamp: u64::MAX,
                covered_by: level.outer,
                from,
                to: None,
                pseudo,
            });
        }
    }

    fn udp(&mut self, udp: &Udp, covers: Sums) {
        let at = self.space(wire::udp::HEADER_LEN);
        self.put_16(&udp.src, at, covers);
        self.put_16(&udp.dst, at + 2, covers);
        self.lengths.push(Length { at: at + 4, from: at });
    }

    fn tcp(&mut self, tcp: &Tcp, covers: Sums) {
        let at = self.space(Transport::TCP_LEN);
        self.put_16(&tcp.src, at, covers);
        self.put_16(&tcp.dst, at + 2, covers);
        self.put_32(&tcp.sequence, at + 4, covers);
        self.put_32(&tcp.acknowledgement, at + 8, covers);
        let flags = tcp.flags.iter().fold(0, |flags, &flag| flags | flag as u8);
        // Five words of header.
        self.bytes_at(at + 12, &[5 << 4, flags]);
        self.put_16(&tcp.window, at + 14, covers);
    }

    fn echo(&mut self, echo: &Echo, is_v6: bool, covers: Sums) {
        let at = self.space(Transport::ECHO_LEN);
        // RFC 792, RFC 4443 §4.1 and §4.2.
        self.bytes[at] = match (echo.operation, is_v6) {
            (Exchange::Request, false) => 8,
            (Exchange::Reply, false) => 0,
            (Exchange::Request, true) => 128,
            (Exchange::Reply, true) => 129,
        };
        self.put_16(&echo.id, at + 4, covers);
        self.put_16(&echo.sequence, at + 6, covers);
    }
}

fn protocol(transport: &Transport, icmp: u8) -> u8 {
    match transport {
        Transport::None => EXPERIMENT,
        Transport::Udp(_) => IpProtocol::Udp.into(),
        Transport::Tcp(_) => IpProtocol::Tcp.into(),
        Transport::Echo(_) => icmp,
    }
}
