//! A gateway that does not own the overlay: what it asks leaves the stations' entry of the router untouched.

use super::*;

const OWN_MAC: MacAddr = MacAddr([2, 0, 0x5e, 0, 1, 1]);

fn non_owner() -> Harness {
    gateway_with(|config| {
        config.overlays[0].owner = false;
        config.overlays[0].own_mac = Some(OWN_MAC);
    })
}

/// What it asks from: nobody's address, and its own link-local one.
fn asker(family: usize) -> IpAddr {
    [address(NOBODY[0]), OWN_MAC.link_local().into()][family]
}

fn answer(family: usize) -> Vec<u8> {
    answers(NEWCOMER_MAC, NEWCOMER[family], (OWN_MAC, &asker(family).to_string()))
}

#[test]
fn it_asks_from_its_own_mac_and_takes_the_answer() {
    for family in BOTH {
        let mut gateway = non_owner();
        let asked = heard(&call(&mut gateway, NEWCOMER[family], 1));
        assert_eq!(asked.len(), 2, "of all endpoints");
        for (heard, theirs) in asked.into_iter().zip(question(NEWCOMER[family])) {
            let expected =
                Message::Question { target: address(NEWCOMER[family]), asker: asker(family), mac: OWN_MAC };
            assert_eq!(heard.message, expected);
            assert_eq!(heard.macs, (OWN_MAC, theirs.macs.1));
        }
        let released = heard(&say(&mut gateway, ENDPOINT_V6, &answer(family)));
        let [Heard { macs: (OWN_MAC, NEWCOMER_MAC), message: Message::Packet { .. }, .. }] = &released[..]
        else {
            panic!("{released:?}")
        };
        assert_eq!(
            state(&mut gateway, NEWCOMER[family]),
            Some((NeighbourState::Reachable, Some(NEWCOMER_MAC)))
        );
    }
}

#[test]
fn it_probes_from_its_own_mac() {
    for family in BOTH {
        let mut gateway = non_owner();
        call(&mut gateway, NEWCOMER[family], 1);
        say(&mut gateway, ENDPOINT_V6, &answer(family));
        let probes = heard(&at(&mut gateway, Instant::now() + Duration::from_secs(460)));
        let message =
            Message::Question { target: address(NEWCOMER[family]), asker: asker(family), mac: OWN_MAC };
        let probe =
            Heard { endpoint: address(ENDPOINT_V6), vni: 100, macs: (OWN_MAC, NEWCOMER_MAC), message };
        assert_eq!(probes, [probe]);
    }
}

/// To answer it, a station may have to ask for its link-local address first.
#[test]
fn it_answers_for_its_own_link_local_address() {
    let mut gateway = non_owner();
    let own = OWN_MAC.link_local().to_string();
    for (source, flags) in [(STATION[1], SOLICITED_FLAG), ("fe80::10", SOLICITED_FLAG), (NOBODY[1], 0)] {
        let out = heard(&say(&mut gateway, ENDPOINT_V4, &asks(STATION_MAC, source, &own)));
        let [Heard { message: Message::Answer { target, mac, flags: seen, .. }, macs, .. }] = &out[..] else {
            panic!("{out:?}")
        };
        assert_eq!((*target, *mac, macs.0), (address(&own), OWN_MAC, OWN_MAC));
        assert_eq!(*seen, flags, "not a router that would take the owner's place");
    }
}

/// What stations send to its own MAC address is routed, as long as they do.
#[test]
fn it_forwards_what_is_for_its_own_mac() {
    let mut gateway = non_owner();
    for family in BOTH {
        let udp = Udp::from_station(STATION[family], OUTSIDE[family]).macs(STATION_MAC, OWN_MAC);
        let out = say(&mut gateway, ENDPOINT_V4, &udp.frame());
        let [Message::Packet { destination, .. }] = &outside(&out)[..] else { panic!("{out:?}") };
        assert_eq!(*destination, address(OUTSIDE[family]));
    }
    assert_eq!(gateway.count(Reason::Egress), 2);
}
