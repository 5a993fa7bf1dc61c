//! Sessions: how they come up, how they end, and what is said.

use std::time::Duration;

use crate::support::scripted::{PEER, Scripted, mac_route};
use crate::support::{ASN, Sim, mac, vni};
use bytes::Bytes;
use evpn::{DownReason, Event, Family, Rejection, SessionState};
use rustbgpd_wire::notification::{NotificationCode, encode_shutdown_communication};
use rustbgpd_wire::{
    Afi, Capability, GracefulRestartFamily, Message, NotificationMessage, PathAttribute, RouteRefreshMessage,
    RouteRefreshSubtype, Safi, UpdateMessage,
};

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

/// The peer tells of a station.
fn tell(scripted: &mut Scripted, number: u8) {
    scripted.update(&mac_route(1, [2, 0, 0, 0, 0, number], None, PEER.into()));
}

/// End-of-RIB for EVPN (RFC 4724 §2).
fn end_of_rib() -> Message {
    Message::Update(UpdateMessage {
        withdrawn_routes: Bytes::new(),
        path_attributes: Bytes::from_static(&[0x80, 15, 3, 0, 25, 70]),
        nlri: Bytes::new(),
    })
}

fn is_update(message: &Message) -> bool {
    matches!(message, Message::Update(_))
}

fn with_graceful_restart(open: &mut rustbgpd_wire::OpenMessage, seconds: u16) {
    open.capabilities.push(Capability::GracefulRestart {
        restart_state: false,
        notification: false,
        restart_time: seconds,
        families: vec![GracefulRestartFamily {
            afi: Afi::L2Vpn,
            safi: Safi::Evpn,
            forwarding_preserved: true,
        }],
    });
}

#[test]
fn an_open_that_does_not_fit_is_refused_with_its_code() {
    type Spoil = fn(&mut rustbgpd_wire::OpenMessage);
    let cases: [(Spoil, (u8, u8)); 4] = [
        (
            |open| {
                open.capabilities.retain(|capability| !matches!(capability, Capability::FourOctetAs { .. }))
            },
            (0, 0),
        ),
        (
            |open| {
                open.my_as = 65001;
                open.capabilities.retain(|capability| !matches!(capability, Capability::FourOctetAs { .. }));
            },
            (2, 2),
        ),
        (|open| open.hold_time = 1, (2, 6)),
        (|open| open.bgp_identifier = std::net::Ipv4Addr::UNSPECIFIED, (2, 3)),
    ];
    for (spoil, code) in cases {
        let mut scripted = Scripted::connected(|_| {});
        let mut open = Scripted::open();
        spoil(&mut open);
        scripted.say(&Message::Open(open));
        let seen = scripted.heard_notification().unwrap_or_default();
        assert_eq!(seen, code);
        assert_eq!(scripted.closed, code != (0, 0));
        if scripted.closed {
            assert!(matches!(scripted.down(), Some(DownReason::Sent { code: seen, .. }) if *seen == code));
        }
    }
}

#[test]
fn garbage_ends_the_session_and_nothing_else() {
    for (garbage, code) in
        [(&[0x55; 40][..], (1, 1)), (&[[0xff; 16].as_slice(), &[0, 19, 99]].concat(), (1, 3))]
    {
        let mut scripted = Scripted::up(|_| {}, |_| {});
        tell(&mut scripted, 1);
        assert_eq!(scripted.speaker.stations(), 1);
        scripted.say_bytes(garbage);
        assert_eq!(scripted.heard_notification(), Some(code));
        assert!(scripted.closed);
        assert_eq!((scripted.speaker.stations(), scripted.routes()), (0, 0), "its routes go");
        // It may come again.
        scripted.again(|_| {});
        assert_eq!(scripted.state(), SessionState::Established);
    }
}

