//! The running data plane: started, told of changes, asked how it is, stopped.

mod start;
mod traffic;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use crossbeam_channel::Sender;
use port::xdp::Classifier;
use port::{BindMode, Polling, SocketStatistics, StatisticsReader, Waker, XdpMode};
use sys::pages::Pages;
use wire::{MacAddr, Vni};

use crate::api::{
    AnnouncedStatistics, BindingCursor, BindingPage, EndpointStatus, NeighbourStatistics, NeighbourStatus,
    Overlay, PortConfig, PortIndex, PuntClass, Role, Station, Update,
};
use crate::counters::{Counter, Counters, OverlayTraffic, Reason, Traffic};
use crate::slowpath::{Command, Deed, Tally};
use crate::tables::flow::{self, Flow, FlowKey};
use crate::tables::{Endpoint, OverlayIndex, Snapshot, Way};
use crate::tap::{Explainer, Explanation, Tap, TapBusy, TapFilter, TapStatus, Tapped, Taps};

pub use start::StartError;

/// How a port is.
#[derive(Clone, Debug)]
pub struct PortStatus {
    /// Name of the netdev.
    pub interface: String,
    /// What it is for.
    pub role: Role,
    /// How many of its queues are served: all of them.
    pub queues: usize,
    /// Where the XDP program was attached.
    pub xdp: XdpMode,
    /// How the socket was bound.
    pub bind: BindMode,
    /// Why `auto` did not end in native XDP, if it did not.
    pub fallback: Option<String>,
    /// MAC address that frames must be for.
    pub mac: MacAddr,
    /// Its MTU, in bytes of an IP packet.
    pub mtu: u16,
    /// Whether it is up and has a carrier, as far as control has said.
    pub is_up: bool,
    /// Frames and bytes.
    pub traffic: Traffic,
    /// The XDP program's counters, by verdict.
    pub verdicts: Vec<(String, u64)>,
    /// The socket's counters.
    pub socket: SocketStatistics,
}

/// An overlay, how many stations it has, and what went through it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverlayStatus {
    /// As configured; its endpoints, and whether this gateway is its owner, as they are now.
    pub overlay: Overlay,
    /// Packets and bytes, over all workers.
    pub traffic: OverlayTraffic,
    /// How many stations are known in it.
    pub stations: usize,
}

/// How many frames of a class were for the slow path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PuntCount {
    /// The class.
    pub class: PuntClass,
    /// Those that it was given.
    pub handed_over: u64,
    /// Those over the limits, and those that the queue had no room for.
    pub refused: u64,
}

/// How a worker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerStatus {
    /// Its number, which is that of the queue that it serves of each port.
    pub number: usize,
    /// The core that it is pinned to.
    pub core: Option<usize>,
    /// What it does when there is nothing to do.
    pub polling: Polling,
    /// What pages the memory of its frames is made of. They are of its core's NUMA node, if that has enough.
    pub pages: Pages,
    /// How often it has looked at its ports.
    pub rounds: u64,
    /// How often it has gone to sleep.
    pub sleeps: u64,
    /// Frames that it has received, from all ports.
    pub frames: u64,
}

/// A port with its XDP program.
struct AttachedPort {
    config: PortConfig,
    classifier: Classifier,
    xdp: XdpMode,
    bind: BindMode,
    /// By queue.
    statistics: Vec<Option<StatisticsReader>>,
}

/// A worker that runs.
struct RunningWorker {
    core: Option<usize>,
    pages: Pages,
    counters: Arc<Counters>,
    waker: Waker,
    thread: JoinHandle<()>,
}

/// A running data plane. Dropped without [`stop`](Self::stop) its threads go on until the process ends.
pub struct Engine {
    ports: Vec<AttachedPort>,
    tables: Arc<ArcSwap<Snapshot>>,
    /// For `stations`; offline in between.
    flows: Mutex<flow::FlowReader>,
    commands: Sender<Command>,
    tally: Arc<Tally>,
    taps: Arc<Taps>,
    explainer: Mutex<Explainer>,
    stop: Arc<AtomicBool>,
    slow_path: JoinHandle<()>,
    workers: Vec<RunningWorker>,
    polling: Polling,
    record_pages: Pages,
    zero_copy_refusal: Option<String>,
    /// For `busiest_first`.
    seen: Mutex<traffic::Seen>,
}

