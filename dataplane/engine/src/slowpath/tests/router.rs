//! What the router answers, and to whom.

use wire::arp::ArpPacket;
use wire::icmpv6::Icmpv6Packet;
use wire::ipv6::Ipv6Packet;

use super::*;

const ROUTER_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 1);
const STATION_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 10);

fn arp_request(sender_ip: Ipv4Addr, target_ip: Ipv4Addr) -> ArpRepr {
    ArpRepr {
        operation: ArpOperation::Request,
        sender_mac: STATION_MAC,
        sender_ip,
        target_mac: MacAddr::ZERO,
        target_ip,
    }
}

fn arp_frame(arp: &ArpRepr) -> Vec<u8> {
    super::arp_frame(STATION_MAC, MacAddr::BROADCAST, arp)
}

/// The inner frame of an answer, after its outer headers were checked.
#[track_caller]
fn inner_of(out: &[(crate::api::PortIndex, Vec<u8>)], vni: u8) -> Vec<u8> {
    let [(UNDERLAY, frame)] = out else { panic!("one answer, to the underlay: {out:?}") };
    let sliced = SlicedPacket::from_ethernet(frame).unwrap();
    assert_eq!(frame[..6], ENDPOINT_MAC.0);
    let Some(etherparse::TransportSlice::Udp(udp)) = sliced.transport else { panic!("no UDP") };
    assert_eq!(udp.destination_port(), 4789);
    assert_eq!(udp.payload()[..8], [8, 0, 0, 0, 0, 0, vni, 0]);
    udp.payload()[8..].to_vec()
}

#[test]
fn arp_for_the_router_is_answered_with_the_shared_mac() {
    let mut gateway = Harness::new();
    for endpoint in [ENDPOINT_V4, ENDPOINT_V6] {
        for sender in [STATION_V4, Ipv4Addr::UNSPECIFIED] {
            let request = arp_frame(&arp_request(sender, ROUTER_V4));
            let inner = inner_of(&gateway.send(UNDERLAY, &vxlan(endpoint, 100, &request)), 100);
            assert_eq!(inner[..6], STATION_MAC.0);
            assert_eq!(inner[6..12], ROUTER_MAC.0);
            assert_eq!(inner.len(), 60, "padded");
            let reply = ArpRepr::parse(&ArpPacket::new_checked(&inner[14..]).unwrap());
            let expected = ArpRepr {
                operation: ArpOperation::Reply,
                sender_mac: ROUTER_MAC,
                sender_ip: ROUTER_V4,
                target_mac: STATION_MAC,
                target_ip: sender,
            };
            assert_eq!(reply, expected);
        }
    }
    assert_eq!((gateway.count(Reason::Arp), gateway.count(Reason::SlowPath)), (4, 4));
}

#[test]
fn other_arp_is_not_answered() {
    let mut gateway = Harness::new();
    let request = arp_request(STATION_V4, ROUTER_V4);
    let silent = [
        ArpRepr { target_ip: Ipv4Addr::new(10, 0, 1, 11), ..request },
        ArpRepr { target_ip: Ipv4Addr::new(10, 0, 2, 1), ..request },
        ArpRepr { operation: ArpOperation::Reply, ..request },
        ArpRepr { sender_ip: ROUTER_V4, ..request },
        ArpRepr { sender_ip: Ipv4Addr::new(10, 0, 2, 10), ..request },
        ArpRepr { sender_mac: OTHER_STATION_MAC, ..request },
    ];
    for arp in silent {
        let out = gateway.send(UNDERLAY, &vxlan(ENDPOINT_V4, 100, &arp_frame(&arp)));
        assert!(out.is_empty(), "{arp:?}");
    }
    for len in 14..14 + 28 {
        let frame = &arp_frame(&request)[..len];
        assert!(gateway.send(UNDERLAY, &vxlan(ENDPOINT_V4, 100, frame)).is_empty());
    }
}

fn solicitation(source: Ipv6Addr, target: Ipv6Addr, with_mac: bool, hop_limit: u8) -> Vec<u8> {
    let group = ndp::solicited_node(target);
    let message = NeighbourSolicitation { target, source_mac: with_mac.then_some(STATION_MAC) };
    let mut bytes = vec![0; message.buffer_len()];
    message.emit(&mut bytes, source, group);
    let macs = (STATION_MAC, ndp::multicast_mac(group));
    ip_frame(macs, &source.to_string(), &group.to_string(), 58, hop_limit, &bytes)
}