#[test]
fn silence_for_the_hold_time_ends_the_session() {
    let mut scripted = Scripted::up(|config| config.hold_time = 3, |_| {});
    tell(&mut scripted, 1);
    scripted.heard();
    scripted.wait(seconds(2));
    let heard = scripted.heard();
    assert_eq!(heard.iter().filter(|message| matches!(message, Message::Keepalive)).count(), 2);
    scripted.say(&Message::Keepalive);
    scripted.wait(Duration::from_millis(2_900));
    assert_eq!(scripted.state(), SessionState::Established);
    scripted.wait(Duration::from_millis(200));
    assert_eq!(
        (scripted.heard_notification(), scripted.down()),
        (Some((4, 0)), Some(&DownReason::HoldTimer))
    );
    assert_eq!(scripted.speaker.stations(), 0);
}

#[test]
fn a_peer_that_is_silent_for_two_thirds_of_the_hold_time_may_be_gone() {
    let mut scripted = Scripted::up(|config| config.hold_time = 30, |_| {});
    let silence = |scripted: &Scripted| {
        let of = |event: &Event| if let Event::Silence { silent, .. } = event { Some(*silent) } else { None };
        scripted.events.iter().filter_map(of).collect::<Vec<_>>()
    };
    for _ in 0..5 {
        scripted.wait(seconds(19));
        scripted.say(&Message::Keepalive);
    }
    assert_eq!(silence(&scripted), []);
    scripted.wait(seconds(21));
    assert_eq!((silence(&scripted), scripted.state()), (vec![true], SessionState::Established));
    scripted.say(&Message::Keepalive);
    assert_eq!(silence(&scripted), [true, false]);
    // Its end is told as such.
    scripted.wait(seconds(31));
    assert_eq!(
        (silence(&scripted), scripted.down()),
        (vec![true, false, true], Some(&DownReason::HoldTimer))
    );
}

#[test]
fn a_peer_that_reads_nothing_is_given_up() {
    let mut scripted = Scripted::up(|_| {}, |_| {});
    // Its keepalives come, but nobody takes ours.
    for _ in 0..60 {
        scripted.now += seconds(10);
        scripted.speaker.handle_timeout(scripted.now);
        let keepalive = rustbgpd_wire::encode_message(&Message::Keepalive).unwrap();
        scripted.speaker.received(scripted.peer, scripted.connection, &keepalive, scripted.now);
    }
    scripted.follow();
    assert_eq!(scripted.down(), Some(&DownReason::SendHoldTimer));
}

#[test]
fn last_words_are_passed_on() {
    let mut scripted = Scripted::up(|_| {}, |_| {});
    let data = encode_shutdown_communication("new batteries");
    let cease = NotificationMessage::new(NotificationCode::Cease, 2, data);
    scripted.say(&Message::Notification(cease));
    let Some(DownReason::Received { code: (6, 2), communication, .. }) = scripted.down() else {
        panic!("{:?}", scripted.down());
    };
    assert_eq!(communication.as_deref(), Some("new batteries"));

    let mut scripted = Scripted::up(|_| {}, |_| {});
    scripted.speaker.stop_peer(scripted.peer, "back at noon", scripted.now);
    let heard = scripted.heard();
    let Some(Message::Notification(cease)) = heard.last() else { panic!("{heard:?}") };
    assert_eq!((cease.subcode, &cease.data[1..]), (2, b"back at noon".as_slice()));
    assert!(scripted.closed && scripted.state() == SessionState::Idle);
    assert!(scripted.speaker.accept(PEER.into(), scripted.now).is_none(), "stopped is stopped");
}

