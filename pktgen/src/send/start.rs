//! The threads that send: one a queue, each with a core, a memory and a socket of its own.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, Sender as Channel, channel};
use std::thread::{self, JoinHandle};

use core_affinity::CoreId;
use port::{BindMode, BindRequest, ChunkSize, Port, PortError, Queue, RING_SIZE, Umem};
use sys::netdev::Netdev;
use thiserror::Error;

use super::pace::{self, Pace};
use super::sender::{Progress, Sender};
use super::sent::Sent;
use super::source::{Source, Streams};
use crate::clock;
use crate::profile::{Limit, Profile, Rate};

/// Bytes of an Ethernet header, and of the one tag that the kernel allows beyond the MTU.
const LINK_LEN: usize = wire::ethernet::HEADER_LEN + wire::vlan::HEADER_LEN;

/// Where and how frames go out.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of the netdev.
    pub interface: String,
    /// Its queues, a thread each.
    pub queues: Vec<u32>,
    /// Cores of the threads in turn; empty: those that this process may run on, from the last one back.
    pub cores: Vec<usize>,
    /// How sockets are bound.
    pub bind: BindRequest,
}

/// Why nothing is sent.
#[derive(Debug, Error)]
pub enum SendError {
    /// There is no such netdev.
    #[error("interface {interface}: {source}; `ip link` lists those there are")]
    Interface {
        /// Its name.
        interface: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// It is down.
    #[error("interface {interface} is down, or its link is: ip link set dev {interface} up")]
    Down {
        /// Its name.
        interface: String,
    },
    /// Frames would be lost without a word.
    #[error(
        "frames of {len} bytes do not fit interface {interface}, whose MTU is {mtu}: \
         ip link set dev {interface} mtu {needed}, or send smaller ones"
    )]
    Mtu {
        /// Name of the interface.
        interface: String,
        /// Its MTU.
        mtu: u32,
        /// Longest frame, without FCS.
        len: usize,
        /// What it would need.
        needed: usize,
    },
    /// No socket.
    #[error(transparent)]
    Port(#[from] PortError),
    /// No memory for frames.
    #[error("no memory for frames: {0}")]
    Memory(io::Error),
    /// No thread.
    #[error("no thread for queue {queue}: {source}")]
    Thread {
        /// Number of the queue.
        queue: u32,
        /// What the system said.
        source: io::Error,
    },
    /// It cannot run where it should.
    #[error("cannot run on core {0}: `nproc` and `taskset -p $$` say which there are")]
    Core(usize),
}

/// Threads that send.
#[derive(Debug)]
pub struct Sending {
    threads: Vec<JoinHandle<Sent>>,
    progress: Vec<Arc<Progress>>,
    /// The mode that each queue's socket got.
    pub modes: Vec<BindMode>,
    /// Why `auto` did not end in zero-copy mode, if it did not: what the first of them was told.
    pub refusal: Option<String>,
    /// The core that each thread runs on.
    pub cores: Vec<usize>,
    /// MTU of the netdev.
    pub mtu: u32,
    requested: Rate,
    streams: usize,
}

/// Begins to send a profile that was [split](Profile::split) into as many lanes as there are queues, until its limit is
/// met or `stop` is set. Returns when all sockets are there and all threads go.
///
/// # Errors
/// [`SendError`]; then nothing was sent.
pub fn start(profile: &Profile, options: &Options, stop: &Arc<AtomicBool>) -> Result<Sending, SendError> {
    let lanes = options.queues.len();
    let max_len = profile.streams.iter().map(crate::profile::Stream::max_len).max().unwrap_or(0);
    let sources = (0..lanes).map(|lane| Streams::new(profile, lane as u64));
    start_sources(sources, options, max_len, profile.streams.len(), profile.rate, profile.limit, stop)
}

