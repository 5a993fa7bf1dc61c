//! What `vxgate run` refuses: with the place and the remedy, and before anything is changed.

use std::path::Path;
use std::time::Duration;

use lab::{Family, Namespace, Ping, Scene, Site, TopologyOptions};
use port::XdpRequest;
use port::xdp::{Classifier, ClassifierConfig, PortRole};
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_vxgate");

/// How long a refusal may take.
const SOON: Duration = Duration::from_secs(10);

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

fn scene(queues: u16) -> Scene {
    let options = TopologyOptions { queues, ..TopologyOptions::new(&Scene::blocks()) };
    let scene = Scene::build(Path::new(BINARY), &options, &[1, 2].map(Site::numbered)).expect("the scene");
    scene.gateway.configure(&config(&scene)).expect("its configuration");
    scene
}

fn config(scene: &Scene) -> String {
    scene.config(&scene.overlays())
}

/// All that `vxgate` changes in a namespace, as the kernel shows it.
fn state(namespace: &Namespace) -> [Value; 5] {
    let queries: [&[&str]; 5] = [
        &["-4", "route", "show", "table", "all"],
        &["-6", "route", "show", "table", "all"],
        &["address", "show"],
        // With the XDP program, if there is one.
        &["link", "show"],
        &["neighbour", "show", "nud", "permanent"],
    ];
    queries.map(|query| namespace.ip_json(query).expect("iproute2"))
}

/// Runs `command` in the gateway's namespace: it must fail, say all of `expected`, and leave everything as it was.
fn refuse_command(scene: &Scene, command: &[&str], expected: &[&str]) {
    let gateway = &scene.topology.gateway;
    let before = state(gateway);
    let mut process = gateway.spawn(command[0], &command[1..]).expect("a process");
    let status = process.wait(SOON);
    let said = process.log();
    let status = status.unwrap_or_else(|error| panic!("{error}: {said}"));
    assert_eq!(status.code(), Some(1), "{said}");
    for text in expected {
        assert!(said.contains(text), "no {text:?} in: {said}");
    }
    assert_eq!(state(gateway), before, "{said}");
}

fn refuse(scene: &Scene, expected: &[&str]) {
    let file = scene.gateway.config().to_string_lossy();
    refuse_command(scene, &[BINARY, "run", "--config", &file], expected);
}

fn refuse_config(scene: &Scene, config: &str, expected: &[&str]) {
    scene.gateway.configure(config).expect("a configuration");
    let file = format!("{}:", scene.gateway.config().display());
    refuse(scene, &[&[file.as_str()], expected].concat());
}

/// Starts the gateway as configured, which shows that nothing but the fault was in the way.
fn forward(scene: &mut Scene) {
    scene.gateway.start().expect("a gateway");
    for station in &scene.stations {
        for family in FAMILIES {
            let report = Ping::to(scene.outer_address(family))
                .count(1)
                .timeout(SOON)
                .run(&station.host.namespace)
                .expect("ping");
            assert!(report.is_complete(), "{family:?}: {report:?}");
        }
    }
}

#[test]
fn configurations() {
    let scene = scene(1);
    let good = config(&scene);
    let with = |overlay: &str| scene.config(&format!("{}[[overlay]]\n{overlay}\n", scene.overlays()));
    let cases = [
        (
            with("vni = 7\nsubnets = [\"10.0.1.128/25\"]"),
            ["10.0.1.128/25 of VNI 7 overlaps 10.0.1.0/24 of VNI 101", "distinct prefixes"],
        ),
        (
            with("vni = 7\nsubnets = [\"fd00:0:0:2::/80\"]"),
            ["fd00:0:0:2::/80 of VNI 7 overlaps fd00:0:0:2::/64 of VNI 102", "distinct prefixes"],
        ),
        (
            with("vni = 101\nsubnets = [\"10.0.7.0/24\"]"),
            ["VNI 101 is configured twice, also in the table of line", "a VNI of its own"],
        ),
        (
            with("vni = 7\nsubnets = [\"172.16.0.0/24\"]"),
            ["172.16.0.0/24 of VNI 7 lies in no block", "add a block"],
        ),
        (
            with("vni = 7\nsubnets = [\"fc00:0:0:7::/64\"]"),
            ["fc00:0:0:7::/64 of VNI 7 lies in no block", "add a block"],
        ),
        (with("vni = 7\nsubnets = [\"10.0.7.0/24\"]\nvlan = 7"), ["unknown field `vlan`", "expected one of"]),
        (
            with("vni = 7\nsubnets = [\"10.0.7.0/24\"]\nowner = false"),
            ["owner = false needs own-mac", "add it"],
        ),
        (
            with("vni = 7\nsubnets = [\"fd00:0:0:7::/80\"]\nadvertise = { autonomous = true }"),
            ["one of length 80", "correct the subnet"],
        ),
        (
            format!("{good}[[rule]]\naction = \"allow\"\nfrom-vnis = \"7-9\"\n"),
            ["no overlay has a VNI from 7 to 9", "correct the range"],
        ),
        (
            good.replace("10.0.0.0/8", "10.0.0.0/8\", \"10.9.0.0/16"),
            ["10.9.0.0/16 overlaps", "keep the wider"],
        ),
        (
            good.replace("role = \"uplink\"", "role = \"underlay\""),
            ["no port has the role uplink", "add a [[port]]"],
        ),
    ];
    for (config, expected) in cases {
        assert_ne!(config, good);
        refuse_config(&scene, &config, &expected);
    }
    let missing = ["cannot read the configuration /nonexistent/vxgate.toml", "No such file"];
    refuse_command(&scene, &[BINARY, "run", "--config", "/nonexistent/vxgate.toml"], &missing);
}

