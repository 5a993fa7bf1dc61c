//! UDP datagrams with what a routing protocol has to know of them: the TTL, the interface, the address they were for
//! (ip(7), ipv6(7)); also beside another process that owns the port (raw(7)).

use std::ffi::{CString, c_int, c_void};
use std::io;
use std::mem::{MaybeUninit, size_of, size_of_val, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use crate::call::{check, set_option, set_receive_buffer, socket, storage};

mod control;
mod raw;

/// Bytes asked for as receive buffer: a burst waits here while the reader does something else.
const RECEIVE_BUFFER: c_int = 1 << 20;

/// A datagram as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// Who sent it.
    pub source: SocketAddr,
    /// For which address it was.
    pub destination: IpAddr,
    /// The index of the interface on which it came.
    pub interface: u32,
    /// Its TTL or hop limit.
    pub ttl: u8,
    /// What it carries.
    pub payload: &'a [u8],
}

/// Receives all datagrams of one IP version that come to a port of this host. Never blocks.
#[derive(Debug)]
pub struct Receiver {
    fd: OwnedFd,
    port: u16,
    is_raw: bool,
    is_v6: bool,
}

impl Receiver {
    /// Binds the port, on all addresses.
    ///
    /// # Errors
    /// `AddrInUse` if another process has it; those of socket(2), setsockopt(2) and bind(2).
    pub fn bind(v6: bool, port: u16) -> io::Result<Self> {
        let receiver = Self::open(v6, port, libc::SOCK_DGRAM, libc::IPPROTO_UDP)?;
        let (any, length): (IpAddr, _) = match v6 {
            false => (Ipv4Addr::UNSPECIFIED.into(), size_of::<libc::sockaddr_in>()),
            true => (Ipv6Addr::UNSPECIFIED.into(), size_of::<libc::sockaddr_in6>()),
        };
        let address = storage((any, port).into());
        // SAFETY: the pointer is to `address`, which is as long as the longest address and is only read; `length` is
        // that of its family's.
        check(unsafe {
            libc::bind(receiver.fd.as_raw_fd(), (&raw const address).cast(), length as libc::socklen_t)
        })?;
        Ok(receiver)
    }

    /// Gets a copy of what comes to a port that another process may have.
    ///
    /// # Errors
    /// `PermissionDenied` without CAP_NET_RAW; those of socket(2) and setsockopt(2).
    pub fn raw(v6: bool, port: u16) -> io::Result<Self> {
        let receiver = Self::open(v6, port, libc::SOCK_RAW, libc::IPPROTO_UDP)?;
        raw::attach_filter(&receiver.fd, v6, port)?;
        Ok(receiver)
    }

    /// Whether it gets copies beside another process.
    pub fn is_raw(&self) -> bool {
        self.is_raw
    }

    /// The next datagram, or `None` if none waits. What is longer than `buffer` is cut.
    ///
    /// # Errors
    /// `InvalidData` if this one is broken: another may wait behind it. Else those of recvmsg(2).
    pub fn receive<'a>(&self, buffer: &'a mut [u8]) -> io::Result<Option<Datagram<'a>>> {
        let (length, source, told) = match control::receive(&self.fd, buffer) {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        };
        let broken = || io::Error::new(io::ErrorKind::InvalidData, "a datagram that is none");
        let (Some(source), Some((destination, interface)), Some(ttl)) = (source, told.target, told.ttl)
        else {
            return Err(broken());
        };
        let bytes = &buffer[..length];
        let (source, payload) = match self.is_raw {
            false => (source, bytes),
            true => {
                let (port, payload) =
                    raw::payload(bytes, (source.ip(), destination), self.port).ok_or_else(broken)?;
                (SocketAddr::new(source.ip(), port), payload)
            }
        };
        Ok(Some(Datagram { source, destination, interface, ttl, payload }))
    }

    fn open(v6: bool, port: u16, kind: c_int, protocol: c_int) -> io::Result<Self> {
        let family = if v6 { libc::AF_INET6 } else { libc::AF_INET };
        let fd = socket(family, kind | libc::SOCK_NONBLOCK, protocol)?;
        let on: c_int = 1;
        if v6 {
            // A raw socket knows nothing else.
            if kind == libc::SOCK_DGRAM {
                set_option(&fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, on)?;
            }
            set_option(&fd, libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT, on)?;
            set_option(&fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, on)?;
        } else {
            set_option(&fd, libc::IPPROTO_IP, libc::IP_RECVTTL, on)?;
            set_option(&fd, libc::IPPROTO_IP, libc::IP_PKTINFO, on)?;
        }
        set_receive_buffer(&fd, RECEIVE_BUFFER)?;
        Ok(Self { fd, port, is_raw: kind == libc::SOCK_RAW, is_v6: v6 })
    }

    /// Whether it is for IPv6.
    pub fn is_v6(&self) -> bool {
        self.is_v6
    }
}

