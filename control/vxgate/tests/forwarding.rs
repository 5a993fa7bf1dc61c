//! The main job between real hosts: stations behind the kernel's VXLAN, hosts behind a router and on the uplink, both
//! families inside and outside. Needs root.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use lab::{
    Capture, CaptureFile, Family, Host, Iperf, Namespace, Ping, ROUTER_MAC, Scene, Site, Station,
    SteadyProbe, Topology, TopologyOptions, wait_until,
};
use serde_json::Value;
use wire::arp::{self, ArpOperation, ArpPacket, ArpRepr};
use wire::ethernet::{self, EthernetFrame, EthernetRepr};
use wire::{EtherType, MacAddr};

/// How long anything may take that happens at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// A gateway at work between `overlays` overlays, their stations alternately behind the endpoint over IPv4 and the one
/// over IPv6, and the outer network.
fn scene(overlays: u8) -> Scene {
    let mut scene = idle_scene(overlays);
    scene.start().unwrap();
    scene
}

fn idle_scene(overlays: u8) -> Scene {
    let sites: Vec<Site> = (1..=overlays).map(Site::numbered).collect();
    let binary = Path::new(env!("CARGO_BIN_EXE_vxgate"));
    Scene::build(binary, &TopologyOptions::new(&Scene::blocks()), &sites).unwrap()
}

fn neighbour_address(family: Family) -> IpAddr {
    Topology::UPLINK.address(family, Scene::NEIGHBOUR)
}

/// Echo requests of each kind.
const PINGS: u64 = 5;

fn assert_complete(ping: &Ping, from: &Namespace) {
    // One by one: of a series, ping(8) waits for the last reply only for twice the round trip of the others.
    let ping = ping.clone().count(1).timeout(PATIENCE);
    for _ in 0..PINGS {
        let report = ping.run(from).unwrap();
        assert!(report.is_complete(), "from {}: {ping:?}: {report:?}", from.name());
    }
}

/// A counter once it is what it is to be at least: what was sent last may still be on its way.
fn settled(scene: &Scene, counter: &str, least: u64) -> u64 {
    wait_until(&format!("{least} of {counter}"), PATIENCE, || {
        let count = scene.gateway.counter(counter).unwrap();
        if count >= least { Ok(count) } else { Err(count.to_string()) }
    })
    .unwrap()
}

#[test]
fn pings_pass_both_ways() {
    let scene = scene(2);
    for station in &scene.stations {
        for family in Family::BOTH {
            let inside = &station.host.namespace;
            assert_complete(&Ping::to(scene.outer_address(family)), inside);
            assert_complete(&Ping::to(neighbour_address(family)), inside);
            assert_complete(&Ping::to(station.address(family)), &scene.outer.namespace);
            assert_complete(&Ping::to(station.address(family)), &scene.neighbour.namespace);
        }
    }
    // Requests and replies of 2 stations, 2 families, 4 pairs; each passed the gateway once.
    let passed = 2 * 2 * 4 * PINGS;
    let count = |name| scene.gateway.counter(name).unwrap();
    assert!(count("ingress") >= passed, "{}", count("ingress"));
    // The first to a host on the link wait until it is resolved, and are sent then.
    let (egress, waited) = (count("egress"), count("resolving"));
    assert!(egress + waited >= passed, "{egress}, {waited}");
}

#[test]
fn full_size_packets_pass_unfragmented() {
    let scene = scene(2);
    for station in &scene.stations {
        // Packets of 1 500 bytes: 20 or 40 of them IP, 8 ICMP.
        for (family, size) in [(Family::V4, 1472), (Family::V6, 1452)] {
            assert_complete(&Ping::to(scene.outer_address(family)).size(size), &station.host.namespace);
            assert_complete(&Ping::to(station.address(family)).size(size), &scene.outer.namespace);
        }
    }
    assert_eq!(scene.gateway.counter("too_big").unwrap(), 0);
}

