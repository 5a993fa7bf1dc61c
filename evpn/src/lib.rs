//! BGP for a VXLAN gateway: sessions, RIBs, EVPN and unicast routes.
//!
//! All protocol logic is sans-I/O. A [`Speaker`] takes bytes and the time, and gives bytes, timers, [`Change`]s of
//! what the network says and [`Event`]s for the operator; it has no socket and no clock. [`net`] is the edge that
//! connects it to TCP.
//!
//! ```text
//!             bytes, time                                    Change: stations, flood lists, prefixes
//!  net ──▶ session ──▶ update ──▶ rib ──▶ overlay (EVPN) ──▶ Event: sessions, refused routes
//!      ◀── session ◀── out ◀── reach, unreach, join_flood, announce_prefix
//! ```
//!
//! Messages are coded by `rustbgpd-wire` and one connection's state machine is `rustbgpd-fsm`'s; collisions, retries,
//! RIBs, decision and EVPN are here. This is no router: what is learned is never passed on to another peer.

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod attributes;
mod config;
mod event;
mod family;
#[doc(hidden)]
pub mod fuzz;
pub mod net;
mod out;
mod overlay;
mod rib;
mod segment;
mod session;
mod speaker;
mod update;

pub use attributes::Attributes;
pub use config::{ConfigError, Local, PeerConfig, Transport};
pub use event::{Change, DownReason, Event, PeerId, Rejection};
pub use family::Family;
pub use out::{PrefixAttributes, Reach};
pub use overlay::duplicates::DuplicatePolicy;
pub use overlay::targets::{RouteTarget, RouteTargets};
pub use overlay::{Identity, StationView};
pub use rib::decision::{Step, Why};
pub use rib::show::{PathView, RouteView};
pub use segment::EthernetSegment;
pub use session::{ConnectionId, SessionState};
pub use speaker::{Output, PeerView, Speaker};