#[test]
fn too_many_routes_end_the_session_for_a_while() {
    let limits = |config: &mut evpn::PeerConfig| {
        config.max_routes = 3;
        config.max_routes_restart = Some(seconds(60));
    };
    let mut scripted = Scripted::up(limits, |_| {});
    (0..3).for_each(|number| tell(&mut scripted, number));
    tell(&mut scripted, 2);
    assert_eq!(scripted.state(), SessionState::Established, "told again is not more");
    tell(&mut scripted, 3);
    assert_eq!(scripted.heard_notification(), Some((6, 1)));
    assert_eq!(scripted.down(), Some(&DownReason::MaxRoutes { family: Family::Evpn, limit: 3 }));
    assert_eq!((scripted.routes(), scripted.state()), (0, SessionState::Idle));
    assert!(scripted.speaker.accept(PEER.into(), scripted.now).is_none());
    scripted.wait(seconds(61));
    scripted.again(|_| {});
    assert_eq!(scripted.state(), SessionState::Established);
}

#[test]
fn attributes_take_no_more_memory_than_the_limit() {
    let limits = |config: &mut evpn::PeerConfig| {
        config.max_routes = 1000;
        config.max_routes_restart = Some(seconds(60));
    };
    let long = |open: &mut rustbgpd_wire::OpenMessage| open.capabilities.push(Capability::ExtendedMessage);
    let mut scripted = Scripted::up(limits, long);
    // Each route has 60 000 bytes of communities of its own; one that is told again replaces the old ones.
    let fat = |scripted: &mut Scripted, number: u32, word: u32| {
        let mut attributes = mac_route(1, mac(number).0, None, PEER.into());
        attributes.insert(3, PathAttribute::Communities(vec![word; 15_000]));
        let mut encoded = Vec::new();
        rustbgpd_wire::attribute::encode_path_attributes(&attributes, &mut encoded, true, false).unwrap();
        let update = Message::Update(UpdateMessage {
            withdrawn_routes: Bytes::new(),
            path_attributes: encoded.into(),
            nlri: Bytes::new(),
        });
        scripted.say_bytes(&rustbgpd_wire::encode_message_with_limit(&update, u16::MAX).unwrap());
    };
    (0..400).for_each(|word| fat(&mut scripted, 7, word));
    // Any number of routes may share a set.
    (0..400).for_each(|number| fat(&mut scripted, number, 1));
    assert_eq!((scripted.state(), scripted.routes()), (SessionState::Established, 400));
    let before = (0..400).find(|&number| {
        fat(&mut scripted, number, 1000 + number);
        scripted.closed
    });
    // 16 MiB, and some bytes of each set beside the communities.
    assert!(before.is_some_and(|number| (270..280).contains(&number)), "{before:?}");
    assert_eq!(scripted.heard_notification(), Some((6, 8)));
    assert_eq!(scripted.down(), Some(&DownReason::MaxAttributes { limit: 16 << 20 }));
    assert_eq!((scripted.routes(), scripted.state()), (0, SessionState::Idle));
    // What is gone is not counted.
    scripted.wait(seconds(61));
    scripted.again(long);
    (0..200).for_each(|number| fat(&mut scripted, number, number));
    assert_eq!(scripted.state(), SessionState::Established);
}

#[test]
fn a_malformed_attribute_withdraws_and_does_no_more() {
    let mut scripted = Scripted::up(|_| {}, |_| {});
    tell(&mut scripted, 1);
    tell(&mut scripted, 2);
    // ORIGIN of a value that is none (RFC 7606 §7.1).
    let mut attributes = mac_route(1, [2, 0, 0, 0, 0, 1], None, PEER.into());
    let mut encoded = Vec::new();
    attributes.remove(0);
    rustbgpd_wire::attribute::encode_path_attributes(&attributes, &mut encoded, true, false).unwrap();
    encoded.extend([0x40, 1, 1, 9]);
    scripted.say(&Message::Update(UpdateMessage {
        withdrawn_routes: Bytes::new(),
        path_attributes: encoded.into(),
        nlri: Bytes::new(),
    }));
    assert_eq!(scripted.state(), SessionState::Established);
    assert_eq!(scripted.rejections(), [Rejection::Malformed]);
    assert!(scripted.events.iter().any(|event| matches!(event, Event::Malformed { .. })));
    assert!(scripted.speaker.station(vni(1), wire::MacAddr([2, 0, 0, 0, 0, 1])).is_none());
    assert!(scripted.speaker.station(vni(1), wire::MacAddr([2, 0, 0, 0, 0, 2])).is_some());
}

