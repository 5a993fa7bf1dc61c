//! What the kernel says of a netdev, and setting it up and down: ioctls of netdevice(7), in the calling thread's network namespace.

mod counters;

use std::io;
use std::os::fd::AsRawFd;

use crate::call::{any_socket, check};

pub use counters::{CounterTable, Counters};

/// A netdev as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Netdev {
    /// Its index.
    pub index: u32,
    /// Bytes of the longest packet, without the Ethernet header.
    pub mtu: u32,
    /// Its MAC address; zeros if it has none.
    pub mac: [u8; 6],
    /// Whether it is up, and its link as well.
    pub running: bool,
}

impl Netdev {
    /// The netdev with this name.
    ///
    /// # Errors
    /// `ENODEV` if there is none.
    pub fn named(interface: &str) -> io::Result<Self> {
        let socket = any_socket()?;
        let ask = |question| ask(&socket, interface, question);
        let answers = [
            ask(libc::SIOCGIFINDEX)?,
            ask(libc::SIOCGIFMTU)?,
            ask(libc::SIOCGIFHWADDR)?,
            ask(libc::SIOCGIFFLAGS)?,
        ];
        // SAFETY: each answer is read as the field that the kernel fills in for its question; all are integers, for
        // which any bytes are a value.
        let (index, mtu, mac, flags) = unsafe {
            let [index, mtu, mac, flags] = answers;
            (index.ifru_ifindex, mtu.ifru_mtu, mac.ifru_hwaddr.sa_data, flags.ifru_flags)
        };
        let running = libc::IFF_UP | libc::IFF_RUNNING;
        Ok(Self {
            index: index.cast_unsigned(),
            mtu: mtu.cast_unsigned(),
            mac: std::array::from_fn(|at| mac[at] as u8),
            running: i32::from(flags) & running == running,
        })
    }
}

/// Sets the netdev with this name up or down.
///
/// # Errors
/// `ENODEV` if there is none; `PermissionDenied` without CAP_NET_ADMIN.
pub fn set_up(interface: &str, up: bool) -> io::Result<()> {
    let socket = any_socket()?;
    let mut value = ask(&socket, interface, libc::SIOCGIFFLAGS)?;
    // SAFETY: the field that the kernel fills in for this question, an integer.
    let flags = i32::from(unsafe { value.ifru_flags });
    let flags = if up { flags | libc::IFF_UP } else { flags & !libc::IFF_UP };
    value.ifru_flags = flags as libc::c_short;
    call(&socket, interface, libc::SIOCSIFFLAGS, value).map(drop)
}

/// Makes a TUN device of this name, with packets as they are, which is there while `held`, an open `/dev/net/tun`, is.
pub(crate) fn attach_tun(held: &impl AsRawFd, interface: &str) -> io::Result<()> {
    // SAFETY: it is integers and pointers; all zeros is a value of it.
    let mut value: libc::__c_anonymous_ifr_ifru = unsafe { std::mem::zeroed() };
    // The last flag is the highest bit of a `short`.
    value.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_TUN_EXCL) as libc::c_short;
    call(held, interface, libc::TUNSETIFF, value).map(drop)
}

/// Asks one question about a netdev.
fn ask(
    socket: &impl AsRawFd,
    interface: &str,
    question: libc::c_ulong,
) -> io::Result<libc::__c_anonymous_ifr_ifru> {
    // SAFETY: it is integers and pointers; all zeros is a value of it.
    call(socket, interface, question, unsafe { std::mem::zeroed() })
}

/// Private, and called with those ioctls that take an `ifreq` by value and write into it alone.
fn call(
    socket: &impl AsRawFd,
    interface: &str,
    code: libc::c_ulong,
    value: libc::__c_anonymous_ifr_ifru,
) -> io::Result<libc::__c_anonymous_ifr_ifru> {
    // SAFETY: `ifreq` is integers, a name and pointers; all zeros is a value of it.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_ifru = value;
    // The last byte stays zero.
    if interface.is_empty() || interface.len() >= request.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from as libc::c_char;
    }
    // SAFETY: `request` is what these ioctls take, and outlives the call; they write into it alone.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), code as _, &raw mut request) })?;
    Ok(request.ifr_ifru)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_known() {
        let lo = Netdev::named("lo").unwrap();
        assert_eq!((lo.index, lo.mac), (1, [0; 6]));
        assert!(lo.mtu >= 1500 && lo.running, "{lo:?}");
    }

    #[test]
    fn names_that_cannot_be() {
        for name in ["", "no-such-netdev", "a-name-of-more-than-sixteen-bytes"] {
            assert_eq!(Netdev::named(name).unwrap_err().raw_os_error(), Some(libc::ENODEV), "{name:?}");
            assert_eq!(set_up(name, false).unwrap_err().raw_os_error(), Some(libc::ENODEV), "{name:?}");
        }
    }
}
