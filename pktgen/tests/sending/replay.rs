//! Captures that are replayed.

use lab::Capture;

use crate::{Wire, pktgen};

#[test]
fn what_was_written_arrives_again_as_often_as_told() {
    let wire = Wire::new(1);
    let written = wire.file("written.pcap");
    let written = written.to_str().unwrap();
    pktgen(&["send", "-p", "many-overlays", "-c", "50", "-r", "1kpps", "--dry-run", "--pcap", written]);
    let capture = Capture::start(&wire.far, Wire::FAR).unwrap();
    let report = wire.run(&format!("replay {written} --speed 10 --loop 2"));
    assert_eq!(report["sent"]["packets"], 100);
    assert!(report["sent"]["late"].as_u64().unwrap() > 0, "{report:#}");
    let file = capture.stop().unwrap();
    assert_eq!(file.faults().unwrap(), []);
    let vnis = file.fields("", &["vxlan.vni", "udp.srcport"]).unwrap();
    assert_eq!(vnis.len(), 100);
    assert_eq!(vnis[..50], vnis[50..]);
}

#[test]
fn a_rate_takes_the_place_of_the_times() {
    let wire = Wire::new(1);
    let written = wire.file("slow.pcap");
    let written = written.to_str().unwrap();
    // Eight hours of capture.
    pktgen(&["send", "-p", "vxlan-64", "-c", "30", "-r", "0.001pps", "--dry-run", "--pcap", written]);
    let report = wire.run(&format!("replay {written} --rate max"));
    assert_eq!(report["sent"]["packets"], 30);
}
