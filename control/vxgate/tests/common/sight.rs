//! Two gateways that live and lose sight of each other.

use std::time::Duration;

use lab::{Cluster, Family, Topology, wait_until};
use serde_json::Value;

/// Both see each other dead within this, or alive.
const PATIENCE: Duration = Duration::from_secs(90);

/// Cuts two gateways from each other, by neighbour entries that lead nowhere, or lets them see each other again.
pub(crate) fn cut(cluster: &Cluster, [one, other]: [u8; 2], cut: bool) {
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

/// Waits until a gateway takes another for this.
pub(crate) fn wait_seen(cluster: &Cluster, number: u8, of: u8, part: &str) {
    wait_until(&format!("gateway {number} to find {of} {part}"), PATIENCE, || {
        let rows = shown(cluster, number);
        let row = rows.as_array().unwrap().iter().find(|row| row["id"] == of).unwrap();
        if row["part"] == part { Ok(()) } else { Err(rows.to_string()) }
    })
    .unwrap();
}

/// How often groups have moved at a gateway.
pub(crate) fn moves(cluster: &Cluster, number: u8) -> usize {
    let events = cluster.member(number).gateway.events().unwrap();
    events.iter().filter(|event| event["event"] == "cluster-moved").count()
}
