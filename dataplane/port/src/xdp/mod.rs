//! The XDP program: which frames the engine gets, and which the kernel. Two more programs serve measurements: a
//! [`LiveSource`] makes frames in the kernel, a [`Sink`] counts and drops them.
//!
//! A [`Classifier`] is one eBPF program with its maps, on one netdev. To the engine, through AF_XDP sockets, goes
//! what is addressed to the port's own MAC address and is
//! - on an underlay port, VXLAN to one of the gateway's VTEP addresses;
//! - on an uplink port, IP to one of the configured overlay blocks.
//!
//! So do ARP requests and neighbour solicitations, for that address or for a group, that ask for an address which no
//! netdev has, because it belongs to a shard of a cluster of gateways: [`ClassifierConfig::answered`].
//!
//! Everything else belongs to the host and goes to the kernel, but for a few frames that the kernel must not get;
//! [`Verdict`] names them all. What the kernel gets it also owns: ARP, neighbour discovery, SSH, BGP.
//!
//! # Fail closed
//! The kernel never forwards overlay traffic, whatever happens to the engine:
//! - Frames for the engine that find no socket for their queue are dropped: before [`Classifier::set_socket`], after
//!   a socket was closed, and on queues that never had one.
//! - The program is attached by a `bpf_link` that only this process holds. Drop or death detaches it, and nothing
//!   stale stays behind that would swallow frames; from then on the kernel's blackhole routes for the blocks stand in.
//!   Attaching by netlink, as older programs do, would outlive the process, so it is not even a fall-back.
//! - Frames that are too long for the engine, or bear a VLAN tag, are dropped and not handed on.
//!
//! # Limits
//! - A VLAN tag that the NIC or a veth peer took off the frame is invisible to the program: switch
//!   `rxvlan` and `rx-vlan-stag-hw-parse` (of a veth peer: `txvlan` and `tx-vlan-stag-hw-insert`) off with ethtool where
//!   tagged frames may come in.
//! - One buffer holds one frame (no XDP multi-buffer): drivers refuse native mode on a netdev with a larger MTU.

mod asm;
mod bpf;
mod collector;
mod error;
mod hook;
mod live;
mod program;
mod sink;

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use ipnet::IpNet;
use wire::MacAddr;

use self::bpf::{Map, MapKind};
use self::hook::Hook;
use self::program::Maps;
use crate::{XdpMode, XdpRequest};

pub use self::bpf::Action;
pub use self::collector::{Collected, Collector, CollectorConfig, Wanted};
pub use self::error::XdpError;
pub use self::live::{LiveFrames, LiveSource, Order, VariedField, Width};
pub use self::sink::{Counts, Expected, Sink};

/// What a port is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortRole {
    /// Toward the endpoints: VXLAN to the VTEP addresses.
    Underlay,
    /// Toward the outer network: IP to the overlay blocks.
    Uplink,
    /// Both on one netdev.
    Both,
}

/// What the program has to know.
#[derive(Clone, Debug)]
pub struct ClassifierConfig {
    /// What the port is for.
    pub role: PortRole,
    /// MAC address of the port's netdev.
    pub mac: MacAddr,
    /// VTEP addresses of the gateway, of all ports, and of all shards of its cluster.
    pub vteps: Vec<IpAddr>,
    /// Addresses that the gateway has at this port and the kernel does not: ARP requests and neighbour solicitations for
    /// them are the engine's.
    pub answered: Vec<IpAddr>,
    /// Prefixes that hold all overlay prefixes.
    pub blocks: Vec<IpNet>,
    /// Receive queues of the netdev.
    pub queues: u32,
    /// Largest frame that the engine takes, in bytes from the Ethernet header on, without frame check sequence.
    pub frame_limit: u16,
}

/// What the program decided, each with a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum Verdict {
    /// Not the gateway's: to the kernel.
    Pass,
    /// To a socket of the engine, whose own statistics tell of frames that did not fit its rings.
    ToEngine,
    /// For the engine, and no socket is there for this queue: dropped.
    NoSocket,
    /// For the engine by its IP header, and to another MAC address than the port's: to the kernel, which ignores it.
    ForeignMac,
    /// The gateway's by its IP header, and in a VLAN, or under several tags: dropped.
    Vlan,
    /// For the engine, and longer than [`ClassifierConfig::frame_limit`]: dropped. A peer with segmentation offload
    /// sends such frames over veth.
    TooLong,
    /// To an overlay block, on an underlay port, and not VXLAN: dropped.
    BlockOnUnderlay,
    /// VXLAN to a VTEP address, on an uplink port: dropped.
    VxlanOnUplink,
    /// A fragment of UDP to a VTEP address, and not the first of VXLAN: to the kernel, since it may be the host's.
    Fragment,
    /// The first IPv6 fragment of VXLAN to a VTEP address: dropped, so that the kernel never completes the datagram.
    /// (The first IPv4 fragment goes to the engine, which counts it.)
    FragmentVxlan,
}

