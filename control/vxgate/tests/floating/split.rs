//! Two gateways that live and lose sight of each other, and a third one that sees both.

use std::time::Duration;

use lab::{Cluster, ClusterOptions, GapProbe, wait_until};

use crate::sight::{cut, moves, wait_seen};
use crate::{ALL, PATIENCE, start, wait_even};

const INTERVAL: Duration = Duration::from_millis(10);
const ENOUGH: u64 = 20;

/// For each shard whether a gateway says that it is its own.
fn own(cluster: &Cluster, number: u8) -> Vec<bool> {
    let rows = cluster.member(number).gateway.show("assignments").unwrap();
    rows.as_array().unwrap().iter().map(|row| row["own"] == true).collect()
}

#[test]
fn of_two_that_both_serve_the_last_announcement_counts_and_it_heals_alone() {
    let cluster = start(ClusterOptions { probed: 6, ..ClusterOptions::default() });
    let before = wait_even(&cluster, &ALL);
    cluster.wait_open(PATIENCE).unwrap();
    let flows = [cluster.egress_flows(), cluster.ingress_flows()].concat();
    let probe = GapProbe::start(&flows, INTERVAL).unwrap();
    probe.wait_flowing(ENOUGH, PATIENCE).unwrap();

    cut(&cluster, [1, 2], true);
    wait_seen(&cluster, 1, 2, "dead");
    wait_seen(&cluster, 2, 1, "dead");
    // Each serves for the other too; the third one keeps out of it.
    for (number, serves) in [(1, &[1, 2][..]), (2, &[1, 2]), (3, &[3])] {
        let expected: Vec<bool> = before.iter().map(|owner| serves.contains(owner)).collect();
        wait_until(&format!("gateway {number} to serve the shards of {serves:?}"), PATIENCE, || {
            let own = own(&cluster, number);
            if own == expected { Ok(()) } else { Err(format!("{own:?}")) }
        })
        .unwrap_or_else(|error| panic!("{error}\n{}", cluster.logs()));
    }
    probe.wait_flowing(ENOUGH, PATIENCE).unwrap();
    let counted = || ALL.map(|number| moves(&cluster, number));
    let moved = counted();
    probe.wait_flowing(50 * ENOUGH, PATIENCE).unwrap();
    assert_eq!(counted(), moved, "nobody answers what the other announces");

    cut(&cluster, [1, 2], false);
    wait_seen(&cluster, 1, 2, "serving");
    wait_seen(&cluster, 2, 1, "serving");
    assert_eq!(wait_even(&cluster, &ALL), before);
    probe.wait_flowing(ENOUGH, PATIENCE).unwrap();
    let window = probe.stop().unwrap().whole();
    for flow in &window.flows {
        eprintln!("=== {}: {} of {} lost, {} twice ===", flow.name, flow.lost(), flow.sent, flow.duplicates);
        assert_eq!(flow.duplicates, 0, "{}", flow.name);
    }
}
