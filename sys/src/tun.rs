//! TUN devices (Linux, Documentation/networking/tuntap.rst): netdevs that are there for as long as somebody holds them.

use std::fs::{File, OpenOptions};
use std::io;

use crate::netdev::{Netdev, attach_tun};

/// A TUN device that nobody reads: the kernel keeps some hundred packets that are sent to it, and counts the others as dropped. It
/// goes when this is dropped or the process ends, however it ends, and all routes to it go with it.
#[derive(Debug)]
pub struct Tun {
    _held: File,
    index: u32,
}

impl Tun {
    /// Makes one with this name in the calling thread's network namespace. It is down; set up, it has carrier.
    ///
    /// # Errors
    /// `ResourceBusy` if there is a netdev of this name, `NotFound` if the kernel has no TUN devices, `PermissionDenied` without
    /// CAP_NET_ADMIN.
    pub fn create(name: &str) -> io::Result<Self> {
        let held = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
        attach_tun(&held, name)?;
        Ok(Self { _held: held, index: Netdev::named(name)?.index })
    }

    /// The netdev's index.
    pub fn index(&self) -> u32 {
        self.index
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_cannot_be() {
        for name in ["", "a-name-of-more-than-sixteen-bytes"] {
            assert!(Tun::create(name).is_err(), "{name:?}");
        }
    }
}
