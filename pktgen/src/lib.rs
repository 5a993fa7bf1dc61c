//! Packet generator and receiver: sends test packets that carry a stamp, and tells what became of them.

pub mod clock;
pub mod receive;
pub mod stamp;
#[cfg(test)]
mod testing;
