//! What the benches share: a gateway with many overlays and stations, and frames for it.

pub mod frames;
pub mod population;
