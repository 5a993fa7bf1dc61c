//! Three gateways whose many overlays routers learn of one by one. Needs root.
//!
//! `cargo test --release -p vxgate --test many -- --ignored --nocapture` takes as many as there may be, and prints how long
//! everything took.

#[path = "../common/documented.rs"]
mod documented;
mod igp;
mod ingress;
#[path = "../common/members.rs"]
mod members;
#[path = "../common/ospf.rs"]
mod ospf;
mod routes;
#[path = "../common/stillness.rs"]
mod stillness;

use std::path::Path;
use std::time::{Duration, Instant};

use cluster::assign::ShardCount;
use lab::{Cluster, ClusterOptions, wait_until};

/// How long anything may take on a machine that others use too.
const PATIENCE: Duration = Duration::from_secs(300);

const VXGATE: &str = env!("CARGO_BIN_EXE_vxgate");
const SHARDS: u16 = 256;
