//! Ports attached to netdevs: their AF_XDP sockets, one a queue, over one memory, and the XDP programs that feed them.

use std::io;
use std::sync::Arc;

use port::xdp::{Collected, Collector, CollectorConfig, Wanted, XdpError};
use port::{
    BindRequest, ChunkSize, FramePool, MAX_MTU, Port, PortError, Queue, SocketStatistics, StatisticsReader,
    Umem, XdpRequest,
};
use serde::{Deserialize, Serialize};
use sys::ethtool::Ethtool;
use sys::netdev::Netdev;
use thiserror::Error;

use crate::drops::DropCounters;

/// Which netdev is to be attached to, and how.
#[derive(Clone, Debug)]
pub struct AttachOptions {
    /// Its name.
    pub interface: String,
    /// How its XDP program is attached.
    pub xdp: XdpRequest,
    /// How its sockets are bound; those of the first netdev decide for all.
    pub bind: BindRequest,
    /// Which frames are taken.
    pub wanted: Wanted,
}

impl AttachOptions {
    /// By default everywhere.
    pub fn new(interface: impl Into<String>) -> Self {
        Self {
            interface: interface.into(),
            xdp: XdpRequest::Auto,
            bind: BindRequest::Auto,
            wanted: Wanted::Traffic,
        }
    }
}

/// A port that could not be had.
#[derive(Debug, Error)]
pub enum AttachError {
    /// There is no such netdev.
    #[error(
        "no interface {interface} here: {source}; see `ip link`, and `ip netns exec` for another namespace"
    )]
    Interface {
        /// The name.
        interface: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// It is not up.
    #[error("{0} is down or has no carrier: `ip link set dev {0} up`, and look at its far end")]
    Down(String),
    /// Its frames do not fit.
    #[error(
        "{interface} has MTU {mtu}, and frames of more than {MAX_MTU} bytes do not fit: `ip link set dev {interface} mtu {MAX_MTU}`"
    )]
    Mtu {
        /// The name.
        interface: String,
        /// In bytes.
        mtu: u32,
    },
    /// The XDP program.
    #[error(transparent)]
    Xdp(#[from] XdpError),
    /// A socket.
    #[error(transparent)]
    Socket(#[from] PortError),
    /// Memory or descriptors.
    #[error("not enough memory or descriptors: {0}; see `ulimit -l` and `ulimit -n`")]
    Resource(#[from] io::Error),
}

/// What is attached.
pub struct Attached {
    /// The memory of all frames.
    pub umem: Arc<Umem>,
    /// Its free frames.
    pub pool: FramePool,
    /// In the order that they were asked for.
    pub netdevs: Vec<AttachedNetdev>,
}

/// A netdev that is attached. Dropping it takes the program off.
pub struct AttachedNetdev {
    /// One a queue.
    pub ports: Vec<Port>,
    /// How it is attached.
    pub facts: PortFacts,
    /// Tells whether it is still there, and what it lost.
    pub watch: PortWatch,
}

/// What a report says of a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortFacts {
    /// Name of the netdev.
    pub interface: String,
    /// Its driver.
    pub driver: String,
    /// The driver's firmware, if it has any.
    pub firmware: String,
    /// Bytes of the longest packet.
    pub mtu: u32,
    /// How many queues are served.
    pub queues: u32,
    /// Speed of the link in Mbit/s, if it has one.
    pub speed: Option<u32>,
    /// Where the XDP program is: `native` or `generic`; `none` at a port that only sends.
    pub xdp: String,
    /// Why it is not `native`, if that was tried.
    pub xdp_refusal: Option<String>,
    /// How the sockets are bound: `copy` or `zero-copy`.
    pub bind: String,
    /// Why it is not `zero-copy`, if that was tried.
    pub bind_refusal: Option<String>,
}

impl PortFacts {
    /// Of a netdev that is not attached to: all but the modes.
    pub fn of(interface: &str, queues: u32, mtu: u32) -> Self {
        let ethtool = Ethtool::open().ok();
        let driver = ethtool.as_ref().and_then(|ethtool| ethtool.driver(interface).ok()).unwrap_or_default();
        let speed = ethtool.and_then(|ethtool| ethtool.speed(interface).ok()).flatten();
        let or_unknown = |name: String| if name.is_empty() { "unknown".to_owned() } else { name };
        Self {
            interface: interface.to_owned(),
            driver: or_unknown(driver.name),
            firmware: driver.firmware,
            mtu,
            queues,
            speed,
            xdp: "none".to_owned(),
            xdp_refusal: None,
            bind: "none".to_owned(),
            bind_refusal: None,
        }
    }
}

/// Looks after a port while it is used, from any thread of its network namespace.
pub struct PortWatch {
    interface: String,
    index: u32,
    collector: Collector,
    sockets: Vec<StatisticsReader>,
    drops: DropCounters,
    /// Counted before all sockets were there: none of the receiver's.
    before: PortLosses,
}

/// What a port did not give to the receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortLosses {
    /// Frames left to the kernel.
    pub to_kernel: u64,
    /// Frames on queues without a socket.
    pub no_socket: u64,
    /// Frames that did not fit the memory.
    pub too_long: u64,
    /// Frames lost because the receiver did not keep up: its rings were full, or it had given no frame to receive into.
    pub overrun: u64,
    /// Frames dropped or missed by the netdev's own count. Some drivers count frames here too that are counted above, and
    /// the kernel those that none of its protocols took.
    #[serde(default)]
    pub dropped: u64,
}

