//! A machine and a configuration that are right, to be spoilt in one way at a time.

use std::path::Path;

use sys::ethtool::{Channels, Driver, Feature, Rings};
use wire::MacAddr;

use super::super::finding::{Finding, Verdict};
use super::super::machine::{
    Cpu, HugePages, Kernel, Machine, Memory, Netdev, Network, Node, Process, XdpFeatures,
};
use crate::config::Settings;
use crate::mirror::kernel::{Address, Hop, KernelRoute, Link, RouteKind, Tables};

pub(super) const CONFIG: &str = r#"
[gateway]
router-mac = "02:00:5e:00:00:01"
blocks = ["10.0.0.0/8", "fd00::/16"]
cores = [2]

[[port]]
interface = "underlay0"
role = "underlay"

[[port]]
interface = "uplink0"
role = "uplink"

[[overlay]]
vni = 1
subnets = ["10.0.0.0/24"]
endpoints = ["198.18.0.11"]

[[overlay]]
vni = 2
subnets = ["fd00::/64"]
endpoints = ["2001:db8::12"]
"#;

pub(super) fn settings(text: &str) -> Settings {
    Settings::parse(Path::new("gw.toml"), text).unwrap()
}

/// The verdicts of one subject, in order.
pub(super) fn verdicts(all: &[Finding], subject: &str) -> Vec<Verdict> {
    all.iter().filter(|finding| finding.subject == subject).map(|finding| finding.verdict).collect()
}

pub(super) fn feature(name: &str, on: bool) -> Feature {
    Feature { name: name.into(), on, fixed: false }
}

pub(super) fn route(prefix: &str, metric: u32, kind: RouteKind) -> KernelRoute {
    KernelRoute { prefix: prefix.parse().unwrap(), metric, protocol: 3, kind }
}

fn netdev(index: u32, name: &str, mtu: u32) -> Netdev {
    Netdev {
        link: Link {
            index,
            name: name.into(),
            up: true,
            carrier: true,
            mac: Some(MacAddr([2, 0, 0, 0, 0, index as u8])),
            mtu,
            rx_queues: 1,
            xdp_program: None,
        },
        kind: None,
        controller: None,
        uppers: Vec::new(),
        peer: None,
        vxlan: None,
        driver: Some(Driver { name: "ice".into(), firmware: "4.40".into(), bus: "0000:17:00.0".into() }),
        node: Some(0),
        speed: Some(100_000),
        channels: Some(Channels { combined: 1, max_combined: 64, ..Channels::default() }),
        rings: Some(Rings { rx: 2048, tx: 2048, max_rx: 8160, max_tx: 8160 }),
        rss_entries: Some(512),
        features: vec![feature("rx-lro", false), feature("rx-vlan-hw-parse", false)],
        xdp: Some(XdpFeatures { native: true, zero_copy: true, multi_buffer: true }),
    }
}

/// Netdevs 2 and 3, underlay and uplink.
pub(super) fn machine() -> Machine {
    let netdevs = vec![netdev(2, "underlay0", 1600), netdev(3, "uplink0", 1500)];
    let address =
        |link, text: &str| Address { link, address: text.parse().unwrap(), global: true, tentative: false };
    let out = |link| RouteKind::Unicast(vec![Hop { link, gateway: None, usable: true, weight: 1 }]);
    let tables = Tables {
        links: netdevs.iter().map(|netdev| netdev.link.clone()).collect(),
        addresses: vec![
            address(2, "198.18.0.1"),
            address(2, "2001:db8::1"),
            address(3, "198.18.1.1"),
            address(3, "2001:db8:1::1"),
        ],
        routes: vec![
            route("198.18.0.0/24", 0, out(2)),
            route("2001:db8::/64", 256, out(2)),
            route("198.18.1.0/24", 0, out(3)),
            route("2001:db8:1::/64", 256, out(3)),
            route("0.0.0.0/0", 0, out(3)),
            route("::/0", 1024, out(3)),
        ],
    };
    Machine {
        kernel: Kernel { release: "6.18.1-amd64".into(), bpf_jit: Some(1), ..Kernel::default() },
        process: Process { capabilities: u64::MAX, locked_memory: None, open_files: Some(1024) },
        memory: Memory {
            huge_pages: vec![
                HugePages { kilobytes: 2048, total: 512, free: 512 },
                HugePages { kilobytes: 1 << 20, total: 0, free: 0 },
            ],
            transparent: Some("madvise".into()),
            nodes: vec![
                Node { number: 0, cores: (0..4).collect() },
                Node { number: 1, cores: (4..8).collect() },
            ],
        },
        cpu: Cpu {
            online: (0..8).collect(),
            allowed: (0..8).collect(),
            isolated: [2].into(),
            nohz_full: [2].into(),
            governors: ["performance".into()].into(),
            smt: Some(false),
            clock: Some("tsc".into()),
            realtime_runtime: Some(950_000),
            irqbalance: false,
        },
        netdevs,
        network: Network {
            tables,
            forwards_ipv4: Some(false),
            forwards_ipv6: Some(false),
            neighbours_ipv4: Some(1024),
            neighbours_ipv6: Some(1024),
            gateway_runs: false,
        },
    }
}
