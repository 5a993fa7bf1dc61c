//! Starts and ends, wanted and not. Needs root.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use lab::{
    Capture, Family, Namespace, Ping, Scene, Site, SteadyProbe, Topology, TopologyOptions, VethEnd,
    VethOptions, veth, wait_until,
};
use serde_json::Value;

const VXGATE: &str = env!("CARGO_BIN_EXE_vxgate");

/// How long anything may take on a machine that others use too.
const PATIENCE: Duration = Duration::from_secs(10);

/// Display filter: what the gateway's kernel says on its own account, to find neighbours (ARP, ND) and to join their
/// groups (MLD).
const OF_THE_HOST: &str =
    "arp || icmpv6.type in {133..137} || icmpv6.type in {130..132} || icmpv6.type == 143";

const INTERVAL: Duration = Duration::from_millis(2);

/// One overlay behind each endpoint; the gateway is not started.
fn scene() -> Scene {
    let sites = [1, 2].map(Site::numbered);
    Scene::build(Path::new(VXGATE), &TopologyOptions::new(&Scene::blocks()), &sites).unwrap()
}

fn assert_forwards(scene: &Scene) {
    for station in &scene.stations {
        for family in Family::BOTH {
            let pairs = [
                (&station.host.namespace, scene.outer_address(family)),
                (&scene.outer.namespace, station.address(family)),
            ];
            for (from, to) in pairs {
                // A single one is awaited for that long.
                let report = Ping::to(to).count(1).timeout(PATIENCE).run(from).unwrap();
                assert!(report.is_complete(), "{} to {to}: {report:?}", from.name());
            }
        }
    }
}

/// Datagrams between all stations and the outer host, each way.
fn load(scene: &Scene) -> Vec<SteadyProbe> {
    let mut probes = Vec::new();
    for station in &scene.stations {
        let (inside, outside) = (&station.host.namespace, &scene.outer.namespace);
        for family in Family::BOTH {
            let [near, far] = [station.address(family), scene.outer_address(family)];
            probes.push(SteadyProbe::start(inside, outside, far, INTERVAL).unwrap());
            probes.push(SteadyProbe::start(outside, inside, near, INTERVAL).unwrap());
        }
    }
    probes
}

/// Waits until all of the probes have brought `more` datagrams than now.
fn wait_received(probes: &[SteadyProbe], more: u64) {
    let before: Vec<u64> = probes.iter().map(SteadyProbe::received).collect();
    wait_until("datagrams on all ways", PATIENCE, || {
        let now: Vec<u64> = probes.iter().map(SteadyProbe::received).collect();
        let all = now.iter().zip(&before).all(|(now, before)| *now >= before + more);
        if all { Ok(()) } else { Err(format!("{before:?}, then {now:?}")) }
    })
    .unwrap();
}

fn wait_sent(probes: &[SteadyProbe], more: u64) {
    let before: Vec<u64> = probes.iter().map(SteadyProbe::sent).collect();
    wait_until("datagrams sent", PATIENCE, || {
        probes.iter().zip(&before).all(|(probe, before)| probe.sent() >= before + more)
    })
    .unwrap();
}

fn rows(namespace: &Namespace, arguments: &[&str]) -> Vec<Value> {
    match namespace.ip_json(arguments).unwrap() {
        Value::Array(rows) => rows,
        other => panic!("{other}"),
    }
}

/// Routes of all tables, both families.
fn routes(namespace: &Namespace) -> BTreeSet<String> {
    let of = |family| rows(namespace, &[family, "route", "show", "table", "all"]);
    ["-4", "-6"].map(of).concat().iter().map(Value::to_string).collect()
}

/// Netdevs with their addresses and, if there is one, their XDP program.
fn links(namespace: &Namespace) -> BTreeSet<String> {
    let settled = |mut link: Value| {
        // A bridge shows its timers.
        link.as_object_mut().unwrap().remove("linkinfo");
        link.to_string()
    };
    rows(namespace, &["address", "show"]).into_iter().map(settled).collect()
}

fn neighbours(namespace: &Namespace) -> BTreeSet<String> {
    let identity = |row: &Value| format!("{} {}", row["dev"], row["dst"]);
    rows(namespace, &["neighbour", "show"]).iter().map(identity).collect()
}

fn assert_no_xdp(namespace: &Namespace) {
    for link in rows(namespace, &["link", "show"]) {
        assert!(link.get("xdp").is_none(), "{link}");
    }
}

/// The blocks that have a blackhole route.
fn blackholes(namespace: &Namespace) -> BTreeSet<String> {
    let of = |family| rows(namespace, &[family, "route", "show", "type", "blackhole"]);
    ["-4", "-6"].map(of).concat().iter().map(|route| route["dst"].as_str().unwrap().to_owned()).collect()
}

fn blocks() -> BTreeSet<String> {
    Scene::BLOCKS.map(str::to_owned).into()
}

