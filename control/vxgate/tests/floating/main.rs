//! Three gateways in mode `floating`, with real daemons and endpoints around them. Needs root.

mod back;
mod bindings;
mod discovery;
mod faults;
mod health;
mod ipv6;
mod keys;
mod refusals;
mod soak;

use std::time::Duration;

use cluster::assign::ShardCount;
use lab::Cluster;

/// How long anything may take on a machine that others use too.
const PATIENCE: Duration = Duration::from_secs(90);

const VXGATE: &str = env!("CARGO_BIN_EXE_vxgate");
const SHARDS: u16 = 64;
const GATEWAYS: u8 = 3;

/// Keys of `[cluster]`, and its tables, with shards whose VTEP addresses are of these ranges. Slow BFD: here it is not about
/// time, and the machine may be busy.
fn tables(vteps: &[&str]) -> String {
    format!(
        "mode = \"floating\"\n\n[cluster.floating]\nshards = {SHARDS}\nvtep = {vteps:?}\nuplink = {:?}\n\n\
         [cluster.bfd]\ninterval = 200\nmultiplier = 5\n",
        Cluster::SHARD_UPLINKS,
    )
}

fn shard_of(vni: u32) -> u16 {
    ShardCount::new(SHARDS).unwrap().shard_of(vni)
}

/// Waits until each shard has one owner of these gateways, and they have equally many: the owners.
fn wait_even(cluster: &Cluster, running: &[u8]) -> Vec<u8> {
    cluster.wait_even(running, PATIENCE).unwrap_or_else(|error| {
        let logs = cluster.gateways.iter().map(|member| member.gateway.log()).collect::<Vec<_>>();
        panic!("{error}\n{}", logs.join("\n\n"))
    })
}