fn v6(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

#[test]
fn solicitations_for_the_router_are_answered_with_the_shared_mac() {
    let mut gateway = Harness::new();
    let link_local = ROUTER_MAC.link_local();
    for (source, target) in [
        (v6("fd00:0:0:1::10"), v6("fd00:0:0:1::1")),
        (v6("fe80::10"), v6("fd00:0:0:1::1")),
        (v6("fe80::10"), link_local),
        (Ipv6Addr::UNSPECIFIED, v6("fd00:0:0:1::1")),
    ] {
        let detecting = source.is_unspecified();
        let request = solicitation(source, target, !detecting, 255);
        let inner = inner_of(&gateway.send(UNDERLAY, &vxlan(ENDPOINT_V6, 100, &request)), 100);
        let packet = Ipv6Packet::new_checked(&inner[14..]).unwrap();
        let message = Icmpv6Packet::new_checked(packet.payload()).unwrap();
        let answer = NeighbourAdvertisement::parse(&message).unwrap();
        answer.validate(&message, packet.hop_limit(), packet.src(), packet.dst()).unwrap();
        assert_eq!(packet.src(), target);
        assert_eq!(packet.dst(), if detecting { ndp::ALL_NODES } else { source });
        let mac = if detecting { MacAddr([0x33, 0x33, 0, 0, 0, 1]) } else { STATION_MAC };
        assert_eq!((&inner[..6], &inner[6..12]), (&mac.0[..], &ROUTER_MAC.0[..]));
        let expected = NeighbourAdvertisement {
            router: true,
            solicited: !detecting,
            override_: true,
            target,
            target_mac: Some(ROUTER_MAC),
        };
        assert_eq!(answer, expected);
    }
}

/// What the router itself says is marked outside like what it forwards: as inside, or as it is set.
#[test]
fn the_routers_own_frames_have_the_overlays_code_point() {
    /// Internetwork control (RFC 1812 §4.3.2.5), and what is set.
    const CS6: u8 = 48;
    const SET: u8 = 10;
    let request = arp_frame(&arp_request(STATION_V4, ROUTER_V4));
    let expired = Udp::from_station(STATION[0], OUTSIDE[0]).ttl(1).frame();
    for (dscp, [of_arp, of_error]) in [(Dscp::Copy, [0, CS6]), (Dscp::Set(SET), [SET, SET])] {
        let mut gateway = with_policy(|policy| policy.dscp = dscp);
        for (inner, expected) in [(&request, of_arp), (&expired, of_error)] {
            let out = gateway.send(UNDERLAY, &vxlan(ENDPOINT_V4, 100, inner));
            let [(UNDERLAY, frame)] = &out[..] else { panic!("{out:?}") };
            assert_eq!(frame[15] >> 2, expected, "{dscp:?}");
        }
        let out = call(&mut gateway, NEWCOMER[0], 1);
        assert!(out.len() == 2 && out.iter().any(|(_, frame)| frame[14] == 0x45 && frame[15] >> 2 == of_arp));
    }
}

/// An overlay without IPv6 may have an MTU below the 576 bytes that an error may be long.
#[test]
fn an_error_is_no_longer_than_the_overlay_takes() {
    const MTU: u16 = 296;
    let mut gateway = gateway_with(|config| {
        let overlay = &mut config.overlays[0];
        overlay.mtu = MTU;
        overlay.subnets.retain(|subnet| subnet.router.is_ipv4());
        config.stations.retain(|station| station.vni == overlay.vni);
        config.stations.iter_mut().for_each(|station| station.addresses.retain(IpAddr::is_ipv4));
    });
    let expired = Udp::from_station(STATION[0], OUTSIDE[0]).ttl(1).payload(260).frame();
    let inner = inner_of(&gateway.send(UNDERLAY, &vxlan(ENDPOINT_V4, 100, &expired)), 100);
    assert_eq!(inner.len(), 14 + usize::from(MTU));
    assert_eq!(u16::from_be_bytes([inner[16], inner[17]]), MTU);
    assert!(matches!(message(&inner[12..]), Message::Error { kind: (11, 0), .. }));
}

#[test]
fn other_solicitations_are_not_answered() {
    let mut gateway = Harness::new();
    let (station, router) = (v6("fd00:0:0:1::10"), v6("fd00:0:0:1::1"));
    let silent = [
        ("another station", solicitation(station, v6("fd00:0:0:1::11"), true, 255)),
        ("another overlay's router", solicitation(station, v6("fd00:0:0:2::1"), true, 255)),
        ("through a router", solicitation(station, router, true, 254)),
        ("a source from elsewhere", solicitation(v6("fd00:0:0:2::10"), router, true, 255)),
        ("the router's own address", solicitation(router, router, true, 255)),
        ("detection with a MAC", solicitation(Ipv6Addr::UNSPECIFIED, router, true, 255)),
    ];
    for (what, frame) in silent {
        assert!(gateway.send(UNDERLAY, &vxlan(ENDPOINT_V4, 100, &frame)).is_empty(), "{what}");
    }
    let mut checksum = solicitation(station, router, true, 255);
    *checksum.last_mut().unwrap() ^= 1;
    assert!(gateway.send(UNDERLAY, &vxlan(ENDPOINT_V4, 100, &checksum)).is_empty());
    assert_eq!(gateway.count(Reason::Ndp), 7);
}

#[test]
fn a_storm_of_requests_is_bounded_and_counted() {
    let mut gateway = Harness::new();
    let request = vxlan(ENDPOINT_V4, 100, &arp_frame(&arp_request(STATION_V4, ROUTER_V4)));
    let sent = 1000;
    for _ in 0..sent {
        assert!(gateway.wires[0].deliver(&request));
        gateway.worker.round();
    }
    let taken = gateway.count(Reason::Arp);
    assert!((100..250).contains(&taken), "as many as may come at once, and a few more in the time: {taken}");
    assert_eq!(gateway.count(Reason::Policed), sent - taken);
    gateway.slow_path.take_punts();
    while gateway.worker.round() {}
    assert_eq!(gateway.count(Reason::SlowPath), taken);
}
