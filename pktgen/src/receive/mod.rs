//! Receiving: which packets came, which did not, in what order, and how long they took.
//!
//! ```text
//! port ─ frames ─▶ find: stamp, overlay, checksums ─▶ meter ─┬▶ sequence: lost, duplicate, reordered, late
//!                                                            ├▶ latency: histogram, jitter
//!                                                            └▶ overlays, other traffic
//! ```
//!
//! All but [`socket`](self) I/O is without it: the [`Meter`] takes bytes and the time.

mod find;
mod latency;
mod meter;
mod sequence;

pub use find::{Check, Found, Other, find};
pub use latency::{Latency, LatencySummary, Percentile};
pub use meter::{
    Expected, Measured, Meter, MeterOptions, OVERLAYS, OtherCounts, OverlayCounts, OverlayOf, Slice,
    StreamCounts, Totals, UNEXPECTED_STREAMS, WINDOW,
};
pub use sequence::{Arrival, Begin, Sequence};
