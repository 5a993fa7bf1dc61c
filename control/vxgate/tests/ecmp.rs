//! Several ports a role: flows over two links on each side, and what becomes of them when one goes. Needs root.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use lab::{
    Capture, Family, Flows, FlowsReport, Link, Ping, Scene, SecondLinks, Site, Station, TopologyOptions,
    wait_until,
};

/// How long anything may take on a machine that others use too.
const PATIENCE: Duration = Duration::from_secs(20);

/// Time between two datagrams of a flow: some thousand a second through the gateway, which a loaded machine can bear.
const INTERVAL: Duration = Duration::from_millis(100);

/// Flows of each station, way and family.
const FLOWS: usize = 24;

/// Datagrams of each flow that show that its way is open.
const ENOUGH: u64 = 10;

/// One overlay behind each endpoint, and two links on each side; the gateway is not started.
fn idle_scene() -> Scene {
    let sites = [1, 2].map(Site::numbered);
    let binary = Path::new(env!("CARGO_BIN_EXE_vxgate"));
    let options = TopologyOptions { second_links: true, ..TopologyOptions::new(&Scene::blocks()) };
    Scene::build(binary, &options, &sites).unwrap()
}

fn scene() -> Scene {
    let mut scene = idle_scene();
    scene.start().unwrap();
    wait_resolved(&scene, &next_hops(&scene));
    scene
}

fn second(scene: &Scene) -> &SecondLinks {
    scene.topology.second_links.as_ref().unwrap()
}

/// Spine and router, on each link and in both families.
fn next_hops(scene: &Scene) -> BTreeSet<IpAddr> {
    let SecondLinks { underlay, uplink, .. } = second(scene);
    underlay.iter().chain(uplink).flat_map(|link| link.far.addresses.iter().map(|net| net.addr())).collect()
}

/// Waits until the kernel manages these neighbours alone, and knows their MAC addresses.
fn wait_resolved(scene: &Scene, wanted: &BTreeSet<IpAddr>) {
    let gateway = &scene.topology.gateway;
    wait_until("all next hops", PATIENCE, || {
        let managed = gateway.managed_neighbours().unwrap();
        let shown = gateway.ip_json(&["neighbour", "show"]).unwrap();
        let known = shown.as_array().unwrap().iter().filter(|neighbour| neighbour.get("lladdr").is_some());
        let known: BTreeSet<IpAddr> = known.filter_map(|row| row["dst"].as_str()?.parse().ok()).collect();
        if managed == *wanted && known.is_superset(wanted) { Ok(()) } else { Err(shown.to_string()) }
    })
    .unwrap();
}

/// Flows both ways and of both families, of all stations.
fn load(scene: &Scene) -> Vec<Flows> {
    let mut flows = Vec::new();
    for station in &scene.stations {
        for family in Family::BOTH {
            let (inside, outside) = (&station.host.namespace, &scene.outer.namespace);
            let to_outside = scene.outer_address(family);
            flows.push(Flows::start(inside, outside, to_outside, FLOWS, INTERVAL).unwrap());
            let to_inside = station.address(family);
            flows.push(Flows::start(outside, inside, to_inside, FLOWS, INTERVAL).unwrap());
        }
    }
    wait_answered(&flows);
    flows
}

/// Waits until datagrams of each flow are answered that were not yet sent.
fn wait_answered(flows: &[Flows]) {
    Flows::wait_answered(flows, ENOUGH, PATIENCE).unwrap();
}

fn stop(flows: Vec<Flows>) -> Vec<FlowsReport> {
    flows.into_iter().map(Flows::stop).collect()
}

/// UDP flows that the gateway sends over each of two links, by what is innermost; all are answered meanwhile.
fn flows_over(links: &[Link; 2], flows: &[Flows]) -> [BTreeSet<Vec<String>>; 2] {
    let captures =
        [0, 1].map(|n| Capture::start(&links[n].near.far_namespace, &links[n].near.far_interface).unwrap());
    wait_answered(flows);
    let [first, second] = captures.map(|capture| capture.stop().unwrap());
    [(first, &links[0]), (second, &links[1])].map(|(capture, link)| {
        let from_gateway = format!("udp && eth.src == {}", link.near.mac);
        let rows = capture.fields(&from_gateway, &["ip.src", "ipv6.src", "udp.srcport", "udp.dstport"]);
        rows.unwrap().into_iter().collect()
    })
}

/// Waits until both links carry flows, and no flow is on both: the gateway may learn a little later than its kernel that
/// a next hop is there.
fn wait_spread(what: &str, links: &[Link; 2], flows: &[Flows]) {
    wait_until("flows on both links", PATIENCE, || {
        let [one, other] = flows_over(links, flows);
        let (all, shared) = (one.len() + other.len(), one.intersection(&other).count());
        // Each direction that leaves by these links has its flows or its answers. Hardly ever less than a quarter of
        // so many is on one link.
        let fair = [&one, &other].into_iter().all(|over| over.len() > all / 4);
        let seen = format!("{what}: {} flows on one link, {} on the other", one.len(), other.len());
        if fair && shared == 0 && all >= flows.len() * FLOWS {
            eprintln!("=== {seen} ===");
            Ok(())
        } else {
            Err(format!("{seen}, {shared} on both"))
        }
    })
    .unwrap();
}