#[test]
fn malformed_attributes_without_routes_end_the_session() {
    let unreach = [0x80, 15, 3, 0, 25, 70];
    let bad_origin = [0x40, 1, 1, 9];
    let overrun = [0x40, 1, 100, 0];
    let twice = [0x40, 1, 1, 0, 0x40, 1, 1, 0];
    for (fault, ends) in [(&bad_origin[..], true), (&overrun, true), (&twice, false)] {
        for attributes in [[&unreach, fault].concat(), fault.to_vec()] {
            let mut scripted = Scripted::up(|_| {}, |_| {});
            tell(&mut scripted, 1);
            scripted.say(&Message::Update(UpdateMessage {
                withdrawn_routes: Bytes::new(),
                path_attributes: attributes.into(),
                nlri: Bytes::new(),
            }));
            assert_eq!(scripted.heard_notification(), ends.then_some((3, 1)), "{fault:?}");
            assert_eq!(scripted.speaker.stations(), usize::from(!ends));
        }
    }
}

#[test]
fn of_many_faults_a_few_are_told() {
    let mut scripted = Scripted::up(|_| {}, |_| {});
    // ORIGIN a hundred times too often (RFC 7606 §3 (g)).
    let mut encoded = Vec::new();
    let attributes = mac_route(1, mac(1).0, None, PEER.into());
    rustbgpd_wire::attribute::encode_path_attributes(&attributes, &mut encoded, true, false).unwrap();
    (0..100).for_each(|_| encoded.extend([0x40, 1, 1, 0]));
    scripted.say(&Message::Update(UpdateMessage {
        withdrawn_routes: Bytes::new(),
        path_attributes: encoded.into(),
        nlri: Bytes::new(),
    }));
    let detail = |event: &Event| match event {
        Event::Malformed { detail, .. } => Some(detail.clone()),
        _ => None,
    };
    let detail = scripted.events.iter().find_map(detail).unwrap_or_default();
    assert!(detail.matches("attribute 1: ").count() == 8 && detail.ends_with("; and 92 more"), "{detail}");
    assert_eq!((scripted.speaker.stations(), scripted.state()), (1, SessionState::Established));
}

#[test]
fn routes_outlive_a_restart_if_that_was_agreed() {
    let agree = |config: &mut evpn::PeerConfig| config.graceful_restart = Some(120);
    let restart = |open: &mut rustbgpd_wire::OpenMessage| with_graceful_restart(open, 100);
    let mut scripted = Scripted::up(agree, restart);
    (1..=3).for_each(|number| tell(&mut scripted, number));
    scripted.lose_connection();
    assert_eq!(scripted.speaker.stations(), 3);
    scripted.wait(seconds(50));
    scripted.again(restart);
    tell(&mut scripted, 1);
    assert_eq!(scripted.speaker.stations(), 3);
    scripted.say(&end_of_rib());
    assert_eq!(scripted.speaker.stations(), 1, "what was not confirmed goes");

    // It does not come again.
    scripted.lose_connection();
    scripted.wait(seconds(99));
    assert_eq!(scripted.speaker.stations(), 1);
    scripted.wait(seconds(2));
    assert_eq!((scripted.speaker.stations(), scripted.routes()), (0, 0));
}

