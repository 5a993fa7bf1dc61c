//! The data plane: tables, the packet pipeline, workers and the slow path.
mod api;
pub use api::*;
