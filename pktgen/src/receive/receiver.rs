//! A thread that receives at a netdev until it is told to stop.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use std::thread::{self, JoinHandle};
use std::time::Duration;

use core_affinity::CoreId;
use port::{Polling, Waker};
use thiserror::Error;

use super::{Intake, Meter, MeterOptions, Slice};
use crate::attach::{self, AttachError, AttachOptions, Attached, PortFacts, PortLosses, PortWatch};
use crate::clock;

/// Rounds without a frame before an adaptive receiver sleeps.
const SPIN: u32 = 200;
/// Longest sleep.
const SLEEP: Duration = Duration::from_millis(4);
/// Rounds without a frame before the books are tidied up.
const TIDY: u32 = 16;
/// Slices that may wait for somebody to look at them; those beyond are lost.
const SLICES: usize = 64;
/// Cores that an affinity mask of the C library has room for (`CPU_SETSIZE`).
const MOST_CORES: usize = 1024;
/// Streams that may be expected: each takes some 0.4 MB at once.
const MOST_STREAMS: usize = 4096;
/// Batches that are still taken from each ring at the end: a whole ring.
const LAST_ROUNDS: usize = 32;

/// How to receive.
#[derive(Clone, Debug)]
pub struct ReceiverOptions {
    /// Where.
    pub attach: AttachOptions,
    /// What is expected.
    pub meter: MeterOptions,
    /// The core to run on.
    pub core: Option<usize>,
    /// What to do while nothing comes.
    pub polling: Polling,
    /// How long a slice of time is.
    pub slice: Duration,
}

impl ReceiverOptions {
    /// By default everywhere.
    pub fn new(interface: impl Into<String>, meter: MeterOptions) -> Self {
        Self {
            attach: AttachOptions::new(interface),
            meter,
            core: None,
            polling: Polling::Busy,
            slice: Duration::from_secs(1),
        }
    }
}

/// Why receiving did not begin.
#[derive(Debug, Error)]
pub enum ReceiveError {
    /// The port.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// The thread.
    #[error("no thread to receive: {0}")]
    Thread(#[from] io::Error),
    /// The core.
    #[error("core {0} is not there, or not for this process: see `taskset -p $$`")]
    Core(usize),
    /// Too many streams.
    #[error(
        "{0} streams: a receiver has memory for {MOST_STREAMS}; have fewer with more flows each, or fewer sending queues"
    )]
    Streams(usize),
}

/// A piece of time, and when it ended.
#[derive(Clone, Copy, Debug)]
pub struct TimedSlice {
    /// Nanoseconds of the monotonic clock.
    pub end: u64,
    /// How long it was, in nanoseconds.
    pub length: u64,
    /// What happened.
    pub slice: Slice,
}

/// A receiver at work. Dropping it ends it.
pub struct Receiver {
    thread: Option<JoinHandle<Meter>>,
    stop: Arc<AtomicBool>,
    waker: Waker,
    slices: crossbeam_channel::Receiver<TimedSlice>,
    seen: Arc<Seen>,
    facts: PortFacts,
    watch: PortWatch,
}

/// What others may know at any time.
#[derive(Debug, Default)]
struct Seen {
    frames: AtomicU64,
    received: AtomicU64,
}

impl Receiver {
    /// Attaches to the netdev in the calling thread's network namespace, and receives from now on.
    ///
    /// # Errors
    /// [`ReceiveError`]; nothing is left attached then.
    pub fn start(options: ReceiverOptions) -> Result<Self, ReceiveError> {
        let core = options.core;
        if let Some(core) = core.filter(|core| *core >= MOST_CORES) {
            return Err(ReceiveError::Core(core));
        }
        let streams = options.meter.streams.as_ref().map_or(0, Vec::len);
        if streams > MOST_STREAMS {
            return Err(ReceiveError::Streams(streams));
        }
        let Attached { umem, pool, netdevs } = attach::attach(std::slice::from_ref(&options.attach), 0)?;
        let [netdev] = <[_; 1]>::try_from(netdevs).unwrap_or_else(|_| unreachable!("one was asked for"));
        let intake = Intake::new(umem, pool, netdev.ports, Meter::new(options.meter));
        let (stop, waker) = (Arc::new(AtomicBool::new(false)), Waker::new()?);
        let (sender, slices) = crossbeam_channel::bounded(SLICES);
        let seen = Arc::new(Seen::default());
        let work = Work {
            intake,
            seen: Arc::clone(&seen),
            polling: options.polling,
            slice: options.slice.as_nanos() as u64,
            slices: sender,
            stop: Arc::clone(&stop),
            waker: waker.clone(),
        };
        let (told, pinned) = crossbeam_channel::bounded(1);
        let thread = thread::Builder::new().name("receive".into()).spawn(move || {
            let pinned = core.is_none_or(|id| core_affinity::set_for_current(CoreId { id }));
            // The other end waits for it.
            let _ = told.send(pinned);
            if pinned { work.run() } else { work.intake.into_meter() }
        })?;
        if let (Ok(false), Some(core)) = (pinned.recv(), core) {
            return Err(ReceiveError::Core(core));
        }
        Ok(Self { thread: Some(thread), stop, waker, slices, seen, facts: netdev.facts, watch: netdev.watch })
    }

