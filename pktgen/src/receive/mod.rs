//! Receiving: which packets came, which did not, in what order, and how long they took.
//!
//! ```text
//! port ─ frames ─▶ find: stamp, overlay, checksums ─▶ meter ─┬▶ sequence: lost, duplicate, reordered, late
//!                                                            ├▶ latency: histogram, jitter
//!                                                            └▶ overlays, other traffic
//! ```
//!
//! The [`Meter`] knows no ports: it takes bytes and the time. An [`Intake`] feeds it from ports, of netdevs or in memory;
//! a [`Receiver`] is a thread that does so until it is told to stop.

mod find;
#[doc(hidden)]
pub mod fuzz;
mod intake;
mod latency;
mod meter;
mod receiver;
mod sequence;

pub use find::{Check, Found, Other, find};
pub use intake::Intake;
pub use latency::{Latency, LatencySummary, Percentile};
pub use meter::{
    Expected, Measured, Meter, MeterOptions, OVERLAYS, OtherCounts, OverlayCounts, OverlayOf, Slice,
    StreamCounts, Totals, UNEXPECTED_STREAMS, WINDOW,
};
pub use receiver::{ReceiveError, Receiver, ReceiverOptions, TimedSlice};
pub use sequence::{Arrival, Begin, Sequence};
