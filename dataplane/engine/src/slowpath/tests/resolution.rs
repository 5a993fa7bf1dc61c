//! Packets for addresses that have to be found out: they wait, all are asked, and the answer lets them go.

use super::*;

/// A packet of each way into overlay 100 for the newcomer, with this payload: from outside, from a station of the same
/// overlay, from one of another.
fn to_the_newcomer(way: usize, family: usize, number: u8) -> (PortIndex, Vec<u8>) {
    let other = ["10.0.2.10", "fd00:0:0:2::10"];
    let mut udp = match way {
        0 => Udp::new(FROM_OUTSIDE, OUTSIDE[family], NEWCOMER[family]),
        1 => Udp::from_station(STATION[family], NEWCOMER[family]),
        _ => Udp::new((OTHER_STATION_MAC, ROUTER_MAC), other[family], NEWCOMER[family]),
    };
    udp.payload = vec![number; 20];
    match way {
        0 => (UPLINK, udp.frame()),
        1 => (UNDERLAY, vxlan(ENDPOINT_V4, 100, &udp.frame())),
        _ => (UNDERLAY, vxlan(ENDPOINT_V6, 200, &udp.frame())),
    }
}

fn send(gateway: &mut Harness, way: usize, family: usize, number: u8) -> Vec<(PortIndex, Vec<u8>)> {
    let (port, frame) = to_the_newcomer(way, family, number);
    let mut out = gateway.send(port, &frame);
    out.extend(settle(gateway));
    out
}

/// Overlays reach each other.
fn open_gateway() -> Harness {
    gateway_with(|config| config.rules = vec![allow_all()])
}

#[test]
fn packets_wait_for_the_answer_and_go_in_their_order() {
    for family in BOTH {
        for way in 0..3 {
            let mut gateway = open_gateway();
            assert_eq!(heard(&send(&mut gateway, way, family, 1)), question(NEWCOMER[family]));
            for number in 2..4 {
                assert_eq!(send(&mut gateway, way, family, number), [], "asked once");
            }
            assert_eq!(state(&mut gateway, NEWCOMER[family]), Some((NeighbourState::Incomplete, None)));
            let released = say(&mut gateway, ENDPOINT_V6, &newcomer_answers(family));
            assert_eq!(to_newcomer(&released, family), [1, 2, 3], "way {way}");
            let reachable = Some((NeighbourState::Reachable, Some(NEWCOMER_MAC)));
            assert_eq!(state(&mut gateway, NEWCOMER[family]), reachable);
            let unresolved = gateway.count(Reason::Unresolved);
            assert_eq!(to_newcomer(&send(&mut gateway, way, family, 4), family), [4]);
            assert_eq!(gateway.count(Reason::Unresolved), unresolved, "straight");
            let forwarded = gateway.count(if way == 0 { Reason::Ingress } else { Reason::Across });
            assert_eq!((unresolved, forwarded, gateway.total()), (3, 4, 5));
            assert_eq!((gateway.done(Deed::SolicitationSent), gateway.done(Deed::Learned)), (1, 1));
        }
    }
}

#[test]
fn any_word_of_the_station_is_an_answer() {
    for family in BOTH {
        let words =
            [asks(NEWCOMER_MAC, NEWCOMER[family], ROUTER[family]), announces(NEWCOMER_MAC, NEWCOMER[family])];
        for word in words {
            let mut gateway = gateway();
            call(&mut gateway, NEWCOMER[family], 7);
            let out = say(&mut gateway, ENDPOINT_V6, &word);
            // Of a question the answer may be among them.
            let is_packet = |heard: &Heard| matches!(heard.message, Message::Packet { .. });
            assert_eq!(heard(&out).iter().filter(|heard| is_packet(heard)).count(), 1);
            assert_eq!(
                state(&mut gateway, NEWCOMER[family]),
                Some((NeighbourState::Stale, Some(NEWCOMER_MAC)))
            );
        }
    }
}

