//! `vxgate doctor` on veth: what it finds, that its remedies heal, that it changes nothing.

use std::path::Path;
use std::time::Duration;

use lab::{
    Offloads, Scene, Site, Topology, TopologyOptions, VethEnd, VethOptions, set_offloads, veth, wait_until,
};
use port::XdpRequest;
use port::xdp::{Classifier, ClassifierConfig, PortRole};
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_vxgate");

/// How long it may take.
const SOON: Duration = Duration::from_secs(30);

fn scene() -> Scene {
    let options = TopologyOptions::new(&Scene::blocks());
    let scene = Scene::build(Path::new(BINARY), &options, &[1, 2].map(Site::numbered)).expect("the scene");
    configure(&scene, "");
    scene
}

/// With `more` in each overlay.
fn configure(scene: &Scene, more: &str) {
    let overlays = scene.overlays().replace("[[overlay]]\n", &format!("[[overlay]]\n{more}"));
    scene.gateway.configure(&scene.config(&overlays)).expect("a configuration");
}

/// Exit status and findings.
#[derive(Debug)]
struct Report {
    status: Option<i32>,
    findings: Vec<Value>,
}

impl Report {
    /// The findings with this verdict that have these words.
    fn find(&self, verdict: &str, subject: &str, words: &str) -> &Value {
        let is_it = |finding: &&Value| {
            finding["verdict"] == verdict
                && finding["subject"] == subject
                && finding["finding"].as_str().is_some_and(|text| text.contains(words))
        };
        self.findings.iter().find(is_it).unwrap_or_else(|| panic!("no {verdict} {words:?} in {self:#?}"))
    }

    /// All that is worse than a note.
    fn bad(&self) -> Vec<&Value> {
        let bad = |finding: &&Value| finding["verdict"] == "warning" || finding["verdict"] == "failure";
        self.findings.iter().filter(bad).collect()
    }
}

fn doctor(scene: &Scene, arguments: &[&str]) -> Report {
    let gateway = &scene.topology.gateway;
    let arguments = [&["doctor", "-o", "json"], arguments].concat();
    let mut process = gateway.spawn(BINARY, &arguments).expect("a process");
    let status = process.wait(SOON).expect("an end");
    let findings = serde_json::from_str(&process.stdout());
    let findings = findings.unwrap_or_else(|error| panic!("{error}: {}", process.log()));
    Report { status: status.code(), findings }
}

fn configured(scene: &Scene) -> Report {
    doctor(scene, &["--config", &scene.gateway.config().to_string_lossy()])
}

/// Expects that nothing is worse than a note.
#[track_caller]
fn healthy(scene: &Scene) -> Report {
    let report = configured(scene);
    assert_eq!((report.status, report.bad().len()), (Some(0), 0), "{:#?}", report.bad());
    report
}

/// Runs the first command line of a remedy.
fn heal(scene: &Scene, finding: &Value) {
    let line =
        finding["remedy"].as_str().and_then(|remedy| remedy.split('`').nth(1)).expect("a command line");
    let words: Vec<&str> = line.split(' ').collect();
    scene.topology.gateway.run(words[0], &words[1..]).expect("the remedy");
}

#[test]
fn a_good_gateway_before_and_while_it_runs() {
    let mut scene = scene();
    let gateway = scene.topology.gateway.clone();
    let state = || {
        let queries: [&[&str]; 3] =
            [&["link", "show"], &["route", "show", "table", "all"], &["neighbour", "show"]];
        // Times pass, and neighbours age.
        queries.map(|query| {
            let mut shown = gateway.ip_json(query).expect("iproute2");
            shown.as_array_mut().into_iter().flatten().for_each(|entry| entry["state"] = Value::Null);
            shown
        })
    };
    let before = state();
    let report = healthy(&scene);
    assert_eq!(state(), before, "it changes nothing");
    for interface in ["underlay0", "uplink0"] {
        report.find("ok", interface, "native XDP with redirect");
        report.find("ok", interface, "the XDP hook is free");
        report.find("ok", interface, "receives on 1 of at most 1 queues");
        report.find("ok", interface, "no receive offload in the way");
        // The bridge of the segment.
        report.find("note", interface, "another network namespace");
    }
    for block in Scene::BLOCKS {
        report.find("ok", &format!("block {block}"), "no blackhole route yet");
    }
    for family in ["IPv4", "IPv6"] {
        report.find("ok", &format!("{family} outward"), "the default route leads out of uplink0");
        report.find("ok", &format!("{family} forwarding"), "off");
        report.find("ok", &format!("{family} neighbours"), "the kernel takes");
    }
    report.find("ok", "endpoints", "2 reached by underlay0");
    report.find("ok", "UDP 4789", "no VXLAN device");
    report.find("ok", "underlay0", "50 bytes of VXLAN over IPv4");
    report.find("ok", "underlay0", "70 bytes of VXLAN over IPv6");

    scene.gateway.start().expect("a gateway");
    let report = healthy(&scene);
    report.find("ok", "uplink0", "running gateway's");
    report.find("ok", "block 10.0.0.0/8", "is there");
}

