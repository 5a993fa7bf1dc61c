//! Next hops: resolved though the kernel sends them nothing, and followed when they change. Needs root.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use lab::{
    Attach, Capture, Family, Namespace, Nic, Ping, Scene, Site, Station, SteadyProbe, SteadyReport, Topology,
    TopologyOptions, wait_link_up, wait_until,
};

/// How long anything may take on a machine that others use too; by its timers alone the kernel follows a new MAC
/// address only after a minute.
const PATIENCE: Duration = Duration::from_secs(10);

const INTERVAL: Duration = Duration::from_millis(2);

/// Datagrams that show that a way is open.
const ENOUGH: u64 = 50;

/// One overlay behind each endpoint; the gateway is not started.
fn idle_scene() -> Scene {
    let sites = [1, 2].map(Site::numbered);
    let binary = Path::new(env!("CARGO_BIN_EXE_vxgate"));
    Scene::build(binary, &TopologyOptions::new(&Scene::blocks()), &sites).unwrap()
}

fn scene() -> Scene {
    let mut scene = idle_scene();
    scene.start().unwrap();
    wait_until("all next hops", PATIENCE, || is_resolved(&scene.topology.gateway, &next_hops(&scene)))
        .unwrap();
    scene
}

/// The router and the endpoints: what the gateway needs before anybody speaks.
fn next_hops(scene: &Scene) -> BTreeSet<IpAddr> {
    let routers = Family::BOTH.map(|family| Topology::UPLINK.address(family, Topology::ROUTER));
    routers.into_iter().chain(scene.endpoints.iter().map(|endpoint| endpoint.vtep)).collect()
}

/// Whether the kernel manages these neighbours and knows their MAC addresses.
fn is_resolved(gateway: &Namespace, wanted: &BTreeSet<IpAddr>) -> Result<(), String> {
    let managed = gateway.managed_neighbours().unwrap();
    let shown = gateway.ip_json(&["neighbour", "show"]).unwrap();
    let known = shown.as_array().unwrap().iter().filter(|neighbour| neighbour.get("lladdr").is_some());
    let known: BTreeSet<IpAddr> = known.filter_map(|row| row["dst"].as_str()?.parse().ok()).collect();
    if managed.is_superset(wanted) && known.is_superset(wanted) { Ok(()) } else { Err(shown.to_string()) }
}

/// Datagrams out to the outer host.
fn outward(scene: &Scene, station: &Station, family: Family) -> SteadyProbe {
    let outer = scene.outer_address(family);
    SteadyProbe::start(&station.host.namespace, &scene.outer.namespace, outer, INTERVAL).unwrap()
}

/// Datagrams from the outer host.
fn inward(scene: &Scene, station: &Station, family: Family) -> SteadyProbe {
    let address = station.address(family);
    SteadyProbe::start(&scene.outer.namespace, &station.host.namespace, address, INTERVAL).unwrap()
}

/// Both ways, both families, both stations.
fn load(scene: &Scene) -> Vec<SteadyProbe> {
    let mut probes = Vec::new();
    for station in &scene.stations {
        for family in Family::BOTH {
            probes.push(outward(scene, station, family));
            probes.push(inward(scene, station, family));
        }
    }
    wait_received(&probes);
    probes
}

/// Waits until datagrams arrive that were not yet there, on all ways.
fn wait_received(probes: &[SteadyProbe]) {
    wait_received_within(PATIENCE, probes);
}

fn wait_received_within(time: Duration, probes: &[SteadyProbe]) {
    let before: Vec<u64> = probes.iter().map(SteadyProbe::received).collect();
    wait_until("datagrams on all ways", time, || {
        let now: Vec<u64> = probes.iter().map(SteadyProbe::received).collect();
        let all = now.iter().zip(&before).all(|(now, before)| *now >= before + ENOUGH);
        if all { Ok(()) } else { Err(format!("{before:?}, then {now:?}")) }
    })
    .unwrap();
}

fn stop(probes: Vec<SteadyProbe>) -> Vec<SteadyReport> {
    probes.into_iter().map(|probe| probe.stop().unwrap()).collect()
}

fn assert_no_loss(what: &str, reports: &[SteadyReport]) {
    assert!(
        reports.iter().all(|report| report.lost() == 0 && report.duplicates == 0),
        "{what}: {reports:#?}"
    );
}

fn print_gap(what: &str, reports: &[SteadyReport]) {
    let gap = reports.iter().map(|report| report.longest_gap).max().unwrap_or_default();
    eprintln!("=== {what}: longest gap {gap:?} ===");
}

