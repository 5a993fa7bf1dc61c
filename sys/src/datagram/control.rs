//! recvmsg(2), and what the kernel tells beside a datagram (cmsg(3)).

use super::*;

/// What is told of a datagram.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told {
    pub(super) ttl: Option<u8>,
    /// The address it was for, and the index of the interface.
    pub(super) target: Option<(IpAddr, u32)>,
}

/// Bytes for the control messages that were asked for (64 for IPv6), and some to spare.
const CONTROL: usize = 256;

/// Aligned as control messages must be (cmsg(3)).
#[repr(align(8))]
struct ControlBuffer([u8; CONTROL]);

/// How many bytes of `buffer` were filled, by whom, and what the kernel tells.
pub(super) fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> io::Result<(usize, Option<SocketAddr>, Told)> {
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut control = ControlBuffer([0; CONTROL]);
    // SAFETY: integers and arrays of integers only, for which all zeros is a value.
    let mut source: libc::sockaddr_storage = unsafe { zeroed() };
    // SAFETY: `msghdr` is integers and pointers; all zeros is a value of it.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_name = (&raw mut source).cast();
    message.msg_namelen = size_of_val(&source) as libc::socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = CONTROL as _;
    // SAFETY: `message` points at one iovec, which describes `buffer`, at `control` and at `source`, each with its true
    // length; all outlive the call, and nothing else refers to them meanwhile.
    let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0) };
    let length = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
    Ok((length.min(buffer.len()), address(&source), told(&message)))
}

/// The address, if it is one of IPv4 or IPv6.
fn address(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match c_int::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the kernel filled in an address of this family; the storage is large enough and aligned for it.
            let v4 = unsafe { &*(&raw const *storage).cast::<libc::sockaddr_in>() };
            let address = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
            Some((address, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6 = unsafe { &*(&raw const *storage).cast::<libc::sockaddr_in6>() };
            let address = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            Some((address, u16::from_be(v6.sin6_port)).into())
        }
        _ => None,
    }
}

fn told(message: &libc::msghdr) -> Told {
    let mut told = Told::default();
    // SAFETY: `message` was filled by recvmsg(2), so that its control buffer holds whole messages up to
    // `msg_controllen`; the macro returns null if there is not one.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !header.is_null() {
        // SAFETY: not null, hence a header inside the control buffer, which is aligned for it.
        let (level, kind) = unsafe { ((*header).cmsg_level, (*header).cmsg_type) };
        match (level, kind) {
            (libc::IPPROTO_IP, libc::IP_TTL) | (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => {
                // SAFETY: `header` is of this message.
                let ttl = unsafe { data::<c_int>(header) };
                told.ttl = ttl.and_then(|ttl| u8::try_from(ttl).ok());
            }
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // SAFETY: as above.
                let info = unsafe { data::<libc::in_pktinfo>(header) };
                told.target = info.map(|info| {
                    let address = Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes());
                    (address.into(), info.ipi_ifindex.cast_unsigned())
                });
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                // SAFETY: as above.
                let info = unsafe { data::<libc::in6_pktinfo>(header) };
                told.target =
                    info.map(|info| (Ipv6Addr::from(info.ipi6_addr.s6_addr).into(), info.ipi6_ifindex));
            }
            _ => {}
        }
        // SAFETY: `header` came from this message's control buffer.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    told
}

/// What a control message holds, if it is long enough.
///
/// # Safety
/// `header` points at a whole message in a control buffer, and any bytes are a value of `T`.
unsafe fn data<T: Copy>(header: *const libc::cmsghdr) -> Option<T> {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: computes a length, reads nothing.
    let needed = unsafe { libc::CMSG_LEN(size_of::<T>() as u32) } as usize;
    // SAFETY: the caller says that `header` is one.
    if unsafe { (*header).cmsg_len } < needed {
        return None;
    }
    // SAFETY: the message holds at least the bytes of a `T`; they are copied to a place of their own, and any bytes are
    // a value of it, as the caller says.
    unsafe {
        let from = libc::CMSG_DATA(header).cast::<u8>();
        std::ptr::copy_nonoverlapping(from, value.as_mut_ptr().cast::<u8>(), size_of::<T>());
        Some(value.assume_init())
    }
}
