//! Stations as clients; two in one overlay; one that roams.

use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;
use std::time::Duration;

use lab::{Family, Host, Ping, Process, Scene, Site, TopologyOptions, Uniqueness, wait_until};

use crate::{ROUTER_MAC, World, address};

const TIMEOUT: Duration = Duration::from_secs(20);

/// Sends router advertisements on the overlay.
fn advertise(world: &World) -> Process {
    let arguments = [
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--pid-file=",
        "--user=root",
        "--log-facility=-",
        "--port=0",
        "--interface=vx100",
        "--enable-ra",
        "--dhcp-range=fd00:1::,ra-only,64,2h",
        "--ra-param=vx100,mtu:1400,60,1800",
        "--dhcp-option=option6:dns-server,[fd00::53]",
        "--dhcp-option=option6:domain-search,example.org",
    ];
    world.topology.gateway.spawn("dnsmasq", &arguments).unwrap()
}

fn answers(from: &Host, to: IpAddr) -> bool {
    Ping::to(to).count(1).run(&from.namespace).is_ok_and(|report| report.is_complete())
}

#[test]
fn a_client_configures_itself_by_advertisements() {
    let world = World::build();
    let client = world.client(0, 10);
    let _advertising = advertise(&world);
    let autoconf = client.nic.autoconf(TIMEOUT).unwrap();
    let subnet: ipnet::Ipv6Net = "fd00:1::/64".parse().unwrap();
    // Made of its MAC address (RFC 4291, appendix A).
    assert_eq!(autoconf.stable, ["fd00:1::ff:fe01:a".parse::<Ipv6Addr>().unwrap()]);
    assert!(autoconf.temporary.iter().all(|address| subnet.contains(address)), "{autoconf:?}");
    assert_eq!(autoconf.mtu, 1400);
    assert_eq!(client.nic.default_router(Family::V4).unwrap(), None);

    let advertisement = client.nic.solicit_router().unwrap();
    assert_eq!(IpAddr::V6(advertisement.router), autoconf.router);
    assert_eq!((advertisement.mac, advertisement.mtu), (Some(ROUTER_MAC), Some(1400)));
    assert_eq!(advertisement.dns_servers, ["fd00::53".parse::<Ipv6Addr>().unwrap()]);
    assert_eq!((advertisement.lifetime, &advertisement.search[..]), (1800, &["example.org".to_owned()][..]));
    let [prefix] = advertisement.prefixes[..] else { panic!("{advertisement:?}") };
    assert!(
        prefix.net == subnet && prefix.on_link && prefix.autonomous && prefix.valid == 7200,
        "{prefix:?}"
    );
    assert!(answers(&client, world.outer_address(Family::V6)));

    let station = world.station(0, 11);
    assert_eq!(station.nic.solicit_router().unwrap(), advertisement);
    let addresses = station.nic.current_addresses().unwrap();
    assert!(addresses.iter().all(|address| !address.dynamic), "it has what it was given: {addresses:?}");
}

#[test]
fn duplicates_are_detected() {
    let world = World::build();
    world.station(0, 10);
    // Behind the other endpoint.
    let client = world.client(1, 11);
    let net = |number| format!("fd00:1::{number}/64").parse().unwrap();
    assert_eq!(client.nic.claim_ipv6(net(10)).unwrap(), Uniqueness::Duplicate);
    assert_eq!(client.nic.claim_ipv6(net(12)).unwrap(), Uniqueness::Unique);
    let has = |number| {
        let addresses = client.nic.current_addresses().unwrap();
        addresses.iter().any(|seen| seen.net.addr() == address(Family::V6, number) && seen.is_usable())
    };
    assert!(has(12) && !has(10));
    let probe = |number: u8| client.nic.probe_ipv4([10, 1, 0, number].into()).unwrap();
    assert_eq!([probe(10), probe(12)], [Uniqueness::Duplicate, Uniqueness::Unique]);
}

#[test]
fn isolated_stations_reach_each_other_through_the_router_only() {
    let world = World::build();
    let [one, other] = [10, 11].map(|number| world.station(0, number));
    let reaches = |family, number| {
        let timeout = Duration::from_millis(300);
        Ping::to(address(family, number)).count(1).timeout(timeout).run(&one.namespace).unwrap().received == 1
    };
    assert!(Family::BOTH.iter().all(|family| reaches(*family, 11)));
    for station in [&one, &other] {
        world.links[0].isolate(station).unwrap();
        station.namespace.ip("neighbour flush all").unwrap();
    }
    for family in Family::BOTH {
        assert!(!reaches(family, 11), "{family:?}: isolated");
        assert!(reaches(family, 1), "{family:?}: the router is not");
    }
    // The router answers for all of the subnet.
    world.topology.gateway.set("net.ipv4.conf.vx100.proxy_arp_pvlan", "1").unwrap();
    wait_until("an answer through the router", TIMEOUT, || reaches(Family::V4, 11)).unwrap();
    let neighbours = one.namespace.ip_json(&["-4", "neighbour", "show", "10.1.0.11"]).unwrap();
    assert_eq!(neighbours[0]["lladdr"], ROUTER_MAC.to_string());
}

#[test]
fn a_station_roams_with_all_it_has() {
    let world = World::build();
    let mut station = world.station(0, 10);
    let behind = || {
        let entries = world.topology.gateway.run("bridge", &["fdb", "show", "dev", "vx100"]).unwrap();
        let text = String::from_utf8_lossy(&entries.stdout).into_owned();
        let entry = text.lines().find(|line| line.starts_with(&station_mac())).map(str::to_owned);
        entry.unwrap_or_default()
    };
    for (link, vtep) in [(0, "198.18.0.11"), (1, "198.18.0.12"), (0, "198.18.0.11")] {
        if station.nic.far_namespace.name() != world.links[link].segment().namespace().name() {
            world.links[link].roam(&mut station).unwrap();
        }
        for family in Family::BOTH {
            wait_until("an answer from outside", TIMEOUT, || answers(&station, world.outer_address(family)))
                .unwrap();
        }
        assert!(behind().contains(vtep), "{}", behind());
    }
}

#[test]
fn a_station_of_the_scene_roams_to_the_other_endpoint() {
    let site = Site::numbered(1);
    let scene = Scene::build(Path::new("none"), &TopologyOptions::new(&Scene::blocks()), &[site]).unwrap();
    let (mut host, link) = (scene.stations[0].host.clone(), &scene.links[0]);
    let address = |family, number| site.address(family, number);
    let net = |number| format!("{}/24", address(Family::V4, number)).parse().unwrap();
    let other_link = scene.join(&site, Family::V6).unwrap();
    let neighbour = link.station(&scene.topology.lab, "near", crate::mac(21), &[net(21)]).unwrap();
    let stranger = other_link.station(&scene.topology.lab, "far", crate::mac(22), &[net(22)]).unwrap();
    assert!(
        answers(&host, address(Family::V4, 21)) && answers(&neighbour, address(Family::V4, Scene::STATION))
    );
    other_link.roam(&mut host).unwrap();
    assert!(answers(&stranger, address(Family::V4, Scene::STATION)));
}

fn station_mac() -> String {
    crate::mac(10).to_string()
}
