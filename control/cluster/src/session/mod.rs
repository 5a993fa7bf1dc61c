//! The session of two gateways, without its sockets and its encryption: frames, what each says of itself, whether the
//! two may be peers, and which of their connections is the session.
//!
//! ```text
//!  connecting          accepting        (TLS 1.3, both certificates pinned)
//!      ├────── Hello ─────▶│
//!      │◀───── Hello ──────┤            each judges: ids, cluster, version, settings
//!      │  Open, by the one with the lower id, on one connection of the two that there may be
//!      │◀─ Ping, Message … ▶│
//! ```

pub mod frame;
#[doc(hidden)]
pub mod fuzz;
pub mod hello;
pub mod judge;
