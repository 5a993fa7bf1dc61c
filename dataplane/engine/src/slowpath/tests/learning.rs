//! What is learned, how much of it, and how it gets to other gateways.

use super::*;

fn learn(gateway: &mut Harness, own: &str) {
    say(gateway, ENDPOINT_V6, &announces(NEWCOMER_MAC, own));
}

/// Addresses of overlay 100 that no station has by configuration.
fn spare(family: usize, number: usize) -> String {
    [format!("10.0.1.{}", 100 + number), format!("fd00:0:0:1::{:x}", 0x100 + number)][family].clone()
}

#[test]
fn a_station_keeps_its_latest_addresses() {
    for (limit, change) in [(16, None), (4, Some(4)), (0, Some(0))] {
        let mut gateway = with_policy(|policy| {
            policy.addresses_per_station = change.unwrap_or(policy.addresses_per_station);
        });
        for number in 0..20 {
            learn(&mut gateway, &spare(number % 2, number));
        }
        let known = known(&mut gateway, None);
        let mut latest: Vec<_> = (20 - limit..20).map(|number| address(&spare(number % 2, number))).collect();
        latest.sort_unstable();
        assert_eq!(known.iter().map(|neighbour| neighbour.address).collect::<Vec<_>>(), latest);
        assert_eq!(gateway.done(Deed::Forgotten) as usize, if limit == 0 { 0 } else { 20 - limit });
        // What gave way has to be asked for again, what stayed has not.
        assert_eq!(heard(&call(&mut gateway, &spare(0, 0), 1)), question(&spare(0, 0)));
        if limit > 0 {
            let out = heard(&call(&mut gateway, &spare(1, 19), 1));
            assert_eq!(out[0].macs, (ROUTER_MAC, NEWCOMER_MAC));
        }
    }
}

/// An advertisement without a target link-layer address option tells no MAC address (RFC 4861 §7.2.5).
#[test]
fn an_advertisement_without_a_mac_address_only_confirms() {
    let mut gateway = gateway();
    let (target, source) = (NEWCOMER[1].parse().unwrap(), NEWCOMER_MAC.link_local());
    let message =
        NeighbourAdvertisement { router: false, solicited: true, override_: true, target, target_mac: None };
    let to = ROUTER_MAC.link_local();
    let mut bytes = vec![0; message.buffer_len()];
    message.emit(&mut bytes, source, to);
    let confirmation =
        |mac| ip_frame((mac, ROUTER_MAC), &source.to_string(), &to.to_string(), 58, 255, &bytes);
    // Neither for an address that is not known, nor for one that is being asked for.
    say(&mut gateway, ENDPOINT_V6, &confirmation(NEWCOMER_MAC));
    assert_eq!(state(&mut gateway, NEWCOMER[1]), None);
    call(&mut gateway, NEWCOMER[1], 1);
    say(&mut gateway, ENDPOINT_V6, &confirmation(NEWCOMER_MAC));
    assert_eq!(state(&mut gateway, NEWCOMER[1]), Some((NeighbourState::Incomplete, None)));
    // Of the station that is known to have it it is an answer; of another it changes nothing.
    learn(&mut gateway, NEWCOMER[1]);
    let stale = Some((NeighbourState::Stale, Some(NEWCOMER_MAC)));
    assert_eq!(state(&mut gateway, NEWCOMER[1]), stale);
    say(&mut gateway, ENDPOINT_V4, &confirmation(STATION_MAC));
    assert_eq!(state(&mut gateway, NEWCOMER[1]), stale);
    say(&mut gateway, ENDPOINT_V6, &confirmation(NEWCOMER_MAC));
    let reachable = Some((NeighbourState::Reachable, Some(NEWCOMER_MAC)));
    assert_eq!(state(&mut gateway, NEWCOMER[1]), reachable);
    assert_eq!(gateway.done(Deed::BadNeighbour), 0);
}

