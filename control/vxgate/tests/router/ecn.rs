//! Congestion notification and DSCP through the tunnel (RFC 6040, RFC 2983).

use lab::{CE, Capture, ECT_0, EcnCounters, Family, Ping};

use crate::{Plan, assert_answered, idle_scene, start};

/// Pings of each kind.
const PINGS: u64 = 3;

#[test]
fn congestion_in_the_underlay_is_told_and_never_to_who_cannot_tell() {
    let mut scene = idle_scene(2);
    start(&mut scene, &Plan::default());
    for station in &scene.stations {
        for family in Family::BOTH {
            // Neighbours are found before what is not IP-capable of it is marked.
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
            let timeout = std::time::Duration::from_millis(100);
            let report = ping.timeout(timeout).run(&station.host.namespace).unwrap();
            assert_eq!(report.received, 0, "{report:?}");
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
    let underlay0 = &scene.topology.underlay0;
    for (station, outside) in scene.stations.iter().zip([EF, EF, SET, SET]) {
        for family in Family::BOTH {
            let address = station.address(family);
            assert_answered(&Ping::to(address), &scene.outer.namespace);
            let capture = Capture::start(&underlay0.far_namespace, &underlay0.far_interface).unwrap();
            let ping = Ping::to(address).tos(EF << 2 | ECT_0);
            assert_answered(&ping, &scene.outer.namespace);
            let request = match family {
                Family::V4 => "icmp.type == 8",
                Family::V6 => "icmpv6.type == 128",
            };
            let filter = format!("eth.src == {} && {request}", underlay0.mac);
            let fields = ["ip.dsfield.dscp", "ipv6.tclass.dscp", "ip.dsfield.ecn", "ipv6.tclass.ecn"];
            let [row] = &capture.stop().unwrap().fields(&filter, &fields).unwrap()[..] else {
                panic!("one request")
            };
            let values = |four: usize, six: usize| -> [Vec<u8>; 2] {
                [four, six].map(|at| row[at].split(',').filter_map(|value| value.parse().ok()).collect())
            };
            let (code_points, marks) = (values(0, 1), values(2, 3));
            let outer = station.site.endpoint as usize;
            let inner = family as usize;
            assert_eq!(code_points[outer].first(), Some(&outside), "{row:?}");
            assert_eq!(code_points[inner].last(), Some(&EF), "{row:?}");
            assert_eq!((marks[outer].first(), marks[inner].last()), (Some(&ECT_0), Some(&ECT_0)), "{row:?}");
        }
    }
}
