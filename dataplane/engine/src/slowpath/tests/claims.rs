//! What stations must not say, and what comes of it: counted, and nothing else.

use super::*;

const OWN_MAC: MacAddr = MacAddr([2, 0, 0x5e, 0, 1, 1]);

/// All ways to say that `mac` has an address.
fn claims(mac: MacAddr, own: &str) -> [Vec<u8>; 3] {
    let family = usize::from(own.contains(':'));
    let asker = [ROUTER[0].to_owned(), ROUTER_MAC.link_local().to_string()];
    [asks(mac, own, STATION[family]), answers(mac, own, (ROUTER_MAC, &asker[family])), announces(mac, own)]
}

/// Says it all, and that nothing was learned of it; how often `deed` was counted for it.
#[track_caller]
fn disbelieved(gateway: &mut Harness, endpoint: &str, mac: MacAddr, own: &str, deed: Deed) -> u64 {
    let before = gateway.done(deed);
    for claim in claims(mac, own) {
        assert_eq!(say(gateway, endpoint, &claim), [], "{own}");
    }
    assert_eq!(known(gateway, None), [], "{own}");
    assert_eq!(gateway.done(Deed::Learned), 0);
    gateway.done(deed) - before
}

/// So that what follows fails for its own reason.
#[test]
fn a_known_station_where_it_is_known_is_believed() {
    for own in [NEWCOMER[0], NEWCOMER[1], "fe80::77"] {
        for claim in claims(NEWCOMER_MAC, own) {
            let mut gateway = gateway();
            say(&mut gateway, ENDPOINT_V6, &claim);
            assert_eq!(state(&mut gateway, own), Some((NeighbourState::Stale, Some(NEWCOMER_MAC))));
            assert_eq!(gateway.done(Deed::Learned), 1);
        }
    }
}

#[test]
fn a_station_elsewhere_teaches_nothing() {
    let mut gateway = gateway();
    for family in BOTH {
        disbelieved(&mut gateway, ENDPOINT_V4, NEWCOMER_MAC, NEWCOMER[family], Deed::Learned);
    }
    // Where it is known it does.
    say(&mut gateway, ENDPOINT_V6, &announces(NEWCOMER_MAC, NEWCOMER[0]));
    assert_eq!(gateway.done(Deed::Learned), 1);
}

#[test]
fn an_address_that_no_station_can_have_is_not_learned() {
    let mut gateway = gateway();
    for own in [
        // Another overlay's, the edges of its own, none at all of ours.
        "10.0.2.77",
        "fd00:0:0:2::77",
        "10.0.1.0",
        "10.0.1.255",
        "fd00:0:0:1::",
        "203.0.113.9",
        "2001:db8::9",
        "169.254.1.1",
        // What the flow table would take for fe80::10.
        "fe80:0:1::10",
    ] {
        assert_eq!(disbelieved(&mut gateway, ENDPOINT_V6, NEWCOMER_MAC, own, Deed::BadNeighbour), 3, "{own}");
    }
}

#[test]
fn nobody_has_the_routers_addresses() {
    let mut gateway = gateway_with(|config| config.overlays[0].own_mac = Some(OWN_MAC));
    let link_locals = [ROUTER_MAC, OWN_MAC].map(|mac| mac.link_local().to_string());
    for own in ROUTER.into_iter().chain(link_locals.iter().map(String::as_str)) {
        let counted = disbelieved(&mut gateway, ENDPOINT_V6, NEWCOMER_MAC, own, Deed::RouterAddressClaimed);
        assert_eq!(counted, 3, "{own}");
    }
    for family in BOTH {
        let out = say(&mut gateway, ENDPOINT_V4, &asks(STATION_MAC, STATION[family], ROUTER[family]));
        let [Heard { message: Message::Answer { mac, .. }, .. }] = &heard(&out)[..] else {
            panic!("{out:?}")
        };
        assert_eq!(*mac, ROUTER_MAC);
    }
}

#[test]
fn nobody_speaks_for_another_mac_address() {
    let mut gateway = gateway();
    for family in BOTH {
        for mut claim in claims(STATION_MAC, NEWCOMER[family]) {
            claim[6..12].copy_from_slice(&NEWCOMER_MAC.0);
            assert_eq!(say(&mut gateway, ENDPOINT_V6, &claim), []);
        }
    }
    assert_eq!(known(&mut gateway, None), []);
    assert_eq!(gateway.done(Deed::BadNeighbour), 6);
}

#[test]
fn a_configured_address_stays_its_stations() {
    let mut gateway = gateway();
    for family in BOTH {
        let own = STATION[family];
        let counted = disbelieved(&mut gateway, ENDPOINT_V6, NEWCOMER_MAC, own, Deed::AddressConflict);
        assert_eq!(counted, 3);
        let out = heard(&call(&mut gateway, own, 1));
        assert_eq!(out[0].macs, (ROUTER_MAC, STATION_MAC), "who has it gets its packets");
        // That it has it itself is no news.
        disbelieved(&mut gateway, ENDPOINT_V4, STATION_MAC, own, Deed::Learned);
    }
}

/// A message of neighbour discovery to the router, that only a router sends.
fn only_of_routers(kind: u8, len: usize) -> Vec<u8> {
    let (source, destination) = (NEWCOMER_MAC.link_local(), ROUTER_MAC.link_local());
    let mut message = vec![0; len];
    message[0] = kind;
    let pseudo = wire::checksum::pseudo_header_v6(source, destination, 58, len as u32);
    let check = wire::checksum::finish(wire::checksum::ones_sum(&message, pseudo));
    message[2..4].copy_from_slice(&check.to_be_bytes());
    ip_frame((NEWCOMER_MAC, ROUTER_MAC), &source.to_string(), &destination.to_string(), 58, 255, &message)
}

#[test]
fn no_station_is_a_router() {
    let mut gateway = gateway();
    assert_eq!(say(&mut gateway, ENDPOINT_V6, &only_of_routers(134, 16)), []);
    assert_eq!(say(&mut gateway, ENDPOINT_V6, &only_of_routers(137, 40)), []);
    assert_eq!((gateway.done(Deed::RogueAdvertisement), gateway.done(Deed::Redirect)), (1, 1));
    assert_eq!((known(&mut gateway, None), gateway.done(Deed::BadNeighbour)), (vec![], 0));
}
