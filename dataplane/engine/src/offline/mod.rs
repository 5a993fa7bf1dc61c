//! The pipeline without ports, for benches and fuzzers: tables, decisions, rewriting, counters and drop reasons, all on.

pub(crate) mod example;
#[doc(hidden)]
pub mod fuzz;
pub mod rules;

use std::sync::Arc;

use port::{BATCH, Batch, ChunkSize, FramePool, Umem};

use crate::api::{Config, PortIndex, Station, Update};
use crate::counters::{Counter, Counters};
use crate::pipeline::{self, Context, Scratch, Verdict};
use crate::tables::Writer;
use crate::tables::flow::TableFull;

/// Frames of an offline pipeline's memory: enough for a batch in hand and one being made.
const FRAMES: u32 = 16 * BATCH as u32;

/// Tables and a worker's half of the pipeline, in the caller's thread.
pub struct Pipeline {
    writer: Writer,
    flows: flow::FlowReader,
    scratch: Box<Scratch>,
    umem: Arc<Umem>,
    pool: FramePool,
    counters: Counters,
}

impl Pipeline {
    /// Tables as the configuration says; no routes yet.
    ///
    /// # Panics
    /// If there is no memory, or the stations do not fit the flow table.
    pub fn new(config: Config) -> Self {
        let counters = Counters::new(config.ports.len(), config.overlays.len());
        let (umem, pool) = Umem::new(FRAMES, ChunkSize::Small).expect("memory for a thousand frames");
        let (writer, readers) = Writer::new(config, 1).expect("tables for the configuration");
        let flows = readers.reader().expect("one was asked for");
        Self { writer, flows, scratch: Scratch::new(), umem, pool, counters }
    }

    /// Enters a station, or moves it to another endpoint.
    ///
    /// # Errors
    /// When the flow table is full.
    pub fn set_station(&mut self, station: &Station) -> Result<(), TableFull> {
        self.writer.set_station(station)
    }

    /// Bytes of the tables.
    pub fn memory_bytes(&self) -> usize {
        self.writer.memory_bytes()
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
        let flows = self.flows.view();
        let context = Context {
            tables: self.writer.current(),
            flows: &flows,
            umem: &self.umem,
            counters: &self.counters,
        };
        let mut sent = 0;
        pipeline::process(context, &mut self.scratch, port, batch);
        for verdict in &self.scratch.verdicts {
            match verdict {
                Verdict::Transmit(forwarded) => {
                    self.counters.forwarded(forwarded);
                    sent += 1;
                }
                Verdict::Punt(punt) => self.counters.count(punt.reason),
                Verdict::Drop(reason) => self.counters.count(*reason),
            }
        }
        sent
    }

    /// What happened to all frames.
    pub fn counters(&self) -> Vec<Counter> {
        self.counters.all()
    }
}

/// The flow table alone.
pub mod flow {
    pub use crate::tables::flow::{
        Candidate, Flow, FlowKey, FlowReader, FlowReaders, FlowStatistics, FlowWriter, Hash, Secret,
        TableFull, View, flow_table,
    };
}
