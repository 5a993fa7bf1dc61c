//! What the router says of itself and of packets, in the eyes of an independent decoder.

mod echo;
mod errors;
mod quiet;

use std::net::IpAddr;
use std::sync::Arc;

use etherparse::{Icmpv4Slice, Icmpv6Slice, Ipv4Header, Ipv6Header};
use proptest::prelude::*;
use wire::{EtherType, MacAddr};

use super::{address_unreachable, answer, error};
use crate::api::{Action, PortIndex, Rule, Update};
use crate::counters::Reason;
use crate::slowpath::{Deed, FrameCopy, Origin, Output, Punted, Received, Tally};
use crate::tables::{OverlayIndex, Writer};
use crate::testing::packets::{Udp, ip_frame, vxlan};
use crate::testing::*;

const STATION: [&str; 2] = ["10.0.1.10", "fd00:0:0:1::10"];
const OTHER_STATION: [&str; 2] = ["10.0.2.10", "fd00:0:0:2::10"];
const ROUTER: [&str; 2] = ["10.0.1.1", "fd00:0:0:1::1"];
const OTHER_ROUTER: [&str; 2] = ["10.0.2.1", "fd00:0:0:2::1"];
const OUTSIDE: [&str; 2] = ["203.0.113.5", "2001:db8:ff::5"];
const UPLINK_ADDRESS: [&str; 2] = ["198.18.1.1", "2001:db8:0:2::1"];
const FROM_STATION: (MacAddr, MacAddr) = (STATION_MAC, ROUTER_MAC);
const FROM_OUTSIDE: (MacAddr, MacAddr) = (OUTER_ROUTER_MAC, UPLINK_MAC);
/// Code point, for the family: CS6 of IPv4 errors.
const ERROR_CLASS: [u8; 2] = [0xc0, 0];

/// An ICMP packet that was sent.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    source: IpAddr,
    destination: IpAddr,
    traffic_class: u8,
    /// From the type on.
    message: Vec<u8>,
}

/// A packet of the router's, whose checksums are right and whose TTL is 64.
#[track_caller]
fn decode(packet: &[u8]) -> Seen {
    if packet[0] >> 4 == 4 {
        let (header, rest) = Ipv4Header::from_slice(packet).unwrap();
        assert_eq!(header.header_checksum, header.calc_header_checksum());
        assert_eq!((header.time_to_live, header.protocol.0), (64, 1));
        let message = &rest[..usize::from(header.total_len) - 20];
        let icmp = Icmpv4Slice::from_slice(message).unwrap();
        assert_eq!(icmp.header().icmp_type.calc_checksum(icmp.payload()), icmp.checksum());
        Seen {
            source: header.source.into(),
            destination: header.destination.into(),
            traffic_class: packet[1],
            message: message.to_vec(),
        }
    } else {
        let (header, rest) = Ipv6Header::from_slice(packet).unwrap();
        assert_eq!((header.hop_limit, header.next_header.0), (64, 58));
        let message = &rest[..header.payload_length.into()];
        let icmp = Icmpv6Slice::from_slice(message).unwrap();
        assert!(icmp.is_checksum_valid(header.source, header.destination));
        Seen {
            source: header.source.into(),
            destination: header.destination.into(),
            traffic_class: header.traffic_class,
            message: message.to_vec(),
        }
    }
}

/// The one packet that went to the station behind an endpoint.
#[track_caller]
fn to_station(out: &[(PortIndex, Vec<u8>)], endpoint: &str) -> Seen {
    let [(UNDERLAY, frame)] = out else { panic!("one, to the underlay: {out:?}") };
    let outer = etherparse::SlicedPacket::from_ethernet(frame).unwrap();
    let ip = outer.net.as_ref().unwrap();
    let destination: IpAddr = match ip {
        etherparse::NetSlice::Ipv4(ip) => ip.header().destination_addr().into(),
        etherparse::NetSlice::Ipv6(ip) => ip.header().destination_addr().into(),
        etherparse::NetSlice::Arp(_) => panic!("no IP"),
    };
    assert_eq!(destination, address(endpoint));
    let Some(etherparse::TransportSlice::Udp(udp)) = outer.transport else { panic!("no UDP") };
    let (vxlan, inner) = udp.payload().split_at(8);
    assert_eq!(vxlan, [8, 0, 0, 0, 0, 0, 100, 0], "into the overlay that it came from");
    assert_eq!((&inner[..6], &inner[6..12]), (&STATION_MAC.0[..], &ROUTER_MAC.0[..]));
    let seen = decode(&inner[14..]);
    assert_eq!(inner[12..14], if seen.source.is_ipv4() { [8, 0] } else { [0x86, 0xdd] });
    seen
}

/// The one packet that went to the outer network.
#[track_caller]
fn to_outside(out: &[(PortIndex, Vec<u8>)]) -> Seen {
    let [(UPLINK, frame)] = out else { panic!("one, to the uplink: {out:?}") };
    assert_eq!((&frame[..6], &frame[6..12]), (&OUTER_ROUTER_MAC.0[..], &UPLINK_MAC.0[..]));
    decode(&frame[14..])
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// An ICMP message of this family from `source` to `destination`, its checksum right.
fn icmp(family: usize, source: &str, destination: &str, kind: u8, code: u8, rest: &[u8]) -> Vec<u8> {
    let mut message = [&[kind, code, 0, 0], rest].concat();
    let pseudo = match (address(source), address(destination)) {
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            wire::checksum::pseudo_header_v6(source, destination, 58, message.len() as u32)
        }
        _ => 0,
    };
    assert_eq!(family == 1, pseudo != 0);
    let check = wire::checksum::finish(wire::checksum::ones_sum(&message, pseudo));
    message[2..4].copy_from_slice(&check.to_be_bytes());
    message
}

