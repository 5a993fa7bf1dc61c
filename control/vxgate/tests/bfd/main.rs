//! BFD with a real daemon: FRR's bfdd, and bgpd behind it. Needs root.

mod bgp;
mod sessions;
mod stage;
