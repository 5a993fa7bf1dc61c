//! Packets that are cut, and what their receiver gets.

use etherparse::Ipv4Header;

use crate::api::{PortIndex, Update};
use crate::counters::Reason;
use crate::slowpath::Deed;
use crate::testing::packets::{Udp, vxlan};
use crate::testing::*;

const STATION: &str = "10.0.1.10";
const OUTSIDE: &str = "203.0.113.5";

/// The example gateway with these MTUs of uplink and overlay 100.
fn gateway(uplink: u16, overlay: u16) -> Harness {
    let mut config = config();
    config.ports[1].mtu = uplink;
    config.overlays[0].mtu = overlay;
    let mut gateway = Harness::with(config);
    gateway.apply(updates());
    gateway
}

/// A UDP frame that may be cut, with an identification.
fn divisible(udp: &Udp) -> Vec<u8> {
    let mut frame = udp.frame();
    frame[18..22].copy_from_slice(&[0xab, 0xcd, 0, 0]);
    frame[24..26].fill(0);
    let check = wire::checksum::finish(wire::checksum::ones_sum(&frame[14..34], 0));
    frame[24..26].copy_from_slice(&check.to_be_bytes());
    frame
}

/// All that goes out, and goes out again.
fn send(gateway: &mut Harness, port: PortIndex, frame: &[u8]) -> Vec<(PortIndex, Vec<u8>)> {
    let mut out = gateway.send(port, frame);
    loop {
        let more = gateway.sent();
        if more.is_empty() {
            return out;
        }
        out.extend(more);
    }
}

/// The payload of the packet that these pieces make, after each was looked at.
#[track_caller]
fn reassemble<'a>(pieces: impl Iterator<Item = &'a [u8]>, mtu: usize) -> Vec<u8> {
    let (mut payload, mut last) = (Vec::new(), false);
    for piece in pieces {
        let (header, rest) = Ipv4Header::from_slice(piece).unwrap();
        assert_eq!(header.header_checksum, header.calc_header_checksum());
        assert!(!last && usize::from(header.total_len) <= mtu);
        assert_eq!((header.identification, header.time_to_live), (0xabcd, 63));
        assert_eq!(usize::from(header.fragment_offset.value()) * 8, payload.len());
        payload.extend(&rest[..usize::from(header.total_len) - 20]);
        last = !header.more_fragments;
    }
    assert!(last);
    payload
}

#[test]
fn a_stations_packet_is_cut_for_the_uplink() {
    for (endpoint, congestion) in [(ENDPOINT_V4, false), (ENDPOINT_V6, false), (ENDPOINT_V4, true)] {
        let mut gateway = gateway(600, 1500);
        let mut inner = divisible(&Udp::from_station(STATION, OUTSIDE).payload(1472));
        let mut frame = vxlan(endpoint, 100, &inner);
        if congestion {
            // The sender understands; the underlay met congestion (RFC 6040 §4.2).
            inner = set_class(inner, 0, 0b10);
            frame = set_class(vxlan(endpoint, 100, &inner), 0, 0b11);
        }
        let out = send(&mut gateway, UNDERLAY, &frame);
        assert_eq!(out.len(), 3);
        assert!(out.iter().all(|(port, _)| *port == UPLINK));
        assert!(
            out.iter().all(|(_, frame)| frame[..6] == OUTER_ROUTER_MAC.0 && frame[6..12] == UPLINK_MAC.0)
        );
        assert!(out.iter().all(|(_, frame)| frame[15] == if congestion { 0b11 } else { 0 }));
        let payload = reassemble(out.iter().map(|(_, frame)| &frame[14..]), 600);
        assert_eq!(payload, inner[34..]);
        let seen =
            [Reason::Fragmented, Reason::Egress, Reason::EgressElsewhere].map(|reason| gateway.count(reason));
        let elsewhere = endpoint == ENDPOINT_V6;
        assert_eq!(seen, if elsewhere { [1, 0, 3] } else { [1, 3, 0] });
        assert_eq!(gateway.done(Deed::FragmentSent), 3);
    }
}

