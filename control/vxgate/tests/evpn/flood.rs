//! A peer that sends ten million routes. What is small of that is in `bad_peers`: the session ends at a configured number.
//! This takes an optimised build and gigabytes, so that it runs only when asked for, as `scripts/test --long` does:
//! `cargo test --release -p vxgate --test evpn -- --ignored`.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use lab::{Attach, Family, Topology, wait_until};
use wire::MacAddr;

use crate::liar::{Liar, Transport, evpn, mac_route, update};
use crate::stage::{Stage, peer_table, underlay};
use crate::watch::{Watch, peer, wait_state};

/// Routes sent.
const ROUTES: u32 = 10_000_000;

/// Routes in an UPDATE: what fits 4 096 bytes.
const AT_ONCE: u32 = 100;

/// Routes that are sent again and again.
const FEW: u32 = 10_000;

/// Routes that a peer may have if nothing is configured.
const DEFAULT_MAXIMUM: u64 = 4_000_000;

/// Memory for each of them at most: in the RIB, and as a station, in bytes.
const BYTES_A_ROUTE: u64 = 1_000;

/// Memory that many changes of few routes may cost.
const CHURN_BYTES: u64 = 300 << 20;

const PATIENCE: Duration = Duration::from_secs(300);

/// The UPDATE with routes `first` to `first + AT_ONCE` to MAC addresses of the overlay 101, made by exchange of these in a
/// template: all are as long.
struct Updates {
    bytes: Vec<u8>,
    places: Vec<usize>,
}

impl Updates {
    fn new(next_hop: std::net::IpAddr) -> Self {
        let marker = |number: u32| MacAddr([0xd2, 0xaa, 0x55, 0xaa, 0x55, number as u8]);
        let routes = (0..AT_ONCE).map(|number| mac_route(101, marker(number))).collect();
        let bytes = update(&evpn(next_hop, 101, routes)).to_vec();
        let place = |number| bytes.windows(6).position(|window| *window == marker(number).0).unwrap();
        let places = (0..AT_ONCE).map(place).collect();
        Self { bytes, places }
    }

    fn from(&mut self, first: u32) -> &[u8] {
        for (number, place) in (first..).zip(&self.places) {
            let [a, b, c, d] = number.to_be_bytes();
            self.bytes[*place..place + 6].copy_from_slice(&[2, 0x66, a, b, c, d]);
        }
        &self.bytes
    }
}

#[test]
#[ignore = "takes an optimised build and 4 GB"]
fn ten_million_routes_are_bounded() {
    const FLOODER: u8 = 61;
    let mut stage = Stage::new();
    let from = underlay(FLOODER);
    let attach = Attach { addresses: Topology::UNDERLAY.addresses(FLOODER), ..Attach::default() };
    let host = stage.topology.underlay.host(&stage.topology.lab, "flooder", attach, &[]).unwrap();
    stage.start_with(&peer_table(from, "passive = true\nmaximum-prefixes-restart = 1"));
    let watch = Watch::start(&stage);
    let mut updates = Updates::new(from);
    let establish = |stage: &Stage| {
        let to = stage.topology.gateway_vtep(Family::V4);
        let mut flooder = wait_until("a connection", PATIENCE, || {
            Liar::connect(&host.namespace, from, to, Transport::default())
        })
        .unwrap();
        flooder.establish([198, 18, 0, FLOODER].into());
        flooder
    };

    // The same few, again and again: nothing piles up.
    let mut flooder = establish(&stage);
    let resident = |stage: &mut Stage| stage.gateway.process().unwrap().memory().unwrap().0;
    let (start, before) = (Instant::now(), resident(&mut stage));
    for first in (0..ROUTES).step_by(AT_ONCE as usize) {
        flooder.say_bytes(updates.from(first % FEW)).unwrap();
    }
    wait_until("all of the few", PATIENCE, || {
        let row = peer(&stage, from);
        if row["received"][0][1] == FEW { Ok(()) } else { Err(row.to_string()) }
    })
    .unwrap();
    let (_, most) = stage.gateway.process().unwrap().memory().unwrap();
    eprintln!("=== {ROUTES} changes of {FEW} routes: {:?}, {before} to {most} bytes ===", start.elapsed());
    assert!(most < before + CHURN_BYTES, "{before}, then {most}");

    // All of them different: the session ends at the maximum, and what was kept goes.
    let start = Instant::now();
    for first in (FEW..ROUTES).step_by(AT_ONCE as usize) {
        match flooder.say_bytes(updates.from(first)) {
            Ok(()) => {}
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => break,
            Err(error) => panic!("{error}"),
        }
    }
    watch.wait(from, "down", &format!("more than {DEFAULT_MAXIMUM} routes"));
    let (_, most) = stage.gateway.process().unwrap().memory().unwrap();
    eprintln!("=== out after {:?}, {before} to {most} bytes ===", start.elapsed());
    assert!(most < before + DEFAULT_MAXIMUM * BYTES_A_ROUTE, "{before}, then {most}");
    wait_until("its routes gone", PATIENCE, || {
        let row = peer(&stage, from);
        if row["received"][0][1] == 0 { Ok(()) } else { Err(row.to_string()) }
    })
    .unwrap();

    // And it is as good as any afterwards.
    wait_state(&stage, from, "Active");
    let mut flooder = establish(&stage);
    let mac = MacAddr([2, 0, 66, 3, 0, 1]);
    flooder.announce(&evpn(from, 101, vec![mac_route(101, mac)]));
    stage.wait_station(mac, from);
}
