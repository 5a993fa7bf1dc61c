//! Whole frames of a netdev: `AF_PACKET` sockets (packet(7)).
//!
//! Not for the data plane: tests send frames no kernel would build, and watch what is on a wire.

use std::ffi::{CString, c_int};
use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use crate::call::{check, set_option, set_receive_buffer, socket};

/// Bytes asked for as receive buffer, so that a burst is not lost while the reader is not scheduled.
const RECEIVE_BUFFER: c_int = 32 << 20;

/// Bytes of an 802.1Q tag.
const VLAN_TAG: usize = 4;

/// Where in a frame the tag is: after the two MAC addresses.
const VLAN_OFFSET: usize = 12;

/// EtherType of an 802.1Q tag, where the kernel does not tell which it was.
const ETHERTYPE_VLAN: u16 = 0x8100;

/// Which frames of a netdev are received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// Those that arrive.
    Incoming,
    /// Those that arrive and those that the host sends.
    Both,
}

/// A raw socket on one netdev, of the network namespace in which it was opened.
///
/// What an XDP program takes is not seen, nor what AF_XDP sends: watch the far end of the link for that.
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
}

impl PacketSocket {
    /// Opens a socket on `interface` in the calling thread's network namespace. Frames for foreign MAC
    /// addresses are received only after [`set_promiscuous`](Self::set_promiscuous).
    ///
    /// # Errors
    /// `PermissionDenied` without CAP_NET_RAW; `ENODEV` if there is no such netdev; `ENETDOWN` from the first
    /// receive if it is down.
    pub fn open(interface: &str, watch: Watch) -> io::Result<Self> {
        let index = interface_index(interface)?;
        // Protocol 0: nothing is received before the socket is bound to the one netdev.
        let socket = Self { fd: socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_NONBLOCK, 0)? };
        if watch == Watch::Incoming {
            set_option(&socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1 as c_int)?;
        }
        set_option(&socket, libc::SOL_PACKET, libc::PACKET_AUXDATA, 1 as c_int)?;
        set_receive_buffer(&socket, RECEIVE_BUFFER)?;
        socket.bind(index)?;
        Ok(socket)
    }

    /// Receives frames for any MAC address, or not; ends with the socket.
    ///
    /// # Errors
    /// Those of setsockopt(2).
    pub fn set_promiscuous(&self, on: bool) -> io::Result<()> {
        let request = libc::packet_mreq {
            mr_ifindex: self.interface()?,
            mr_type: libc::PACKET_MR_PROMISC as u16,
            mr_alen: 0,
            mr_address: [0; 8],
        };
        let option = if on { libc::PACKET_ADD_MEMBERSHIP } else { libc::PACKET_DROP_MEMBERSHIP };
        set_option(self, libc::SOL_PACKET, option, request)
    }

    /// Sends one whole frame, from its destination MAC on, without checksum (FCS).
    ///
    /// # Errors
    /// Those of send(2): `EMSGSIZE` beyond the MTU, `ENETDOWN`, `ENOBUFS`.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        loop {
            // SAFETY: the pointer and length are those of `frame`, which outlives the call and is only read.
            let sent = unsafe { libc::send(self.fd.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
            match check_size(sent) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.poll(libc::POLLOUT, None)?;
                }
                other => return other.map(drop),
            }
        }
    }

    /// The next frame, waiting at most `timeout` for it: how many bytes of `buffer` it fills, or `None`.
    /// An 802.1Q tag is there as on the wire.
    ///
    /// # Errors
    /// `InvalidData` if the frame is longer than `buffer` (it is lost); else those of recvmsg(2).
    pub fn receive(&self, buffer: &mut [u8], timeout: Duration) -> io::Result<Option<usize>> {
        let deadline = Instant::now() + timeout;
        loop {
            match self.try_receive(buffer) {
                Ok(length) => return Ok(Some(length)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() || !self.poll(libc::POLLIN, Some(left))? {
                        return Ok(None);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// How many frames were lost since the last call, because nobody received them in time.
    ///
    /// # Errors
    /// Those of getsockopt(2).
    pub fn lost(&self) -> io::Result<u32> {
        // SAFETY: `tpacket_stats` is two integers; all zeros is a value of it.
        let mut stats: libc::tpacket_stats = unsafe { zeroed() };
        let mut length = size_of::<libc::tpacket_stats>() as libc::socklen_t;
        // SAFETY: the kernel writes at most `length` bytes, the size of `stats`, and the new length; both
        // outlive the call.
        check(unsafe {
            libc::getsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut stats).cast(),
                &raw mut length,
            )
        })?;
        Ok(stats.tp_drops)
    }

    fn try_receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
        let mut control = ControlBuffer([0; CONTROL]);
        // SAFETY: `msghdr` is integers and pointers; all zeros is a value of it (and its padding on musl must
        // be zero).
        let mut message: libc::msghdr = unsafe { zeroed() };
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = CONTROL as _;
        // SAFETY: `message` points at one iovec, which describes `buffer`, and at `control`, each with its
        // true length; all outlive the call, and nothing else refers to them meanwhile.
        let received = unsafe { libc::recvmsg(self.fd.as_raw_fd(), &raw mut message, libc::MSG_TRUNC) };
        let length = check_size(received)?;
        let tag = vlan_tag(&message);
        let whole = length + tag.map_or(0, |_| VLAN_TAG);
        if whole > buffer.len() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a frame of {whole} bytes does not fit a buffer of {}", buffer.len()),
            ));
        }
        if let Some(tag) = tag {
            buffer.copy_within(VLAN_OFFSET..length, VLAN_OFFSET + VLAN_TAG);
            buffer[VLAN_OFFSET..VLAN_OFFSET + VLAN_TAG].copy_from_slice(&tag);
        }
        Ok(whole)
    }

    fn bind(&self, index: c_int) -> io::Result<()> {
        // SAFETY: `sockaddr_ll` is integers; all zeros is a value of it.
        let mut address: libc::sockaddr_ll = unsafe { zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        address.sll_ifindex = index;
        // SAFETY: the pointer and length are those of `address`, which is only read.
        check(unsafe {
            libc::bind(
                self.fd.as_raw_fd(),
                (&raw const address).cast(),
                size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        })
        .map(drop)
    }

    fn interface(&self) -> io::Result<c_int> {
        // SAFETY: `sockaddr_ll` is integers; all zeros is a value of it.
        let mut address: libc::sockaddr_ll = unsafe { zeroed() };
        let mut length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: the kernel writes at most `length` bytes, the size of `address`, and the new length.
        check(unsafe { libc::getsockname(self.fd.as_raw_fd(), (&raw mut address).cast(), &raw mut length) })?;
        Ok(address.sll_ifindex)
    }

    /// Whether `events` (or an error) came within `timeout`.
    fn poll(&self, events: i16, timeout: Option<Duration>) -> io::Result<bool> {
        let mut entry = libc::pollfd { fd: self.fd.as_raw_fd(), events, revents: 0 };
        let milliseconds = timeout
            .map_or(-1, |timeout| c_int::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(c_int::MAX));
        // SAFETY: one entry, as the count says; it outlives the call.
        match check(unsafe { libc::poll(&raw mut entry, 1, milliseconds) }) {
            Ok(ready) => Ok(ready > 0),
            // The caller tries again, and finds its deadline passed or not.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(error),
        }
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Bytes for the one control message that was asked for, and some to spare.
const CONTROL: usize = 128;

/// Aligned as control messages must be (cmsg(3)).
#[repr(align(8))]
struct ControlBuffer([u8; CONTROL]);

/// The tag that the kernel took out of the frame, as it was on the wire.
fn vlan_tag(message: &libc::msghdr) -> Option<[u8; VLAN_TAG]> {
    // SAFETY: `message` was filled by recvmsg(2), so that its control buffer holds whole messages up to
    // `msg_controllen`; the macro returns null if there is not one.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !header.is_null() {
        // SAFETY: not null, hence a header inside the control buffer, which is aligned for it.
        let (level, kind, length) =
            unsafe { ((*header).cmsg_level, (*header).cmsg_type, (*header).cmsg_len as usize) };
        // SAFETY: computes a length, reads nothing.
        let expected = unsafe { libc::CMSG_LEN(size_of::<libc::tpacket_auxdata>() as u32) } as usize;
        if level == libc::SOL_PACKET && kind == libc::PACKET_AUXDATA && length >= expected {
            // SAFETY: the message holds at least a whole `tpacket_auxdata`, which is integers only; the read
            // asks for no alignment.
            let data = unsafe { libc::CMSG_DATA(header).cast::<libc::tpacket_auxdata>().read_unaligned() };
            if data.tp_status & libc::TP_STATUS_VLAN_VALID == 0 {
                return None;
            }
            let has_tpid = data.tp_status & libc::TP_STATUS_VLAN_TPID_VALID != 0;
            let [a, b] = if has_tpid { data.tp_vlan_tpid } else { ETHERTYPE_VLAN }.to_be_bytes();
            let [c, d] = data.tp_vlan_tci.to_be_bytes();
            return Some([a, b, c, d]);
        }
        // SAFETY: `header` came from this message's control buffer.
        header = unsafe { libc::CMSG_NXTHDR(message, header) };
    }
    None
}

fn interface_index(interface: &str) -> io::Result<c_int> {
    let name = CString::new(interface)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "an interface name with a zero byte"))?;
    // SAFETY: `name` is a C string that outlives the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => c_int::try_from(index).map_err(io::Error::other),
    }
}

fn check_size(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}
