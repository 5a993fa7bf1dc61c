//! `vxgate capture` and `vxgate trace` between real hosts, read by tshark. Needs root.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lab::{Family, Ping, Process, ROUTER_MAC, Scene, Signal, Site, Station, TopologyOptions, wait_until};
use serde_json::Value;

/// How long anything may take that happens at once.
const PATIENCE: Duration = Duration::from_secs(20);
/// Echo requests of each kind.
const PINGS: usize = 3;
const BINARY: &str = env!("CARGO_BIN_EXE_vxgate");

fn scene() -> Scene {
    let sites: Vec<Site> = (1..=2).map(Site::numbered).collect();
    let mut scene = Scene::build(Path::new(BINARY), &TopologyOptions::new(&Scene::blocks()), &sites).unwrap();
    scene.start().unwrap();
    scene
}

/// A capture or trace at work: when this is returned, it sees everything.
fn observe(scene: &Scene, arguments: &str, more: &[&str]) -> Process {
    let before = taps(scene);
    let socket = scene.gateway.socket().to_string_lossy();
    let mut line: Vec<&str> = arguments.split_whitespace().collect();
    line.extend(more);
    line.extend(["--socket", &socket]);
    let mut process = scene.topology.gateway.spawn(BINARY, &line).unwrap();
    process.wait_for_output("its start", PATIENCE, |log| log.contains("started")).unwrap();
    assert_eq!(taps(scene), before + 1);
    process
}

/// Ends it in order; what it says at the end.
fn end(mut process: Process) -> String {
    process.signal(Signal::INT).unwrap();
    let status = process.wait(PATIENCE).unwrap();
    assert!(status.success(), "{}", process.log());
    process.stderr()
}

fn taps(scene: &Scene) -> usize {
    scene.gateway.show("taps").unwrap().as_array().unwrap().len()
}

/// A capture file of its own, removed with the test.
struct File(PathBuf);

