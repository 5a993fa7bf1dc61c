//! Shards on the links of ports: what is announced when one is taken over, and who is answered.

use super::*;
use crate::testing::shards::{OWN_MAC, UPLINKS, VTEPS, own, sharded};

const NEIGHBOUR: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x66]);
const NEIGHBOURS: [[&str; 2]; 2] = [["198.18.0.66", "2001:db8:0:1::66"], ["198.18.1.66", "2001:db8:0:2::66"]];

fn gateway() -> Harness {
    let mut gateway = Harness::with(sharded());
    gateway.apply(updates());
    gateway
}

type Frames = Vec<(PortIndex, Vec<u8>)>;

/// What a frame at a port says: to whom, and what.
fn said(frames: &[(PortIndex, Vec<u8>)]) -> Vec<(PortIndex, MacAddr, Message)> {
    let read = |(port, frame): &(PortIndex, Vec<u8>)| {
        let mac = |at: usize| MacAddr(frame[at..at + 6].try_into().unwrap());
        assert_eq!(mac(6), if *port == UNDERLAY { UNDERLAY_MAC } else { UPLINK_MAC });
        assert!(frame.len() >= 60);
        (*port, mac(0), message(&frame[12..]))
    };
    frames.iter().map(read).collect()
}

/// All that is announced of a shard, once.
fn announcement(shard: usize) -> Vec<(PortIndex, MacAddr, Message)> {
    let all = "ff02::1".parse().unwrap();
    let at = |port, mac, [v4, v6]: [&str; 2], router| {
        let (v4, v6) = (address(v4), address(v6));
        [
            (port, MacAddr::BROADCAST, Message::Question { target: v4, asker: v4, mac }),
            (
                port,
                ndp::multicast_mac(ndp::ALL_NODES),
                Message::Answer { target: v6, mac, to: all, flags: OVERRIDE_FLAG | router },
            ),
        ]
    };
    [at(UNDERLAY, UNDERLAY_MAC, VTEPS[shard], 0), at(UPLINK, UPLINK_MAC, UPLINKS[shard], ROUTER_FLAG)]
        .concat()
}

/// What is said until `end`, with the milliseconds since `begin`, if the thread wakes every millisecond.
fn until(gateway: &mut Harness, begin: Instant, from: u64, end: u64) -> Vec<(u64, Frames)> {
    let at_each = |after| (after, at(gateway, begin + Duration::from_millis(after)));
    (from..end).map(at_each).filter(|(_, frames)| !frames.is_empty()).collect()
}

#[test]
fn a_takeover_is_announced_five_times_at_every_port() {
    let mut gateway = gateway();
    gateway.apply([own(1, Responsibility::Owner)]);
    // The clock started when the command was obeyed, a moment ago.
    let begin = Instant::now();
    let heard = until(&mut gateway, begin, 0, 1100);
    assert_eq!(heard.iter().map(|(after, _)| *after).collect::<Vec<_>>(), [0, 5, 20, 100, 1000]);
    for (_, frames) in &heard {
        assert_eq!(said(frames), announcement(1));
    }
    assert_eq!(gateway.done(Deed::ShardAnnounced), 20);
    // Said again it is no change.
    gateway.apply([own(1, Responsibility::Owner)]);
    assert!(until(&mut gateway, begin, 1100, 1200).is_empty());
    let mac = NEIGHBOUR;
    gateway.apply([Update::PortMac { port: UPLINK, mac }]);
    assert_eq!(at(&mut gateway, begin + Duration::from_millis(1200)).len(), 4, "another MAC address is one");
}

#[test]
fn a_lost_shard_is_not_announced_any_more() {
    let mut gateway = gateway();
    gateway.apply([own(0, Responsibility::Owner), own(1, Responsibility::Owner)]);
    let begin = Instant::now();
    let first = at(&mut gateway, begin);
    let mut both = [announcement(0), announcement(1)].concat();
    both.sort_by_key(|(port, ..)| *port);
    assert_eq!(said(&first), both);
    gateway.apply([own(0, Responsibility::Former)]);
    let heard = until(&mut gateway, begin, 1, 1100);
    assert_eq!(heard.len(), 4);
    assert!(heard.iter().all(|(_, frames)| said(frames) == announcement(1)));
}

/// A frame of a neighbour's on a port's link.
fn asks_at(from: &str, target: &str, receiver: Option<MacAddr>) -> Vec<u8> {
    let mut frame = asks(NEIGHBOUR, from, target);
    if let Some(receiver) = receiver {
        frame[..6].copy_from_slice(&receiver.0);
    }
    frame
}