impl Engine {
    /// Hands a write to the slow path; blocks while too many wait.
    pub fn update(&self, update: Update) {
        if let Update::PortMac { port, mac } = &update
            && let Some(port) = self.ports.get(usize::from(port.0))
        {
            // Should this fail, frames for the new address go to the kernel, which is what they did before.
            let _ = port.classifier.set_mac(*mac);
        }
        // Fails only when the slow path is gone, that is, while stopping.
        let _ = self.commands.send(Command::Update(update));
        self.slow_path.thread().unpark();
    }

    /// Waits until workers see all that was handed over by [`update`](Self::update) before.
    pub fn settle(&self) {
        let (answer, answered) = crossbeam_channel::bounded(1);
        self.after_updates(move || _ = answer.send(()));
        // Fails only when the slow path is gone, that is, while stopping.
        let _ = answered.recv();
    }

    /// Has the slow path call `then`, which must not block, when workers see all that was handed over before.
    pub fn after_updates(&self, then: impl FnOnce() + Send + 'static) {
        let _ = self.commands.send(Command::Settle(Box::new(then)));
        self.slow_path.thread().unpark();
    }

    /// The addresses that stations were learned to have, and those that are being asked for; of all overlays or of one,
    /// in no order.
    pub fn neighbours(&self, vni: Option<Vni>) -> Vec<NeighbourStatus> {
        let (answer, answered) = crossbeam_channel::bounded(1);
        let _ = self.commands.send(Command::Neighbours(vni, answer));
        self.slow_path.thread().unpark();
        // Fails only when the slow path is gone, that is, while stopping.
        answered.recv().unwrap_or_default()
    }

    /// A part of the bindings that were learned, from the cursor on: the slow path looks at `most` entries at once.
    /// Changes are told in their order; `None` while stopping.
    pub fn bindings(&self, cursor: BindingCursor, most: usize) -> Option<BindingPage> {
        let (answer, answered) = crossbeam_channel::bounded(1);
        let _ = self.commands.send(Command::Bindings(cursor, most, answer));
        self.slow_path.thread().unpark();
        answered.recv().ok()
    }

    /// These overlays, those first that have carried most packets through this gateway since they were last asked about, and how many.
    /// Those that are not configured are left out.
    pub fn busiest_first(&self, overlays: &[Vni]) -> Vec<(Vni, u64)> {
        let tables = self.tables.load();
        let packets = overlays.iter().filter_map(|&vni| {
            let index = tables.overlays.by_vni(vni)?.0 as usize;
            let traffic: OverlayTraffic =
                self.worker_counters().map(|counters| counters.overlay(index)).sum();
            Some((vni, traffic.egress_packets + traffic.ingress_packets))
        });
        // A panic elsewhere while it was held cannot have left it half-changed.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).busiest_first(packets)
    }

    /// How many addresses of stations are known and asked for, and how often a limit was met.
    pub fn neighbour_statistics(&self) -> NeighbourStatistics {
        let (answer, answered) = crossbeam_channel::bounded(1);
        let _ = self.commands.send(Command::NeighbourStatistics(answer));
        self.slow_path.thread().unpark();
        // Fails only when the slow path is gone, that is, while stopping.
        answered.recv().unwrap_or_default()
    }

    /// How much is announced, and what there was no room for.
    pub fn announced_statistics(&self) -> AnnouncedStatistics {
        let (answer, answered) = crossbeam_channel::bounded(1);
        let _ = self.commands.send(Command::AnnouncedStatistics(answer));
        self.slow_path.thread().unpark();
        // Fails only when the slow path is gone, that is, while stopping.
        answered.recv().unwrap_or_default()
    }

