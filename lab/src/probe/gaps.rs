//! Numbered datagrams, one way each, on many ways at once: what is lost and for how long nothing comes when something
//! fails.

mod bits;
mod book;
mod report;
mod schedule;

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::set_socket_recv_buffer_size_force;

use self::bits::Bits;
use self::book::{Book, Gaps};
use self::schedule::Schedule;
use crate::error::{Error, Result};
use crate::namespace::Namespace;
use crate::wait::wait_until;

pub use self::book::Gap;
pub use self::report::{FlowWindow, GapReport, GapWindow};

/// How long after the last datagram one still on its way may arrive.
const STRAGGLERS: Duration = Duration::from_secs(1);

/// Most datagrams of a flow; then the probe is silent. More than half an hour at 1 ms.
const LIMIT: u64 = 1 << 21;

/// Bytes asked for as receive buffer: seconds of datagrams wait there while the receiver does not run.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Datagrams that are read of a socket before the next one has its turn.
const TURN: usize = 64;

/// Priority of the threads (SCHED_FIFO): before what is ordinary, behind whatever is probed with a priority of its own.
const PRIORITY: i32 = 1;

/// A way that is probed: from a namespace to an address in another.
#[derive(Clone, Debug)]
pub struct ProbeFlow {
    /// What the report calls it.
    pub name: String,
    /// Where the sender is.
    pub from: Namespace,
    /// Where the receiver is.
    pub to: Namespace,
    /// An address of the receiver.
    pub destination: IpAddr,
}

/// Datagrams on several ways at a steady interval, until stopped. Both ends are on this machine and have one clock, the
/// monotonic one.
///
/// Each datagram has its due time, and one that is not sent before the next is due is left out: the report says how many,
/// and for how long sender and receiver did not run, so that a gap of the machine's is not taken for one of the network.
/// Where intervals are longer than a millisecond, flows take turns in it, so that they don't come all at once.
#[derive(Debug)]
pub struct GapProbe {
    names: Vec<String>,
    shared: Arc<Shared>,
    schedule: Schedule,
    sender: Option<JoinHandle<Sent>>,
    receiver: Option<JoinHandle<io::Result<Received>>>,
}

#[derive(Debug)]
struct Shared {
    stop_sender: AtomicBool,
    stop_receiver: AtomicBool,
    /// All that were sent have lower numbers.
    next: AtomicU64,
    /// Datagrams of all flows.
    sent: AtomicU64,
    /// Different datagrams, by flow.
    received: Vec<AtomicU64>,
}

struct Sent {
    /// By slot.
    numbers: Vec<Bits>,
    gaps: Gaps,
    end: Instant,
    is_realtime: bool,
}

struct Received {
    books: Vec<Book>,
    gaps: Gaps,
    is_realtime: bool,
}

impl GapProbe {
    /// Sends a datagram on each way every `interval`.
    ///
    /// # Errors
    /// [`Error::Io`] if a socket cannot be opened: a destination is no address of its receiver's.
    pub fn start(flows: &[ProbeFlow], interval: Duration) -> Result<Self> {
        let mut senders = Vec::new();
        let mut receivers = Vec::new();
        for flow in flows {
            let any: SocketAddr = match flow.destination {
                IpAddr::V4(_) => ([0; 4], 0).into(),
                IpAddr::V6(_) => ([0u16; 8], 0).into(),
            };
            let receiver = open(&flow.to, SocketAddr::new(flow.destination, 0))?;
            let target = receiver.local_addr().map_err(Error::io("set up a probe's socket"))?;
            senders.push((open(&flow.from, any)?, target));
            receivers.push(receiver);
        }
        let shared = Arc::new(Shared {
            stop_sender: AtomicBool::new(false),
            stop_receiver: AtomicBool::new(false),
            next: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            received: flows.iter().map(|_| AtomicU64::new(0)).collect(),
        });
        let schedule = Schedule::new(Instant::now(), interval, flows.len());
        let receiver = thread::spawn({
            let shared = Arc::clone(&shared);
            move || receive(&receivers, &shared, schedule)
        });
        let sender = thread::spawn({
            let shared = Arc::clone(&shared);
            move || send(&senders, &shared, schedule)
        });
        let names = flows.iter().map(|flow| flow.name.clone()).collect();
        Ok(Self { names, shared, schedule, sender: Some(sender), receiver: Some(receiver) })
    }

    /// How many datagrams of each flow were due so far.
    pub fn due(&self) -> u64 {
        self.shared.next.load(Ordering::Relaxed)
    }

    /// How many datagrams of all flows were sent so far.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// How many different datagrams of each flow have arrived so far.
    pub fn received(&self) -> Vec<u64> {
        self.shared.received.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }

    /// Waits until `count` more datagrams have come on all ways.
    ///
    /// # Errors
    /// [`Error::Timeout`] with the ways on which they have not.
    pub fn wait_flowing(&self, count: u64, timeout: Duration) -> Result<()> {
        let before = self.received();
        wait_until("datagrams on all ways", timeout, || {
            let counts = self.received().into_iter().zip(&before).zip(&self.names);
            let missing: Vec<String> = counts
                .filter(|((now, before), _)| now - *before < count)
                .map(|((now, before), name)| format!("{name}: {}", now - before))
                .collect();
            if missing.is_empty() { Ok(()) } else { Err(missing.join(", ")) }
        })
    }