#[test]
fn the_owner_answers_for_its_shards_alone() {
    let mut gateway = gateway();
    gateway.apply([own(0, Responsibility::Owner)]);
    until(&mut gateway, Instant::now(), 0, 1100);
    let ports = [(UNDERLAY, UNDERLAY_MAC, VTEPS, 0), (UPLINK, UPLINK_MAC, UPLINKS, ROUTER_FLAG)];
    for (side, (port, port_mac, addresses, router)) in ports.into_iter().enumerate() {
        for family in BOTH {
            let (asker, target) = (NEIGHBOURS[side][family], addresses[0][family]);
            let flags = [0, router | SOLICITED_FLAG | OVERRIDE_FLAG][family];
            // To all, and to the entry that the neighbour has.
            for receiver in [None, Some(port_mac)] {
                let out = gateway.send(port, &asks_at(asker, target, receiver));
                let out = [out, gateway.sent()].concat();
                let message =
                    Message::Answer { target: address(target), mac: port_mac, to: address(asker), flags };
                assert_eq!(said(&out), [(port, NEIGHBOUR, message)]);
            }
            // Duplicate address detection: an ordinary question.
            let out = gateway.send(port, &asks_at(NOBODY[family], target, None));
            let out = [out, gateway.sent()].concat();
            let (mac, to) = [(NEIGHBOUR, NOBODY[0]), (ndp::multicast_mac(ndp::ALL_NODES), "ff02::1")][family];
            let flags = [0, router | OVERRIDE_FLAG][family];
            let message = Message::Answer { target: address(target), mac: port_mac, to: address(to), flags };
            assert_eq!(said(&out), [(port, mac, message)]);
            // Another's; one of the port on the other side; and another gateway that says it has it now.
            let before = gateway.done(Deed::ShardNotAnswered);
            assert!(gateway.send(port, &asks_at(asker, addresses[1][family], None)).is_empty());
            assert_eq!(gateway.done(Deed::ShardNotAnswered), before + 1);
            let elsewhere = ports[1 - side].2[0][family];
            let reasons = [Reason::ForeignMac];
            gateway.assert_drop("elsewhere", port, &asks_at(asker, elsewhere, None), reasons[0]);
            gateway.assert_drop(
                "no shard's",
                port,
                &asks_at(asker, NEIGHBOURS[side][family], None),
                reasons[0],
            );
            let foreign = asks_at(asker, target, Some(MacAddr([2, 7, 7, 7, 7, 7])));
            gateway.assert_drop("to another MAC", port, &foreign, Reason::ForeignMac);
        }
        let out = gateway.send(port, &announces(NEIGHBOUR, addresses[0][0]));
        assert!([out, gateway.sent()].concat().is_empty(), "never in defence");
    }
    let answered = gateway.done(Deed::ShardAnswered);
    assert_eq!((answered, gateway.done(Deed::ShardNotAnswered)), (12, 6));
    gateway.apply([own(0, Responsibility::Other)]);
    for family in BOTH {
        let question = asks_at(NEIGHBOURS[0][family], VTEPS[0][family], None);
        assert!(gateway.send(UNDERLAY, &question).is_empty(), "lost");
    }
    assert_eq!(gateway.done(Deed::ShardAnswered), answered);
}

/// What the owner says in an overlay comes from the shard; what another gateway must ask comes from itself, so that the
/// answers do.
#[test]
fn questions_come_from_the_shard_or_from_the_gateway_itself() {
    for (responsibility, mac) in [(Responsibility::Owner, ROUTER_MAC), (Responsibility::Other, OWN_MAC)] {
        let mut gateway = gateway();
        gateway.apply([own(0, responsibility)]);
        until(&mut gateway, Instant::now(), 0, 1100);
        for family in BOTH {
            let out = call(&mut gateway, NEWCOMER[family], 1);
            assert_eq!(out.len(), 2);
            for (heard, (_, frame)) in heard(&out).iter().zip(&out) {
                assert_eq!(heard.macs.0, mac);
                let v6 = heard.endpoint.is_ipv6();
                let source = if v6 { addresses_of(frame, 22, 16) } else { addresses_of(frame, 26, 4) };
                let own = ["198.18.0.1", "2001:db8:0:1::1"];
                let expected = if mac == ROUTER_MAC { VTEPS[0] } else { own };
                assert_eq!(source, address(expected[usize::from(v6)]));
            }
        }
    }
}

fn addresses_of(frame: &[u8], at: usize, len: usize) -> IpAddr {
    match len {
        4 => <[u8; 4]>::try_from(&frame[at..at + 4]).unwrap().into(),
        _ => <[u8; 16]>::try_from(&frame[at..at + 16]).unwrap().into(),
    }
}
