//! AF_XDP sockets: made, bound to a queue of a netdev, and their four rings mapped.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::xdp::{
    SocketAddrXdp, SocketAddrXdpFlags, SocketAddrXdpWithSharedUmem, XDP_PGOFF_RX_RING, XDP_PGOFF_TX_RING,
    XDP_UMEM_PGOFF_COMPLETION_RING, XDP_UMEM_PGOFF_FILL_RING, XdpOptionsFlags, XdpStatistics, XdpUmemReg,
    XdpUmemRegFlags,
};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

use crate::config::BindMode;
use crate::ring::{Consumer, Descriptor, Producer};
use crate::umem::Umem;

/// Entries of each ring. Also the budget of a port: as many frames may wait to be received into, and as many may be
/// on their way out, so that a stalled transmit side cannot take frames from anybody's receive side.
pub const RING_SIZE: u32 = 2048;

/// `XDP_MAX_TX_SKB_BUDGET`: frames that one `sendto` moves in copy mode (32 by default). Linux 6.18 and later.
const XDP_MAX_TX_SKB_BUDGET: i32 = 9;
/// Frames in flight are charged to the send buffer in copy mode; it must hold a full ring of the largest.
const SEND_BUFFER: usize = 64 << 20;
/// A queue stays busy for 10 to 20 ms after its last socket closed.
const BUSY_PATIENCE: Duration = Duration::from_millis(500);

/// A bound socket.
pub(crate) struct Socket {
    fd: OwnedFd,
}

/// The user's ends of a socket's rings.
pub(crate) struct Rings {
    pub(crate) fill: Producer<u64>,
    pub(crate) completion: Consumer<u64>,
    pub(crate) rx: Consumer<Descriptor>,
    pub(crate) tx: Producer<Descriptor>,
}

impl Socket {
    /// Makes a socket on `queue` of `ifindex`. The first of a worker registers the memory and decides the mode; the
    /// others name it as `first` and share both.
    pub(crate) fn open(
        umem: &Umem,
        ifindex: u32,
        queue: u32,
        mode: BindMode,
        first: Option<&Socket>,
    ) -> io::Result<(Self, Rings)> {
        let fd = rustix::net::socket_with(AddressFamily::XDP, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        if first.is_none() {
            sockopt::set_xdp_umem_reg(
                &fd,
                XdpUmemReg {
                    addr: umem.memory().start().as_ptr() as u64,
                    len: umem.memory().bytes() as u64,
                    chunk_size: umem.chunk_size().bytes() as u32,
                    headroom: 0,
                    flags: XdpUmemRegFlags::empty(),
                    tx_metadata_len: 0,
                },
            )?;
        }
        sockopt::set_xdp_umem_fill_ring_size(&fd, RING_SIZE)?;
        sockopt::set_xdp_umem_completion_ring_size(&fd, RING_SIZE)?;
        sockopt::set_xdp_rx_ring_size(&fd, RING_SIZE)?;
        sockopt::set_xdp_tx_ring_size(&fd, RING_SIZE)?;
        let layout = sockopt::xdp_mmap_offsets(&fd)?;
        let at = fd.as_fd();
        let rings = Rings {
            fill: Producer::of_kernel(at, XDP_UMEM_PGOFF_FILL_RING, &layout.fr, RING_SIZE)?,
            completion: Consumer::of_kernel(at, XDP_UMEM_PGOFF_COMPLETION_RING, &layout.cr, RING_SIZE)?,
            rx: Consumer::of_kernel(at, XDP_PGOFF_RX_RING, &layout.rx, RING_SIZE)?,
            tx: Producer::of_kernel(at, XDP_PGOFF_TX_RING, &layout.tx, RING_SIZE)?,
        };
        let _ = sockopt::set_socket_send_buffer_size_force(&fd, SEND_BUFFER)
            .or_else(|_| sockopt::set_socket_send_buffer_size(&fd, SEND_BUFFER));
        set_transmit_budget(&fd);
        bind(&fd, ifindex, queue, mode, first)?;
        Ok((Self { fd }, rings))
    }

    /// The mode that the kernel chose.
    pub(crate) fn mode(&self) -> io::Result<BindMode> {
        let options = sockopt::xdp_options(&self.fd)?;
        Ok(if options.contains(XdpOptionsFlags::XDP_OPTIONS_ZEROCOPY) {
            BindMode::ZeroCopy
        } else {
            BindMode::Copy
        })
    }

    /// The kernel's counters of this socket.
    pub(crate) fn statistics(&self) -> io::Result<XdpStatistics> {
        Ok(sockopt::xdp_statistics(&self.fd)?)
    }

    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { fd: self.fd.try_clone()? })
    }

    /// Asks the kernel to send what is in the TX ring; it moves a budget's worth.
    pub(crate) fn kick_transmit(&self) -> Result<(), Errno> {
        rustix::net::send(&self.fd, &[], SendFlags::DONTWAIT).map(drop)
    }

    /// Asks the kernel to go on receiving.
    pub(crate) fn kick_receive(&self) {
        // The answer says nothing that the rings don't.
        let _ = rustix::net::recv(&self.fd, &mut [0_u8; 0], RecvFlags::DONTWAIT);
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn set_transmit_budget(fd: &OwnedFd) {
    let budget: u32 = RING_SIZE;
    // SAFETY: the option takes a u32, whose address and size are given. Kernels that don't know it refuse, which
    // costs only more calls.
    unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_XDP,
            XDP_MAX_TX_SKB_BUDGET,
            (&raw const budget).cast(),
            size_of::<u32>() as libc::socklen_t,
        );
    }
}

fn bind(fd: &OwnedFd, ifindex: u32, queue: u32, mode: BindMode, first: Option<&Socket>) -> Result<(), Errno> {
    let mode = match mode {
        BindMode::Copy => SocketAddrXdpFlags::XDP_COPY,
        BindMode::ZeroCopy => SocketAddrXdpFlags::XDP_ZEROCOPY,
    };
    let start = Instant::now();
    loop {
        let bound = match first {
            None => {
                let flags = mode | SocketAddrXdpFlags::XDP_USE_NEED_WAKEUP;
                rustix::net::bind(fd, &SocketAddrXdp::new(flags, ifindex, queue))
            }
            Some(first) => {
                let flags = SocketAddrXdpFlags::XDP_SHARED_UMEM;
                let addr = SocketAddrXdp::new(flags, ifindex, queue);
                rustix::net::bind(fd, &SocketAddrXdpWithSharedUmem { addr, shared_umem_fd: first.as_fd() })
            }
        };
        match bound {
            Err(Errno::BUSY) if start.elapsed() < BUSY_PATIENCE => {
                std::thread::sleep(Duration::from_millis(5));
            }
            other => return other,
        }
    }
}
