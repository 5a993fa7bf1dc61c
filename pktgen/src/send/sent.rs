//! What was sent.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::profile::{FCS_LEN, L1_OVERHEAD, Layer, Rate};

/// What was sent, by one thread or all together.
#[derive(Clone, Debug, Serialize)]
pub struct Sent {
    /// Frames that the port took.
    pub packets: u64,
    /// Their bytes, without FCS.
    pub bytes: u64,
    /// Bytes that a wire adds to frames of less than 60: a capture may have such.
    pub padding: u64,
    /// By stream, in the order of the profile.
    pub streams: Vec<StreamSent>,
    /// When the first batch was kicked: nanoseconds of the monotonic clock.
    pub first: Option<u64>,
    /// When the last one was.
    pub last: Option<u64>,
    /// How fast it was to be.
    pub requested: Rate,
    /// Time that went unused because sending did not keep up, and will not be made up for; in nanoseconds.
    pub behind: u64,
    /// How much later than at its own time a frame went out, at worst, in nanoseconds: of a capture that is replayed at
    /// its times alone. Nothing is given up there.
    pub late: u64,
    /// Frames that the interface dropped, where it is known: of live frames alone. They are not counted as sent.
    pub dropped: u64,
    /// Times between packets.
    pub gaps: Gaps,
    /// Why it ended.
    pub ended: Ended,
}

/// What was sent of one stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StreamSent {
    /// Frames: sequence numbers from 0 to one less than this.
    pub packets: u64,
    /// Their bytes, without FCS.
    pub bytes: u64,
}

/// Why sending ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// The limit was met.
    #[default]
    Complete,
    /// It was told to.
    Stopped,
    /// The port failed; what was sent till then counts.
    Failed(String),
}

/// Times from a packet to the next one, in nanoseconds; those of one batch are 0.
#[derive(Clone, Debug)]
pub struct Gaps(Histogram<u64>);

impl Gaps {
    /// Longest gap that is told apart.
    const MAX: u64 = 60_000_000_000;

    /// None yet.
    pub fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, Self::MAX, 3).expect("bounds in order");
        Self(histogram)
    }

    /// Counts a gap.
    #[inline]
    pub fn add(&mut self, nanoseconds: u64) {
        self.0.saturating_record(nanoseconds);
    }

    /// Counts `count` gaps of 0.
    #[inline]
    pub fn add_zeros(&mut self, count: u64) {
        self.0.saturating_record_n(0, count);
    }

    /// The histogram.
    pub fn histogram(&self) -> &Histogram<u64> {
        &self.0
    }

    /// Adds another thread's.
    pub fn merge(&mut self, other: &Self) {
        self.0.add(&other.0).expect("of the same bounds");
    }
}

impl Default for Gaps {
    fn default() -> Self {
        Self::new()
    }
}

impl Serialize for Gaps {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let percentiles = [("p1", 1.0), ("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9)];
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("count", &self.0.len())?;
        map.serialize_entry("mean", &self.0.mean())?;
        map.serialize_entry("min", &self.0.min())?;
        for (name, percentile) in percentiles {
            map.serialize_entry(name, &self.0.value_at_percentile(percentile))?;
        }
        map.serialize_entry("max", &self.0.max())?;
        map.end()
    }
}

impl Sent {
    /// Nothing yet.
    pub fn new(streams: usize, requested: Rate) -> Self {
        Self {
            packets: 0,
            bytes: 0,
            padding: 0,
            streams: vec![StreamSent::default(); streams],
            first: None,
            last: None,
            requested,
            behind: 0,
            late: 0,
            dropped: 0,
            gaps: Gaps::new(),
            ended: Ended::Complete,
        }
    }

    /// From the first packet to the last.
    pub fn duration(&self) -> Duration {
        Duration::from_nanos(self.first.zip(self.last).map_or(0, |(first, last)| last.saturating_sub(first)))
    }

