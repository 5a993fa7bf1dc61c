//! When which packet is due. Knows no clock: it is told the time, in nanoseconds.

use crate::profile::{FCS_LEN, L1_OVERHEAD, Layer, MIN_LEN, Rate};

/// Fractions of a nanosecond, so that a rate keeps exact for years.
const FRACTION: u32 = 32;
const ONE: f64 = (1_u64 << FRACTION) as f64;

/// Most that is made up for: what was late by more stays unsent, so that a sender that could not keep up, or did not
/// run, does not send faster for long.
pub(super) const MAX_LAG: u64 = 50_000_000;

/// The course of packets in time.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    /// When the next packet is due, in fractions of nanoseconds.
    due: u128,
    interval: Interval,
    /// Nanoseconds that were given up.
    behind: u64,
}

/// Fractions of nanoseconds between packets.
#[derive(Clone, Copy, Debug)]
enum Interval {
    /// None: as fast as it goes.
    None,
    /// From one packet to the next.
    Packet(u128),
    /// For each byte, that many of which each frame has more than are counted.
    Byte(u128, u128),
    /// From one burst to the next; packets of a burst, and of this one that are left.
    Burst { every: u128, packets: u64, left: u64 },
}

impl Pace {
    /// The first packet is due at `start`.
    pub(super) fn new(rate: Rate, start: u64) -> Self {
        let per_second = |rate: f64| (1e9 * ONE / rate) as u128;
        let interval = match rate {
            // Per cent are made absolute with the profile.
            Rate::Max | Rate::Percent(_) => Interval::None,
            Rate::Packets(rate) => Interval::Packet(per_second(rate)),
            Rate::Bits(rate, Layer::L1) => {
                Interval::Byte(per_second(rate / 8.0), (FCS_LEN + L1_OVERHEAD) as u128)
            }
            Rate::Bits(rate, Layer::L2) => Interval::Byte(per_second(rate / 8.0), FCS_LEN as u128),
            Rate::Burst(packets, every) => {
                Interval::Burst { every: every.as_nanos() << FRACTION, packets, left: packets }
            }
        };
        Self { due: u128::from(start) << FRACTION, interval, behind: 0 }
    }

    /// When the next packet is due.
    #[inline]
    pub(super) fn due(&self) -> u64 {
        u64::try_from(self.due >> FRACTION).unwrap_or(u64::MAX)
    }

    /// A frame of so many bytes, without FCS, goes out.
    #[inline]
    pub(super) fn spend(&mut self, len: usize) {
        match &mut self.interval {
            Interval::None => {}
            Interval::Packet(interval) => self.due += *interval,
            Interval::Byte(interval, overhead) => {
                self.due += (len.max(MIN_LEN) as u128 + *overhead) * *interval;
            }
            Interval::Burst { every, packets, left } => {
                *left -= 1;
                if *left == 0 {
                    *left = *packets;
                    self.due += *every;
                }
            }
        }
    }

    /// Gives up what is more than [`MAX_LAG`] late.
    #[inline]
    pub(super) fn give_up(&mut self, now: u64) {
        let late = now.saturating_sub(self.due());
        if late > MAX_LAG && !matches!(self.interval, Interval::None) {
            let lost = late - MAX_LAG;
            self.due += u128::from(lost) << FRACTION;
            self.behind += lost;
        }
    }

    /// Nanoseconds that were given up so far.
    pub(super) fn behind(&self) -> u64 {
        self.behind
    }
}

/// The rate of one of `count` threads.
pub(super) fn share(rate: Rate, count: usize) -> Rate {
    let count = count as f64;
    match rate {
        Rate::Packets(rate) => Rate::Packets(rate / count),
        Rate::Bits(rate, layer) => Rate::Bits(rate / count, layer),
        Rate::Burst(packets, every) => Rate::Burst(packets, every.mul_f64(count)),
        other => other,
    }
}

