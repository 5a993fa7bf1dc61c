//! Packet headers: checked views over bytes, and plain values that parse and emit.
mod addr;
pub use addr::{MacAddr, ParseMacError, Vni};
