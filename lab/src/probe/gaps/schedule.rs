//! When each datagram is due.

use std::ops::Range;
use std::time::{Duration, Instant};

/// Many flows are not sent at once, but spread over the interval in steps of this length.
const STEP: Duration = Duration::from_millis(1);

/// Absolute times: nothing that is late makes what follows late.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    pub(super) start: Instant,
    pub(super) interval: Duration,
    /// Steps in an interval.
    pub(super) slots: u32,
}

impl Schedule {
    pub(super) fn new(start: Instant, interval: Duration, flows: usize) -> Self {
        let steps = (interval.as_nanos() / STEP.as_nanos()).clamp(1, flows.max(1) as u128);
        Self { start, interval, slots: steps as u32 }
    }

    /// In which step of each interval a flow is sent.
    pub(super) fn slot(&self, flow: usize) -> u32 {
        (flow % self.slots as usize) as u32
    }

    /// Which datagrams a step sends: their number, and their flows' slot.
    pub(super) fn place(&self, step: u64) -> (u64, u32) {
        (step / u64::from(self.slots), (step % u64::from(self.slots)) as u32)
    }

    /// When a step is due.
    pub(super) fn due(&self, step: u64) -> Instant {
        let (number, slot) = self.place(step);
        self.start
            + self.interval.saturating_mul(u32::try_from(number).unwrap_or(u32::MAX))
            + self.offset(slot)
    }

    /// The last step that is due by now.
    pub(super) fn step(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.start);
        (since.as_nanos() * u128::from(self.slots) / self.interval.as_nanos()) as u64
    }

    /// The numbers that are due in a window, of a flow with this slot.
    pub(super) fn numbers(&self, from: Instant, to: Instant, slot: u32) -> Range<u64> {
        let first = |at: Instant| {
            let since = at.saturating_duration_since(self.start + self.offset(slot));
            since.as_nanos().div_ceil(self.interval.as_nanos()) as u64
        };
        first(from)..first(to)
    }

    fn offset(&self, slot: u32) -> Duration {
        self.interval * slot / self.slots
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_flows_are_spread() {
        let ms = Duration::from_millis;
        let start = Instant::now();
        let schedule = Schedule::new(start, ms(10), 400);
        assert_eq!((schedule.slots, schedule.slot(399), schedule.place(25)), (10, 9, (2, 5)));
        assert_eq!((schedule.due(25), schedule.step(start + ms(25))), (start + ms(25), 25));
        assert_eq!(schedule.numbers(start + ms(15), start + ms(35), 5), 1..3);
        assert_eq!(schedule.numbers(start + ms(16), start + ms(36), 5), 2..4);
        assert_eq!(schedule.numbers(start, start, 5), 0..0);

        assert_eq!(Schedule::new(start, ms(1), 400).slots, 1);
        assert_eq!(Schedule::new(start, ms(10), 3).slots, 3);
        assert_eq!(Schedule::new(start, Duration::from_micros(100), 3).slots, 1);
    }
}
