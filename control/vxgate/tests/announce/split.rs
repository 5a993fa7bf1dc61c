//! Two gateways that live and lose sight of each other.

use std::time::Duration;

use lab::{Cluster, GapProbe, wait_until};

use crate::sight::{cut, moves, wait_seen};
use crate::{ALL, PATIENCE, stage, wait_owned, winners};

const INTERVAL: Duration = Duration::from_millis(10);
const ENOUGH: u64 = 20;

/// Overlays that a gateway says are its own.
fn own(cluster: &Cluster, number: u8) -> Vec<bool> {
    let rows = cluster.member(number).gateway.show("assignments").unwrap();
    rows.as_array().unwrap().iter().map(|row| row["own"] == true).collect()
}

#[test]
fn of_two_that_both_serve_the_last_announcement_counts_and_it_heals_alone() {
    let cluster = stage();
    let pair = [1, 2];
    cluster.route_blocks_by(3).unwrap();
    cluster.wait_open(PATIENCE).unwrap();
    let probe = GapProbe::start(&cluster.egress_flows(), INTERVAL).unwrap();
    probe.wait_flowing(ENOUGH, PATIENCE).unwrap();

    cut(&cluster, pair, true);
    wait_seen(&cluster, 1, 2, "dead");
    wait_seen(&cluster, 2, 1, "dead");
    // Each serves what it wins without the other; the third one, which sees both, keeps out of it.
    let wins = |running: &[u8], number: u8| {
        winners(running).into_iter().map(|owner| owner == number).collect::<Vec<_>>()
    };
    for (number, running) in [(1, &[1, 3][..]), (2, &[2, 3]), (3, &ALL)] {
        wait_until(&format!("gateway {number} to serve what it wins"), PATIENCE, || {
            let own = own(&cluster, number);
            if own == wins(running, number) { Ok(()) } else { Err(format!("{own:?}")) }
        })
        .unwrap();
    }
    probe.wait_flowing(ENOUGH, PATIENCE).unwrap();
    let before: Vec<usize> = ALL.iter().map(|&number| moves(&cluster, number)).collect();
    probe.wait_flowing(10 * ENOUGH, PATIENCE).unwrap();
    let after: Vec<usize> = ALL.iter().map(|&number| moves(&cluster, number)).collect();
    assert_eq!(before, after, "nobody answers what the reflector says");

    cut(&cluster, pair, false);
    wait_seen(&cluster, 1, 2, "serving");
    wait_seen(&cluster, 2, 1, "serving");
    wait_owned(&cluster, &ALL);
    probe.wait_flowing(ENOUGH, PATIENCE).unwrap();
    let window = probe.stop().unwrap().whole();
    for flow in &window.flows {
        eprintln!("=== {}: {} of {} lost, {} twice ===", flow.name, flow.lost(), flow.sent, flow.duplicates);
    }
}
