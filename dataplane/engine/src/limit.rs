//! Token buckets, in the form that needs one word: the generic cell rate algorithm (ITU-T I.371, annex A).
//!
//! A bucket is the time at which it will be full again. What costs `interval` moves that time on, and is refused if it
//! would then be further ahead than the burst allows.

use std::cell::Cell;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::api::{PacketRate, RateLimit};

/// How long a limit of an overlay may be exceeded by what was saved up before: what policers of routers are set to.
const BURST: u64 = NANOS / 10;
const NANOS: u64 = 1_000_000_000;

/// Nanoseconds since the process first asked.
pub(crate) fn now() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    // 584 years.
    START.elapsed().as_nanos() as u64
}

thread_local! {
    static REHEARSING: Cell<bool> = const { Cell::new(false) };
}

/// Does `work`, in which this thread's packets are held against limits of overlays and count nothing against them: they
/// have passed before.
pub(crate) fn rehearse(work: impl FnOnce()) {
    REHEARSING.set(true);
    work();
    REHEARSING.set(false);
}

/// The time of a bucket after `cost` was taken from it; `None` if that is more than is there.
#[inline]
fn after(full_at: u64, now: u64, cost: u64, burst: u64) -> Option<u64> {
    let next = full_at.max(now).saturating_add(cost);
    (next <= now.saturating_add(burst)).then_some(next)
}

/// How packets are counted against buckets, each one word that its owner keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policer {
    cost: u64,
    burst: u64,
}

impl Policer {
    pub(crate) fn new(PacketRate { rate, burst }: PacketRate) -> Self {
        let cost = NANOS / u64::from(rate.max(1));
        Self { cost, burst: cost * u64::from(burst.max(1)) }
    }

    /// Whether one more packet may pass.
    #[inline]
    pub(crate) fn admits(self, bucket: &mut u64, now: u64) -> bool {
        let next = after(*bucket, now, self.cost, self.burst);
        *bucket = next.unwrap_or(*bucket);
        next.is_some()
    }
}

/// The buckets of one way of one overlay; workers share them, since its packets come to any of them.
#[derive(Debug)]
pub(crate) struct Limiter {
    limit: RateLimit,
    bits: AtomicU64,
    packets: AtomicU64,
}

impl Limiter {
    pub(crate) fn new(limit: RateLimit) -> Self {
        Self { limit, bits: AtomicU64::new(0), packets: AtomicU64::new(0) }
    }

    /// Whether an IP packet of so many bytes may pass.
    #[inline]
    pub(crate) fn admits(&self, bytes: u16, now: u64) -> bool {
        let bits = u64::from(bytes) * 8;
        let take = |bucket: &AtomicU64, rate: Option<u64>, units: u64, least: u64| {
            let Some(rate) = rate else { return true };
            // However low the rate, a packet of any length must pass some time.
            let (cost, burst) = (units * NANOS / rate.max(1), BURST.max(least * NANOS / rate.max(1)));
            if REHEARSING.get() {
                return after(bucket.load(Ordering::Relaxed), now, cost, burst).is_some();
            }
            bucket
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
                    after(full_at, now, cost, burst)
                })
                .is_ok()
        };
        take(&self.packets, self.limit.packets, 1, 1)
            && take(&self.bits, self.limit.bits, bits, u64::from(u16::MAX) * 8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let police = Policer::new(PacketRate { rate: 100, burst: 5 });
        let (mut bucket, mut now) = (0, 7 * NANOS);
        assert_eq!((0..20).filter(|_| police.admits(&mut bucket, now)).count(), 5);
        let mut passed = 0;
        for _ in 0..1000 {
            now += NANOS / 1000;
            passed += u32::from(police.admits(&mut bucket, now));
        }
        assert_eq!(passed, 100);
        now += 10 * NANOS;
        assert_eq!((0..20).filter(|_| police.admits(&mut bucket, now)).count(), 5);
    }

    #[test]
    fn bits_and_packets_are_limited_alike() {
        let second = |limit, bytes: u16| {
            let limiter = Limiter::new(limit);
            let (start, mut passed) = (5 * NANOS, 0_u64);
            // What was saved up is gone before the second begins.
            while limiter.admits(bytes, start) {}
            for step in 1..=100_000 {
                passed += u64::from(limiter.admits(bytes, start + step * 10_000));
            }
            passed
        };
        let bits = |bits| RateLimit { bits: Some(bits), packets: None };
        assert_eq!(second(bits(8_000_000), 1000), 1000);
        assert_eq!(second(bits(80_000), 1000), 10);
        assert_eq!(second(RateLimit { bits: None, packets: Some(500) }, 1000), 500);
        assert_eq!(second(RateLimit { bits: Some(8_000_000), packets: Some(20) }, 1000), 20);
    }

    #[test]
    fn no_packet_is_too_long_for_ever() {
        let limiter = Limiter::new(RateLimit { bits: Some(8), packets: None });
        assert!(limiter.admits(60_000, NANOS));
        assert!(!limiter.admits(60_000, 2 * NANOS));
        assert!(limiter.admits(60_000, 60_000 * NANOS));
    }
}
