//! From the first packet to the answer, or to its lack.

use super::Action::*;
use super::*;

#[test]
fn an_answer_lets_the_packets_go_in_their_order() {
    for key in [v4(1), v6(1)] {
        let mut simulation = Simulation::new();
        assert_eq!(simulation.resolve(key, 1), [SolicitAll(key)]);
        assert_eq!(simulation.resolve(key, 2), []);
        assert_eq!(simulation.statistics().waiting, 2);
        assert_eq!(
            simulation.heard(key, mac(1), REPLY),
            [Bind(key, mac(1)), Release(key, mac(1), vec![1, 2])]
        );
        assert_eq!(simulation.state(key), Some(NeighbourState::Reachable));
        assert_eq!(simulation.statistics().waiting, 0);
        // A packet that was on its way to the slow path meanwhile.
        assert_eq!(simulation.resolve(key, 3), [Release(key, mac(1), vec![3])]);
    }
}

#[test]
fn whatever_a_station_says_resolves_but_only_an_answer_makes_it_reachable() {
    for key in [v4(1), v6(1)] {
        for evidence in [REQUEST, ANNOUNCEMENT, Evidence::Announcement { override_: false }] {
            let mut simulation = Simulation::new();
            simulation.resolve(key, 1);
            let bound = [Bind(key, mac(1)), Release(key, mac(1), vec![1])];
            assert_eq!(simulation.heard(key, mac(1), evidence), bound);
            assert_eq!(simulation.state(key), Some(NeighbourState::Stale));
        }
        let mut simulation = Simulation::new();
        simulation.resolve(key, 1);
        simulation.heard(key, mac(1), Evidence::Reply { override_: false });
        assert_eq!(simulation.state(key), Some(NeighbourState::Reachable));
    }
}

#[test]
fn three_solicitations_a_second_apart_then_unreachable() {
    for key in [v4(1), v6(1)] {
        let mut simulation = Simulation::new();
        simulation.resolve(key, 1);
        assert_eq!(simulation.pass(Duration::from_millis(900)), []);
        assert_eq!(simulation.pass(Duration::from_millis(200)), [SolicitAll(key)]);
        assert_eq!(simulation.pass(RETRANSMISSION), [SolicitAll(key)]);
        assert_eq!(simulation.pass(RETRANSMISSION), [Unreachable(key, vec![1])]);
        assert_eq!(simulation.state(key), Some(NeighbourState::Failed));
    }
}

#[test]
fn only_the_latest_packets_wait() {
    let mut simulation = Simulation::new();
    for packet in 0..10 {
        simulation.resolve(v6(1), packet);
    }
    let released = simulation.heard(v6(1), mac(1), REPLY).pop();
    assert_eq!(released, Some(Release(v6(1), mac(1), vec![7, 8, 9])));
    assert_eq!(simulation.statistics().displaced, 7);
}

#[test]
fn packets_to_a_failed_address_come_back_at_once_for_a_growing_time() {
    for key in [v4(1), v6(1)] {
        let mut simulation = Simulation::new();
        for backoff in [1, 2, 4, 8, 16, 30, 30, 30] {
            assert_eq!(simulation.fail(key)[0], SolicitAll(key), "asked again");
            simulation.pass(Duration::from_secs(backoff) - Duration::from_millis(200));
            assert_eq!(simulation.resolve(key, 9), [Unreachable(key, vec![9])], "{backoff} s");
            simulation.pass(Duration::from_millis(200));
        }
        assert_eq!(simulation.statistics().held_off, 8);
    }
}

#[test]
fn a_failure_is_forgotten() {
    let mut simulation = Simulation::new();
    simulation.fail(v4(1));
    assert_eq!(simulation.seconds(40), []);
    assert_eq!(simulation.state(v4(1)), None);
    assert_eq!(simulation.neighbours.next_deadline(), None);
    assert_eq!(simulation.statistics(), NeighbourStatistics::default());
    // The next back-off is the first again.
    simulation.fail(v4(1));
    simulation.pass(RETRANSMISSION);
    assert_eq!(simulation.resolve(v4(1), 1), [SolicitAll(v4(1))]);
}

#[test]
fn a_station_that_appears_ends_the_back_off() {
    for key in [v4(1), v6(1)] {
        let mut simulation = Simulation::new();
        simulation.fail(key);
        assert_eq!(simulation.heard(key, mac(1), ANNOUNCEMENT), [Bind(key, mac(1))]);
        assert_eq!(simulation.resolve(key, 1), [Release(key, mac(1), vec![1])]);
        assert_eq!(simulation.statistics().failed, 0);
    }
}

#[test]
fn overlays_have_nothing_in_common() {
    let mut simulation = Simulation::new();
    for address in [v4(1).address, v6(1).address] {
        let (one, other) = (key_in(1, address), key_in(2, address));
        simulation.resolve(one, 1);
        assert_eq!(simulation.resolve(other, 2), [SolicitAll(other)]);
        let bound = [Bind(one, mac(1)), Release(one, mac(1), vec![1])];
        assert_eq!(simulation.heard(one, mac(1), REPLY), bound);
        assert_eq!(simulation.state(other), Some(NeighbourState::Incomplete));
        simulation.heard(other, mac(1), REPLY);
        simulation.heard(other, mac(2), ANNOUNCEMENT);
        assert_eq!(simulation.neighbour(one).unwrap().mac, Some(mac(1)));
    }
}
