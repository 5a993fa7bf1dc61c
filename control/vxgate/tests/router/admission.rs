//! Stations that are where they are not expected, and those that nobody expects.

use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use lab::{Capture, Family, Host, Ping, ROUTER_MAC, Scene, Station, SteadyProbe, wait_until};
use wire::ethernet::{self, EthernetRepr};
use wire::ipv4::{self, Ipv4Repr};
use wire::{EtherType, IpProtocol, MacAddr};

use crate::{PATIENCE, Plan, another_station, assert_answered, idle_scene, known, mac, start, wait_counter};

/// How many unknown MAC addresses an overlay lets in at a time.
const VISITORS: u8 = 64;

/// So that it sends wherever it is.
fn know_the_router(host: &Host, station: &Station) {
    let lines = station
        .site
        .routers()
        .map(|router| format!("neighbour replace {router} lladdr {ROUTER_MAC} dev eth0 nud permanent\n"));
    host.namespace.ip(&lines.concat()).unwrap();
}

#[test]
fn a_station_behind_another_endpoint_is_forwarded_or_refused() {
    let mut scene = idle_scene(2);
    start(&mut scene, &Plan { overlays: &[(2, "admission = \"strict\"")], ..Plan::default() });
    for index in 0..2 {
        let station = scene.stations[index].clone();
        know_the_router(&station.host, &station);
        for family in Family::BOTH {
            assert_answered(&Ping::to(scene.outer_address(family)), &station.host.namespace);
        }
        let elsewhere = match station.site.endpoint {
            Family::V4 => Family::V6,
            Family::V6 => Family::V4,
        };
        let link = scene.join(&station.site, elsewhere).unwrap();
        link.roam(&mut scene.stations[index].host).unwrap();
    }
    let [loose, strict] = &scene.stations[..] else { panic!("two stations") };
    for family in Family::BOTH {
        let probe = |station: &Station| {
            let address = scene.outer_address(family);
            let interval = Duration::from_millis(5);
            SteadyProbe::start(&station.host.namespace, &scene.outer.namespace, address, interval).unwrap()
        };
        let count = |name| scene.gateway.counter(name).unwrap();
        let before = count("egress_elsewhere");
        let probing = probe(loose);
        wait_until("datagrams", PATIENCE, || probing.received() >= 20).unwrap();
        assert_eq!(probing.stop().unwrap().lost(), 0);
        assert!(count("egress_elsewhere") - before >= 20);

        let before = count("wrong_endpoint");
        let probing = probe(strict);
        wait_counter(&scene, "wrong_endpoint", before, 20);
        assert_eq!(probing.stop().unwrap().received, 0);
    }
}

#[test]
fn a_stranger_is_let_in_for_a_while_and_sent_nothing() {
    let mut scene = idle_scene(2);
    // Before the gateway is there: a visit begins with the first frame, and what takes time is not to be in it.
    let strangers = [0, 1].map(|index| {
        let stranger = another_station(&scene, index, 11);
        know_the_router(&stranger, &scene.stations[index]);
        let capture = Capture::start(&stranger.nic.namespace, &stranger.nic.interface).unwrap();
        (stranger, capture)
    });
    start(&mut scene, &Plan::default());
    let (outer, interval) = (&scene.outer.namespace, Duration::from_millis(5));
    for (stranger, _) in &strangers {
        let probes = Family::BOTH.map(|family| {
            let namespace = &stranger.nic.namespace;
            let probe = SteadyProbe::start(namespace, outer, scene.outer_address(family), interval).unwrap();
            // The first one has it let in. Until then all frames go to the slow path, which takes 64 at once.
            wait_until("a datagram", PATIENCE, || probe.received() > 0).unwrap();
            probe
        });
        wait_until("datagrams", PATIENCE, || probes.iter().all(|probe| probe.received() >= 20)).unwrap();
        for probe in probes {
            assert_eq!(probe.stop().unwrap().lost(), 0);
        }
    }
    thread::scope(|scope| {
        let addresses = scene
            .stations
            .iter()
            .flat_map(|station| Family::BOTH.map(|family| station.site.address(family, 11)));
        for address in addresses {
            scope.spawn(move || {
                let report = Ping::to(address).count(1).timeout(PATIENCE).run(outer).unwrap();
                assert_eq!((report.received, report.errors), (0, 1), "{address}: {report:?}");
            });
        }
    });
    for ((_, capture), station) in strangers.into_iter().zip(&scene.stations) {
        let requests = capture.stop().unwrap().count("icmp.type == 8 || icmpv6.type == 128").unwrap();
        assert_eq!(requests, 0, "overlay {}", station.site.vni);
        // It was asked for, and answered: that is not believed.
        for family in Family::BOTH {
            let (mac, _) = known(&scene, station.site.address(family, 11)).unwrap();
            assert_eq!(mac, "");
        }
    }
    assert_eq!(scene.gateway.counter("stranger_admitted").unwrap(), 2);
}

#[test]
fn strangers_are_few() {
    let mut scene = idle_scene(1);
    start(&mut scene, &Plan::default());
    let station = &scene.stations[0];
    let socket = station.host.namespace.packet_socket("eth0").unwrap();
    let send = |number: u8| socket.send(&datagram(&scene, station, mac(number))).unwrap();
    (0..VISITORS).for_each(send);
    // A worker forwards them after the slow path has let them in.
    wait_counter(&scene, "egress", 0, u64::from(VISITORS));
    assert_eq!(scene.gateway.counter("stranger_admitted").unwrap(), u64::from(VISITORS));
    // One more; until the limit of what the slow path is given lets it through.
    wait_until("a refusal", PATIENCE, || {
        send(VISITORS);
        scene.gateway.counter("stranger_refused").unwrap() > 0
    })
    .unwrap();
    assert_eq!(scene.gateway.counter("stranger_admitted").unwrap(), u64::from(VISITORS));
    assert_eq!(scene.gateway.counter("egress").unwrap(), u64::from(VISITORS));
}

/// An IPv4 packet of the station's address to the outer host, from some MAC address.
fn datagram(scene: &Scene, station: &Station, src: MacAddr) -> Vec<u8> {
    let [IpAddr::V4(from), IpAddr::V4(to)] = [station.address(Family::V4), scene.outer_address(Family::V4)]
    else {
        panic!("asked for IPv4")
    };
    let mut frame = vec![0; 60];
    EthernetRepr { dst: ROUTER_MAC, src, ethertype: EtherType::Ipv4 }.emit(&mut frame);
    let header = Ipv4Repr {
        src: from,
        dst: to,
        // For experiments (RFC 3692): nobody answers.
        protocol: IpProtocol::Unknown(253),
        ttl: 64,
        dscp_ecn: 0,
        ident: 0,
        dont_fragment: true,
        payload_len: (60 - ethernet::HEADER_LEN - ipv4::HEADER_LEN) as u16,
    };
    header.emit(&mut frame[ethernet::HEADER_LEN..]);
    frame
}