    /// Packets a second that were reached, from the first to the last; `None` with less than two, or all at once.
    pub fn packet_rate(&self) -> Option<f64> {
        let seconds = self.duration().as_secs_f64();
        (seconds > 0.0 && self.packets > 1).then(|| (self.packets - 1) as f64 / seconds)
    }

    /// Bits a second that were reached.
    pub fn bit_rate(&self, layer: Layer) -> Option<f64> {
        let overhead = match layer {
            Layer::L1 => FCS_LEN + L1_OVERHEAD,
            Layer::L2 => FCS_LEN,
        };
        let per_packet = (self.bytes + self.padding) as f64 / self.packets as f64 + overhead as f64;
        Some(self.packet_rate()? * per_packet * 8.0)
    }

    /// The part of the requested rate that was reached; `None` where none was asked for or nothing can be said.
    pub fn reached(&self) -> Option<f64> {
        match self.requested {
            Rate::Max | Rate::Percent(_) => None,
            Rate::Packets(rate) => Some(self.packet_rate()? / rate),
            Rate::Bits(rate, layer) => Some(self.bit_rate(layer)? / rate),
            Rate::Burst(packets, every) => {
                // The last burst takes no time, so that the first packet of each is what is timed.
                let bursts = self.packets.div_ceil(packets).checked_sub(1).filter(|&bursts| bursts > 0)?;
                let time = every.as_secs_f64() * bursts as f64;
                Some(time / self.duration().as_secs_f64())
            }
        }
    }

    /// Adds what another thread sent of the same profile, its share of the rate included by the caller.
    pub fn merge(&mut self, other: &Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.padding += other.padding;
        for (own, other) in self.streams.iter_mut().zip(&other.streams) {
            own.packets += other.packets;
            own.bytes += other.bytes;
        }
        self.first = [self.first, other.first].into_iter().flatten().min();
        self.last = self.last.max(other.last);
        self.behind = self.behind.max(other.behind);
        self.late = self.late.max(other.late);
        self.dropped += other.dropped;
        self.gaps.merge(&other.gaps);
        if self.ended == Ended::Complete || matches!(other.ended, Ended::Failed(_)) {
            self.ended = other.ended.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(requested: Rate) -> Sent {
        Sent {
            packets: 1001,
            bytes: 60_060,
            first: Some(5),
            last: Some(1_000_000_005),
            ..Sent::new(1, requested)
        }
    }

    #[test]
    fn rates_are_from_the_first_packet_to_the_last() {
        assert_eq!(sent(Rate::Max).packet_rate(), Some(1000.0));
        assert_eq!(sent(Rate::Max).bit_rate(Layer::L1), Some(1000.0 * 84.0 * 8.0));
        assert_eq!(sent(Rate::Packets(2000.0)).reached(), Some(0.5));
        assert_eq!(sent(Rate::Bits(512_000.0, Layer::L2)).reached(), Some(1.0));
        assert_eq!(sent(Rate::Burst(100, Duration::from_millis(100))).reached(), Some(1.0));
        assert_eq!(Sent::new(1, Rate::Packets(1.0)).reached(), None);
        assert_eq!(Sent { packets: 1, ..sent(Rate::Packets(1.0)) }.reached(), None);
        let short = Sent { bytes: 42_042, padding: 18_018, ..sent(Rate::Max) };
        assert_eq!(short.bit_rate(Layer::L1), sent(Rate::Max).bit_rate(Layer::L1));
    }

    #[test]
    fn threads_add_up() {
        let mut all = sent(Rate::Max);
        let mut other = Sent { first: Some(1), last: Some(7), ..sent(Rate::Max) };
        other.streams[0].packets = 9;
        other.gaps.add(1000);
        other.ended = Ended::Stopped;
        all.merge(&other);
        assert_eq!(
            (all.packets, all.first, all.last, all.streams[0].packets),
            (2002, Some(1), Some(1_000_000_005), 9)
        );
        assert_eq!((all.ended.clone(), all.gaps.histogram().len()), (Ended::Stopped, 1));
    }
}
