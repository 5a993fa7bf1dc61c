//! The running data plane: started, told of changes, asked how it is, stopped.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use arc_swap::{ArcSwap, Cache};
use crossbeam_channel::Sender;
use port::xdp::{Classifier, ClassifierConfig, PortRole, XdpError};
use port::{
    BindMode, BindRequest, ChunkSize, FramePool, Opened, Polling, Port, PortError, Queue, SocketStatistics,
    StatisticsReader, Umem, Waker, XdpMode,
};
use sys::pages::Pages;
use thiserror::Error;
use wire::{MacAddr, Vni};

use crate::api::{
    AnnouncedStatistics, Config, EndpointStatus, Event, MAX_PORTS, NeighbourStatistics, NeighbourStatus,
    Overlay, PortConfig, PortIndex, PuntClass, Role, Station, Update,
};
use crate::counters::{Counter, Counters, OverlayTraffic, Reason, Traffic};
use crate::pipeline::Scratch;
use crate::police::Police;
use crate::slowpath::{Command, Deed, SlowPath, Tally, WorkerLink};
use crate::tables::flow::{self, Flow, FlowKey};
use crate::tables::{Endpoint, OverlayIndex, Snapshot, TablesError, Way, Writer};
use crate::tap::{Explainer, Explanation, Tap, TapBusy, TapFilter, TapStatus, Tapped, Taps, WorkerTaps};
use crate::worker::Worker;

/// Commands that wait for the slow path before [`Engine::update`] blocks.
const COMMAND_QUEUE: usize = 65_536;

/// Why the engine could not start. Nothing is left behind then.
#[derive(Debug, Error)]
pub enum StartError {
    /// A role that no port has.
    #[error("no port has the role {0}: the configuration must have one at least")]
    NoPort(&'static str),
    /// More ports than there may be.
    #[error("{0} ports are more than {max}: use fewer", max = MAX_PORTS)]
    Ports(usize),
    /// Nobody would forward.
    #[error("no worker: the configuration must have one at least")]
    NoWorkers,
    /// A port's frames fit no buffer.
    #[error("MTU {0} is more than {max}, what the engine's buffers hold: set the port's MTU lower", max = port::MAX_MTU)]
    Mtu(u16),
    /// Two ports ask for different bind modes, which sockets over one memory can't have.
    #[error(
        "one port asks for copy and another for zero-copy: ports share one memory and so one mode; set the same bind for all"
    )]
    BindConflict,
    /// The XDP program could not be loaded or attached.
    #[error("{interface}: {cause}")]
    Xdp {
        /// Where.
        interface: String,
        /// Why, with the remedy.
        #[source]
        cause: XdpError,
    },
    /// A socket could not be had.
    #[error(transparent)]
    Port(#[from] PortError),
    /// The configuration does not fit the tables.
    #[error(transparent)]
    Tables(#[from] TablesError),
    /// A thread could not be put on its core.
    #[error("the worker cannot run on core {0}: correct core in [gateway], or the process's affinity")]
    Core(usize),
    /// Memory, descriptors or threads ran out.
    #[error(
        "{what}: {cause}; check memory, and the limits of open files, locked memory and threads (ulimit -a)"
    )]
    Resource {
        /// For what.
        what: &'static str,
        /// Why.
        #[source]
        cause: io::Error,
    },
}

impl StartError {
    fn resource(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |cause| Self::Resource { what, cause }
    }
}

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
    /// As configured; its endpoints as they are now.
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
}