/// A frame with an echo request: 1 003 bytes of data.
fn echo(macs: (MacAddr, MacAddr), source: &str, destination: &str, ttl: u8) -> Vec<u8> {
    let family = usize::from(source.contains(':'));
    let rest: Vec<u8> = [0x12, 0x34, 0, 7].into_iter().chain((0..1003).map(|n| n as u8)).collect();
    let message = icmp(family, source, destination, [8, 128][family], 0, &rest);
    ip_frame(macs, source, destination, [1, 58][family], ttl, &message)
}

/// Sets the traffic class of a frame's packet to `class`, and lets its checksum be right.
fn set_class(frame: &mut [u8], class: u8) {
    if frame[14] >> 4 == 4 {
        frame[15] = class;
    } else {
        frame[14] |= class >> 4;
        frame[15] |= class << 4;
    }
    repair(frame);
}

/// Makes the header checksum of a frame's IPv4 packet right.
fn repair(frame: &mut [u8]) {
    if frame[14] >> 4 == 4 {
        frame[24..26].fill(0);
        let check = wire::checksum::finish(wire::checksum::ones_sum(&frame[14..34], 0));
        frame[24..26].copy_from_slice(&check.to_be_bytes());
    }
}

fn allow_all() -> Harness {
    let mut config = config();
    config.rules = vec![rule(Action::Allow)];
    let mut gateway = Harness::with(config);
    gateway.apply(updates());
    gateway
}

fn rule(action: Action) -> Rule {
    Rule {
        action,
        from: Arc::default(),
        to: Arc::default(),
        protocol: None,
        source_ports: None,
        destination_ports: None,
    }
}

/// Type, code and the four bytes after the checksum of the errors of each family.
struct Expected([[u8; 6]; 2]);

impl Expected {
    const TIME_EXCEEDED: Self = Self([[11, 0, 0, 0, 0, 0], [3, 0, 0, 0, 0, 0]]);
    const NO_ROUTE: Self = Self([[3, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]]);
    const PROHIBITED: Self = Self([[3, 13, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0]]);
    const NO_ADDRESS: Self = Self([[3, 1, 0, 0, 0, 0], [1, 3, 0, 0, 0, 0]]);
    const NO_PORT: Self = Self([[3, 3, 0, 0, 0, 0], [1, 4, 0, 0, 0, 0]]);

    fn too_big(mtu: u16) -> Self {
        let [high, low] = mtu.to_be_bytes();
        Self([[3, 4, 0, 0, high, low], [2, 0, 0, 0, high, low]])
    }

    /// That `seen` is this error about the packet in `frame`, from the router's address `from`.
    #[track_caller]
    fn check(&self, seen: &Seen, frame: &[u8], from: &str) {
        let family = usize::from(from.contains(':'));
        let packet = &frame[14..];
        let sender = match family {
            0 => IpAddr::from(<[u8; 4]>::try_from(&packet[12..16]).unwrap()),
            _ => IpAddr::from(<[u8; 16]>::try_from(&packet[8..24]).unwrap()),
        };
        assert_eq!((seen.source, seen.destination), (address(from), sender));
        assert_eq!(seen.traffic_class, ERROR_CLASS[family]);
        let (head, quoted) = seen.message.split_at(8);
        assert_eq!([&head[..2], &head[4..]].concat(), self.0[family]);
        let longest = [576 - 28, 1280 - 48][family];
        assert_eq!(quoted, &packet[..packet.len().min(longest)], "as much as may be quoted");
    }
}

/// Tables, and what is tallied: all that the functions here need.
struct Bench {
    writer: Writer,
    tally: Tally,
}

impl Bench {
    fn new() -> Self {
        let (mut writer, _) = Writer::new(config(), 1).unwrap();
        updates().into_iter().for_each(|update| writer.apply(update));
        Self { writer, tally: Tally::new() }
    }

    fn suppressed(&self) -> u64 {
        self.tally.get(Deed::ErrorSuppressed)
    }

    fn received<'a>(&self, origin: Origin, frame: &'a [u8]) -> Received<'a> {
        let ethertype = u16::from_be_bytes([frame[12], frame[13]]).into();
        Received {
            origin,
            port: if origin == Origin::Outer { UPLINK } else { UNDERLAY },
            overlay: OverlayIndex(0),
            sender: MacAddr(frame[6..12].try_into().unwrap()),
            receiver: MacAddr(frame[..6].try_into().unwrap()),
            ethertype,
            packet: &frame[14..],
        }
    }

    fn time_exceeded(&self, frame: &[u8]) -> Option<Output> {
        let station = Origin::Station { overlay: OverlayIndex(0), endpoint: address(ENDPOINT_V4) };
        let received = self.received(station, frame);
        error(self.writer.current(), &received, Reason::TtlExceeded, 0, &self.tally)
    }
}
