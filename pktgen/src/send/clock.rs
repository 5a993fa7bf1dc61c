//! The clock that everything is timed by: monotonic, so that stepping the time of day does nothing to it.

use std::hint;
use std::thread;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The time now: nanoseconds of the monotonic clock.
#[inline]
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// A sleep ends late by the timer's slack (50 µs) and until there is a core: so long before the time the rest is waited
/// for awake.
const AWAKE: u64 = 150_000;
/// Longest sleep, so that it is soon noticed that there is something else to do.
const LONGEST_SLEEP: u64 = 20_000_000;

/// Waits until `time`, or less.
#[inline]
pub(super) fn wait(now: u64, time: u64) {
    let left = time.saturating_sub(now);
    if left > AWAKE {
        thread::sleep(Duration::from_nanos((left - AWAKE).min(LONGEST_SLEEP)));
    } else {
        hint::spin_loop();
    }
}