#[test]
fn a_crash_leaves_the_host_alone_and_no_overlay_packet_is_forwarded() {
    let mut scene = scene();
    let gateway = scene.topology.gateway.clone();
    // The hard case: a kernel that forwards.
    gateway.set("net.ipv4.ip_forward", "1").unwrap();
    gateway.set("net.ipv6.conf.all.forwarding", "1").unwrap();
    scene.start().unwrap();
    let overlay = load(&scene);
    let host = Family::BOTH.map(|family| {
        let address = Topology::UPLINK.address(family, Topology::GATEWAY);
        SteadyProbe::start(&scene.topology.router, &gateway, address, INTERVAL).unwrap()
    });
    wait_received(&overlay, 100);
    wait_received(&host, 100);
    for ((family, block), best) in Family::BOTH.into_iter().zip(Scene::BLOCKS).zip([0, 1]) {
        // What would beat the blackhole route is refused; what it beats may be there.
        let router = Topology::UPLINK.address(family, Topology::ROUTER);
        let add = |metric| gateway.ip(&format!("route add {block} via {router} metric {metric}"));
        let error = add(best).unwrap_err().to_string();
        assert!(error.contains("File exists"), "{error}");
        add(best + 1).unwrap();
    }

    scene.gateway.kill9().unwrap();
    let nics = [&scene.topology.underlay0, &scene.topology.uplink0];
    let captures = nics.map(|nic| Capture::start(&nic.far_namespace, &nic.far_interface).unwrap());
    wait_sent(&overlay, 300);
    wait_received(&host, 300);
    let [underlay, uplink] = captures.map(|capture| capture.stop().unwrap());
    let [to_gateway, from_gateway] = [
        format!("vxlan && eth.dst == {}", nics[0].mac),
        format!("eth.src == {} && !({OF_THE_HOST})", nics[0].mac),
    ];
    assert!(underlay.count(&to_gateway).unwrap() >= 4 * 300);
    let refused = "(icmp.type == 3 && icmp.code == 3 || icmpv6.type == 1 && icmpv6.code == 4) && vxlan";
    let others = underlay.fields(&format!("{from_gateway} && !({refused})"), &["frame.protocols"]).unwrap();
    assert!(others.is_empty(), "{others:?}");
    // Refusals go to the endpoints alone.
    let vteps: BTreeSet<String> =
        scene.endpoints.iter().map(|endpoint| endpoint.nic.mac.to_string()).collect();
    for row in underlay.fields(&format!("{from_gateway} && {refused}"), &["eth.dst"]).unwrap() {
        assert!(vteps.contains(row[0].split(',').next().unwrap()), "{row:?}");
    }
    assert!(uplink.count(&format!("udp && eth.dst == {}", nics[1].mac)).unwrap() >= 4 * 300);
    let from_gateway = format!("eth.src == {} && !({OF_THE_HOST})", nics[1].mac);
    assert_eq!(uplink.fields(&from_gateway, &["frame.protocols"]).unwrap(), Vec::<Vec<String>>::new());

    assert_no_xdp(&gateway);
    assert_eq!(blackholes(&gateway), blocks());

    let start = Instant::now();
    scene.gateway.start().unwrap();
    wait_received(&overlay, 1);
    eprintln!(
        "\n=== after kill -9: forwards on all ways {} ms after the new start ===\n",
        start.elapsed().as_millis()
    );
    assert_forwards(&scene);
    for probe in host {
        let report = probe.stop().unwrap();
        assert_eq!((report.lost(), report.duplicates), (0, 0), "the host's own traffic: {report:?}");
    }
    for probe in overlay {
        assert_eq!(probe.stop().unwrap().duplicates, 0);
    }
}

#[test]
fn an_orderly_end_under_load_leaves_the_blackholes_alone_and_cleanup_removes_them() {
    let mut scene = scene();
    let gateway = scene.topology.gateway.clone();
    // The operator's own are none of our business.
    gateway.ip("route add blackhole 203.0.113.0/24\nroute add blackhole 2001:db8:ff::/48").unwrap();
    let (links_before, routes_before) = (links(&gateway), routes(&gateway));
    scene.start().unwrap();
    let probes = load(&scene);
    wait_received(&probes, 50);
    let neighbour = Topology::UPLINK.address(Family::V4, Scene::NEIGHBOUR);
    assert!(
        Ping::to(neighbour)
            .count(1)
            .timeout(PATIENCE)
            .run(&scene.stations[0].host.namespace)
            .unwrap()
            .is_complete()
    );
    assert!(gateway.managed_neighbours().unwrap().contains(&neighbour));

    let status = scene.gateway.stop().unwrap().unwrap();
    assert_eq!(status.code(), Some(0), "{status}");
    assert!(!scene.gateway.socket().exists());
    assert_eq!(gateway.managed_neighbours().unwrap(), BTreeSet::new());
    assert_eq!(links(&gateway), links_before);
    let left: BTreeSet<String> = blackholes(&gateway);
    assert!(left.is_superset(&blocks()), "{left:?}");
    assert_eq!(routes(&gateway).difference(&routes_before).count(), 2);

    // Again, upon what was left, and without; the load is still there.
    for cleaned in [false, true] {
        if cleaned {
            scene.gateway.run("cleanup").unwrap();
            assert_eq!(routes(&gateway), routes_before);
            assert_eq!(links(&gateway), links_before);
        }
        scene.gateway.start().unwrap();
        wait_received(&probes, 50);
        assert!(blackholes(&gateway).is_superset(&blocks()));
        assert!(scene.gateway.stop().unwrap().unwrap().success());
    }
}

