//! Packet generator and receiver: sends test packets that carry a stamp, and tells what became of them.

pub mod attach;
pub mod build;
pub mod clock;
mod drops;
pub mod impair;
pub mod pcap;
pub mod profile;
pub mod receive;
pub mod report;
pub mod run;
pub mod send;
pub mod stamp;
#[cfg(test)]
mod testing;
pub mod view;