#[test]
fn a_new_process_says_that_it_has_restarted_and_forgotten() {
    let restart = |open: &mut rustbgpd_wire::OpenMessage| with_graceful_restart(open, 100);
    let marks = |scripted: &mut Scripted| {
        let heard = scripted.heard();
        let Some(Message::Open(open)) = heard.first() else { panic!("{heard:?}") };
        let marks = |capability: &Capability| match capability {
            Capability::GracefulRestart { restart_state, families, .. } => {
                Some((*restart_state, families.iter().map(|family| family.forwarding_preserved).collect()))
            }
            _ => None,
        };
        open.capabilities.iter().find_map(marks)
    };
    let mut scripted = Scripted::connected(|config| config.graceful_restart = Some(120));
    assert_eq!(marks(&mut scripted), Some((true, vec![false])));
    // Until there has been a session, the peer has not heard of it.
    scripted.lose_connection();
    scripted.again(restart);
    assert_eq!(
        (scripted.state(), marks(&mut scripted)),
        (SessionState::Established, Some((true, vec![false])))
    );
    // The process outlives the session, and so does its forwarding state.
    scripted.lose_connection();
    scripted.again(restart);
    assert_eq!(marks(&mut scripted), Some((false, vec![true])));
}

#[test]
fn a_peer_that_is_back_has_time_to_tell_its_routes() {
    let restart = |open: &mut rustbgpd_wire::OpenMessage| {
        open.hold_time = 0;
        with_graceful_restart(open, 100);
    };
    let agree = |config: &mut evpn::PeerConfig| {
        config.hold_time = 0;
        config.graceful_restart = Some(120);
    };
    let mut scripted = Scripted::up(agree, restart);
    (1..=2).for_each(|number| tell(&mut scripted, number));
    scripted.lose_connection();
    scripted.wait(seconds(90));
    scripted.again(restart);
    // Longer than the restart time, from the loss and from its coming back.
    scripted.wait(seconds(200));
    assert_eq!(scripted.speaker.stations(), 2);
    tell(&mut scripted, 1);
    // But not for ever.
    scripted.wait(seconds(161));
    assert_eq!((scripted.speaker.stations(), scripted.state()), (1, SessionState::Established));

    // One that has lost its forwarding state has nothing to confirm.
    scripted.lose_connection();
    scripted.again(|open| {
        restart(open);
        if let Some(Capability::GracefulRestart { families, .. }) = open.capabilities.last_mut() {
            families[0].forwarding_preserved = false;
        }
    });
    assert_eq!(scripted.speaker.stations(), 0);
}

#[test]
fn a_second_connection_ends_the_session_only_with_an_open_that_fits() {
    let restart = |open: &mut rustbgpd_wire::OpenMessage| with_graceful_restart(open, 100);
    let mut scripted = Scripted::up(|config| config.graceful_restart = Some(120), restart);
    tell(&mut scripted, 1);
    scripted.heard();
    let before = scripted.connection;
    scripted.again(|open| {
        restart(open);
        open.bgp_identifier = std::net::Ipv4Addr::UNSPECIFIED;
    });
    assert_eq!((scripted.heard_notification(), scripted.closed), (Some((2, 3)), true));
    assert_eq!((scripted.state(), scripted.speaker.stations()), (SessionState::Established, 1));
    (scripted.connection, scripted.closed) = (before, false);
    tell(&mut scripted, 2);
    assert_eq!((scripted.speaker.stations(), scripted.closed), (2, false));

    // With one that fits, the session is the new connection's, and routes wait to be confirmed.
    scripted.again(restart);
    assert_eq!((scripted.state(), scripted.speaker.stations()), (SessionState::Established, 2));
    assert_eq!(scripted.down(), Some(&DownReason::Closed));
    tell(&mut scripted, 2);
    scripted.say(&end_of_rib());
    assert_eq!(scripted.speaker.stations(), 1);
}

