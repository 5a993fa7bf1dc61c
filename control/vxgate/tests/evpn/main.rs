//! EVPN with real daemons: FRR and GoBGP as reflectors and endpoints, the kernel's VXLAN behind them. Needs root.

mod bad_peers;
mod flood;
mod frr;
mod gobgp;
mod liar;
mod stage;
mod transport;
mod watch;
