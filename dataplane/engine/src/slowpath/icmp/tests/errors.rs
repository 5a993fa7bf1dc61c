//! Errors: of which kind, from where, to whom.

use super::*;

#[test]
fn udp_to_the_router_finds_no_port() {
    let mut gateway = Harness::new();
    let link_local = ROUTER_MAC.link_local().to_string();
    let pairs = [
        (STATION[0], ROUTER[0]),
        (STATION[1], ROUTER[1]),
        ("fe80::10", &link_local),
        (STATION[1], &link_local),
    ];
    for (station, router) in pairs {
        let frame = Udp::from_station(station, router).ttl(1).frame();
        let out = gateway.send(UNDERLAY, &vxlan(ENDPOINT_V4, 100, &frame));
        Expected::NO_PORT.check(&to_station(&out, ENDPOINT_V4), &frame, router);
    }
    for family in 0..2 {
        let frame = Udp::new(FROM_OUTSIDE, OUTSIDE[family], ROUTER[family]).frame();
        Expected::NO_PORT.check(&to_outside(&gateway.send(UPLINK, &frame)), &frame, ROUTER[family]);
    }
    assert_eq!((gateway.done(Deed::ErrorSent), gateway.done(Deed::NotServed)), (6, 0));
}

#[test]
fn stations_are_told_why_their_packets_do_not_leave() {
    for family in 0..2 {
        let mut gateway = Harness::new();
        let to = |destination: &str| Udp::from_station(STATION[family], destination);
        let out = || to(OUTSIDE[family]);
        let headers = [28, 48][family];
        let cases = [
            (out().ttl(1), Expected::TIME_EXCEEDED),
            (out().ttl(0), Expected::TIME_EXCEEDED),
            (out().ttl(1).payload(1400), Expected::TIME_EXCEEDED),
            (to(OTHER_STATION[family]), Expected::PROHIBITED),
            (to(OTHER_ROUTER[family]), Expected::PROHIBITED),
            (to(["10.99.0.1", "fd00:99::1"][family]), Expected::NO_ROUTE),
            (out().payload(1501 - headers), Expected::too_big(1500)),
        ];
        for endpoint in [ENDPOINT_V4, ENDPOINT_V6] {
            for (udp, expected) in &cases {
                let frame = udp.frame();
                let mut padded = frame.clone();
                padded.resize(frame.len().max(60) + 3, 0xee);
                let out = gateway.send(UNDERLAY, &vxlan(endpoint, 100, &padded));
                expected.check(&to_station(&out, endpoint), &frame, ROUTER[family]);
            }
        }
        gateway.apply([Update::Routes(Vec::new())]);
        let frame = out().frame();
        let sent = gateway.send(UNDERLAY, &vxlan(ENDPOINT_V4, 100, &frame));
        Expected::NO_ROUTE.check(&to_station(&sent, ENDPOINT_V4), &frame, ROUTER[family]);
        assert_eq!((gateway.done(Deed::ErrorSent), gateway.done(Deed::ErrorSuppressed)), (15, 0));
    }
}

#[test]
fn a_rule_that_rejects_says_so() {
    let mut config = config();
    config.rules = vec![rule(Action::Reject)];
    let mut gateway = Harness::with(config);
    gateway.apply(updates());
    for family in 0..2 {
        let frame = Udp::from_station(STATION[family], OUTSIDE[family]).frame();
        let out = gateway.send(UNDERLAY, &vxlan(ENDPOINT_V4, 100, &frame));
        Expected::PROHIBITED.check(&to_station(&out, ENDPOINT_V4), &frame, ROUTER[family]);
    }
    assert_eq!(gateway.count(Reason::RuleReject), 2);
}