#[test]
fn routes_go_with_the_session_if_restart_was_not_agreed_or_the_peer_is_dead() {
    let restart = |open: &mut rustbgpd_wire::OpenMessage| with_graceful_restart(open, 100);
    let mut scripted = Scripted::up(|_| {}, restart);
    tell(&mut scripted, 1);
    scripted.lose_connection();
    assert_eq!(scripted.speaker.stations(), 0);

    let mut scripted = Scripted::up(|config| config.graceful_restart = Some(120), restart);
    tell(&mut scripted, 1);
    scripted.speaker.peer_down(scripted.peer, scripted.now);
    assert_eq!(scripted.heard_notification(), Some((6, 10)), "BFD down (RFC 9384)");
    assert_eq!((scripted.speaker.stations(), scripted.down()), (0, Some(&DownReason::PeerDown)));
}

#[test]
fn a_refresh_is_answered_with_everything_between_its_marks() {
    let mut scripted = Scripted::up(|_| {}, |open| open.capabilities.push(Capability::EnhancedRouteRefresh));
    scripted.speaker.join_flood(vni(1), PEER.into());
    scripted.speaker.join_flood(vni(2), PEER.into());
    scripted.heard();
    scripted.say(&Message::RouteRefresh(RouteRefreshMessage::new(Afi::L2Vpn, Safi::Evpn)));
    let heard = scripted.heard();
    let mark = |message: &Message| match message {
        Message::RouteRefresh(refresh) => Some(refresh.subtype()),
        _ => None,
    };
    assert_eq!(mark(&heard[0]), Some(RouteRefreshSubtype::BoRR));
    assert_eq!(heard.iter().filter(|message| is_update(message)).count(), 2, "{heard:?}");
    assert_eq!(mark(heard.last().unwrap()), Some(RouteRefreshSubtype::EoRR));

    // The other way: what it does not tell again goes.
    (1..=2).for_each(|number| tell(&mut scripted, number));
    let mark = |subtype| {
        Message::RouteRefresh(RouteRefreshMessage::new_with_subtype(Afi::L2Vpn, Safi::Evpn, subtype))
    };
    scripted.say(&mark(RouteRefreshSubtype::BoRR));
    tell(&mut scripted, 2);
    scripted.say(&mark(RouteRefreshSubtype::EoRR));
    assert_eq!(scripted.speaker.stations(), 1);
}

#[test]
fn marks_of_a_refresh_count_if_agreed_and_not_for_ever() {
    let agree = |open: &mut rustbgpd_wire::OpenMessage| {
        open.hold_time = 0;
        open.capabilities.push(Capability::EnhancedRouteRefresh);
    };
    let mark = |subtype| {
        Message::RouteRefresh(RouteRefreshMessage::new_with_subtype(Afi::L2Vpn, Safi::Evpn, subtype))
    };
    let mut scripted = Scripted::up(|config| config.hold_time = 0, agree);
    (1..=2).for_each(|number| tell(&mut scripted, number));
    scripted.say(&mark(RouteRefreshSubtype::BoRR));
    tell(&mut scripted, 1);
    scripted.wait(seconds(359));
    assert_eq!(scripted.speaker.stations(), 2);
    scripted.wait(seconds(2));
    assert_eq!((scripted.speaker.stations(), scripted.state()), (1, SessionState::Established));

    let mut scripted = Scripted::up(|_| {}, |_| {});
    tell(&mut scripted, 1);
    scripted.say(&mark(RouteRefreshSubtype::BoRR));
    scripted.say(&mark(RouteRefreshSubtype::EoRR));
    assert_eq!((scripted.speaker.stations(), scripted.state()), (1, SessionState::Established));
}

