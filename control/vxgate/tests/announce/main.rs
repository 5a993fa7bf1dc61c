//! Three gateways in mode `announce`, with FRR as reflector and endpoint around them. Needs root.

mod faults;
#[path = "../common/members.rs"]
mod members;
mod order;
mod split;
#[path = "../common/split_brain.rs"]
mod split_brain;

use std::path::Path;
use std::time::Duration;

use cluster::assign::Key;
use lab::{Cluster, ClusterOptions, Family, wait_until};
use serde_json::Value;

use crate::members::members;

/// How long anything may take on a machine that others use too.
const PATIENCE: Duration = Duration::from_secs(90);

const VXGATE: &str = env!("CARGO_BIN_EXE_vxgate");
const GATEWAYS: u8 = 3;
const OVERLAYS: u32 = 100;
const ALL: [u8; 3] = [1, 2, 3];

/// Slow BFD, also with the reflector: here it is not about time, and the machine may be busy.
fn keys() -> String {
    [Cluster::ANNOUNCE, Cluster::SLOW_BFD].concat()
}

/// All gateways, at work.
fn stage() -> Cluster {
    let options = ClusterOptions {
        gateways: GATEWAYS,
        overlays: OVERLAYS,
        probed: 4,
        bfd: Some(Duration::from_millis(300)),
        ..ClusterOptions::default()
    };
    let mut cluster = Cluster::build(Path::new(VXGATE), options).unwrap();
    cluster.start_all(Family::V4, &keys()).unwrap();
    wait_owned(&cluster, &ALL);
    cluster
}

/// The gateway that is to serve each overlay, of those that do.
fn winners(running: &[u8]) -> Vec<u8> {
    let members = members(running);
    (1..=OVERLAYS).map(|vni| members.winner(Key::overlay(vni)).unwrap().value() as u8).collect()
}

/// Waits until each overlay has one owner of these gateways, its winner, and all of them say so.
fn wait_owned(cluster: &Cluster, running: &[u8]) {
    let outcome = wait_until(&format!("overlays to be with {running:?}"), PATIENCE, || {
        let owners = cluster.owners(running)?;
        if owners == winners(running) { Ok(()) } else { Err(format!("{owners:?}")) }
    });
    outcome.unwrap_or_else(|error| panic!("{error}\n{}", cluster.logs()))
}

fn events(cluster: &Cluster, number: u8) -> Vec<Value> {
    cluster.member(number).gateway.events().unwrap()
}
