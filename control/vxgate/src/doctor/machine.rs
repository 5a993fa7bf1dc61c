//! What was gathered of the machine, in plain values: no I/O above this line.

use std::collections::BTreeSet;
use std::net::IpAddr;

use sys::ethtool::{Channels, Driver, Feature, Rings};

use crate::mirror::kernel::{Link, Tables};

/// The machine, as far as it matters to the gateway. What could not be read is `None` or empty.
#[derive(Debug, Default)]
pub(super) struct Machine {
    pub(super) kernel: Kernel,
    pub(super) process: Process,
    pub(super) memory: Memory,
    pub(super) cpu: Cpu,
    /// All Ethernet netdevs of this network namespace, but the loopback.
    pub(super) netdevs: Vec<Netdev>,
    pub(super) network: Network,
}

/// What the kernel offers.
#[derive(Debug, Default)]
pub(super) struct Kernel {
    /// Its release: `6.18.1-amd64`.
    pub(super) release: String,
    /// Why there are no AF_XDP sockets, if there are none.
    pub(super) af_xdp_refusal: Option<String>,
    /// Why it did not load the XDP program, if it did not.
    pub(super) program_refusal: Option<String>,
    /// `net.core.bpf_jit_enable`; only the first network namespace has it.
    pub(super) bpf_jit: Option<u32>,
}

/// What this process may do.
#[derive(Debug, Default)]
pub(super) struct Process {
    /// The effective capabilities, one bit each.
    pub(super) capabilities: u64,
    /// Bytes that may be locked (RLIMIT_MEMLOCK); `None`: no limit.
    pub(super) locked_memory: Option<u64>,
    /// Files that may be open (RLIMIT_NOFILE); `None`: no limit.
    pub(super) open_files: Option<u64>,
}

/// Memory.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Each size of huge pages.
    pub(super) huge_pages: Vec<HugePages>,
    /// How huge pages come about by themselves: `always`, `madvise`, `never`.
    pub(super) transparent: Option<String>,
    /// NUMA nodes and their cores.
    pub(super) nodes: Vec<Node>,
}

/// Huge pages of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HugePages {
    pub(super) kilobytes: u64,
    pub(super) total: u64,
    pub(super) free: u64,
}

/// A NUMA node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) number: u32,
    pub(super) cores: BTreeSet<usize>,
}

/// Cores and clock.
#[derive(Debug, Default)]
pub(super) struct Cpu {
    pub(super) online: BTreeSet<usize>,
    /// Cores that this process may run on.
    pub(super) allowed: BTreeSet<usize>,
    /// Cores that the scheduler leaves alone (`isolcpus=`).
    pub(super) isolated: BTreeSet<usize>,
    /// Cores without a tick while one task runs (`nohz_full=`).
    pub(super) nohz_full: BTreeSet<usize>,
    /// Frequency governors of all cores, without repetition; empty where frequency is not the kernel's business.
    pub(super) governors: BTreeSet<String>,
    /// Whether two threads share a core.
    pub(super) smt: Option<bool>,
    /// What the kernel reads the time from.
    pub(super) clock: Option<String>,
    /// Microseconds of each second that real-time tasks may run; negative: all.
    pub(super) realtime_runtime: Option<i64>,
    pub(super) irqbalance: bool,
}

/// A netdev.
#[derive(Debug)]
pub(super) struct Netdev {
    pub(super) link: Link,
    /// What it is, if it is no piece of hardware: `veth`, `bond`.
    pub(super) kind: Option<String>,
    /// Name of the bond, bridge or team that it is a port of.
    pub(super) controller: Option<String>,
    /// Names of the netdevs on top of it: VLANs, macvlans.
    pub(super) uppers: Vec<String>,
    /// The other end, of a veth.
    pub(super) peer: Option<Peer>,
    /// The local address (unspecified: any) and UDP port, of a VXLAN device.
    pub(super) vxlan: Option<(IpAddr, u16)>,
    pub(super) driver: Option<Driver>,
    /// The NUMA node that it is attached to.
    pub(super) node: Option<u32>,
    /// Mbit/s.
    pub(super) speed: Option<u32>,
    pub(super) channels: Option<Channels>,
    pub(super) rings: Option<Rings>,
    /// Entries of the RSS table.
    pub(super) rss_entries: Option<u32>,
    pub(super) features: Vec<Feature>,
    pub(super) xdp: Option<XdpFeatures>,
}

/// The other end of a veth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// A netdev of this network namespace.
    Here { name: String, features: Vec<Feature> },
    /// In another network namespace: nothing is known of it.
    Elsewhere,
}

/// What a driver says that it can do with XDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct XdpFeatures {
    /// Runs programs, and takes `XDP_REDIRECT` from them.
    pub(super) native: bool,
    /// Lets AF_XDP sockets share its memory.
    pub(super) zero_copy: bool,
    /// Hands programs frames of several buffers.
    pub(super) multi_buffer: bool,
}

/// What the kernel knows of the network.
#[derive(Debug, Default)]
pub(super) struct Network {
    pub(super) tables: Tables,
    pub(super) forwards_ipv4: Option<bool>,
    pub(super) forwards_ipv6: Option<bool>,
    /// Most neighbours of all network namespaces together (`gc_thresh3`).
    pub(super) neighbours_ipv4: Option<u32>,
    pub(super) neighbours_ipv6: Option<u32>,
    /// Whether a gateway answers on the control socket.
    pub(super) gateway_runs: bool,
}
