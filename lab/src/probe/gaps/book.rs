//! What arrived, and when nothing did: books of bounded size.

use std::time::{Duration, Instant};

use super::bits::Bits;

/// Gaps that are kept: the longest ones.
const GAPS: usize = 1024;

/// A time in which nothing came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The last arrival before, or the begin of the probe.
    pub from: Instant,
    /// The first arrival after, or the end of the probe.
    pub to: Instant,
    /// Whether nothing came any more.
    pub is_open: bool,
}

impl Gap {
    /// How long it was.
    pub fn length(&self) -> Duration {
        self.to - self.from
    }
}

/// The gaps in a series of moments.
#[derive(Clone, Debug)]
pub(super) struct Gaps {
    /// Shorter ones are none.
    shortest: Duration,
    last: Instant,
    kept: Vec<Gap>,
}

impl Gaps {
    pub(super) fn new(start: Instant, shortest: Duration) -> Self {
        Self { shortest, last: start, kept: Vec::new() }
    }

    pub(super) fn tick(&mut self, now: Instant) {
        self.keep(Gap { from: self.last, to: now, is_open: false });
        self.last = now;
    }

    /// The series should have gone on until now.
    pub(super) fn end(&mut self, now: Instant) {
        if now > self.last {
            self.keep(Gap { from: self.last, to: now, is_open: true });
        }
    }

    /// The longest gap that reaches into a window.
    pub(super) fn longest(&self, from: Instant, to: Instant) -> Option<Gap> {
        let inside = self.kept.iter().filter(|gap| gap.to > from && gap.from < to);
        inside.max_by_key(|gap| gap.length()).copied()
    }

    fn keep(&mut self, gap: Gap) {
        if gap.length() < self.shortest {
            return;
        }
        if self.kept.len() < GAPS {
            self.kept.push(gap);
        } else if let Some(least) = self.kept.iter_mut().min_by_key(|gap| gap.length())
            && least.length() < gap.length()
        {
            *least = gap;
        }
    }
}

/// What came of one flow.
#[derive(Clone, Debug)]
pub(super) struct Book {
    pub(super) seen: Bits,
    /// Came more than once.
    pub(super) again: Bits,
    /// Came after a later one.
    pub(super) late: Bits,
    pub(super) gaps: Gaps,
    next: u64,
}

impl Book {
    pub(super) fn new(start: Instant, shortest: Duration) -> Self {
        Self {
            seen: Bits::default(),
            again: Bits::default(),
            late: Bits::default(),
            gaps: Gaps::new(start, shortest),
            next: 0,
        }
    }

    /// Whether it is the first with this number.
    pub(super) fn arrive(&mut self, number: u64, now: Instant) -> bool {
        self.gaps.tick(now);
        if !self.seen.insert(number) {
            self.again.insert(number);
            return false;
        }
        if number < self.next {
            self.late.insert(number);
        }
        self.next = self.next.max(number + 1);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn each_datagram_is_in_its_place() {
        let start = Instant::now();
        let mut book = Book::new(start, ms(2));
        let arrivals = [(0, 1), (1, 2), (1, 2), (4, 35), (3, 36), (5, 37)];
        let new: Vec<bool> =
            arrivals.iter().map(|&(number, at)| book.arrive(number, start + ms(at))).collect();
        assert_eq!(new, [true, true, false, true, true, true]);
        let of = |bits: &Bits| (0..10).filter(|&number| bits.contains(number)).collect::<Vec<_>>();
        assert_eq!(
            (of(&book.seen), of(&book.again), of(&book.late)),
            (vec![0, 1, 3, 4, 5], vec![1], vec![3])
        );
        assert_eq!(book.seen.count(1..4), 2);

        let gap = Gap { from: start + ms(2), to: start + ms(35), is_open: false };
        assert_eq!((book.gaps.longest(start, start + ms(40)), gap.length()), (Some(gap), ms(33)));
        assert_eq!(
            book.gaps.longest(start + ms(34), start + ms(40)),
            Some(gap),
            "it reaches into the window"
        );
        assert_eq!(book.gaps.longest(start + ms(35), start + ms(40)), None);
        assert_eq!(book.gaps.longest(start, start + ms(2)), None);
        book.gaps.end(start + ms(40));
        let open = Gap { from: start + ms(37), to: start + ms(40), is_open: true };
        assert_eq!(book.gaps.longest(start + ms(35), start + ms(40)), Some(open));
    }

    #[test]
    fn the_longest_gaps_are_kept() {
        let mut now = Instant::now();
        let start = now;
        let mut gaps = Gaps::new(start, ms(2));
        for at in 0..3000 {
            now += ms(if at == 1000 { 77 } else { 2 + at % 3 });
            gaps.tick(now);
        }
        assert_eq!(gaps.kept.len(), GAPS);
        assert!(gaps.kept.iter().filter(|gap| gap.length() == ms(4)).count() >= 999);
        assert_eq!(gaps.longest(start, now).unwrap().length(), ms(77));
    }
}
