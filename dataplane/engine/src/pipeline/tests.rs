//! The pipeline both ways, on the in-memory twin of the real ports. Packets are built and checked by an independent
//! encoder and decoder.

mod across;
mod multipath;
mod owners;
mod sent;
mod shards;

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use wire::MacAddr;
use wire::arp::{ArpOperation, ArpRepr};
use wire::ndp::{self, NeighbourSolicitation};

use crate::api::{Event, NextHop, PortIndex, Update};
use crate::counters::Reason;
use crate::slowpath::Deed;
use crate::testing::packets::{Udp, ip_frame, vxlan};
use crate::testing::*;
use sent::Sent;

const STATION: [&str; 2] = ["10.0.1.10", "fd00:0:0:1::10"];
const OUTSIDE: [&str; 2] = ["203.0.113.5", "2001:db8:ff::5"];
const ENDPOINTS: [&str; 2] = [ENDPOINT_V4, ENDPOINT_V6];

/// Source, destination, TTL and payload of a UDP frame whose checksums are right.
#[track_caller]
fn decode(frame: &[u8]) -> (MacAddr, MacAddr, IpAddr, IpAddr, u8, u16, Vec<u8>) {
    let sliced = SlicedPacket::from_ethernet(frame).unwrap();
    let ethernet = sliced.link.as_ref().unwrap().to_header().unwrap().ethernet2().unwrap();
    let Some(TransportSlice::Udp(udp)) = &sliced.transport else { panic!("no UDP") };
    let header = udp.to_header();
    let (source, destination, ttl) = match sliced.net.as_ref().unwrap() {
        NetSlice::Ipv4(ip) => {
            let ip = ip.header().to_header();
            assert_eq!(ip.header_checksum, ip.calc_header_checksum(), "IPv4 header checksum");
            if header.checksum != 0 {
                assert_eq!(header.checksum, header.calc_checksum_ipv4(&ip, udp.payload()).unwrap());
            }
            (IpAddr::from(ip.source), IpAddr::from(ip.destination), ip.time_to_live)
        }
        NetSlice::Ipv6(ip) => {
            let ip = ip.header().to_header();
            assert_eq!(
                header.checksum,
                header.calc_checksum_ipv6(&ip, udp.payload()).unwrap(),
                "UDP checksum"
            );
            (IpAddr::from(ip.source), IpAddr::from(ip.destination), ip.hop_limit)
        }
        NetSlice::Arp(_) => panic!("no IP"),
    };
    (
        MacAddr(ethernet.source),
        MacAddr(ethernet.destination),
        source,
        destination,
        ttl,
        header.source_port,
        udp.payload().to_vec(),
    )
}

#[test]
fn a_station_reaches_the_outer_network() {
    let mut gateway = Harness::new();
    for family in 0..2 {
        for endpoint in ENDPOINTS {
            let udp = Udp::from_station(STATION[family], OUTSIDE[family]);
            // A short frame arrives padded: the padding must not be forwarded.
            let mut inner = udp.frame();
            inner.resize(inner.len().max(60) + 7, 0xee);
            let out = gateway.send(UNDERLAY, &vxlan(endpoint, 100, &inner));
            let [(UPLINK, frame)] = out.as_slice() else { panic!("{out:?}") };
            let (source_mac, destination_mac, source, destination, ttl, _, payload) = decode(frame);
            assert_eq!((source_mac, destination_mac), (UPLINK_MAC, OUTER_ROUTER_MAC));
            assert_eq!((source, destination, ttl), (udp.source, udp.destination, 63));
            assert_eq!(payload, udp.payload);
            assert_eq!(frame.len(), udp.frame().len());
        }
    }
    // From behind the other endpoint the station is not expected, but forwarded.
    let counts = [Reason::Egress, Reason::EgressElsewhere].map(|reason| gateway.count(reason));
    assert_eq!((counts, gateway.total()), ([2, 2], 4));
}