#[test]
fn the_first_packets_get_through() {
    for outward in [true, false] {
        let mut scene = idle_scene();
        let gateway = scene.topology.gateway.clone();
        // What the endpoints' bridges said when they were built has made the kernel answer, and look for them.
        wait_until("a kernel that knows no next hop", PATIENCE, || {
            gateway.ip("neighbour flush all").unwrap();
            let shown = gateway.ip_json(&["neighbour", "show"]).unwrap();
            let rows = shown.as_array().unwrap().iter().filter_map(|row| row["dst"].as_str()?.parse().ok());
            rows.collect::<BTreeSet<IpAddr>>().is_disjoint(&next_hops(&scene))
        })
        .unwrap();
        scene.start().unwrap();
        for station in &scene.stations {
            for family in Family::BOTH {
                let (from, to) = match outward {
                    true => (&station.host.namespace, scene.outer_address(family)),
                    false => (&scene.outer.namespace, station.address(family)),
                };
                // A single one is awaited for that long.
                let report = Ping::to(to).count(1).timeout(PATIENCE).run(from).unwrap();
                assert!(report.is_complete(), "{} to {to}: {report:?}", from.name());
            }
        }
        is_resolved(&gateway, &next_hops(&scene)).unwrap();
        // Nobody spoke to a host on the uplink: it is asked for when the first packet comes, which waits for it.
        for family in Family::BOTH {
            let neighbour = Topology::UPLINK.address(family, Scene::NEIGHBOUR);
            assert!(!gateway.managed_neighbours().unwrap().contains(&neighbour));
            let report = Ping::to(neighbour)
                .count(1)
                .timeout(PATIENCE)
                .run(&scene.stations[0].host.namespace)
                .unwrap();
            assert!(report.is_complete(), "{family:?}: {report:?}");
            assert!(gateway.managed_neighbours().unwrap().contains(&neighbour));
        }
    }
}

#[test]
fn next_hops_are_resolved_without_any_traffic() {
    let scene = scene();
    let shown = scene.topology.gateway.ip_json(&["neighbour", "show"]).unwrap();
    assert_eq!(scene.topology.gateway.managed_neighbours().unwrap(), next_hops(&scene), "{shown}");
    assert_eq!(scene.gateway.counter("egress").unwrap(), 0);
}

#[test]
fn a_flush_of_all_neighbours_under_load_loses_nothing() {
    /// Flushes in a row.
    const TIMES: usize = 10;
    let scene = scene();
    let gateway = &scene.topology.gateway;
    let probes = load(&scene);
    for _ in 0..TIMES {
        // ip(8) lists, then deletes, and gives up on one that the gateway has replaced meanwhile.
        wait_until("a flush", PATIENCE, || gateway.ip("neighbour flush all")).unwrap();
        wait_until("all next hops again", PATIENCE, || is_resolved(gateway, &next_hops(&scene))).unwrap();
        wait_received(&probes);
    }
    assert_no_loss("flush", &stop(probes));
}

/// Another MAC address for `interface`, at once and under load.
fn change_mac(namespace: &Namespace, interface: &str) {
    namespace.ip(&format!("link set {interface} address 02:00:00:00:99:01")).unwrap();
}

fn announce(namespace: &Namespace, interface: &str, yes: bool) {
    let value = if yes { "1" } else { "0" };
    namespace.set(&format!("net.ipv4.conf.{interface}.arp_notify"), value).unwrap();
    namespace.set(&format!("net.ipv6.conf.{interface}.ndisc_notify"), value).unwrap();
}

#[test]
fn a_router_that_announces_a_new_mac_is_followed_at_once() {
    let scene = scene();
    let probes = load(&scene);
    announce(&scene.topology.router, "uplink", true);
    change_mac(&scene.topology.router, "uplink");
    wait_received(&probes);
    let reports = stop(probes);
    print_gap("router announces its new MAC", &reports);
    assert_eq!(scene.gateway.counter("no_neighbour").unwrap(), 0, "it was known throughout");
}

#[test]
fn endpoints_that_announce_a_new_mac_are_followed_at_once() {
    let scene = scene();
    let probes = load(&scene);
    for (endpoint, mac) in scene.endpoints.iter().zip(["02:00:00:00:99:11", "02:00:00:00:99:12"]) {
        announce(&endpoint.namespace, "eth0", true);
        endpoint.namespace.ip(&format!("link set eth0 address {mac}")).unwrap();
    }
    wait_received(&probes);
    let reports = stop(probes);
    print_gap("endpoints announce their new MACs", &reports);
    assert_eq!(scene.gateway.counter("no_neighbour").unwrap(), 0, "they were known throughout");
}

/// How long the kernel may take to follow a silent neighbour with [`quick_timers`]: reachable for at most 1.5 s, up to
/// 5 s until it asks again on behalf of those it manages (`interval_probe_time_ms` counts in the machine's first
/// namespace alone), 1 s of delay, 3 questions a second apart to the old address, and up to 5 s until it asks all.
const IN_SILENCE: Duration = Duration::from_secs(20);

