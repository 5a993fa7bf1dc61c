//! What senders are told of packets that went no further: time exceeded, unreachable, prohibited.

use std::net::IpAddr;

use lab::{Capture, Family, Hop, Host, Scene, Site, Topology, Traceroute, wait_until};

use crate::{PATIENCE, Plan, idle_scene, start};

/// Prefixes that the gateway's host has no way to (RFC 5737, RFC 3849).
const NOWHERE: [(&str, &str); 2] =
    [("203.0.113.0/24", "203.0.113.1"), ("2001:db8:ffff::/48", "2001:db8:ffff::1")];

fn hop(address: IpAddr) -> Hop {
    Hop { address: Some(address), note: None }
}

fn both_ways(destination: IpAddr) -> [Traceroute; 2] {
    [Traceroute::to(destination), Traceroute::to(destination).icmp()]
}

fn assert_way(from: &Host, to: IpAddr, way: &[IpAddr]) {
    let way: Vec<Hop> = way.iter().copied().map(hop).collect();
    for traceroute in both_ways(to) {
        assert_eq!(
            traceroute.run(&from.namespace).unwrap(),
            way,
            "{traceroute:?} in {}",
            from.namespace.name()
        );
    }
}

#[test]
fn traceroute_shows_the_gateway() {
    let mut scene = idle_scene(2);
    start(&mut scene, &Plan::default());
    let captures = [&scene.topology.underlay0, &scene.topology.uplink0]
        .map(|nic| Capture::start(&nic.far_namespace, &nic.far_interface).unwrap());
    for station in &scene.stations {
        for family in Family::BOTH {
            let inside = station.site.address(family, 1);
            let outside = Topology::UPLINK.address(family, Topology::GATEWAY);
            let router = Topology::UPLINK.address(family, Topology::ROUTER);
            let outer_router = Topology::OUTER.address(family, 1);
            let [here, there] = [station.address(family), scene.outer_address(family)];
            let neighbour = Topology::UPLINK.address(family, Scene::NEIGHBOUR);
            assert_way(&station.host, there, &[inside, router, there]);
            assert_way(&station.host, neighbour, &[inside, neighbour]);
            assert_way(&scene.outer, here, &[outer_router, outside, here]);
            assert_way(&scene.neighbour, here, &[outside, here]);
        }
    }
    for capture in captures {
        assert_eq!(capture.stop().unwrap().faults().unwrap(), []);
    }
}

#[test]
fn a_station_is_told_why_it_reaches_nobody() {
    let mut scene = idle_scene(2);
    start(&mut scene, &Plan::default());
    for (prefix, _) in NOWHERE {
        scene.topology.gateway.ip(&format!("route add unreachable {prefix}")).unwrap();
    }
    let [one, other] = &scene.stations[..] else { panic!("two stations") };
    for (family, (_, nowhere)) in Family::BOTH.into_iter().zip(NOWHERE) {
        let router = one.site.address(family, 1);
        let refusals = [
            (nowhere.parse().unwrap(), "!N"),
            (other.address(family), "!X"),
            // In a block, in no overlay.
            (Site::numbered(99).address(family, 5), "!N"),
        ];
        for (destination, note) in refusals {
            let refused = Hop { address: Some(router), note: Some(note.to_owned()) };
            for traceroute in both_ways(destination) {
                // The kernel's new route comes by a notification.
                wait_until(&format!("{note} for {destination}"), PATIENCE, || {
                    let way = traceroute.hops(2).run(&one.host.namespace).unwrap();
                    if way.last() == Some(&refused) { Ok(()) } else { Err(format!("{way:?}")) }
                })
                .unwrap();
            }
        }
    }
}