impl File {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("vxgate-observe-{}-{name}.pcapng", std::process::id())))
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }

    /// Values of fields of the frames that a display filter is for, by tshark.
    fn fields(&self, filter: &str, fields: &[&str]) -> Vec<Vec<String>> {
        let mut command = Command::new("tshark");
        command.args(["-n", "-r", self.path(), "-T", "fields", "-Y", filter]);
        for field in fields {
            command.args(["-e", field]);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout);
        text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
    }

    fn count(&self, filter: &str) -> usize {
        self.fields(filter, &["frame.number"]).len()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Both families, from each station to the outer host; all are answered.
fn ping(scene: &Scene) {
    for station in &scene.stations {
        for family in Family::BOTH {
            for _ in 0..PINGS {
                let ping = Ping::to(scene.outer_address(family)).count(1).timeout(PATIENCE);
                let report = ping.run(&station.host.namespace).unwrap();
                assert!(report.is_complete(), "{report:?}");
            }
        }
    }
}

const REQUESTS: &str = "(icmp.type == 8 || icmpv6.type == 128)";
const REPLIES: &str = "(icmp.type == 0 || icmpv6.type == 129)";

#[test]
fn captures_hold_what_came_and_what_went() {
    let scene = scene();
    // So that all is resolved.
    ping(&scene);
    let files = ["all", "inner", "vni", "tx"].map(File::new);
    let [all, inner, one_vni, sent] = &files;
    let captures = [
        observe(&scene, "capture", &["-w", all.path()]),
        observe(&scene, "capture --inner --port underlay0", &["-w", inner.path()]),
        observe(&scene, "capture --vni 101 --proto icmp", &["-w", one_vni.path()]),
        observe(&scene, "capture --direction tx --proto icmp --snaplen 60", &["-w", sent.path()]),
    ];
    ping(&scene);
    for capture in captures {
        let said = end(capture);
        assert!(said.contains(" frames captured, 0 lost"), "{said}");
    }
    assert_eq!(taps(&scene), 0, "off again");

    // 2 stations, 2 families. Each request comes from the underlay and goes to the uplink, each reply the other way.
    let each = 2 * 2 * PINGS;
    for (filter, interface, direction) in [
        (REQUESTS, "underlay0 rx", 1),
        (REQUESTS, "uplink0 tx", 2),
        (REPLIES, "uplink0 rx", 1),
        (REPLIES, "underlay0 tx", 2),
    ] {
        let filter = format!(
            "{filter} && frame.interface_name == \"{interface}\" && frame.packet_flags_direction == {direction}"
        );
        assert_eq!(all.count(&filter), each, "{filter}");
        let is_vxlan = interface.starts_with("underlay");
        assert_eq!(all.count(&format!("{filter} && vxlan")), if is_vxlan { each } else { 0 });
    }
    assert_eq!(all.count(&format!("{REQUESTS} && frame.comment contains \"forwarded egress: \"")), 2 * each);
    assert_eq!(all.count(&format!("{REPLIES} && frame.comment contains \"forwarded ingress: \"")), 2 * each);
    assert_eq!(all.count("_ws.malformed || _ws.short"), 0);
    times_are_right(all);

    assert_eq!(inner.count(REQUESTS), each);
    assert_eq!(inner.count("vxlan"), 0);
    assert_eq!(inner.count(&format!("{REQUESTS} && eth.dst == {ROUTER_MAC}")), each);

    let echoes = format!("{REQUESTS} || {REPLIES}");
    assert_eq!(one_vni.count(&echoes), each * 2, "requests and replies, on both sides");
    // Beside what stations' kernels say of themselves, which is ICMPv6 too.
    assert_eq!(one_vni.count(&format!("vxlan.vni == 101 && ({echoes})")), each);
    assert_eq!(one_vni.count("vxlan.vni == 102"), 0);

    let cut = sent.fields("frame.cap_len == 60", &["frame.interface_name", "frame.len"]);
    assert!(cut.len() >= each * 2, "{cut:?}");
    assert!(cut.iter().all(|row| row[0].ends_with(" tx") && row[1].parse::<u32>().unwrap() > 60), "{cut:?}");
    assert_eq!(sent.count("frame.packet_flags_direction != 2 || frame.cap_len > 60"), 0);
}

/// They are now, to the nanosecond, and in order for each frame.
fn times_are_right(file: &File) {
    let rows = file.fields("", &["frame.time_epoch"]);
    #[expect(clippy::disallowed_methods, reason = "compared with a capture's stamps")]
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    for row in &rows {
        let (seconds, fraction) = row[0].split_once('.').unwrap();
        let age = now.as_secs().checked_sub(seconds.parse().unwrap());
        assert!(age.is_some_and(|age| age < 600) && fraction.len() == 9, "{row:?}");
    }
}

/// A ping that the gateway drops: to another overlay.
fn ping_across(scene: &Scene, family: Family) {
    let [from, to] = &scene.stations[..] else { panic!("two stations") };
    let ping = Ping::to(to.address(family)).count(1).timeout(Duration::from_millis(200));
    assert_eq!(ping.run(&from.host.namespace).unwrap().received, 0);
}

#[test]
fn dropped_frames_are_captured_with_the_reason() {
    let scene = scene();
    ping(&scene);
    let (file, some) = (File::new("dropped"), File::new("some"));
    let from = scene.stations[0].host.nic.mac.to_string();
    let capture = observe(&scene, "capture --dropped --mac", &[&from, "-w", file.path()]);
    let mut counted = observe(&scene, "capture --l4-port 9 --proto udp -c 1", &["-w", some.path()]);
    Family::BOTH.iter().for_each(|family| ping_across(&scene, *family));
    ping(&scene);
    end(capture);
    assert_eq!(
        file.count(&format!("{REQUESTS} && frame.comment contains \"dropped between_overlays: \"")),
        2
    );
    assert_eq!(file.count(REQUESTS), 2);

    // A UDP datagram, after which that one ends by itself.
    let outer = scene.outer_address(Family::V4);
    let inside = &scene.stations[0].host.namespace;
    let socket = inside.enter(|| std::net::UdpSocket::bind("0.0.0.0:0")).unwrap().unwrap();
    socket.send_to(b"discard", (outer, 9)).unwrap();
    assert!(counted.wait(PATIENCE).unwrap().success());
    assert_eq!((some.count("udp.dstport == 9"), some.count("")), (1, 1));
    wait_until("no tap", PATIENCE, || taps(&scene) == 0).unwrap();
}

#[test]
fn standard_output_is_for_a_pipe_and_a_client_that_dies_is_noticed() {
    let scene = scene();
    ping(&scene);
    let mut capture = observe(&scene, "capture --proto icmp -c 4 -w -", &[]);
    let mut killed = observe(&scene, "trace", &[]);
    ping(&scene);
    assert!(capture.wait(PATIENCE).unwrap().success());
    assert!(capture.stderr().contains("4 frames captured, 0 lost"), "{}", capture.stderr());
    // The section header's type, which reads the same in any byte order.
    assert!(capture.stdout().as_bytes().starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]));
    killed.kill().unwrap();
    wait_until("no tap", PATIENCE, || taps(&scene) == 0).unwrap();

    let socket = scene.gateway.socket().to_string_lossy();
    let wrong = ["trace", "--port", "eth9", "--socket", &socket];
    let error = scene.topology.gateway.run(BINARY, &wrong).unwrap_err().to_string();
    assert!(error.contains("there is no port eth9: the ports are underlay0 and uplink0"), "{error}");
    // More than there may be.
    let all: Vec<Process> = (0..8).map(|_| observe(&scene, "trace --dropped", &[])).collect();
    let refused =
        scene.topology.gateway.run(BINARY, &["trace", "--socket", &socket]).unwrap_err().to_string();
    assert!(refused.contains("end one of them first"), "{refused}");
    drop(all);
}