/// How much later than the first of `count` threads one begins, in nanoseconds, so that their packets or bursts take turns:
/// this many times the whole rate's interval. Bits have none.
pub(super) fn offset(rate: Rate, lane: usize) -> u64 {
    match rate {
        Rate::Packets(rate) => (lane as f64 * 1e9 / rate) as u64,
        Rate::Burst(_, every) => (every.as_nanos() as u64).saturating_mul(lane as u64),
        Rate::Bits(..) | Rate::Max | Rate::Percent(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Packets that go out until `end`, if the time is looked at every `step`.
    fn sent(rate: Rate, len: usize, step: u64, end: u64) -> u64 {
        let mut pace = Pace::new(rate, 0);
        let mut packets = 0;
        for now in (0..end).step_by(step as usize) {
            pace.give_up(now);
            while pace.due() <= now {
                pace.spend(len);
                packets += 1;
            }
        }
        packets
    }

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_rate_is_kept_however_the_time_is_looked_at() {
        for step in [700, 33_333, 9_000_001] {
            for rate in [1_000_u64, 10_000, 100_000, 1_488_095] {
                let packets = sent(Rate::Packets(rate as f64), 60, step, SECOND);
                // All that was due at the last look.
                let due = rate * ((SECOND - 1) / step * step) / SECOND + 1;
                assert!(packets.abs_diff(due) <= 1, "{packets} of {due} at {rate}, step {step}");
            }
        }
    }

    #[test]
    fn bits_count_what_their_layer_has() {
        // 64 bytes with FCS, 84 on a wire.
        let close = |packets: u64, wanted: f64| (packets as f64 - wanted).abs() <= 2.0;
        assert!(close(sent(Rate::Bits(512e6, Layer::L2), 60, 1000, SECOND), 1e6));
        assert!(close(sent(Rate::Bits(672e6, Layer::L1), 60, 1000, SECOND), 1e6));
        // Shorter ones, of a capture, are padded.
        assert!(close(sent(Rate::Bits(672e6, Layer::L1), 42, 1000, SECOND), 1e6));
    }

    #[test]
    fn bursts_go_out_at_once() {
        let rate = Rate::Burst(32, Duration::from_millis(1));
        let mut pace = Pace::new(rate, 5);
        for _ in 0..32 {
            assert_eq!(pace.due(), 5);
            pace.spend(60);
        }
        assert_eq!(pace.due(), 1_000_005);
        assert_eq!(sent(rate, 60, 1000, SECOND), 32_000);
    }

    #[test]
    fn a_pause_is_made_up_for_in_part() {
        let mut pace = Pace::new(Rate::Packets(1000.0), 0);
        pace.give_up(MAX_LAG);
        assert_eq!((pace.due(), pace.behind()), (0, 0));
        pace.give_up(SECOND);
        assert_eq!((pace.due(), pace.behind()), (SECOND - MAX_LAG, SECOND - MAX_LAG));
        let mut max = Pace::new(Rate::Max, 0);
        max.give_up(SECOND);
        assert_eq!((max.due(), max.behind()), (0, 0));
    }

    #[test]
    fn threads_share_a_rate() {
        assert_eq!(share(Rate::Packets(1e6), 4), Rate::Packets(250e3));
        assert_eq!(
            share(Rate::Burst(8, Duration::from_millis(1)), 2),
            Rate::Burst(8, Duration::from_millis(2))
        );
        assert_eq!(share(Rate::Max, 2), Rate::Max);
    }

    #[test]
    fn threads_take_turns() {
        for rate in [Rate::Burst(2, Duration::from_millis(1)), Rate::Packets(2000.0)] {
            let mut times = Vec::new();
            for lane in 0..3 {
                let mut pace = Pace::new(share(rate, 3), 7 + offset(rate, lane));
                for _ in 0..4 {
                    times.push(pace.due());
                    pace.spend(60);
                }
            }
            times.sort_unstable();
            let mut whole = Pace::new(rate, 7);
            for time in times {
                assert_eq!(time, whole.due(), "{rate}");
                whole.spend(60);
            }
        }
    }
}
