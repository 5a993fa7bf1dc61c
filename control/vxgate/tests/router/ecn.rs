//! Congestion notification and DSCP through the tunnel (RFC 6040, RFC 2983).

use std::time::Duration;

use lab::{CE, Capture, ECT_0, EcnCounters, Family, Nic, Ping};

use crate::{Plan, assert_answered, idle_scene, start, wait_counter};

/// Pings of each kind.
const PINGS: u64 = 3;

#[test]
fn congestion_in_the_underlay_is_told_and_never_to_who_cannot_tell() {
    let mut scene = idle_scene(2);
    start(&mut scene, &Plan::default());
    for station in &scene.stations {
        for family in Family::BOTH {
            // Neighbours are known before anything is marked.
            assert_answered(&Ping::to(scene.outer_address(family)), &station.host.namespace);
            assert_answered(&Ping::to(station.address(family)), &scene.outer.namespace);
        }
    }
    scene.topology.underlay.mark_congestion().unwrap();
    for station in &scene.stations {
        for family in Family::BOTH {
            // Outward, what was marked on the way to the gateway; inward, what the gateway marked as capable.
            let ways = [
                (&station.host, &scene.outer, scene.outer_address(family)),
                (&scene.outer, &station.host, station.address(family)),
            ];
            for (from, to, address) in ways {
                let before = to.namespace.ecn_counters(family).unwrap();
                for _ in 0..PINGS {
                    assert_answered(&Ping::to(address).tos(ECT_0), &from.namespace);
                    assert_answered(&Ping::to(address), &from.namespace);
                }
                let EcnCounters { ect_0, ect_1, ce, .. } =
                    to.namespace.ecn_counters(family).unwrap() - before;
                assert_eq!((ect_0, ect_1, ce), (0, 0, PINGS), "to {address}");
            }
        }
    }
    assert_eq!(scene.gateway.counter("congestion").unwrap(), 0);

    scene.topology.underlay.mark_wrongly().unwrap();
    for station in &scene.stations {
        for family in Family::BOTH {
            let before = scene.gateway.counter("congestion").unwrap();
            let ping = Ping::to(scene.outer_address(family)).count(PINGS as u32);
            let report = ping.timeout(Duration::from_millis(100)).run(&station.host.namespace).unwrap();
            assert_eq!(report.received, 0, "{report:?}");
            // The last may still be on its way.
            wait_counter(&scene, "congestion", before, report.sent);
            assert_eq!(scene.gateway.counter("congestion").unwrap() - before, report.sent);
            // Whoever can tell is still served.
            assert_answered(&Ping::to(scene.outer_address(family)).tos(CE), &station.host.namespace);
        }
    }
}

#[test]
fn the_code_point_is_copied_or_set() {
    /// Expedited forwarding (RFC 3246), and what is configured for the third and fourth overlay.
    const EF: u8 = 46;
    const SET: u8 = 10;
    let mut scene = idle_scene(4);
    let set = format!("dscp = {SET}");
    start(&mut scene, &Plan { overlays: &[(3, &set), (4, &set)], ..Plan::default() });
    let Nic { mac, far_namespace, far_interface, .. } = &scene.topology.underlay0;
    for station in &scene.stations {
        for family in Family::BOTH {
            assert_answered(&Ping::to(station.address(family)), &scene.outer.namespace);
        }
    }
    let capture = Capture::start(far_namespace, far_interface).unwrap();
    for station in &scene.stations {
        for family in Family::BOTH {
            let ping = Ping::to(station.address(family)).tos(EF << 2 | ECT_0);
            assert_answered(&ping, &scene.outer.namespace);
        }
    }
    let filter = format!("eth.src == {mac} && (icmp.type == 8 || icmpv6.type == 128)");
    let fields = ["vxlan.vni", "icmp.type", "ip.dsfield", "ipv6.tclass"];
    let rows = capture.stop().unwrap().fields(&filter, &fields).unwrap();
    for (station, outside) in scene.stations.iter().zip([EF, EF, SET, SET]) {
        for family in Family::BOTH {
            let is_for = |row: &&Vec<String>| {
                row[0] == station.site.vni.to_string() && row[1].is_empty() == (family == Family::V6)
            };
            let [row] = rows.iter().filter(is_for).collect::<Vec<_>>()[..] else { panic!("{rows:?}") };
            // Outermost first, in hexadecimal.
            let layer = |family: Family| {
                let values = row[2 + family as usize].split(',').map(|value| value.trim_start_matches("0x"));
                values.map(|value| u8::from_str_radix(value, 16).unwrap())
            };
            assert_eq!(layer(station.site.endpoint).next(), Some(outside << 2 | ECT_0), "{row:?}");
            assert_eq!(layer(family).next_back(), Some(EF << 2 | ECT_0), "{row:?}");
        }
    }
}
