//! What can go wrong with a socket, and what to do about it.

use std::io;

use rustix::io::Errno;
use thiserror::Error;

use crate::config::BindMode;
use crate::port::Queue;

/// A socket that could not be had.
#[derive(Debug, Error)]
#[error("{interface}: no AF_XDP socket on queue {queue} in {mode} mode: {cause}; {remedy}")]
pub struct PortError {
    interface: String,
    queue: u32,
    mode: BindMode,
    remedy: &'static str,
    #[source]
    cause: io::Error,
}

impl PortError {
    /// What stood against it, without what to do about it.
    pub fn summary(&self) -> String {
        format!("{} refused {}: {}", self.interface, self.mode, self.cause)
    }

    pub(crate) fn bind(queue: &Queue<'_>, mode: BindMode, cause: io::Error) -> Self {
        let remedy = match (cause.raw_os_error().map(Errno::from_raw_os_error), mode) {
            (Some(Errno::BUSY), _) => "another program has a socket there: end it, or use another port",
            (Some(Errno::PERM | Errno::ACCESS), _) => "run as root, or grant CAP_NET_RAW and CAP_NET_ADMIN",
            (Some(Errno::NOBUFS | Errno::NOMEM), _) => {
                "raise the limit of locked memory (ulimit -l unlimited)"
            }
            (Some(Errno::NODEV), _) => "the interface is gone: see `ip link`",
            (Some(Errno::NETDOWN), _) => "the interface is down: ip link set dev NAME up",
            (Some(Errno::INVAL), _) => "the interface has no such queue: see `ethtool -l`",
            (_, BindMode::ZeroCopy) => "its driver has no zero-copy: set bind = \"auto\" or \"copy\"",
            _ => "see `dmesg`",
        };
        Self { interface: queue.interface.to_owned(), queue: queue.queue, mode, remedy, cause }
    }
}
