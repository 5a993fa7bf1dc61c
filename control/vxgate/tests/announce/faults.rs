//! Each fault of a gateway alone: who has its overlays then, that packets leave them, and what endpoints are told.

use std::time::Duration;

use lab::{Cluster, Failure, Family, GapProbe, ROUTER_MAC, Topology, wait_until};

use crate::{ALL, PATIENCE, events, keys, stage, wait_owned, winners};

const INTERVAL: Duration = Duration::from_millis(10);
/// Datagrams that show that a way is open.
const ENOUGH: u64 = 20;

/// Where the endpoint's kernel sends what is for the router of an overlay.
fn believed(cluster: &Cluster, vni: u32) -> String {
    let output = cluster.endpoint.namespace.run("bridge", &["-j", "fdb", "show", "dev", &format!("vx{vni}")]);
    let rows: serde_json::Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
    let of_router = |row: &&serde_json::Value| row["mac"] == ROUTER_MAC.to_string() && row["dst"].is_string();
    let rows: Vec<_> = rows.as_array().unwrap().iter().filter(of_router).collect();
    rows.iter().filter_map(|row| row["dst"].as_str()).collect::<Vec<_>>().join(" ")
}

/// Waits until the endpoint's kernel believes the overlays' owners among these gateways.
fn wait_believed(cluster: &Cluster, running: &[u8]) {
    let owners = winners(running);
    for station in &cluster.stations {
        let vni = station.site.vni.value();
        let vtep = Topology::UNDERLAY.address(Family::V4, owners[vni as usize - 1]).to_string();
        wait_until(&format!("overlay {vni} to be behind {vtep}"), PATIENCE, || {
            let believed = believed(cluster, vni);
            if believed == vtep { Ok(()) } else { Err(believed) }
        })
        .unwrap();
    }
}

#[test]
fn overlays_have_one_owner_whoever_dies() {
    let mut cluster = stage();
    let before = winners(&ALL);
    let victim = before[cluster.stations[0].site.vni.value() as usize - 1];
    let rest: Vec<u8> = ALL.into_iter().filter(|&number| number != victim).collect();
    // Each gateway forwards what the router sends it, whoever is the owner.
    cluster.route_blocks_by(rest[0]).unwrap();
    cluster.wait_open(PATIENCE).unwrap();
    wait_believed(&cluster, &ALL);
    let flows = cluster.egress_flows();
    let probe = GapProbe::start(&flows, INTERVAL).unwrap();

    // What it can tell itself it does, and serves nothing; of what killed or stopped it only the others can tell.
    for failure in Failure::ALL {
        cluster.gateway(victim).fail(failure).unwrap();
        wait_owned(&cluster, &rest);
        if !matches!(failure, Failure::Killed | Failure::Stopped) {
            let shown = cluster.gateway(victim).gateway.show("cluster").unwrap();
            assert_eq!((&shown[0]["part"], &shown[0]["serves"]), (&"unfit: unhealthy".into(), &0.into()));
        }
        wait_believed(&cluster, &rest);
        probe.wait_flowing(ENOUGH, PATIENCE).unwrap();
        cluster.gateway(victim).mend().unwrap();
        wait_owned(&cluster, &ALL);
        wait_believed(&cluster, &ALL);
        probe.wait_flowing(ENOUGH, PATIENCE).unwrap();
    }
    let events_of_others = events(&cluster, rest[0]);
    let death = format!("gateway {victim} is dead");
    assert!(
        events_of_others.iter().any(|event| event["event"] == "cluster-moved" && event["cause"] == *death),
        "{events_of_others:#?}"
    );

    // Stopped in order: others have taken over before.
    cluster.gateway(victim).gateway.stop().unwrap();
    wait_owned(&cluster, &rest);
    wait_believed(&cluster, &rest);
    probe.wait_flowing(ENOUGH, PATIENCE).unwrap();
    let window = probe.stop().unwrap().whole();
    for flow in &window.flows {
        eprintln!("=== {}: {} of {} lost, {} twice ===", flow.name, flow.lost(), flow.sent, flow.duplicates);
    }

    // It starts again, and takes what is its own.
    let membership = cluster.membership(victim, Family::V4, &keys());
    cluster.start(victim, "", &membership).unwrap();
    wait_owned(&cluster, &ALL);
    let own = format!("assignments --owner {victim}");
    let rows = cluster.member(rest[0]).gateway.show(&own).unwrap();
    let vnis: Vec<u64> = rows.as_array().unwrap().iter().map(|row| row["vni"].as_u64().unwrap()).collect();
    let expected: Vec<u64> =
        (1..).zip(&before).filter(|(_, owner)| **owner == victim).map(|(vni, _)| vni).collect();
    assert_eq!(vnis, expected);
}
