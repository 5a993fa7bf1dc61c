//! Three gateways in mode `floating`, with real daemons and endpoints around them. Needs root.

mod back;
mod bindings;
mod cut_off;
mod discovery;
mod faults;
#[path = "../common/forged.rs"]
mod forged;
mod health;
mod ipv6;
mod keys;
mod liar;
mod liars;
mod refusals;
mod replays;
mod soak;
mod split;
#[path = "../common/split_brain.rs"]
mod split_brain;
#[path = "../common/stillness.rs"]
mod stillness;
mod stopped;
mod strangers;
#[path = "../common/trusting.rs"]
mod trusting;

use std::path::Path;
use std::time::Duration;

use cluster::assign::ShardCount;
use lab::{Cluster, ClusterOptions, Family, wait_until};
use serde_json::Value;

/// How long anything may take on a machine that others use too.
const PATIENCE: Duration = Duration::from_secs(90);

const VXGATE: &str = env!("CARGO_BIN_EXE_vxgate");
const SHARDS: u16 = 64;
const GATEWAYS: u8 = 3;
const ALL: [u8; GATEWAYS as usize] = [1, 2, 3];

/// Keys of `[cluster]`, and its tables, with shards whose VTEP addresses are of these ranges.
fn tables(vteps: &[&str]) -> String {
    Cluster::floating(SHARDS, vteps) + Cluster::SLOW_BFD
}

/// Gateways that all run, with these options.
fn start(options: ClusterOptions) -> Cluster {
    let mut cluster = Cluster::build(Path::new(VXGATE), options).unwrap();
    cluster.start_all(Family::V4, &tables(&Cluster::SHARD_VTEPS)).unwrap();
    cluster
}

/// The gateway that serves the first station's overlay, and the others.
fn victim(cluster: &Cluster, owners: &[u8]) -> (u8, Vec<u8>) {
    let victim = owners[usize::from(shard_of(cluster.stations[0].site.vni.value()))];
    (victim, ALL.into_iter().filter(|&number| number != victim).collect())
}

fn events(cluster: &Cluster, number: u8) -> Vec<Value> {
    cluster.member(number).gateway.events().unwrap()
}

fn shard_of(vni: u32) -> u16 {
    ShardCount::new(SHARDS).unwrap().shard_of(vni)
}

/// Waits until each shard has one owner of these gateways, and they have equally many: the owners.
fn wait_even(cluster: &Cluster, running: &[u8]) -> Vec<u8> {
    cluster.wait_even(running, PATIENCE).unwrap_or_else(|error| panic!("{error}\n{}", cluster.logs()))
}

/// Waits until a gateway says that it is this, and serves so many shards as will do.
fn wait_part(cluster: &Cluster, number: u8, part: &str, will_do: impl Fn(u64) -> bool) -> Value {
    let gateway = &cluster.member(number).gateway;
    wait_until(&format!("gateway {number} to be {part}"), PATIENCE, || {
        let rows = gateway.show("cluster").unwrap();
        let is_so = rows[0]["part"] == part && rows[0]["serves"].as_u64().is_some_and(&will_do);
        if is_so { Ok(rows) } else { Err(rows.to_string()) }
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", gateway.log()))
}