    /// How it is attached.
    pub fn facts(&self) -> &PortFacts {
        &self.facts
    }

    /// The slices of time that ended since the last call.
    pub fn slices(&self) -> impl Iterator<Item = TimedSlice> {
        self.slices.try_iter()
    }

    /// Frames of any kind that came so far.
    pub fn frames(&self) -> u64 {
        self.seen.frames.load(Ordering::Relaxed)
    }

    /// Test packets that came whole so far, each once.
    pub fn received(&self) -> u64 {
        self.seen.received.load(Ordering::Relaxed)
    }

    /// Whether the netdev is gone.
    pub fn port_is_gone(&self) -> bool {
        self.watch.is_gone()
    }

    /// Ends it: the books, and the slices that nobody looked at, the last of them shorter than the others.
    pub fn stop(mut self) -> (Meter, Vec<TimedSlice>, PortLosses) {
        let losses = self.watch.losses();
        self.end();
        let meter = self.thread.take().map(JoinHandle::join);
        let meter = match meter {
            Some(Ok(meter)) => meter,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => unreachable!("it is ended once"),
        };
        let slices = self.slices.try_iter().collect();
        (meter, slices, losses)
    }

    fn end(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.waker.wake();
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.end();
        if let Some(thread) = self.thread.take() {
            // A panic has been printed by the thread itself.
            let _ = thread.join();
        }
    }
}

/// What the thread owns.
struct Work {
    intake: Intake,
    seen: Arc<Seen>,
    polling: Polling,
    slice: u64,
    slices: crossbeam_channel::Sender<TimedSlice>,
    stop: Arc<AtomicBool>,
    waker: Waker,
}

impl Work {
    fn run(mut self) -> Meter {
        let (mut idle_rounds, mut begun) = (0, clock::now());
        while !self.stop.load(Ordering::Relaxed) {
            if self.intake.round() > 0 {
                idle_rounds = 0;
                let totals = self.intake.meter().totals();
                self.seen.frames.store(totals.frames, Ordering::Relaxed);
                self.seen.received.store(totals.received, Ordering::Relaxed);
            } else {
                idle_rounds = u32::wrapping_add(idle_rounds, 1);
                if idle_rounds % TIDY == 0 {
                    self.intake.meter().idle();
                }
                if self.polling == Polling::Adaptive && idle_rounds >= SPIN {
                    port::wait(self.intake.ports(), &self.waker, SLEEP);
                    idle_rounds = SPIN - 1;
                } else {
                    std::hint::spin_loop();
                }
            }
            let now = clock::now();
            if now - begun >= self.slice {
                self.end_slice(&mut begun, now);
            }
        }
        // What is in the rings came before the end.
        for _ in 0..LAST_ROUNDS {
            self.intake.round();
        }
        self.end_slice(&mut begun, clock::now());
        self.intake.into_meter()
    }

    fn end_slice(&mut self, begun: &mut u64, now: u64) {
        let slice = TimedSlice { end: now, length: now - *begun, slice: self.intake.meter().slice() };
        *begun = now;
        // Nobody looks: what was counted is in the next one too.
        let _ = self.slices.try_send(slice);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Expected;
    use super::*;

    #[test]
    fn more_streams_than_memory_are_refused() {
        let start = |streams: usize| {
            let expected = Expected { name: String::new(), overlay: Arc::new(|_| None) };
            let meter = MeterOptions { streams: Some(vec![expected; streams]), ..MeterOptions::default() };
            Receiver::start(ReceiverOptions::new("no-such-port", meter)).err()
        };
        assert!(matches!(start(MOST_STREAMS), Some(ReceiveError::Attach(_))));
        let error = start(MOST_STREAMS + 1).unwrap();
        assert!(error.to_string().starts_with("4097 streams"), "{error}");
    }
}
