//! Safe wrappers of what the standard library lacks.
//!
//! One module a facility. Everything unsafe is inside, each block with its proof; what is public is safe to
//! call with any arguments.

mod call;
pub mod datagram;
pub mod ethtool;
pub mod hold;
pub mod netdev;
pub mod packet;
pub mod pages;
pub mod prefetch;
pub mod scheduling;
pub mod tcp;
pub mod tun;
pub mod words;