#[test]
fn who_sent_to_nobody_is_told_after_three_questions() {
    for family in BOTH {
        for way in 0..2 {
            let mut gateway = open_gateway();
            let mut now = Instant::now();
            let (_, frame) = to_the_newcomer(way, family, 1);
            let packet = if way == 0 { &frame[14..] } else { &frame[14 + 20 + 16 + 14..] };
            send(&mut gateway, way, family, 1);
            send(&mut gateway, way, family, 2);
            for _ in 0..2 {
                now += RETRANSMISSION;
                assert_eq!(heard(&at(&mut gateway, now)), question(NEWCOMER[family]));
            }
            now += RETRANSMISSION;
            let told = at(&mut gateway, now);
            assert_eq!(told.len(), 2, "one for each packet");
            assert_eq!(state(&mut gateway, NEWCOMER[family]), Some((NeighbourState::Failed, None)));
            // The next is told at once, and nobody is asked: too soon.
            for out in [&told[..1], &send(&mut gateway, way, family, 1)] {
                let (to, error) = match way {
                    0 => (OUTSIDE[family], outside(out).remove(0)),
                    _ => {
                        let error = heard(out).remove(0);
                        assert_eq!((error.endpoint, error.vni), (address(ENDPOINT_V4), 100));
                        assert_eq!(error.macs, (ROUTER_MAC, STATION_MAC));
                        (STATION[family], error.message)
                    }
                };
                let kind = [(3, 1), (1, 3)][family];
                assert_eq!(error, Message::Error { to: address(to), kind, about: packet.to_vec() });
            }
            assert_eq!(gateway.done(Deed::SolicitationSent), 3);
            assert_eq!((gateway.done(Deed::ErrorSent), statistics(&mut gateway).held_off), (3, 1));
            // A station that appears is reached at once.
            say(&mut gateway, ENDPOINT_V6, &announces(NEWCOMER_MAC, NEWCOMER[family]));
            assert_eq!(to_newcomer(&send(&mut gateway, way, family, 9), family), [9]);
        }
    }
}

#[test]
fn a_station_that_falls_silent_is_asked_alone_and_forgotten() {
    for family in BOTH {
        let mut gateway = gateway();
        let start = Instant::now();
        say(&mut gateway, ENDPOINT_V6, &announces(NEWCOMER_MAC, NEWCOMER[family]));
        // The longest that a binding lives without a word.
        let mut now = start + Duration::from_secs(460);
        let asker = [address(ROUTER[0]), ROUTER_MAC.link_local().into()][family];
        let probe = Heard {
            endpoint: address(ENDPOINT_V6),
            vni: 100,
            macs: (ROUTER_MAC, NEWCOMER_MAC),
            message: Message::Question { target: address(NEWCOMER[family]), asker, mac: ROUTER_MAC },
        };
        assert_eq!(heard(&at(&mut gateway, now)), std::slice::from_ref(&probe));
        assert_eq!(say(&mut gateway, ENDPOINT_V6, &newcomer_answers(family)), []);
        assert_eq!(
            state(&mut gateway, NEWCOMER[family]),
            Some((NeighbourState::Reachable, Some(NEWCOMER_MAC)))
        );
        now += Duration::from_secs(460);
        for _ in 0..3 {
            assert_eq!(heard(&at(&mut gateway, now)), std::slice::from_ref(&probe));
            assert_eq!(to_newcomer(&call(&mut gateway, NEWCOMER[family], 5), family), [5], "meanwhile");
            now += RETRANSMISSION;
        }
        assert_eq!(at(&mut gateway, now), []);
        assert_eq!(state(&mut gateway, NEWCOMER[family]), None);
        assert_eq!(heard(&call(&mut gateway, NEWCOMER[family], 6)), question(NEWCOMER[family]));
        assert_eq!((gateway.done(Deed::ProbeSent), gateway.done(Deed::Forgotten)), (4, 1));
    }
}
