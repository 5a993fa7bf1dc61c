//! The generator and the receiver around a gateway: all that stations send comes out of the uplink, and all that is sent
//! to them comes in their overlays. Around vxgate and, the same, around the kernel's gateway. Needs root.

mod stage;

use std::path::Path;

use lab::{Family, Gateway};
use pktgen::report::Report;

use stage::{OVERLAYS, Stage, Way};

/// Packets of each stream.
const PACKETS: u64 = 300;

/// Both ways, after all next hops are resolved; nothing is lost, nothing comes in a wrong overlay.
fn assert_forwards_everything(stage: &Stage) {
    for way in [Way::Egress, Way::Ingress] {
        stage.warm_up(way);
        let report = stage.run(way, PACKETS);
        assert_complete(&report, way);
    }
}

fn assert_complete(report: &Report, way: Way) {
    let received = &report.received;
    let what = format!("{way:?}: {}", pktgen::report::table(report));
    let streams = 2 * u64::from(OVERLAYS);
    assert_eq!((received.totals.received, received.lost), (streams * PACKETS, 0), "{what}");
    let totals = &received.totals;
    let amiss =
        [totals.duplicates, totals.corrupted, totals.misdelivered, totals.unexpected, totals.unchecked];
    assert_eq!(amiss, [0; 5], "{what}");
    assert_eq!(received.streams.len() as u64, streams, "{what}");
    for stream in &received.streams {
        assert_eq!((stream.counts.received, stream.sent), (PACKETS, Some(PACKETS)), "{what}");
    }
    let overlays: Vec<_> = received.overlays.iter().map(|row| (row.overlay, row.counts.received)).collect();
    let expected: Vec<_> = (1..=u32::from(OVERLAYS)).map(|number| (100 + number, 2 * PACKETS)).collect();
    assert_eq!(overlays, expected, "{what}");
}

#[test]
fn vxgate_forwards_everything() {
    let stage = Stage::new();
    let mut gateway = Gateway::new(&stage.topology.gateway, Path::new(env!("CARGO_BIN_EXE_vxgate")));
    gateway.configure(&stage.config(&gateway)).unwrap();
    gateway.start().unwrap();
    assert_forwards_everything(&stage);
    let packets = 2 * u64::from(OVERLAYS) * PACKETS;
    for counter in ["egress", "ingress"] {
        assert!(gateway.counter(counter).unwrap() >= packets, "{counter}");
    }
}

#[test]
fn the_kernels_gateway_forwards_everything() {
    let stage = Stage::new();
    stage.make_kernel_gateway();
    assert_forwards_everything(&stage);
}

#[test]
fn what_a_gateway_drops_is_charged_to_its_overlay() {
    let stage = Stage::new();
    stage.make_kernel_gateway();
    stage.warm_up(Way::Egress);
    // One overlay of those over IPv4 goes away.
    assert_eq!(stage::site(1).endpoint, Family::V4);
    stage.topology.gateway.ip("link set br101 down\n").unwrap();
    let report = stage.run(Way::Egress, PACKETS);
    let lost: Vec<_> = report.received.overlays.iter().map(|row| (row.overlay, row.counts.lost)).collect();
    let expected: Vec<_> = (1..=u32::from(OVERLAYS))
        .map(|number| (100 + number, if number == 1 { 2 * PACKETS } else { 0 }))
        .collect();
    assert_eq!(lost, expected);
}
