//! Storms, and what they do to others.

use std::time::Duration;

use lab::{Family, LatencyProbe, Storm, wait_until};

use crate::{ROUTER_MAC, World, address, mac};

const TIMEOUT: Duration = Duration::from_secs(20);

/// An Ethernet frame with an IPv4 packet that holds nothing, from station 10 to some address in 10.1.0.0/16.
fn scan(number: u64, frame: &mut Vec<u8>) {
    let [.., a, b] = number.to_be_bytes();
    frame.extend(ROUTER_MAC.0);
    frame.extend(mac(10).0);
    frame.extend([0x08, 0x00, 0x45, 0, 0, 20, 0, 0, 0, 0, 64, 253, 0, 0, 10, 1, 0, 10, 10, 1, a, b]);
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
    let before = received();
    let storm = Storm::start(&station.namespace, &station.nic.interface, 100_000, scan).unwrap();
    wait_until("20 000 frames", TIMEOUT, || storm.sent() >= 20_000).unwrap();
    let report = storm.stop().unwrap();
    println!(
        "{} frames in {:?}: {:.0} a second, {} refused",
        report.sent,
        report.elapsed,
        report.rate(),
        report.refused
    );
    assert!(report.sent >= 20_000 && report.rate() <= 100_000.0, "{report:?}");
    assert!(received() - before >= report.sent);

    let storm =
        Storm::start(&station.namespace, &station.nic.interface, 1000, |_, frame| frame.resize(9000, 0));
    let storm = storm.unwrap();
    let error = wait_until("refusal of a frame that is too long", TIMEOUT, || storm.is_over());
    error.unwrap();
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
    println!("{report:?}: {:.0} a second", report.rate());

    // The bridge's port, so that the host keeps its addresses.
    let port = &victim.nic;
    port.far_namespace.ip(&format!("link set {} down", port.far_interface)).unwrap();
    windows("while it goes down");
    for report in windows("while it is down") {
        assert_eq!((report.received, report.max), (0, Duration::ZERO), "{report}");
    }
    let nowhere = address(Family::V4, 99);
    victim.namespace.ip("route del default\nroute del 10.1.0.0/24").unwrap();
    assert!(LatencyProbe::start(&victim.namespace, nowhere, Duration::from_millis(5)).is_err());
}