/// The packets of a trace in JSON.
fn stories(trace: Process) -> Vec<Value> {
    trace.stdout().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn detail<'a>(story: &'a Value, step: &str) -> &'a str {
    let steps = story["steps"].as_array().unwrap();
    let found = steps.iter().find(|each| each["step"] == step);
    found.and_then(|step| step["detail"].as_str()).unwrap_or_else(|| panic!("no {step} in {story}"))
}

fn names(story: &Value) -> String {
    let steps = story["steps"].as_array().unwrap().iter();
    steps.map(|step| step["step"].as_str().unwrap()).collect::<Vec<_>>().join(" ")
}

#[test]
fn traces_tell_the_way_and_the_reason() {
    let scene = scene();
    ping(&scene);
    let Station { site, host } = &scene.stations[0];
    for family in Family::BOTH {
        let outer = scene.outer_address(family).to_string();
        let mut trace = observe(&scene, "trace --proto icmp -c 2 -o json --host", &[&outer]);
        let ping = Ping::to(&outer).count(1).timeout(PATIENCE);
        assert!(ping.run(&host.namespace).unwrap().is_complete());
        assert!(trace.wait(PATIENCE).unwrap().success());
        let stories = stories(trace);
        let [request, reply] = &stories[..] else { panic!("{stories:?}") };

        assert_eq!((&request["counter"], &request["outcome"]), (&"egress".into(), &"forwarded".into()));
        assert_eq!((&request["vni"], &request["port"]), (&101.into(), &"underlay0".into()));
        assert_eq!(request["now"], Value::Null);
        let way = "receive decapsulate overlay endpoint inner station packet source ecn route hops rules mtu \
                   neighbour rewrite transmit";
        assert_eq!(names(request), way);
        assert!(detail(request, "decapsulate").contains(&scene.endpoints[0].vtep.to_string()));
        assert!(detail(request, "station").starts_with(&host.nic.mac.to_string()));
        assert!(detail(request, "packet").contains("64 hops left"));
        assert_eq!(detail(request, "rewrite"), "63 hops left");
        let router = scene.topology.router_uplink.mac.to_string();
        assert!(
            detail(request, "transmit").starts_with("uplink0, ")
                && detail(request, "transmit").contains(&router)
        );

        assert_eq!((&reply["counter"], &reply["vni"]), (&"ingress".into(), &101.into()));
        let way = "receive packet source receiver hops endpoint mtu rewrite encapsulate transmit";
        assert_eq!(names(reply), way);
        assert!(detail(reply, "receiver").contains(&site.address(family, Scene::STATION).to_string()));
        assert!(detail(reply, "encapsulate").contains("VNI 101"));

        // Reports of groups, which the station's kernel sends when it likes, are dropped as well.
        let across = scene.stations[1].address(family).to_string();
        let mut trace = observe(&scene, "trace --dropped --vni 101 -c 1 --host", &[&across]);
        ping_across(&scene, family);
        assert!(trace.wait(PATIENCE).unwrap().success());
        let text = trace.stdout();
        assert!(
            text.contains(" underlay0 VNI 101 ") && text.contains(": dropped between_overlays\n"),
            "{text}"
        );
        assert!(text.contains("  rules        none matches: rejected between overlays\n"), "{text}");
        assert!(
            text.contains("  = between_overlays: A station to another overlay, and no rule allows it.\n"),
            "{text}"
        );
        assert!(!text.contains("transmit"), "{text}");
        assert!(trace.stderr().contains("1 packets traced, 0 lost"));
    }
}
