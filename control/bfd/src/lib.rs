//! Bidirectional Forwarding Detection: whether a peer is reached, known within some tens of milliseconds (RFC 5880;
//! over one hop RFC 5881, over several RFC 5883). Without I/O: packets and the time come in, packets and news go out.
//!
//! Asynchronous mode, IPv4 and IPv6, Meticulous Keyed SHA1 or no authentication; no echo, no demand mode of our own
//! (a peer's is honoured).
//!
//! ```text
//! received ─▶ packet, auth ─▶ Engine: by discriminator or place ─▶ Session ─▶ poll: Send, Change, Stolen
//!                                    handle_timeout ──────────────────┘
//! ```

pub mod auth;
pub mod packet;

mod config;
mod discard;
mod engine;
mod event;
#[doc(hidden)]
pub mod fuzz;
mod session;

pub use auth::{Key, MAX_SECRET};
pub use config::{ConfigError, MAX_INTERVAL, MAX_SESSIONS, MIN_INTERVAL, Path, SessionConfig, Timing};
pub use discard::{Discard, Discards};
pub use engine::{Arrival, Engine, Stolen, TOLERANCE};
pub use event::{Cause, Change, Output, Payload, SessionId, Standing};
pub use packet::{Diagnostic, Packet, State};
pub use session::SessionView;

/// UDP port of single-hop sessions (RFC 5881 §4).
pub const SINGLE_HOP_PORT: u16 = 3784;

/// UDP port of multihop sessions (RFC 5883 §5).
pub const MULTI_HOP_PORT: u16 = 4784;

/// Ports from which packets are sent (RFC 5881 §4).
pub const SOURCE_PORTS: std::ops::RangeInclusive<u16> = 49152..=65535;
