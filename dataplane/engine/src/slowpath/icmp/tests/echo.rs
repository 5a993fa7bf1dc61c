//! Echo requests and other packets to the router itself.

use super::*;

#[track_caller]
fn assert_reply(seen: &Seen, request: &[u8], from: &str, to: &str, class: u8) {
    let family = usize::from(from.contains(':'));
    assert_eq!((seen.source, seen.destination), (address(from), address(to)));
    assert_eq!(seen.traffic_class, class);
    let asked = &request[14 + [20, 40][family]..];
    assert_eq!(seen.message[..2], [[0, 129][family], 0]);
    assert_eq!(seen.message[4..], asked[4..], "identifier, sequence and data");
}

#[test]
fn stations_echo_requests_are_answered() {
    let mut gateway = Harness::new();
    let link_local = ROUTER_MAC.link_local().to_string();
    let pairs = [
        (STATION[0], ROUTER[0]),
        (STATION[1], ROUTER[1]),
        (STATION[1], &link_local),
        ("fe80::10", &link_local),
        ("fe80::10", ROUTER[1]),
    ];
    for endpoint in [ENDPOINT_V4, ENDPOINT_V6] {
        for (station, router) in pairs {
            let mut request = echo(FROM_STATION, station, router, 1);
            // AF11, and a congestion that is not the reply's.
            set_class(&mut request, 0x2b);
            let out = gateway.send(UNDERLAY, &vxlan(endpoint, 100, &request));
            assert_reply(&to_station(&out, endpoint), &request, router, station, 0x28);
        }
    }
    assert_eq!((gateway.done(Deed::EchoAnswered), gateway.done(Deed::NotServed)), (10, 0));
}

#[test]
fn echo_requests_from_outside_are_answered() {
    let mut gateway = Harness::new();
    for family in 0..2 {
        for router in [ROUTER[family], OTHER_ROUTER[family]] {
            let request = echo(FROM_OUTSIDE, OUTSIDE[family], router, 9);
            let out = gateway.send(UPLINK, &request);
            assert_reply(&to_outside(&out), &request, router, OUTSIDE[family], 0);
        }
    }
    assert_eq!(gateway.done(Deed::EchoAnswered), 4);
}

#[test]
fn the_router_of_another_overlay_answers_where_a_rule_lets_it() {
    let mut gateway = allow_all();
    for family in 0..2 {
        let request = echo(FROM_STATION, STATION[family], OTHER_ROUTER[family], 9);
        let out = gateway.send(UNDERLAY, &vxlan(ENDPOINT_V4, 100, &request));
        assert_reply(&to_station(&out, ENDPOINT_V4), &request, OTHER_ROUTER[family], STATION[family], 0);
    }
}

#[test]
fn an_ipv4_reply_is_as_unique_as_its_request() {
    let mut gateway = Harness::new();
    for flags in [0x40, 0] {
        let mut request = echo(FROM_OUTSIDE, OUTSIDE[0], ROUTER[0], 9);
        request[18..21].copy_from_slice(&[0xab, 0xcd, flags]);
        repair(&mut request);
        let out = gateway.send(UPLINK, &request);
        assert_eq!(out[0].1[18..21], [0xab, 0xcd, flags]);
    }
}

#[test]
fn an_echo_request_behind_extension_headers_is_answered() {
    let mut gateway = Harness::new();
    let message = icmp(1, STATION[1], ROUTER[1], 128, 0, &[1, 2, 3, 4, 5]);
    // Destination options, then an atomic fragment header.
    let chain = [&[44, 0, 1, 4, 0, 0, 0, 0, 58, 0, 0, 0, 0, 0, 0, 9], &message[..]].concat();
    let request = ip_frame(FROM_STATION, STATION[1], ROUTER[1], 60, 64, &chain);
    let seen = to_station(&gateway.send(UNDERLAY, &vxlan(ENDPOINT_V4, 100, &request)), ENDPOINT_V4);
    assert_eq!((seen.message[0], &seen.message[4..]), (129, &[1, 2, 3, 4, 5][..]));
}

#[test]
fn what_the_router_has_no_use_for_is_not_answered() {
    let mut gateway = Harness::new();
    let mut unserved = 0;
    for family in 0..2 {
        let protocol = [1, 58][family];
        let to_router = |protocol, payload: &[u8]| {
            ip_frame(FROM_STATION, STATION[family], ROUTER[family], protocol, 64, payload)
        };
        let message = |kind, code, rest: &[u8]| {
            to_router(protocol, &icmp(family, STATION[family], ROUTER[family], kind, code, rest))
        };
        let mut wrong_sum = echo(FROM_STATION, STATION[family], ROUTER[family], 64);
        *wrong_sum.last_mut().unwrap() ^= 1;
        let mut wrong_udp = Udp::from_station(STATION[family], ROUTER[family]).frame();
        *wrong_udp.last_mut().unwrap() ^= 1;
        let request = [8, 128][family];
        let cases = [
            ("wrong checksum", wrong_sum),
            ("wrong checksum of UDP", wrong_udp),
            ("a reply", message([0, 129][family], 0, &[0; 4])),
            ("a code", message(request, 1, &[0; 4])),
            ("no identifier", message(request, 0, &[0; 3])),
            ("an error", message([3, 1][family], 0, &[0; 40])),
            ("nothing", to_router(protocol, &[])),
            ("the other family's ICMP", to_router([58, 1][family], &[128, 0, 0, 0, 0, 0, 0, 0])),
            ("TCP", to_router(6, &[0; 20])),
            ("half a UDP header", to_router(17, &[0; 7])),
        ];
        for (what, frame) in cases {
            assert!(gateway.send(UNDERLAY, &vxlan(ENDPOINT_V4, 100, &frame)).is_empty(), "{what}");
            unserved += 1;
            assert_eq!(gateway.done(Deed::NotServed), unserved, "{what}");
        }
    }
    let mut fragment = echo(FROM_STATION, STATION[0], ROUTER[0], 64);
    fragment[20] = 0x20;
    repair(&mut fragment);
    let message = icmp(1, STATION[1], ROUTER[1], 128, 0, &[0; 4]);
    let fragment_v6 = [&[58, 0, 0, 1, 0, 0, 0, 9], &message[..]].concat();
    let fragment_v6 = ip_frame(FROM_STATION, STATION[1], ROUTER[1], 44, 64, &fragment_v6);
    let broadcast = echo(FROM_STATION, "10.0.1.255", ROUTER[0], 64);
    for frame in [fragment, fragment_v6, broadcast] {
        assert!(gateway.send(UNDERLAY, &vxlan(ENDPOINT_V4, 100, &frame)).is_empty());
    }
    assert_eq!(gateway.done(Deed::NotServed), unserved + 3);
    assert_eq!(gateway.count(Reason::ToRouter), unserved + 3);
    assert_eq!((gateway.done(Deed::ErrorSent), gateway.done(Deed::ErrorSuppressed)), (0, 0));
}
