//! Taps: copies of the frames that workers receive and transmit, for a reader outside of the packet path.
//!
//! ```text
//! worker   receive ▸ copy what matches ▸ pipeline ▸ its end, by name ▸ ring ┄┄▸ reader: capture, trace
//! ```
//!
//! While there is no tap a worker pays for one load a round and a branch a batch. A tap's ring is bounded: what does
//! not fit is counted as lost, and nobody waits. The pipeline knows nothing of taps: a reader that wants to know why
//! asks the [`Explainer`], which takes the copy through the same pipeline again.

mod explain;
mod filter;
mod headers;
mod narrate;
mod worker;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use thiserror::Error;

pub(crate) use explain::Explainer;
pub use explain::{Explanation, Step};
use filter::Filter;
pub use filter::{ProtocolFilter, TapFilter};
use worker::Inlet;
pub(crate) use worker::WorkerTaps;

use crate::api::PortIndex;
use crate::counters::Reason;
use crate::slowpath::FrameCopy;
use crate::tables::Snapshot;

/// Taps at a time.
pub const MAX_TAPS: usize = 8;
/// Frames that a tap's ring from a worker holds, of less than 4 KB each.
const RING: usize = 4096;
/// How often a reader looks into an empty ring. That a worker would have to wake it costs the worker more.
const POLL: Duration = Duration::from_millis(1);

/// As many taps as there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{MAX_TAPS} captures and traces are running already: end one of them first")]
pub struct TapBusy;

/// The way of a frame at a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// It came in.
    Received,
    /// It was given to the port to send.
    Transmitted,
}

/// A frame that passed a tap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tapped {
    /// Where.
    pub port: PortIndex,
    /// Which way.
    pub direction: Direction,
    /// The counter that its way ended in; of a transmitted one, the counter that it was sent under.
    pub reason: Reason,
    /// When its worker saw it.
    pub time: SystemTime,
    /// From the Ethernet header on, without FCS: as it was received, or as it was sent.
    pub frame: Vec<u8>,
}

impl Tapped {
    /// The frame inside of VXLAN, if it is that.
    pub fn inner(&self) -> Option<&[u8]> {
        let inner = headers::Headers::read(&self.frame).inner?;
        self.frame.get(inner.start..)
    }
}

/// How a tap is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TapStatus {
    /// What it is for.
    pub filter: TapFilter,
    /// Frames that were put into its ring.
    pub frames: u64,
    /// Frames that found the ring full.
    pub lost: u64,
}

/// A worker's copy, in the ring. It is inside and not boxed: a worker does not allocate.
struct Record {
    port: PortIndex,
    direction: Direction,
    reason: Reason,
    time: SystemTime,
    frame: FrameCopy,
}

/// What a tap's reader, the workers and the registry share.
struct Probe {
    filter: Filter,
    /// Set by the reader when it goes.
    closed: AtomicBool,
    /// How many workers have seen the tap.
    on: AtomicUsize,
    frames: AtomicU64,
    /// By port; received and transmitted.
    lost: Box<[[AtomicU64; 2]]>,
    /// By worker: here before it has taken it, and again when it has given it back.
    inlets: Mutex<Vec<Option<Inlet>>>,
}

/// The registry: which taps there are.
pub(crate) struct Taps {
    /// How many there are.
    workers: usize,
    /// Counts changes: all that a worker looks at.
    changes: AtomicU64,
    /// Closed ones stay until no worker has them: whoever lets go of the last reference frees a ring, and that is to be
    /// no worker.
    probes: Mutex<Vec<Arc<Probe>>>,
}