#[test]
fn the_outer_network_reaches_a_station() {
    for (station_endpoint, vtep, overhead) in
        [(ENDPOINT_V4, "198.18.0.1", 50), (ENDPOINT_V6, "2001:db8:0:1::1", 70)]
    {
        let mut config = config();
        config.stations[0].endpoint = station_endpoint.parse().unwrap();
        let mut gateway = Harness::with(config);
        gateway.apply(updates());
        for family in 0..2 {
            // An odd length: the last byte of the UDP checksum's data counts too.
            let udp =
                Udp::new((OUTER_ROUTER_MAC, UPLINK_MAC), OUTSIDE[family], STATION[family]).payload(1001);
            let out = gateway.send(UPLINK, &udp.frame());
            let [(UNDERLAY, frame)] = out.as_slice() else { panic!("{out:?}") };
            assert_eq!(frame.len(), udp.frame().len() + overhead);
            let (source_mac, destination_mac, source, destination, ttl, source_port, vxlan) = decode(frame);
            assert_eq!((source_mac, destination_mac), (UNDERLAY_MAC, ENDPOINT_MAC));
            assert_eq!(source, vtep.parse::<IpAddr>().unwrap());
            assert_eq!(destination, station_endpoint.parse::<IpAddr>().unwrap());
            assert_eq!(ttl, 64);
            assert!(source_port >= 49152);
            assert_eq!(vxlan[..8], [8, 0, 0, 0, 0, 0, 100, 0]);
            let (source_mac, destination_mac, source, destination, ttl, _, payload) = decode(&vxlan[8..]);
            assert_eq!((source_mac, destination_mac), (ROUTER_MAC, STATION_MAC));
            assert_eq!((source, destination, ttl), (udp.source, udp.destination, 63));
            assert_eq!(payload, udp.payload);
        }
        assert_eq!((gateway.count(Reason::Ingress), gateway.total()), (2, 2));
    }
}

#[test]
fn a_host_on_the_uplink_is_resolved_and_then_reached() {
    let mut gateway = Harness::new();
    for (station, host) in [(STATION[0], "198.18.1.77"), (STATION[1], "2001:db8:0:2::77")] {
        let frame = vxlan(ENDPOINT_V4, 100, &Udp::from_station(station, host).frame());
        assert!(gateway.send(UNDERLAY, &frame).is_empty());
        let next_hop = NextHop { port: UPLINK, address: host.parse().unwrap() };
        assert_eq!(gateway.events.lock().unwrap().pop(), Some(Event::Resolve(next_hop)));
        let mac = MacAddr([2, 0, 0, 0, 0, 0x77]);
        gateway.apply([Update::Neighbour { next_hop, mac: Some(mac) }]);
        // The packet that waited, and the next one.
        for out in [gateway.sent(), gateway.send(UNDERLAY, &frame)] {
            let [(UPLINK, frame)] = out.as_slice() else { panic!("{out:?}") };
            let (source_mac, destination_mac, _, destination, ttl, _, payload) = decode(frame);
            assert_eq!((source_mac, destination_mac), (UPLINK_MAC, mac));
            assert_eq!((destination, ttl), (next_hop.address, 63));
            assert_eq!(payload, b"sixteen bytes!!!");
        }
        gateway.apply([Update::Neighbour { next_hop, mac: None }]);
        assert!(gateway.send(UNDERLAY, &frame).is_empty());
    }
    assert_eq!(gateway.count(Reason::Resolving), 4);
}

#[test]
fn a_next_hop_without_an_answer_gets_nothing() {
    let mut gateway = Harness::new();
    let next_hop = NextHop { port: UPLINK, address: "198.18.1.254".parse().unwrap() };
    gateway.apply([Update::Neighbour { next_hop, mac: None }]);
    let out = vxlan(ENDPOINT_V4, 100, &Udp::from_station(STATION[0], OUTSIDE[0]).frame());
    gateway.assert_drop("router gone", UNDERLAY, &out, Reason::NoNeighbour);
    let endpoint = NextHop { port: UNDERLAY, address: ENDPOINT_V4.parse().unwrap() };
    gateway.apply([Update::Neighbour { next_hop: endpoint, mac: None }]);
    let inward = Udp::new((OUTER_ROUTER_MAC, UPLINK_MAC), OUTSIDE[0], STATION[0]).frame();
    gateway.assert_drop("endpoint gone", UPLINK, &inward, Reason::NoNeighbour);
    gateway.apply([Update::Endpoint { address: endpoint.address, paths: [].into() }]);
    gateway.assert_drop("no route to the endpoint", UPLINK, &inward, Reason::NoRoute);
    gateway.apply([Update::Routes(Vec::new())]);
    gateway.assert_drop("no route out", UNDERLAY, &out, Reason::NoRoute);
}

/// Sends a frame that goes no further for `reason`, and for nothing else. Its sender is told, if that is a reason of
/// which senders are told, and nobody hears anything else.
#[track_caller]
fn refuse(gateway: &mut Harness, what: &str, port: PortIndex, frame: &[u8], reason: Reason) {
    let (before, total) = (gateway.count(reason), gateway.total());
    let out = gateway.send(port, frame);
    assert_eq!((gateway.count(reason), gateway.total()), (before + 1, total + 1), "{what}");
    let is_told = matches!(
        reason,
        Reason::TtlExceeded | Reason::TooBig | Reason::NoRoute | Reason::BetweenOverlays | Reason::ToRouter
    );
    assert_eq!(out.len(), usize::from(is_told), "{what}: {out:?}");
    for (to, error) in out {
        assert_eq!((to, sent::check(port, frame, to, &error)), (port, Sent::Error), "{what}");
    }
}