impl PortWatch {
    /// Whether the netdev is gone, or another now.
    pub fn is_gone(&self) -> bool {
        Netdev::named(&self.interface).map_or(true, |netdev| netdev.index != self.index)
    }

    /// Its name.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// What it did not give so far; zeros for what the kernel does not tell.
    pub fn losses(&self) -> PortLosses {
        let (now, before) = (self.count(), self.before);
        PortLosses {
            to_kernel: now.to_kernel.saturating_sub(before.to_kernel),
            no_socket: now.no_socket.saturating_sub(before.no_socket),
            ..now
        }
    }

    fn count(&self) -> PortLosses {
        let sockets: SocketStatistics = self.sockets.iter().filter_map(|reader| reader.read().ok()).sum();
        let counters = self.collector.counters().unwrap_or_default();
        let count =
            |wanted| counters.iter().find(|(collected, _)| *collected == wanted).map_or(0, |(_, n)| *n);
        PortLosses {
            to_kernel: count(Collected::Pass),
            no_socket: count(Collected::NoSocket),
            too_long: sockets.rx_dropped,
            overrun: sockets.rx_ring_full + sockets.fill_ring_empty,
            dropped: self.drops.since().map_or(0, |drops| drops.received),
        }
    }
}

/// Queues on which a netdev receives: at least one.
pub fn receive_queues(interface: &str) -> u32 {
    let channels = Ethtool::open().and_then(|ethtool| ethtool.channels(interface));
    channels.map_or(1, |channels| (channels.rx + channels.combined).max(1))
}

/// Attaches to netdevs of the calling thread's network namespace, with `spare` frames more than their rings take.
///
/// # Errors
/// [`AttachError`], with the remedy. Nothing is left attached then.
pub fn attach(options: &[AttachOptions], spare: u32) -> Result<Attached, AttachError> {
    let netdevs = options.iter().map(|options| look_up(&options.interface)).collect::<Result<Vec<_>, _>>()?;
    let queues: Vec<u32> = options.iter().map(|options| receive_queues(&options.interface)).collect();
    let chunk_size = netdevs.iter().map(|netdev| netdev.mtu).max().unwrap_or(0);
    let chunk_size = ChunkSize::for_mtu(chunk_size as u16).unwrap_or(ChunkSize::Large);
    let (umem, pool) = Umem::new(port::frames_for(queues.iter().sum()) + spare, chunk_size)?;

    let mut collectors = Vec::new();
    for ((options, netdev), &queues) in options.iter().zip(&netdevs).zip(&queues) {
        let mut collector = Collector::load(CollectorConfig { wanted: options.wanted, queues })?;
        let mode = collector.attach(netdev.index, &options.interface, options.xdp)?;
        collectors.push((collector, mode));
    }
    let places: Vec<Queue<'_>> = options
        .iter()
        .zip(&netdevs)
        .zip(&queues)
        .flat_map(|((options, netdev), &queues)| {
            let (interface, ifindex) = (&*options.interface, netdev.index);
            (0..queues).map(move |queue| Queue { interface, ifindex, queue })
        })
        .collect();
    let request = options.first().map_or(BindRequest::Auto, |options| options.bind);
    let opened = port::open(&umem, &places, request)?;

    let mut ports = opened.ports.into_iter();
    let mut attached = Vec::new();
    for (((options, netdev), queues), (collector, mode)) in
        options.iter().zip(&netdevs).zip(queues).zip(collectors)
    {
        let ports: Vec<Port> = ports.by_ref().take(queues as usize).collect();
        for (queue, port) in (0..).zip(&ports) {
            if let Some(socket) = port.socket() {
                collector.set_socket(queue, socket)?;
            }
        }
        let readers: Vec<_> = ports.iter().map(Port::statistics_reader).collect::<io::Result<_>>()?;
        let facts = PortFacts {
            xdp: mode.to_string(),
            xdp_refusal: collector.native_refusal().map(ToString::to_string),
            bind: opened.mode.to_string(),
            bind_refusal: opened.zero_copy_refusal.as_ref().map(PortError::summary),
            ..PortFacts::of(&options.interface, queues, netdev.mtu)
        };
        let mut watch = PortWatch {
            interface: options.interface.clone(),
            index: netdev.index,
            collector,
            sockets: readers.into_iter().flatten().collect(),
            drops: DropCounters::open(&options.interface)?,
            before: PortLosses::default(),
        };
        watch.before = watch.count();
        attached.push(AttachedNetdev { ports, facts, watch });
    }
    Ok(Attached { umem, pool, netdevs: attached })
}

fn look_up(interface: &str) -> Result<Netdev, AttachError> {
    let netdev = Netdev::named(interface)
        .map_err(|source| AttachError::Interface { interface: interface.to_owned(), source })?;
    if !netdev.running {
        return Err(AttachError::Down(interface.to_owned()));
    }
    if netdev.mtu > MAX_MTU.into() {
        return Err(AttachError::Mtu { interface: interface.to_owned(), mtu: netdev.mtu });
    }
    Ok(netdev)
}
