//! Sessions that must not be.

use std::net::{IpAddr, Ipv4Addr};

use lab::wait_until;
use rustbgpd_wire::{Capability, Message, OpenMessage};

use super::{Scene, router_id};
use crate::liar::{Liar, Transport, evpn, listen, mac_route};
use crate::stage::PATIENCE;
use crate::watch::{gateway_for, stations_behind, wait_state};

/// How often a peer comes and goes.
const FLAPS: usize = 100;

/// What is no BGP ends the connection with the error that RFC 4271 §6.1 names, whenever it comes.
pub(super) fn garbage(scene: &mut Scene, from: IpAddr) {
    let header = |length: u16, kind: u8| {
        let mut bytes = vec![0xff; 16];
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.push(kind);
        bytes
    };
    let pieces = [(vec![0x5a; 64], (1, 1)), (header(0xffff, 2), (1, 2)), (header(19, 77), (1, 3))];
    for (bytes, codes) in &pieces {
        for greeting in 0..3 {
            scene.watch.mark();
            let mut liar = match greeting {
                2 => scene.establish(from),
                _ => scene.connect(from),
            };
            if greeting == 1 {
                liar.say(&Message::Open(Liar::open(router_id(from))));
            }
            liar.say_bytes(bytes).unwrap();
            assert_eq!(liar.hear_end(), Some(*codes), "{bytes:02x?} after greeting {greeting}");
            scene.watch.wait(from, "down", &format!("sent {}/{}", codes.0, codes.1));
            wait_state(&scene.stage, from, "Active");
        }
    }
}

/// A wrong AS, hold times of 1 and 2 s, and of none where we want one (RFC 4271 §6.2).
pub(super) fn refused_opens(scene: &mut Scene, from: IpAddr) {
    let good = || Liar::open(router_id(from));
    let mut stranger = OpenMessage { my_as: 65001, ..good() };
    stranger.capabilities.retain(|capability| !matches!(capability, Capability::FourOctetAs { .. }));
    stranger.capabilities.push(Capability::FourOctetAs { asn: 65001 });
    let cases = [
        (stranger, (2, 2)),
        (OpenMessage { hold_time: 1, ..good() }, (2, 6)),
        (OpenMessage { hold_time: 2, ..good() }, (2, 6)),
        (OpenMessage { hold_time: 0, ..good() }, (2, 6)),
        (OpenMessage { bgp_identifier: Ipv4Addr::UNSPECIFIED, ..good() }, (2, 3)),
    ];
    for (open, codes) in cases {
        scene.watch.mark();
        let mut liar = scene.connect(from);
        liar.say(&Message::Open(open.clone()));
        assert_eq!(liar.hear_end(), Some(codes), "{open:?}");
        scene.watch.wait(from, "down", &format!("sent {}/{}", codes.0, codes.1));
        let row = wait_state(&scene.stage, from, "Active");
        assert!(row["last-down"].as_str().unwrap().starts_with(&format!("sent {}/{}", codes.0, codes.1)));
    }
}

/// A second connection beside a session that is up is refused (RFC 4271 §6.8), and the session goes on.
pub(super) fn two_connections(scene: &mut Scene, from: IpAddr) {
    let mut first = scene.establish(from);
    scene.watch.mark();
    for _ in 0..3 {
        let mut second = scene.connect(from);
        second.say(&Message::Open(Liar::open(router_id(from))));
        assert_eq!(second.hear_end(), Some((6, 7)));
    }
    let mac = wire::MacAddr([2, 0, 66, 0, 0, 1]);
    first.announce(&evpn(from, 101, vec![mac_route(101, mac)]));
    scene.stage.wait_station(mac, from);
    assert_eq!(wait_state(&scene.stage, from, "Established")["router-id"], router_id(from).to_string());
    drop(first);
    scene.watch.wait(from, "down", "connection closed");
    wait_until("no station", PATIENCE, || stations_behind(&scene.stage, from) == 0).unwrap();
}

/// Two connections, one of each side: that of the higher identifier stays (RFC 4271 §6.8).
pub(super) fn collisions(scene: &mut Scene, from: IpAddr) {
    let gateway = gateway_for(&scene.stage, from);
    for (id, theirs_stays) in [(router_id(from), true), (Ipv4Addr::new(1, 0, 0, 1), false)] {
        scene.watch.mark();
        let listener = listen(&scene.liar.namespace, from, gateway, Transport::default());
        let (stream, _) = listener.accept().unwrap();
        let mut dialled = Liar::over(stream).unwrap();
        let mut ours = scene.connect(from);
        // One is as far as it can be when the other's OPEN comes.
        for liar in [&mut dialled, &mut ours] {
            liar.say(&Message::Open(Liar::open(id)));
        }
        let (mut stays, mut goes) = if theirs_stays { (ours, dialled) } else { (dialled, ours) };
        assert_eq!(goes.hear_end(), Some((6, 7)), "{id}");
        stays.say(&Message::Keepalive);
        wait_state(&scene.stage, from, "Established");
        drop(listener);
        drop(stays);
        scene.watch.wait(from, "down", "connection closed");
    }
}

/// A peer that comes, announces and goes, again and again: the last state is right, and what is told of it is bounded.
pub(super) fn flapping(scene: &mut Scene, from: IpAddr) {
    scene.watch.mark();
    let before = scene.watch.events().len();
    let mac = wire::MacAddr([2, 0, 66, 0, 0, 2]);
    for _ in 0..FLAPS {
        let mut liar = scene.connect(from);
        liar.establish(router_id(from));
        liar.announce(&evpn(from, 101, vec![mac_route(101, mac)]));
    }
    wait_until("no station of the last time", PATIENCE, || stations_behind(&scene.stage, from) == 0).unwrap();
    wait_state(&scene.stage, from, "Active");
    let mut liar = scene.establish(from);
    liar.announce(&evpn(from, 101, vec![mac_route(101, mac)]));
    scene.stage.wait_station(mac, from);
    let told = scene.watch.events().len() - before;
    assert!(told < FLAPS * 6, "{told} events");
}
