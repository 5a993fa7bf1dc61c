//! Taps on the worker of the example gateway, and what is told of what they saw.

use std::cell::RefCell;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use port::{Batch, ChunkSize, Umem};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use wire::{MacAddr, Vni};

use super::*;
use crate::api::{NextHop, OverlayPolicy, Path, RateLimit, Role, Route, Update};
use crate::counters::Outcome;
use crate::pipeline::tests::any_frame;
use crate::testing::packets::{Udp, ip_frame, vxlan};
use crate::testing::*;

const STATION: [&str; 2] = ["10.0.1.10", "fd00:0:0:1::10"];
const OTHER: [&str; 2] = ["10.0.2.10", "fd00:0:0:2::10"];
const OUTSIDE: [&str; 2] = ["203.0.113.5", "2001:db8:ff::5"];

fn open(gateway: &mut Harness, filter: TapFilter) -> Tap {
    let tap = gateway.taps.open(filter, gateway.worker.tables.load()).unwrap();
    assert!(!tap.is_on());
    gateway.worker.round();
    assert!(tap.is_on());
    tap
}

fn all(tap: &mut Tap) -> Vec<Tapped> {
    std::iter::from_fn(|| tap.next(Duration::ZERO)).collect()
}

fn outward(family: usize) -> Vec<u8> {
    vxlan(ENDPOINT_V4, 100, &Udp::from_station(STATION[family], OUTSIDE[family]).frame())
}

fn inward(family: usize) -> Vec<u8> {
    Udp::new((OUTER_ROUTER_MAC, UPLINK_MAC), OUTSIDE[family], STATION[family]).frame()
}

#[test]
fn frames_are_seen_as_they_come_and_as_they_go() {
    let mut gateway = Harness::new();
    let mut tap = open(&mut gateway, TapFilter::default());
    for family in 0..2 {
        for (from, to, frame, reason) in [
            (UNDERLAY, UPLINK, outward(family), Reason::Egress),
            (UPLINK, UNDERLAY, inward(family), Reason::Ingress),
        ] {
            let sent = gateway.send(from, &frame);
            let seen = all(&mut tap);
            let [came, went] = seen.as_slice() else { panic!("{seen:?}") };
            assert_eq!((came.port, came.direction, came.reason), (from, Direction::Received, reason));
            assert_eq!((went.port, went.direction, went.reason), (to, Direction::Transmitted, reason));
            assert_eq!((&came.frame, &went.frame), (&frame, &sent[0].1));
            let inside = [came, went].map(Tapped::inner);
            let encapsulated = if from == UNDERLAY { [true, false] } else { [false, true] };
            assert_eq!(inside.map(|inner| inner.is_some()), encapsulated);
            assert!(
                inside.iter().flatten().all(|inner| frame.ends_with(inner) || sent[0].1.ends_with(inner))
            );
            assert!(came.time <= went.time);
        }
    }
    assert_eq!(tap.lost(), 0);
}

#[test]
fn drops_and_answers_are_seen_by_their_counters() {
    let mut gateway = Harness::new();
    let mut every = open(&mut gateway, TapFilter::default());
    let mut dropped = open(&mut gateway, TapFilter { dropped: true, ..TapFilter::default() });
    let spoofed = vxlan(ENDPOINT_V4, 100, &Udp::from_station(OTHER[0], OUTSIDE[0]).frame());
    gateway.send(UNDERLAY, &spoofed);
    gateway.send(UNDERLAY, &outward(0));
    let seen = all(&mut dropped);
    assert_eq!(
        seen.iter().map(|seen| (seen.reason, &seen.frame)).collect::<Vec<_>>(),
        [(Reason::SpoofedSource, &spoofed)]
    );
    assert_eq!(all(&mut every).len(), 3);

    // ARP for the router's address: RFC 826, Ethernet and IPv4, a request.
    let mut request = [MacAddr::BROADCAST.0, STATION_MAC.0].concat();
    request.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    request.extend([&STATION_MAC.0[..], &[10, 0, 1, 10], &[0; 6], &[10, 0, 1, 1]].concat());
    let answer = gateway.send(UNDERLAY, &vxlan(ENDPOINT_V4, 100, &request));
    let seen = all(&mut every);
    let ends: Vec<_> = seen.iter().map(|seen| (seen.direction, seen.reason)).collect();
    assert_eq!(ends, [(Direction::Received, Reason::Arp), (Direction::Transmitted, Reason::SlowPath)]);
    assert_eq!(seen[1].frame, answer[0].1);
}

