//! From the last evidence to the end of a binding.

use super::Action::*;
use super::*;
use NeighbourState::{Reachable, Stale};

#[test]
fn a_silent_station_is_asked_three_times_and_forgotten() {
    for key in [v4(1), v6(1)] {
        for evidence in [REPLY, REQUEST] {
            let mut simulation = Simulation::new();
            simulation.resolve(key, 1);
            simulation.heard(key, mac(1), evidence);
            assert_eq!(simulation.seconds(149), []);
            let probe = || Probe(key, mac(1));
            assert_eq!(simulation.seconds(301 + 4), [probe(), probe(), probe(), Unbind(key)]);
            assert_eq!(simulation.state(key), None);
            assert_eq!(simulation.neighbours.next_deadline(), None);
        }
    }
}

#[test]
fn probes_are_a_second_apart_and_packets_go_on_meanwhile() {
    let mut simulation = Simulation::new();
    simulation.heard(v6(1), mac(1), REQUEST);
    simulation.probe(v6(1));
    assert_eq!(simulation.resolve(v6(1), 1), [Release(v6(1), mac(1), vec![1])]);
    for _ in 0..2 {
        assert_eq!(simulation.pass(Duration::from_millis(900)), []);
        assert_eq!(simulation.pass(Duration::from_millis(164)), [Probe(v6(1), mac(1))]);
    }
}

#[test]
fn any_evidence_gives_a_new_lifetime() {
    for key in [v4(1), v6(1)] {
        for (evidence, state) in [(REPLY, Reachable), (REQUEST, Stale), (ANNOUNCEMENT, Stale)] {
            let mut simulation = Simulation::new();
            simulation.heard(key, mac(1), REQUEST);
            simulation.probe(key);
            assert_eq!(simulation.heard(key, mac(1), evidence), []);
            assert_eq!(simulation.state(key), Some(state));
            assert_eq!(simulation.neighbour(key).unwrap().age, Duration::ZERO);
            // Heard of again and again, it is not asked.
            for _ in 0..20 {
                assert_eq!(simulation.seconds(140), []);
                simulation.heard(key, mac(1), evidence);
            }
        }
    }
}

#[test]
fn bindings_learned_at_once_do_not_end_at_once() {
    let mut simulation = Simulation::new();
    for number in 0..3000 {
        simulation.heard(v4(number), mac(number), REQUEST);
    }
    assert_eq!(simulation.seconds(149), []);
    let mut probed = 0;
    for _ in 0..300 {
        let probes = simulation.seconds(1).iter().filter(|action| matches!(action, Probe(..))).count();
        // Ten a second, and as many second and third ones.
        assert!(probes < 100, "{probes}");
        probed += probes;
    }
    assert!(probed > 8000, "{probed}");
}

#[test]
fn imported_bindings_are_probed_soon_and_not_all_at_once() {
    let mut simulation = Simulation::new();
    for number in 0..3000 {
        simulation.import(v6(number), mac(number), Duration::from_secs(100));
    }
    let mut answered = 0;
    for _ in 0..=150 {
        let probes = simulation.seconds(1);
        assert!(probes.len() < 100);
        for probe in probes {
            let Probe(key, mac) = probe else { panic!("{probe:?}") };
            assert_eq!(simulation.heard(key, mac, REPLY), []);
            answered += 1;
        }
    }
    assert_eq!((answered, simulation.statistics().reachable), (3000, 3000));
}

#[test]
fn fresh_is_what_is_not_in_doubt() {
    for key in [v4(1), v6(1)] {
        let mut simulation = Simulation::new();
        let fresh = |simulation: &Simulation| simulation.neighbours.fresh(key, simulation.now);
        assert_eq!(fresh(&simulation), None);
        simulation.resolve(key, 1);
        assert_eq!(fresh(&simulation), None);
        simulation.heard(key, mac(1), REPLY);
        assert_eq!(fresh(&simulation), Some(mac(1)));
        simulation.probe(key);
        assert_eq!(fresh(&simulation), None);
        simulation.seconds(4);
        assert_eq!(simulation.state(key), None);
        simulation.import(key, mac(3), Duration::from_secs(449));
        assert_eq!(fresh(&simulation), Some(mac(3)));
        simulation.now += Duration::from_secs(1);
        assert_eq!(fresh(&simulation), None, "too old, though not probed yet");
    }
}

#[test]
fn a_long_absence_is_made_up_for_in_parts() {
    let mut simulation = Simulation::new();
    for number in 0..5000 {
        simulation.heard(v4(number), mac(number), REQUEST);
    }
    simulation.now += Duration::from_secs(500);
    let (mut calls, mut probes) = (0, 0);
    while simulation.neighbours.next_deadline().is_some_and(|deadline| deadline <= simulation.now) {
        let out = simulation.out(|neighbours, now, out| neighbours.poll(now, out));
        assert!(out.len() <= 1024);
        (calls, probes) = (calls + 1, probes + out.len());
    }
    assert_eq!((calls, probes), (5, 5000));
}

impl Simulation {
    /// Lets time pass until an address is probed for the first time.
    fn probe(&mut self, key: NeighbourKey) {
        while self.state(key) != Some(NeighbourState::Probe) {
            let deadline = self.neighbours.next_deadline().unwrap();
            self.pass(deadline - self.now);
        }
    }
}