/// Makes the gateway's kernel notice within seconds that a neighbour is silent.
fn quick_timers(scene: &Scene) {
    for nic in [&scene.topology.underlay0, &scene.topology.uplink0] {
        for family in ["ipv4", "ipv6"] {
            let of = |name| format!("net.{family}.neigh.{}.{name}", nic.interface);
            nic.namespace.set(&of("base_reachable_time_ms"), "1000").unwrap();
            nic.namespace.set(&of("delay_first_probe_time"), "1").unwrap();
        }
    }
}

#[test]
fn a_router_that_changes_its_mac_in_silence_is_followed_in_the_kernels_time() {
    let mut scene = idle_scene();
    quick_timers(&scene);
    scene.start().unwrap();
    // Outward alone: what the router sends to the gateway would tell of its new address.
    let probes: Vec<SteadyProbe> =
        Family::BOTH.map(|family| outward(&scene, &scene.stations[0], family)).into();
    wait_received(&probes);
    announce(&scene.topology.router, "uplink", false);
    change_mac(&scene.topology.router, "uplink");
    wait_received_within(IN_SILENCE, &probes);
    let reports = stop(probes);
    print_gap("router changes its MAC in silence, timers at 1 s", &reports);
    assert!(reports.iter().all(|report| report.lost() > 0), "it was not silent: {reports:#?}");
}

#[test]
fn endpoints_that_change_their_macs_in_silence_are_followed_in_the_kernels_time() {
    let mut scene = idle_scene();
    quick_timers(&scene);
    scene.start().unwrap();
    // Inward alone, as above.
    let probes: Vec<SteadyProbe> =
        scene.stations.iter().map(|station| inward(&scene, station, station.site.endpoint)).collect();
    wait_received(&probes);
    for (endpoint, mac) in scene.endpoints.iter().zip(["02:00:00:00:99:11", "02:00:00:00:99:12"]) {
        announce(&endpoint.namespace, "eth0", false);
        endpoint.namespace.ip(&format!("link set eth0 address {mac}")).unwrap();
    }
    wait_received_within(IN_SILENCE, &probes);
    let reports = stop(probes);
    print_gap("endpoints change their MACs in silence, timers at 1 s", &reports);
    assert!(reports.iter().all(|report| report.lost() > 0), "it was not silent: {reports:#?}");
}

/// Frames that the gateway sends to `nic` while all ways bring datagrams.
fn frames_to(gateway: &Nic, nic: &Nic, filter: &str, probes: &[SteadyProbe]) -> usize {
    let capture = Capture::start(&nic.far_namespace, &nic.far_interface).unwrap();
    wait_received(probes);
    let capture = capture.stop().unwrap();
    let mac = nic.mac;
    capture.count(&format!("eth.src == {} && eth.dst == {mac} && {filter}", gateway.mac)).unwrap()
}

/// Nothing is lost but what came while a new next hop was being asked for, and that is counted.
fn assert_lost_while_resolving(scene: &Scene, reports: &[SteadyReport]) {
    let lost: u64 = reports.iter().map(SteadyReport::lost).sum();
    assert_eq!(lost, scene.gateway.counter("no_neighbour").unwrap(), "{reports:#?}");
}

#[test]
fn another_default_route_is_taken() {
    /// Number of the second router on the uplink, and on the outer network.
    const SECOND: (u8, u8) = (253, 2);
    let scene = scene();
    let Topology { lab, gateway, uplink, outer, uplink0, router_uplink, .. } = &scene.topology;
    let second = lab.namespace("router2").unwrap();
    second.set("net.ipv4.ip_forward", "1").unwrap();
    second.set("net.ipv6.conf.all.forwarding", "1").unwrap();
    let attach = |addresses| Attach { addresses, ..Attach::default() };
    let second_uplink =
        uplink.attach(&second, "uplink", attach(Topology::UPLINK.addresses(SECOND.0))).unwrap();
    outer.attach(&second, "outer", attach(Topology::OUTER.addresses(SECOND.1))).unwrap();

    let probes = load(&scene);
    assert!(frames_to(uplink0, router_uplink, "udp", &probes) > 0);
    assert_eq!(frames_to(uplink0, &second_uplink, "udp", &probes), 0);
    for family in Family::BOTH {
        let next_hop = Topology::UPLINK.address(family, SECOND.0);
        gateway.ip(&format!("route replace default via {next_hop}")).unwrap();
    }
    let new = Family::BOTH.map(|family| Topology::UPLINK.address(family, SECOND.0)).into();
    wait_until("the new next hops", PATIENCE, || is_resolved(gateway, &new)).unwrap();
    let old = Family::BOTH.map(|family| Topology::UPLINK.address(family, Topology::ROUTER)).into();
    wait_until("the end of the old ones", PATIENCE, || {
        gateway.managed_neighbours().unwrap().is_disjoint(&old)
    })
    .unwrap();
    assert!(frames_to(uplink0, &second_uplink, "udp", &probes) > 0);
    assert_eq!(frames_to(uplink0, router_uplink, "udp", &probes), 0);
    let reports = stop(probes);
    print_gap("another default route", &reports);
    assert_lost_while_resolving(&scene, &reports);
}