/// A frame that the port does not take was not transmitted.
#[test]
fn what_finds_no_room_is_dropped_and_not_sent() {
    let mut gateway = Harness::new();
    let mut tap = open(&mut gateway, TapFilter::default());
    for _ in 0..=port::RING_SIZE {
        all(&mut tap);
        assert!(gateway.wires[0].deliver(&outward(0)));
        gateway.worker.round();
    }
    let seen = all(&mut tap);
    let ends: Vec<_> = seen.iter().map(|seen| (seen.direction, seen.reason)).collect();
    assert_eq!(ends, [(Direction::Received, Reason::TransmitFull)]);
}

#[test]
fn a_slow_reader_loses_frames_and_costs_nobody_else_any() {
    let mut gateway = Harness::new();
    let filter = TapFilter { direction: Some(Direction::Received), ..TapFilter::default() };
    let mut slow = open(&mut gateway, filter.clone());
    let mut quick = open(&mut gateway, filter.clone());
    let every = NonZeroU32::new(10);
    let mut tenth = open(&mut gateway, TapFilter { every, ..filter });
    for _ in 0..RING + 7 {
        assert_eq!(gateway.send(UNDERLAY, &outward(1)).len(), 1);
        assert_eq!(all(&mut quick).len(), 1);
    }
    assert_eq!((slow.lost(), quick.lost()), (7, 0));
    let by_way = [Direction::Received, Direction::Transmitted].map(|way| slow.lost_at(UNDERLAY, way));
    assert_eq!((by_way, slow.lost_at(UPLINK, Direction::Received)), ([7, 0], 0));
    assert_eq!((all(&mut slow).len(), all(&mut tenth).len()), (RING, (RING + 7) / 10));
    let status = gateway.taps.status();
    assert_eq!((status[0].frames, status[0].lost), (RING as u64, 7));
}

#[test]
fn a_tap_that_is_dropped_is_off_and_makes_room() {
    let mut gateway = Harness::new();
    let mut taps: Vec<Tap> = (0..MAX_TAPS).map(|_| open(&mut gateway, TapFilter::default())).collect();
    let refused = gateway.taps.open(TapFilter::default(), gateway.worker.tables.load());
    assert!(matches!(refused, Err(TapBusy)));
    let probe = Arc::downgrade(&taps[3].probe);
    drop(taps.remove(3));
    assert_eq!(gateway.taps.status().len(), MAX_TAPS - 1);
    // Its memory is not the worker's to free.
    gateway.worker.round();
    assert!(probe.upgrade().is_some());
    taps.push(open(&mut gateway, TapFilter::default()));
    assert!(probe.upgrade().is_none());
    gateway.send(UNDERLAY, &outward(0));
    assert!(taps.iter_mut().all(|tap| all(tap).len() == 2));
    drop(taps);
    gateway.worker.round();
    assert!(!gateway.worker.taps.are_on() && gateway.taps.status().is_empty());
}

/// Explains a frame as the engine does.
fn explain(gateway: &mut Harness, explainer: &mut Explainer, tapped: &Tapped) -> Explanation {
    let worker = &mut gateway.worker;
    let tables = Arc::clone(worker.tables.load());
    explainer.explain(&tables, &worker.flows.view(), &worker.counters, &["underlay0", "uplink0"], tapped)
}