#[test]
fn an_end_for_good_is_a_hard_reset_where_routes_would_be_kept() {
    for (notification, ours, hard) in
        [(true, Some(120), true), (false, Some(120), false), (true, None, false)]
    {
        let up = || {
            Scripted::up(
                |config| {
                    config.graceful_restart = ours;
                    config.max_routes = 0;
                },
                |open| {
                    with_graceful_restart(open, 100);
                    if let Some(Capability::GracefulRestart { notification: bit, .. }) =
                        open.capabilities.last_mut()
                    {
                        *bit = notification;
                    }
                },
            )
        };
        let last = |scripted: &mut Scripted| match scripted.heard().pop() {
            Some(Message::Notification(last)) => ((last.code.as_u8(), last.subcode), last.data.to_vec()),
            other => panic!("{other:?}"),
        };
        let mut scripted = up();
        scripted.speaker.stop_peer(scripted.peer, "moved", scripted.now);
        let plain = ((6, 2), b"\x05moved".to_vec());
        let wrapped = ((6, 9), b"\x06\x02\x05moved".to_vec());
        assert_eq!(last(&mut scripted), if hard { wrapped } else { plain });

        let mut scripted = up();
        tell(&mut scripted, 1);
        let (codes, data) = last(&mut scripted);
        assert_eq!((codes, data.starts_with(&[6, 1])), if hard { ((6, 9), true) } else { ((6, 1), false) });

        // One that may come back at once is not for good.
        let mut scripted = up();
        scripted.say_bytes(&[0x55; 19]);
        assert_eq!(last(&mut scripted).0, (1, 1));
    }
}

#[test]
fn leaving_withdraws_before_it_ends() {
    let mut sim = Sim::new(1);
    let (a, b) = (sim.add(ASN), sim.add(ASN));
    // Even where the peer would keep our routes over a restart.
    sim.peer(a, b, |_, config| config.graceful_restart = Some(120));
    sim.start();
    let vtep = sim.nodes[a].address;
    (1..=8).for_each(|number| sim.nodes[a].speaker.join_flood(vni(number), vtep));
    sim.follow(a);
    sim.run_until(seconds(20), |sim| sim.nodes[b].view.floods.len() == 8);
    let now = sim.now;
    sim.nodes[a].speaker.shut_down("moved", now);
    assert!(!sim.nodes[a].speaker.is_idle(), "not before the peer has been told");
    sim.follow(a);
    sim.run(seconds(1));
    assert!(sim.nodes[a].speaker.is_idle() && sim.nodes[b].view.floods.is_empty());
    let words = |event: &Event| match event {
        Event::Down { reason: DownReason::Received { communication, .. }, .. } => communication.clone(),
        _ => None,
    };
    assert_eq!(sim.nodes[b].events.iter().find_map(words).as_deref(), Some("moved"));
}

#[test]
fn leaving_is_told_in_order_and_once() {
    let mut scripted = Scripted::up(|_| {}, |_| {});
    scripted.speaker.join_flood(vni(1), PEER.into());
    scripted.heard();
    scripted.speaker.shut_down("moved", scripted.now);
    let heard = scripted.heard();
    assert!(matches!(&heard[..], [Message::Update(_), Message::Notification(_)]), "{heard:?}");
    assert!(scripted.closed && scripted.speaker.is_idle());
}

#[test]
fn two_that_connect_at_once_keep_one_connection() {
    for seed in 0..50 {
        let mut sim = Sim::new(seed);
        let (a, b) = (sim.add(ASN), sim.add(ASN));
        sim.peer(a, b, |_, _| {});
        sim.start();
        sim.run_until(seconds(60), |sim| sim.nodes.iter().all(crate::support::Node::is_up));
        sim.run(seconds(5));
        assert!(sim.nodes.iter().all(crate::support::Node::is_up), "seed {seed}: and it stays");
        assert_eq!(sim.connections(), 1, "seed {seed}");
    }
}