/// `frame` with this traffic class of its IPv4 packet.
fn set_class(mut frame: Vec<u8>, start: usize, class: u8) -> Vec<u8> {
    let header = &mut frame[start + 14..start + 34];
    header[1] = class;
    header[10..12].fill(0);
    let check = wire::checksum::finish(wire::checksum::ones_sum(header, 0));
    header[10..12].copy_from_slice(&check.to_be_bytes());
    frame
}

#[test]
fn a_packet_from_outside_is_cut_for_its_overlay() {
    let mut gateway = gateway(1500, 1400);
    let frame = divisible(&Udp::new((OUTER_ROUTER_MAC, UPLINK_MAC), OUTSIDE, STATION).payload(1472));
    let out = send(&mut gateway, UPLINK, &frame);
    assert_eq!(out.len(), 2);
    for (port, frame) in &out {
        assert_eq!((*port, &frame[42..50]), (UNDERLAY, &[8, 0, 0, 0, 0, 0, 100, 0][..]));
        assert_eq!((&frame[50..56], &frame[56..62]), (&STATION_MAC.0[..], &ROUTER_MAC.0[..]));
    }
    let payload = reassemble(out.iter().map(|(_, frame)| &frame[64..]), 1400);
    assert_eq!(payload, frame[34..]);
    assert_eq!((gateway.count(Reason::Ingress), gateway.done(Deed::FragmentSent)), (2, 2));
}

#[test]
fn the_smallest_mtu_makes_many_pieces_and_a_smaller_one_none() {
    let frame = vxlan(ENDPOINT_V4, 100, &divisible(&Udp::from_station(STATION, OUTSIDE).payload(1472)));
    let out = send(&mut gateway(68, 1500), UNDERLAY, &frame);
    assert_eq!(out.len(), 31);
    reassemble(out.iter().map(|(_, frame)| &frame[14..]), 68);
    let mut gateway = gateway(67, 1500);
    assert!(send(&mut gateway, UNDERLAY, &frame).is_empty());
    assert_eq!((gateway.count(Reason::Fragmented), gateway.done(Deed::FragmentSent)), (1, 0));
}

#[test]
fn a_priority_tag_is_in_the_way_of_nothing() {
    let mut gateway = gateway(1000, 1500);
    let mut inner = divisible(&Udp::from_station(STATION, OUTSIDE).payload(1472));
    let payload = inner[34..].to_vec();
    inner.splice(12..12, [0x81, 0, 0xe0, 0]);
    let mut frame = vxlan(ENDPOINT_V4, 100, &inner);
    frame.splice(12..12, [0x81, 0, 0, 0]);
    let out = send(&mut gateway, UNDERLAY, &frame);
    assert_eq!(reassemble(out.iter().map(|(_, frame)| &frame[14..]), 1000), payload);
}

#[test]
fn what_cannot_be_cut_goes_nowhere() {
    let mut gateway = gateway(600, 1500);
    // It would end beyond 65 535 bytes.
    let mut inner = divisible(&Udp::from_station(STATION, OUTSIDE).payload(1472));
    inner[20..22].copy_from_slice(&[0x1f, 0xff]);
    inner[24..26].fill(0);
    let check = wire::checksum::finish(wire::checksum::ones_sum(&inner[14..34], 0));
    inner[24..26].copy_from_slice(&check.to_be_bytes());
    assert!(send(&mut gateway, UNDERLAY, &vxlan(ENDPOINT_V4, 100, &inner)).is_empty());
    // The way out has changed meanwhile: the pieces are looked at like any packet.
    let whole = divisible(&Udp::from_station(STATION, OUTSIDE).payload(1472));
    gateway.apply([Update::Routes(Vec::new())]);
    let out = send(&mut gateway, UNDERLAY, &vxlan(ENDPOINT_V4, 100, &whole));
    assert!(out.iter().all(|(port, _)| *port == UNDERLAY), "an error alone");
    assert_eq!(gateway.count(Reason::Fragmented), 1);
}