/// The gateway with both roles on one port, which the frames of both sides of the example arrive at.
fn on_a_stick() -> Harness {
    let mut config = config();
    let uplink = config.ports.remove(1);
    config.ports[0].role = Role::Both;
    config.ports[0].addresses.extend(uplink.addresses);
    let on_stick = |next_hop: NextHop| NextHop { port: UNDERLAY, ..next_hop };
    let mut gateway = Harness::with(config);
    gateway.apply(updates().into_iter().map(|update| {
        match update {
            Update::Routes(routes) => Update::Routes(
                routes
                    .into_iter()
                    .map(|Route { prefix, paths }| {
                        let on_stick = |path: &Path| Path { port: UNDERLAY, ..*path };
                        Route { prefix, paths: paths.iter().map(on_stick).collect() }
                    })
                    .collect(),
            ),
            Update::Neighbour { next_hop, mac } => Update::Neighbour { next_hop: on_stick(next_hop), mac },
            other => other,
        }
    }));
    gateway
}

/// Of any frame: the tap names the counter that was raised, and the explanation comes to the same end.
fn ends_agree(mut gateway: Harness, arrives_at: impl Fn(bool, &mut Vec<u8>) -> PortIndex) {
    let filter = TapFilter { direction: Some(Direction::Received), ..TapFilter::default() };
    let tap = open(&mut gateway, filter);
    let state = RefCell::new((gateway, tap, Explainer::new().unwrap()));
    let noise = (any::<bool>(), proptest::collection::vec(any::<u8>(), 0..200));
    let frames = prop_oneof![9 => any_frame(), 1 => noise];
    let mut runner = TestRunner::new(ProptestConfig::with_cases(10_000));
    let checked = runner.run(&frames, |(underlay, mut frame)| {
        let (gateway, tap, explainer) = &mut *state.borrow_mut();
        let before: Vec<u64> = Reason::ALL.iter().map(|reason| gateway.count(*reason)).collect();
        let port = arrives_at(underlay, &mut frame);
        prop_assert!(gateway.wires[usize::from(port.0)].deliver(&frame));
        gateway.worker.round();
        let seen = all(tap);
        let [tapped] = seen.as_slice() else { panic!("{seen:?}") };
        prop_assert_eq!(&tapped.frame, &frame);
        let raised =
            Reason::ALL.iter().zip(before).filter(|(reason, before)| gateway.count(**reason) > *before);
        prop_assert_eq!(raised.map(|(reason, _)| *reason).collect::<Vec<_>>(), [tapped.reason]);
        let explanation = explain(gateway, explainer, tapped);
        prop_assert_eq!(explanation.now, None, "{:?}", explanation);
        prop_assert!(!explanation.steps.is_empty());
        let last = explanation.steps.last().map(|step| step.name);
        prop_assert_eq!(last == Some("transmit"), is_sent(tapped.reason), "{:?}", explanation);
        gateway.slow_path.take_punts();
        gateway.sent();
        all(tap);
        Ok(())
    });
    checked.unwrap();
    let gateway = &state.borrow().0;
    assert!(gateway.count(Reason::Egress) > 100 && gateway.count(Reason::Ingress) > 100);
}

/// Whether the pipeline had rewritten a frame whose way ended like this.
fn is_sent(reason: Reason) -> bool {
    reason.outcome() == Outcome::Forwarded || reason == Reason::TransmitFull
}

#[test]
fn an_explanation_ends_where_the_frame_did() {
    ends_agree(Harness::new(), |underlay, _| if underlay { UNDERLAY } else { UPLINK });
}

#[test]
fn so_it_does_with_both_roles_on_one_port() {
    ends_agree(on_a_stick(), |_, frame| {
        if frame.starts_with(&UPLINK_MAC.0) {
            frame[..6].copy_from_slice(&UNDERLAY_MAC.0);
        }
        UNDERLAY
    });
}

