//! The clock of stamps: monotonic, the same for all processes of a machine, and stepped by nobody.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since some time before the machine's start (CLOCK_MONOTONIC, which clock_gettime(2) reads without a
/// system call).
#[inline]
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