#[test]
fn tcp_and_udp_pass_both_ways() {
    /// Bits a second: little, so that only the gateway could lose datagrams, and a receiver that has to wait for its turn
    /// on a busy machine does not.
    const UDP_RATE: u64 = 5_000_000;
    let scene = scene(2);
    for station in &scene.stations {
        for family in Family::BOTH {
            for (iperf, udp) in [(Iperf::tcp(), false), (Iperf::udp(UDP_RATE), true)] {
                for iperf in [iperf, iperf.reverse()] {
                    let address = scene.outer_address(family);
                    let report = iperf.run(&station.host.namespace, &scene.outer.namespace, address).unwrap();
                    let what = format!("station {}, {iperf:?} to {address}: {report:?}", station.site.vni);
                    assert!(report.bits_per_second > 0.0, "{what}");
                    assert!(!udp || report.datagrams > 0 && report.loss() < 0.01, "{what}");
                }
            }
        }
    }
}

#[test]
fn overlays_do_not_reach_each_other_by_the_gateway() {
    let scene = scene(3);
    // The third station is behind the endpoint of the first, the second behind the other.
    let [from, across, beside] = &scene.stations[..] else { panic!("three stations") };
    let watched: Vec<Capture> = [&scene.topology.underlay0, &scene.topology.uplink0]
        .map(|nic| Capture::start(&nic.far_namespace, &nic.far_interface).unwrap())
        .into();
    let mut sent = 0;
    for family in Family::BOTH {
        for to in [across, beside] {
            let before = scene.gateway.counter("between_overlays").unwrap();
            let ping = Ping::to(to.address(family)).count(3).timeout(Duration::from_millis(300));
            let report = ping.run(&from.host.namespace).unwrap();
            assert_eq!(report.received, 0, "{family:?}");
            let after = settled(&scene, "between_overlays", before + report.sent);
            assert_eq!(after - before, report.sent, "{family:?}, to {}", to.site.vni);
            sent += report.sent;
        }
    }
    assert_eq!(sent, 12);
    let [underlay, uplink] =
        &watched.into_iter().map(|capture| capture.stop().unwrap()).collect::<Vec<_>>()[..]
    else {
        panic!("two captures")
    };
    // Nothing but that the sender is told (RFC 1812 section 5.2.7.1, RFC 4443 section 3.1).
    let [vni, station] = [from.site.vni.to_string(), from.host.nic.mac.to_string()];
    for (layer, told) in [("icmp", ["3", "13"]), ("icmpv6", ["1", "1"])] {
        let filter = format!("eth.src == {} && {layer}", scene.topology.underlay0.mac);
        // Neighbour discovery and MLD, of the router and of the host.
        let filter = format!("{filter} && !(icmpv6.type in {{130..137, 143}})");
        let fields = ["vxlan.vni", "eth.dst", &format!("{layer}.type"), &format!("{layer}.code")];
        let rows = underlay.fields(&filter, &fields).unwrap();
        assert_eq!(rows.len(), 6, "{rows:?}");
        for row in rows {
            assert_eq!((&row[0], values(&row[1])[1]), (&vni, &*station), "{row:?}");
            // Of the echo request that is quoted, the rest.
            assert_eq!([values(&row[2])[0], values(&row[3])[0]], told, "{row:?}");
        }
    }
    let emitted = format!("eth.src == {}", scene.topology.uplink0.mac);
    assert_eq!(
        uplink.count(&format!("{emitted} && (icmp || icmpv6.type in {{1..4, 128, 129}})")).unwrap(),
        0
    );
}

#[test]
fn overlays_do_not_reach_each_other_through_the_router() {
    let scene = scene(2);
    let [from, to] = &scene.stations[..] else { panic!("two stations") };
    for family in Family::BOTH {
        // What a router that sends overlay traffic back would do: packets of one overlay come in by the uplink.
        let source = from.address(family);
        let len = if family == Family::V4 { 32 } else { 128 };
        let router = &scene.topology.router;
        router.ip(&format!("address add {source}/{len} dev lo")).unwrap();
        let before = scene.gateway.counter("overlay_source").unwrap();
        let arguments = ["-c", "3", "-i", "0.01", "-W", "0.3", "-I", &source.to_string()];
        let destination = to.address(family).to_string();
        let output = router.command("ping", &[&arguments[..], &[&destination]].concat()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stdout));
        let after = settled(&scene, "overlay_source", before + 3);
        assert_eq!(after - before, 3, "{family:?}");
        router.ip(&format!("address del {source}/{len} dev lo")).unwrap();
        assert_complete(&Ping::to(to.address(family)), &scene.outer.namespace);
    }
}