#[test]
fn so_it_does_with_several_paths_and_names_the_flows_own() {
    let mut gateway = multipath::gateway();
    let mut explainer = Explainer::new().unwrap();
    let filter = TapFilter { direction: Some(Direction::Received), ..TapFilter::default() };
    let mut tap = open(&mut gateway, filter);
    for flow in 0..50 {
        let udp = Udp::from_station(STATION[0], OUTSIDE[0]).ports(1024 + flow, 5000);
        let sent = gateway.send(UNDERLAY, &vxlan(ENDPOINT_V4, 100, &udp.frame()));
        let [(port, _)] = sent.as_slice() else { panic!("{sent:?}") };
        let tapped = all(&mut tap).pop().unwrap();
        let explanation = explain(&mut gateway, &mut explainer, &tapped);
        let route = explanation.steps.iter().find(|step| step.name == "route").unwrap();
        let expected = format!("several paths, this flow's: {}", multipath::neighbour_mac(*port));
        assert!(route.detail.contains(&expected), "{expected}: {route:?}");
    }
    let frame = |underlay| if underlay { UNDERLAY } else { UPLINK };
    ends_agree(gateway, |underlay, _| frame(underlay));
}

/// The names of the steps, and the last in words.
fn steps(explanation: &Explanation) -> (String, String) {
    let names: Vec<&str> = explanation.steps.iter().map(|step| step.name).collect();
    (names.join(" "), explanation.steps.last().map_or_else(String::new, |step| step.detail.clone()))
}

#[test]
fn the_way_is_told_to_its_end() {
    let mut gateway = Harness::new();
    let mut explainer = Explainer::new().unwrap();
    let filter = TapFilter { direction: Some(Direction::Received), ..TapFilter::default() };
    let mut tap = open(&mut gateway, filter);
    let mut told = |port, frame: &[u8]| {
        gateway.send(port, frame);
        let tapped = all(&mut tap).pop().unwrap();
        let explanation = explain(&mut gateway, &mut explainer, &tapped);
        let (names, last) = steps(&explanation);
        (explanation.vni.map(Vni::value), names, last)
    };
    let to_the_packet = "receive decapsulate overlay endpoint inner station packet";
    for family in 0..2 {
        let (vni, names, last) = told(UNDERLAY, &outward(family));
        let out = "source ecn route hops rules mtu neighbour rewrite transmit";
        assert_eq!((vni, names), (Some(100), format!("{to_the_packet} {out}")));
        assert!(last.starts_with(&format!("uplink0, {UPLINK_MAC} to {OUTER_ROUTER_MAC}, ")), "{last}");

        let (vni, names, last) = told(UPLINK, &inward(family));
        let within = "receive packet source receiver hops endpoint mtu rewrite encapsulate transmit";
        assert_eq!((vni, names.as_str()), (Some(100), within));
        assert!(last.starts_with(&format!("underlay0, {UNDERLAY_MAC} to {ENDPOINT_MAC}, ")), "{last}");

        let udp = |to| Udp::from_station(STATION[family], to);
        let cases = [
            (
                vxlan(ENDPOINT_V4, 999, &udp(OUTSIDE[family]).frame()),
                "receive decapsulate overlay",
                "no overlay has VNI 999",
            ),
            (
                vxlan("198.18.0.99", 100, &udp(OUTSIDE[family]).frame()),
                "receive decapsulate overlay endpoint",
                "198.18.0.99 is no endpoint of any overlay",
            ),
            (
                vxlan(ENDPOINT_V4, 100, &Udp::from_station(OTHER[family], OUTSIDE[family]).frame()),
                &format!("{to_the_packet} source"),
                &format!("{} is not an address of a station of overlay 100", OTHER[family]),
            ),
            (
                vxlan(ENDPOINT_V4, 100, &udp(OUTSIDE[family]).ttl(1).frame()),
                &format!("{to_the_packet} source ecn route hops"),
                "1 left: used up",
            ),
            (
                vxlan(ENDPOINT_V4, 100, &udp(OTHER[family]).frame()),
                &format!("{to_the_packet} source ecn route rules"),
                "none matches: rejected between overlays",
            ),
        ];
        for (frame, names, detail) in cases {
            let (_, told_names, last) = told(UNDERLAY, &frame);
            assert_eq!((told_names.as_str(), last.as_str()), (names, detail));
        }
        let to_another = Udp::new((OUTER_ROUTER_MAC, UPLINK_MAC), OTHER[family], STATION[family]).frame();
        let (_, names, last) = told(UPLINK, &to_another);
        assert_eq!(names, "receive packet source");
        assert!(last.starts_with(OTHER[family]), "{last}");
    }
}