/// What was on its way when something went, and what a busy machine had no time for. Flows that were left in the dark
/// would have lost much more.
#[track_caller]
fn assert_little_lost(what: &str, reports: &[FlowsReport]) {
    let lost: u64 = reports.iter().map(FlowsReport::lost).sum();
    let sent: u64 = reports.iter().map(|report| report.sent * report.answered.len() as u64).sum();
    let silence = reports.iter().map(|report| report.longest_silence).max().unwrap();
    eprintln!("=== {what}: {lost} of {sent} datagrams lost, no flow silent for longer than {silence:?} ===");
    assert!(lost * 20 < sent, "{what}: {reports:?}");
}

#[test]
fn flows_are_spread_over_both_links_of_each_side() {
    let scene = scene();
    let flows = load(&scene);
    let SecondLinks { underlay, uplink, .. } = second(&scene);
    wait_spread("underlay", underlay, &flows);
    wait_spread("uplink", uplink, &flows);
    assert_little_lost("spread", &stop(flows));
    // The spine and the router spread theirs too: all ports receive and send.
    let ports = scene.gateway.show("ports").unwrap();
    let ports = ports.as_array().unwrap();
    assert_eq!(ports.len(), 4);
    for port in ports {
        assert_eq!(port["state"], "up");
        for counter in ["rx_packets", "tx_packets"] {
            assert!(port[counter].as_u64().unwrap() > 100, "{port}");
        }
    }
    for reason in ["no_route", "no_neighbour", "vlan", "foreign_mac", "unknown_endpoint"] {
        assert_eq!(scene.gateway.counter(reason).unwrap(), 0, "{reason}");
    }
}

#[test]
fn groups_of_next_hop_objects_are_followed_with_their_weights() {
    let scene = scene();
    let SecondLinks { uplink, .. } = second(&scene);
    let gateway = &scene.topology.gateway;
    for (family, option) in [(Family::V4, "-4"), (Family::V6, "-6")] {
        let id = |n: usize| 10 * n + family as usize + 1;
        let mut lines = String::new();
        for (n, link) in uplink.iter().enumerate() {
            let router = link.far.addresses.iter().map(|net| net.addr()).find(|a| Family::of(*a) == family);
            let interface = &link.near.interface;
            lines += &format!("nexthop add id {} via {} dev {interface}\n", id(n), router.unwrap());
        }
        lines += &format!("nexthop add id {} group {}/{},3\n", id(2), id(0), id(1));
        gateway.ip(&lines).unwrap();
        gateway.run("ip", &[option, "route", "replace", "default", "nhid", &id(2).to_string()]).unwrap();
    }
    let flows = load(&scene);
    let weighted = |[light, heavy]: [BTreeSet<Vec<String>>; 2]| {
        let all = light.len() + heavy.len();
        if (all / 8..all * 3 / 8).contains(&light.len()) { Ok(()) } else { Err(format!("{light:?}")) }
    };
    wait_until("three times as much", PATIENCE, || weighted(flows_over(uplink, &flows))).unwrap();

    // Nobody touches the routes: the kernel takes the member out of the group.
    gateway.ip("nexthop del id 11\nnexthop del id 12").unwrap();
    let gone = uplink[1].far.addresses.iter().map(|net| net.addr()).collect();
    wait_resolved(&scene, &next_hops(&scene).difference(&gone).copied().collect());
    // The workers may have the new paths a little later than the kernel has its neighbours.
    wait_until("all flows over the member that is left", PATIENCE, || {
        let [left, right] = flows_over(uplink, &flows);
        let moved = left.len() >= flows.len() * FLOWS && right.is_empty();
        if moved { Ok(()) } else { Err(format!("{} flows, and still {right:?}", left.len())) }
    })
    .unwrap();
    assert_little_lost("next-hop objects", &stop(flows));
}

fn ping_all(scene: &Scene) {
    for Station { host, .. } in &scene.stations {
        for family in Family::BOTH {
            let report =
                Ping::to(scene.outer_address(family)).timeout(PATIENCE).run(&host.namespace).unwrap();
            assert!(report.is_complete(), "{}: {report:?}", host.namespace.name());
        }
    }
}

fn state_of(scene: &Scene, interface: &str) -> String {
    let ports = scene.gateway.show("ports").unwrap();
    let port = ports.as_array().unwrap().iter().find(|port| port["interface"] == interface).unwrap();
    port["state"].as_str().unwrap().to_owned()
}

/// Cuts one link after the other; flows go on over the one that is left, and come back to both.
fn cut_and_mend(links: impl Fn(&Scene) -> [Link; 2]) {
    let scene = scene();
    let links = links(&scene);
    let flows = load(&scene);
    for (n, link) in links.iter().enumerate() {
        let left = 1 - n;
        link.cut().unwrap();
        wait_until("the port's end", PATIENCE, || state_of(&scene, &link.near.interface) == "down").unwrap();
        wait_answered(&flows);
        let over = flows_over(&links, &flows);
        assert_eq!(over[n].len(), 0, "{:?}", over[n]);
        assert!(over[left].len() >= flows.len() * FLOWS, "{}", over[left].len());
        ping_all(&scene);

        link.mend().unwrap();
        wait_until("the port", PATIENCE, || state_of(&scene, &link.near.interface) == "up").unwrap();
        wait_resolved(&scene, &next_hops(&scene));
        wait_answered(&flows);
        wait_spread("mended", &links, &flows);
    }
    assert_little_lost(&format!("cut and mended, {}", links[0].near.interface), &stop(flows));
}

#[test]
fn flows_go_on_when_a_link_of_the_underlay_is_cut() {
    cut_and_mend(|scene| second(scene).underlay.clone());
}

#[test]
fn flows_go_on_when_a_link_of_the_uplink_is_cut() {
    cut_and_mend(|scene| second(scene).uplink.clone());
}
