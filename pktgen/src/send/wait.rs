//! Waiting for a time of the [`clock`](crate::clock).

use std::hint;
use std::thread;
use std::time::Duration;

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