/// What the kernel of a namespace has, sorted: netdevs with their settings, addresses, routes of all tables.
#[derive(Debug, PartialEq)]
struct Kernel {
    links: BTreeSet<String>,
    addresses: BTreeSet<String>,
    routes: BTreeSet<String>,
}

impl Kernel {
    fn of(namespace: &Namespace) -> Self {
        let rows = |arguments: &[&str]| match namespace.ip_json(arguments).unwrap() {
            Value::Array(rows) => rows,
            other => panic!("{other}"),
        };
        let text = |rows: Vec<Value>| rows.iter().map(Value::to_string).collect::<BTreeSet<_>>();
        let links = rows(&["link", "show"]).into_iter().map(|mut link| {
            // Each XDP program has a number of its own.
            link.as_object_mut().unwrap().remove("xdp");
            link
        });
        let routes = ["-4", "-6"].map(|family| rows(&[family, "route", "show", "table", "all"])).concat();
        Self {
            links: text(links.collect()),
            addresses: text(
                rows(&["address", "show"]).iter().map(|link| link["addr_info"].clone()).collect(),
            ),
            routes: text(routes),
        }
    }
}

#[test]
fn the_kernel_knows_nothing_of_overlays() {
    let mut scene = idle_scene(4);
    let namespace = scene.topology.gateway.clone();
    let before = Kernel::of(&namespace);
    scene.start().unwrap();
    for station in &scene.stations {
        for family in Family::BOTH {
            assert_complete(&Ping::to(scene.outer_address(family)), &station.host.namespace);
            assert_complete(&Ping::to(station.address(family)), &scene.neighbour.namespace);
        }
    }
    let mut with = Kernel::of(&namespace);
    let routes = std::mem::take(&mut with.routes);
    let added: Vec<&String> = routes.difference(&before.routes).collect();
    assert_eq!(added.len(), Scene::BLOCKS.len(), "{added:?}");
    for block in Scene::BLOCKS {
        let is_blackhole = |route: &&&String| {
            route.contains(&format!("\"dst\":\"{block}\"")) && route.contains("\"type\":\"blackhole\"")
        };
        assert!(added.iter().any(|route| is_blackhole(&route)), "{block}: {added:?}");
    }
    with.routes = before.routes.iter().filter(|route| routes.contains(*route)).cloned().collect();
    assert_eq!(with, before);

    // Of neighbours it keeps the next hops alone: router, endpoints, and the host on the link that was spoken to.
    let next_hops = Family::BOTH
        .iter()
        .flat_map(|&family| [Topology::UPLINK.address(family, Topology::ROUTER), neighbour_address(family)]);
    let endpoints = scene.endpoints.iter().map(|endpoint| endpoint.vtep);
    assert_eq!(namespace.managed_neighbours().unwrap(), next_hops.chain(endpoints).collect());
    let neighbours = namespace.ip_json(&["neighbour", "show"]).unwrap();
    for neighbour in neighbours.as_array().unwrap() {
        let address: IpAddr = neighbour["dst"].as_str().unwrap().parse().unwrap();
        assert!(Scene::blocks().iter().all(|block| !block.contains(&address)), "{neighbour}");
    }
}

/// Sends so many bytes over a TCP connection.
fn transfer(from: &Namespace, to: &Namespace, address: IpAddr, bytes: usize) {
    let listener = to.enter(|| TcpListener::bind(SocketAddr::new(address, 0))).unwrap().unwrap();
    let target = listener.local_addr().unwrap();
    let receiver = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept()?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.read_to_end(&mut Vec::new())
    });
    let mut stream = from.enter(|| TcpStream::connect_timeout(&target, PATIENCE)).unwrap().unwrap();
    stream.write_all(&vec![0x5a; bytes]).unwrap();
    drop(stream);
    assert_eq!(receiver.join().unwrap().unwrap(), bytes);
}

