//! The pipeline without ports, for benches and fuzzers: tables, decisions, rewriting, counters and drop reasons, all on.

pub(crate) mod example;
#[doc(hidden)]
pub mod fuzz;
mod intake;
pub mod rules;

pub use intake::Intake;

use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};
use port::{BATCH, Batch, ChunkSize, Frame, FramePool, Umem};

use crate::api::{Config, PortIndex, Station, Update};
use crate::counters::{Counter, Counters};
use crate::pipeline::{self, Context, Scratch, Verdict, lane};
use crate::tables::flow::TableFull;
use crate::tables::{Snapshot, Writer};

/// Frames of an offline pipeline's memory: enough for a batch in hand and one being made.
const FRAMES: u32 = 16 * BATCH as u32;

/// Who may read the tables at once.
const MAX_FORWARDERS: usize = 16;

/// Tables and one forwarder, in the caller's thread.
pub struct Pipeline {
    writer: Writer,
    readers: flow::FlowReaders,
    forwarder: Forwarder,
}

/// A worker's own half of the pipeline: all that it does not share with others.
pub struct Forwarder {
    tables: Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>,
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
        let (writer, readers) = Writer::new(config, MAX_FORWARDERS).expect("tables for the configuration");
        let forwarder = Forwarder::new(&writer, &readers);
        Self { writer, readers, forwarder }
    }

    /// Another forwarder with the same tables, for another thread; its memory is of this thread's NUMA node.
    ///
    /// # Panics
    /// If there are 16 already, or there is no memory.
    pub fn forwarder(&self) -> Forwarder {
        Forwarder::new(&self.writer, &self.readers)
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

    /// The frame memory of its own forwarder.
    pub fn umem(&self) -> &Arc<Umem> {
        self.forwarder.umem()
    }

    /// Frames to be filled.
    pub fn pool(&mut self) -> &mut FramePool {
        self.forwarder.pool()
    }

    /// As [`Forwarder::process`].
    pub fn process(&mut self, port: PortIndex, batch: &mut Batch) -> usize {
        self.forwarder.process(port, batch)
    }

    /// What happened to all frames of its own forwarder.
    pub fn counters(&self) -> Vec<Counter> {
        self.forwarder.counters()
    }
}

impl Forwarder {
    fn new(writer: &Writer, readers: &flow::FlowReaders) -> Self {
        let tables = Cache::new(Arc::clone(writer.published()));
        let (ports, overlays) =
            (writer.current().fixed.ports.len(), writer.current().overlays.iter().count());
        let (umem, pool) = Umem::new(FRAMES, ChunkSize::Small).expect("memory for a thousand frames");
        Self {
            tables,
            flows: readers.reader().expect("not more than there may be"),
            scratch: Scratch::new(),
            umem,
            pool,
            counters: Counters::new(ports, overlays),
        }
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
        let context =
            Context { tables: self.tables.load(), flows: &flows, umem: &self.umem, counters: &self.counters };
        let mut sent = 0;
        pipeline::process(context, &mut self.scratch, port, batch);
        for verdict in &self.scratch.verdicts[..batch.len()] {
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

    /// Takes two frames with the same bytes the short way and the general one.
    ///
    /// # Panics
    /// Unless both do the same, or the short way leaves it to the other.
    fn go_both_ways(&mut self, port: PortIndex, short: &mut Frame, general: &mut Frame) {
        let flows = self.flows.view();
        let context =
            Context { tables: self.tables.load(), flows: &flows, umem: &self.umem, counters: &self.counters };
        lane::agree(context, port, short, general);
    }

    /// What happened to all frames.
    pub fn counters(&self) -> Vec<Counter> {
        self.counters.all()
    }
}

/// The flow table alone.
pub mod flow {
    pub use crate::tables::flow::{
        Flow, FlowKey, FlowReader, FlowReaders, FlowStatistics, FlowWriter, Lookup, PackedFlow, Secret,
        TableFull, View, flow_table,
    };
}
