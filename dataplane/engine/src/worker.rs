//! A worker: one thread that takes frames from its ports through the pipeline, to completion.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;
use std::time::Duration;

use arc_swap::{ArcSwap, Cache};
use port::{Batch, Frame, FramePool, Idle, Polling, Port, Umem, Waker};

use crate::absence::Absence;
use crate::api::{PortIndex, PuntClass};
use crate::counters::{Counters, Outcome, Reason};
use crate::limit;
use crate::pipeline::{self, Context, Punt, Scratch, Verdict};
use crate::police::Police;
use crate::slowpath::{Answer, FrameCopy, Punted};
use crate::tables::Snapshot;
use crate::tables::flow;
use crate::tap::WorkerTaps;

/// Longest sleep: a bound on how late a worker notices that it is to stop.
const SLEEP: Duration = Duration::from_millis(4);
/// Sleep while frames wait that the kernel did not take.
const RETRY: Duration = Duration::from_millis(1);
/// Answers of the slow path that are sent in one round.
const ANSWERS: usize = 32;

/// What a worker owns.
pub(crate) struct Worker {
    pub(crate) umem: Arc<Umem>,
    pub(crate) pool: FramePool,
    /// By [`PortIndex`].
    pub(crate) ports: Vec<Port>,
    pub(crate) tables: Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>,
    pub(crate) flows: flow::FlowReader,
    pub(crate) scratch: Box<Scratch>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) punts: rtrb::Producer<Punted>,
    pub(crate) police: Police,
    /// Whether there were punts in this round.
    pub(crate) punted: bool,
    pub(crate) answers: rtrb::Consumer<Answer>,
    pub(crate) absence: Absence,
    pub(crate) taps: WorkerTaps,
    /// To be unparked when there are punts.
    pub(crate) slow_path: Thread,
    pub(crate) waker: Waker,
    pub(crate) polling: Polling,
    pub(crate) stop: Arc<AtomicBool>,
}

impl Worker {
    /// Runs until told to stop.
    pub(crate) fn run(mut self) {
        let mut idle = Idle::default();
        while !self.stop.load(Ordering::Relaxed) {
            if self.round() {
                idle.worked();
            } else if self.polling == Polling::Adaptive && idle.is_to_sleep() {
                self.sleep();
            } else {
                std::hint::spin_loop();
            }
        }
    }

    /// Sleeps until a frame comes or the time is up.
    fn sleep(&mut self) {
        let unsent = self.ports.iter_mut().any(Port::has_unsent);
        // The writer need not wait for a worker that holds nothing.
        self.flows.offline();
        self.counters.slept();
        port::wait(&self.ports, &self.waker, if unsent { RETRY } else { SLEEP });
    }

    /// Serves each port once; whether there was anything to do.
    pub(crate) fn round(&mut self) -> bool {
        let mut busy = false;
        self.counters.looked();
        self.taps.refresh();
        if self.absence.ends(limit::now) {
            self.discard();
        }
        for port in 0..self.ports.len() {
            self.ports[port].reclaim(&mut self.pool);
            self.ports[port].refill(&mut self.pool);
            busy |= self.serve(port);
        }
        busy |= self.send_answers();
        for port in &mut self.ports {
            port.flush();
        }
        if std::mem::take(&mut self.punted) {
            self.slow_path.unpark();
        }
        if !busy {
            // Otherwise a worker without traffic would hold old tables for ever, and what can be used again after them.
            self.tables.load();
        }
        self.flows.quiesce();
        busy
    }

    /// Drops what waited while this worker did not run: what was received, and what the slow path had to send.
    #[cold]
    fn discard(&mut self) {
        for port in 0..self.ports.len() {
            // This ends: the port gets no frames back meanwhile.
            loop {
                let mut batch = Batch::new();
                if self.ports[port].receive(&mut batch) == 0 {
                    break;
                }
                let bytes = batch.iter().map(Frame::len).sum::<usize>();
                self.counters.received(port, batch.len() as u64, bytes as u64);
                for frame in batch {
                    self.drop_frame(frame, Reason::Stale);
                }
            }
        }
        while self.answers.pop().is_ok() {
            self.counters.count(Reason::Stale);
        }
    }