#[test]
fn what_a_station_may_not_do() {
    let mut gateway = Harness::new();
    let good = |family: usize| Udp::from_station(STATION[family], OUTSIDE[family]);
    let mut check = |what: &str, udp: Udp, reason| {
        refuse(&mut gateway, what, UNDERLAY, &vxlan(ENDPOINT_V4, 100, &udp.frame()), reason);
    };
    for family in 0..2 {
        let to = |destination: &str| Udp::from_station(STATION[family], destination);
        let from = |source: &str| Udp::from_station(source, OUTSIDE[family]);
        let pick = |addresses: [&'static str; 2]| addresses[family];
        check("TTL 1", good(family).ttl(1), Reason::TtlExceeded);
        check("TTL 0", good(family).ttl(0), Reason::TtlExceeded);
        check("the router's MAC", good(family).macs(ROUTER_MAC, ROUTER_MAC), Reason::BadSourceMac);
        check("a group MAC", good(family).macs(MacAddr::BROADCAST, ROUTER_MAC), Reason::BadSourceMac);
        check("zero MAC", good(family).macs(MacAddr::ZERO, ROUTER_MAC), Reason::BadSourceMac);
        check("not for the router", good(family).macs(STATION_MAC, OTHER_STATION_MAC), Reason::NotForRouter);
        check("broadcast", good(family).macs(STATION_MAC, MacAddr::BROADCAST), Reason::NotForRouter);
        check(
            "source of another overlay",
            from(pick(["10.0.2.10", "fd00:0:0:2::10"])),
            Reason::SpoofedSource,
        );
        check("source from outside", from(pick(["198.18.2.1", "2001:db8:3::1"])), Reason::SpoofedSource);
        check("the router's address", from(pick(["10.0.1.1", "fd00:0:0:1::1"])), Reason::SpoofedSource);
        check("link-local source", from(pick(["169.254.1.1", "fe80::1"])), Reason::LinkLocal);
        check("unspecified source", from(pick(["0.0.0.0", "::"])), Reason::LinkLocal);
        check("another overlay", to(pick(["10.0.2.10", "fd00:0:0:2::10"])), Reason::BetweenOverlays);
        check("an overlay that isn't", to(pick(["10.99.0.1", "fd00:99::1"])), Reason::NoRoute);
        check("the router", to(pick(["10.0.1.1", "fd00:0:0:1::1"])), Reason::ToRouter);
        check("the VTEP", to(pick(["198.18.0.1", "2001:db8:0:1::1"])), Reason::ToHost);
        check("the uplink address", to(pick(["198.18.1.1", "2001:db8:0:2::1"])), Reason::ToHost);
        check("multicast", to(pick(["224.0.0.251", "ff05::2"])), Reason::BadDestination);
        check("loopback", to(pick(["127.0.0.1", "::1"])), Reason::BadDestination);
        check("link-local", to(pick(["169.254.9.9", "fe80::9"])), Reason::LinkLocal);
        let inner_overhead = pick_len(family);
        check("too big", good(family).payload(1501 - inner_overhead), Reason::TooBig);
    }
    check("broadcast address", Udp::from_station(STATION[0], "255.255.255.255"), Reason::BadDestination);
    check("reserved", Udp::from_station(STATION[0], "240.0.0.1"), Reason::BadDestination);
    check("the host elsewhere", Udp::from_station(STATION[0], "192.0.2.1"), Reason::ToHost);
    check("a route elsewhere", Udp::from_station(STATION[0], "198.18.0.11"), Reason::NoRoute);
    check("DHCP discover", Udp::from_station("0.0.0.0", "255.255.255.255").ports(68, 67), Reason::Dhcp);
    check("DHCPv6 solicit", Udp::from_station("fe80::1", "ff02::1:2").ports(546, 547), Reason::Dhcp);
    check("IPv4-mapped", Udp::from_station(STATION[1], "::ffff:203.0.113.5"), Reason::BadDestination);
}

fn pick_len(family: usize) -> usize {
    [20 + 8, 40 + 8][family]
}

#[test]
fn what_an_endpoint_may_not_do() {
    let mut gateway = Harness::new();
    let inner = Udp::from_station(STATION[0], OUTSIDE[0]).frame();
    let other = Udp::new((OTHER_STATION_MAC, ROUTER_MAC), "10.0.2.10", OUTSIDE[0]).frame();
    let good = vxlan(ENDPOINT_V4, 100, &inner);
    let good_v6 = vxlan(ENDPOINT_V6, 100, &inner);
    let patch = |offset: usize, bytes: &[u8]| {
        let mut frame = good.clone();
        frame[offset..offset + bytes.len()].copy_from_slice(bytes);
        // Repair the outer IPv4 header checksum, so that only what was meant is wrong.
        frame[24..26].fill(0);
        let sum = wire::checksum::finish(wire::checksum::ones_sum(&frame[14..34], 0));
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        frame
    };
    let cases: Vec<(&str, Vec<u8>, Reason)> = vec![
        ("unknown VNI", vxlan(ENDPOINT_V4, 999, &inner), Reason::UnknownVni),
        ("unknown endpoint", vxlan("198.18.0.99", 100, &inner), Reason::UnknownEndpoint),
        ("endpoint of another overlay", vxlan(ENDPOINT_V4, 200, &other), Reason::ForeignEndpoint),
        ("VNI 0", vxlan(ENDPOINT_V4, 0, &inner), Reason::NoVni),
        ("no I flag", patch(42, &[0]), Reason::NoVni),
        ("foreign MAC", patch(0, &[2, 7, 7, 7, 7, 7]), Reason::ForeignMac),
        ("flooded", patch(0, &[0xff; 6]), Reason::ForeignMac),
        ("not our VTEP", patch(30, &[198, 18, 0, 2]), Reason::NotVxlan),
        ("not port 4789", patch(36, &4790_u16.to_be_bytes()), Reason::NotVxlan),
        ("not UDP", patch(23, &[6]), Reason::NotVxlan),
        ("first fragment", patch(20, &[0x20, 0]), Reason::OuterFragment),
        ("later fragment", patch(20, &[0, 8]), Reason::OuterFragment),
        ("version 5", patch(14, &[0x55]), Reason::Malformed),
        ("IHL 4", patch(14, &[0x44]), Reason::Truncated),
        ("total length beyond the frame", patch(16, &2000_u16.to_be_bytes()), Reason::Truncated),
        ("total length below the header", patch(16, &19_u16.to_be_bytes()), Reason::Truncated),
        ("UDP length beyond the packet", patch(38, &2000_u16.to_be_bytes()), Reason::Truncated),
        ("UDP length below its header", patch(38, &7_u16.to_be_bytes()), Reason::Truncated),
        ("UDP without room for VXLAN", patch(38, &15_u16.to_be_bytes()), Reason::Truncated),
        ("ARP on the underlay", patch(12, &[8, 6]), Reason::NotVxlan),
    ];
    for (what, frame, reason) in cases {
        gateway.assert_drop(what, UNDERLAY, &frame, reason);
    }
    let mut bad_sum = good.clone();
    bad_sum[24] ^= 1;
    gateway.assert_drop("outer checksum", UNDERLAY, &bad_sum, Reason::BadChecksum);
    let mut fragment = good_v6.clone();
    fragment[20] = 44;
    gateway.assert_drop("IPv6 fragment header", UNDERLAY, &fragment, Reason::OuterFragment);
    for tagged in [[0x81, 0, 0, 5], [0x88, 0xa8, 0, 5]] {
        let mut frame = good.clone();
        frame.splice(12..12, tagged);
        gateway.assert_drop("VLAN on the port", UNDERLAY, &frame, Reason::Vlan);
        let mut tagged_inner = inner.clone();
        tagged_inner.splice(12..12, tagged);
        gateway.assert_drop(
            "inner VLAN",
            UNDERLAY,
            &vxlan(ENDPOINT_V4, 100, &tagged_inner),
            Reason::InnerVlan,
        );
    }
    for priority in [0x00, 0xe0] {
        let mut frame = good.clone();
        frame.splice(12..12, [0x81, 0, priority, 0]);
        let mut tagged_inner = inner.clone();
        tagged_inner.splice(12..12, [0x81, 0, priority, 0]);
        for frame in [frame, vxlan(ENDPOINT_V6, 100, &tagged_inner)] {
            let out = gateway.send(UNDERLAY, &frame);
            assert_eq!(decode(&out[0].1).6, b"sixteen bytes!!!", "priority tags are accepted");
        }
    }
}

#[test]
fn inner_packets_that_lie() {
    let mut gateway = Harness::new();
    let inner = Udp::from_station(STATION[0], OUTSIDE[0]).frame();
    let patch = |offset: usize, bytes: &[u8], repair: bool| {
        let mut frame = inner.clone();
        frame[offset..offset + bytes.len()].copy_from_slice(bytes);
        if repair {
            frame[24..26].fill(0);
            let sum = wire::checksum::finish(wire::checksum::ones_sum(&frame[14..34], 0));
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
        }
        vxlan(ENDPOINT_V4, 100, &frame)
    };
    let cases = [
        ("checksum", patch(24, &[0, 0], false), Reason::BadChecksum),
        ("version", patch(14, &[0x65], true), Reason::Malformed),
        ("total length", patch(16, &[5, 0], true), Reason::Truncated),
        ("type", patch(12, &[0x12, 0x34], true), Reason::UnknownEtherType),
    ];
    for (what, frame, reason) in cases {
        gateway.assert_drop(what, UNDERLAY, &frame, reason);
    }
    let mut v6 = Udp::from_station(STATION[1], OUTSIDE[1]).frame();
    v6[18..20].copy_from_slice(&999_u16.to_be_bytes());
    gateway.assert_drop("payload length", UNDERLAY, &vxlan(ENDPOINT_V4, 100, &v6), Reason::Truncated);
}

/// An IPv4 frame of the station with these option bytes (a multiple of four).
fn with_options(options: &[u8]) -> Vec<u8> {
    let mut frame = Udp::from_station(STATION[0], OUTSIDE[0]).frame();
    frame.splice(34..34, options.iter().copied());
    frame[14] = 0x45 + (options.len() / 4) as u8;
    let total_len = (frame.len() - 14) as u16;
    frame[16..18].copy_from_slice(&total_len.to_be_bytes());
    frame[24..26].fill(0);
    let header_len = 20 + options.len();
    let sum = wire::checksum::finish(wire::checksum::ones_sum(&frame[14..14 + header_len], 0));
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame
}

#[test]
fn ipv4_options_pass_but_for_source_routes() {
    let mut gateway = Harness::new();
    // Router alert, padded.
    let options = [0x94, 4, 0, 0];
    let out = gateway.send(UNDERLAY, &vxlan(ENDPOINT_V4, 100, &with_options(&options)));
    assert_eq!(out[0].1[34..38], options);
    decode(&out[0].1);
    for options in [[0x07, 200, 4, 0], [0x83, 28, 4, 0], [0x94, 0, 0, 0], [1, 1, 1, 0x89]] {
        let frame = vxlan(ENDPOINT_V4, 100, &with_options(&options));
        gateway.assert_drop("an option's length", UNDERLAY, &frame, Reason::Malformed);
    }
    for kind in [0x83, 0x89] {
        let frame = vxlan(ENDPOINT_V4, 100, &with_options(&[kind, 7, 4, 198, 18, 2, 9, 0]));
        gateway.assert_drop("source route", UNDERLAY, &frame, Reason::SourceRoute);
    }
}

#[test]
fn fragments_and_extension_headers_pass() {
    let mut gateway = Harness::new();
    let mut fragment = Udp::from_station(STATION[0], OUTSIDE[0]).frame();
    fragment[20..22].copy_from_slice(&[0x20, 0x10]);
    fragment[24..26].fill(0);
    let sum = wire::checksum::finish(wire::checksum::ones_sum(&fragment[14..34], 0));
    fragment[24..26].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(gateway.send(UNDERLAY, &vxlan(ENDPOINT_V4, 100, &fragment)).len(), 1);
    for first_header in [0, 43, 44, 60, 50] {
        let frame = ip_frame(
            (STATION_MAC, ROUTER_MAC),
            STATION[1],
            OUTSIDE[1],
            first_header,
            64,
            &[17, 0, 1, 4, 0, 0, 0, 0],
        );
        assert_eq!(gateway.send(UNDERLAY, &vxlan(ENDPOINT_V4, 100, &frame)).len(), 1);
    }
    assert_eq!(gateway.count(Reason::Egress), 6);
}

#[test]
fn what_the_uplink_may_not_bring() {
    let mut gateway = Harness::new();
    let macs = (OUTER_ROUTER_MAC, UPLINK_MAC);
    for family in 0..2 {
        let pick = |addresses: [&'static str; 2]| addresses[family];
        let from = |source| Udp::new(macs, source, STATION[family]);
        let to = |destination| Udp::new(macs, OUTSIDE[family], destination);
        let good = || from(OUTSIDE[family]);
        let other_mac = MacAddr([2, 8, 8, 8, 8, 8]);
        let cases = [
            ("an overlay's source", from(pick(["10.0.2.10", "fd00:0:0:2::10"])), Reason::OverlaySource),
            ("its own source", from(pick(["10.0.1.10", "fd00:0:0:1::10"])), Reason::OverlaySource),
            ("a block's source", from(pick(["10.200.0.1", "fd00:200::1"])), Reason::OverlaySource),
            ("multicast source", from(pick(["224.0.0.1", "ff02::1"])), Reason::MartianSource),
            ("loopback source", from(pick(["127.0.0.1", "::1"])), Reason::MartianSource),
            ("link-local source", from(pick(["169.254.0.1", "fe80::1"])), Reason::MartianSource),
            ("unspecified source", from(pick(["0.0.0.0", "::"])), Reason::MartianSource),
            ("our own uplink address", from(pick(["198.18.1.1", "2001:db8:0:2::1"])), Reason::MartianSource),
            ("our own VTEP address", from(pick(["198.18.0.1", "2001:db8:0:1::1"])), Reason::MartianSource),
            ("no overlay", to(pick(["10.99.0.1", "fd00:99::1"])), Reason::NoOverlay),
            ("outside the blocks", to(pick(["192.0.2.9", "2001:db8:9::9"])), Reason::NoOverlay),
            ("the router", to(pick(["10.0.1.1", "fd00:0:0:1::1"])), Reason::ToRouter),
            ("TTL 1", good().ttl(1), Reason::TtlExceeded),
            ("too big", good().payload(1501 - pick_len(family)), Reason::TooBig),
            ("foreign MAC", good().macs(OUTER_ROUTER_MAC, other_mac), Reason::ForeignMac),
            ("flooded", good().macs(OUTER_ROUTER_MAC, MacAddr::BROADCAST), Reason::ForeignMac),
        ];
        for (what, udp, reason) in cases {
            refuse(&mut gateway, what, UPLINK, &udp.frame(), reason);
        }
        let mut tagged = good().frame();
        tagged.splice(12..12, [0x81, 0, 0, 9]);
        gateway.assert_drop("VLAN", UPLINK, &tagged, Reason::Vlan);
    }
    let inner = Udp::from_station(STATION[0], OUTSIDE[0]).frame();
    let mut vxlan_on_uplink = vxlan(ENDPOINT_V4, 100, &inner);
    vxlan_on_uplink[..6].copy_from_slice(&UPLINK_MAC.0);
    gateway.assert_drop("VXLAN on the uplink", UPLINK, &vxlan_on_uplink, Reason::NoOverlay);
    let mut checksum = Udp::new(macs, OUTSIDE[0], STATION[0]).frame();
    checksum[24] ^= 0x10;
    gateway.assert_drop("checksum", UPLINK, &checksum, Reason::BadChecksum);
    let mut arp = checksum.clone();
    arp[12..14].copy_from_slice(&[8, 6]);
    gateway.assert_drop("ARP", UPLINK, &arp, Reason::UnknownEtherType);
}

/// A packet for an address of an overlay that no station is known to have: all of the overlay are asked for it, and
/// nobody else; the packet goes nowhere yet.
#[test]
fn an_unknown_address_is_asked_for_in_its_overlay_alone() {
    let mut gateway = Harness::new();
    for (family, unknown) in ["10.0.1.77", "fd00:0:0:1::77"].into_iter().enumerate() {
        let from_outside = Udp::new((OUTER_ROUTER_MAC, UPLINK_MAC), OUTSIDE[family], unknown).frame();
        let neighbour = format!("{}8", unknown.strip_suffix('7').unwrap());
        let from_station = vxlan(ENDPOINT_V4, 100, &Udp::from_station(STATION[family], &neighbour).frame());
        for (port, frame) in [(UPLINK, from_outside), (UNDERLAY, from_station)] {
            let out = gateway.send(port, &frame);
            let asked: Vec<_> = out.iter().map(|(to, frame)| (*to, addresses(&frame[12..]).1)).collect();
            assert_eq!(asked, ENDPOINTS.map(|endpoint| (UNDERLAY, endpoint.parse().unwrap())));
            for (to, question) in &out {
                assert_eq!(sent::check(port, &frame, *to, question), Sent::Neighbour);
            }
        }
    }
    assert_eq!((gateway.count(Reason::Unresolved), gateway.total()), (4, 4));
}

#[test]
fn frames_cut_short_anywhere_are_dropped_or_never_grow() {
    let mut gateway = Harness::new();
    let inner = Udp::from_station(STATION[1], OUTSIDE[1]).frame();
    let frames = [
        (UNDERLAY, vxlan(ENDPOINT_V4, 100, &inner)),
        (UNDERLAY, vxlan(ENDPOINT_V6, 100, &inner)),
        (UPLINK, Udp::new((OUTER_ROUTER_MAC, UPLINK_MAC), OUTSIDE[0], STATION[0]).frame()),
        (UPLINK, Udp::new((OUTER_ROUTER_MAC, UPLINK_MAC), OUTSIDE[1], STATION[1]).frame()),
    ];
    for (port, frame) in frames {
        assert_eq!(gateway.send(port, &frame).len(), 1);
        for len in 0..frame.len() {
            let (total, truncated) = (gateway.total(), gateway.count(Reason::Truncated));
            assert!(gateway.send(port, &frame[..len]).is_empty(), "{len} of {} bytes left", frame.len());
            assert_eq!(gateway.total(), total + 1);
            assert_eq!(gateway.count(Reason::Truncated), truncated + 1, "{len} bytes");
        }
    }
}

#[test]
fn a_stalled_port_costs_only_its_own_frames() {
    let mut gateway = Harness::new();
    let outward = vxlan(ENDPOINT_V4, 100, &Udp::from_station(STATION[0], OUTSIDE[0]).frame());
    let inward = Udp::new((OUTER_ROUTER_MAC, UPLINK_MAC), OUTSIDE[0], STATION[0]).frame();
    // Nobody takes what goes to the uplink.
    for _ in 0..3 * port::RING_SIZE {
        assert!(gateway.wires[0].deliver(&outward));
        gateway.worker.round();
    }
    assert_eq!(gateway.count(Reason::Egress), u64::from(port::RING_SIZE));
    assert_eq!(gateway.count(Reason::TransmitFull), 2 * u64::from(port::RING_SIZE));
    let before = gateway.count(Reason::Ingress);
    assert!(gateway.wires[1].deliver(&inward));
    gateway.worker.round();
    assert_eq!(gateway.count(Reason::Ingress), before + 1);
    assert!(gateway.wires[0].take().is_some());
}

/// A frame as it could come from the network: valid, or valid with a few bytes changed, or cut, or noise.
pub(crate) fn any_frame() -> impl Strategy<Value = (bool, Vec<u8>)> {
    let seeds = (0..10_usize).prop_map(|seed| {
        let family = seed % 2;
        let out = Udp::from_station(STATION[family], OUTSIDE[family]);
        let across = Udp::from_station(STATION[family], ["10.0.2.10", "fd00:0:0:2::10"][family]);
        match seed / 2 {
            0 => (true, vxlan(ENDPOINT_V4, 100, &out.frame())),
            1 => (true, vxlan(ENDPOINT_V6, 100, &out.frame())),
            2 => (true, vxlan(ENDPOINT_V4, 100, &across.frame())),
            3 => (false, out.macs(OUTER_ROUTER_MAC, UPLINK_MAC).frame()),
            _ => (false, Udp::new((OUTER_ROUTER_MAC, UPLINK_MAC), OUTSIDE[family], STATION[family]).frame()),
        }
    });
    let changes = proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..6);
    (seeds, changes, any::<proptest::sample::Index>(), 0..4_u8).prop_map(
        |((underlay, mut frame), changes, cut, kind)| {
            for (at, byte) in changes {
                let at = at.index(frame.len());
                frame[at] = byte;
            }
            if kind == 0 {
                frame.truncate(cut.index(frame.len() + 1));
            }
            (underlay, frame)
        },
    )
}

/// A station that is not known yet is served for a while, but for what would be sent to it.
#[test]
fn a_stranger_may_send_for_a_while() {
    let mut gateway = Harness::new();
    // One that is a station elsewhere is a stranger here.
    for (n, mac) in [MacAddr([2, 9, 9, 9, 9, 9]), OTHER_STATION_MAC].into_iter().enumerate() {
        let inner = Udp::from_station("10.0.1.99", OUTSIDE[0]).macs(mac, ROUTER_MAC).frame();
        for _ in 0..3 {
            let out = gateway.send(UNDERLAY, &vxlan(ENDPOINT_V4, 100, &inner));
            assert!(matches!(out.as_slice(), [(UPLINK, _)]), "{out:?}");
        }
        let seen = [Reason::UnknownStation, Reason::Egress].map(|reason| gateway.count(reason));
        assert_eq!(seen, [n as u64 + 1, 3 * (n as u64 + 1)], "let in once");
        assert_eq!(gateway.total(), 3 * (n as u64 + 1));
    }
    let spoofed = Udp::from_station("10.0.2.10", OUTSIDE[0]).macs(OTHER_STATION_MAC, ROUTER_MAC);
    let spoofed = vxlan(ENDPOINT_V4, 100, &spoofed.frame());
    gateway.assert_drop("with its address of elsewhere", UNDERLAY, &spoofed, Reason::SpoofedSource);
    gateway.slow_path.poll(Instant::now() + Duration::from_secs(6));
    let inner = Udp::from_station("10.0.1.99", OUTSIDE[0]).macs(OTHER_STATION_MAC, ROUTER_MAC).frame();
    let inner = vxlan(ENDPOINT_V4, 100, &inner);
    gateway.assert_drop("once the visit is over", UNDERLAY, &inner, Reason::UnknownStation);
    assert_eq!(gateway.done(Deed::StrangerAdmitted), 2);
    assert_eq!(gateway.done(Deed::StrangerRefused), 1);
}

/// What stations say to the router, as frames: questions and claims, good and bad.
fn any_neighbour_frame() -> impl Strategy<Value = (bool, Vec<u8>)> {
    let address = || prop_oneof![Just(1_u8), Just(10), any::<u8>()];
    let arp = (any::<bool>(), address(), address()).prop_map(|(is_request, sender, target)| {
        let operation = if is_request { ArpOperation::Request } else { ArpOperation::Reply };
        let [sender_ip, target_ip] = [sender, target].map(|host| Ipv4Addr::new(10, 0, 1, host));
        let arp =
            ArpRepr { operation, sender_mac: STATION_MAC, sender_ip, target_mac: MacAddr::ZERO, target_ip };
        let mut frame = [&MacAddr::BROADCAST.0[..], &STATION_MAC.0, &[8, 6]].concat();
        frame.resize(60, 0);
        arp.emit(&mut frame[14..]);
        frame
    });
    let solicitation = (address(), address()).prop_map(|(sender, target)| {
        let [source, target] =
            [sender, target].map(|host| Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 0, host.into()));
        let group = ndp::solicited_node(target);
        let message = NeighbourSolicitation { target, source_mac: Some(STATION_MAC) };
        let mut bytes = vec![0; message.buffer_len()];
        message.emit(&mut bytes, source, group);
        let macs = (STATION_MAC, ndp::multicast_mac(group));
        ip_frame(macs, &source.to_string(), &group.to_string(), 58, 255, &bytes)
    });
    prop_oneof![arp, solicitation].prop_map(|frame| (true, vxlan(ENDPOINT_V4, 100, &frame)))
}

