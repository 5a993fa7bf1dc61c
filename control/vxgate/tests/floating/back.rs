//! A gateway whose links come back takes its shards back when it can serve them, not before.

use std::time::Duration;

use lab::{Cluster, ClusterOptions, Failure, Family, Flows, FlowsReport, Station};

use crate::{ALL, GATEWAYS, PATIENCE, shard_of, start, victim, wait_even};

const INTERVAL: Duration = Duration::from_millis(2);
/// Datagrams of each flow that must have been answered before, and after.
const ENOUGH: u64 = 100;

/// A flow each way and of each family.
fn load(cluster: &Cluster, station: &Station) -> Vec<Flows> {
    let (inside, outside) = (&station.host.namespace, &cluster.outer.namespace);
    let both = |family| {
        let (to_outside, to_inside) = (cluster.outer_address(family), station.address(family));
        [(inside, outside, to_outside), (outside, inside, to_inside)]
            .map(|(from, to, destination)| Flows::start(from, to, destination, 1, INTERVAL).unwrap())
    };
    Family::BOTH.into_iter().flat_map(both).collect()
}

fn wait_answered(flows: &[Flows]) {
    Flows::wait_answered(flows, ENOUGH, PATIENCE).unwrap();
}

fn stop(what: &str, flows: Vec<Flows>) -> u64 {
    let reports: Vec<FlowsReport> = flows.into_iter().map(Flows::stop).collect();
    let each: Vec<_> = reports.iter().map(|report| (report.lost(), report.longest_silence)).collect();
    eprintln!("=== {what}: lost and longest silence of each {each:?} ===");
    reports.iter().map(FlowsReport::lost).sum()
}

#[test]
fn links_that_come_back_cost_little() {
    let options = ClusterOptions { gateways: GATEWAYS, probed: 1, ..ClusterOptions::default() };
    let mut cluster = start(options);
    let before = wait_even(&cluster, &ALL);
    cluster.route_shards(cluster.stations.iter().map(|station| &station.site), shard_of).unwrap();
    cluster.wait_open(PATIENCE).unwrap();
    let (victim, rest) = victim(&cluster, &before);

    let mut lost = Vec::new();
    for failure in [Failure::UnderlayDown, Failure::UplinkDown, Failure::AllDown] {
        let flows = load(&cluster, &cluster.stations[0]);
        wait_answered(&flows);
        cluster.gateway(victim).fail(failure).unwrap();
        wait_even(&cluster, &rest);
        wait_answered(&flows);
        let by_fault = stop(&format!("{failure:?}"), flows);

        let flows = load(&cluster, &cluster.stations[0]);
        wait_answered(&flows);
        cluster.gateway(victim).mend().unwrap();
        assert_eq!(wait_even(&cluster, &ALL), before);
        wait_answered(&flows);
        let by_return = stop(&format!("{failure:?}, mended"), flows);
        lost.push((by_fault, by_return));
    }
    // A death has to be found out, when all links are down; of a return nothing has to be.
    let found_out = lost.iter().map(|(by_fault, _)| by_fault).max().unwrap();
    assert!(lost.iter().all(|(_, by_return)| by_return * 4 < *found_out), "{lost:?}");
}
