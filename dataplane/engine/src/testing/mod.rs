//! The example gateway for unit tests, with a worker and a slow path.

pub(crate) mod multipath;
pub(crate) mod packets;
pub(crate) mod shards;

use std::sync::{Arc, Mutex};

use arc_swap::Cache;
use crossbeam_channel::Sender;
use port::memory::Wire;
use port::{ChunkSize, Polling, Umem, Waker};

use crate::api::*;
use crate::counters::{Counters, Reason};
use crate::pipeline::Scratch;
use crate::police::Police;
use crate::slowpath::{Command, Deed, SlowPath, Tally, WorkerLink};
use crate::tables::Writer;
use crate::tap::{Taps, WorkerTaps};
use crate::worker::Worker;

pub(crate) use crate::offline::example::*;

/// With this as the only rule overlays reach each other.
pub(crate) fn allow_all() -> Rule {
    Rule {
        action: Action::Allow,
        from: Arc::default(),
        to: Arc::default(),
        protocol: None,
        source_ports: None,
        destination_ports: None,
    }
}

/// A worker and a slow path on in-memory ports, run by hand in one thread.
pub(crate) struct Harness {
    pub(crate) worker: Worker,
    pub(crate) slow_path: SlowPath,
    pub(crate) wires: Vec<Wire>,
    pub(crate) control: Sender<Command>,
    pub(crate) events: Arc<Mutex<Vec<Event>>>,
    pub(crate) tally: Arc<Tally>,
    pub(crate) taps: Arc<Taps>,
}

impl Harness {
    /// The gateway of [`config`], with routes and neighbours.
    pub(crate) fn new() -> Self {
        let mut harness = Self::with(config());
        harness.apply(updates());
        harness
    }

    pub(crate) fn with(config: Config) -> Self {
        let (umem, pool) = Umem::new(port::frames_for(config.ports.len() as u32), ChunkSize::Small).unwrap();
        let (ports, wires): (Vec<_>, Vec<_>) =
            config.ports.iter().map(|_| port::memory::port(&umem).unwrap()).unzip();
        let counters = Arc::new(Counters::new(ports.len(), config.overlays.len()));
        let police = Police::new(&config.punt_limits, config.overlays.len());
        let tally = Arc::new(Tally::new());
        let (writer, flow_readers) = Writer::new(config, 1).unwrap();
        let tables = Cache::new(Arc::clone(writer.published()));
        let (control, commands) = crossbeam_channel::unbounded();
        let waker = Waker::new().unwrap();
        let events: Arc<Mutex<Vec<Event>>> = Arc::default();
        let heard = Arc::clone(&events);
        let events_in = Box::new(move |event| heard.lock().unwrap().push(event));
        let (link, punts, answers) = WorkerLink::new(waker.clone());
        let stop = Arc::default();
        let taps = Taps::new(1);
        let slow_path = SlowPath::new(writer, commands, vec![link], events_in, stop, Arc::clone(&tally));
        let worker = Worker {
            flows: flow_readers.reader().unwrap(),
            scratch: Scratch::new(),
            umem,
            pool,
            ports,
            tables,
            counters,
            punts,
            police,
            punted: false,
            answers,
            absence: crate::absence::Absence::new(None),
            taps: WorkerTaps::new(Arc::clone(&taps), 0),
            slow_path: std::thread::current(),
            waker,
            polling: Polling::Busy,
            stop: Arc::default(),
        };
        let mut harness = Self { worker, slow_path, wires, control, events, tally, taps };
        harness.worker.round();
        harness
    }

    pub(crate) fn apply(&mut self, updates: impl IntoIterator<Item = Update>) {
        for update in updates {
            self.control.send(Command::Update(update)).unwrap();
        }
        while self.slow_path.obey() {}
    }

    /// Lets a frame arrive and returns all that goes out because of it, with the port.
    pub(crate) fn send(&mut self, port: PortIndex, frame: &[u8]) -> Vec<(PortIndex, Vec<u8>)> {
        self.deliver(port, frame);
        self.worker.round();
        self.slow_path.take_punts();
        self.sent()
    }

    /// Lets a frame arrive, which nobody looks at yet.
    pub(crate) fn deliver(&mut self, port: PortIndex, frame: &[u8]) {
        assert!(self.wires[usize::from(port.0)].deliver(frame));
    }

    /// All that goes out now, with the port.
    pub(crate) fn sent(&mut self) -> Vec<(PortIndex, Vec<u8>)> {
        self.worker.round();
        let mut out = Vec::new();
        for (index, wire) in self.wires.iter_mut().enumerate() {
            while let Some(frame) = wire.take() {
                out.push((PortIndex(index as u8), frame));
            }
        }
        out
    }

    pub(crate) fn count(&self, reason: Reason) -> u64 {
        self.worker.counters.reason(reason)
    }

    pub(crate) fn done(&self, deed: Deed) -> u64 {
        self.tally.get(deed)
    }

    /// How often the ways of frames have ended, the answers of the slow path left out.
    pub(crate) fn total(&self) -> u64 {
        Reason::ALL
            .iter()
            .filter(|reason| **reason != Reason::SlowPath)
            .map(|reason| self.count(*reason))
            .sum::<u64>()
            - self.worker.counters.given_back()
    }

    /// Sends a frame that must be dropped for `reason`, and for nothing else.
    #[track_caller]
    pub(crate) fn assert_drop(&mut self, what: &str, port: PortIndex, frame: &[u8], reason: Reason) {
        let (before, total) = (self.count(reason), self.total());
        let out = self.send(port, frame);
        let counted: Vec<_> = Reason::ALL
            .iter()
            .filter(|reason| self.count(**reason) > 0)
            .map(|reason| reason.name())
            .collect();
        assert_eq!(self.count(reason), before + 1, "{what}: counted so far {counted:?}");
        assert_eq!(self.total(), total + 1, "{what}: counted more than once");
        assert!(out.is_empty(), "{what}: {out:?}");
    }
}