impl AsFd for Receiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Has a socket send through this interface alone, whatever the routes say.
///
/// # Errors
/// `ENODEV` if there is none; those of setsockopt(2).
pub fn bind_to_interface(socket: &impl AsFd, interface: &str) -> io::Result<()> {
    let name = CString::new(interface)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "an interface name with a zero byte"))?;
    let name = name.as_bytes_with_nul();
    // SAFETY: the pointer and length are those of `name`, which outlives the call and is only read.
    check(unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_BINDTODEVICE,
            name.as_ptr().cast::<c_void>(),
            name.len() as libc::socklen_t,
        )
    })
    .map(drop)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::{Duration, Instant};

    use super::*;

    /// Loopback's addresses, and a port of its own for each test.
    fn loopback() -> [IpAddr; 2] {
        [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]
    }

    fn wait<'a>(receiver: &Receiver, buffer: &'a mut [u8]) -> Datagram<'a> {
        let deadline = Instant::now() + Duration::from_secs(30);
        // Twice: the borrow of a datagram that is returned would last for the whole loop.
        let mut probe = [0; 4096];
        loop {
            assert!(Instant::now() < deadline, "nothing came");
            if let Some(got) = receiver.receive(&mut probe).unwrap() {
                let Datagram { source, destination, interface, ttl, payload } = got;
                let buffer = &mut buffer[..payload.len()];
                buffer.copy_from_slice(payload);
                return Datagram { source, destination, interface, ttl, payload: buffer };
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn all_is_known_of_what_comes() {
        for (address, raw) in loopback().into_iter().flat_map(|address| [(address, false), (address, true)]) {
            let owner = UdpSocket::bind((address, 0)).unwrap();
            let port = owner.local_addr().unwrap().port();
            let receiver = match raw {
                true => Receiver::raw(address.is_ipv6(), port).unwrap(),
                false => {
                    let busy = Receiver::bind(address.is_ipv6(), port).unwrap_err();
                    assert_eq!(busy.kind(), io::ErrorKind::AddrInUse);
                    drop(owner);
                    Receiver::bind(address.is_ipv6(), port).unwrap()
                }
            };
            assert_eq!((receiver.is_raw(), receiver.is_v6()), (raw, address.is_ipv6()));
            assert_eq!(receiver.receive(&mut [0; 100]).unwrap(), None);
            let sender = UdpSocket::bind((address, 0)).unwrap();
            // To another port: none of ours.
            let other = UdpSocket::bind((address, 0)).unwrap();
            sender.send_to(b"not this", other.local_addr().unwrap()).unwrap();
            bind_to_interface(&sender, "lo").unwrap();
            for (ttl, text) in [(254, "one"), (255, "")] {
                match address {
                    IpAddr::V4(_) => sender.set_ttl(ttl).unwrap(),
                    IpAddr::V6(_) => {
                        let fd = sender.as_fd().try_clone_to_owned().unwrap();
                        set_option(&fd, libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS, ttl as c_int).unwrap();
                    }
                }
                sender.send_to(text.as_bytes(), (address, port)).unwrap();
                let mut buffer = [0; 100];
                let got = wait(&receiver, &mut buffer);
                assert_eq!((got.payload, got.ttl), (text.as_bytes(), ttl as u8), "{address}, raw {raw}");
                assert_eq!((got.source, got.destination), (sender.local_addr().unwrap(), address));
                assert_eq!(got.interface, crate::netdev::Netdev::named("lo").unwrap().index);
            }
        }
    }

    #[test]
    fn there_is_no_such_interface() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(bind_to_interface(&socket, "nowhere").unwrap_err().raw_os_error(), Some(libc::ENODEV));
        assert_eq!(bind_to_interface(&socket, "a\0").unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
