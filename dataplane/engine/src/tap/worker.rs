//! A worker's side of taps.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use arrayvec::ArrayVec;
use port::{BATCH, Batch, Umem};

use super::{Direction, MAX_TAPS, Probe, Record, Taps};
use crate::api::PortIndex;
use crate::counters::{Outcome, Reason};
use crate::slowpath::FrameCopy;

/// Where a worker puts its copies. All its memory is there from the start.
pub(super) struct Inlet {
    ring: rtrb::Producer<Record>,
    /// Frames of the batch that is being processed, as they were received, with their places in it.
    received: VecDeque<(usize, Record)>,
    /// The frame that is being sent.
    leaving: Option<Record>,
    /// Frames that met the conditions, for taking one of so many.
    matched: u32,
}

impl Inlet {
    /// With a ring for so many frames, and its other end.
    pub(super) fn new(frames: usize) -> (Self, rtrb::Consumer<Record>) {
        let (ring, out) = rtrb::RingBuffer::new(frames);
        (Self { ring, received: VecDeque::with_capacity(BATCH), leaving: None, matched: 0 }, out)
    }

    fn put(&mut self, probe: &Probe, record: Record, reason: Reason) {
        let wanted = &probe.filter.wanted;
        if wanted.dropped && reason.outcome() != Outcome::Dropped {
            return;
        }
        self.matched = self.matched.wrapping_add(1);
        if wanted.every.is_some_and(|every| self.matched % every != 0) {
            return;
        }
        let Record { port, direction, .. } = record;
        let counter = match self.ring.push(Record { reason, ..record }) {
            Ok(()) => &probe.frames,
            Err(_) => &probe.lost[usize::from(port.0)][direction as usize],
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl Record {
    fn new(port: PortIndex, direction: Direction, time: SystemTime, frame: &[u8]) -> Self {
        // What is known only in the end is overwritten then.
        Self { port, direction, reason: Reason::NoFrame, time, frame: FrameCopy::of(frame) }
    }
}

/// The taps that a worker serves.
pub(crate) struct WorkerTaps {
    taps: Arc<Taps>,
    /// The number of the worker.
    worker: usize,
    /// The changes of the registry that are known.
    seen: u64,
    served: ArrayVec<(Arc<Probe>, Inlet), MAX_TAPS>,
}

impl WorkerTaps {
    pub(crate) fn new(taps: Arc<Taps>, worker: usize) -> Self {
        Self { taps, worker, seen: 0, served: ArrayVec::new() }
    }

    /// To be called once a round: begins with new taps, and ends with closed ones.
    #[inline]
    pub(crate) fn refresh(&mut self) {
        if self.taps.changes.load(Ordering::Relaxed) != self.seen {
            self.look();
        }
    }

    /// Whether there is any. If not, nothing else need be called.
    #[inline]
    pub(crate) fn are_on(&self) -> bool {
        !self.served.is_empty()
    }

    #[cold]
    fn look(&mut self) {
        // Held by somebody who opens a tap or asks for their state: the next round will do.
        let Ok(probes) = self.taps.probes.try_lock() else { return };
        self.seen = self.taps.changes.load(Ordering::Acquire);
        for (probe, inlet) in std::mem::take(&mut self.served) {
            match probe.is_open() {
                true => self.served.push((probe, inlet)),
                // Freed by whoever looks next, who is no worker.
                false => probe.give_back(self.worker, inlet),
            }
        }
        for probe in probes.iter().filter(|probe| probe.is_open()) {
            if let Some(inlet) = probe.take_inlet(self.worker) {
                probe.on.fetch_add(1, Ordering::Release);
                self.served.push((Arc::clone(probe), inlet));
            }
        }
    }

    /// Frames that came in by `port`, before anything is done with them.
    #[cold]
    pub(crate) fn received(&mut self, port: PortIndex, batch: &Batch, umem: &Umem) {
        #[expect(clippy::disallowed_methods, reason = "a capture's stamps")]
        let time = SystemTime::now();
        for (probe, inlet) in &mut self.served {
            if !probe.filter.is_for(port, Direction::Received) {
                continue;
            }
            for (place, frame) in batch.iter().enumerate() {
                let bytes = umem.data(frame);
                if probe.filter.matches(bytes) {
                    inlet.received.push_back((place, Record::new(port, Direction::Received, time, bytes)));
                }
            }
        }
    }

    /// A frame that is about to be given to `port`.
    #[cold]
    pub(crate) fn leaving(&mut self, port: PortIndex, bytes: &[u8]) {
        #[expect(clippy::disallowed_methods, reason = "a capture's stamps")]
        let time = SystemTime::now();
        for (probe, inlet) in &mut self.served {
            let is_wanted = probe.filter.is_for(port, Direction::Transmitted) && probe.filter.matches(bytes);
            inlet.leaving = is_wanted.then(|| Record::new(port, Direction::Transmitted, time, bytes));
        }
    }

    /// How the way of a frame ended: of the one at `place` in the batch, in the order of the batch. If it was sent, it
    /// is the one that was [leaving](Self::leaving).
    #[cold]
    pub(crate) fn ended(&mut self, place: usize, reason: Reason) {
        for (probe, inlet) in &mut self.served {
            if inlet.received.front().is_some_and(|(first, _)| *first == place)
                && let Some((_, record)) = inlet.received.pop_front()
            {
                inlet.put(probe, record, reason);
            }
            if let Some(record) = inlet.leaving.take()
                && reason.outcome() == Outcome::Forwarded
            {
                inlet.put(probe, record, reason);
            }
        }
    }
}
