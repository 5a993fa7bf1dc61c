//! Every way in which sending can end.

use std::time::Duration;

use lab::{Process, Signal};
use serde_json::Value;

use crate::{BINARY, PATIENCE, Wire};

/// Sends for ever, with another flag if it is not empty.
fn start(wire: &Wire, flag: &str) -> Process {
    let line = format!(
        "send -i {} --src 10.0.0.1 --dst 10.0.1.1 --dst-mac 02:00:00:00:00:01 -r 20kpps -o json {flag}",
        Wire::NEAR
    );
    let before = received(wire);
    let mut process = wire.near.spawn(BINARY, &line.split_whitespace().collect::<Vec<_>>()).unwrap();
    process.wait_until("frames at the far end", PATIENCE, || received(wire) > before + 100).unwrap();
    process
}

/// Frames that the far end has received.
fn received(wire: &Wire) -> u64 {
    let link = wire.far.ip_json(&["-s", "link", "show", "dev", Wire::FAR]).unwrap();
    link[0]["stats64"]["rx"]["packets"].as_u64().unwrap()
}

fn report(process: &Process) -> Value {
    serde_json::from_str(&process.stdout()).unwrap_or_else(|error| panic!("{error}: {}", process.log()))
}

#[test]
fn a_signal_ends_it_with_a_report() {
    let wire = Wire::new(1);
    for signal in [Signal::INT, Signal::TERM] {
        let mut process = start(&wire, "");
        process.signal(signal).unwrap();
        assert!(process.wait(PATIENCE).unwrap().success(), "{}", process.log());
        let report = report(&process);
        assert_eq!(report["sent"]["ended"], "stopped");
        assert!(report["sent"]["packets"].as_u64().unwrap() > 100);
    }
}

#[test]
fn an_interface_that_dies_ends_it_with_a_report() {
    for flag in ["", "--live"] {
        let wire = Wire::new(1);
        // A veth takes live frames while its far end has GRO on.
        wire.far.run("ethtool", &["-K", Wire::FAR, "gro", "on"]).unwrap();
        for death in ["link set near0 down", "link delete near0"] {
            wire.near.ip("link set near0 up").unwrap();
            lab::wait_link_up(&wire.near, Wire::NEAR).unwrap();
            let mut process = start(&wire, flag);
            wire.near.ip(death).unwrap();
            assert_eq!(process.wait(PATIENCE).unwrap().code(), Some(1), "{}", process.log());
            let report = report(&process);
            assert!(report["sent"]["ended"]["failed"].as_str().unwrap().contains("is gone, or was set down"));
            assert!(report["sent"]["packets"].as_u64().unwrap() > 100);
            assert!(process.stderr().contains("ip link"), "{}", process.stderr());
        }
    }
}

#[test]
fn a_rate_that_cannot_be_reached_is_said() {
    let wire = Wire::new(1);
    let line = format!(
        "send -i {} --src 10.0.0.1 --dst 10.0.1.1 --dst-mac 02:00:00:00:00:01 -r 10Gpps -d 200ms -o json",
        Wire::NEAR
    );
    let mut process = wire.near.spawn(BINARY, &line.split(' ').collect::<Vec<_>>()).unwrap();
    assert!(process.wait(PATIENCE + Duration::from_secs(1)).unwrap().success(), "{}", process.log());
    assert!(process.stderr().contains("of the requested 10Gpps were reached"), "{}", process.stderr());
    let report = report(&process);
    let packets = report["sent"]["packets"].as_u64().unwrap();
    assert!(report["reached"].as_f64().unwrap() < 0.1 && packets > 0);
}

#[test]
fn what_cannot_be_sent_is_refused_before_anything_is() {
    let wire = Wire::new(1);
    let refused = |arguments: &str| {
        let arguments: Vec<&str> = arguments.split(' ').collect();
        wire.near.run(BINARY, &arguments).unwrap_err().to_string()
    };
    let flags = "--src 10.0.0.1 --dst 10.0.1.1 --dst-mac 02:00:00:00:00:01 -c 1";
    assert!(refused(&format!("send -i nosuch0 {flags}")).contains("`ip link` lists"));
    assert!(refused(&format!("send -i near0 --size 2100 {flags}")).contains("mtu 2078"));
    assert!(refused(&format!("send -i near0 --queues 9 {flags}")).contains("no such queue"));
    assert!(refused(&format!("send -i near0 --live --bind copy {flags}")).contains("cannot be used with"));
    crate::pktgen(&[
        "send",
        "-p",
        "vxlan-64",
        "-c",
        "3",
        "--dry-run",
        "--pcap",
        wire.file("a").to_str().unwrap(),
    ]);
    let file = wire.file("a").display().to_string();
    assert!(refused(&format!("replay {file} -i near0 --queues 0,1")).contains("out of one queue"));
    assert!(refused("send -i near0 -c 1 --src 10.0.0.1 --dst 10.0.0.2").contains("--dst-mac is missing"));
    wire.near.ip("link set near0 down").unwrap();
    assert!(refused(&format!("send -i near0 {flags}")).contains("ip link set dev near0 up"));
}

#[test]
fn the_report_says_what_its_figures_depend_on() {
    let wire = Wire::new(1);
    let run = |form: &str| {
        let line = format!(
            "send -i near0 --src 10.0.0.1 --dst 10.0.1.1 --dst-mac 02:00:00:00:00:01 -c 20 -o {form}"
        );
        let output = wire.near.run(BINARY, &line.split(' ').collect::<Vec<_>>()).unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let json: Value = serde_json::from_str(&run("json")).unwrap();
    let port = &json["port"];
    assert_eq!(
        (&port["interface"], &port["driver"], &port["mtu"], &port["bind"]),
        (&"near0".into(), &"veth".into(), &2000.into(), &"copy".into())
    );
    // Zero-copy was tried, and a veth has none.
    assert!(port["bind_refusal"].is_string(), "{json:#}");
    assert_eq!(json["machine"]["pktgen"], env!("CARGO_PKG_VERSION"));
    let table = run("table");
    for part in
        ["machine ", "Linux ", "driver veth, MTU 2000", "socket copy", port["bind_refusal"].as_str().unwrap()]
    {
        assert!(table.contains(part), "{part}: {table}");
    }
    let csv = run("csv");
    let lines: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(lines.iter().map(Vec::len).collect::<Vec<_>>(), [10; 3], "{csv}");
    assert_eq!(lines[1][..4], ["0", "\"stream 0\"", "20", "1200"], "{csv}");
    assert_eq!(lines[2][..4], ["all", "", "20", "1200"], "{csv}");
}
