//! The commands: those of the page, and Ctrl-C.

use std::path::Path;

use lab::{Lab, Namespace, Signal, VethEnd, VethOptions, veth};
use pktgen::report::{Ended, Report};

use crate::frames::{PATIENCE, row};

const PAGE: &str = include_str!("../../../docs/pktgen-measuring.md");
const BINARY: &str = env!("CARGO_BIN_EXE_pktgen");

/// A namespace with three pairs: eth1 and eth2, eth3, eth4.
fn bench(lab: &Lab) -> Namespace {
    let namespace = lab.namespace("bench").unwrap();
    namespace.set("net.ipv6.conf.default.disable_ipv6", "1").unwrap();
    for (one, other) in [("eth1", "eth2"), ("eth3", "far3"), ("eth4", "far4")] {
        let ends = [VethEnd::new(&namespace, one), VethEnd::new(&namespace, other)];
        veth(ends[0], ends[1], VethOptions::default()).unwrap();
    }
    namespace
}

#[test]
fn every_command_of_the_page_works() {
    let lab = Lab::new().unwrap();
    let namespace = bench(&lab);
    let directory = lab.directory().display().to_string();
    let binaries = Path::new(BINARY).parent().unwrap().display().to_string();
    let blocks = PAGE.split("```sh\n").skip(1).filter_map(|block| block.split_once("```"));
    let commands: Vec<&str> =
        blocks.flat_map(|(block, _)| block.lines()).filter(|line| line.starts_with("pktgen ")).collect();
    assert!(commands.len() >= 7, "{commands:?}");
    for command in commands {
        let command = command.replace("10s", "500ms");
        // A wire has no end of its own.
        let until = if command.starts_with("pktgen impair") {
            "timeout --foreground --preserve-status -s INT 1 "
        } else {
            ""
        };
        let script = format!("cd {directory} && PATH={binaries}:$PATH && {until}{command}");
        namespace.run("sh", &["-c", &script]).unwrap_or_else(|error| panic!("{command}: {error}"));
    }
    let report = Report::load(&lab.directory().join("a.json")).unwrap();
    assert_eq!((report.ended, report.received.lost), (Ended::Complete, 0));
    assert!(report.calibration.is_some_and(|calibration| calibration.latency.is_some()));
}

#[test]
fn ctrl_c_ends_with_a_report() {
    let lab = Lab::new().unwrap();
    let namespace = bench(&lab);
    let file = lab.directory().join("stopped.json").display().to_string();
    let arguments = ["run", "-i", "eth1", "--receiver", "eth2", "-p", "vxlan-64", "--rate", "500pps"];
    let rest = ["--polling", "adaptive", "--save", &file];
    let mut run = namespace.spawn(BINARY, &[&arguments[..], &rest].concat()).unwrap();
    // It has begun when frames arrive.
    let path = "/sys/class/net/eth2/statistics/rx_packets";
    run.wait_until("frames", PATIENCE, || {
        let output = namespace.run("cat", &[path]).map_err(|error| error.to_string())?;
        let count = String::from_utf8_lossy(&output.stdout).trim().parse::<u64>().unwrap_or(0);
        if count >= 20 { Ok(()) } else { Err(format!("{count}")) }
    })
    .unwrap();
    run.signal(Signal::INT).unwrap();
    let status = run.wait(PATIENCE).unwrap();
    assert!(status.success(), "{status}: {}", run.log());
    let report = Report::load(Path::new(&file)).unwrap();
    assert_eq!(report.ended, Ended::Interrupted);
    let sent = report.sent.unwrap().packets;
    assert!(sent > 0 && report.received.totals.received + report.received.lost == sent);
    assert!(run.stdout().contains("interrupted"), "{}", run.stdout());
    // No terminal: no escape codes.
    assert!(!run.log().contains('\x1b'), "{}", run.log());
}

#[test]
fn what_cannot_be_is_said_before_anything_is_sent() {
    let lab = Lab::new().unwrap();
    let [from, _to] = row(&lab, ["from", "to"]);
    for (arguments, says) in [
        (&["run", "-i", "right", "--receiver", "right", "-p", "vxlan-64"][..], "another interface"),
        (&["run", "-i", "right", "--receiver", "nosuch0", "-p", "vxlan-64"], "ip link"),
        (&["receive", "-i", "right", "-p", "nosuch.toml"], "nosuch.toml"),
        (&["compare", "nosuch.json", "nosuch.json"], "nosuch.json"),
        (&["impair", "--from", "right", "--to", "right"], "two interfaces"),
        (&["impair", "--from", "right", "--to", "lo", "--lose", "often"], "every:100"),
    ] {
        let error = from.run(BINARY, arguments).unwrap_err().to_string();
        assert!(error.contains(says), "{arguments:?}: {error}");
    }
}