    /// How the ports are.
    pub fn ports(&self) -> Vec<PortStatus> {
        let fixed = Arc::clone(&self.tables.load().fixed);
        let status = |(index, port): (usize, &AttachedPort)| PortStatus {
            interface: port.config.interface.clone(),
            role: port.config.role,
            queues: self.workers.len(),
            xdp: port.xdp,
            bind: port.bind,
            fallback: port.classifier.native_refusal().map(ToString::to_string),
            mac: fixed.port_mac(PortIndex(index as u8)),
            mtu: port.config.mtu,
            is_up: fixed.port(PortIndex(index as u8)).is_up(),
            traffic: self.worker_counters().map(|counters| counters.traffic(index)).sum(),
            verdicts: port
                .classifier
                .counters()
                .unwrap_or_default()
                .into_iter()
                .map(|(verdict, count)| (verdict.to_string(), count))
                .collect(),
            socket: port.statistics.iter().flatten().filter_map(|reader| reader.read().ok()).sum(),
        };
        self.ports.iter().enumerate().map(status).collect()
    }

    /// Why `auto` did not end in zero-copy mode, which all ports have or none; `None` if it did.
    pub fn zero_copy_refusal(&self) -> Option<&str> {
        self.zero_copy_refusal.as_deref()
    }

    /// What happened to all frames since the start, each reason once.
    pub fn counters(&self) -> Vec<Counter> {
        let sum = |reason: &Reason| Counter {
            reason: *reason,
            outcome: reason.outcome(),
            value: self.worker_counters().map(|counters| counters.reason(*reason)).sum(),
        };
        Reason::ALL.iter().map(sum).collect()
    }

    /// What the slow path did since the start, each deed once.
    pub fn deeds(&self) -> Vec<(Deed, u64)> {
        Deed::ALL.iter().map(|deed| (*deed, self.tally.get(*deed))).collect()
    }

    /// How many frames the slow path was given, and how many it was not because of limits or for want of room, by class.
    pub fn punts(&self) -> [PuntCount; PuntClass::ALL.len()] {
        PuntClass::ALL.map(|class| {
            let counts = self.worker_counters().map(|counters| counters.punts()[class as usize]);
            let [handed_over, refused] = counts.fold([0; 2], |[a, b], [c, d]| [a + c, b + d]);
            PuntCount { class, handed_over, refused }
        })
    }

    /// How many frames the slow path gave back to be looked at again: each was counted twice, and received once.
    pub fn given_back(&self) -> u64 {
        self.worker_counters().map(Counters::given_back).sum()
    }

    /// The overlays, or the one with this VNI.
    pub fn overlays(&self, vni: Option<Vni>) -> Vec<OverlayStatus> {
        let tables = self.tables.load();
        let mut counts = HashMap::<Vni, usize>::new();
        self.for_each_flow(|key, flow| {
            if key.as_mac().is_some() {
                *counts.entry(flow.vni).or_default() += 1;
            }
        });
        tables
            .overlays
            .iter()
            .enumerate()
            .filter(|(_, overlay)| vni.is_none_or(|vni| overlay.vni == vni))
            .map(|(index, overlay)| OverlayStatus {
                overlay: Overlay {
                    endpoints: tables.members_of(OverlayIndex(index as u32)).collect(),
                    owner: tables.overlays.is_owner(OverlayIndex(index as u32)),
                    ..overlay.clone()
                },
                traffic: self.worker_counters().map(|counters| counters.overlay(index)).sum(),
                stations: counts.get(&overlay.vni).copied().unwrap_or(0),
            })
            .collect()
    }

    /// The endpoints of all overlays, in no order.
    pub fn endpoints(&self) -> Vec<EndpointStatus> {
        let status = |endpoint: &Endpoint| EndpointStatus {
            address: endpoint.address,
            is_reachable: !matches!(endpoint.way, Way::Reject),
        };
        self.tables.load().endpoints.iter().map(status).collect()
    }

    /// The stations, or those of one overlay, by VNI and MAC.
    pub fn stations(&self, vni: Option<Vni>) -> Vec<Station> {
        let tables = self.tables.load();
        let mut stations = BTreeMap::<(Vni, MacAddr), Station>::new();
        self.for_each_flow(|key, flow| {
            if vni.is_none_or(|vni| flow.vni == vni) {
                let station = stations.entry((flow.vni, flow.mac)).or_insert_with(|| Station {
                    vni: flow.vni,
                    mac: flow.mac,
                    endpoint: tables.endpoints.get(flow.endpoint).address,
                    addresses: Vec::new(),
                });
                station.addresses.extend(key.as_address());
            }
        });
        let sorted = |mut station: Station| {
            station.addresses.sort_unstable();
            station
        };
        stations.into_values().map(sorted).collect()
    }

