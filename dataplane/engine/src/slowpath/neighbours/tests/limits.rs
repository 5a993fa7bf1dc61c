//! Each limit, and who gives way.

use super::Action::*;
use super::*;

fn small() -> Limits {
    Limits {
        entries: 20,
        unresolved: 8,
        unresolved_per_overlay: 4,
        waiting: 6,
        waiting_per_overlay: 3,
        ..Limits::default()
    }
}

fn overlay(number: u32) -> impl Fn(u32) -> NeighbourKey {
    move |host| key_in(number, Ipv4Addr::from_bits(0x0a00_0000 + host))
}

#[test]
fn an_overlay_has_few_unresolved_addresses() {
    let mut simulation = Simulation::with(small());
    // That another overlay has an entry that could give way is of no use.
    simulation.fail(overlay(2)(0));
    for host in 0..4 {
        assert_eq!(simulation.resolve(v4(host), 0), [SolicitAll(v4(host))]);
    }
    assert_eq!(simulation.resolve(v4(9), 0), []);
    assert_eq!(simulation.statistics().refused_by_overlay, 1);
    // Another overlay is not concerned.
    assert_eq!(simulation.resolve(overlay(2)(9), 0), [SolicitAll(overlay(2)(9))]);
    // Stations that speak are learned all the same.
    assert_eq!(simulation.heard(v4(9), mac(9), REQUEST), [Bind(v4(9), mac(9))]);
}

#[test]
fn what_failed_first_gives_way() {
    let mut simulation = Simulation::with(small());
    for host in 0..4 {
        simulation.fail(v4(host));
    }
    assert_eq!(simulation.resolve(v4(8), 0), [SolicitAll(v4(8))]);
    assert_eq!(simulation.state(v4(0)), None);
    assert_eq!(simulation.statistics().failed, 3);
    // A full cache of unresolved addresses: what failed first in any overlay.
    for host in 0..4 {
        simulation.resolve(overlay(2)(host), 0);
    }
    assert_eq!(simulation.resolve(overlay(3)(0), 0), [SolicitAll(overlay(3)(0))]);
    assert_eq!(simulation.state(v4(1)), None);
    assert_eq!(simulation.statistics().failed_evicted, 2);
}

#[test]
fn an_overlay_at_its_limit_costs_others_no_failed_entry() {
    let mut simulation = Simulation::with(small());
    simulation.fail(overlay(2)(0));
    for host in 0..20 {
        simulation.fail(v4(host));
    }
    assert_eq!(simulation.state(overlay(2)(0)), None, "forgotten by time alone");
    assert_eq!(simulation.statistics().failed_evicted, 16);
}

#[test]
fn there_are_few_unresolved_addresses_in_all() {
    let mut simulation = Simulation::with(small());
    for number in 1..=2 {
        for host in 0..4 {
            simulation.resolve(overlay(number)(host), 0);
        }
    }
    assert_eq!(simulation.resolve(overlay(3)(0), 0), []);
    assert_eq!(simulation.statistics().refused_unresolved, 1);
}

#[test]
fn few_packets_wait_but_their_addresses_are_resolved() {
    let mut simulation = Simulation::with(small());
    for number in 1..=3 {
        for host in 0..4 {
            simulation.resolve(overlay(number)(host), host);
        }
        if number == 1 {
            assert_eq!(simulation.statistics().waiting, 3, "of one overlay");
        }
    }
    assert_eq!((simulation.statistics().waiting, simulation.statistics().incomplete), (6, 8));
    assert_eq!(simulation.statistics().refused_waiting, 2);
    assert_eq!(simulation.heard(v4(3), mac(3), REPLY), [Bind(v4(3), mac(3))], "its packet was dropped");
    assert_eq!(simulation.heard(v4(2), mac(2), REPLY).len(), 2);
    assert_eq!(simulation.statistics().waiting, 5);
}