#[test]
fn ports() {
    let mut scene = scene(1);
    let good = config(&scene);
    for (config, expected) in [
        (
            good.replace("\"underlay0\"", "\"underlay7\""),
            ["no interface underlay7", "correct the [[port]], or create it"],
        ),
        (good.replace("\"uplink0\"", "\"lo\""), ["interface lo", "choose another netdev"]),
    ] {
        scene.gateway.configure(&config).expect("a configuration");
        refuse(&scene, &expected);
    }
    scene.gateway.configure(&good).expect("a configuration");

    let gateway = scene.topology.gateway.clone();
    for interface in ["underlay0", "uplink0"] {
        let mtu = if interface == "underlay0" { 1600 } else { 1500 };
        gateway.ip(&format!("link set dev {interface} mtu 4000")).expect("a large MTU");
        let remedy = format!("ip link set dev {interface} mtu {}", port::MAX_MTU);
        refuse(&scene, &[&format!("interface {interface} has MTU 4000"), &remedy]);
        gateway.ip(&format!("link set dev {interface} mtu {mtu}")).expect("the MTU as it was");

        gateway.ip(&format!("link set dev {interface} down")).expect("down");
        refuse(&scene, &[&format!("interface {interface} is down"), "up"]);
        gateway.ip(&format!("link set dev {interface} up")).expect("up");
        lab::wait_link_up(&gateway, interface).expect("up");
    }
    // The IPv6 addresses and the default routes went with the netdevs.
    restore(&scene);
    forward(&mut scene);
}

/// Addresses and routes of the gateway that were lost when its netdevs were set down.
fn restore(scene: &Scene) {
    for nic in [&scene.topology.underlay0, &scene.topology.uplink0] {
        for address in &nic.addresses {
            let line = format!("address replace {address} dev {}", nic.interface);
            nic.namespace.ip(&line).expect("an address");
        }
    }
    for family in FAMILIES {
        let router = lab::Topology::UPLINK.address(family, lab::Topology::ROUTER);
        let flag = if family == Family::V4 { "-4" } else { "-6" };
        scene
            .topology
            .gateway
            .run("ip", &[flag, "route", "replace", "default", "via", &router.to_string()])
            .expect("a route");
    }
}

#[test]
fn an_xdp_hook_in_use() {
    let mut scene = scene(1);
    for nic in [&scene.topology.underlay0, &scene.topology.uplink0] {
        let attach = || {
            let index = &nic.namespace.ip_json(&["link", "show", "dev", &nic.interface]).expect("a netdev");
            let index = index[0]["ifindex"].as_u64().expect("its index") as u32;
            let mut classifier = Classifier::load(&ClassifierConfig {
                role: PortRole::Uplink,
                mac: nic.mac,
                vteps: Vec::new(),
                answered: Vec::new(),
                blocks: Vec::new(),
                queues: 1,
                frame_limit: 1500,
            })
            .expect("a program");
            classifier.attach(index, &nic.interface, XdpRequest::Native).expect("a free hook");
            classifier
        };
        let other = nic.namespace.enter(attach).expect("a namespace");
        let place = format!("the XDP hook of {} is in use by program", nic.interface);
        refuse(&scene, &[&place, "bpftool prog show id"]);
        drop(other);
    }
    forward(&mut scene);
}