#[test]
fn mtus_that_do_not_fit() {
    let scene = scene();
    scene.topology.gateway.ip("link set dev underlay0 mtu 1500").expect("a small MTU");
    // Overlays are made smaller: their stations must know.
    let report = configured(&scene);
    assert_eq!(report.status, Some(1), "{:#?}", report.bad());
    report.find("warning", "underlay0", "MTU 1450");
    report.find("warning", "underlay0", "MTU 1430");
    // Overlays that must not be smaller.
    configure(&scene, "mtu = 1500\n");
    let report = configured(&scene);
    assert_eq!(report.status, Some(2), "{:#?}", report.bad());
    report.find("failure", "underlay0", "which need 1550");
    heal(&scene, report.find("failure", "underlay0", "which need 1570"));
    healthy(&scene);
}

#[test]
fn offloads() {
    let scene = scene();
    let gateway = &scene.topology.gateway;
    set_offloads(gateway, "underlay0", Offloads::On).expect("offloads");
    let report = configured(&scene);
    assert_eq!(report.status, Some(1), "{:#?}", report.bad());
    for tags in ["VLAN tags", "service tags"] {
        heal(&scene, report.find("warning", "underlay0", tags));
    }
    healthy(&scene);

    // Both ends in one namespace: now the sender is seen, though it is no port.
    let end = |interface| VethEnd::new(gateway, interface);
    let options = VethOptions { offloads: Offloads::On, ..VethOptions::default() };
    veth(end("near0"), end("far0"), options).expect("a veth pair");
    let report = doctor(&scene, &[]);
    assert_eq!(report.status, Some(0), "no port is configured: {:#?}", report.bad());
    let unfinished =
        report.find("note", "near0", "its other end, far0, sends unfinished frames: tx, tso, gso, txvlan");
    heal(&scene, unfinished);
    doctor(&scene, &[]).find("ok", "near0", "far0, sends whole frames");
}

