use super::*;
use crate::testing::{damaged, payload, test_packet, udp, vxlan};

fn expected(name: &str, overlay: impl Fn(u64) -> Option<u32> + Send + Sync + 'static) -> Expected {
    Expected { name: name.to_owned(), overlay: Arc::new(overlay) }
}

fn in_overlay(vni: u32, stream: u16, sequence: u32) -> Vec<u8> {
    vxlan(true, vni, &test_packet(stream, sequence, 0))
}

#[test]
fn lost_packets_are_charged_to_their_overlays() {
    // Packets go to overlays 10, 11, 12 in turn.
    let streams =
        vec![expected("turns", |sequence| Some(10 + (sequence % 3) as u32)), expected("plain", |_| None)];
    let mut meter =
        Meter::new(MeterOptions { streams: Some(streams), window: 128, ..MeterOptions::default() });
    for sequence in 0..3000 {
        // Overlay 11 gets nothing; 12 nothing of the last 300.
        if sequence % 3 == 0 || sequence % 3 == 2 && sequence < 2700 {
            meter.take(&in_overlay(10 + sequence % 3, 0, sequence), 1000);
        }
        if sequence % 64 == 0 {
            meter.idle();
        }
    }
    meter.take(&test_packet(1, 7, 0), 1000);
    let measured = meter.finish(Some(&[3003, 10]));
    let overlay = |received, lost| OverlayCounts { received, lost, ..OverlayCounts::default() };
    assert_eq!(measured.overlays, [(10, overlay(1000, 1)), (11, overlay(0, 1001)), (12, overlay(900, 101))]);
    assert_eq!(measured.lost_of_no_overlay, 9);
    assert_eq!((measured.streams[0].1.received, measured.streams[0].1.lost), (1900, 1103));
    assert_eq!((measured.streams[1].1.received, measured.streams[1].1.lost), (1, 9));
    assert_eq!(measured.totals.misdelivered, 0);
}

#[test]
fn a_packet_in_the_wrong_overlay_is_told() {
    let mut meter = Meter::new(MeterOptions {
        streams: Some(vec![expected("one", |_| Some(10))]),
        window: WINDOW,
        ..MeterOptions::default()
    });
    meter.take(&in_overlay(10, 0, 0), 0);
    meter.take(&in_overlay(11, 0, 1), 0);
    meter.take(&test_packet(0, 2, 0), 0);
    let measured = meter.finish(Some(&[3]));
    assert_eq!(measured.streams[0].1.misdelivered, 1);
    let count = |received, strangers| OverlayCounts { received, strangers, ..OverlayCounts::default() };
    assert_eq!(measured.overlays, [(10, count(3, 0)), (11, count(0, 1))]);
}

#[test]
fn corruption_is_told_by_overlay() {
    let streams = vec![expected("turns", |sequence| Some(10 + (sequence % 3) as u32))];
    let mut meter = Meter::new(MeterOptions { streams: Some(streams), ..MeterOptions::default() });
    // The stamp's time is hit: in the overlay that it came in; without one, in that of its number.
    meter.take(&damaged(in_overlay(12, 0, 0), 1), 0);
    meter.take(&damaged(test_packet(0, 4, 0), 1), 0);
    // That of a stream without overlays is in none.
    meter.take(&damaged(test_packet(1, 0, 0), 1), 0);
    assert_eq!(meter.totals().corrupted, 3);
    let of = |corrupted| OverlayCounts { corrupted, ..OverlayCounts::default() };
    assert_eq!(meter.finish(None).overlays, [(11, of(1)), (12, of(1))]);
}

#[test]
fn each_kind_has_its_counter() {
    let mut meter = Meter::new(MeterOptions {
        streams: Some(vec![expected("one", |_| None)]),
        window: WINDOW,
        ..MeterOptions::default()
    });
    for sequence in [0, 1, 4, 3, 3, 6] {
        meter.take(&test_packet(0, sequence, 1000), 3000);
    }
    meter.take(&damaged(test_packet(0, 5, 1000), 20), 3000);
    meter.take(&damaged(test_packet(0, 7, 1000), 16), 3000);
    meter.take(&test_packet(1, 0, 1000), 3000);
    meter.take(&udp(false, 9, &[1; 40]), 3000);
    let totals = *meter.totals();
    assert_eq!(
        totals,
        Totals {
            frames: 10,
            bytes: totals.bytes,
            received: 5,
            duplicates: 1,
            reordered: 1,
            corrupted: 1,
            unexpected: 1,
            other: OtherCounts { damaged: 1, unstamped: 1, ..OtherCounts::default() },
            ..Totals::default()
        }
    );
    let slice = meter.slice();
    assert_eq!((slice.missing, slice.totals), (2, totals));
    assert!((2000..2003).contains(&slice.p50), "{slice:?}");
    assert_eq!(meter.slice().p50, 0);
    let measured = meter.finish(Some(&[8]));
    let [(0, counts, Some(latency))] = &measured.streams[..] else { panic!("{measured:?}") };
    assert_eq!((counts.received, counts.lost, counts.duplicates, counts.reordered), (5, 3, 1, 1));
    assert_eq!((counts.extent_sum, counts.extent_max, counts.corrupted), (1, 1, 1));
    assert_eq!((latency.packets, latency.min), (5, 2000));
}

#[test]
fn clocks_that_differ_are_told_even_if_no_latency_is_known() {
    let mut meter = Meter::new(MeterOptions::default());
    meter.take(&test_packet(0, 0, 1000), 999);
    assert_eq!(meter.totals().backward, 1);
    let measured = meter.finish(None);
    assert_eq!((measured.totals.backward, measured.latency), (1, None));
    assert_eq!((measured.streams[0].1.received, measured.streams[0].1.backward), (1, 1));
}

#[test]
fn nobody_fills_memory_with_streams_and_overlays() {
    let mut meter = Meter::new(MeterOptions { streams: None, window: 128, ..MeterOptions::default() });
    for stream in 0..=u16::MAX {
        meter.take(&in_overlay(u32::from(stream) + 1, stream % 1000, u32::from(stream)), 0);
    }
    for vni in 1..100_000 {
        meter.take(&in_overlay(vni, 0, 70_000 + vni), 0);
    }
    let unexpected = meter.totals().unexpected;
    let measured = meter.finish(None);
    assert_eq!(measured.streams.len(), UNEXPECTED_STREAMS);
    assert!(unexpected > 60_000);
    assert_eq!(measured.overlays.len(), OVERLAYS);
}

#[test]
fn streams_without_a_checksum_say_so() {
    let mut frame = udp(true, 9, &payload(Stamp { stream: 0, sequence: 0, time: 0 }));
    frame[40..42].fill(0);
    let mut meter = Meter::new(MeterOptions::default());
    meter.take(&frame, 0);
    assert_eq!((meter.totals().received, meter.totals().unchecked), (1, 1));
}