/// The overlay that the packet is for hears nothing: the error is for its sender.
#[test]
fn errors_about_packets_across_overlays_go_back() {
    let mut gateway = allow_all();
    for family in 0..2 {
        let headers = [28, 48][family];
        let across = || Udp::from_station(STATION[family], OTHER_STATION[family]);
        for (udp, expected) in [
            (across().ttl(1), Expected::TIME_EXCEEDED),
            (across().payload(1501 - headers), Expected::too_big(1500)),
        ] {
            let frame = udp.frame();
            let out = gateway.send(UNDERLAY, &vxlan(ENDPOINT_V4, 100, &frame));
            expected.check(&to_station(&out, ENDPOINT_V4), &frame, ROUTER[family]);
        }
    }
}

#[test]
fn the_outer_network_is_told_why_its_packets_do_not_arrive() {
    for uplink_addresses in [true, false] {
        let mut config = config();
        if !uplink_addresses {
            config.ports[1].addresses.clear();
        }
        let mut gateway = Harness::with(config);
        gateway.apply(updates());
        for family in 0..2 {
            let headers = [28, 48][family];
            let good = || Udp::new(FROM_OUTSIDE, OUTSIDE[family], STATION[family]);
            let from = if uplink_addresses { UPLINK_ADDRESS } else { ROUTER }[family];
            for (udp, expected) in [
                (good().ttl(1), Expected::TIME_EXCEEDED),
                (good().payload(1501 - headers), Expected::too_big(1500)),
            ] {
                let frame = udp.frame();
                expected.check(&to_outside(&gateway.send(UPLINK, &frame)), &frame, from);
            }
        }
        assert_eq!(gateway.done(Deed::ErrorSent), 4);
    }
}

#[test]
fn senders_hear_that_nobody_has_the_address() {
    let bench = Bench::new();
    let tables = bench.writer.current();
    for family in 0..2 {
        let nobody = ["10.0.1.77", "fd00:0:0:1::77"][family];
        let frame = Udp::new(FROM_OUTSIDE, OUTSIDE[family], nobody).frame();
        let kept = Punted {
            reason: Reason::Unresolved,
            port: UPLINK,
            overlay: OverlayIndex(0),
            mtu: 0,
            frame: FrameCopy::of(&frame),
        };
        let received = Received::read(tables, &kept).unwrap();
        let Some(Output::Outer(packet)) = address_unreachable(tables, &received, &bench.tally) else {
            panic!("to the outer network");
        };
        Expected::NO_ADDRESS.check(&decode(&packet), &frame, UPLINK_ADDRESS[family]);

        let frame = Udp::from_station(STATION[family], nobody).frame();
        let kept = Punted { port: UNDERLAY, frame: FrameCopy::of(&vxlan(ENDPOINT_V6, 100, &frame)), ..kept };
        let received = Received::read(tables, &kept).unwrap();
        let output = address_unreachable(tables, &received, &bench.tally);
        let Some(Output::Station { overlay, endpoint, mac, payload, .. }) = output else {
            panic!("{output:?}")
        };
        assert_eq!((overlay, endpoint, mac), (OverlayIndex(0), address(ENDPOINT_V6), STATION_MAC));
        Expected::NO_ADDRESS.check(&decode(&payload), &frame, ROUTER[family]);
    }
    assert_eq!(bench.tally.get(Deed::ErrorSent), 4);
}

#[test]
fn an_overlay_without_ipv6_speaks_from_its_link_local_address() {
    let mut config = config();
    config.overlays[0].subnets.remove(1);
    config.stations[0].addresses.remove(1);
    let (writer, _) = Writer::new(config, 1).unwrap();
    let bench = Bench { writer, tally: Tally::new() };
    let frame = Udp::from_station("fe80::10", OUTSIDE[1]).ttl(1).frame();
    let output = bench.time_exceeded(&frame);
    let Some(Output::Station { payload, .. }) = output else { panic!("{output:?}") };
    Expected::TIME_EXCEEDED.check(&decode(&payload), &frame, &ROUTER_MAC.link_local().to_string());
}
