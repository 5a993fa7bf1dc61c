//! What a probe for gaps tells of a window of time.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use super::bits::Bits;
use super::book::{Book, Gap, Gaps};
use super::schedule::Schedule;

/// Runs of lost numbers that are named.
const RUNS: usize = 1024;

/// What a [`GapProbe`](crate::GapProbe) saw, to be asked about windows of time.
#[derive(Debug)]
pub struct GapReport {
    pub(super) schedule: Schedule,
    pub(super) end: Instant,
    /// The numbers that were sent, by slot.
    pub(super) sent: Vec<Bits>,
    pub(super) sender: Gaps,
    pub(super) receiver: Gaps,
    pub(super) flows: Vec<(String, Book)>,
    pub(super) is_realtime: bool,
}

/// What became of the datagrams that were due in a window, and of the time in it.
#[derive(Clone, Debug)]
pub struct GapWindow {
    /// Each flow, in the order in which they were given.
    pub flows: Vec<FlowWindow>,
    /// The longest time in which the probe itself sent nothing, though it should have; zero: less than two intervals.
    /// A gap of a flow that is no longer than that says nothing.
    pub sender_gap: Duration,
    /// The longest time in which the probe itself did not look for arrivals; zero: less than two intervals.
    pub receiver_gap: Duration,
    /// Whether the threads of the probe ran before all ordinary ones.
    pub is_realtime: bool,
}

/// What became of a flow in a window.
#[derive(Clone, Debug)]
pub struct FlowWindow {
    /// Its name.
    pub name: String,
    /// Datagrams that were sent; one that the kernel refused to send counts.
    pub sent: u64,
    /// Datagrams that the probe itself did not send in time, and left out.
    pub skipped: u64,
    /// Different datagrams received.
    pub received: u64,
    /// Datagrams that arrived more than once.
    pub duplicates: u64,
    /// Datagrams that arrived after a later one.
    pub reordered: u64,
    /// Numbers that were sent and never arrived, in runs: at most 1 024 of them.
    pub lost_numbers: Vec<RangeInclusive<u64>>,
    /// The longest time at the receiver without an arrival that reaches into the window, if it is two intervals or more.
    pub gap: Option<Gap>,
    /// From the begin of the window to the first arrival after that gap: zero if there was no gap, `None` if nothing
    /// arrived any more.
    pub recovery: Option<Duration>,
}

impl FlowWindow {
    /// Datagrams that never arrived.
    pub fn lost(&self) -> u64 {
        self.sent - self.received
    }

    /// Length of the longest gap; zero if there was none.
    pub fn gap_length(&self) -> Duration {
        self.gap.map_or(Duration::ZERO, |gap| gap.length())
    }
}

impl GapReport {
    /// From begin to end.
    pub fn whole(&self) -> GapWindow {
        self.since(self.schedule.start)
    }

    /// From a moment, that of a fault say, to the end of the probe.
    pub fn since(&self, from: Instant) -> GapWindow {
        self.window(from, self.end)
    }

    /// From a moment to another.
    pub fn window(&self, from: Instant, to: Instant) -> GapWindow {
        let to = to.min(self.end);
        let length = |gaps: &Gaps| gaps.longest(from, to).map_or(Duration::ZERO, |gap| gap.length());
        let flows = self.flows.iter().enumerate();
        GapWindow {
            flows: flows.map(|(flow, (name, book))| self.flow(flow, name, book, (from, to))).collect(),
            sender_gap: length(&self.sender),
            receiver_gap: length(&self.receiver),
            is_realtime: self.is_realtime,
        }
    }

    fn flow(&self, flow: usize, name: &str, book: &Book, (from, to): (Instant, Instant)) -> FlowWindow {
        let slot = self.schedule.slot(flow);
        let numbers = self.schedule.numbers(from, to, slot);
        let sent = &self.sent[slot as usize];
        let gap = book.gaps.longest(from, to);
        FlowWindow {
            name: name.to_owned(),
            sent: sent.count(numbers.clone()),
            skipped: numbers.clone().filter(|&number| !sent.contains(number)).count() as u64,
            received: book.seen.count(numbers.clone()),
            duplicates: book.again.count(numbers.clone()),
            reordered: book.late.count(numbers.clone()),
            lost_numbers: lost(numbers.filter(|&number| sent.contains(number)), &book.seen),
            gap,
            recovery: match gap {
                None => Some(Duration::ZERO),
                Some(gap) => (!gap.is_open).then(|| gap.to - from),
            },
        }
    }
}

/// Runs of numbers that were sent and not seen. What was not sent does not end a run.
fn lost(sent: impl Iterator<Item = u64>, seen: &Bits) -> Vec<RangeInclusive<u64>> {
    let mut runs: Vec<RangeInclusive<u64>> = Vec::new();
    let mut ended = true;
    for number in sent {
        if seen.contains(number) {
            ended = true;
        } else if ended && runs.len() == RUNS {
            break;
        } else if ended {
            runs.push(number..=number);
            ended = false;
        } else if let Some(run) = runs.last_mut() {
            *run = *run.start()..=number;
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_what_was_due_in_it() {
        let ms = Duration::from_millis;
        let start = Instant::now();
        let mut book = Book::new(start, ms(2));
        let mut sent = Bits::default();
        for number in (0..100).filter(|number| *number != 52) {
            sent.insert(number);
            if !(50..55).contains(&number) && number != 99 {
                book.arrive(number, start + ms(number));
            }
        }
        book.arrive(70, start + ms(99));
        let gaps = Gaps::new(start, ms(2));
        let report = GapReport {
            schedule: Schedule::new(start, ms(1), 1),
            end: start + ms(100),
            sent: vec![sent],
            sender: gaps.clone(),
            receiver: gaps,
            flows: vec![("one".to_owned(), book)],
            is_realtime: false,
        };
        let window = report.since(start + ms(40));
        let flow = &window.flows[0];
        assert_eq!((flow.sent, flow.received, flow.lost()), (59, 54, 5));
        assert_eq!((flow.duplicates, flow.reordered, flow.skipped), (1, 0, 1));
        assert_eq!(flow.lost_numbers, [50..=54, 99..=99]);
        assert_eq!((flow.gap_length(), flow.recovery), (ms(6), Some(ms(15))));
        let calm = &report.window(start, start + ms(40)).flows[0];
        assert_eq!((calm.sent, calm.lost(), calm.gap, calm.recovery), (40, 0, None, Some(Duration::ZERO)));
    }
}
