//! The stage of several gateways: one the owner of all overlays by its configuration, and sessions of all with all. Needs root.

use std::path::Path;
use std::time::Duration;

use lab::{Cluster, ClusterOptions, Failure, Family, GapProbe, Topology, wait_until};
use serde_json::Value;

/// How long anything may take on a machine that others use too.
const PATIENCE: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_millis(1);
/// Datagrams that show that a way is open.
const ENOUGH: u64 = 100;

const OWNER: u8 = 1;

/// All gateways run; one is the owner, and the router's traffic into the overlays goes to it.
fn stage(options: ClusterOptions) -> Cluster {
    let mut cluster = Cluster::build(Path::new(env!("CARGO_BIN_EXE_vxgate")), options).unwrap();
    for number in 1..=options.gateways {
        let owner = format!("owner = {}\n", number == OWNER);
        let time = cluster.start(number, &owner, "").unwrap();
        eprintln!("=== gateway {number} started in {time:?} ===");
    }
    cluster.route_blocks_by(OWNER).unwrap();
    cluster.wait_open(PATIENCE).unwrap();
    cluster
}

fn probe(cluster: &Cluster) -> GapProbe {
    let flows = [cluster.egress_flows(), cluster.ingress_flows()].concat();
    let probe = GapProbe::start(&flows, INTERVAL).unwrap();
    probe.wait_flowing(ENOUGH, PATIENCE).unwrap();
    probe
}

/// Waits until nothing comes into the overlays any more. Out of them it may: where the owner's routes are gone, endpoints
/// flood, and others forward.
fn wait_silent(probe: &GapProbe) {
    let ingress = || {
        let received = probe.received();
        received[received.len() / 2..].to_vec()
    };
    let (mut last, mut since) = (ingress(), probe.due());
    wait_until("silence", PATIENCE, || {
        let now = ingress();
        if now != last {
            (last, since) = (now, probe.due());
        }
        let silent = probe.due() - since;
        if silent >= ENOUGH { Ok(()) } else { Err(format!("for {silent} datagrams")) }
    })
    .unwrap();
}

#[test]
fn what_fails_is_a_gap_on_all_ways_and_is_mended() {
    let mut cluster = stage(ClusterOptions { probed: 2, ingress: false, ..ClusterOptions::default() });
    for failure in Failure::ALL {
        let probe = probe(&cluster);
        let begin = cluster.gateway(OWNER).fail(failure).unwrap();
        wait_silent(&probe);
        let owner = cluster.gateway(OWNER);
        if failure == Failure::WorkerHeld {
            // Its other threads go on.
            owner.gateway.show("ports").unwrap();
        }
        owner.mend().unwrap();
        probe.wait_flowing(ENOUGH, PATIENCE).unwrap();
        let window = probe.stop().unwrap().since(begin);
        eprintln!(
            "=== {failure:?}: the probe's own gaps {:?}, {:?} ===",
            window.sender_gap, window.receiver_gap
        );
        for (n, flow) in window.flows.iter().enumerate() {
            eprintln!(
                "=== {}: {:?}, {} of {} lost ===",
                flow.name,
                flow.gap_length(),
                flow.lost(),
                flow.sent
            );
            assert!(flow.gap.is_some() && flow.recovery.is_some(), "{failure:?}: {flow:?}");
            // So long it was waited for silence into the overlays.
            let least = if n < window.flows.len() / 2 { 0 } else { ENOUGH as u32 - 1 };
            assert!(flow.gap_length() >= INTERVAL * least, "{failure:?}: {flow:?}");
        }
    }
    // Who is held can be killed, and be there again.
    cluster.gateway(OWNER).fail(Failure::WorkerHeld).unwrap();
    cluster.gateway(OWNER).fail(Failure::Killed).unwrap();
    cluster.gateway(OWNER).mend().unwrap();
    cluster.wait_open(PATIENCE).unwrap();
}

#[test]
fn all_have_sessions_with_all() {
    for (family, keys) in [
        (Family::V4, "mode = \"announce\"\n".to_owned()),
        (Family::V6, Cluster::floating(256, &Cluster::SHARD_VTEPS)),
    ] {
        let options =
            ClusterOptions { probed: 1, bfd: Some(Duration::from_millis(200)), ..ClusterOptions::default() };
        let mut cluster = Cluster::build(Path::new(env!("CARGO_BIN_EXE_vxgate")), options).unwrap();
        cluster.start_all(family, &keys).unwrap();
        let daemons = [
            Topology::UNDERLAY.address(Family::V4, Cluster::REFLECTOR),
            Topology::UPLINK.address(Family::V4, Topology::ROUTER),
        ];
        for member in &cluster.gateways {
            let wait = |what: &str, count: usize, is_up: &dyn Fn(&Value) -> bool| {
                wait_until(&format!("{what} of gateway {}", member.number), PATIENCE, || {
                    let shown = member.gateway.show(what).unwrap();
                    let rows = shown.as_array().or(shown["sessions"].as_array()).unwrap();
                    let up = rows.iter().filter(|row| is_up(row)).count();
                    if up == count { Ok(()) } else { Err(shown.to_string()) }
                })
                .unwrap();
            };
            wait("cluster", usize::from(options.gateways) - 1, &|row| row["session"] == "up");
            wait("bgp peers", daemons.len(), &|row| row["state"] == "Established");
            wait("bfd", daemons.len(), &|row| {
                row["state"] == "Up" && daemons.iter().any(|daemon| row["peer"] == daemon.to_string())
            });
        }
    }
}
