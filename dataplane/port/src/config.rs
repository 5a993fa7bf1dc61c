//! What may be asked of a port, and what was got.

use std::fmt;

/// How the XDP program is to be attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XdpRequest {
    /// In the driver where it can, else in the generic hook.
    #[default]
    Auto,
    /// In the driver, or fail.
    Native,
    /// In the generic hook, or fail.
    Generic,
}

/// How sockets are to be bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BindRequest {
    /// Zero-copy where all ports of a worker can, else copy for all.
    #[default]
    Auto,
    /// Copy, or fail.
    Copy,
    /// Zero-copy, or fail.
    ZeroCopy,
}

/// What a worker does when there is nothing to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Polling {
    /// Polls its rings without a pause.
    #[default]
    Busy,
    /// Polls a little longer, then sleeps until a frame comes; wakes every 4 ms.
    Adaptive,
}

impl fmt::Display for Polling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Busy => "busy",
            Self::Adaptive => "adaptive",
        })
    }
}

/// Where the XDP program was attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    /// In the driver.
    Native,
    /// In the generic hook, after the kernel has built a socket buffer.
    Generic,
}

/// How a socket was bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindMode {
    /// The kernel copies between its buffers and ours.
    Copy,
    /// The NIC reads and writes our memory.
    ZeroCopy,
}

impl fmt::Display for XdpMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
        })
    }
}

impl fmt::Display for BindMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Copy => "copy",
            Self::ZeroCopy => "zero-copy",
        })
    }
}