    fn for_each_flow(&self, each: impl FnMut(FlowKey, Flow)) {
        // A panic elsewhere while it was held cannot have left it half-changed.
        let mut reader = self.flows.lock().unwrap_or_else(PoisonError::into_inner);
        reader.view().for_each(each);
        reader.offline();
    }

    /// Begins to copy the frames that `filter` is for, until the tap is dropped; once it [is on](Tap::is_on) none is
    /// missed.
    ///
    /// # Errors
    /// [`TapBusy`] if there are as many as there may be.
    pub fn tap(&self, filter: TapFilter) -> Result<Tap, TapBusy> {
        let tap = self.taps.open(filter, &self.tables.load())?;
        // They may be asleep.
        self.workers.iter().for_each(|worker| worker.waker.wake());
        Ok(tap)
    }

    /// The taps that are on.
    pub fn taps(&self) -> Vec<TapStatus> {
        self.taps.status()
    }

    /// Tells the way of a received frame step by step, by taking the copy through the pipeline again, with the tables as
    /// they are now. Nothing is counted, and no rate limit is used up.
    pub fn explain(&self, tapped: &Tapped) -> Explanation {
        let interfaces: Vec<&str> = self.ports.iter().map(|port| port.config.interface.as_str()).collect();
        let tables = self.tables.load();
        // A panic elsewhere while they were held cannot have left them half-changed.
        let mut reader = self.flows.lock().unwrap_or_else(PoisonError::into_inner);
        let mut explainer = self.explainer.lock().unwrap_or_else(PoisonError::into_inner);
        let counters = &self.workers[0].counters;
        let explanation = explainer.explain(&tables, &reader.view(), counters, &interfaces, tapped);
        reader.offline();
        explanation
    }

    /// Detaches the programs, stops the threads and waits for them.
    pub fn stop(self) {
        // Programs first: what arrives from now on is the kernel's.
        drop(self.ports);
        self.stop.store(true, Ordering::Relaxed);
        self.workers.iter().for_each(|worker| worker.waker.wake());
        self.slow_path.thread().unpark();
        let workers = self.workers.into_iter().map(|worker| worker.thread);
        for thread in workers.chain([self.slow_path]) {
            // A panic has been printed by the thread itself.
            let _ = thread.join();
        }
    }

    /// Which ports are up, as far as control has told. Costs next to nothing.
    pub fn ports_up(&self) -> Vec<(Role, bool)> {
        let fixed = Arc::clone(&self.tables.load().fixed);
        let up = |(index, port): (usize, &AttachedPort)| {
            (port.config.role, fixed.port(PortIndex(index as u8)).is_up())
        };
        self.ports.iter().enumerate().map(up).collect()
    }

    /// How often each worker has looked at its ports: each some hundred times a second at least, also without frames. Costs
    /// next to nothing.
    pub fn rounds(&self) -> Vec<u64> {
        self.workers.iter().map(|worker| worker.counters.activity().0).collect()
    }

    /// How the workers are.
    pub fn workers(&self) -> Vec<WorkerStatus> {
        let status = |(number, worker): (usize, &RunningWorker)| {
            let (rounds, sleeps) = worker.counters.activity();
            WorkerStatus {
                number,
                core: worker.core,
                polling: self.polling,
                pages: worker.pages,
                rounds,
                sleeps,
                frames: (0..self.ports.len()).map(|port| worker.counters.traffic(port).rx_packets).sum(),
            }
        };
        self.workers.iter().enumerate().map(status).collect()
    }

    /// What pages the records of the flow table are made of, the largest part of all tables.
    pub fn record_pages(&self) -> Pages {
        self.record_pages
    }

    fn worker_counters(&self) -> impl Iterator<Item = &Counters> {
        self.workers.iter().map(|worker| &*worker.counters)
    }
}
