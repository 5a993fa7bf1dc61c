//! Whether a thread of the data plane did not run: its process was stopped, or the thread held. What waited meanwhile is from
//! a time in which another gateway may have taken over.

use std::time::Duration;

/// A sleeping worker wakes each 4 ms, and on a busy machine late: what is shorter is no absence.
const SHORTEST: Duration = Duration::from_millis(20);

/// What a thread remembers of when it ran.
#[derive(Debug)]
pub(crate) struct Absence {
    /// In nanoseconds; `None`: nobody else takes over.
    limit: Option<u64>,
    /// When it ran last, or is to run next if that is later, by [`limit::now`](crate::limit::now) or [`idle_time`].
    last: u64,
}

impl Absence {
    /// Times from `limit` on count.
    pub(crate) fn new(limit: Option<Duration>) -> Self {
        let nanos = |limit: Duration| u64::try_from(limit.max(SHORTEST).as_nanos()).unwrap_or(u64::MAX);
        Self { limit: limit.map(nanos), last: u64::MAX }
    }

    /// Whether the thread, which runs at `now`, was absent until then.
    #[inline]
    pub(crate) fn ends(&mut self, now: impl FnOnce() -> u64) -> bool {
        let Some(limit) = self.limit else { return false };
        let now = now();
        let last = std::mem::replace(&mut self.last, now);
        now.saturating_sub(last) >= limit
    }

    /// The thread is about to sleep until then, at the latest.
    pub(crate) fn sleeps_until(&mut self, time: u64) {
        self.last = time;
    }
}

/// Nanoseconds, of which none pass while the calling thread runs: by this clock long work is no absence.
pub(crate) fn idle_time() -> u64 {
    let own = u64::try_from(sys::scheduling::own_time().as_nanos()).unwrap_or(u64::MAX);
    crate::limit::now().saturating_sub(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_late_was_absent() {
        const MS: u64 = 1_000_000;
        let mut absence = Absence::new(Some(Duration::from_millis(30)));
        assert!(!absence.ends(|| 1000 * MS), "the first time");
        assert!(!absence.ends(|| 1029 * MS));
        assert!(absence.ends(|| 1059 * MS));
        assert!(!absence.ends(|| 1060 * MS));
        absence.sleeps_until(2000 * MS);
        assert!(!absence.ends(|| 1500 * MS), "woken before");
        absence.sleeps_until(2000 * MS);
        assert!(absence.ends(|| 2030 * MS));
        let mut alone = Absence::new(None);
        assert!(!alone.ends(|| 0) && !alone.ends(|| u64::MAX));
        let mut short = Absence::new(Some(Duration::from_millis(1)));
        assert!(!short.ends(|| 0) && !short.ends(|| 10 * MS) && short.ends(|| 30 * MS));
    }
}
