//! What arrives at the far end, as tshark sees it.

use std::collections::BTreeMap;

use lab::Capture;
use pktgen::profile::READY;

use crate::Wire;

#[test]
fn all_ready_profiles_arrive_without_fault() {
    let wire = Wire::new(1);
    for ready in READY {
        let capture = Capture::start(&wire.far, Wire::FAR).unwrap();
        let report = wire.run(&format!("send -p {} -c 120 -r 20kpps", ready.name));
        assert_eq!(report["sent"]["packets"], 120, "{report:#}");
        assert_eq!(report["sent"]["ended"], "complete");
        let file = capture.stop().unwrap();
        assert_eq!(file.faults().unwrap(), [], "{}", ready.name);
        assert_eq!(file.count("").unwrap(), 120, "{}", ready.name);
    }
}

const LINK: &str =
    "ethernet = { src = \"02:00:00:00:01:00-02:00:00:00:01:09\", dst = \"02:00:00:00:00:fe\" }\n";
const TAGS: [&str; 3] = ["", "vlan = { id = \"1-99\" }\n", "vlan = [{ id = 5 }, { id = \"1-99\" }]\n"];
const NETWORKS: [&str; 2] = [
    "ipv4 = { src = \"10.0.0.10-10.0.0.99\", dst = \"10.0.1.1\", ttl = \"2-9\", dscp = \"0-63\" }\n",
    "ipv6 = { src = \"fd00::10-fd00::99\", dst = \"fd00::1\", hop-limit = \"2-9\", flow-label = \"0-99\" }\n",
];
const TRANSPORTS: [&str; 4] = [
    "",
    "udp = { src = \"1024-65535\" }\n",
    "tcp = { src = \"1024-65535\", sequence = \"0-65535\" }\n",
    "icmp = { sequence = \"0-65535\" }\n",
];

/// A profile with a stream for each way to put layers together.
fn all_layers() -> (String, u64) {
    let (mut text, mut streams) = (String::new(), 0);
    for network in NETWORKS {
        for transport in TRANSPORTS {
            for tags in TAGS {
                for outer in [None].into_iter().chain(NETWORKS.map(Some)) {
                    text += &format!("[[stream]]\nsize = \"126-129\"\n{LINK}{tags}{network}{transport}");
                    if let Some(outer) = outer {
                        text += &format!("[stream.vxlan]\nvni = \"1-99\"\n{LINK}{tags}{outer}");
                    }
                    streams += 1;
                }
            }
        }
    }
    (text, streams)
}

#[test]
fn all_layers_are_right_to_tshark() {
    let wire = Wire::new(1);
    let (text, streams) = all_layers();
    let profile = wire.file("layers.toml");
    std::fs::write(&profile, text).unwrap();
    let capture = Capture::start(&wire.far, Wire::FAR).unwrap();
    let count = 4 * streams;
    wire.run(&format!("send -p {} -c {count} -r 10kpps", profile.display()));
    let file = capture.stop().unwrap();
    assert_eq!(file.faults().unwrap(), []);
    let seen = |filter: &str| file.count(filter).unwrap() as u64;
    assert_eq!(seen(""), count);
    // Of three outsides two are VXLAN; a quarter of all has no transport inside.
    assert_eq!(seen("vxlan"), count * 2 / 3);
    assert_eq!(seen("tcp"), count / 4);
    assert_eq!(seen("icmp || icmpv6"), count / 4);
    assert_eq!(seen("vlan"), count * 2 / 3);
}

#[test]
fn fields_change_as_they_are_told() {
    let wire = Wire::new(1);
    let capture = Capture::start(&wire.far, Wire::FAR).unwrap();
    wire.run(
        "send --vni 7-9 --inner-dst fd00::1 --src 198.18.1.11 --dst 198.18.1.1 \
         --dst-mac 02:00:00:00:00:01 --vlan 5 --inner-src fd00::10-fd00::13 --size 90 -c 12 -r 10kpps",
    );
    let file = capture.stop().unwrap();
    assert_eq!(file.faults().unwrap(), []);
    let frames = file.fields("", &["vlan.id", "vxlan.vni", "ipv6.src", "frame.len"]).unwrap();
    let wanted = (0..12).map(|number| {
        let source = format!("fd00::{:x}", 0x10 + number % 4);
        // 14 + 4 + 20 + 8 + 8 bytes around 90 without FCS.
        ["5".into(), (7 + number % 3).to_string(), source, (54 + 86).to_string()].to_vec()
    });
    assert_eq!(frames, wanted.collect::<Vec<_>>());
}

#[test]
fn two_queues_share_the_values_and_the_count() {
    let wire = Wire::new(2);
    let capture = Capture::start(&wire.far, Wire::FAR).unwrap();
    let report = wire.run(
        "send --queues 0,1 --src 10.0.0.1-10.0.0.9 --dst 10.0.1.1 --dst-mac 02:00:00:00:00:01 -c 19 -r 2kpps",
    );
    assert_eq!(report["sent"]["packets"], 19);
    assert_eq!(report["streams"].as_array().unwrap().len(), 2);
    let file = capture.stop().unwrap();
    assert_eq!(file.faults().unwrap(), []);
    let mut counts = BTreeMap::new();
    for frame in file.fields("", &["ip.src"]).unwrap() {
        *counts.entry(frame[0].clone()).or_insert(0) += 1;
    }
    // Positions 0 to 18, but in the order of two threads.
    let wanted = (1..=9).map(|number| (format!("10.0.0.{number}"), if number == 1 { 3 } else { 2 }));
    assert_eq!(counts, wanted.collect());
}

#[test]
fn live_frames_are_the_stream_s_without_stamps() {
    let wire = Wire::new(1);
    // A veth takes frames from XDP while its far end has GRO on.
    wire.far.run("ethtool", &["-K", Wire::FAR, "gro", "on"]).unwrap();
    let capture = Capture::start(&wire.far, Wire::FAR).unwrap();
    let report = wire.run(
        "send --live --vni 7-9 --inner-src 10.0.0.10-10.0.0.12 --inner-dst 10.0.1.1 --src 198.18.1.11 --dst 198.18.1.1 \
         --dst-mac 02:00:00:00:00:01 -c 30 -r 10kpps",
    );
    assert_eq!(
        (&report["sent"]["packets"], &report["sent"]["dropped"]),
        (&30.into(), &0.into()),
        "{report:#}"
    );
    assert_eq!((&report["port"]["bind"], report["cores"].as_array().unwrap().len()), (&"live".into(), 1));
    let file = capture.stop().unwrap();
    assert_eq!(file.faults().unwrap(), []);
    let frames = file.fields("", &["vxlan.vni", "ip.src"]).unwrap();
    let wanted = (0..30).map(|number| {
        [(7 + number % 3).to_string(), format!("198.18.1.11,10.0.0.{}", 10 + number % 3)].to_vec()
    });
    assert_eq!(frames, wanted.collect::<Vec<_>>());
    // All in one call, whose time counts.
    let report = wire.run("send --live --src 10.0.0.1 --dst 10.0.1.1 --dst-mac 02:00:00:00:00:01 -c 30");
    assert!(report["packets_per_second"].as_f64().unwrap() > 0.0, "{report:#}");
}
