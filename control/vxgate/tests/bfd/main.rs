//! BFD with a real daemon: FRR's bfdd, and bgpd behind it. Needs root.

mod bgp;
#[path = "../common/forged.rs"]
mod forged;
mod sessions;
mod stage;