#[test]
fn cleanup_after_a_crash_leaves_nothing() {
    let mut scene = scene();
    let gateway = scene.topology.gateway.clone();
    let (links_before, routes_before) = (links(&gateway), routes(&gateway));
    scene.start().unwrap();
    assert_forwards(&scene);
    assert!(scene.gateway.run("cleanup").is_err(), "while it runs");
    assert_eq!(blackholes(&gateway), blocks());
    scene.gateway.kill9().unwrap();
    scene.gateway.run("cleanup").unwrap();
    assert_eq!(routes(&gateway), routes_before);
    assert_eq!(links(&gateway), links_before);
    assert_eq!(gateway.managed_neighbours().unwrap(), BTreeSet::new());
    scene.gateway.start().unwrap();
    assert_forwards(&scene);
}

#[test]
fn check_passes_and_changes_nothing() {
    let scene = scene();
    let gateway = &scene.topology.gateway;
    let state = || (links(gateway), routes(gateway), neighbours(gateway));
    let before = state();
    scene.gateway.configure(&scene.config(&scene.overlays())).unwrap();
    let output = scene.gateway.run("check").unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("2 ports, 2 overlays, 2 stations"), "{text}");
    assert_eq!(state(), before);
    assert!(!scene.gateway.socket().exists());
}

#[test]
fn a_busy_worker_forwards_too() {
    let mut scene = scene();
    let config = scene.config(&scene.overlays());
    let busy = config.replace("polling = \"adaptive\"", "polling = \"busy\"");
    assert_ne!(config, busy);
    scene.gateway.configure(&busy).unwrap();
    scene.gateway.start().unwrap();
    assert_forwards(&scene);
    assert!(scene.gateway.stop().unwrap().unwrap().success());
}

#[test]
fn a_start_that_fails_at_the_second_port_leaves_nothing_at_the_first() {
    let mut scene = scene();
    let gateway = scene.topology.gateway.clone();
    // A bridge cannot run XDP in its driver; that turns out when the program is attached, to the first port first.
    gateway.ip("link add bridge0 type bridge\nlink set bridge0 up").unwrap();
    let config = scene.config(&scene.overlays());
    let forced = config.replace("\"uplink0\"", "\"bridge0\"\nxdp = \"native\"");
    assert_ne!(config, forced);
    let links_before = links(&gateway);
    scene.gateway.configure(&forced).unwrap();
    let error = scene.gateway.start().unwrap_err().to_string();
    assert!(error.contains("bridge0") && error.contains("native"), "{error}");
    assert_no_xdp(&gateway);
    assert_eq!(links(&gateway), links_before);
    assert_eq!(gateway.managed_neighbours().unwrap(), BTreeSet::new());
    assert!(!scene.gateway.socket().exists());
    scene.start().unwrap();
    assert_forwards(&scene);
}

#[test]
fn a_second_gateway_on_a_port_in_use_is_refused_and_harms_nobody() {
    let mut scene = scene();
    let gateway = scene.topology.gateway.clone();
    scene.start().unwrap();
    let probes = load(&scene);
    wait_received(&probes, 50);
    // Its underlay port is its own, its uplink port is not.
    let far = scene.topology.lab.namespace("far").unwrap();
    let options = VethOptions { mtu: Topology::UNDERLAY_MTU, ..VethOptions::default() };
    veth(VethEnd::new(&gateway, "spare0"), VethEnd::new(&far, "far0"), options).unwrap();
    gateway.ip("address add 198.18.8.1/24 dev spare0\naddress add 2001:db8:0:8::1/64 dev spare0").unwrap();
    // These and the link-local one: from then on the kernel changes nothing by itself.
    wait_until("the addresses of spare0", PATIENCE, || {
        let shown = &rows(&gateway, &["address", "show", "dev", "spare0"])[0];
        let addresses = shown["addr_info"].as_array().unwrap();
        let usable = addresses.iter().filter(|address| address.get("tentative").is_none()).count();
        if usable == 3 { Ok(()) } else { Err(shown.to_string()) }
    })
    .unwrap();
    let socket = scene.topology.lab.directory().join("second.sock");
    let config = scene.config(&scene.overlays()).replace("underlay0", "spare0");
    let config = config.replace(&*scene.gateway.socket().to_string_lossy(), &socket.to_string_lossy());
    let file = scene.topology.lab.directory().join("second.toml");
    fs::write(&file, config).unwrap();

    let state = || (links(&gateway), routes(&gateway), gateway.managed_neighbours().unwrap());
    let before = state();
    let error = gateway.run(VXGATE, &["run", "--config", &file.to_string_lossy()]).unwrap_err().to_string();
    assert!(error.contains("the XDP hook of uplink0 is in use"), "{error}");
    assert_eq!(state(), before);
    assert!(!socket.exists());
    for probe in probes {
        assert_eq!(probe.stop().unwrap().lost(), 0);
    }
}
