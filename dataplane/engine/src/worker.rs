//! A worker: one thread that takes frames from its ports through the pipeline, to completion.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;
use std::time::Duration;

use arc_swap::{ArcSwap, Cache};
use port::{Batch, Frame, FramePool, Idle, Port, Umem, Waker};

use crate::api::PortIndex;
use crate::counters::{Counters, Reason};
use crate::pipeline::{self, Context, Punt, Scratch, Verdict};
use crate::slowpath::{Answer, FrameCopy, Punted};
use crate::tables::Snapshot;
use crate::tables::flow;

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
    /// Whether there were punts in this round.
    pub(crate) punted: bool,
    pub(crate) answers: rtrb::Consumer<Answer>,
    /// To be unparked when there are punts.
    pub(crate) slow_path: Thread,
    pub(crate) waker: Waker,
    pub(crate) idle: Idle,
    pub(crate) stop: Arc<AtomicBool>,
}

impl Worker {
    /// Runs until told to stop.
    pub(crate) fn run(mut self) {
        while !self.stop.load(Ordering::Relaxed) {
            let busy = self.round();
            if busy {
                continue;
            }
            match self.idle {
                Idle::Spin => std::hint::spin_loop(),
                Idle::Block => {
                    let unsent = self.ports.iter_mut().any(Port::has_unsent);
                    // The writer need not wait for a worker that holds nothing.
                    self.flows.offline();
                    port::wait(&self.ports, &self.waker, if unsent { RETRY } else { SLEEP });
                }
            }
        }
    }

    /// Serves each port once; whether there was anything to do.
    pub(crate) fn round(&mut self) -> bool {
        let mut busy = false;
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
        self.flows.quiesce();
        busy
    }

    fn serve(&mut self, port: usize) -> bool {
        let mut batch = Batch::new();
        if self.ports[port].receive(&mut batch) == 0 {
            return false;
        }
        let bytes = batch.iter().map(Frame::len).sum::<usize>();
        self.counters.received(port, batch.len() as u64, bytes as u64);
        let flows = self.flows.view();
        let context =
            Context { tables: self.tables.load(), flows: &flows, umem: &self.umem, counters: &self.counters };
        pipeline::process(context, &mut self.scratch, PortIndex(port as u8), &mut batch);
        for (index, frame) in batch.into_iter().enumerate() {
            match self.scratch.verdicts[index] {
                Verdict::Transmit(forwarded) => {
                    if self.transmit(forwarded.port, frame) {
                        self.counters.forwarded(&forwarded);
                    }
                }
                Verdict::Punt(punt) => self.punt(punt, frame),
                Verdict::Drop(reason) => self.drop_frame(frame, reason),
            }
        }
        true
    }

    /// Whether the port took it; if not, that is counted.
    #[inline]
    fn transmit(&mut self, port: PortIndex, frame: Frame) -> bool {
        let bytes = frame.len();
        match self.ports[usize::from(port.0)].transmit(frame) {
            Ok(()) => {
                self.counters.sent(port.0.into(), bytes as u64);
                true
            }
            Err(frame) => {
                self.drop_frame(frame, Reason::TransmitFull);
                false
            }
        }
    }

    fn drop_frame(&mut self, frame: Frame, reason: Reason) {
        self.counters.count(reason);
        self.pool.put(frame);
    }

    fn punt(&mut self, punt: Punt, frame: Frame) {
        let reason = punt.reason();
        let punted = match punt {
            Punt::Resolve { next_hop, packet, end } => {
                let packet = FrameCopy::of(&self.umem.data(&frame)[packet.into()..end.into()]);
                Punted::Resolve { next_hop, packet }
            }
            Punt::FromStation { reason, vni, endpoint, inner, end } => {
                let frame = FrameCopy::of(&self.umem.data(&frame)[inner.into()..end.into()]);
                Punted::FromStation { reason, vni, endpoint, frame }
            }
        };
        let reason = if self.punts.push(punted).is_ok() { reason } else { Reason::PuntFull };
        self.punted = true;
        self.drop_frame(frame, reason);
    }

    fn send_answers(&mut self) -> bool {
        let mut busy = false;
        for _ in 0..ANSWERS {
            let Ok(answer) = self.answers.pop() else { break };
            busy = true;
            let Some(mut frame) = self.pool.take() else {
                self.counters.count(Reason::NoFrame);
                continue;
            };
            let bytes = answer.frame.bytes();
            let fits = frame.reset(bytes.len());
            assert!(fits, "a copy holds no more than a frame");
            self.umem.data_mut(&mut frame).copy_from_slice(bytes);
            if self.transmit(answer.port, frame) {
                self.counters.count(Reason::SlowPath);
            }
        }
        busy
    }
}
