//! Path MTU discovery through the gateway, and IPv4 packets that may be cut.

use lab::{Capture, Family, Host, Ping, Station, Tracepath, learned_path_mtu, transfer, wait_until};

use crate::{PATIENCE, Plan, assert_answered, idle_scene, start};

/// MTUs, all smaller than those of the hosts' own links: of the uplink, behind the router, of an overlay.
const UPLINK: u16 = 1400;
const OUTER: u16 = 1350;
const OVERLAY: u16 = 1300;

/// Bytes of a transfer that must find the path MTU.
const BYTES: usize = 300_000;

fn assert_path_mtu(from: &Host, to: &Host, family: Family, mtu: u16) {
    let destination = to.nic.addresses[family as usize].addr();
    transfer(&from.namespace, &to.namespace, destination, BYTES).unwrap();
    assert_eq!(learned_path_mtu(&from.namespace, destination).unwrap(), Some(mtu.into()), "{destination}");
    let path = Tracepath::run(&from.namespace, destination).unwrap();
    assert_eq!((path.path_mtu, path.hops), (mtu.into(), Some(3)), "{path:?}");
}

#[test]
fn a_smaller_mtu_on_either_side_is_found() {
    let mut scene = idle_scene(2);
    for nic in [&scene.topology.uplink0, &scene.topology.router_uplink] {
        nic.set_mtu(UPLINK).unwrap();
    }
    let mtu = format!("mtu = {OVERLAY}");
    start(&mut scene, &Plan { overlays: &[(1, &mtu), (2, &mtu)], ..Plan::default() });
    let [one, other] = &scene.stations[..] else { panic!("two stations") };
    for family in Family::BOTH {
        // The gateway's word.
        assert_path_mtu(&one.host, &scene.outer, family, UPLINK);
        assert_path_mtu(&scene.outer, &one.host, family, OVERLAY);
    }
    // That of a router further on, which comes back through the gateway.
    scene.topology.limit_packets_to(&scene.outer, OUTER).unwrap();
    for family in Family::BOTH {
        assert_path_mtu(&other.host, &scene.outer, family, OUTER);
    }
}

#[test]
fn what_the_underlay_leaves_is_found() {
    /// Of the underlay's 1400, IPv4 (20), UDP (8), VXLAN (8) and the inner Ethernet header (14) take 50, and IPv6 20 more.
    const LEFT: [u16; 2] = [1350, 1330];
    let mut scene = idle_scene(2);
    scene.topology.underlay0.set_mtu(1400).unwrap();
    for endpoint in &scene.endpoints {
        endpoint.nic.set_mtu(1400).unwrap();
    }
    // An overlay's own endpoints alone, so that the two differ.
    let stations = scene.stations.iter();
    let tables =
        stations.map(|Station { site, host }| scene.station_table(site, host.nic.mac, site.endpoint, &[]));
    let config = scene.base_config() + &scene.overlays() + &tables.collect::<String>();
    scene.gateway.configure(&config).unwrap();
    scene.gateway.start().unwrap();
    for (station, mtu) in scene.stations.iter().zip(LEFT) {
        for family in Family::BOTH {
            assert_path_mtu(&scene.outer, &station.host, family, mtu);
        }
    }
}

#[test]
fn packets_that_may_be_cut_arrive_whole() {
    let mut scene = idle_scene(2);
    for nic in [&scene.topology.uplink0, &scene.topology.router_uplink] {
        nic.set_mtu(UPLINK).unwrap();
    }
    let mtu = format!("mtu = {OVERLAY}");
    start(&mut scene, &Plan { overlays: &[(1, &mtu), (2, &mtu)], ..Plan::default() });
    let captures = [&scene.topology.underlay0, &scene.topology.uplink0]
        .map(|nic| Capture::start(&nic.far_namespace, &nic.far_interface).unwrap());
    let count = |name| scene.gateway.counter(name).unwrap();
    for station in &scene.stations {
        let inside = &station.host.namespace;
        // One piece, two pieces, fragments that are cut again, fragments that are not.
        for size in [1400, 1472, 4000] {
            let before = count("fragmented");
            assert_answered(&Ping::to(scene.outer_address(Family::V4)).size(size).may_be_cut(), inside);
            let (request, reply) = (1 + u64::from(size > 1372), 1);
            assert!(count("fragmented") - before >= request.min(2) / 2 + reply, "{size}");
            assert_answered(
                &Ping::to(station.address(Family::V4)).size(size).may_be_cut(),
                &scene.outer.namespace,
            );
        }
        // Nobody but the sender cuts IPv6: a first one may be lost, of which it is told.
        for (from, to) in
            [(inside, scene.outer_address(Family::V6)), (&scene.outer.namespace, station.address(Family::V6))]
        {
            let ping = Ping::to(to).size(4000).may_be_cut().count(1);
            wait_until("fragments that fit", PATIENCE, || ping.run(from).unwrap().is_complete()).unwrap();
        }
    }
    assert!(count("fragment_sent") > count("fragmented"));
    let [underlay, uplink] = captures.map(|capture| capture.stop().unwrap());
    assert_eq!((underlay.faults().unwrap(), uplink.faults().unwrap()), (vec![], vec![]));
    let sent = format!("eth.src == {} && ip.len > {UPLINK}", scene.topology.uplink0.mac);
    assert_eq!(uplink.count(&sent).unwrap(), 0);
}