#[test]
fn an_endpoint_behind_a_router_of_the_underlay_is_reached() {
    /// Number of that router on the underlay.
    const SPINE: u8 = 253;
    let scene = scene();
    let Topology { lab, gateway, underlay, underlay0, .. } = &scene.topology;
    let spine = lab.namespace("spine").unwrap();
    spine.set("net.ipv4.ip_forward", "1").unwrap();
    spine.set("net.ipv6.conf.all.forwarding", "1").unwrap();
    let attach = Attach { addresses: Topology::UNDERLAY.addresses(SPINE), ..Attach::default() };
    let spine_nic = underlay.attach(&spine, "underlay", attach).unwrap();

    let probes = load(&scene);
    assert_eq!(frames_to(underlay0, &spine_nic, "vxlan", &probes), 0);
    for endpoint in &scene.endpoints {
        let family = if endpoint.vtep.is_ipv4() { Family::V4 } else { Family::V6 };
        let next_hop = Topology::UNDERLAY.address(family, SPINE);
        gateway.ip(&format!("route add {} via {next_hop}", endpoint.vtep)).unwrap();
    }
    let spines: BTreeSet<IpAddr> =
        Family::BOTH.map(|family| Topology::UNDERLAY.address(family, SPINE)).into();
    wait_until("the way by the router", PATIENCE, || is_resolved(gateway, &spines)).unwrap();
    let endpoints = scene.endpoints.iter().map(|endpoint| endpoint.vtep).collect();
    wait_until("the end of the direct way", PATIENCE, || {
        gateway.managed_neighbours().unwrap().is_disjoint(&endpoints)
    })
    .unwrap();
    for (endpoint, layer) in scene.endpoints.iter().zip(["ip", "ipv6"]) {
        let filter = format!("vxlan && {layer}.dst == {}", endpoint.vtep);
        assert!(frames_to(underlay0, &spine_nic, &filter, &probes) > 0, "{layer}");
        assert_eq!(frames_to(underlay0, &endpoint.nic, &filter, &probes), 0, "{layer}");
    }
    let reports = stop(probes);
    print_gap("an endpoint behind a router", &reports);
    assert_lost_while_resolving(&scene, &reports);
}

#[test]
fn a_cable_that_is_out_for_a_while_is_survived() {
    let scene = scene();
    let gateway = &scene.topology.gateway;
    let probes = load(&scene);
    for nic in [&scene.topology.underlay0, &scene.topology.uplink0] {
        let far = &nic.far_interface;
        nic.far_namespace.ip(&format!("link set {far} down")).unwrap();
        wait_until("no carrier", PATIENCE, || {
            gateway.ip_json(&["link", "show", "dev", &nic.interface]).unwrap()[0]["operstate"] == "DOWN"
        })
        .unwrap();
        nic.far_namespace.ip(&format!("link set {far} up")).unwrap();
        wait_link_up(&nic.far_namespace, far).unwrap();
        wait_received(&probes);
    }
    let reports = stop(probes);
    print_gap("a cable out and in again", &reports);
}

#[test]
fn a_port_that_is_set_down_and_up_forwards_again() {
    let scene = scene();
    let Topology { gateway, underlay0, uplink0, .. } = &scene.topology;
    let probes = load(&scene);
    for nic in [underlay0, uplink0] {
        let interface = &nic.interface;
        // Else the kernel forgets the IPv6 addresses.
        gateway.set(&format!("net.ipv6.conf.{interface}.keep_addr_on_down"), "1").unwrap();
        gateway.ip(&format!("link set {interface} down\nlink set {interface} up")).unwrap();
        wait_link_up(gateway, interface).unwrap();
        wait_link_up(&nic.far_namespace, &nic.far_interface).unwrap();
        // The default routes went with the port.
        for family in Family::BOTH {
            let router = Topology::UPLINK.address(family, Topology::ROUTER);
            gateway.ip(&format!("route replace default via {router}")).unwrap();
        }
        wait_received(&probes);
    }
    let reports = stop(probes);
    print_gap("a port down and up", &reports);
}
