//! Stations and scans that mean harm.

use super::Action::*;
use super::*;

#[test]
fn a_scan_of_65_536_addresses_stays_small() {
    for key in [v4, v6] {
        let mut simulation = Simulation::new();
        let (mut asked, mut told) = (0, 0);
        // A thousand packets a second, in the end to addresses that have been tried.
        for number in (0..65_536).chain(0..10_000) {
            let mut out = simulation.resolve(key(number), number);
            out.extend(simulation.pass(Duration::from_millis(1)));
            asked += out.iter().filter(|action| matches!(action, SolicitAll(_))).count();
            told += out.iter().filter(|action| matches!(action, Unreachable(..))).count();
            let statistics = simulation.statistics();
            assert!(statistics.incomplete + statistics.failed <= 256);
            assert!(statistics.waiting <= 64);
        }
        let statistics = simulation.statistics();
        assert!(statistics.refused_by_overlay > 60_000, "{statistics:?}");
        // 256 in three seconds, three times each.
        assert!(asked < 76 * 260, "{asked}");
        assert!(told > 0);
        simulation.seconds(100);
        let left = simulation.statistics();
        assert_eq!((left.incomplete, left.failed, left.waiting), (0, 0, 0));
        assert_eq!(simulation.neighbours.next_deadline(), None);
    }
}

#[test]
fn a_scan_costs_another_overlay_nothing() {
    let mut simulation = Simulation::new();
    let quiet = key_in(2, Ipv4Addr::new(10, 2, 0, 1));
    for number in 0..65_536 {
        simulation.resolve(v4(number), number);
    }
    assert_eq!(simulation.resolve(quiet, 1), [SolicitAll(quiet)]);
    assert_eq!(
        simulation.heard(quiet, mac(1), REPLY),
        [Bind(quiet, mac(1)), Release(quiet, mac(1), vec![1])]
    );
}

#[test]
fn a_station_with_10_000_addresses_has_16() {
    for key in [v4, v6] {
        let mut simulation = Simulation::new();
        simulation.heard(key(1_000_000), mac(2), REPLY);
        for number in 0..30_000 {
            let evidence = if number % 2 == 0 { REQUEST } else { ANNOUNCEMENT };
            simulation.heard(key(number % 10_000), mac(1), evidence);
            assert!(simulation.statistics().stale <= 17);
        }
        assert_eq!(simulation.statistics().evicted, 29_984);
        assert_eq!(simulation.neighbour(key(1_000_000)).unwrap().mac, Some(mac(2)), "others keep theirs");
        let later = simulation.seconds(1000);
        assert_eq!(later.iter().filter(|action| matches!(action, Unbind(_))).count(), 17);
        assert_eq!(simulation.neighbours.next_deadline(), None);
    }
}

#[test]
fn a_full_cache_empties_by_itself() {
    let mut simulation = Simulation::new();
    for number in 0..100_001 {
        simulation.heard(v6(number), mac(number / 4), REQUEST);
    }
    assert_eq!((simulation.statistics().stale, simulation.statistics().refused_full), (100_000, 1));
    let (mut probes, mut unbound) = (0, 0);
    for action in simulation.seconds(460) {
        match action {
            Probe(..) => probes += 1,
            Unbind(_) => unbound += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((probes, unbound), (300_000, 100_000));
}
