//! Storms, and what they do to others.

use std::time::Duration;

use lab::{Capture, Family, LatencyProbe, Storm, wait_until};

use crate::{ROUTER_MAC, World, address, mac};

const TIMEOUT: Duration = Duration::from_secs(20);

/// An Ethernet frame with an IPv4 packet that holds nothing, from station 10 to some address of the overlay.
fn scan(number: u64, frame: &mut Vec<u8>) {
    let [.., low] = number.to_be_bytes();
    frame.extend(ROUTER_MAC.0);
    frame.extend(mac(10).0);
    // The identification makes up for the address, so that all have the same checksum.
    frame.extend([0x08, 0x00, 0x45, 0, 0, 20, 0xff, !low, 0, 0, 64, 253, 0x65, 0xe2]);
    frame.extend([10, 1, 0, 10, 10, 1, 0, low]);
    frame.resize(60, 0);
}

#[test]
fn a_storm_is_sent_at_its_rate() {
    let world = World::build();
    let station = world.station(0, 10);
    let port = world.links[0].segment().namespace();
    let received = || -> u64 {
        let links = port.ip_json(&["-s", "link", "show", "dev", &station.nic.far_interface]).unwrap();
        links[0]["stats64"]["rx"]["packets"].as_u64().unwrap()
    };
    let capture = Capture::start(port, &station.nic.far_interface).unwrap();
    let once = Storm::start(&station.namespace, &station.nic.interface, 1000, scan).unwrap();
    wait_until("some frames", TIMEOUT, || once.sent() >= 20).unwrap();
    once.stop().unwrap();
    let frames = capture.stop().unwrap();
    assert_eq!(frames.faults().unwrap(), []);
    assert!(frames.count("ip.src == 10.1.0.10 && ip.proto == 253").unwrap() >= 20);

    let before = received();
    let storm = Storm::start(&station.namespace, &station.nic.interface, 100_000, scan).unwrap();
    wait_until("20 000 frames", TIMEOUT, || storm.sent() >= 20_000).unwrap();
    let report = storm.stop().unwrap();
    println!("{report}");
    assert!(report.sent >= 20_000 && report.rate() <= 100_000.0, "{report:?}");
    // A queue on the way may overflow.
    assert!(received() - before >= report.sent / 10 * 9);

    let giant = |_, frame: &mut Vec<u8>| frame.resize(9000, 0);
    let storm = Storm::start(&station.namespace, &station.nic.interface, 1000, giant).unwrap();
    wait_until("the refusal of a frame that is too long", TIMEOUT, || storm.is_over()).unwrap();
    assert!(storm.stop().is_err());
}

#[test]
fn a_latency_probe_tells_before_from_during() {
    let world = World::build();
    let [station, victim] = [10, 11].map(|number| world.station(0, number));
    let mut probes = Family::BOTH.map(|family| {
        let interval = Duration::from_millis(5);
        LatencyProbe::start(&victim.namespace, world.outer_address(family), interval).unwrap()
    });
    let mut windows = |what: &str| {
        probes.each_mut().map(|probe| {
            let report = probe.window(50, TIMEOUT).unwrap();
            println!("{what}: {report}");
            report
        })
    };
    // The first requests wait for neighbours to be found.
    windows("at first");
    for report in windows("before") {
        assert_eq!(report.lost(), 0, "{report}");
        assert!(report.sent >= 50 && Duration::ZERO < report.p50, "{report}");
        assert!(report.p50 <= report.p99 && report.p99 <= report.max, "{report}");
    }
    let storm = Storm::start(&station.namespace, &station.nic.interface, 100_000, scan).unwrap();
    windows("during");
    let report = storm.stop().unwrap();
    println!("{report}");

    // The bridge's port, so that the host keeps its addresses.
    let port = &victim.nic;
    port.far_namespace.ip(&format!("link set {} down", port.far_interface)).unwrap();
    // A first window began before.
    let [_, down] = [(); 2].map(|()| probes[0].window(50, TIMEOUT).unwrap());
    assert_eq!((down.received, down.max), (0, Duration::ZERO), "{down}");

    let nowhere = address(Family::V4, 99);
    victim.namespace.ip("route del default\nroute del 10.1.0.0/24").unwrap();
    assert!(LatencyProbe::start(&victim.namespace, nowhere, Duration::from_millis(5)).is_err());
}