impl Verdict {
    /// All verdicts, in the order of their numbers.
    pub const ALL: [Self; 10] = [
        Self::Pass,
        Self::ToEngine,
        Self::NoSocket,
        Self::ForeignMac,
        Self::Vlan,
        Self::TooLong,
        Self::BlockOnUnderlay,
        Self::VxlanOnUplink,
        Self::Fragment,
        Self::FragmentVxlan,
    ];
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "pass",
            Self::ToEngine => "to_engine",
            Self::NoSocket => "no_socket",
            Self::ForeignMac => "foreign_mac",
            Self::Vlan => "vlan",
            Self::TooLong => "too_long",
            Self::BlockOnUnderlay => "block_on_underlay",
            Self::VxlanOnUplink => "vxlan_on_uplink",
            Self::Fragment => "fragment",
            Self::FragmentVxlan => "fragment_vxlan",
        })
    }
}

/// The XDP program of one port, with its maps. Dropping it takes the program off the netdev.
#[derive(Debug)]
pub struct Classifier {
    hook: Hook,
    maps: Maps,
    queues: u32,
}

impl Classifier {
    /// Makes the maps, fills them and loads the program. Nothing changes on the netdev.
    ///
    /// # Errors
    /// Too few privileges; a kernel too old for the program.
    pub fn load(config: &ClassifierConfig) -> Result<Self, XdpError> {
        let maps = make_maps(config)?;
        let text = program::assemble(config.role, config.frame_limit, !config.answered.is_empty(), &maps);
        let classifier = Self { hook: Hook::load("vxgate", &text)?, maps, queues: config.queues };
        classifier.set_mac(config.mac)?;
        Ok(classifier)
    }

    /// Attaches the program to the netdev `ifindex`, named `interface` in errors, of the calling thread's network
    /// namespace. From now on frames for the engine are dropped until sockets are set.
    ///
    /// [`XdpRequest::Auto`] means native mode, else generic; why native mode could not be had is then
    /// [`Self::native_refusal`].
    ///
    /// # Errors
    /// The hook is in use; the netdev does not support the mode; too few privileges.
    pub fn attach(
        &mut self,
        ifindex: u32,
        interface: &str,
        request: XdpRequest,
    ) -> Result<XdpMode, XdpError> {
        self.hook.attach(ifindex, interface, request)
    }

    /// Why [`XdpRequest::Auto`] ended in generic mode, for the log.
    pub fn native_refusal(&self) -> Option<&XdpError> {
        self.hook.native_refusal()
    }

    /// Sends what `queue` receives for the engine to `socket`, an AF_XDP socket. Unless that is bound to this netdev
    /// and queue, the kernel drops the frames. The entry goes when the socket is closed.
    ///
    /// # Errors
    /// The netdev has no such queue; this is no AF_XDP socket.
    pub fn set_socket(&self, queue: u32, socket: BorrowedFd<'_>) -> Result<(), XdpError> {
        enter_socket(&self.maps.sockets, self.queues, queue, socket)
    }

    /// Tells the program that the netdev has a new MAC address.
    ///
    /// # Errors
    /// The kernel refused the write.
    pub fn set_mac(&self, mac: MacAddr) -> Result<(), XdpError> {
        let mut value = [0; 8];
        value[..6].copy_from_slice(&mac.0);
        self.maps
            .mac
            .update(&0_u32.to_ne_bytes(), &value)
            .map_err(|source| XdpError::Map { map: "mac", source })
    }

    /// Frames by verdict since the program was loaded, summed over the CPUs.
    ///
    /// # Errors
    /// The kernel refused the reading.
    pub fn counters(&self) -> Result<Vec<(Verdict, u64)>, XdpError> {
        let sum = |verdict: Verdict| {
            let [frames] = sum_over_cpus(&self.maps.counters, verdict as u32)?;
            Ok((verdict, frames))
        };
        Verdict::ALL.into_iter().map(sum).collect()
    }