impl Engine {
    /// Loads the XDP programs, binds the sockets, starts the threads and attaches the programs. What the engine wants
    /// resolved it tells `events`, which must not block.
    ///
    /// # Errors
    /// [`StartError`]; then nothing is attached, bound or running any more.
    pub fn start(config: Config, events: Box<dyn Fn(Event) + Send>) -> Result<Self, StartError> {
        check_ports(&config.ports)?;
        if config.workers.is_empty() {
            return Err(StartError::NoWorkers);
        }
        let classifiers = load_classifiers(&config)?;
        let chunk_size = chunk_size(&config.ports)?;
        let sockets = open_sockets(&config, chunk_size)?;
        let mut attached = join(&config.ports, classifiers, &sockets)?;
        let Sockets { workers: sockets, zero_copy_refusal, .. } = sockets;

        let tally = Arc::new(Tally::new());
        let taps = Taps::new(sockets.len());
        let explainer = Mutex::new(Explainer::new().map_err(StartError::resource("frame memory"))?);
        let stop = Arc::new(AtomicBool::new(false));
        let (commands, command_queue) = crossbeam_channel::bounded(COMMAND_QUEUE);
        let (mut links, mut rings) = (Vec::new(), Vec::new());
        for _ in &sockets {
            let waker = Waker::new().map_err(StartError::resource("event descriptor"))?;
            let (link, punts, answers) = WorkerLink::new(waker.clone());
            links.push(link);
            rings.push((punts, answers, waker));
        }
        let (polling, limits, overlays) = (config.polling, config.punt_limits, config.overlays.len());
        let cores = config.workers.clone();
        // Beside the workers, `for_each_flow` and `explain` read.
        let (writer, flow_readers) = Writer::new(config, sockets.len() + 1)?;
        let reader = || flow_readers.reader().expect("as many as were asked for");
        let tables = Arc::clone(writer.published());
        let record_pages = writer.record_pages();
        let slow_path =
            SlowPath::new(writer, command_queue, links, events, Arc::clone(&stop), Arc::clone(&tally));
        let slow_path = spawn("slow-path", None, move || slow_path.run())?;
        let mut workers = Vec::new();
        for (
            ((number, core), OpenedWorker { umem, pool, ports, counters, scratch }),
            (punts, answers, waker),
        ) in cores.into_iter().enumerate().zip(sockets).zip(rings)
        {
            let pages = umem.pages();
            let worker = Worker {
                flows: reader(),
                scratch,
                umem,
                pool,
                ports,
                tables: Cache::new(Arc::clone(&tables)),
                counters: Arc::clone(&counters),
                punts,
                police: Police::new(&limits, overlays),
                punted: false,
                answers,
                taps: WorkerTaps::new(Arc::clone(&taps), number),
                slow_path: slow_path.thread().clone(),
                waker: waker.clone(),
                polling,
                stop: Arc::clone(&stop),
            };
            let thread =
                spawn(&format!("worker-{number}"), core, move || worker.run()).inspect_err(|_| {
                    stop.store(true, Ordering::Relaxed);
                })?;
            workers.push(RunningWorker { core, pages, counters, waker, thread });
        }
        // Last, so that the first frame finds somebody at home; before this the kernel has the traffic.
        let attach = attached.iter_mut().try_for_each(|port| {
            let PortConfig { interface, ifindex, xdp, .. } = &port.config;
            let attached = port.classifier.attach(*ifindex, interface, *xdp);
            port.xdp = attached.map_err(|cause| StartError::Xdp { interface: interface.clone(), cause })?;
            Ok(())
        });
        let engine = Self {
            ports: attached,
            tables,
            flows: Mutex::new(reader()),
            commands,
            tally,
            taps,
            explainer,
            stop,
            slow_path,
            workers,
            polling,
            record_pages,
            zero_copy_refusal,
        };
        match attach {
            Ok(()) => Ok(engine),
            Err(error) => {
                engine.stop();
                Err(error)
            }
        }
    }

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

fn check_ports(ports: &[PortConfig]) -> Result<(), StartError> {
    let roles = [(Role::is_underlay as fn(Role) -> bool, "underlay"), (Role::is_uplink, "uplink")];
    for (has_role, name) in roles {
        if !ports.iter().any(|port| has_role(port.role)) {
            return Err(StartError::NoPort(name));
        }
    }
    if ports.len() > MAX_PORTS {
        return Err(StartError::Ports(ports.len()));
    }
    Ok(())
}

/// Sockets over one memory have one mode.
fn common_request(ports: &[PortConfig]) -> Result<BindRequest, StartError> {
    let asks = |request| ports.iter().any(|port| port.bind == request);
    match (asks(BindRequest::Copy), asks(BindRequest::ZeroCopy)) {
        (true, true) => Err(StartError::BindConflict),
        (true, false) => Ok(BindRequest::Copy),
        (false, true) => Ok(BindRequest::ZeroCopy),
        (false, false) => Ok(BindRequest::Auto),
    }
}

fn load_classifiers(config: &Config) -> Result<Vec<Classifier>, StartError> {
    let frame_limit = chunk_size(&config.ports)?.max_frame();
    let load = |port: &PortConfig| {
        let classifier = ClassifierConfig {
            role: match port.role {
                Role::Underlay => PortRole::Underlay,
                Role::Uplink => PortRole::Uplink,
                Role::Both => PortRole::Both,
            },
            mac: port.mac,
            vteps: config.vteps.clone(),
            blocks: config.blocks.clone(),
            queues: config.workers.len() as u32,
            frame_limit: frame_limit as u16,
        };
        Classifier::load(&classifier)
            .map_err(|cause| StartError::Xdp { interface: port.interface.clone(), cause })
    };
    config.ports.iter().map(load).collect()
}

/// Chunks that hold the frames of all ports.
fn chunk_size(ports: &[PortConfig]) -> Result<ChunkSize, StartError> {
    let largest = ports.iter().map(|port| port.mtu).max().unwrap_or(0);
    ChunkSize::for_mtu(largest).ok_or(StartError::Mtu(largest))
}

/// The sockets of all workers.
struct Sockets {
    workers: Vec<OpenedWorker>,
    mode: BindMode,
    zero_copy_refusal: Option<String>,
}

/// The sockets of one worker, and the memory that it alone writes.
struct OpenedWorker {
    umem: Arc<Umem>,
    pool: FramePool,
    /// By [`PortIndex`].
    ports: Vec<Port>,
    counters: Arc<Counters>,
    scratch: Box<Scratch>,
}

/// Opens the sockets of all workers, all in one mode, which the first finds out.
fn open_sockets(config: &Config, chunk_size: ChunkSize) -> Result<Sockets, StartError> {
    let mut request = common_request(&config.ports)?;
    let mut sockets = Sockets { workers: Vec::new(), mode: BindMode::Copy, zero_copy_refusal: None };
    for (queue, core) in (0..).zip(&config.workers) {
        let (worker, mode, refusal) = on_core(*core, || open_worker(config, chunk_size, queue, request))??;
        request = match mode {
            BindMode::Copy => BindRequest::Copy,
            BindMode::ZeroCopy => BindRequest::ZeroCopy,
        };
        sockets.mode = mode;
        sockets.zero_copy_refusal = sockets.zero_copy_refusal.or(refusal);
        sockets.workers.push(worker);
    }
    Ok(sockets)
}

/// What one worker needs, the mode of its sockets, and why that is not zero-copy if it was to be found out.
fn open_worker(
    config: &Config,
    chunk_size: ChunkSize,
    queue: u32,
    request: BindRequest,
) -> Result<(OpenedWorker, BindMode, Option<String>), StartError> {
    let chunks = port::frames_for(config.ports.len() as u32);
    let (umem, pool) = Umem::new(chunks, chunk_size).map_err(StartError::resource("frame memory"))?;
    let queues: Vec<Queue<'_>> = config
        .ports
        .iter()
        .map(|port| Queue { interface: &port.interface, ifindex: port.ifindex, queue })
        .collect();
    let Opened { ports, mode, zero_copy_refusal } = port::open(&umem, &queues, request)?;
    let counters = Arc::new(Counters::new(ports.len(), config.overlays.len()));
    let worker = OpenedWorker { umem, pool, ports, counters, scratch: Scratch::new() };
    Ok((worker, mode, zero_copy_refusal.map(|refusal| refusal.summary())))
}

/// Enters each socket into the map of its port's program. Not attached yet.
fn join(
    configs: &[PortConfig],
    classifiers: Vec<Classifier>,
    sockets: &Sockets,
) -> Result<Vec<AttachedPort>, StartError> {
    let join_port = |(index, (config, classifier)): (usize, (&PortConfig, Classifier))| {
        let mut statistics = Vec::new();
        for (queue, worker) in sockets.workers.iter().enumerate() {
            let port = &worker.ports[index];
            if let Some(socket) = port.socket() {
                classifier
                    .set_socket(queue as u32, socket)
                    .map_err(|cause| StartError::Xdp { interface: config.interface.clone(), cause })?;
            }
            statistics.push(port.statistics_reader().map_err(StartError::resource("socket statistics"))?);
        }
        // The mode is known when it is attached.
        let (config, xdp) = (config.clone(), XdpMode::Native);
        Ok(AttachedPort { config, classifier, xdp, bind: sockets.mode, statistics })
    };
    configs.iter().zip(classifiers).enumerate().map(join_port).collect()
}

/// Does `work` on a core, so that the memory that it writes first, and that the kernel takes for it, is of that core's
/// NUMA node.
fn on_core<T: Send>(core: Option<usize>, work: impl FnOnce() -> T + Send) -> Result<T, StartError> {
    let Some(id) = core else { return Ok(work()) };
    std::thread::scope(|scope| {
        let pinned = || core_affinity::set_for_current(core_affinity::CoreId { id }).then(work);
        let thread = std::thread::Builder::new().spawn_scoped(scope, pinned);
        let done = thread.map_err(StartError::resource("thread"))?.join();
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic)).ok_or(StartError::Core(id))
    })
}

fn spawn(
    name: &str,
    core: Option<usize>,
    body: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, StartError> {
    let (pinned, is_pinned) = crossbeam_channel::bounded(1);
    let thread = std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let on_core = core.is_none_or(|id| core_affinity::set_for_current(core_affinity::CoreId { id }));
            if pinned.send(on_core).is_ok() && on_core {
                body();
            }
        })
        .map_err(StartError::resource("thread"))?;
    match (is_pinned.recv(), core) {
        (Ok(false), Some(core)) => Err(StartError::Core(core)),
        _ => Ok(thread),
    }
}
