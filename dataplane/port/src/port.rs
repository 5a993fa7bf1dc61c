//! A port as a worker sees it: frames come from it and go to it.

use std::io;
use std::iter::Sum;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rustix::io::Errno;

use crate::config::{BindMode, BindRequest};
use crate::error::PortError;
use crate::ring::Descriptor;
use crate::socket::{RING_SIZE, Rings, Socket};
use crate::umem::{Batch, Frame, FramePool, Umem};

/// One queue of a netdev, or its stand-in in memory (see [`crate::memory`]): the same rings either way.
pub struct Port {
    umem: Arc<Umem>,
    rings: Rings,
    /// `None`: the other ends of the rings are in this process.
    socket: Option<Socket>,
    /// Frames in the fill and RX rings.
    posted: u32,
    /// Frames in the TX and completion rings.
    in_flight: u32,
    /// What the kernel said to the last kick.
    refusal: Option<Errno>,
}

/// What the kernel counted at a socket (`struct xdp_statistics`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketStatistics {
    /// Frames that did not fit a chunk, or were refused otherwise.
    pub rx_dropped: u64,
    /// Frames lost because the RX ring was full.
    pub rx_ring_full: u64,
    /// Frames lost because the fill ring was empty.
    pub fill_ring_empty: u64,
    /// Descriptors that the kernel refused to send.
    pub tx_invalid: u64,
}

impl Sum for SocketStatistics {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), |sum, part| Self {
            rx_dropped: sum.rx_dropped + part.rx_dropped,
            rx_ring_full: sum.rx_ring_full + part.rx_ring_full,
            fill_ring_empty: sum.fill_ring_empty + part.fill_ring_empty,
            tx_invalid: sum.tx_invalid + part.tx_invalid,
        })
    }
}

/// A queue of a netdev.
#[derive(Clone, Copy, Debug)]
pub struct Queue<'a> {
    /// Name of the netdev, for messages.
    pub interface: &'a str,
    /// Index of the netdev.
    pub ifindex: u32,
    /// Number of the queue.
    pub queue: u32,
}

/// Frames that a memory for so many ports needs: budgets of both directions, and a batch in hand for each.
pub const fn frames_for(ports: u32) -> u32 {
    ports * (2 * RING_SIZE + crate::umem::BATCH as u32)
}

/// Sockets that were had.
pub struct Opened {
    /// One for each queue, in their order.
    pub ports: Vec<Port>,
    /// The mode of all.
    pub mode: BindMode,
    /// Why `auto` did not end in zero-copy mode, if it did not.
    pub zero_copy_refusal: Option<PortError>,
}