/// As [`start`], with a source for each queue.
pub(super) fn start_sources<S: Source + Send + 'static>(
    sources: impl Iterator<Item = S>,
    options: &Options,
    max_len: usize,
    streams: usize,
    rate: Rate,
    limit: Limit,
    stop: &Arc<AtomicBool>,
) -> Result<Sending, SendError> {
    let netdev = check_netdev(&options.interface, max_len)?;
    let cores = options.cores();
    let lanes = options.queues.len();
    let mut starting = Vec::new();
    for (lane, source) in sources.enumerate().take(lanes) {
        let task = Task {
            interface: options.interface.clone(),
            ifindex: netdev.index,
            queue: options.queues[lane],
            core: cores[lane],
            bind: options.bind,
            max_len,
            streams,
            requested: rate,
            rate: pace::share(rate, lanes),
            offset: pace::offset(rate, lane),
            limit: Limit { count: limit.count.map(|count| share_of(count, lane, lanes)), ..limit },
        };
        starting.push(task.spawn(source, Arc::clone(stop))?);
    }
    let (mut modes, mut refusal) = (Vec::new(), None);
    for one in &starting {
        // A thread that is gone without a word has panicked, and with it the process.
        let (mode, why) = one.ready.recv().unwrap_or(Err(SendError::Core(0)))?;
        modes.push(mode);
        refusal = refusal.or(why);
    }
    let mut sending = Sending {
        threads: vec![],
        progress: vec![],
        modes,
        refusal,
        cores,
        mtu: netdev.mtu,
        requested: rate,
        streams,
    };
    let start = clock::now();
    for one in starting {
        // The thread waits for this.
        let _ = one.go.send(start);
        sending.threads.push(one.thread);
        sending.progress.push(one.progress);
    }
    Ok(sending)
}

/// The share of a count, so that all shares add up.
fn share_of(count: u64, lane: usize, lanes: usize) -> u64 {
    let (lane, lanes) = (lane as u64, lanes as u64);
    count / lanes + u64::from(lane < count % lanes)
}

pub(super) fn check_netdev(interface: &str, max_len: usize) -> Result<Netdev, SendError> {
    let netdev = Netdev::named(interface)
        .map_err(|source| SendError::Interface { interface: interface.to_owned(), source })?;
    if !netdev.running {
        return Err(SendError::Down { interface: interface.to_owned() });
    }
    if max_len > netdev.mtu as usize + LINK_LEN {
        let needed = max_len - LINK_LEN;
        return Err(SendError::Mtu {
            interface: interface.to_owned(),
            mtu: netdev.mtu,
            len: max_len,
            needed,
        });
    }
    Ok(netdev)
}

impl Options {
    /// The cores that threads will run on, one for each queue.
    pub fn cores(&self) -> Vec<usize> {
        let all = core_affinity::get_core_ids().unwrap_or_default();
        self.cores_of(all.into_iter().map(|core| core.id))
    }

    /// As [`cores`](Self::cores), of all that there are. If none is known, the first is tried.
    fn cores_of(&self, all: impl DoubleEndedIterator<Item = usize>) -> Vec<usize> {
        let mut cores = self.cores.clone();
        if cores.is_empty() {
            cores = all.rev().collect();
        }
        if cores.is_empty() {
            cores.push(0);
        }
        cores.into_iter().cycle().take(self.queues.len()).collect()
    }
}

/// What a thread is to do.
struct Task {
    interface: String,
    ifindex: u32,
    queue: u32,
    core: usize,
    bind: BindRequest,
    max_len: usize,
    streams: usize,
    requested: Rate,
    rate: Rate,
    /// How much later than the others' start its first packet is due, in nanoseconds.
    offset: u64,
    limit: Limit,
}

/// How a socket is bound, and why not in zero-copy mode, if that was tried.
type Bound = (BindMode, Option<String>);

/// A thread that has not begun to send.
struct Starting {
    thread: JoinHandle<Sent>,
    ready: Receiver<Result<Bound, SendError>>,
    /// Takes the time at which all begin.
    go: Channel<u64>,
    progress: Arc<Progress>,
}