/// Any bytes: no panic, each frame counted once, and nothing into another overlay, neither the frame itself nor any of
/// the router's own about it.
#[test]
fn isolation_and_accounting_hold_for_any_frames() {
    let gateway = RefCell::new(Harness::new());
    let of_a_cluster = RefCell::new(crate::testing::shards::gateway());
    let seen = RefCell::new(HashMap::<Sent, u64>::new());
    let noise = (any::<bool>(), proptest::collection::vec(any::<u8>(), 0..200));
    let frames = prop_oneof![8 => any_frame(), 1 => any_neighbour_frame(), 1 => noise];
    let mut runner = TestRunner::new(ProptestConfig::with_cases(20_000));
    let checked = runner.run(&frames, |(underlay, frame)| {
        let port = if underlay { UNDERLAY } else { UPLINK };
        shards::is_counted_once(&mut of_a_cluster.borrow_mut(), port, &frame);
        let mut gateway = gateway.borrow_mut();
        let before = gateway.total();
        let mut out = gateway.send(port, &frame);
        // What was given back may have come to the slow path again.
        while gateway.slow_path.take_punts() {
            out.extend(gateway.sent());
        }
        prop_assert_eq!(gateway.total(), before + 1);
        for (to, bytes) in out {
            *seen.borrow_mut().entry(sent::check(port, &frame, to, &bytes)).or_default() += 1;
        }
        Ok(())
    });
    checked.unwrap();
    let gateway = gateway.borrow();
    let forwarded = [Reason::Egress, Reason::Ingress].map(|reason| gateway.count(reason));
    assert!(forwarded.iter().all(|count| *count > 500), "frames get through: {forwarded:?}");
    let seen = seen.borrow();
    let own = [Sent::Neighbour, Sent::Error].map(|sent| seen.get(&sent).copied().unwrap_or(0));
    assert!(own.iter().all(|count| *count > 20), "the router speaks: {own:?}");
}

fn addresses(from_type: &[u8]) -> (IpAddr, IpAddr) {
    let v4 = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&from_type[at..at + 4]).unwrap());
    let v6 = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&from_type[at..at + 16]).unwrap());
    if from_type[0] == 8 { (v4(14), v4(18)) } else { (v6(10), v6(26)) }
}