#[test]
fn a_station_keeps_its_latest_addresses() {
    let mut simulation = Simulation::new();
    for host in 0..16 {
        simulation.heard(v4(host), mac(1), REQUEST);
        simulation.pass(Duration::from_millis(1));
    }
    simulation.heard(v4(0), mac(1), REQUEST);
    assert_eq!(simulation.heard(v6(1), mac(1), REQUEST), [Unbind(v4(1)), Bind(v6(1), mac(1))]);
    assert_eq!(simulation.statistics().evicted, 1);
    // One that it takes from another station counts as well.
    simulation.heard(v6(2), mac(2), REQUEST);
    assert_eq!(simulation.heard(v6(2), mac(1), ANNOUNCEMENT), [Unbind(v4(2)), Bind(v6(2), mac(1))]);
    // In another overlay it is another station.
    assert_eq!(simulation.heard(overlay(2)(1), mac(1), REQUEST), [Bind(overlay(2)(1), mac(1))]);
}

#[test]
fn a_probe_does_not_make_an_address_the_latest() {
    let mut simulation = Simulation::new();
    simulation.heard(v6(0), mac(1), REPLY);
    // In doubt, and probed.
    simulation.heard(v6(0), mac(1), REPLY);
    simulation.heard(v6(0), mac(2), Evidence::Announcement { override_: false });
    for host in 1..16 {
        simulation.pass(Duration::from_millis(400));
        simulation.heard(v6(host), mac(1), REQUEST);
    }
    assert_eq!(simulation.state(v6(0)), Some(NeighbourState::Probe));
    assert_eq!(simulation.heard(v6(99), mac(1), REQUEST), [Unbind(v6(0)), Bind(v6(99), mac(1))]);
}

#[test]
fn the_limit_of_a_station_may_change_and_be_nothing() {
    let mut simulation = Simulation::new();
    for host in 0..5 {
        simulation.heard(v4(host), mac(1), REQUEST);
    }
    let out = simulation.out(|neighbours, now, out| neighbours.heard(v4(9), mac(1), REQUEST, 2, now, out));
    assert_eq!(out[..4], [0, 1, 2, 3].map(|host| Unbind(v4(host))));
    assert_eq!(simulation.statistics().stale, 2);
    let out =
        simulation.out(|neighbours, now, out| neighbours.heard(v4(9), mac(2), ANNOUNCEMENT, 0, now, out));
    assert_eq!(out, []);
    assert_eq!(simulation.neighbour(v4(9)).unwrap().mac, Some(mac(1)));
    assert_eq!((simulation.statistics().refused_by_station, simulation.statistics().moved), (1, 0));
}

#[test]
fn an_import_takes_no_address_from_its_station() {
    let mut simulation = Simulation::new();
    for host in 0..15 {
        simulation.heard(v4(host), mac(1), REQUEST);
    }
    simulation.import(v4(20), mac(1), Duration::from_secs(9));
    assert_eq!(simulation.import(v4(21), mac(1), Duration::ZERO), []);
    assert_eq!(simulation.statistics().refused_by_station, 1);
    // It is the oldest of them.
    assert_eq!(simulation.heard(v4(30), mac(1), REQUEST), [Unbind(v4(20)), Bind(v4(30), mac(1))]);
}

#[test]
fn a_full_cache_learns_no_more_but_confirms() {
    let mut simulation = Simulation::with(small());
    simulation.fail(v4(100));
    for host in 0..20 {
        assert_eq!(simulation.heard(v4(host), mac(host), REQUEST), [Bind(v4(host), mac(host))]);
    }
    assert_eq!(simulation.statistics().failed_evicted, 1);
    assert_eq!(simulation.heard(v4(20), mac(20), REQUEST), []);
    assert_eq!(simulation.resolve(v4(20), 0), []);
    assert_eq!(simulation.statistics().refused_full, 2);
    assert_eq!(simulation.heard(v4(19), mac(19), REPLY), []);
    assert_eq!(simulation.state(v4(19)), Some(NeighbourState::Reachable));
    assert_eq!((simulation.statistics().stale, simulation.statistics().reachable), (19, 1));
}