impl Taps {
    /// None yet, of so many workers.
    pub(crate) fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self { workers, changes: AtomicU64::new(0), probes: Mutex::default() })
    }

    /// Begins a tap. Workers see it at their next round.
    pub(crate) fn open(self: &Arc<Self>, filter: TapFilter, tables: &Snapshot) -> Result<Tap, TapBusy> {
        let mut probes = self.swept();
        if probes.len() >= MAX_TAPS {
            return Err(TapBusy);
        }
        let (inlets, rings) = (0..self.workers)
            .map(|_| {
                let (inlet, ring) = Inlet::new(RING);
                (Some(inlet), ring)
            })
            .unzip();
        let probe = Arc::new(Probe {
            filter: Filter::new(filter, tables),
            closed: AtomicBool::new(false),
            on: AtomicUsize::new(0),
            frames: AtomicU64::new(0),
            lost: tables.fixed.ports.iter().map(|_| Default::default()).collect(),
            inlets: Mutex::new(inlets),
        });
        probes.push(Arc::clone(&probe));
        drop(probes);
        self.changes.fetch_add(1, Ordering::Release);
        Ok(Tap { probe, rings, taps: Arc::clone(self) })
    }

    /// The taps that there are.
    pub(crate) fn status(&self) -> Vec<TapStatus> {
        let status = |probe: &Arc<Probe>| TapStatus {
            filter: probe.filter.wanted.clone(),
            frames: probe.frames.load(Ordering::Relaxed),
            lost: probe.lost(),
        };
        self.swept().iter().filter(|probe| probe.is_open()).map(status).collect()
    }

    /// The probes, without those that are closed and that nobody has any more.
    fn swept(&self) -> MutexGuard<'_, Vec<Arc<Probe>>> {
        // A panic elsewhere while it was held cannot have left it half-changed.
        let mut probes = self.probes.lock().unwrap_or_else(PoisonError::into_inner);
        probes.retain(|probe| probe.is_open() || Arc::strong_count(probe) > 1);
        probes
    }
}

impl Probe {
    fn is_open(&self) -> bool {
        !self.closed.load(Ordering::Relaxed)
    }

    fn lost(&self) -> u64 {
        self.lost.iter().flatten().map(|lost| lost.load(Ordering::Relaxed)).sum()
    }

    fn take_inlet(&self, worker: usize) -> Option<Inlet> {
        self.inlets()[worker].take()
    }

    fn give_back(&self, worker: usize, inlet: Inlet) {
        self.inlets()[worker] = Some(inlet);
    }

    fn inlets(&self) -> MutexGuard<'_, Vec<Option<Inlet>>> {
        self.inlets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A tap, as its reader has it. Dropped, it is off.
pub struct Tap {
    probe: Arc<Probe>,
    /// By worker.
    rings: Vec<rtrb::Consumer<Record>>,
    taps: Arc<Taps>,
}

impl Tap {
    /// The next frame, in the order in which its worker was done with them, and of several workers the earlier first;
    /// waits up to `timeout` for it.
    pub fn next(&mut self, timeout: Duration) -> Option<Tapped> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(Record { port, direction, reason, time, frame }) = self.pop() {
                return Some(Tapped { port, direction, reason, time, frame: frame.bytes().to_vec() });
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            std::thread::sleep(left.min(POLL));
        }
    }

    fn pop(&mut self) -> Option<Record> {
        let filled = self.rings.iter_mut().filter(|ring| !ring.is_empty());
        let earliest = filled.min_by_key(|ring| ring.peek().map(|record| record.time).ok());
        earliest.and_then(|ring| ring.pop().ok())
    }

    /// Whether all workers have seen the tap: from then on no frame is missed.
    pub fn is_on(&self) -> bool {
        self.probe.on.load(Ordering::Acquire) == self.rings.len()
    }

    /// How many frames matched and found the ring full: the reader is too slow.
    pub fn lost(&self) -> u64 {
        self.probe.lost()
    }

    /// The same of one way at one port.
    pub fn lost_at(&self, port: PortIndex, direction: Direction) -> u64 {
        let both = self.probe.lost.get(usize::from(port.0));
        both.map_or(0, |both| both[direction as usize].load(Ordering::Relaxed))
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.probe.closed.store(true, Ordering::Relaxed);
        self.taps.changes.fetch_add(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests;
