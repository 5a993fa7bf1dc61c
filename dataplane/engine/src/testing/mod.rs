//! A small gateway for unit tests: two overlays, an endpoint of each family, one router.

pub(crate) mod packets;

use std::sync::{Arc, Mutex};

use arc_swap::Cache;
use crossbeam_channel::Sender;
use port::memory::Wire;
use port::{BindRequest, Idle, Umem, Waker, XdpRequest};
use wire::{MacAddr, Vni};

use crate::api::*;
use crate::counters::{Counters, Reason};
use crate::pipeline::Scratch;
use crate::slowpath::{RING, SlowPath, WorkerLink};
use crate::tables::Writer;
use crate::worker::Worker;

pub(crate) const UNDERLAY: PortIndex = PortIndex(0);
pub(crate) const UPLINK: PortIndex = PortIndex(1);
pub(crate) const UNDERLAY_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
pub(crate) const UPLINK_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
pub(crate) const ROUTER_MAC: MacAddr = MacAddr([2, 0, 0x5e, 0, 0, 1]);
pub(crate) const ENDPOINT_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x11]);
pub(crate) const OUTER_ROUTER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xfe]);
pub(crate) const STATION_MAC: MacAddr = MacAddr([2, 0, 0, 0, 1, 1]);
pub(crate) const OTHER_STATION_MAC: MacAddr = MacAddr([2, 0, 0, 0, 2, 1]);

pub(crate) const ENDPOINT_V4: &str = "198.18.0.11";
pub(crate) const ENDPOINT_V6: &str = "2001:db8:0:1::12";

pub(crate) fn config() -> Config {
    let port = |interface: &str, ifindex, role, addresses: [&str; 2], mac, mtu| PortConfig {
        interface: interface.to_owned(),
        ifindex,
        role,
        addresses: addresses.map(|address| address.parse().unwrap()).to_vec(),
        mac,
        mtu,
        xdp: XdpRequest::Auto,
        bind: BindRequest::Auto,
    };
    Config {
        ports: vec![
            port("underlay0", 1, Role::Underlay, ["198.18.0.1", "2001:db8:0:1::1"], UNDERLAY_MAC, 1600),
            port("uplink0", 2, Role::Uplink, ["198.18.1.1", "2001:db8:0:2::1"], UPLINK_MAC, 1500),
        ],
        idle: Idle::Spin,
        core: None,
        router_mac: ROUTER_MAC,
        blocks: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/16".parse().unwrap()],
        overlays: vec![
            overlay(100, ["10.0.1.0/24", "fd00:0:0:1::/64"], &[ENDPOINT_V4, ENDPOINT_V6]),
            overlay(200, ["10.0.2.0/24", "fd00:0:0:2::/64"], &[ENDPOINT_V6]),
        ],
        stations: vec![
            station(100, STATION_MAC, ENDPOINT_V4, ["10.0.1.10", "fd00:0:0:1::10"]),
            station(200, OTHER_STATION_MAC, ENDPOINT_V6, ["10.0.2.10", "fd00:0:0:2::10"]),
        ],
        max_flows: 1000,
    }
}

fn overlay(vni: u32, prefixes: [&str; 2], endpoints: &[&str]) -> Overlay {
    let subnets = prefixes.map(|prefix| {
        let prefix: ipnet::IpNet = prefix.parse().unwrap();
        Subnet { prefix, router: prefix.hosts().find(|host| *host != prefix.network()).unwrap() }
    });
    Overlay {
        vni: Vni::new(vni).unwrap(),
        subnets: subnets.to_vec(),
        endpoints: endpoints.iter().map(|address| address.parse().unwrap()).collect::<Arc<[_]>>(),
        mtu: 1500,
    }
}

fn station(vni: u32, mac: MacAddr, endpoint: &str, addresses: [&str; 2]) -> Station {
    Station {
        vni: Vni::new(vni).unwrap(),
        mac,
        endpoint: endpoint.parse().unwrap(),
        addresses: addresses.map(|address| address.parse().unwrap()).to_vec(),
    }
}

