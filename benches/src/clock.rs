//! The clock of what one thread does alone.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Time that this thread has had a processor, the kernel's work for it included: not that in which others had it.
pub(crate) fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
