//! What is on the way, and how much fits through it.

use std::net::IpAddr;

use lab::{
    CE, ECT_0, EcnCounters, Family, Hop, Ping, Topology, Tracepath, Traceroute, learned_path_mtu, transfer,
};

use crate::{World, address};

/// MTUs, all smaller than those of the hosts' own links.
const UPLINK: u16 = 1400;
const OUTER: u16 = 1350;
const OVERLAY: u16 = 1300;

#[test]
fn traceroute_names_the_routers() {
    let world = World::build();
    let station = world.station(0, 10);
    for family in Family::BOTH {
        let destination = world.outer_address(family);
        let way = [address(family, 1), Topology::UPLINK.address(family, Topology::ROUTER), destination];
        let way = way.map(|address| Hop { address: Some(address), note: None });
        for traceroute in [Traceroute::to(destination), Traceroute::to(destination).icmp()] {
            assert_eq!(traceroute.run(&station.namespace).unwrap(), way);
        }
    }
    let nobody: IpAddr = "198.18.2.99".parse().unwrap();
    let hops = Traceroute::to(nobody).hops(2).run(&station.namespace).unwrap();
    assert_eq!(hops.len(), 2);
}

#[test]
fn the_path_mtu_is_discovered_in_both_directions() {
    let world = World::build();
    let [tracer, sender] = [10, 11].map(|number| world.station(0, number));
    // Outward, the first error is the gateway's, the second comes back through it.
    for nic in [&world.topology.uplink0, &world.topology.router_uplink] {
        nic.set_mtu(UPLINK).unwrap();
    }
    world.topology.limit_packets_to(&world.outer, OUTER).unwrap();
    // Inward it is the gateway's.
    world.topology.gateway.ip(&format!("link set vx100 mtu {OVERLAY}")).unwrap();
    for family in Family::BOTH {
        let destination = world.outer_address(family);
        let path = Tracepath::run(&tracer.namespace, destination).unwrap();
        assert_eq!((path.path_mtu, path.hops), (OUTER.into(), Some(3)), "{path:?}");
        assert_eq!(path.addresses.last(), Some(&destination));

        let ways = [
            (&sender.namespace, &world.outer.namespace, destination, OUTER),
            (&world.outer.namespace, &sender.namespace, address(family, 11), OVERLAY),
        ];
        for (from, to, destination, mtu) in ways {
            assert_eq!(learned_path_mtu(from, destination).unwrap(), None);
            transfer(from, to, destination, 500_000).unwrap();
            assert_eq!(learned_path_mtu(from, destination).unwrap(), Some(mtu.into()), "{destination}");
        }
    }
}

#[test]
fn marked_packets_are_counted() {
    let world = World::build();
    let station = world.station(0, 10);
    for family in Family::BOTH {
        let counters = || world.outer.namespace.ecn_counters(family).unwrap();
        let before = counters();
        for (ecn, count) in [(ECT_0, 3), (CE, 2)] {
            let report =
                Ping::to(world.outer_address(family)).tos(ecn).count(count).run(&station.namespace).unwrap();
            assert!(report.is_complete(), "{report:?}");
        }
        let EcnCounters { ect_0, ect_1, ce, .. } = counters() - before;
        assert_eq!((ect_0, ect_1, ce), (3, 0, 2), "{family:?}");
    }

    // On the outer header: the end of the tunnel brings it inside (RFC 6040 §4.2).
    let Topology { underlay, outer, router, .. } = &world.topology;
    for (family, segment, from) in [(Family::V4, underlay, &station.namespace), (Family::V6, outer, router)] {
        segment.mark_congestion().unwrap();
        let counters = || world.outer.namespace.ecn_counters(family).unwrap();
        let before = counters();
        for ecn in [0, ECT_0] {
            let ping = Ping::to(world.outer_address(family)).tos(ecn).count(3);
            assert!(ping.run(from).unwrap().is_complete());
        }
        let EcnCounters { ect_0, ce, .. } = counters() - before;
        assert_eq!((ect_0, ce), (0, 3), "{family:?}");
    }
}
