//! What the kernel says of a netdev (netdevice(7)).

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// A netdev as it was when it was asked for, in the calling thread's network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Netdev {
    /// Its number.
    pub index: u32,
    /// Most bytes of a packet, without Ethernet header.
    pub mtu: u32,
    /// Its MAC address.
    pub mac: [u8; 6],
    /// Whether it is set up.
    pub is_up: bool,
}

impl Netdev {
    /// Looks the netdev up.
    ///
    /// # Errors
    /// `ENODEV` if there is none of this name; those of socket(2).
    pub fn of(interface: &str) -> io::Result<Self> {
        // SAFETY: socket(2) takes no pointers.
        let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel just gave us this descriptor, and nobody else knows of it.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        let ask = |question| ask(&socket, interface, question);
        // SAFETY: each question fills the field that is read, and all of them are integers.
        unsafe {
            let index = ask(libc::SIOCGIFINDEX)?.ifr_ifru.ifru_ifindex;
            let mtu = ask(libc::SIOCGIFMTU)?.ifr_ifru.ifru_mtu;
            let flags = ask(libc::SIOCGIFFLAGS)?.ifr_ifru.ifru_flags;
            let hardware = ask(libc::SIOCGIFHWADDR)?.ifr_ifru.ifru_hwaddr.sa_data;
            let mut mac = [0; 6];
            for (to, from) in mac.iter_mut().zip(hardware) {
                *to = from as u8;
            }
            let is_up = i32::from(flags) & libc::IFF_UP != 0;
            Ok(Self { index: index as u32, mtu: mtu as u32, mac, is_up })
        }
    }
}

fn ask(socket: &OwnedFd, interface: &str, question: libc::Ioctl) -> io::Result<libc::ifreq> {
    // SAFETY: `ifreq` is integers, a name and pointers; all zeros is a value of it.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero.
    if interface.len() >= request.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from as libc::c_char;
    }
    // SAFETY: `request` is what the four questions take, and outlives the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), question, &raw mut request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(request) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_the_first() {
        let loopback = Netdev::of("lo").unwrap();
        assert_eq!((loopback.index, loopback.mac), (1, [0; 6]));
        assert!(loopback.mtu >= 1500);
    }

    #[test]
    fn no_such_netdev() {
        for name in ["nosuch0", "", "a name that is far too long"] {
            assert_eq!(Netdev::of(name).unwrap_err().raw_os_error(), Some(libc::ENODEV), "{name}");
        }
    }
}
