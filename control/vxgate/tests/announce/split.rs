//! Two gateways that live and lose sight of each other.

use std::time::Duration;

use lab::{Cluster, Family, GapProbe, Topology, wait_until};
use serde_json::Value;

use crate::{ALL, PATIENCE, events, stage, wait_owned, winners};

const INTERVAL: Duration = Duration::from_millis(10);
const ENOUGH: u64 = 20;

/// Cuts two gateways from each other, by neighbour entries that lead nowhere, or lets them see each other again.
fn cut(cluster: &Cluster, [one, other]: [u8; 2], cut: bool) {
    for (here, there) in [(one, other), (other, one)] {
        let mut lines = String::new();
        for (subnets, interface) in [(Topology::UNDERLAY, "underlay0"), (Topology::UPLINK, "uplink0")] {
            for address in Family::BOTH.map(|family| subnets.address(family, there)) {
                lines += &match cut {
                    true => format!(
                        "neighbour replace {address} lladdr 02:00:00:00:de:ad dev {interface} nud permanent\n"
                    ),
                    false => format!("neighbour del {address} dev {interface}\n"),
                };
            }
        }
        cluster.member(here).namespace.ip(&lines).unwrap();
    }
}

fn shown(cluster: &Cluster, number: u8) -> Value {
    cluster.member(number).gateway.show("cluster").unwrap()
}

fn wait_part(cluster: &Cluster, number: u8, of: u8, part: &str) {
    wait_until(&format!("gateway {number} to find {of} {part}"), PATIENCE, || {
        let rows = shown(cluster, number);
        let row = rows.as_array().unwrap().iter().find(|row| row["id"] == of).unwrap();
        if row["part"] == part { Ok(()) } else { Err(rows.to_string()) }
    })
    .unwrap();
}

/// How often groups have moved at a gateway.
fn moves(cluster: &Cluster, number: u8) -> usize {
    events(cluster, number).iter().filter(|event| event["event"] == "cluster-moved").count()
}

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
    wait_part(&cluster, 1, 2, "dead");
    wait_part(&cluster, 2, 1, "dead");
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
    wait_part(&cluster, 1, 2, "serving");
    wait_part(&cluster, 2, 1, "serving");
    wait_owned(&cluster, &ALL);
    probe.wait_flowing(ENOUGH, PATIENCE).unwrap();
    let window = probe.stop().unwrap().whole();
    for flow in &window.flows {
        eprintln!("=== {}: {} of {} lost, {} twice ===", flow.name, flow.lost(), flow.sent, flow.duplicates);
    }
}
