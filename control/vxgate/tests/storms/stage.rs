//! The stage: a gateway, two hostile stations in overlays of their own, and two overlays that must not notice.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::{Duration, Instant};

use ipnet::Ipv4Net;
use lab::{
    Family, LatencyProbe, LatencyReport, Nic, ROUTER_MAC, Scene, Site, Station, Storm, TopologyOptions,
    wait_until,
};
use serde_json::Value;
use wire::MacAddr;

use crate::effect::{Effect, PingEffect};
use crate::frames::{Tunnel, ethernet};

/// How long anything may take that does happen.
const PATIENCE: Duration = Duration::from_secs(30);

/// Time between two echo requests of a probe.
const INTERVAL: Duration = Duration::from_millis(5);

/// Echo requests of each probe before a storm, and at least so many during it.
const BEFORE: usize = 100;
const DURING: usize = 200;

/// Frames a second of a storm. A gateway without optimisation forwards a tenth.
pub(crate) const RATE: u32 = if cfg!(debug_assertions) { 10_000 } else { 100_000 };
/// The same of one that is to be as fast as the machine sends.
pub(crate) const FLOOD: u32 = if cfg!(debug_assertions) { 10_000 } else { 1_000_000 };

/// The hostile stations' overlays, then those that look on.
pub(crate) const OVERLAYS: u8 = 4;

/// What was counted, by name: `vxgate show counters`, and the classes of `show punts` as `CLASS handed over`, `CLASS
/// refused`.
pub(crate) type Counters = BTreeMap<String, u64>;

/// A station that its gateway knows by its MAC address, and that does as it likes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hostile {
    pub(crate) site: Site,
    pub(crate) mac: MacAddr,
    /// From the endpoint that it is behind to the gateway.
    pub(crate) tunnel: Tunnel,
}

impl Hostile {
    /// An address of its own, in its overlay's subnet.
    pub(crate) fn ipv4(&self) -> Ipv4Addr {
        v4(self.site.address(Family::V4, 200))
    }

    /// The same of IPv6.
    pub(crate) fn ipv6(&self) -> Ipv6Addr {
        v6(self.site.address(Family::V6, 200))
    }

    /// The address of a family.
    pub(crate) fn address(&self, family: Family) -> IpAddr {
        self.site.address(family, 200)
    }

    /// A packet for its router to forward.
    pub(crate) fn route(&self, packet: &[u8]) -> Vec<u8> {
        self.send(ROUTER_MAC, packet)
    }

    /// A packet to some MAC address.
    pub(crate) fn send(&self, to: MacAddr, packet: &[u8]) -> Vec<u8> {
        self.tunnel.frame(&ethernet(to, self.mac, packet))
    }
}

/// Where a storm comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// The endpoint of this family, with whole VXLAN frames.
    Endpoint(Family),
    /// A host on the uplink.
    Uplink,
}

/// Frames that are sent over and over.
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    pub(crate) from: From,
    /// Frames a second.
    pub(crate) rate: u32,
    pub(crate) frames: Vec<Vec<u8>>,
}

