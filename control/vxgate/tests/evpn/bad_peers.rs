//! Peers that lie beside a good one: what becomes of each is defined and told, and the good one's station goes on.

mod routes;
mod sessions;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use lab::{Attach, Family, GoBgp, Host, Topology};
use wire::MacAddr;

use crate::liar::{Liar, Transport};
use crate::stage::{PATIENCE, REFLECTOR, Stage, Streams, peer_table, underlay};
use crate::watch::{Watch, at, gateway_for, peer, wait_state};

const ENDPOINT: u8 = 11;
const STATION: u8 = 10;
const STATION_MAC: MacAddr = MacAddr([2, 0, 1, 0, 0, 0x0a]);
const INTERVAL: Duration = Duration::from_millis(5);

/// Peers of the namespace `liar`, by their numbers on the underlay.
const PASSIVE: u8 = 61;
/// One that the gateway connects to.
const CALLED: u8 = 62;
/// May have 1 000 routes, and is out for good with more.
const BOUNDED: u8 = 63;
/// The same, but out for a second.
const PARDONED: u8 = 64;
/// As `PASSIVE`, for more cases: in a second not all events of one peer are told.
const REFUSED: u8 = 65;
const TWICE: u8 = 66;
const LIARS: [u8; 6] = [PASSIVE, CALLED, BOUNDED, PARDONED, REFUSED, TWICE];

/// A gateway with a good peer, GoBGP, that has a station, and liars that have not said anything yet.
struct Scene {
    stage: Stage,
    liar: Host,
    watch: Watch,
    streams: Streams,
    start: std::time::Instant,
    _gobgp: GoBgp,
}

impl Scene {
    fn new() -> Self {
        let mut stage = Stage::new();
        let start = std::time::Instant::now();
        let config = format!(
            "[global.config]\n as = 65000\n router-id = \"{}\"\n\n\
             [[neighbors]]\n [neighbors.config]\n  neighbor-address = \"{}\"\n  peer-as = 65000\n \
             [neighbors.transport.config]\n  passive-mode = true\n \
             [[neighbors.afi-safis]]\n  [neighbors.afi-safis.config]\n   afi-safi-name = \"l2vpn-evpn\"\n",
            underlay(REFLECTOR),
            underlay(Topology::GATEWAY),
        );
        let gobgp = GoBgp::start(&stage.reflector.namespace, &config).unwrap();
        let attach = Attach {
            addresses: LIARS.into_iter().flat_map(|number| Topology::UNDERLAY.addresses(number)).collect(),
            ..Attach::default()
        };
        let liar = stage.topology.underlay.host(&stage.topology.lab, "liar", attach, &[]).unwrap();
        let mut peers = peer_table(underlay(REFLECTOR), "connect-retry = 1\nannounce-router-flag = false");
        for family in Family::BOTH {
            let bounded = "passive = true\nmaximum-prefixes = 1000";
            for number in [PASSIVE, REFUSED, TWICE] {
                peers += &peer_table(at(family, number), "passive = true");
            }
            peers += &peer_table(at(family, CALLED), "connect-retry = 1");
            peers += &peer_table(at(family, BOUNDED), bounded);
            peers += &peer_table(at(family, PARDONED), &format!("{bounded}\nmaximum-prefixes-restart = 1"));
        }
        stage.start_with(&peers);
        let watch = Watch::start(&stage);
        let (endpoint, link) = stage.static_endpoint("ep-v4", ENDPOINT, Family::V4);
        let station = stage.station(&link, STATION_MAC, STATION);
        let (vtep, rest) = (endpoint.vtep, "etag 0 label 101 rd 9:101 rt 65000:101 encap vxlan");
        for ip in Family::BOTH.map(|family| stage.site.address(family, STATION)) {
            gobgp
                .run(&format!("global rib -a evpn add macadv {STATION_MAC} {ip} {rest} nexthop {vtep}"))
                .unwrap();
        }
        stage.wait_pings(&station, STATION);
        let streams = Streams::start(&stage, &station, STATION, INTERVAL);
        eprintln!("=== scene {:?}", start.elapsed());
        Self { stage, liar, watch, streams, start, _gobgp: gobgp }
    }

    /// A connection from one of the liar's addresses.
    fn connect(&self, from: IpAddr) -> Liar {
        let to = gateway_for(&self.stage, from);
        Liar::connect(&self.liar.namespace, from, to, Transport::default()).unwrap()
    }

    /// The same with a session that is up.
    fn establish(&self, from: IpAddr) -> Liar {
        let mut liar = self.connect(from);
        liar.establish(router_id(from));
        wait_state(&self.stage, from, "Established");
        liar
    }

    /// Nothing of it has touched the good peer and its station.
    fn end(self) {
        eprintln!("=== end {:?}", self.start.elapsed());
        self.streams.wait();
        self.stage.wait_station(STATION_MAC, underlay(ENDPOINT));
        let good = underlay(REFLECTOR);
        let row = peer(&self.stage, good);
        assert_eq!(row["state"], "Established", "{row}");
        assert_eq!(self.watch.count(good, "session", "Established"), 1);
        assert_eq!(self.watch.count(good, "rejected", ""), 0);
        // It may have listened later than the gateway first tried.
        assert_eq!(self.watch.count(good, "down", ""), self.watch.count(good, "down", "connect"));
        for report in self.streams.stop() {
            assert!(report.lost() * 100 <= report.sent, "{report:?}");
        }
    }
}

/// Identifier of the speaker at an address: higher than the gateway's, 198.18.0.1.
fn router_id(address: IpAddr) -> Ipv4Addr {
    match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(address) => Ipv4Addr::from_bits(0xf000_0000 + u32::from(address.segments()[7])),
    }
}

#[test]
fn what_no_session_may_be_ends_and_harms_nobody() {
    let mut scene = Scene::new();
    for family in Family::BOTH {
        sessions::garbage(&mut scene, at(family, PASSIVE));
        sessions::refused_opens(&mut scene, at(family, REFUSED));
        sessions::two_connections(&mut scene, at(family, TWICE));
        sessions::collisions(&mut scene, at(family, CALLED));
        scene.streams.wait();
    }
    sessions::flapping(&mut scene, underlay(PASSIVE));
    scene.end();
}

#[test]
fn what_no_route_may_be_does_not_count_and_harms_nobody() {
    let mut scene = Scene::new();
    for family in Family::BOTH {
        routes::refused(&mut scene, at(family, PASSIVE));
        routes::too_many(&mut scene, at(family, BOUNDED));
        routes::too_many_for_a_while(&mut scene, at(family, PARDONED));
        scene.streams.wait();
    }
    // What was told to followers is kept for others, and is in the log.
    let socket = scene.stage.gateway.socket().to_string_lossy().into_owned();
    let kept = scene
        .stage
        .topology
        .gateway
        .run(env!("CARGO_BIN_EXE_vxgate"), &["events", "--socket", &socket])
        .unwrap();
    let kept = String::from_utf8(kept.stdout).unwrap();
    lab::wait_until("all that is kept among what followers were told", PATIENCE, || {
        let told = scene.watch.events();
        kept.lines().all(|line| told.contains(&serde_json::from_str(line).unwrap()))
    })
    .unwrap();
    assert!(
        kept.contains("\"rejected\"") && kept.contains("\"down\"") && kept.contains("\"session\""),
        "{kept}"
    );
    let log = scene.stage.gateway.log();
    for line in kept.lines() {
        assert!(log.contains(line), "{line} is not in the log");
    }
    scene.end();
}
