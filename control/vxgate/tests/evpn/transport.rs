//! TCP as the configuration wants it: MD5 signatures (RFC 2385) and the lowest TTL taken (GTSM, RFC 5082), whoever
//! connects.

use std::net::IpAddr;

use lab::{Attach, Family, Host, Topology};
use rustbgpd_wire::Message;

use crate::liar::{Liar, Transport, evpn, listen, mac_route, update};
use crate::stage::{Stage, peer_table};
use crate::watch::{Watch, at, gateway_for, peer, wait_state};

const PASSWORD: &str = "correct horse";

/// With a password; connects.
const SIGNS: u8 = 61;
/// With a password; is connected to, and has the right one.
const SIGNS_CALLED: u8 = 62;
/// With a password; is connected to, and has another.
const MISSIGNS_CALLED: u8 = 63;
/// On the link; connects.
const NEAR: u8 = 64;
/// On the link; is connected to.
const NEAR_CALLED: u8 = 65;
/// Further away than it may be; is connected to.
const FAR_CALLED: u8 = 66;
/// There, but no BGP speaker.
const ABSENT: u8 = 67;
const PEERS: [u8; 7] = [SIGNS, SIGNS_CALLED, MISSIGNS_CALLED, NEAR, NEAR_CALLED, FAR_CALLED, ABSENT];

const SIGNED: Transport<'_> = Transport { password: Some(PASSWORD), ttl: None };
const MISSIGNED: Transport<'_> = Transport { password: Some("battery staple"), ttl: None };
const FULL_TTL: Transport<'_> = Transport { password: None, ttl: Some(255) };
/// As if from a router further away.
const LESS_TTL: Transport<'_> = Transport { password: None, ttl: Some(254) };

fn router_id(number: u8) -> std::net::Ipv4Addr {
    [198, 18, 0, number].into()
}

/// The gateway connects, and a session comes up.
fn answer(stage: &Stage, host: &Host, family: Family, number: u8, transport: Transport<'_>) {
    let from = at(family, number);
    let listener = listen(&host.namespace, from, gateway_for(stage, from), transport);
    let mut peer = Liar::over(listener.accept().unwrap().0).unwrap();
    peer.establish(router_id(number));
    wait_state(stage, from, "Established");
}

#[test]
fn passwords_and_hops_must_be_right_whoever_connects() {
    let mut stage = Stage::new();
    let attach = Attach {
        addresses: PEERS.into_iter().flat_map(|number| Topology::UNDERLAY.addresses(number)).collect(),
        ..Attach::default()
    };
    let host = stage.topology.underlay.host(&stage.topology.lab, "peers", attach, &[]).unwrap();
    // These are not heard by the gateway, nor it by them.
    let deaf: Vec<_> = Family::BOTH
        .into_iter()
        .flat_map(|family| {
            let gateway = stage.topology.gateway_vtep(family);
            [(MISSIGNS_CALLED, MISSIGNED), (FAR_CALLED, LESS_TTL)]
                .map(|(number, transport)| listen(&host.namespace, at(family, number), gateway, transport))
        })
        .collect();
    let (signed, near) = (format!("password = \"{PASSWORD}\""), "ttl-security = 1");
    let mut peers = String::new();
    for family in Family::BOTH {
        let mut add = |number, keys: &str| peers += &peer_table(at(family, number), keys);
        add(SIGNS, &format!("passive = true\n{signed}"));
        add(SIGNS_CALLED, &format!("connect-retry = 1\n{signed}"));
        add(MISSIGNS_CALLED, &format!("connect-retry = 1\n{signed}"));
        add(NEAR, &format!("passive = true\n{near}"));
        add(NEAR_CALLED, &format!("connect-retry = 1\n{near}"));
        add(FAR_CALLED, &format!("connect-retry = 1\n{near}"));
        add(ABSENT, "connect-retry = 1");
    }
    stage.start_with(&peers);
    let mut watch = Watch::start(&stage);
    for family in Family::BOTH {
        let gateway = stage.topology.gateway_vtep(family);
        let connect =
            |number, transport| Liar::connect(&host.namespace, at(family, number), gateway, transport);

        // Signatures: none and a wrong one are not even answered.
        for transport in [Transport::default(), MISSIGNED] {
            let error = connect(SIGNS, transport).unwrap_err();
            assert!(is_timeout(&error), "{transport:?}: {error}");
        }
        assert_eq!(peer(&stage, at(family, SIGNS))["state"], "Active");
        connect(SIGNS, SIGNED).unwrap().establish(router_id(SIGNS));
        watch.wait(at(family, SIGNS), "session", "Established");
        answer(&stage, &host, family, SIGNS_CALLED, SIGNED);

        // Hops: what is said too soon, before the gateway can have told the kernel of the limit, is not heard either.
        let from = at(family, NEAR);
        watch.mark();
        for _ in 0..10 {
            if let Ok(mut far) = connect(NEAR, LESS_TTL) {
                // It may be closed already.
                let _ = far.say_bytes(&eager(NEAR, from));
                assert_eq!(far.hear(), None, "it is not spoken with");
            }
        }
        watch.wait(from, "down", "it connects with TTL 254, and ttl-security = 1 asks for 255 or more");
        assert_eq!(watch.count(from, "session", "Open"), 0);
        assert_eq!(watch.count(from, "down", ""), 1, "told once of all");
        assert_eq!(peer(&stage, from)["state"], "Active");
        connect(NEAR, FULL_TTL).unwrap().establish(router_id(NEAR));
        watch.wait(from, "session", "Established");
        answer(&stage, &host, family, NEAR_CALLED, FULL_TTL);
    }
    // Meanwhile the gateway has given up those that it called in vain, and says why.
    for family in Family::BOTH {
        for number in [MISSIGNS_CALLED, FAR_CALLED] {
            let from = at(family, number);
            wait_down(&stage, from, "another password");
            assert_eq!(watch.count(from, "session", "Open"), 0);
        }
        wait_down(&stage, at(family, ABSENT), "Connection refused");
        assert_eq!(watch.count(at(family, ABSENT), "down", "Connection refused"), 1, "told once of all");
    }
    assert_eq!(stage.gateway.show("bgp routes").unwrap().as_array().unwrap().len(), 0);
    drop(deaf);
}

/// All that a peer says until it has announced a route, in one go.
fn eager(number: u8, from: IpAddr) -> Vec<u8> {
    let open = rustbgpd_wire::encode_message(&Message::Open(Liar::open(router_id(number)))).unwrap();
    let keepalive = rustbgpd_wire::encode_message(&Message::Keepalive).unwrap();
    let route = update(&evpn(from, 101, vec![mac_route(101, wire::MacAddr([2, 0, 66, 2, 0, 1]))]));
    [&open[..], &keepalive, &route].concat()
}

fn wait_down(stage: &Stage, address: IpAddr, why: &str) {
    lab::wait_until(&format!("{address} down for {why}"), crate::stage::PATIENCE, || {
        let row = peer(stage, address);
        let is_it = row["last-down"].as_str().is_some_and(|text| text.contains(why));
        if is_it { Ok(()) } else { Err(row.to_string()) }
    })
    .unwrap();
}

/// A connect(2) with a limit ends in EINPROGRESS.
fn is_timeout(error: &std::io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error())
}