/// The scene with a running gateway, and the probes.
pub(crate) struct Stage {
    pub(crate) scene: Scene,
    /// Behind the endpoint over IPv4, and behind that over IPv6.
    pub(crate) hostile: [Hostile; 2],
    probes: Vec<(usize, Family, LatencyProbe)>,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let sites: Vec<Site> = (1..=OVERLAYS).map(site).collect();
        let binary = Path::new(env!("CARGO_BIN_EXE_vxgate"));
        let mut scene = Scene::build(binary, &TopologyOptions::new(&Scene::blocks()), &sites).unwrap();
        let hostile = [0, 1].map(|index| hostile(&scene, sites[index]));
        let [server_v4, server_v6] = Family::BOTH.map(|family| scene.outer_address(family));
        let mut config = scene.base_config()
            + &format!("[defaults]\ndhcp-servers = [\"{server_v4}\", \"{server_v6}\"]\n\n");
        for Station { site, host } in &scene.stations {
            // Shorter than what the uplink carries, so that packets can be too big on the way in.
            config += &scene.overlay_table(site, &[site.endpoint], "mtu = 1400");
            let addresses = Family::BOTH.map(|family| site.address(family, Scene::STATION));
            config += &scene.station_table(site, host.nic.mac, site.endpoint, &addresses);
        }
        for Hostile { site, mac, .. } in &hostile {
            config += &scene.station_table(site, *mac, site.endpoint, &[]);
        }
        scene.gateway.configure(&config).unwrap();
        scene.gateway.start().unwrap();
        scene.stations.iter().for_each(|station| silence(&scene, station));
        let probe = |index: usize, family| {
            let from = &scene.stations[index].host.namespace;
            let probe = LatencyProbe::start(from, scene.outer_address(family), INTERVAL).unwrap();
            (index, family, probe)
        };
        let probes =
            (0..scene.stations.len()).flat_map(|index| Family::BOTH.map(|family| probe(index, family)));
        let probes = probes.collect();
        let mut stage = Self { scene, hostile, probes };
        // The first requests wait for neighbours outside to be found.
        stage.windows(1);
        stage
    }

    /// Lets an attack go on until each of its frames was sent, and probes have sent enough, and some time for what it
    /// causes to be counted.
    pub(crate) fn play(&mut self, attack: Attack) -> Effect {
        let Attack { name, from, rate, frames } = attack;
        let nic = self.nic(from).clone();
        let before = self.windows(BEFORE);
        let (counters, overflowed, start) = (self.counters(), self.overflowed(), Instant::now());
        let count = frames.len() as u64;
        let storm = Storm::start(&nic.namespace, &nic.interface, rate, move |number, frame| {
            frame.extend_from_slice(&frames[(number % count) as usize]);
        });
        let storm = storm.unwrap();
        wait_until(&format!("{count} frames of {name}"), PATIENCE, || storm.sent() >= count).unwrap();
        let during = self.windows(DURING);
        let storm = storm.stop().unwrap();
        self.settle();
        let (after, elapsed) = (self.counters(), start.elapsed());
        let rise = |(name, value): (String, u64)| (value - counters[&name], name);
        let rises = after.into_iter().map(rise).filter(|(rise, _)| *rise > 0);
        let rises = rises.map(|(rise, name)| (name, rise)).collect();
        let pings = self.probes.iter().zip(before.into_iter().zip(during));
        let pings = pings.map(|((index, family, _), (before, during))| PingEffect {
            family: *family,
            is_beside_hostile: *index < self.hostile.len(),
            vni: self.scene.stations[*index].site.vni.value(),
            before,
            during,
        });
        let pings = pings.collect();
        let overflowed = self.overflowed() - overflowed;
        Effect { name, storm, rises, elapsed, pings, overflowed, wrong: Vec::new() }.unnoticed()
    }

    fn nic(&self, from: From) -> &Nic {
        match from {
            From::Endpoint(family) => &self.scene.endpoints[family as usize].nic,
            From::Uplink => &self.scene.neighbour.nic,
        }
    }

    /// What became of so many echo requests of each probe.
    fn windows(&mut self, count: usize) -> Vec<LatencyReport> {
        self.probes.iter_mut().map(|(_, _, probe)| probe.window(count, PATIENCE).unwrap()).collect()
    }

    /// Waits until all that has arrived is dealt with: the slow path takes what it was handed over before it answers a
    /// second time, and its frames leave before an echo request that came later.
    fn settle(&mut self) {
        for _ in 0..2 {
            self.neighbours(|_| true);
        }
        self.windows(1);
    }

    fn counters(&self) -> Counters {
        let number = |value: &Value| value.as_u64().expect("a number");
        let text = |value: &Value| value.as_str().expect("a name").to_owned();
        let counters = rows(self.scene.gateway.show("counters").unwrap());
        let counters = counters.iter().map(|row| (text(&row["name"]), number(&row["value"])));
        let punts = rows(self.scene.gateway.show("punts").unwrap());
        let punts = punts.iter().flat_map(|row| {
            let named = |what: &str, key| (format!("{} {what}", text(&row["class"])), number(&row[key]));
            [named("handed over", "handed_over"), named("refused", "refused")]
        });
        counters.chain(punts).collect()
    }

    fn overflowed(&self) -> u64 {
        let ports = rows(self.scene.gateway.show("ports").unwrap());
        let of = |port: &Value| -> u64 {
            let socket = port["socket"].as_object().expect("counters");
            socket.values().filter_map(Value::as_u64).sum()
        };
        ports.iter().map(of).sum()
    }

    /// How many rows of `vxgate show neighbours` are such.
    pub(crate) fn neighbours(&self, is: impl Fn(&Value) -> bool) -> usize {
        rows(self.scene.gateway.show("neighbours").unwrap()).iter().filter(|row| is(row)).count()
    }

    /// Bytes of memory that the gateway has resident.
    pub(crate) fn memory(&mut self) -> u64 {
        self.scene.gateway.process().expect("it runs").memory().unwrap().0
    }

    /// How the stations are configured: addresses and routes, as JSON.
    pub(crate) fn configured(&self) -> Vec<Value> {
        let shown = |station: &Station| {
            [["-4", "address"], ["-6", "address"], ["-4", "route"], ["-6", "route"]]
                .map(|what| station.host.namespace.ip_json(&what).unwrap())
        };
        self.scene.stations.iter().flat_map(shown).collect()
    }
}

/// Overlay `number`: those of hostile stations have an IPv4 subnet of 65 536 addresses.
fn site(number: u8) -> Site {
    let site = Site::numbered(number);
    let v4 = Ipv4Net::new_assert(Ipv4Addr::new(10, number, 0, 0), 16);
    Site { v4, ..site }
}

fn hostile(scene: &Scene, site: Site) -> Hostile {
    let endpoint = &scene.endpoints[site.endpoint as usize];
    let tunnel = Tunnel {
        from: (endpoint.nic.mac, endpoint.vtep),
        to: (scene.topology.underlay0.mac, scene.topology.gateway_vtep(site.endpoint)),
        vni: site.vni,
    };
    Hostile { site, mac: MacAddr([0x02, 0, 0x66, 0, 0, site.vni.value() as u8]), tunnel }
}

/// The station asks nobody anything, so that every frame at the slow path is a storm's: it knows the router's MAC address
/// for good, and what it sends to groups does not leave its endpoint.
fn silence(scene: &Scene, station: &Station) {
    let routers = station.site.routers();
    let lines = routers
        .map(|router| format!("neighbour replace {router} lladdr {ROUTER_MAC} dev eth0 nud permanent\n"));
    station.host.namespace.ip(&lines.concat()).unwrap();
    let endpoint = &scene.endpoints[station.site.endpoint as usize].namespace;
    let (vni, gateway) = (station.site.vni, scene.topology.gateway_vtep(station.site.endpoint));
    endpoint.bridge(&format!("fdb delete {} dev vx{vni} dst {gateway}\n", MacAddr::ZERO)).unwrap();
}

pub(crate) fn v4(address: IpAddr) -> Ipv4Addr {
    match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(address) => panic!("{address} is no IPv4 address"),
    }
}

pub(crate) fn v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V6(address) => address,
        IpAddr::V4(address) => panic!("{address} is no IPv6 address"),
    }
}

fn rows(value: Value) -> Vec<Value> {
    let Value::Array(rows) = value else { panic!("{value}") };
    rows
}
