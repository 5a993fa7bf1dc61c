//! Stations are found by their addresses, and followed; who waits for nobody is told.

use std::thread;

use lab::{Capture, Family, Ping, Topology, wait_until};

use crate::{PATIENCE, Plan, assert_answered, idle_scene, known, mac, start};

#[test]
fn a_first_packet_waits_until_its_receiver_is_found() {
    let mut scene = idle_scene(2);
    start(&mut scene, &Plan::default());
    for station in &scene.stations {
        for family in Family::BOTH {
            let address = station.address(family);
            assert_eq!(known(&scene, address), None);
            assert_answered(&Ping::to(address), &scene.outer.namespace);
            let found = Some((station.host.nic.mac.to_string(), "reachable".to_owned()));
            assert_eq!(known(&scene, address), found);
        }
    }
    // Request and reply of each.
    assert_eq!(scene.gateway.counter("unresolved").unwrap(), 4);
    assert!(scene.gateway.counter("egress").unwrap() >= 4);
}

#[test]
fn who_waits_for_nobody_is_told() {
    let mut scene = idle_scene(1);
    start(&mut scene, &Plan::default());
    let site = scene.stations[0].site;
    let outer = &scene.outer;
    let capture = Capture::start(&outer.namespace, "eth0").unwrap();
    thread::scope(|scope| {
        for family in Family::BOTH {
            scope.spawn(move || {
                let ping = Ping::to(site.address(family, 99)).count(1).timeout(PATIENCE);
                let report = ping.run(&outer.namespace).unwrap();
                assert_eq!((report.received, report.errors), (0, 1), "{family:?}: {report:?}");
            });
        }
    });
    let capture = capture.stop().unwrap();
    let from = |family| Topology::UPLINK.address(family, Topology::GATEWAY);
    let v4 = format!("icmp.type == 3 && icmp.code == 1 && ip.src == {}", from(Family::V4));
    let v6 = format!("icmpv6.type == 1 && icmpv6.code == 3 && ipv6.src == {}", from(Family::V6));
    assert_eq!((capture.count(&v4).unwrap(), capture.count(&v6).unwrap()), (1, 1));
    assert_eq!(capture.faults().unwrap(), []);
    // Three attempts each (RFC 4861 §10, MAX_MULTICAST_SOLICIT).
    assert_eq!(scene.gateway.counter("solicitation_sent").unwrap(), 6);
}

#[test]
fn a_station_with_a_new_mac_address_is_followed() {
    let mut scene = idle_scene(2);
    let tables = scene
        .stations
        .iter()
        .zip(1..)
        .map(|(station, number)| scene.station_table(&station.site, mac(number), station.site.endpoint, &[]))
        .collect();
    start(&mut scene, &Plan { tables, ..Plan::default() });
    for (station, number) in scene.stations.iter().zip(1..) {
        for family in Family::BOTH {
            assert_answered(&Ping::to(station.address(family)), &scene.outer.namespace);
        }
        // The kernel announces it: by a gratuitous ARP request, and an unsolicited advertisement.
        for setting in ["net.ipv4.conf.eth0.arp_notify", "net.ipv6.conf.eth0.ndisc_notify"] {
            station.host.namespace.set(setting, "1").unwrap();
        }
        let new = mac(number);
        station.host.namespace.ip(&format!("link set eth0 address {new}")).unwrap();
        for family in Family::BOTH {
            let address = station.address(family);
            wait_until(&format!("{address} at {new}"), PATIENCE, || match known(&scene, address) {
                Some((mac, _)) if mac == new.to_string() => Ok(()),
                seen => Err(format!("{seen:?}")),
            })
            .unwrap();
            assert_answered(&Ping::to(address), &scene.outer.namespace);
        }
    }
}
