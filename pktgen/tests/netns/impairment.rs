use std::sync::Arc;
use std::time::Duration;

use lab::{Lab, wait_until};
use pktgen::attach::AttachOptions;
use pktgen::impair::{Deeds, ImpairedWire, Rules, When};
use pktgen::receive::{Expected, Measured, MeterOptions, Receiver, ReceiverOptions};
use port::Polling;

use crate::frames::{PATIENCE, row, test_packet, wait_for_frames};

/// Packets that are sent of each of the two streams.
const PACKETS: u32 = 4000;
/// As many are on the way at once.
const BURST: u32 = 100;

fn run(rules: Rules) -> (Measured, Deeds) {
    let lab = Lab::new().unwrap();
    let [from, middle, to] = row(&lab, ["from", "middle", "to"]);
    let streams = (0..2)
        .map(|stream| Expected {
            name: stream.to_string(),
            overlay: Arc::new(move |number| Some(10 * (stream + 1) + (number % 7) as u32)),
        })
        .collect();
    let options = ReceiverOptions {
        polling: Polling::Adaptive,
        slice: Duration::from_millis(10),
        ..ReceiverOptions::new("left", MeterOptions { streams: Some(streams), ..MeterOptions::default() })
    };
    let receiver = to.enter(|| Receiver::start(options)).unwrap().unwrap();
    let socket = from.packet_socket("right").unwrap();
    let wire = middle.enter(|| {
        let [left, right] = ["left", "right"].map(AttachOptions::new);
        ImpairedWire::start(left, right, rules)
    });
    let wire = wire.unwrap().unwrap();
    for sequence in 0..PACKETS {
        for stream in 0..2 {
            socket.send(&test_packet(stream, sequence)).unwrap();
        }
        if sequence % BURST == BURST - 1 {
            // A ring must not overflow: that would be a loss that nobody planned.
            let seen = u64::from(2 * (sequence + 1));
            wait_until("the wire", PATIENCE, || {
                let deeds = wire.deeds();
                if deeds.seen >= seen { Ok(()) } else { Err(format!("{deeds:?}")) }
            })
            .unwrap();
        }
    }
    // One that is held back has not been told yet.
    let Deeds { seen, lost, duplicated, .. } = wire.deeds();
    wait_for_frames(&receiver, seen - lost + duplicated);
    let deeds = wire.stop();
    let (meter, _, losses) = receiver.stop();
    assert_eq!((losses.overrun, losses.too_long), (0, 0));
    (meter.finish(Some(&[PACKETS.into(); 2])), deeds)
}

#[test]
fn what_was_done_to_packets_is_what_is_reported() {
    let rules = Rules {
        seed: 5,
        lose: When::Every(20),
        duplicate: When::Chance(0.03),
        corrupt: When::Chance(0.02),
        hold: When::Chance(0.02),
        hold_for: 4,
        delay: Duration::from_millis(3),
    };
    let (measured, deeds) = run(rules);
    assert_eq!(
        (deeds.seen, deeds.lost, deeds.overflow),
        (u64::from(2 * PACKETS), u64::from(PACKETS / 10), 0)
    );
    assert!(deeds.duplicated > 50 && deeds.corrupted > 50 && deeds.reordered > 50, "{deeds:?}");
    let totals = &measured.totals;
    assert_eq!(totals.received, deeds.seen - deeds.lost - deeds.corrupted);
    assert_eq!(totals.duplicates, deeds.duplicated);
    assert_eq!(totals.corrupted, deeds.corrupted);
    assert_eq!(totals.reordered, deeds.reordered);
    let extents: u64 = measured.streams.iter().map(|(_, counts, _)| counts.extent_sum).sum();
    assert_eq!(extents, deeds.overtakers);
    let lost: u64 = measured.streams.iter().map(|(_, counts, _)| counts.lost).sum();
    let of_overlays: u64 = measured.overlays.iter().map(|(_, counts)| counts.lost).sum();
    assert_eq!((lost, of_overlays), (deeds.lost + deeds.corrupted, deeds.lost + deeds.corrupted));
    // No packet was faster than the delay.
    let latency = measured.latency.unwrap();
    assert!(latency.min >= 3_000_000, "{latency:?}");
    assert_eq!((totals.late, totals.other.sum(), totals.backward), (0, 0, 0));
}

#[test]
fn a_wire_without_rules_loses_nothing() {
    let (measured, deeds) = run(Rules::default());
    assert_eq!(deeds, Deeds { seen: u64::from(2 * PACKETS), other: deeds.other, ..Deeds::default() });
    assert_eq!(measured.totals.received, u64::from(2 * PACKETS));
    assert_eq!(measured.totals.reordered + measured.totals.duplicates + measured.totals.corrupted, 0);
}
