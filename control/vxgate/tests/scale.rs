//! 65 536 overlays in one block, three of them with real stations; without any others, and with 16 more in each. Needs
//! root.
//!
//! `cargo test --release -p vxgate --test scale -- --nocapture` prints start-up time and memory.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::Duration;

use ipnet::{Ipv4Net, Ipv6Net};
use lab::{Family, Ping, Scene, Site, TopologyOptions, vni, wait_until};
use serde_json::Value;

const VXGATE: &str = env!("CARGO_BIN_EXE_vxgate");

const OVERLAYS: u32 = 65_536;

/// Stations of the block in each overlay: 1 048 576 in all.
const PER_OVERLAY: u32 = 16;
/// Number of the first one's addresses in its subnets, beyond those of the scene's stations.
const FIRST_ADDRESS: u32 = 100;

/// How long an echo reply may take on a machine that others use too.
const PATIENCE: Duration = Duration::from_secs(10);

/// The first, one in the middle, and the last, behind the endpoints of both families.
const WITH_STATIONS: [(u32, Family); 3] = [(1, Family::V4), (32_768, Family::V6), (OVERLAYS, Family::V4)];

/// Overlay `number` as the block cuts it: the `number - 1`th /24 of 10.0.0.0/8 and /64 of fd00::/48.
fn site((number, endpoint): (u32, Family)) -> Site {
    let index = number - 1;
    let v4 = Ipv4Addr::from_bits(0x0a00_0000 | index << 8);
    let v6 = Ipv6Addr::from_bits(0xfd00 << 112 | u128::from(index) << 64);
    Site { vni: vni(number), v4: Ipv4Net::new_assert(v4, 24), v6: Ipv6Net::new_assert(v6, 64), endpoint }
}

fn scene(sites: &[Site]) -> Scene {
    Scene::build(Path::new(VXGATE), &TopologyOptions::new(&Scene::blocks()), sites).unwrap()
}

/// The scene's first overlay and its station alone.
fn one_overlay(scene: &Scene) -> String {
    let overlays = scene.overlays();
    let first = overlays.split_inclusive("\n\n").next().unwrap();
    let config = scene.config(first);
    let stations: Vec<&str> = config.split("\n[[station]]").take(2).collect();
    stations.join("\n[[station]]")
}

fn rows(value: Value) -> Vec<Value> {
    let Value::Array(rows) = value else { panic!("{value}") };
    rows
}

#[test]
fn as_many_interfaces_as_with_one_overlay_and_traffic_in_the_first_a_middle_and_the_last() {
    let mut scene = scene(&WITH_STATIONS.map(site));
    let gateway = scene.topology.gateway.clone();
    scene.gateway.configure(&one_overlay(&scene)).unwrap();
    scene.gateway.start().unwrap();
    assert_eq!(rows(scene.gateway.show("overlays").unwrap()).len(), 1);
    let with_one = gateway.interfaces().unwrap();
    assert!(scene.gateway.stop().unwrap().unwrap().success());

    let [v4, v6] = [0, 1].map(|endpoint| scene.endpoints[endpoint].vtep);
    let overlays = format!(
        "[[overlay-block]]\nvnis = \"1-{OVERLAYS}\"\nipv4 = {{ range = \"10.0.0.0/8\", length = 24 }}\n\
         ipv6 = {{ range = \"fd00::/48\", length = 64 }}\nendpoints = [\"{v4}\", \"{v6}\"]\n"
    );
    let stations = format!(
        "[[station-block]]\nvnis = \"1-{OVERLAYS}\"\nper-overlay = {PER_OVERLAY}\n\
         first-mac = \"02:10:00:00:00:00\"\nfirst-address = {FIRST_ADDRESS}\nendpoints = [\"{v4}\", \"{v6}\"]\n"
    );
    for (config, per_overlay) in [(overlays.clone(), 0), (overlays + &stations, PER_OVERLAY)] {
        scene.gateway.configure(&scene.config(&config)).unwrap();
        let started = scene.gateway.start().unwrap();
        let memory = scene.gateway.process().unwrap().memory().unwrap();
        let [resident, peak] = [memory.0, memory.1].map(|bytes| bytes as f64 / f64::from(1 << 20));
        println!(
            "\n=== {OVERLAYS} overlays, {} stations: ready in {} ms, {resident:.1} MiB resident, {peak:.1} MiB at most \
             ===\n",
            OVERLAYS * per_overlay + scene.stations.len() as u32,
            started.as_millis()
        );
        assert_eq!(gateway.interfaces().unwrap(), with_one);
        assert_forwards(&scene);
        assert_shown(&scene, per_overlay);
        if per_overlay > 0 {
            assert_knows(&scene, per_overlay);
        }
        assert!(scene.gateway.stop().unwrap().unwrap().success());
    }
}

/// In overlays with real stations, both ways.
fn assert_forwards(scene: &Scene) {
    for station in &scene.stations {
        for family in Family::BOTH {
            let pairs = [
                (&station.host.namespace, scene.outer_address(family)),
                (&scene.outer.namespace, station.address(family)),
            ];
            for (from, to) in pairs {
                // A single one is awaited for that long.
                let report = Ping::to(to).count(1).timeout(PATIENCE).run(from).unwrap();
                assert!(report.is_complete(), "{} to {to}: {report:?}", from.name());
            }
        }
    }
}

/// All overlays, with as many stations as they have.
fn assert_shown(scene: &Scene, per_overlay: u32) {
    let overlays = rows(scene.gateway.show("overlays").unwrap());
    assert_eq!(overlays.len(), OVERLAYS as usize);
    for (vni, overlay) in (1..).zip(&overlays) {
        let real = WITH_STATIONS.iter().filter(|(with, _)| *with == vni).count() as u32;
        assert_eq!((&overlay["vni"], &overlay["stations"]), (&vni.into(), &(per_overlay + real).into()));
    }
    let socket = scene.gateway.socket().to_string_lossy().into_owned();
    let arguments = ["show", "overlays", "--vni", "32768", "--socket", &socket, "-o", "json"];
    let output = scene.topology.gateway.run(VXGATE, &arguments).unwrap();
    let [overlay] = &rows(serde_json::from_slice(&output.stdout).unwrap())[..] else { panic!("one overlay") };
    assert_eq!(overlay, &overlays[32_767]);
    let Site { v4, v6, .. } = site(WITH_STATIONS[1]);
    assert_eq!(overlay["subnets"][0]["prefix"], v4.to_string());
    assert_eq!(overlay["subnets"][1]["prefix"], v6.to_string());
}

/// The first and the last station of the block, in the first and the last overlay: what is for them is forwarded, though
/// nobody is there, and nobody is asked for.
fn assert_knows(scene: &Scene, per_overlay: u32) {
    let count = |name| scene.gateway.counter(name).unwrap();
    let (forwarded, unresolved) = (count("ingress"), count("unresolved"));
    let mut sent = 0;
    for station in [&scene.stations[0], &scene.stations[2]] {
        for family in Family::BOTH {
            for number in [FIRST_ADDRESS, FIRST_ADDRESS + per_overlay - 1] {
                let address = station.site.address(family, number as u8);
                let ping = Ping::to(address).count(1).timeout(Duration::from_millis(1));
                assert_eq!(ping.run(&scene.outer.namespace).unwrap().received, 0, "{address}");
                sent += 1;
            }
        }
    }
    wait_until("packets into overlays", PATIENCE, || count("ingress") >= forwarded + sent).unwrap();
    assert_eq!(count("unresolved"), unresolved);
}
