//! Two gateways that live and lose sight of each other.

use crate::split_brain::split_and_heal;
use crate::{ALL, stage, wait_owned, winners};

#[test]
fn of_two_that_both_serve_the_last_announcement_counts_and_it_heals_alone() {
    let cluster = stage();
    cluster.route_blocks_by(3).unwrap();
    // Each serves what it wins without the other; the third one, which sees both, keeps out of it.
    let serves = |number: u8| {
        let running = match number {
            1 => &[1, 3][..],
            2 => &[2, 3],
            _ => &ALL,
        };
        winners(running).into_iter().map(|owner| owner == number).collect()
    };
    split_and_heal(&cluster, &cluster.egress_flows(), serves, || wait_owned(&cluster, &ALL));
}
