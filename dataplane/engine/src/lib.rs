//! The data plane: tables, the packet pipeline, workers and the slow path.
//!
//! A worker takes frames from its ports through the pipeline, reading tables without locks; the slow-path thread is the
//! tables' only writer and answers what stations ask of the router; control speaks to it by [`Update`]s and hears
//! [`Event`]s. Nothing here knows BGP, netlink or tokio.

mod absence;
mod api;
mod counters;
mod engine;
mod limit;
pub mod offline;
mod pipeline;
mod police;
mod slowpath;
mod tables;
mod tap;
#[cfg(test)]
mod testing;
mod worker;

pub use api::*;
pub use counters::{Counter, Outcome, OverlayTraffic, Reason, Traffic};
pub use engine::{Engine, OverlayStatus, PortStatus, PuntCount, StartError, WorkerStatus};
pub use slowpath::Deed;
pub use tables::TablesError;
pub use tables::rules::MAX_RULES;
pub use tap::{
    Direction, Explanation, MAX_TAPS, ProtocolFilter, Step, Tap, TapBusy, TapFilter, TapStatus, Tapped,
};
