use std::sync::Arc;

use port::memory::{self, Wire};
use port::{ChunkSize, Umem};
use proptest::prelude::*;
use std::time::Duration;

use super::*;
use crate::receive::{Expected, Measured, Meter, MeterOptions};
use crate::testing::{test_packet, udp, vxlan};

/// Microseconds between packets.
const GAP: u64 = 1000;

/// A bump between two ports in memory.
fn bump(rules: Rules) -> (Bump, [Wire; 2]) {
    let spare = WAITING as u32;
    let (umem, pool) = Umem::new(port::frames_for(2) + spare, ChunkSize::Small).unwrap();
    let (one, one_wire) = memory::port(&umem).unwrap();
    let (other, other_wire) = memory::port(&umem).unwrap();
    let bump = Bump::new(umem, pool, [vec![one], vec![other]], rules);
    (bump, [one_wire, other_wire])
}

/// Sends the packets of two streams, in turn, through a bump, in virtual time; and what came of it.
fn run(rules: Rules, packets: u32) -> (Deeds, Measured) {
    let streams = (0..2)
        .map(|stream| Expected {
            name: format!("stream {stream}"),
            overlay: Arc::new(move |number| Some(10 * (stream + 1) + (number % 2) as u32)),
        })
        .collect();
    let mut meter = Meter::new(MeterOptions { streams: Some(streams), ..MeterOptions::default() });
    let delay = rules.delay.as_nanos() as u64;
    let (mut bump, [mut near, mut far]) = bump(rules);
    let mut round = |now: u64| {
        bump.round(|| now);
        while let Some(frame) = far.take() {
            meter.take(&frame, now);
        }
        bump.deeds()
    };
    for sequence in 0..packets {
        let now = u64::from(sequence) * GAP;
        for stream in 0..2 {
            let vni = 10 * (u32::from(stream) + 1) + sequence % 2;
            assert!(near.deliver(&vxlan(stream == 0, vni, &test_packet(stream, sequence, now))));
        }
        assert!(near.deliver(&udp(true, 7, &[1; 20])));
        round(now);
    }
    let end = u64::from(packets) * GAP + delay;
    for tick in 0..=delay.div_ceil(GAP) {
        round(u64::from(packets) * GAP + tick * GAP);
    }
    let _ = round;
    bump.flush();
    bump.round(|| end);
    while let Some(frame) = far.take() {
        meter.take(&frame, end);
    }
    let sent = u64::from(packets);
    (bump.deeds(), meter.finish(Some(&[sent, sent])))
}

/// What the bump did, the meter must have seen: all of it and nothing else.
fn assert_agree(deeds: &Deeds, measured: &Measured) {
    let sum = |count: fn(&crate::receive::StreamCounts) -> u64| {
        measured.streams.iter().map(|(_, counts, _)| count(counts)).sum::<u64>()
    };
    assert_eq!(deeds.overflow, 0);
    assert_eq!(sum(|counts| counts.received), deeds.seen - deeds.lost - deeds.corrupted);
    assert_eq!(sum(|counts| counts.lost), deeds.lost + deeds.corrupted);
    assert_eq!(sum(|counts| counts.duplicates), deeds.duplicated);
    assert_eq!(sum(|counts| counts.corrupted), deeds.corrupted);
    assert_eq!(sum(|counts| counts.reordered), deeds.reordered);
    assert_eq!(sum(|counts| counts.extent_sum), deeds.overtakers);
    assert_eq!(sum(|counts| counts.late + counts.extent_unknown + counts.misdelivered), 0);
    assert_eq!(measured.totals.other.unstamped, deeds.other);
    let corrupted: u64 = measured.overlays.iter().map(|(_, counts)| counts.corrupted).sum();
    assert_eq!(corrupted, deeds.corrupted);
    let of_overlays: u64 = measured.overlays.iter().map(|(_, counts)| counts.lost).sum();
    assert_eq!((of_overlays, measured.lost_of_no_overlay), (deeds.lost + deeds.corrupted, 0));
}

