//! EVPN with real daemons: FRR and GoBGP as reflectors and endpoints, the kernel's VXLAN behind them. Needs root.

mod frr;
mod gobgp;
mod stage;