/// Opens sockets on all queues of a worker, over one memory and in one mode.
///
/// # Errors
/// [`PortError`] with the netdev and the remedy; a forced mode that can't be had is one.
pub fn open(umem: &Arc<Umem>, queues: &[Queue<'_>], request: BindRequest) -> Result<Opened, PortError> {
    let opened = |(ports, mode), zero_copy_refusal| Opened { ports, mode, zero_copy_refusal };
    match request {
        BindRequest::Copy => open_in_mode(umem, queues, BindMode::Copy).map(|got| opened(got, None)),
        BindRequest::ZeroCopy => open_in_mode(umem, queues, BindMode::ZeroCopy).map(|got| opened(got, None)),
        // Whatever stands against zero-copy on any port, copy is the answer for all.
        BindRequest::Auto => match open_in_mode(umem, queues, BindMode::ZeroCopy) {
            Ok(got) => Ok(opened(got, None)),
            Err(refusal) => open_in_mode(umem, queues, BindMode::Copy).map(|got| opened(got, Some(refusal))),
        },
    }
}

fn open_in_mode(
    umem: &Arc<Umem>,
    queues: &[Queue<'_>],
    mode: BindMode,
) -> Result<(Vec<Port>, BindMode), PortError> {
    let mut ports: Vec<Port> = Vec::with_capacity(queues.len());
    for queue in queues {
        let fail = |cause: io::Error| PortError::bind(queue, mode, cause);
        let first = ports.first().and_then(|port| port.socket.as_ref());
        let (socket, rings) = Socket::open(umem, queue.ifindex, queue.queue, mode, first).map_err(fail)?;
        let got = socket.mode().map_err(fail)?;
        if got != mode {
            return Err(fail(io::Error::other(format!("the kernel chose {got}"))));
        }
        ports.push(Port::new(Arc::clone(umem), rings, Some(socket)));
    }
    Ok((ports, mode))
}

impl Port {
    pub(crate) fn new(umem: Arc<Umem>, rings: Rings, socket: Option<Socket>) -> Self {
        Self { umem, rings, socket, posted: 0, in_flight: 0, refusal: None }
    }

    /// The memory that its frames are in.
    #[inline]
    pub fn umem(&self) -> &Arc<Umem> {
        &self.umem
    }

    /// Adds received frames to `batch` until it is full; returns how many came.
    #[inline]
    pub fn receive(&mut self, batch: &mut Batch) -> usize {
        let before = batch.len();
        while !batch.is_full() {
            let Some(descriptor) = self.rings.rx.pop() else { break };
            // SAFETY: the kernel (or `memory::Wire`) puts into the RX ring only chunks that it took from this port's
            // fill ring, each once; `refill` gave those up.
            batch.push(unsafe { self.umem.reclaim(descriptor.address, descriptor.len) });
        }
        let received = batch.len() - before;
        if received > 0 {
            self.rings.rx.release();
            self.posted -= received as u32;
        }
        received
    }

    /// Puts a frame into the TX ring; it goes out with the next [`flush`](Self::flush).
    ///
    /// # Errors
    /// Gives the frame back if the port has its budget of frames in flight.
    #[inline]
    pub fn transmit(&mut self, frame: Frame) -> Result<(), Frame> {
        assert!(frame.is_of(&self.umem), "a frame of another memory");
        if self.in_flight == RING_SIZE {
            return Err(frame);
        }
        let (address, len) = frame.into_address();
        let pushed = self.rings.tx.push(Descriptor { address, len, options: 0 });
        assert!(pushed, "the TX ring holds a whole budget");
        self.in_flight += 1;
        Ok(())
    }

    /// Lets the kernel see what was put into the TX ring, and makes it send.
    #[inline]
    pub fn flush(&mut self) {
        if self.in_flight == 0 {
            return;
        }
        self.rings.tx.publish();
        let Some(socket) = &self.socket else { return };
        // A call moves a budget's worth and says EAGAIN when there is more; any other error (the send buffer is full,
        // the link is down) means that trying again at once is no use. The worker comes back.
        let mut pending = self.rings.tx.pending();
        while pending > 0 && self.rings.tx.needs_wakeup() {
            let sent = socket.kick_transmit();
            self.refusal = sent.err();
            let before = std::mem::replace(&mut pending, self.rings.tx.pending());
            if !matches!(sent, Ok(()) | Err(Errno::AGAIN)) || pending >= before {
                break;
            }
        }
    }

    /// Whether frames wait in the TX ring that the kernel has not taken.
    pub fn has_unsent(&mut self) -> bool {
        self.unsent() > 0
    }

    /// How many frames wait in the TX ring that the kernel has not taken.
    pub fn unsent(&mut self) -> u32 {
        if self.in_flight == 0 { 0 } else { self.rings.tx.pending() }
    }

    /// Why nothing can be sent any more: the netdev is gone or set down, as the kernel said when it was last asked to
    /// send. That it is busy or its queue full is no reason.
    pub fn failure(&self) -> Option<io::Error> {
        self.refusal.filter(|refusal| matches!(*refusal, Errno::NETDOWN | Errno::NXIO)).map(io::Error::from)
    }

    /// Takes frames back that were sent.
    #[inline]
    pub fn reclaim(&mut self, pool: &mut FramePool) {
        if self.in_flight == 0 {
            return;
        }
        let mut reclaimed = 0;
        while let Some(address) = self.rings.completion.pop() {
            // SAFETY: the kernel (or `memory::Wire`) completes each address that `transmit` gave up exactly once.
            pool.put(unsafe { self.umem.reclaim(address, 0) });
            reclaimed += 1;
        }
        if reclaimed > 0 {
            self.rings.completion.release();
            self.in_flight -= reclaimed;
        }
    }

    /// Gives the kernel frames to receive into, up to the port's budget.
    #[inline]
    pub fn refill(&mut self, pool: &mut FramePool) {
        let before = self.posted;
        // The kernel shows what it has received before it gives back the places in the fill ring that the frames had:
        // of a burst that took all of them, there may be no room yet for those that take their places.
        while self.posted < RING_SIZE && !self.rings.fill.is_full() {
            let Some(frame) = pool.take() else { break };
            assert!(frame.is_of(&self.umem), "a frame of another memory");
            let pushed = self.rings.fill.push(frame.into_chunk_address());
            assert!(pushed, "it was not full");
            self.posted += 1;
        }
        if self.posted > before {
            self.rings.fill.publish();
        }
        if let Some(socket) = &self.socket
            && self.rings.fill.needs_wakeup()
        {
            socket.kick_receive();
        }
    }

    /// The socket, to be entered into the XDP program's map and to be waited for; none in memory.
    pub fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd)
    }

    /// A handle that reads the socket's counters from any thread; none in memory.
    ///
    /// # Errors
    /// When no more descriptors can be had.
    pub fn statistics_reader(&self) -> io::Result<Option<StatisticsReader>> {
        let Some(socket) = &self.socket else { return Ok(None) };
        Ok(Some(StatisticsReader { socket: socket.try_clone()? }))
    }
}

/// Reads a socket's counters.
pub struct StatisticsReader {
    socket: Socket,
}

impl StatisticsReader {
    /// The counters now.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn read(&self) -> io::Result<SocketStatistics> {
        let raw = self.socket.statistics()?;
        Ok(SocketStatistics {
            rx_dropped: raw.rx_dropped,
            rx_ring_full: raw.rx_ring_full.unwrap_or(0),
            fill_ring_empty: raw.rx_fill_ring_empty_descs.unwrap_or(0),
            tx_invalid: raw.tx_invalid_descs,
        })
    }
}
