//! Packet generator and receiver: sends test packets that carry a stamp, and tells what became of them.

pub mod stamp;
