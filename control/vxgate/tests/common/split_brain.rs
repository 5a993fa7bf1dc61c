//! Two gateways that live and lose sight of each other, and a third one that sees both.

use std::time::Duration;

use lab::{Cluster, Family, GapProbe, GapWindow, ProbeFlow, Topology, wait_until};

use crate::{ALL, PATIENCE};

const PAIR: [u8; 2] = [1, 2];
const INTERVAL: Duration = Duration::from_millis(10);
/// Datagrams that show that a way is open.
const ENOUGH: u64 = 20;
/// Those of ten seconds, in which nobody answers what another announces.
const LONG: u64 = 1000;

/// Cuts two gateways from each other, by neighbour entries that lead nowhere, or lets them see each other again.
fn cut(cluster: &Cluster, cut: bool) {
    let [one, other] = PAIR;
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

/// Waits until they take each other for this.
fn wait_seen(cluster: &Cluster, part: &str) {
    let [one, other] = PAIR;
    for (number, of) in [(one, other), (other, one)] {
        wait_until(&format!("gateway {number} to find {of} {part}"), PATIENCE, || {
            let rows = cluster.member(number).gateway.show("cluster").unwrap();
            let row = rows.as_array().unwrap().iter().find(|row| row["id"] == of).unwrap();
            if row["part"] == part { Ok(()) } else { Err(rows.to_string()) }
        })
        .unwrap();
    }
}

/// For each group whether a gateway says that it is its own.
fn own(cluster: &Cluster, number: u8) -> Vec<bool> {
    let rows = cluster.member(number).gateway.show("assignments").unwrap();
    rows.as_array().unwrap().iter().map(|row| row["own"] == true).collect()
}

/// How often groups have moved at each gateway.
fn moves(cluster: &Cluster) -> [usize; 3] {
    ALL.map(|number| {
        let events = cluster.member(number).gateway.events().unwrap();
        events.iter().filter(|event| event["event"] == "cluster-moved").count()
    })
}

/// Cuts two gateways from each other until each gateway serves what it `serves` then, group by group, and all is quiet; and lets
/// them see each other again, until it is `healed`. What became of the flows meanwhile, which flow throughout.
pub(crate) fn split_and_heal(
    cluster: &Cluster,
    flows: &[ProbeFlow],
    serves: impl Fn(u8) -> Vec<bool>,
    healed: impl FnOnce(),
) -> GapWindow {
    cluster.wait_open(PATIENCE).unwrap();
    let probe = GapProbe::start(flows, INTERVAL).unwrap();
    probe.wait_flowing(ENOUGH, PATIENCE).unwrap();

    cut(cluster, true);
    wait_seen(cluster, "dead");
    for number in ALL {
        let serves = serves(number);
        wait_until(&format!("gateway {number} to serve what it is to"), PATIENCE, || {
            let own = own(cluster, number);
            if own == serves { Ok(()) } else { Err(format!("{own:?}")) }
        })
        .unwrap_or_else(|error| panic!("{error}\n{}", cluster.logs()));
    }
    probe.wait_flowing(ENOUGH, PATIENCE).unwrap();
    let before = moves(cluster);
    probe.wait_flowing(LONG, PATIENCE).unwrap();
    assert_eq!(moves(cluster), before, "nobody answers what the other announces");

    cut(cluster, false);
    wait_seen(cluster, "serving");
    healed();
    probe.wait_flowing(ENOUGH, PATIENCE).unwrap();
    let window = probe.stop().unwrap().whole();
    for flow in &window.flows {
        eprintln!("=== {}: {} of {} lost, {} twice ===", flow.name, flow.lost(), flow.sent, flow.duplicates);
    }
    window
}