#[test]
fn a_hook_that_is_taken() {
    let scene = scene();
    let nic = &scene.topology.uplink0;
    let attach = || {
        let index = nic.namespace.ip_json(&["link", "show", "dev", &nic.interface]).expect("a netdev");
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
    let report = configured(&scene);
    assert_eq!(report.status, Some(2), "{:#?}", report.bad());
    report.find("failure", "uplink0", "in use by program");
    let report = doctor(&scene, &[]);
    assert_eq!(report.status, Some(0), "{:#?}", report.bad());
    report.find("note", "uplink0", "the XDP hook has program");
    drop(other);
    healthy(&scene);
}

#[test]
fn ports_that_are_down() {
    let scene = scene();
    let gateway = &scene.topology.gateway;
    let far = &scene.topology.uplink0;
    far.far_namespace.ip(&format!("link set dev {} down", far.far_interface)).expect("down");
    // The kernel takes routes out of use a moment after the carrier is gone.
    wait_until("routes without carrier", SOON, || {
        let routes = gateway.ip_json(&["-4", "route", "show", "default"]).expect("iproute2");
        routes[0]["flags"].as_array().is_some_and(|flags| flags.iter().any(|flag| flag == "linkdown"))
    })
    .expect("a dead route");
    let report = configured(&scene);
    assert_eq!(report.status, Some(1), "{:#?}", report.bad());
    report.find("warning", "uplink0", "without carrier");
    report.find("warning", "IPv4 outward", "stations reach nothing outside");
    far.far_namespace.ip(&format!("link set dev {} up", far.far_interface)).expect("up");
    lab::wait_link_up(gateway, "uplink0").expect("up");

    gateway.ip("link set dev underlay0 down").expect("down");
    let report = configured(&scene);
    assert_eq!(report.status, Some(2), "{:#?}", report.bad());
    // Routes and IPv6 addresses went with it.
    report.find("warning", "endpoints", "no route out of underlay0");
    report.find("failure", "file", "no IPv6 VTEP address");
    heal(&scene, report.find("failure", "underlay0", "is down"));
    for address in &scene.topology.underlay0.addresses {
        gateway.ip(&format!("address replace {address} dev underlay0")).expect("an address");
    }
    lab::wait_link_up(gateway, "underlay0").expect("up");
    healthy(&scene);
}

#[test]
fn other_owners_of_frames() {
    let scene = scene();
    let gateway = &scene.topology.gateway;
    let vtep = scene.topology.gateway_vtep(lab::Family::V4);
    gateway.ip(&format!("link add own0 type vxlan id 9 local {vtep} dstport 4789")).expect("a VXLAN device");
    let report = configured(&scene);
    assert_eq!(report.status, Some(1), "{:#?}", report.bad());
    heal(&scene, report.find("warning", "UDP 4789", "own0"));
    healthy(&scene);

    let router = Topology::UPLINK.address(lab::Family::V4, Topology::ROUTER);
    gateway.ip(&format!("route add 10.0.7.0/24 via {router}")).expect("a route");
    let report = healthy(&scene);
    report.find("note", "block 10.0.0.0/8", "10.0.7.0/24");
    gateway.set("net.ipv4.ip_forward", "1").expect("forwarding");
    let report = configured(&scene);
    assert_eq!(report.status, Some(2), "{:#?}", report.bad());
    report.find("note", "IPv4 forwarding", "the kernel forwards too");
    heal(&scene, report.find("failure", "block 10.0.0.0/8", "could leak"));
    heal(&scene, report.find("failure", "block 10.0.0.0/8", "could leak"));
    healthy(&scene);

    gateway.ip("link add br0 type bridge\nlink set dev uplink0 master br0").expect("a bridge");
    let report = configured(&scene);
    assert_eq!(report.status, Some(1), "{:#?}", report.bad());
    heal(&scene, report.find("warning", "uplink0", "is a port of br0"));
    healthy(&scene);
}

#[test]
fn too_few_privileges_and_a_wrong_file() {
    let scene = scene();
    let gateway = &scene.topology.gateway;
    let file = scene.gateway.config().to_string_lossy().into_owned();
    let bounded =
        ["--bounding-set=-net_raw,-ipc_lock", "--inh-caps=-all", "--", BINARY, "doctor", "-c", &file];
    let mut process = gateway.spawn("setpriv", &bounded).expect("a process");
    let status = process.wait(SOON).expect("an end");
    let text = process.stdout();
    assert_eq!(status.code(), Some(2), "{}", process.log());
    for words in ["FAILURE  AF_XDP ", "FAILURE  capabilities ", "-> run as root", "lacks CAP_NET_RAW"] {
        assert!(text.contains(words), "{words:?} in {text}");
    }

    // What it says of locked memory is what a start meets.
    for (command, status, words) in
        [("doctor", 2, "FAILURE  locked memory "), ("run", 1, "raise the limit of locked memory")]
    {
        let line = format!(
            "ulimit -l 64; exec setpriv --bounding-set=-ipc_lock --inh-caps=-all -- {BINARY} {command} -c {file}"
        );
        let mut process = gateway.spawn("sh", &["-c", &line]).expect("a process");
        assert_eq!(process.wait(SOON).expect("an end").code(), Some(status), "{}", process.log());
        assert!(process.log().contains(words), "{}", process.log());
    }

    scene.gateway.configure("[gateway]\nnonsense = 1\n").expect("a file");
    let report = configured(&scene);
    assert_eq!(report.status, Some(2));
    report.find("failure", "file", ":2:1: unknown field `nonsense`");
    // The machine is looked at all the same.
    report.find("ok", "AF_XDP", "");
}
