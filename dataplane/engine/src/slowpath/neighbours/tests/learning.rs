//! What stations and other gateways say.

use super::Action::*;
use super::*;
use NeighbourState::{Reachable, Stale};

/// An address that answered two seconds ago: ARP's lock time is over.
fn reachable(key: NeighbourKey) -> Simulation {
    let mut simulation = Simulation::new();
    simulation.resolve(key, 1);
    simulation.heard(key, mac(1), REPLY);
    simulation.seconds(2);
    simulation
}

/// The same, but for that it only asked.
fn stale(key: NeighbourKey) -> Simulation {
    let mut simulation = Simulation::new();
    simulation.heard(key, mac(1), REQUEST);
    simulation.seconds(2);
    simulation
}

#[test]
fn what_was_not_asked_for_is_learned_as_stale() {
    for key in [v4(1), v6(1)] {
        for evidence in [REPLY, REQUEST, ANNOUNCEMENT] {
            let mut simulation = Simulation::new();
            assert_eq!(simulation.heard(key, mac(1), evidence), [Bind(key, mac(1))]);
            assert_eq!(simulation.state(key), Some(Stale), "{evidence:?}");
        }
    }
}

#[test]
fn the_same_again_changes_no_binding() {
    for key in [v4(1), v6(1)] {
        for evidence in [REPLY, REQUEST, ANNOUNCEMENT, Evidence::Announcement { override_: false }] {
            let mut simulation = reachable(key);
            assert_eq!(simulation.heard(key, mac(1), evidence), []);
            assert_eq!(simulation.state(key), Some(Reachable));
            let mut simulation = stale(key);
            assert_eq!(simulation.heard(key, mac(1), evidence), []);
            assert_eq!(simulation.state(key), Some(if evidence == REPLY { Reachable } else { Stale }));
            assert_eq!(simulation.statistics().conflicts, 0);
        }
    }
}

/// RFC 4861, appendix C: another MAC address claims one that has one.
#[test]
fn neighbour_discovery_follows_the_override_flag() {
    let key = v6(1);
    let ignored = |override_| [Evidence::Reply { override_ }, Evidence::Announcement { override_ }];
    for evidence in ignored(false) {
        let mut simulation = reachable(key);
        assert_eq!(simulation.heard(key, mac(2), evidence), []);
        assert_eq!(simulation.state(key), Some(Stale), "in doubt");
        assert_eq!(simulation.seconds(6), [Probe(key, mac(1))], "who has it is asked soon");
        let mut simulation = stale(key);
        assert_eq!(simulation.heard(key, mac(2), evidence), []);
        assert_eq!(simulation.neighbour(key).unwrap().mac, Some(mac(1)));
        assert_eq!(simulation.statistics().conflicts, 1);
    }
    for (evidence, state) in [(REPLY, Reachable), (ANNOUNCEMENT, Stale), (REQUEST, Stale)] {
        for mut simulation in [reachable(key), stale(key)] {
            assert_eq!(simulation.heard(key, mac(2), evidence), [Bind(key, mac(2))]);
            assert_eq!(simulation.state(key), Some(state));
            assert_eq!((simulation.statistics().moved, simulation.statistics().conflicts), (1, 0));
        }
    }
}

#[test]
fn arp_takes_the_first_of_several_answers_and_later_ones_after_a_second() {
    let key = v4(1);
    for evidence in [REPLY, REQUEST] {
        let mut simulation = reachable(key);
        simulation.heard(key, mac(1), REQUEST);
        assert_eq!(simulation.heard(key, mac(2), evidence), []);
        simulation.pass(Duration::from_millis(900));
        assert_eq!(simulation.heard(key, mac(2), evidence), []);
        assert_eq!(simulation.state(key), Some(Reachable), "no doubt in ARP");
        assert_eq!(simulation.statistics().conflicts, 2);
        simulation.pass(Duration::from_millis(100));
        assert_eq!(simulation.heard(key, mac(2), evidence), [Bind(key, mac(2))]);
        assert_eq!(simulation.state(key), Some(if evidence == REPLY { Reachable } else { Stale }));
        assert_eq!(simulation.statistics().moved, 1);
    }
}

#[test]
fn an_announcement_moves_an_address_at_once() {
    for key in [v4(1), v6(1)] {
        let mut simulation = reachable(key);
        simulation.heard(key, mac(1), REPLY);
        assert_eq!(simulation.heard(key, mac(2), ANNOUNCEMENT), [Bind(key, mac(2))]);
        // It only said so: whether it answers is seen soon.
        assert_eq!(simulation.seconds(6), [Probe(key, mac(2))]);
        assert_eq!(simulation.neighbour(key).unwrap().mac, Some(mac(2)));
    }
}

#[test]
fn bindings_go_from_one_gateway_to_another() {
    let mut here = Simulation::new();
    for number in 0..10 {
        here.heard(v4(number), mac(number), REQUEST);
        here.seconds(3);
    }
    let mut there = Simulation::new();
    there.resolve(v4(0), 1);
    for Neighbour { key, mac, age, .. } in here.neighbours.iter(here.now) {
        let mac = mac.unwrap();
        let out = there.import(key, mac, age);
        let expected = match key == v4(0) {
            true => vec![Bind(key, mac), Release(key, mac, vec![1])],
            false => vec![Bind(key, mac)],
        };
        assert_eq!(out, expected);
        let imported = there.neighbour(key).unwrap();
        assert_eq!((imported.state, imported.mac, imported.age), (Stale, Some(mac), age));
        assert_eq!(there.neighbours.fresh(key, there.now), Some(mac));
    }
    assert_eq!(there.statistics().stale, 10);
}

#[test]
fn of_two_gateways_the_one_that_heard_last_is_believed() {
    for key in [v4(1), v6(1)] {
        let mut simulation = reachable(key);
        assert_eq!(simulation.import(key, mac(2), Duration::from_secs(2)), [], "as old as what is known");
        assert_eq!(simulation.state(key), Some(Reachable));
        assert_eq!(simulation.import(key, mac(1), Duration::from_secs(1)), []);
        assert_eq!(simulation.neighbour(key).unwrap().age, Duration::from_secs(1));
        assert_eq!(simulation.import(key, mac(2), Duration::ZERO), [Bind(key, mac(2))]);
        assert_eq!(simulation.import(v6(9), mac(1), Duration::from_secs(451)), [], "older than any gets");
    }
}
