//! What the fuzz target of the receiver does, in reach of ordinary tests.

use std::sync::Arc;

use super::{Expected, Found, Meter, MeterOptions, UNEXPECTED_STREAMS, find};

/// Cuts bytes into frames (each behind two bytes of its length), and lets a meter that expects two streams and one that
/// expects nothing take them. Whatever they are, the books must balance. Whether the first is a test packet.
pub fn receiver(data: &[u8]) -> bool {
    let expected = |first: u32| Expected {
        name: first.to_string(),
        overlay: Arc::new(move |number| Some(first + (number % 3) as u32)),
    };
    let untold = MeterOptions { streams: None, window: 256, lost_at_end: 4096 };
    let told = MeterOptions { streams: Some(vec![expected(10), expected(20)]), ..untold.clone() };
    for options in [told, untold] {
        let mut meter = Meter::new(options);
        let mut frames = 0;
        for (number, frame) in cut(data).enumerate() {
            meter.take(frame, number as u64);
            meter.idle();
            frames += 1;
        }
        let slice = meter.slice();
        let totals = *meter.totals();
        let counted =
            totals.received + totals.duplicates + totals.late + totals.corrupted + totals.unexpected;
        assert_eq!((totals.frames, counted + totals.other.sum()), (frames, frames));
        let measured = meter.finish(None);
        assert!(measured.streams.len() <= UNEXPECTED_STREAMS);
        let lost: u64 = measured.streams.iter().map(|(_, counts, _)| counts.lost).sum();
        assert_eq!(lost, slice.missing);
        let charged: u64 = measured.overlays.iter().map(|(_, counts)| counts.lost).sum();
        assert_eq!(charged + measured.lost_of_no_overlay, lost);
        let received: u64 = measured.streams.iter().map(|(_, counts, _)| counts.received).sum();
        assert_eq!(received, totals.received);
    }
    cut(data).next().is_some_and(|frame| matches!(find(frame), Found::Test { .. }))
}

fn cut(mut data: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (len, rest) = data.split_first_chunk::<2>()?;
        let (frame, rest) = rest.split_at(usize::from(u16::from_be_bytes(*len)).min(rest.len()));
        data = rest;
        Some(frame)
    })
}