    /// Stops sending, waits for those still on their way, and tells.
    ///
    /// # Errors
    /// [`Error::Io`] if the receiver failed.
    pub fn stop(mut self) -> Result<GapReport> {
        self.shared.stop_sender.store(true, Ordering::Relaxed);
        let sender = self.sender.take().expect("taken only here, and `stop` consumes the probe");
        let receiver = self.receiver.take().expect("taken only here, and `stop` consumes the probe");
        let sent = sender.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let numbers = 0..self.shared.next.load(Ordering::Relaxed);
        let all: Vec<u64> = sent.numbers.iter().map(|sent| sent.count(numbers.clone())).collect();
        // Those that are lost never come: that is no error.
        let _ = wait_until("the last datagrams", STRAGGLERS, || {
            let mut counts = self.received().into_iter().enumerate();
            counts.all(|(flow, got)| got >= all[self.schedule.slot(flow) as usize])
        });
        self.shared.stop_receiver.store(true, Ordering::Relaxed);
        let received = receiver.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let mut received = received.map_err(Error::io("receive a probe"))?;
        for book in &mut received.books {
            book.gaps.end(sent.end);
        }
        Ok(GapReport {
            schedule: self.schedule,
            end: sent.end,
            sent: sent.numbers,
            sender: sent.gaps,
            receiver: received.gaps,
            flows: self.names.iter().cloned().zip(received.books).collect(),
            is_realtime: sent.is_realtime && received.is_realtime,
        })
    }
}

impl Drop for GapProbe {
    fn drop(&mut self) {
        self.shared.stop_sender.store(true, Ordering::Relaxed);
        self.shared.stop_receiver.store(true, Ordering::Relaxed);
    }
}

/// A socket in a namespace: it stays there, wherever it is used.
fn open(namespace: &Namespace, address: SocketAddr) -> Result<UdpSocket> {
    let open = || {
        let socket = UdpSocket::bind(address)?;
        socket.set_nonblocking(true)?;
        set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER)?;
        Ok(socket)
    };
    namespace.enter(open)?.map_err(Error::io(format!("open a probe's socket in {}", namespace.name())))
}

fn send(sockets: &[(UdpSocket, SocketAddr)], shared: &Shared, schedule: Schedule) -> Sent {
    let is_realtime = sys::scheduling::set_realtime(PRIORITY).is_ok();
    let mut numbers = vec![Bits::default(); schedule.slots as usize];
    let mut gaps = Gaps::new(schedule.start, schedule.interval * 2);
    let mut step = 0;
    while !shared.stop_sender.load(Ordering::Relaxed) {
        let (number, slot) = schedule.place(step);
        if number >= LIMIT {
            break;
        }
        gaps.tick(Instant::now());
        numbers[slot as usize].insert(number);
        shared.next.store(number + 1, Ordering::Release);
        for (socket, target) in sockets.iter().skip(slot as usize).step_by(schedule.slots as usize) {
            // No route or a netdev that is down: a datagram lost like any other.
            let _ = socket.send_to(&number.to_be_bytes(), target);
            shared.sent.fetch_add(1, Ordering::Relaxed);
        }
        // What is due by now is left out, but for the last.
        step = schedule.step(Instant::now()).max(step + 1);
        thread::sleep(schedule.due(step).saturating_duration_since(Instant::now()));
    }
    let end = Instant::now();
    gaps.tick(end);
    Sent { numbers, gaps, end, is_realtime }
}

fn receive(sockets: &[UdpSocket], shared: &Shared, schedule: Schedule) -> io::Result<Received> {
    let Schedule { start, interval, .. } = schedule;
    let is_realtime = sys::scheduling::set_realtime(PRIORITY).is_ok();
    let shortest = interval * 2;
    let mut books: Vec<Book> = sockets.iter().map(|_| Book::new(start, shortest)).collect();
    let mut gaps = Gaps::new(start, shortest);
    let mut ready: Vec<PollFd<'_>> =
        sockets.iter().map(|socket| PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN)).collect();
    let timeout = Timespec { tv_sec: interval.as_secs() as i64, tv_nsec: i64::from(interval.subsec_nanos()) };
    while !shared.stop_receiver.load(Ordering::Relaxed) {
        poll(&mut ready, Some(&timeout))?;
        gaps.tick(Instant::now());
        let turns = ready.iter().zip(sockets).zip(books.iter_mut().zip(&shared.received));
        for ((ready, socket), (book, received)) in turns {
            if !ready.revents().is_empty() {
                read(socket, book, received, &shared.next);
            }
        }
    }
    Ok(Received { books, gaps, is_realtime })
}

/// Reads what has come to a socket.
fn read(socket: &UdpSocket, book: &mut Book, received: &AtomicU64, next: &AtomicU64) {
    let mut buffer = [0; 9];
    for _ in 0..TURN {
        let Ok(length) = socket.recv(&mut buffer) else { return };
        let Ok(number) = buffer[..length].try_into().map(u64::from_be_bytes) else { continue };
        // A stranger's.
        if number >= next.load(Ordering::Acquire) {
            continue;
        }
        if book.arrive(number, Instant::now()) {
            received.fetch_add(1, Ordering::Relaxed);
        }
    }
}