/// What control says once routes and neighbours are known.
pub(crate) fn updates() -> Vec<Update> {
    let hop = |port, address: &str| NextHop { port, address: address.parse().unwrap() };
    let via = |prefix: &str, address| Route {
        prefix: prefix.parse().unwrap(),
        target: RouteTarget::Via(hop(UPLINK, address)),
    };
    let on_link =
        |prefix: &str| Route { prefix: prefix.parse().unwrap(), target: RouteTarget::OnLink(UPLINK) };
    let mut updates = vec![
        Update::Routes(vec![
            via("0.0.0.0/0", "198.18.1.254"),
            via("::/0", "2001:db8:0:2::fe"),
            on_link("198.18.1.0/24"),
            on_link("2001:db8:0:2::/64"),
            Route { prefix: "198.18.0.0/24".parse().unwrap(), target: RouteTarget::Reject },
        ]),
        Update::HostAddresses(
            ["198.18.0.1", "198.18.1.1", "2001:db8:0:2::1", "192.0.2.1"].map(|a| a.parse().unwrap()).to_vec(),
        ),
    ];
    for address in [ENDPOINT_V4, ENDPOINT_V6] {
        let next_hop = hop(UNDERLAY, address);
        updates.push(Update::Endpoint { address: next_hop.address, next_hop: Some(next_hop) });
        updates.push(Update::Neighbour { next_hop, mac: Some(ENDPOINT_MAC) });
    }
    for address in ["198.18.1.254", "2001:db8:0:2::fe"] {
        updates.push(Update::Neighbour { next_hop: hop(UPLINK, address), mac: Some(OUTER_ROUTER_MAC) });
    }
    updates
}

/// A worker and a slow path on in-memory ports, run by hand in one thread.
pub(crate) struct Harness {
    pub(crate) worker: Worker,
    pub(crate) slow_path: SlowPath,
    pub(crate) wires: Vec<Wire>,
    pub(crate) control: Sender<Update>,
    pub(crate) events: Arc<Mutex<Vec<Event>>>,
}

impl Harness {
    /// The gateway of [`config`], with routes and neighbours.
    pub(crate) fn new() -> Self {
        let mut harness = Self::with(config());
        harness.apply(updates());
        harness
    }

    pub(crate) fn with(config: Config) -> Self {
        let (umem, pool) = Umem::new(port::frames_for(config.ports.len() as u32)).unwrap();
        let (ports, wires): (Vec<_>, Vec<_>) =
            config.ports.iter().map(|_| port::memory::port(&umem).unwrap()).unzip();
        let counters = Arc::new(Counters::new(ports.len(), config.overlays.len()));
        let (writer, flow_readers) = Writer::new(config, 1).unwrap();
        let tables = Cache::new(Arc::clone(writer.published()));
        let (punts_in, punts) = rtrb::RingBuffer::new(RING);
        let (answers, answers_out) = rtrb::RingBuffer::new(RING);
        let (control, update_queue) = crossbeam_channel::unbounded();
        let waker = Waker::new().unwrap();
        let events: Arc<Mutex<Vec<Event>>> = Arc::default();
        let heard = Arc::clone(&events);
        let events_in = Box::new(move |event| heard.lock().unwrap().push(event));
        let links = vec![WorkerLink { punts, answers, waker: waker.clone() }];
        let slow_path = SlowPath::new(writer, update_queue, links, events_in, Arc::default());
        let worker = Worker {
            flows: flow_readers.reader().unwrap(),
            scratch: Scratch::new(),
            umem,
            pool,
            ports,
            tables,
            counters,
            punts: punts_in,
            punted: false,
            answers: answers_out,
            slow_path: std::thread::current(),
            waker,
            idle: Idle::Spin,
            stop: Arc::default(),
        };
        let mut harness = Self { worker, slow_path, wires, control, events };
        harness.worker.round();
        harness
    }

    pub(crate) fn apply(&mut self, updates: impl IntoIterator<Item = Update>) {
        for update in updates {
            self.control.send(update).unwrap();
        }
        while self.slow_path.apply_updates() {}
    }

    /// Lets a frame arrive and returns all that goes out because of it, with the port.
    pub(crate) fn send(&mut self, port: PortIndex, frame: &[u8]) -> Vec<(PortIndex, Vec<u8>)> {
        assert!(self.wires[usize::from(port.0)].deliver(frame));
        self.worker.round();
        self.slow_path.take_punts();
        self.sent()
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

    /// How often the ways of frames have ended, the answers of the slow path left out.
    pub(crate) fn total(&self) -> u64 {
        Reason::ALL
            .iter()
            .filter(|reason| **reason != Reason::SlowPath)
            .map(|reason| self.count(*reason))
            .sum()
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