/// An address that moves to another station takes its packets along.
#[test]
fn an_announced_address_moves_to_another_station() {
    for family in BOTH {
        let mut gateway = gateway();
        learn(&mut gateway, NEWCOMER[family]);
        say(&mut gateway, ENDPOINT_V4, &announces(STATION_MAC, NEWCOMER[family]));
        let out = heard(&call(&mut gateway, NEWCOMER[family], 1));
        assert_eq!((out[0].macs, out[0].endpoint), ((ROUTER_MAC, STATION_MAC), address(ENDPOINT_V4)));
        assert_eq!(statistics(&mut gateway).moved, 1);
    }
}

/// Packets for an address that the flow table has no room for must not come back to the slow path for ever.
#[test]
fn what_the_flow_table_has_no_room_for_is_not_known() {
    // Three stations and four addresses.
    let mut gateway = gateway_with(|config| config.max_flows = 7);
    for family in BOTH {
        call(&mut gateway, NEWCOMER[family], 1);
        assert_eq!(say(&mut gateway, ENDPOINT_V6, &newcomer_answers(family)), []);
        assert_eq!(state(&mut gateway, NEWCOMER[family]), None);
        assert_eq!(heard(&call(&mut gateway, NEWCOMER[family], 2)), question(NEWCOMER[family]));
    }
    assert_eq!((gateway.done(Deed::TableFull), gateway.done(Deed::Learned)), (2, 0));
    assert_eq!(gateway.count(Reason::Unresolved), 4);
}

#[test]
fn bindings_are_carried_to_another_gateway() {
    let mut here = gateway();
    for own in NEWCOMER {
        learn(&mut here, own);
    }
    assert_eq!(known(&mut here, Some(wire::Vni::new(200).unwrap())), []);
    let exported = known(&mut here, Some(wire::Vni::new(100).unwrap()));
    assert_eq!(exported.iter().map(|neighbour| neighbour.address).collect::<Vec<_>>(), NEWCOMER.map(address));
    let bindings = exported.iter().map(|neighbour| Binding {
        vni: neighbour.vni,
        address: neighbour.address,
        mac: neighbour.mac.unwrap(),
        age: neighbour.age,
    });
    let mut there = gateway();
    // A packet waits for one of them.
    call(&mut there, NEWCOMER[0], 1);
    there.apply([Update::Bindings(bindings.collect())]);
    assert_eq!(to_newcomer(&settle(&mut there), 0), [1]);
    for family in BOTH {
        assert_eq!(state(&mut there, NEWCOMER[family]), Some((NeighbourState::Stale, Some(NEWCOMER_MAC))));
        assert_eq!(to_newcomer(&call(&mut there, NEWCOMER[family], 2), family), [2]);
    }
    // They are confirmed soon, and their stations asked alone.
    let mut probed: Vec<_> = heard(&at(&mut there, Instant::now() + Duration::from_secs(151)))
        .into_iter()
        .map(|heard| (heard.endpoint, heard.macs.1))
        .collect();
    probed.dedup();
    assert_eq!(probed, [(address(ENDPOINT_V6), NEWCOMER_MAC)]);
}

#[test]
fn bindings_of_no_station_here_are_left_out() {
    let mut gateway = gateway();
    let binding = |vni, own: &str, mac| Binding {
        vni: wire::Vni::new(vni).unwrap(),
        address: address(own),
        mac,
        age: Duration::ZERO,
    };
    let stranger = MacAddr([2, 9, 9, 9, 9, 9]);
    gateway.apply([Update::Bindings(vec![
        binding(999, NEWCOMER[0], NEWCOMER_MAC),
        binding(100, NEWCOMER[0], stranger),
        binding(200, "10.0.2.77", NEWCOMER_MAC),
        binding(100, "10.0.2.77", NEWCOMER_MAC),
        binding(100, ROUTER[1], NEWCOMER_MAC),
        binding(100, STATION[0], NEWCOMER_MAC),
        binding(100, "10.0.1.255", NEWCOMER_MAC),
        Binding { age: Duration::from_secs(1000), ..binding(100, NEWCOMER[1], NEWCOMER_MAC) },
    ])]);
    assert_eq!(known(&mut gateway, None), []);
    let out = heard(&call(&mut gateway, STATION[0], 1));
    assert_eq!(out[0].macs, (ROUTER_MAC, STATION_MAC));
}