/// The gateway with a limit of what leaves an overlay, that one packet uses up.
fn limited() -> Harness {
    let mut config = config();
    let egress_limit = RateLimit { bits: None, packets: Some(1) };
    config.overlays[0].policy = Arc::new(OverlayPolicy { egress_limit, ..OverlayPolicy::default() });
    let mut gateway = Harness::with(config);
    gateway.apply(updates());
    gateway
}

#[test]
fn explaining_uses_up_no_limit_and_says_what_changed() {
    let (mut gateway, mut explainer) = (limited(), Explainer::new().unwrap());
    let filter = TapFilter { direction: Some(Direction::Received), ..TapFilter::default() };
    let mut tap = open(&mut gateway, filter);
    assert_eq!(gateway.send(UNDERLAY, &outward(0)).len(), 1);
    let tapped = all(&mut tap).pop().unwrap();
    let over = explain(&mut gateway, &mut explainer, &tapped);
    assert_eq!(
        (over.now, steps(&over).1.as_str()),
        (Some(Reason::OverLimit), "1 packets/s out of overlay 100")
    );
    // Where nothing has passed before it may, as often as that is told.
    let mut untouched = limited();
    for _ in 0..100 {
        assert_eq!(explain(&mut untouched, &mut explainer, &tapped).now, None);
    }
    assert_eq!(untouched.total(), 0, "told and not counted");
    assert_eq!(untouched.send(UNDERLAY, &outward(0)).len(), 1);
}

#[test]
fn filters_look_inside_and_outside() {
    let vni = |number| TapFilter { vni: Vni::new(number), ..TapFilter::default() };
    let host = |text: &str| TapFilter { host: Some(text.parse().unwrap()), ..TapFilter::default() };
    let mac = |mac| TapFilter { mac: Some(mac), ..TapFilter::default() };
    let protocol = |protocol| TapFilter { protocol: Some(protocol), ..TapFilter::default() };
    let l4_port = |port| TapFilter { l4_port: Some(port), ..TapFilter::default() };
    let mut gateway = Harness::new();
    let tables = Arc::clone(gateway.worker.tables.load());
    let matches =
        |filter: &TapFilter, frame: &[u8]| filter::Filter::new(filter.clone(), &tables).matches(frame);
    for family in 0..2 {
        for endpoint in [ENDPOINT_V4, ENDPOINT_V6] {
            let inner = Udp::from_station(STATION[family], OUTSIDE[family]).frame();
            let inside = vxlan(endpoint, 100, &inner);
            let plain = inward(family);
            for wanted in [
                vni(100),
                host(STATION[family]),
                host(OUTSIDE[family]),
                protocol(ProtocolFilter::Number(17)),
                l4_port(4000),
                l4_port(5000),
            ] {
                assert!(matches(&wanted, &inside) && matches(&wanted, &plain), "{wanted:?}");
            }
            for unwanted in [
                vni(200),
                host(OTHER[family]),
                mac(OTHER_STATION_MAC),
                protocol(ProtocolFilter::Icmp),
                protocol(ProtocolFilter::Number(6)),
                // Of the outer header: what is inside counts.
                l4_port(4789),
            ] {
                assert!(!matches(&unwanted, &inside) && !matches(&unwanted, &plain), "{unwanted:?}");
            }
            for outside in [host(endpoint), mac(ENDPOINT_MAC), mac(STATION_MAC)] {
                assert!(matches(&outside, &inside) && !matches(&outside, &plain), "{outside:?}");
            }
            // Whatever is cut off, what is there is found and nothing breaks.
            for len in 0..inside.len() {
                let found = matches(&host(endpoint), &inside[..len]);
                assert_eq!(found, len >= if endpoint == ENDPOINT_V4 { 30 } else { 38 }, "{len} bytes");
            }
        }
        let number = [1, 58][family];
        let ping = ip_frame(
            (OUTER_ROUTER_MAC, UPLINK_MAC),
            OUTSIDE[family],
            STATION[family],
            number,
            64,
            &[8, 0, 0, 0],
        );
        assert!(matches(&protocol(ProtocolFilter::Icmp), &ping) && !matches(&l4_port(0x0800), &ping));
    }
}

