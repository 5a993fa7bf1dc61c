//! Ports: AF_XDP sockets, their frame memory, and the XDP program that feeds them.
//!
//! A worker owns one [`Umem`] and a [`Port`] for each queue that it serves. A frame that came in at one port goes out
//! at another in the same memory, its start moved either way, without a copy. Ports in [`memory`] have the same rings
//! with the other ends in this process, so that loops are tested without a kernel.
//!
//! This crate and `sys` are the only ones with unsafe code. Here it is in `mapping`, `umem`, `ring`, `socket` (one
//! option), `port` (taking frames back from rings) and `xdp::bpf`.

mod config;
mod error;
mod mapping;
pub mod memory;
mod port;
mod ring;
mod socket;
mod umem;
mod wait;
pub mod xdp;

pub use config::{BindMode, BindRequest, Polling, XdpMode, XdpRequest};
pub use error::PortError;
pub use port::{Opened, Port, Queue, SocketStatistics, StatisticsReader, frames_for, open};
pub use socket::RING_SIZE;
pub use umem::{BATCH, Batch, ChunkSize, Frame, FramePool, HEADROOM, MAX_FRAME, MAX_MTU, Umem};
pub use wait::{Idle, Waker, wait};