#[test]
fn exact_rules_end_in_exact_reports() {
    let rules = Rules {
        lose: When::Every(10),
        duplicate: When::Every(7),
        corrupt: When::Every(11),
        hold: When::Every(13),
        hold_for: 3,
        delay: Duration::from_micros(500),
        ..Rules::default()
    };
    let (deeds, measured) = run(rules, 5_000);
    assert_eq!((deeds.seen, deeds.lost, deeds.other), (10_000, 1000, 5000));
    // Each hundredth of what is not lost is left of what the rules before it did not take.
    assert_eq!(deeds.duplicated, 10_000 / 7 - 10_000 / 70);
    assert_eq!(deeds.corrupted, 10_000 / 11 - 10_000 / 110 - 10_000 / 77 + 10_000 / 770);
    assert!(deeds.reordered > 400, "{deeds:?}");
    assert_agree(&deeds, &measured);
    for (_, counts, _) in &measured.streams {
        assert_eq!(counts.extent_max, 3);
    }
}

#[test]
fn a_delay_is_measured_exactly() {
    let delay = Duration::from_millis(2);
    let (deeds, measured) = run(Rules { delay, ..Rules::default() }, 3000);
    let latency = measured.latency.as_ref().unwrap();
    assert_eq!(latency.packets, 6000);
    let exact = |value: u64| value.abs_diff(2_000_000) <= 2000;
    assert!(exact(latency.min) && exact(latency.p50.value) && exact(latency.max), "{latency:?}");
    assert_agree(&deeds, &measured);
}

#[test]
fn nothing_is_done_without_rules() {
    let (deeds, measured) = run(Rules::default(), 1000);
    assert_eq!(deeds, Deeds { seen: 2000, other: 1000, ..Deeds::default() });
    assert_agree(&deeds, &measured);
}

#[test]
fn a_packet_that_is_held_at_the_end_is_not_lost() {
    let rules = Rules { hold: When::Every(2000), hold_for: 5, ..Rules::default() };
    let (deeds, measured) = run(rules, 1000);
    // Nothing came after it.
    assert_eq!((deeds.reordered, deeds.lost), (0, 0));
    assert_agree(&deeds, &measured);
}

#[test]
fn what_is_on_its_way_when_the_wire_is_cut_is_on_the_books() {
    let rules =
        Rules { delay: Duration::from_nanos(100), hold: When::Every(3), hold_for: 9, ..Rules::default() };
    for (now, come) in [(100, 5), (99, 0)] {
        let (mut bump, [mut near, mut far]) = bump(rules.clone());
        for sequence in 0..5 {
            assert!(near.deliver(&test_packet(0, sequence, 0)));
        }
        bump.round(|| 0);
        bump.cut(now);
        assert_eq!(std::iter::from_fn(|| far.take()).count(), come);
        assert_eq!((bump.deeds().seen, bump.deeds().cut), (5, 5 - come as u64));
    }
}

#[test]
fn the_way_back_is_not_impaired() {
    let (mut bump, [mut near, mut far]) = bump(Rules { lose: When::Every(1), ..Rules::default() });
    for sequence in 0..100 {
        assert!(far.deliver(&test_packet(0, sequence, 0)) && near.deliver(&test_packet(0, sequence, 0)));
        bump.round(|| 0);
        assert_eq!(near.take(), Some(test_packet(0, sequence, 0)));
        assert_eq!(far.take(), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_chance_does_is_reported(
        seed: u64,
        chances in prop::array::uniform4(0.0..0.4_f64),
        hold_for in 1..40_u32,
        delay in 0..20_u64,
    ) {
        let [lose, duplicate, corrupt, hold] = chances.map(When::Chance);
        let delay = Duration::from_nanos(delay * GAP);
        let rules = Rules { seed, lose, duplicate, corrupt, hold, hold_for, delay };
        let (deeds, measured) = run(rules.clone(), 400);
        assert_agree(&deeds, &measured);
        // The same again.
        prop_assert_eq!(run(rules, 400).0, deeds);
    }
}
