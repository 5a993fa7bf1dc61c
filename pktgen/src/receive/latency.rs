//! How long packets took, and how much that varied.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Longest latency that is told apart from longer ones: a minute.
const LONGEST: u64 = 60_000_000_000;
/// Decimal digits of a latency that are kept: within 0.1 %.
const DIGITS: u8 = 3;
/// Interarrival jitter is kept in sixteenths of a nanosecond, as by RFC 3550's appendix A.8.
const JITTER_SHIFT: u32 = 4;

/// Latencies of one stream, or of all.
#[derive(Clone, Debug)]
pub struct Latency {
    histogram: Histogram<u64>,
    last: Option<u64>,
    /// Interarrival jitter, times 16.
    jitter: u64,
}

impl Default for Latency {
    fn default() -> Self {
        Self::new()
    }
}

impl Latency {
    /// Of no packet yet. All memory that it will ever need is taken here: some 200 KB.
    pub fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, LONGEST, DIGITS).expect("these bounds are possible");
        Self { histogram, last: None, jitter: 0 }
    }

    /// Takes note of a packet that took so many nanoseconds.
    #[inline]
    pub fn record(&mut self, latency: u64) {
        self.histogram.saturating_record(latency);
        if let Some(last) = self.last.replace(latency) {
            // J += (|D| − J) / 16 (RFC 3550 §6.4.1), rounded as its appendix A.8 does.
            let change = latency.abs_diff(last).min(LONGEST);
            self.jitter = self.jitter + change - ((self.jitter + 8) >> JITTER_SHIFT);
        }
    }

    /// Forgets everything.
    pub fn reset(&mut self) {
        self.histogram.reset();
        (self.last, self.jitter) = (None, 0);
    }

    /// Adds the packets of another; the jitter of several streams is none, and becomes zero.
    pub fn add(&mut self, other: &Self) {
        self.histogram.add(&other.histogram).expect("all have the same bounds");
        (self.last, self.jitter) = (None, 0);
    }

    /// The figures so far; `None` before the first packet.
    pub fn summary(&self) -> Option<LatencySummary> {
        let packets = self.histogram.len();
        if packets == 0 {
            return None;
        }
        let percentile = |fraction: f64| Percentile::of(&self.histogram, fraction);
        Some(LatencySummary {
            packets,
            min: self.histogram.min(),
            mean: self.histogram.mean(),
            p50: percentile(0.5),
            p90: percentile(0.9),
            p99: percentile(0.99),
            p999: percentile(0.999),
            max: self.histogram.max(),
            jitter: self.jitter >> JITTER_SHIFT,
        })
    }

    /// The smallest latency that the fraction `of` of all packets did not exceed, in nanoseconds; 0 before the first.
    pub fn quantile(&self, of: f64) -> u64 {
        self.histogram.value_at_quantile(of)
    }
}

/// Latencies, in nanoseconds, within 0.1 % (and a minute at most).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LatencySummary {
    /// How many packets these are.
    pub packets: u64,
    /// The shortest.
    pub min: u64,
    /// The mean.
    pub mean: f64,
    /// Half of the packets took no longer.
    pub p50: Percentile,
    /// 9 of 10.
    pub p90: Percentile,
    /// 99 of 100.
    pub p99: Percentile,
    /// 999 of 1 000.
    pub p999: Percentile,
    /// The longest.
    pub max: u64,
    /// Interarrival jitter at the end (RFC 3550 §6.4.1), of one stream; zero for several.
    pub jitter: u64,
}

/// A percentile and how sure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Percentile {
    /// The percentile of these packets.
    pub value: u64,
    /// That of all packets like these is not below, with a confidence of 95 % if they were independent of each other.
    pub low: u64,
    /// Nor above.
    pub high: u64,
}

impl Percentile {
    fn of(histogram: &Histogram<u64>, fraction: f64) -> Self {
        // The rank of a quantile among n independent packets is binomial; by the normal approximation:
        let spread = 1.96 * (fraction * (1.0 - fraction) / histogram.len() as f64).sqrt();
        let at = |fraction: f64| histogram.value_at_quantile(fraction.clamp(0.0, 1.0));
        // Buckets tell their highest value, which may exceed the highest that there was.
        let within = |value: u64| value.clamp(histogram.min(), histogram.max());
        Self {
            value: within(at(fraction)),
            low: within(at(fraction - spread)),
            high: within(at(fraction + spread)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_known_latencies() {
        let mut latency = Latency::new();
        assert_eq!(latency.summary(), None);
        for n in 1..=1000_u64 {
            latency.record(n * 1000);
        }
        let summary = latency.summary().unwrap();
        let near = |value: u64, wanted: f64| (value as f64 - wanted).abs() <= wanted / 1000.0;
        assert!(near(summary.min, 1e3) && near(summary.max, 1e6) && near(summary.mean as u64, 500.5e3));
        assert!(near(summary.p50.value, 500e3) && near(summary.p90.value, 900e3), "{summary:?}");
        assert!(near(summary.p99.value, 990e3) && near(summary.p999.value, 999e3), "{summary:?}");
        // 1.96 × √(0.25 / 1000) is 3.1 %.
        assert!((468e3..472e3).contains(&(summary.p50.low as f64)), "{summary:?}");
        assert!((529e3..533e3).contains(&(summary.p50.high as f64)), "{summary:?}");
    }

    #[test]
    fn jitter_is_that_of_the_rfc() {
        let mut latency = Latency::new();
        let latencies = [50_000, 90_000, 20_000, 20_000, 160_000];
        let mut jitter = 0.0;
        for (n, value) in latencies.into_iter().enumerate() {
            latency.record(value);
            if n > 0 {
                jitter += (f64::from(value.abs_diff(latencies[n - 1]) as u32) - jitter) / 16.0;
            }
        }
        let got = latency.summary().unwrap().jitter as f64;
        assert!((got - jitter).abs() < 3.0, "{got}, {jitter}");
    }

    #[test]
    fn what_takes_for_ever_is_counted_as_the_longest() {
        let mut latency = Latency::new();
        latency.record(u64::MAX);
        let summary = latency.summary().unwrap();
        assert!(summary.packets == 1 && summary.max >= LONGEST, "{summary:?}");
        let mut sum = Latency::new();
        sum.add(&latency);
        assert_eq!(sum.summary().unwrap(), summary);
        latency.reset();
        assert_eq!(latency.summary(), None);
    }
}
