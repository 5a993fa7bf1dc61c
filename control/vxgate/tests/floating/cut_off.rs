//! A gateway that lives and whom nothing reaches any longer, neither peers nor reflectors nor routers, and that knows nothing of
//! it by its links: carrier stays.

use std::time::Duration;

use lab::{Cluster, ClusterOptions, GapProbe, Nic, Topology, wait_until};
use serde_json::Value;

use crate::{ALL, GATEWAYS, PATIENCE, events, shard_of, start, wait_even, wait_part};

const INTERVAL: Duration = Duration::from_millis(10);
/// Datagrams that show that a way is open.
const ENOUGH: u64 = 20;

const VICTIM: u8 = Topology::GATEWAY;

/// Has the bridges forward nothing from and to the victim, or all again (BR_STATE_DISABLED, BR_STATE_FORWARDING of
/// linux/if_bridge.h).
fn cut(cluster: &Cluster, cut: bool) {
    let state = if cut { 0 } else { 3 };
    let topology = &cluster.topology;
    for Nic { far_namespace, far_interface, .. } in [&topology.underlay0, &topology.uplink0] {
        far_namespace.bridge(&format!("link set dev {far_interface} state {state}\n")).unwrap();
    }
}

fn wait_bgp(cluster: &Cluster, is_up: bool) {
    wait_until(&format!("its BGP to be up: {is_up}"), PATIENCE, || {
        let rows = cluster.member(VICTIM).gateway.show("bgp peers").unwrap();
        let is_so = |row: &Value| (row["state"] == "Established") == is_up;
        if rows.as_array().unwrap().iter().all(is_so) { Ok(()) } else { Err(rows.to_string()) }
    })
    .unwrap();
}

#[test]
fn who_is_cut_off_from_all_lets_go_of_all_until_it_has_heard_the_others() {
    let cluster = start(ClusterOptions { gateways: GATEWAYS, probed: 3, ..ClusterOptions::default() });
    let before = wait_even(&cluster, &ALL);
    cluster.route_shards(cluster.stations.iter().map(|station| &station.site), shard_of).unwrap();
    cluster.wait_open(PATIENCE).unwrap();
    wait_bgp(&cluster, true);
    let flows = [cluster.egress_flows(), cluster.ingress_flows()].concat();
    let probe = GapProbe::start(&flows, INTERVAL).unwrap();
    probe.wait_flowing(ENOUGH, PATIENCE).unwrap();
    let rest: Vec<u8> = ALL.into_iter().filter(|&number| number != VICTIM).collect();

    cut(&cluster, true);
    wait_even(&cluster, &rest);
    wait_bgp(&cluster, false);
    wait_until("it to serve nothing", PATIENCE, || {
        let rows = cluster.member(VICTIM).gateway.show("cluster").unwrap();
        let part = rows[0]["part"].as_str().unwrap_or_default();
        if part.starts_with("unfit: ") && rows[0]["serves"] == 0 { Ok(()) } else { Err(rows.to_string()) }
    })
    .unwrap();
    // For as long as it takes the others to carry on for a while.
    probe.wait_flowing(20 * ENOUGH, PATIENCE).unwrap();
    let shards = cluster.member(VICTIM).gateway.show("assignments").unwrap();
    assert!(shards.as_array().unwrap().iter().all(|row| row["own"] == false), "{shards}");

    cut(&cluster, false);
    wait_part(&cluster, VICTIM, "serving", |shards| shards > 0);
    assert_eq!(wait_even(&cluster, &ALL), before);
    wait_bgp(&cluster, true);
    probe.wait_flowing(ENOUGH, PATIENCE).unwrap();
    cluster.wait_open(PATIENCE).unwrap();

    // From the moment on in which it knew until all had told it what they have, it has taken nothing.
    let events = events(&cluster, VICTIM);
    let is_stage = |row: &Value, stage: &str| {
        row["event"] == "cluster-stage" && row["detail"].as_str().unwrap().starts_with(stage)
    };
    let unfit = events.iter().position(|row| is_stage(row, "unfit")).unwrap();
    let serving = unfit + events[unfit..].iter().position(|row| is_stage(row, "serving")).unwrap();
    let moved = events[unfit..serving].iter().filter(|row| row["event"] == "cluster-moved");
    let taken: Vec<_> = moved.filter(|row| row["detail"] != "all let go of").collect();
    assert!(taken.is_empty(), "{taken:#?}");
    let window = probe.stop().unwrap().whole();
    for flow in &window.flows {
        eprintln!("=== {}: {} of {} lost, {} twice ===", flow.name, flow.lost(), flow.sent, flow.duplicates);
        assert_eq!(flow.duplicates, 0, "{flow:?}");
    }
}