/// All sorts of traffic between all stations and both outer hosts, at rates that a capture can follow.
fn mixed_traffic(scene: &Scene) {
    for station in &scene.stations {
        let inside = &station.host.namespace;
        for family in Family::BOTH {
            // So that the router is asked for, and answers.
            let entry = format!("neighbour flush to {} dev eth0", station.site.address(family, 1));
            inside.ip(&entry).unwrap();
            let full = if family == Family::V4 { 1472 } else { 1452 };
            for (host, address) in outer_hosts(scene, family) {
                for size in [0, 56, full] {
                    assert_complete(&Ping::to(address).size(size), inside);
                    assert_complete(&Ping::to(station.address(family)).size(size), &host.namespace);
                }
                transfer(inside, &host.namespace, address, 200_000);
                transfer(&host.namespace, inside, station.address(family), 200_000);
                let interval = Duration::from_millis(1);
                let probes = [
                    SteadyProbe::start(inside, &host.namespace, address, interval).unwrap(),
                    SteadyProbe::start(&host.namespace, inside, station.address(family), interval).unwrap(),
                ];
                wait_until("datagrams", PATIENCE, || probes.iter().all(|probe| probe.received() >= 50))
                    .unwrap();
                for probe in probes {
                    assert_eq!(probe.stop().unwrap().lost(), 0);
                }
            }
        }
    }
}

fn outer_hosts(scene: &Scene, family: Family) -> [(&Host, IpAddr); 2] {
    [(&scene.outer, scene.outer_address(family)), (&scene.neighbour, neighbour_address(family))]
}

#[test]
fn what_the_gateway_emits_is_well_formed() {
    let scene = scene(4);
    let [underlay0, uplink0] = [&scene.topology.underlay0, &scene.topology.uplink0];
    let captures =
        [underlay0, uplink0].map(|nic| Capture::start(&nic.far_namespace, &nic.far_interface).unwrap());
    mixed_traffic(&scene);
    let [underlay, uplink] = captures.map(|capture| capture.stop().unwrap());
    assert_eq!(underlay.faults().unwrap(), []);
    assert_eq!(uplink.faults().unwrap(), []);

    outer_headers(&scene, &underlay);
    inner_frames(&scene, &underlay);
    entropy(&scene, &underlay);
    hop_limits(&scene, &underlay, &uplink);
}

/// Display filter: VXLAN that the gateway sends over IPv4 or IPv6.
fn encapsulated(scene: &Scene, outer: Family) -> String {
    let (layer, vtep) = match outer {
        Family::V4 => ("ip", scene.topology.gateway_vtep(outer)),
        Family::V6 => ("ipv6", scene.topology.gateway_vtep(outer)),
    };
    format!("vxlan && eth.src == {} && {layer}.src == {vtep}", scene.topology.underlay0.mac)
}

/// A field's values from outside to inside.
fn values(field: &str) -> Vec<&str> {
    field.split(',').collect()
}

fn outer_headers(scene: &Scene, underlay: &CaptureFile) {
    let fields =
        ["eth.dst", "udp.dstport", "udp.checksum", "udp.checksum.status", "vxlan.flags", "ip.flags.df"];
    for outer in Family::BOTH {
        let endpoint = &scene.endpoints[outer as usize];
        let rows = underlay.fields(&encapsulated(scene, outer), &fields).unwrap();
        assert!(rows.len() > 1000, "{outer:?}: {}", rows.len());
        for row in rows {
            let [mac, port, checksum, status, flags, df] = &row[..] else { panic!("{row:?}") };
            assert_eq!(values(mac)[0], endpoint.nic.mac.to_string(), "{row:?}");
            assert_eq!(values(port)[0], "4789", "{row:?}");
            assert_eq!(flags, "0x0800", "{row:?}");
            match outer {
                Family::V4 => {
                    assert_eq!(values(checksum)[0], "0x0000", "{row:?}");
                    assert_eq!(values(df)[0], "1", "{row:?}");
                }
                // 1: looked at, and right.
                Family::V6 => assert_eq!(values(status)[0], "1", "{row:?}"),
            }
        }
    }
}

