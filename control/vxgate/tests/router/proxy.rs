//! For whom the router answers ARP requests and neighbour solicitations.

use std::net::IpAddr;
use std::thread;

use lab::{Family, Host, Namespace, Ping, ROUTER_MAC, Scene, Site, Uniqueness};

use crate::{Plan, another_station, ask_quickly, assert_answered, idle_scene, mac, neighbour_of, start};

/// Number of the second station in each overlay.
const OTHER: u8 = 11;
/// Number of an address that nobody has at first.
const FREE: u8 = 12;

/// Overlays 1 to 3 of two stations each, which are isolated from each other.
fn isolated() -> (Scene, Vec<Host>) {
    let scene = idle_scene(3);
    let others: Vec<Host> = (0..3).map(|index| another_station(&scene, index, OTHER)).collect();
    for (station, (other, link)) in scene.stations.iter().zip(others.iter().zip(&scene.links)) {
        for host in [&station.host, other] {
            link.isolate(host).unwrap();
            ask_quickly(host);
        }
    }
    (scene, others)
}

fn tables(scene: &Scene) -> String {
    let table = |(index, station): (usize, &lab::Station)| {
        scene.station_table(&station.site, mac(index as u8 + 1), station.site.endpoint, &[])
    };
    scene.stations.iter().enumerate().map(table).collect()
}

#[test]
fn the_router_answers_for_itself_for_known_ones_or_for_all() {
    let (mut scene, others) = isolated();
    let tables = tables(&scene);
    let overlays = [(2, "proxy = \"known\""), (3, "proxy = \"isolate\"")];
    start(&mut scene, &Plan { overlays: &overlays, tables, ..Plan::default() });
    for (station, other) in scene.stations.iter().zip(&others) {
        for family in Family::BOTH {
            // Both are known and fresh.
            let [here, there] = [Scene::STATION, OTHER].map(|number| station.site.address(family, number));
            for (host, address) in [(&station.host, here), (other, there)] {
                assert_answered(&Ping::to(address), &scene.outer.namespace);
                assert_answered(&Ping::to(scene.outer_address(family)), &host.namespace);
            }
            let (answer, nobodys) = match station.site.vni.value() {
                101 => (None, None),
                102 => (Some(other.nic.mac), None),
                _ => (Some(ROUTER_MAC), Some(ROUTER_MAC)),
            };
            for (address, mac) in [(there, answer), (station.site.address(family, FREE), nobodys)] {
                let expected = mac.map(|mac| mac.to_string());
                assert_eq!(neighbour_of(&station.host, address), expected, "{address}");
            }
        }
    }
    // What is answered for all is forwarded, within the overlay.
    let (station, other) = (&scene.stations[2], &others[2]);
    for family in Family::BOTH {
        assert_answered(&Ping::to(station.site.address(family, OTHER)), &station.host.namespace);
        assert_answered(&Ping::to(station.address(family)), &other.namespace);
    }
    assert!(scene.gateway.counter("across").unwrap() >= 8);
}

#[test]
fn duplicate_address_detection_is_between_stations() {
    let mut scene = idle_scene(2);
    let others = [0, 1].map(|index| another_station(&scene, index, OTHER));
    let tables = tables(&scene);
    let overlays = [(1, "proxy = \"known\""), (2, "proxy = \"isolate\"")];
    start(&mut scene, &Plan { overlays: &overlays, tables, ..Plan::default() });
    let outer = &scene.outer.namespace;
    thread::scope(|scope| {
        for (station, other) in scene.stations.iter().zip(&others) {
            scope.spawn(|| detect_duplicates(&station.site, &station.host, other, outer));
        }
    });
}

fn detect_duplicates(site: &Site, one: &Host, other: &Host, outer: &Namespace) {
    let [IpAddr::V4(v4), IpAddr::V6(v6)] = Family::BOTH.map(|family| site.address(family, FREE)) else {
        panic!("one of each")
    };
    let net = format!("{v6}/64").parse().unwrap();
    // Over IPv4 probing is one thing, and having the address another.
    let claims = |host: &Host| {
        thread::scope(|scope| {
            let probing = scope.spawn(|| host.nic.probe_ipv4(v4).unwrap());
            let verdict = host.nic.claim_ipv6(net).unwrap();
            [probing.join().unwrap(), verdict]
        })
    };
    assert_eq!(claims(one), [Uniqueness::Unique; 2]);
    one.namespace.ip(&format!("address add {v4}/24 dev eth0")).unwrap();
    for address in [IpAddr::V4(v4), v6.into()] {
        assert_answered(&Ping::to(address), outer);
    }
    assert_eq!(claims(other), [Uniqueness::Duplicate; 2]);
    // The router still believes that the first one has them: it has no say when that one asks again, nor when the
    // other does.
    let remove_v6 = format!("address del {v6}/64 dev eth0");
    one.namespace.ip(&format!("address del {v4}/24 dev eth0\n{remove_v6}")).unwrap();
    assert_eq!(claims(one), [Uniqueness::Unique; 2]);
    one.namespace.ip(&remove_v6).unwrap();
    assert_eq!(claims(other), [Uniqueness::Unique; 2]);
}
