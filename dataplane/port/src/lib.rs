//! Ports: AF_XDP sockets, their frame memory, and the XDP program that feeds them.
mod config;
pub use config::{BindMode, BindRequest, Idle, XdpMode, XdpRequest};
