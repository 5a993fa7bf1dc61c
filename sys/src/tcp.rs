//! TCP options that routing protocols need: MD5 signatures (RFC 2385), and GTSM (RFC 5082): the lowest TTL taken, and that
//! of a connection's first segment.

use std::ffi::{c_int, c_void};
use std::io;
use std::mem::zeroed;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};

use crate::call::{check, set_option, storage};

/// Longest key in bytes.
pub const MD5_KEY_MAX: usize = 80;

/// `struct tcp_md5sig` of linux/tcp.h.
#[repr(C)]
#[derive(Clone, Copy)]
struct Md5Signature {
    address: libc::sockaddr_storage,
    flags: u8,
    prefix_length: u8,
    key_length: u16,
    interface: c_int,
    key: [u8; MD5_KEY_MAX],
}

/// Signs segments to `peer` with `key`, and drops what comes from it unsigned or wrongly signed. To be set before
/// connecting; on a listening socket, for each peer.
///
/// # Errors
/// `InvalidInput` if the key is empty or longer than [`MD5_KEY_MAX`]; those of setsockopt(2): `ENOPROTOOPT` where the
/// kernel was built without it, `EINVAL` if the socket is of the other IP version.
pub fn set_md5_key(socket: &impl AsFd, peer: IpAddr, key: &[u8]) -> io::Result<()> {
    if key.is_empty() || key.len() > MD5_KEY_MAX {
        let text = format!("a TCP MD5 key has 1 to {MD5_KEY_MAX} bytes, not {}", key.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    // SAFETY: integers and arrays of integers only, for which all zeros is a value.
    let mut signature: Md5Signature = unsafe { zeroed() };
    // The port counts for nothing.
    signature.address = storage((peer, 0).into());
    signature.key_length = key.len() as u16;
    signature.key[..key.len()].copy_from_slice(key);
    set_option(socket, libc::IPPROTO_TCP, libc::TCP_MD5SIG, signature)
}

/// Drops segments that arrive with a lower TTL or hop limit.
///
/// # Errors
/// Those of setsockopt(2).
pub fn set_min_ttl(socket: &impl AsFd, peer: IpAddr, ttl: u8) -> io::Result<()> {
    match peer {
        IpAddr::V4(_) => set_option(socket, libc::IPPROTO_IP, libc::IP_MINTTL, c_int::from(ttl)),
        IpAddr::V6(_) => set_option(socket, libc::IPPROTO_IPV6, IPV6_MINHOPCOUNT, c_int::from(ttl)),
    }
}

/// Keeps the headers of the first segment of each connection that a listening socket accepts, for [`saved_syn_ttl`].
///
/// # Errors
/// Those of setsockopt(2).
pub fn save_syn(listener: &impl AsFd) -> io::Result<()> {
    let on: c_int = 1;
    set_option(listener, libc::IPPROTO_TCP, libc::TCP_SAVE_SYN, on)
}

/// TTL or hop limit with which the first segment of an accepted connection came. `None`: it was not saved, or has been
/// asked for already.
///
/// # Errors
/// Those of getsockopt(2).
pub fn saved_syn_ttl(socket: &impl AsFd) -> io::Result<Option<u8>> {
    // More than IP and TCP headers have; the kernel refuses with EINVAL what is longer, by extension headers of IPv6.
    let mut headers = [0u8; 512];
    let mut length = headers.len() as libc::socklen_t;
    // SAFETY: the pointer and length are those of `headers`, which is ours alone and outlives the call; the kernel writes
    // at most `length` bytes. The descriptor is borrowed, hence open.
    check(unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_SAVED_SYN,
            headers.as_mut_ptr().cast::<c_void>(),
            &raw mut length,
        )
    })?;
    // From the network header on: octet 8 is the TTL of IPv4 (RFC 791 §3.1), octet 7 the hop limit of IPv6 (RFC 8200 §3).
    Ok(match headers.get(..length as usize) {
        Some([first, rest @ ..]) if first >> 4 == 4 => rest.get(7).copied(),
        Some([first, rest @ ..]) if first >> 4 == 6 => rest.get(6).copied(),
        _ => None,
    })
}

/// linux/in6.h.
const IPV6_MINHOPCOUNT: c_int = 73;

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn the_option_has_the_kernels_layout() {
        // linux/tcp.h: 128 bytes of address, four of flags and length, four of interface, 80 of key.
        assert_eq!(size_of::<Md5Signature>(), 128 + 8 + MD5_KEY_MAX);
    }

    #[test]
    fn keys_have_1_to_80_bytes() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = "127.0.0.2".parse().unwrap();
        for key in [&[][..], &[b'x'; 81]] {
            assert_eq!(set_md5_key(&socket, peer, key).unwrap_err().kind(), ErrorKind::InvalidInput);
        }
        set_md5_key(&socket, peer, &[b'x'; 80]).unwrap();
    }

    #[test]
    fn who_does_not_sign_is_not_heard() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let address = listener.local_addr().unwrap();
            set_md5_key(&listener, address.ip(), b"secret").unwrap();
            let timeout = std::time::Duration::from_millis(300);
            let error = TcpStream::connect_timeout(&address, timeout).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut, "{address}");
        }
    }

    #[test]
    fn how_far_a_connection_came_is_known() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let address = listener.local_addr().unwrap();
            let _silent = TcpStream::connect(address).unwrap();
            assert_eq!(saved_syn_ttl(&listener.accept().unwrap().0).unwrap(), None, "{address}");
            save_syn(&listener).unwrap();
            let _near = TcpStream::connect(address).unwrap();
            let accepted = listener.accept().unwrap().0;
            // Loopback's TTL is 64.
            assert_eq!(saved_syn_ttl(&accepted).unwrap(), Some(64), "{address}");
            assert_eq!(saved_syn_ttl(&accepted).unwrap(), None, "{address}");
        }
    }

    #[test]
    fn what_came_too_far_is_not_heard() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(address).unwrap();
            let address = listener.local_addr().unwrap();
            let mut near = TcpStream::connect(address).unwrap();
            let (mut far, _) = listener.accept().unwrap();
            set_min_ttl(&far, address.ip(), 1).unwrap();
            near.write_all(b"x").unwrap();
            let mut byte = [0];
            far.read_exact(&mut byte).unwrap();
            // Loopback's TTL is 64.
            set_min_ttl(&far, address.ip(), 255).unwrap();
            near.write_all(b"y").unwrap();
            far.set_read_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
            assert_eq!(far.read_exact(&mut byte).unwrap_err().kind(), ErrorKind::WouldBlock, "{address}");
        }
    }
}