fn inner_frames(scene: &Scene, underlay: &CaptureFile) {
    let filter = format!("vxlan && eth.src == {}", scene.topology.underlay0.mac);
    let rows = underlay.fields(&filter, &["vxlan.vni", "eth.src", "eth.dst"]).unwrap();
    let mut seen = BTreeSet::new();
    for row in rows {
        let [vni, source, destination] = &row[..] else { panic!("{row:?}") };
        assert_eq!(values(source)[1], ROUTER_MAC.to_string(), "{row:?}");
        seen.insert((vni.clone(), values(destination)[1].to_owned()));
    }
    let stations =
        scene.stations.iter().map(|station| (station.site.vni.to_string(), station.host.nic.mac.to_string()));
    assert_eq!(seen, stations.collect(), "each overlay's frames are for its own station");
}

/// A flow has one outer source port, and flows differ in it.
fn entropy(scene: &Scene, underlay: &CaptureFile) {
    for outer in Family::BOTH {
        let mut flows: BTreeMap<Vec<String>, BTreeSet<u16>> = BTreeMap::new();
        let last = |field: &String| values(field).last().map_or(String::new(), |value| (*value).to_owned());
        // Inner UDP is the second of the frame.
        let filter = format!("{} && (tcp || udp.srcport#2)", encapsulated(scene, outer));
        let fields = [
            "udp.srcport",
            "udp.dstport",
            "tcp.srcport",
            "tcp.dstport",
            "vxlan.vni",
            "ip.src",
            "ip.dst",
            "ipv6.src",
            "ipv6.dst",
            "ipv6.flow",
        ];
        for row in underlay.fields(&filter, &fields).unwrap() {
            let entropy: u16 = values(&row[0])[0].parse().unwrap();
            assert!(entropy >= 49152, "{row:?}");
            // What is left of the outer header is the same for all.
            let inner = if row[2].is_empty() { &row[..] } else { &row[2..] };
            flows.entry(inner.iter().map(last).collect()).or_default().insert(entropy);
        }
        // 2 stations, 2 families, 2 hosts; the datagrams, the data of one connection and the acknowledgements of one.
        assert!(flows.len() >= 2 * 2 * 2 * 3, "{outer:?}: {} flows", flows.len());
        assert!(flows.values().all(|ports| ports.len() == 1), "{flows:?}");
        let different: BTreeSet<&u16> = flows.values().flatten().collect();
        // There are 16 384 ports: in one run of sixty two of the flows share one by chance.
        assert!(different.len() * 10 > flows.len() * 9, "{different:?} of {} flows", flows.len());
    }
}

/// Linux starts with 64, in both families: the gateway leaves 63, and 62 of what the router passed on.
fn hop_limits(scene: &Scene, underlay: &CaptureFile, uplink: &CaptureFile) {
    for (family, layer, ttl) in [(Family::V4, "ip", "ip.ttl"), (Family::V6, "ipv6", "ipv6.hlim")] {
        let mut out = 0;
        for station in &scene.stations {
            let filter = format!(
                "eth.src == {} && {layer}.src == {}",
                scene.topology.uplink0.mac,
                station.address(family)
            );
            let rows = uplink.fields(&filter, &[ttl, "eth.dst", &format!("{layer}.dst")]).unwrap();
            for row in &rows {
                assert_eq!(row[0], "63", "{row:?}");
                let next_hop = match row[2] == neighbour_address(family).to_string() {
                    true => scene.neighbour.nic.mac,
                    false => scene.topology.router_uplink.mac,
                };
                assert_eq!(row[1], next_hop.to_string(), "{row:?}");
            }
            out += rows.len();
        }
        assert!(out > 1000, "{out}");
        for ((_, source), left) in outer_hosts(scene, family).into_iter().zip(["62", "63"]) {
            let filter =
                format!("vxlan && eth.src == {} && {layer}.src == {source}", scene.topology.underlay0.mac);
            let rows = underlay.fields(&filter, &[ttl]).unwrap();
            assert!(rows.len() > 500, "{}", rows.len());
            assert!(rows.iter().all(|row| values(&row[0]).last() == Some(&left)), "{family:?} from {source}");
        }
    }
}

