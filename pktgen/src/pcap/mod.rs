//! Capture files: frames are written as pcap, and read from pcap and pcapng, whatever a file says of itself.

#[doc(hidden)]
pub mod fuzz;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub use read::{Capture, CaptureError, Packet, Skipped};
pub use write::{write_header, write_packet};
