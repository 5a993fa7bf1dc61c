//! The pipeline without ports, for benches and fuzzers: tables, decisions, rewriting, counters and drop reasons, all on.

use std::sync::Arc;

use port::{BATCH, Batch, FramePool, Umem};

use crate::api::{Config, PortIndex, Update};
use crate::counters::{Counters, Reason};
use crate::engine::Counter;
use crate::pipeline::{self, Verdict};
use crate::tables::Writer;

/// Frames of an offline pipeline's memory: enough for a batch in hand and one being made.
const FRAMES: u32 = 16 * BATCH as u32;

/// Tables and a worker's half of the pipeline, in the caller's thread.
pub struct Pipeline {
    writer: Writer,
    umem: Arc<Umem>,
    pool: FramePool,
    counters: Counters,
}

impl Pipeline {
    /// Tables as the configuration says; no routes yet.
    ///
    /// # Panics
    /// If there is no memory.
    pub fn new(config: Config) -> Self {
        let ports = config.ports.len();
        let (umem, pool) = Umem::new(FRAMES).expect("memory for a thousand frames");
        Self { writer: Writer::new(config), umem, pool, counters: Counters::new(ports) }
    }

    /// Applies and publishes updates.
    pub fn apply(&mut self, updates: impl IntoIterator<Item = Update>) {
        updates.into_iter().for_each(|update| self.writer.apply(update));
        self.writer.publish();
    }

    /// The frame memory.
    pub fn umem(&self) -> &Arc<Umem> {
        &self.umem
    }

    /// Frames to be filled.
    pub fn pool(&mut self) -> &mut FramePool {
        &mut self.pool
    }

    /// Takes frames from `port` through the pipeline; they are rewritten in place. How many are to be sent.
    pub fn process(&mut self, port: PortIndex, batch: &mut Batch) -> usize {
        let tables = self.writer.current();
        let mut sent = 0;
        for frame in batch.iter_mut() {
            match pipeline::process(tables, &self.umem, port, frame) {
                Verdict::Transmit(_, reason) => {
                    self.counters.count(reason);
                    sent += 1;
                }
                Verdict::Punt(punt) => self.counters.count(punt.reason()),
                Verdict::Drop(reason) => self.counters.count(reason),
            }
        }
        sent
    }

    /// What happened to all frames.
    pub fn counters(&self) -> Vec<Counter> {
        let value = |reason: &Reason| Counter {
            reason: *reason,
            outcome: reason.outcome(),
            value: self.counters.reason(*reason),
        };
        Reason::ALL.iter().map(value).collect()
    }
}
