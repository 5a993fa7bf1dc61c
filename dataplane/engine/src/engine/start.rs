//! How the engine starts: programs, sockets and threads, all or nothing.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use arc_swap::Cache;
use port::xdp::{Classifier, ClassifierConfig, PortRole, XdpError};
use port::{
    BindMode, BindRequest, ChunkSize, FramePool, Opened, Port, PortError, Queue, Umem, Waker, XdpMode,
};
use thiserror::Error;

use super::{AttachedPort, Engine, RunningWorker};
use crate::absence::Absence;
use crate::api::{Config, Event, MAX_PORTS, PortConfig, Role, Shard};
use crate::counters::Counters;
use crate::pipeline::Scratch;
use crate::police::Police;
use crate::slowpath::{SlowPath, Tally, WorkerLink};
use crate::tables::{TablesError, Writer};
use crate::tap::{Explainer, Taps, WorkerTaps};
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
        let stale_after = config.stale_after;
        let (polling, limits, overlays) = (config.polling, config.punt_limits, config.overlays.len());
        let cores = config.workers.clone();
        // Beside the workers, `for_each_flow` and `explain` read.
        let (writer, flow_readers) = Writer::new(config, sockets.len() + 1)?;
        let reader = || flow_readers.reader().expect("as many as were asked for");
        let tables = Arc::clone(writer.published());
        let record_pages = writer.record_pages();
        let slow_path =
            SlowPath::new(writer, command_queue, links, events, Arc::clone(&stop), Arc::clone(&tally))
                .with_stale_after(stale_after);
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
                absence: Absence::new(stale_after),
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
            seen: Mutex::default(),
        };
        match attach {
            Ok(()) => Ok(engine),
            Err(error) => {
                engine.stop();
                Err(error)
            }
        }
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
            vteps: config.vteps.iter().copied().chain(config.shards.iter().flat_map(Shard::vteps)).collect(),
            answered: config.shards.iter().flat_map(|shard| shard.at_ports(port.role)).collect(),
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
    /// By [`PortIndex`](crate::api::PortIndex).
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
