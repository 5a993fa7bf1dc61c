//! Gateways that cannot be of one cluster: neither serves what is another's.

use std::path::Path;

use lab::{Cluster, ClusterOptions, Failure, Family};
use serde_json::Value;

use crate::{ALL, GATEWAYS, SHARDS, VXGATE, events, tables, wait_even, wait_part};

#[test]
fn of_two_with_other_settings_the_one_that_started_first_serves() {
    let options = ClusterOptions { gateways: 2, overlays: 10, probed: 1, ..ClusterOptions::default() };
    let mut cluster = Cluster::build(Path::new(VXGATE), options).unwrap();
    let configs = [1, 2].map(|number| {
        let membership = cluster.membership(number, Family::V4, &tables(&Cluster::SHARD_VTEPS));
        cluster.config(number, "", &membership)
    });
    cluster.start_with(2, &configs[1]).unwrap();
    cluster.start_with(1, &configs[0].replace("vnis = \"1-10\"", "vnis = \"1-11\"")).unwrap();
    wait_part(&cluster, 2, "serving", |shards| shards == u64::from(SHARDS));
    let rows = wait_part(&cluster, 1, "joining", |shards| shards == 0);
    assert_eq!(rows[1]["session"], "refused", "{rows}");
    // Until that one is dead.
    cluster.gateway(2).fail(Failure::Killed).unwrap();
    wait_part(&cluster, 1, "serving", |shards| shards == u64::from(SHARDS));
}

#[test]
fn of_two_with_one_id_and_key_one_serves_and_both_say_so() {
    let options = ClusterOptions { gateways: GATEWAYS + 1, probed: 1, ..ClusterOptions::default() };
    let mut cluster = Cluster::build(Path::new(VXGATE), options).unwrap();
    let membership = |number| {
        let all = cluster.membership(number, Family::V4, &tables(&Cluster::SHARD_VTEPS));
        let copy = format!("[[cluster.gateway]]\nid = {}\n", GATEWAYS + 1);
        let (before, gateways) = all.split_once("[[cluster.gateway]]").unwrap();
        // Watched at the addresses of the first, the copy would be dead to the others.
        let seen = |line: &&str| !line.starts_with("underlay = ") && !line.starts_with("uplink = ");
        let gateways: Vec<_> = gateways.lines().filter(seen).collect();
        let all = format!("{before}[[cluster.gateway]]{}\n", gateways.join("\n"));
        all.split_once(&copy).unwrap().0.to_owned()
    };
    let configs: Vec<_> =
        ALL.into_iter().map(|number| cluster.config(number, "", &membership(number))).collect();
    let of_copy = cluster.config(GATEWAYS + 1, "", &membership(1));
    for (number, config) in ALL.into_iter().zip(configs) {
        cluster.start_with(number, &config).unwrap();
    }
    let before = wait_even(&cluster, &ALL);

    // Its disk was copied. The one that started last has the id.
    cluster.start_with(GATEWAYS + 1, &of_copy).unwrap();
    wait_part(&cluster, 1, "unfit: another gateway has its id", |shards| shards == 0);
    wait_part(&cluster, GATEWAYS + 1, "serving", |shards| shards > 0);
    for number in 1..=GATEWAYS + 1 {
        let events = events(&cluster, number);
        let told = |event: &&Value| event["event"] == "cluster-duplicate-id" && event["gateway"] == 1;
        assert_eq!(events.iter().filter(told).count(), 1, "gateway {number}: {events:#?}");
    }
    // And when that one is gone the first has it again.
    cluster.gateway(GATEWAYS + 1).gateway.stop().unwrap();
    assert_eq!(wait_even(&cluster, &ALL), before);
}