/// The link-local address made of the shared MAC (RFC 4291 appendix A).
const ROUTER_LINK_LOCAL: &str = "fe80::5eff:fe00:1";

#[test]
fn the_router_answers_for_its_addresses() {
    let scene = scene(2);
    for Station { site, host } in &scene.stations {
        let [v4, v6] = site.routers().map(|router| router.to_string());
        for router in [v4, v6, ROUTER_LINK_LOCAL.to_owned()] {
            host.namespace.ip(&format!("neighbour flush to {router} dev eth0")).unwrap();
            // `use`: resolve it now.
            host.namespace.ip(&format!("neighbour replace {router} dev eth0 use")).unwrap();
            let what = format!("{router} as {ROUTER_MAC} in overlay {}", site.vni);
            wait_until(&what, PATIENCE, || {
                let shown = host.namespace.ip_json(&["neighbour", "show", "to", &router]).unwrap();
                let answered =
                    shown[0]["lladdr"] == ROUTER_MAC.to_string() && shown[0]["state"][0] == "REACHABLE";
                if answered { Ok(()) } else { Err(shown.to_string()) }
            })
            .unwrap();
            let shown = host.namespace.ip_json(&["neighbour", "show", "to", &router]).unwrap();
            assert_eq!(shown[0].get("router").is_some(), router.contains(':'), "{shown}");
        }
    }
}

#[test]
fn a_station_that_probes_for_the_routers_address_is_told_that_it_is_taken() {
    let scene = scene(2);
    for Station { site, host } in &scene.stations {
        let namespace = &host.namespace;
        // RFC 5227 §2.1.1.
        let IpAddr::V4(router) = site.address(Family::V4, 1) else { panic!("asked for IPv4") };
        let socket = namespace.packet_socket("eth0").unwrap();
        let mut probe = [0; ethernet::HEADER_LEN + arp::LEN];
        let link = EthernetRepr { dst: MacAddr::BROADCAST, src: host.nic.mac, ethertype: EtherType::Arp };
        link.emit(&mut probe);
        let request = ArpRepr {
            operation: ArpOperation::Request,
            sender_mac: host.nic.mac,
            sender_ip: [0; 4].into(),
            target_mac: MacAddr::ZERO,
            target_ip: router,
        };
        request.emit(&mut probe[ethernet::HEADER_LEN..]);
        socket.send(&probe).unwrap();
        let (deadline, mut buffer) = (Instant::now() + PATIENCE, [0; 2048]);
        let reply = loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let len = socket.receive(&mut buffer, left).unwrap().expect("an answer to the probe");
            let frame = EthernetFrame::new_checked(&buffer[..len]).unwrap();
            if frame.ethertype() == EtherType::Arp {
                break ArpRepr::parse(&ArpPacket::new_checked(frame.payload()).unwrap());
            }
        };
        assert_eq!((reply.operation, reply.sender_mac), (ArpOperation::Reply, ROUTER_MAC));
        assert_eq!((reply.sender_ip, reply.target_mac), (router, host.nic.mac));

        // RFC 4862 §5.4, by the station's kernel.
        namespace.set("net.ipv6.conf.eth0.accept_dad", "1").unwrap();
        for router in [site.address(Family::V6, 1).to_string(), ROUTER_LINK_LOCAL.to_owned()] {
            namespace.ip(&format!("address add {router}/64 dev eth0")).unwrap();
            wait_until(&format!("{router} found to be a duplicate"), PATIENCE, || {
                let shown = namespace.ip_json(&["address", "show", "dev", "eth0"]).unwrap();
                let addresses = shown[0]["addr_info"].as_array().unwrap();
                let failed = addresses
                    .iter()
                    .any(|address| address["local"] == router && address["dadfailed"] == true);
                if failed { Ok(()) } else { Err(shown.to_string()) }
            })
            .unwrap();
        }
    }
}