#[test]
fn external_peers_put_their_as_first_and_loops_are_seen() {
    let mut sim = Sim::new(1);
    let (a, b) = (sim.add(ASN), sim.add(65001));
    sim.peer(a, b, |own, config| config.asn = Some(if own == a { 65001 } else { ASN }));
    sim.start();
    let vtep = sim.nodes[a].address;
    sim.nodes[a].speaker.join_flood(vni(3), vtep);
    sim.follow(a);
    sim.run_until(seconds(20), |sim| !sim.nodes[b].view.floods.is_empty());
    let route = sim.nodes[b].speaker.routes(Family::Evpn).next().unwrap();
    assert_eq!(*route.paths[0].attributes.as_path, [ASN]);

    // From the peer in AS 65001, by whom it says it came.
    for (path, refused) in [
        (vec![65001], None),
        (vec![65002, 65001], Some(Rejection::FirstAs)),
        (vec![65001, ASN], Some(Rejection::AsLoop)),
    ] {
        let as_number = |open: &mut rustbgpd_wire::OpenMessage| {
            open.my_as = 65001;
            open.capabilities.pop();
            open.capabilities.push(Capability::FourOctetAs { asn: 65001 });
        };
        let mut scripted = Scripted::up(|config| config.asn = None, as_number);
        let mut attributes = mac_route(1, mac(1).0, None, PEER.into());
        let segment = rustbgpd_wire::AsPathSegment::AsSequence(path);
        attributes[1] = PathAttribute::AsPath(rustbgpd_wire::AsPath { segments: vec![segment] });
        attributes.remove(2);
        scripted.update(&attributes);
        assert_eq!(scripted.rejections().first().copied(), refused);
        assert_eq!(scripted.speaker.stations(), usize::from(refused.is_none()));
    }
}

#[test]
fn a_peer_that_is_not_there_is_told_of_once() {
    let mut scripted = Scripted::connected(|config| config.passive = false);
    scripted.lose_connection();
    let fail = |scripted: &mut Scripted, why: &str| {
        scripted.dialled = None;
        scripted.wait(seconds(200));
        // In that time it is tried again and again: what was not answered is given up.
        let (peer, dialled, now) = (scripted.peer, scripted.dialled.unwrap(), scripted.now);
        scripted.speaker.connect_failed(peer, dialled, why.into(), now);
        scripted.follow();
    };
    let told = |scripted: &Scripted| {
        let why = |event: &Event| match event {
            Event::Down { reason: DownReason::Transport { detail }, .. } => Some(detail.clone()),
            _ => None,
        };
        scripted.events.iter().filter_map(why).collect::<Vec<_>>()
    };
    let states = |scripted: &Scripted| {
        scripted.events.iter().filter(|event| matches!(event, Event::Session { .. })).count()
    };
    scripted.events.clear();
    scripted.wait(seconds(200));
    assert_eq!(told(&scripted).len(), 1);
    assert!(told(&scripted)[0].contains("no answer"), "{:?}", told(&scripted));
    assert!(states(&scripted) <= 2, "{:?}", scripted.events);
    let view = scripted.speaker.peers().next().unwrap();
    assert!(matches!(view.last_down, Some(DownReason::Transport { .. })), "{view:?}");
    // Another reason is news, and so is a session, and its end.
    fail(&mut scripted, "Connection refused");
    assert!(told(&scripted)[1..].contains(&"Connection refused".to_owned()), "{:?}", told(&scripted));
    let before = states(&scripted);
    scripted.again(|_| {});
    assert_eq!(scripted.state(), SessionState::Established);
    assert_eq!(scripted.speaker.peers().next().unwrap().since, Some(scripted.now));
    assert!(states(&scripted) > before);
}

#[test]
fn one_that_is_turned_away_is_told_of_and_harms_no_session() {
    let mut scripted = Scripted::up(|_| {}, |_| {});
    let peer = scripted.speaker.peer_at(PEER.into()).unwrap();
    for _ in 0..3 {
        scripted.speaker.turned_away(peer, "too far".into());
    }
    scripted.follow();
    assert_eq!(scripted.down(), Some(&DownReason::Transport { detail: "too far".into() }));
    let downs = scripted.events.iter().filter(|event| matches!(event, Event::Down { .. })).count();
    assert_eq!((downs, scripted.state()), (1, SessionState::Established));
}