#[test]
fn too_few_privileges() {
    let mut scene = scene(1);
    let file = scene.gateway.config().to_string_lossy().into_owned();
    for (without, expected) in [
        ("-all", "CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF"),
        ("-net_admin", "CAP_NET_ADMIN"),
        ("-net_raw", "CAP_NET_RAW"),
        ("-bpf,-sys_admin", "CAP_BPF"),
        ("-perfmon,-sys_admin", "CAP_PERFMON"),
    ] {
        let bounding = format!("--bounding-set={without}");
        let command = ["setpriv", &bounding, "--inh-caps=-all", "--", BINARY, "run", "--config", &file];
        refuse_command(&scene, &command, &[expected, "run as root"]);
    }
    forward(&mut scene);
}

#[test]
fn queues_without_a_socket() {
    let mut scene = scene(2);
    for interface in ["underlay0", "uplink0"] {
        let place = format!("{interface} receives on 2 queues");
        refuse(&scene, &[&place, &format!("ethtool -L {interface} rx 1 tx 1")]);
    }
    for interface in ["underlay0", "uplink0"] {
        scene.topology.gateway.run("ethtool", &["-L", interface, "rx", "1", "tx", "1"]).expect("one queue");
    }
    forward(&mut scene);
}

#[test]
fn kernel_routes_that_beat_the_blackhole() {
    let mut scene = scene(1);
    let gateway = scene.topology.gateway.clone();
    let cases = [
        ("10.0.7.0/24", "10.0.0.0/8", 0, "198.18.1.254", "net.ipv4.ip_forward"),
        ("fd00:0:0:7::/64", "fd00::/16", 1, "2001:db8:0:2::fe", "net.ipv6.conf.all.forwarding"),
    ];
    for (prefix, block, metric, router, forwarding) in cases {
        gateway.set(forwarding, "1").expect("forwarding");
        gateway.ip(&format!("route add {prefix} via {router}")).expect("a route");
        let remedy = format!("sysctl -w {forwarding}=0`, or `ip route del {prefix}");
        refuse(&scene, &["kernel forwards", &format!("a route to {prefix} in block {block}"), &remedy]);
        gateway.ip(&format!("route del {prefix} via {router}")).expect("no route");
        gateway.set(forwarding, "0").expect("no forwarding");

        // Of the block itself, and preferred: the blackhole route would never be used.
        gateway.ip(&format!("route add {block} via {router} metric {metric}")).expect("a route");
        refuse(&scene, &[&format!("block {block}"), &format!("ip route del {block} metric {metric}")]);
        gateway.ip(&format!("route del {block} via {router} metric {metric}")).expect("no route");
    }
    // Setting IPv6 forwarding takes routes away.
    restore(&scene);
    forward(&mut scene);
}

#[test]
fn a_second_gateway() {
    let mut scene = scene(1);
    forward(&mut scene);
    refuse(&scene, &["a gateway is running", "stop it first"]);
    // With a socket of its own it finds the ports taken.
    let socket = scene.gateway.socket().to_string_lossy().into_owned();
    let own = config(&scene).replace(&socket, &format!("{socket}.other"));
    scene.gateway.configure(&own).expect("a configuration");
    refuse(&scene, &["the XDP hook of underlay0 is in use", "the XDP hook of uplink0 is in use"]);
    // Neither harmed the first.
    let station = &scene.stations[0].host.namespace;
    let report = Ping::to(scene.outer_address(Family::V4)).count(1).timeout(SOON).run(station).expect("ping");
    assert!(report.is_complete(), "{report:?}");
}

#[test]
fn modes_that_cannot_be_had() {
    let scene = scene(1);
    let forced = config(&scene).replace("role = \"underlay\"", "role = \"underlay\"\nbind = \"zero-copy\"");
    scene.gateway.configure(&forced).expect("a configuration");
    // Only trying tells: by then the blackhole routes are there, and are taken back.
    refuse(&scene, &["zero-copy", "set bind = \"auto\" or \"copy\""]);
}

#[test]
fn generic_xdp_is_not_refused() {
    let mut scene = scene(1);
    let generic = config(&scene).replace("role = ", "xdp = \"generic\"\nrole = ");
    scene.gateway.configure(&generic).expect("a configuration");
    forward(&mut scene);
    let ports = scene.gateway.show("ports").expect("ports");
    let modes: Vec<&str> =
        ports.as_array().expect("rows").iter().filter_map(|port| port["xdp"].as_str()).collect();
    assert_eq!(modes, ["generic", "generic"]);
    let links = scene.topology.gateway.ip_json(&["link", "show"]).expect("netdevs");
    let attached = links.as_array().expect("rows").iter().filter_map(|link| link["xdp"]["mode"].as_u64());
    // XDP_ATTACHED_SKB of linux/if_link.h.
    assert_eq!(attached.collect::<Vec<_>>(), [2, 2], "{links}");
}