#[test]
fn fragments_have_a_protocol_and_only_the_first_has_ports() {
    let filter = |protocol, l4_port| TapFilter { protocol, l4_port, ..TapFilter::default() };
    let (udp, port) = (filter(Some(ProtocolFilter::Number(17)), None), filter(None, Some(5000)));
    let mut gateway = Harness::new();
    let tables = Arc::clone(gateway.worker.tables.load());
    let matches =
        |wanted: &TapFilter, frame: &[u8]| filter::Filter::new(wanted.clone(), &tables).matches(frame);
    let macs = (OUTER_ROUTER_MAC, UPLINK_MAC);
    let header = [0x0f, 0xa0, 0x13, 0x88, 0, 8, 0, 0];
    for (offset, has_ports) in [(0_u16, true), (185, false)] {
        let mut v4 = ip_frame(macs, OUTSIDE[0], STATION[0], 17, 64, &header);
        v4[20..22].copy_from_slice(&(0x2000 | offset).to_be_bytes());
        let [high, low] = (offset << 3 | 1).to_be_bytes();
        let chain = [&[60, 0, high, low, 0, 0, 0, 9][..], &[17, 0, 1, 4, 0, 0, 0, 0], &header].concat();
        let first = ip_frame(macs, OUTSIDE[1], STATION[1], 44, 64, &chain);
        let chain = [&[17, 0, high, low, 0, 0, 0, 9][..], &header].concat();
        let later = ip_frame(macs, OUTSIDE[1], STATION[1], 44, 64, &chain);
        let v6 = if has_ports { first } else { later };
        for frame in [v4, v6] {
            for frame in [vxlan(ENDPOINT_V6, 100, &frame), frame] {
                assert!(matches(&udp, &frame));
                assert_eq!(matches(&port, &frame), has_ports);
            }
        }
    }
}

#[test]
fn frames_of_two_workers_come_in_the_order_of_time() {
    let mut gateway = Harness::new();
    let tables = Arc::clone(gateway.worker.tables.load());
    let taps = Taps::new(2);
    let mut workers = [0, 1].map(|number| WorkerTaps::new(Arc::clone(&taps), number));
    let mut tap = taps.open(TapFilter::default(), &tables).unwrap();
    workers[0].refresh();
    assert!(!tap.is_on(), "one has not seen it");
    workers[1].refresh();
    assert!(tap.is_on());
    let (umem, mut pool) = Umem::new(1, ChunkSize::Small).unwrap();
    let mut batch = Batch::from_iter(pool.take());
    for mark in 0..20 {
        assert!(batch[0].reset(60));
        umem.data_mut(&mut batch[0]).fill(mark);
        let worker = &mut workers[usize::from(mark % 3 == 0)];
        worker.received(UNDERLAY, &batch, &umem);
        worker.ended(0, Reason::Malformed);
    }
    let marks: Vec<u8> = all(&mut tap).iter().map(|tapped| tapped.frame[0]).collect();
    assert_eq!(marks, (0..20).collect::<Vec<u8>>());
    assert_eq!(taps.status()[0].frames, 20);
    let probe = Arc::downgrade(&tap.probe);
    drop(tap);
    for worker in &mut workers {
        worker.refresh();
        assert!(!worker.are_on() && probe.upgrade().is_some(), "freed by no worker");
    }
    assert!(taps.status().is_empty() && probe.upgrade().is_none());
}