impl Task {
    fn spawn<S: Source + Send + 'static>(
        self,
        source: S,
        stop: Arc<AtomicBool>,
    ) -> Result<Starting, SendError> {
        let (told, ready) = channel();
        let (go, may_go) = channel::<u64>();
        let progress = Arc::new(Progress::default());
        let shown = Arc::clone(&progress);
        let queue = self.queue;
        let run = move || {
            let nothing = Sent::new(self.streams, self.requested);
            let (port, pool) = match self.open() {
                Ok((port, pool, bound)) => {
                    let _ = told.send(Ok(bound));
                    (port, pool)
                }
                Err(error) => {
                    let _ = told.send(Err(error));
                    return nothing;
                }
            };
            // Another thread did not get so far.
            let Ok(start) = may_go.recv() else { return nothing };
            let sender = Sender::new(port, pool, source, self.streams, self.requested);
            let pace = Pace::new(self.rate, start.saturating_add(self.offset));
            sender.run(pace, start, self.limit, &stop, &shown)
        };
        let thread = thread::Builder::new()
            .name(format!("send {queue}"))
            .spawn(run)
            .map_err(|source| SendError::Thread { queue, source })?;
        Ok(Starting { thread, ready, go, progress })
    }

    /// On the thread's own core, so that the memory is near it.
    fn open(&self) -> Result<(Port, port::FramePool, Bound), SendError> {
        if !core_affinity::set_for_current(CoreId { id: self.core }) {
            return Err(SendError::Core(self.core));
        }
        let (umem, pool) = Umem::new(RING_SIZE, chunk_size(self.max_len)).map_err(SendError::Memory)?;
        let queue = Queue { interface: &self.interface, ifindex: self.ifindex, queue: self.queue };
        let mut opened = port::open(&umem, &[queue], self.bind)?;
        let port = opened.ports.pop().expect("one for the one queue");
        let refusal = opened.zero_copy_refusal.map(|refusal| refusal.to_string());
        Ok((port, pool, (opened.mode, refusal)))
    }
}

/// The smallest chunks that hold frames of this length.
pub(super) fn chunk_size(len: usize) -> ChunkSize {
    if len <= ChunkSize::Small.max_frame() { ChunkSize::Small } else { ChunkSize::Large }
}

impl Sending {
    /// Frames that were given to the port till now.
    pub fn progress(&self) -> u64 {
        self.progress.iter().map(|one| one.packets()).sum()
    }

    /// Whether all threads have ended.
    pub fn is_finished(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Waits for the end; what was sent by all threads together.
    pub fn join(self) -> Sent {
        let mut all = Sent::new(self.streams, self.requested);
        for thread in self.threads {
            match thread.join() {
                Ok(sent) => all.merge(&sent),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_a_count_add_up() {
        for count in 0..20 {
            assert_eq!((0..3).map(|lane| share_of(count, lane, 3)).sum::<u64>(), count);
        }
    }

    #[test]
    fn each_queue_has_a_core() {
        let options = |cores: &[usize]| Options {
            interface: "lo".into(),
            queues: vec![0, 1, 2],
            cores: cores.into(),
            bind: BindRequest::Auto,
        };
        assert_eq!(options(&[]).cores_of(0..2), [1, 0, 1]);
        assert_eq!(options(&[5]).cores_of(0..2), [5, 5, 5]);
        assert_eq!(options(&[]).cores_of(0..0), [0, 0, 0]);
    }

    #[test]
    fn an_interface_is_checked_first() {
        let error = |interface: &str, len| check_netdev(interface, len).unwrap_err().to_string();
        assert!(error("nosuch0", 60).contains("`ip link` lists"));
        let too_long = error("lo", 1_000_000);
        assert!(too_long.contains("mtu 999982"), "{too_long}");
    }
}
