//! TUN devices (Linux, Documentation/networking/tuntap.rst): netdevs that are there for as long as somebody holds them.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;

use crate::call::check;
use crate::netdev::{Netdev, set_up};

/// A TUN device that nobody reads: what is sent to it is lost. It goes when this is dropped, or the process ends, and all
/// routes by it go with it.
#[derive(Debug)]
pub struct Tun {
    _held: File,
    index: u32,
}

impl Tun {
    /// Makes one with this name, and sets it up.
    ///
    /// # Errors
    /// `EBUSY` if somebody has one of this name; `PermissionDenied` without CAP_NET_ADMIN; `NotFound` if the kernel has none.
    pub fn create(name: &str) -> io::Result<Self> {
        let held = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
        // SAFETY: it is integers, pointers and arrays of characters; all zeros is a value of it.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        // The last character is the terminating zero.
        if name.is_empty() || name.len() >= request.ifr_name.len() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
        // SAFETY: this ioctl reads and writes one `ifreq` (tun.c), which is ours and outlives the call; the descriptor is open.
        check(unsafe { libc::ioctl(held.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })?;
        set_up(name, true)?;
        Ok(Self { index: Netdev::named(name)?.index, _held: held })
    }

    /// The netdev's index.
    pub fn index(&self) -> u32 {
        self.index
    }
}