    /// Runs the program in the kernel on a frame that no netdev ever saw (`BPF_PROG_TEST_RUN`): as if received on
    /// queue 0. The verdict is counted; the frame goes nowhere.
    ///
    /// # Errors
    /// The frame is shorter than an Ethernet header or longer than a page can hold.
    pub fn run(&self, frame: &[u8]) -> Result<Action, XdpError> {
        self.hook.run(frame)
    }
}

/// The words of entry `index` of a per-CPU map named `counters`, each summed over the CPUs.
fn sum_over_cpus<const WORDS: usize>(counters: &Map, index: u32) -> Result<[u64; WORDS], XdpError> {
    let values =
        counters.lookup(&index.to_ne_bytes()).map_err(|source| XdpError::Map { map: "counters", source })?;
    let mut sums = [0; WORDS];
    for (place, &word) in values.as_chunks().0.iter().enumerate() {
        sums[place % WORDS] += u64::from_ne_bytes(word);
    }
    Ok(sums)
}

/// The maps, with all but the MAC address filled in.
fn make_maps(config: &ClassifierConfig) -> Result<Maps, XdpError> {
    // The kernel makes no map of no entries.
    let room = |entries: usize| u32::try_from(entries.max(1)).unwrap_or(u32::MAX);
    let blocks = IpNet::aggregate(&config.blocks);
    let [vteps, answered, tries] = [config.vteps.len(), config.answered.len(), blocks.len()].map(room);
    let maps = Maps {
        mac: make_map(MapKind::Array, "mac", 4, 8, 1)?,
        counters: make_map(MapKind::PerCpuArray, "counters", 4, 8, room(Verdict::ALL.len()))?,
        sockets: make_map(MapKind::XskMap, "sockets", 4, 4, config.queues)?,
        vteps4: make_map(MapKind::Hash, "vteps4", 4, PRESENT.len(), vteps)?,
        vteps6: make_map(MapKind::Hash, "vteps6", 16, PRESENT.len(), vteps)?,
        answered4: make_map(MapKind::Hash, "answered4", 4, PRESENT.len(), answered)?,
        answered6: make_map(MapKind::Hash, "answered6", 16, PRESENT.len(), answered)?,
        blocks4: make_map(MapKind::LpmTrie, "blocks4", 4 + 4, PRESENT.len(), tries)?,
        blocks6: make_map(MapKind::LpmTrie, "blocks6", 4 + 16, PRESENT.len(), tries)?,
    };
    for (map, addresses, [v4, v6]) in [
        ("vteps", &config.vteps, [&maps.vteps4, &maps.vteps6]),
        ("answered", &config.answered, [&maps.answered4, &maps.answered6]),
    ] {
        for address in addresses {
            let result = match address {
                IpAddr::V4(address) => v4.update(&address.octets(), &PRESENT),
                IpAddr::V6(address) => v6.update(&address.octets(), &PRESENT),
            };
            result.map_err(|source| XdpError::Map { map, source })?;
        }
    }
    for block in blocks {
        let length = u32::from(block.prefix_len()).to_ne_bytes();
        let result = match block.network() {
            IpAddr::V4(address) => maps.blocks4.update(&[&length[..], &address.octets()].concat(), &PRESENT),
            IpAddr::V6(address) => maps.blocks6.update(&[&length[..], &address.octets()].concat(), &PRESENT),
        };
        result.map_err(|source| XdpError::Map { map: "blocks", source })?;
    }
    Ok(maps)
}

/// Lets a map of sockets lead from `queue` to `socket`.
fn enter_socket(map: &Map, queues: u32, queue: u32, socket: BorrowedFd<'_>) -> Result<(), XdpError> {
    map.update(&queue.to_ne_bytes(), &socket.as_raw_fd().to_ne_bytes()).map_err(|source| XdpError::Socket {
        queue,
        queues,
        source,
    })
}

/// The value of maps that are sets: of the least size that a hash and a trie take, and never read.
const PRESENT: [u8; 1] = [0];

fn make_map(
    kind: MapKind,
    map: &'static str,
    key_size: usize,
    value_size: usize,
    max_entries: u32,
) -> Result<Map, XdpError> {
    Map::create(kind, map, key_size, value_size, max_entries).map_err(|source| match source.kind() {
        io::ErrorKind::PermissionDenied => {
            XdpError::Privileges { action: "make the maps of the XDP program", source }
        }
        _ => XdpError::Map { map, source },
    })
}