    fn serve(&mut self, port: usize) -> bool {
        let mut batch = Batch::new();
        if self.ports[port].receive(&mut batch) == 0 {
            return false;
        }
        let bytes = batch.iter().map(Frame::len).sum::<usize>();
        self.counters.received(port, batch.len() as u64, bytes as u64);
        let port = PortIndex(port as u8);
        if self.taps.are_on() {
            self.taps.received(port, &batch, &self.umem);
        }
        self.process(port, batch);
        true
    }

    /// Takes a batch through the pipeline, and does with each frame what that says.
    fn process(&mut self, port: PortIndex, mut batch: Batch) {
        let flows = self.flows.view();
        let context =
            Context { tables: self.tables.load(), flows: &flows, umem: &self.umem, counters: &self.counters };
        pipeline::process(context, &mut self.scratch, port, &mut batch);
        for (index, frame) in batch.into_iter().enumerate() {
            let reason = match self.scratch.verdicts[index] {
                Verdict::Transmit(forwarded) => match self.transmit(forwarded.port, frame) {
                    Ok(()) => {
                        self.counters.forwarded(&forwarded);
                        forwarded.reason
                    }
                    Err(reason) => reason,
                },
                Verdict::Punt(punt) => self.punt(port, punt, frame),
                Verdict::Drop(reason) => self.drop_frame(frame, reason),
            };
            if self.taps.are_on() {
                self.taps.ended(index, reason);
            }
        }
    }

    /// Gives a frame to the port; if that does not take it, it is counted, and this says as what.
    #[inline]
    fn transmit(&mut self, port: PortIndex, frame: Frame) -> Result<(), Reason> {
        let bytes = frame.len();
        if self.taps.are_on() {
            self.taps.leaving(port, self.umem.data(&frame));
        }
        match self.ports[usize::from(port.0)].transmit(frame) {
            Ok(()) => {
                self.counters.sent(port.0.into(), bytes as u64);
                Ok(())
            }
            Err(frame) => Err(self.drop_frame(frame, Reason::TransmitFull)),
        }
    }

    /// Gives back for what.
    fn drop_frame(&mut self, frame: Frame, reason: Reason) -> Reason {
        self.counters.count(reason);
        self.pool.put(frame);
        reason
    }

    /// Hands a copy over, as far as limits and room allow. What is dropped anyway is counted as that; what was to be
    /// taken up by the slow path and can't be, as the reason for that. Gives back as what it is counted.
    fn punt(&mut self, port: PortIndex, Punt { reason, overlay, mtu }: Punt, frame: Frame) -> Reason {
        let handed_over = if !self.police.admits(PuntClass::of(reason), overlay, limit::now()) {
            Err(Reason::Policed)
        } else {
            let frame = FrameCopy::of(self.umem.data(&frame));
            self.punted = true;
            self.punts.push(Punted { reason, port, overlay, mtu, frame }).map_err(|_| Reason::PuntFull)
        };
        self.counters.punted(PuntClass::of(reason), handed_over.is_ok());
        match handed_over {
            Err(instead) if reason.outcome() == Outcome::Punted => self.drop_frame(frame, instead),
            _ => self.drop_frame(frame, reason),
        }
    }

    fn send_answers(&mut self) -> bool {
        let mut busy = false;
        for _ in 0..ANSWERS {
            let Ok(answer) = self.answers.pop() else { break };
            busy = true;
            let (Answer::Send { port, frame: copy } | Answer::Again { port, frame: copy }) = &answer;
            let Some(mut frame) = self.pool.take() else {
                self.counters.count(Reason::NoFrame);
                continue;
            };
            let bytes = copy.bytes();
            if !frame.reset(bytes.len()) {
                self.drop_frame(frame, Reason::TooBig);
                continue;
            }
            self.umem.data_mut(&mut frame).copy_from_slice(bytes);
            match answer {
                Answer::Send { .. } => {
                    if self.transmit(*port, frame).is_ok() {
                        self.counters.count(Reason::SlowPath);
                        if self.taps.are_on() {
                            self.taps.ended(0, Reason::SlowPath);
                        }
                    }
                }
                Answer::Again { .. } => {
                    self.counters.again();
                    self.process(*port, Batch::from_iter([frame]));
                }
            }
        }
        busy
    }
}
