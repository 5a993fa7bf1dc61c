//! Two gateways that live and lose sight of each other.

use lab::ClusterOptions;

use crate::split_brain::split_and_heal;
use crate::{ALL, start, wait_even};

#[test]
fn of_two_that_both_serve_the_last_announcement_counts_and_it_heals_alone() {
    let cluster = start(ClusterOptions { probed: 6, ..ClusterOptions::default() });
    let before = wait_even(&cluster, &ALL);
    let flows = [cluster.egress_flows(), cluster.ingress_flows()].concat();
    // Each serves for the other too; the third one keeps out of it.
    let serves = |number| match number {
        3 => before.iter().map(|&owner| owner == 3).collect(),
        _ => before.iter().map(|&owner| owner != 3).collect(),
    };
    let window = split_and_heal(&cluster, &flows, serves, || assert_eq!(wait_even(&cluster, &ALL), before));
    for flow in &window.flows {
        assert_eq!(flow.duplicates, 0, "{}", flow.name);
    }
}
