//! What became of the packets of one stream, told by their sequence numbers.
//!
//! The stamp's 32 bits are taken as the nearest of all 64-bit numbers to the highest that has come. A bitmap remembers
//! which of the last so many numbers came: inside that window everything is exact. What comes from behind it is `late`:
//! it was counted as lost, and may be that packet or a duplicate; nobody knows.
//!
//! **Reordering** is that of RFC 4737 §3.3: a packet is reordered if one with a higher number came before it. Its
//! *extent* (§4.2) is how many packets came since the first of those that should have come after it, that one included.
//! Duplicates are left out of both, as if they had not come.

use std::collections::VecDeque;
use std::ops::Range;

/// Sequence numbers that one word of the bitmap holds.
const WORD: u64 = u64::BITS as u64;
/// Gaps whose place in the order of arrival is remembered; a reordered packet from before the oldest has no extent.
const GAPS: usize = 4096;
/// Ranges of lost numbers that wait to be looked at.
const LOST_RANGES: usize = 4096;

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Its number is higher than all before.
    InOrder,
    /// A higher number came before it.
    Reordered {
        /// How many packets, from the first with a higher number on, came before it; `None` if that is forgotten.
        extent: Option<u64>,
    },
    /// It came before.
    Duplicate,
    /// It is from behind the window, or from before the first.
    Late,
}

/// Where a stream begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// With number 0: what is missing before the first that comes is lost.
    AtZero,
    /// With the first that comes: the receiver came later than the sender.
    AtFirst,
}

/// The numbers of one stream.
#[derive(Debug)]
pub struct Sequence {
    /// A bit for each number from `base` on: whether it came. A ring, indexed by number.
    arrived: Box<[u64]>,
    /// First number of the window; a multiple of [`WORD`].
    base: u64,
    /// First number of the stream; `None`: none has come.
    begin: Option<u64>,
    /// The highest that came, plus one.
    next: u64,
    /// Packets that came, each once, without those that came late.
    unique: u64,
    /// Oldest first.
    gaps: VecDeque<Gap>,
    /// What was lost for good, oldest first, and not yet taken; see [`take_lost`](Self::take_lost).
    lost: VecDeque<Range<u64>>,
    /// Numbers that were lost while `lost` was full.
    untold: u64,
}

/// Numbers that were skipped.
#[derive(Debug)]
struct Gap {
    first: u64,
    /// Which packet of the stream skipped them, counted from 0.
    arrival: u64,
}

impl Sequence {
    /// Of a stream of which nothing has come. `window` is rounded up to a multiple of 64, to 128 at least: up to 63
    /// numbers less are exact.
    pub fn new(begin: Begin, window: u64) -> Self {
        let words = window.div_ceil(WORD).max(2) as usize;
        Self {
            arrived: vec![0; words].into(),
            base: 0,
            begin: (begin == Begin::AtZero).then_some(0),
            next: 0,
            unique: 0,
            gaps: VecDeque::with_capacity(GAPS),
            lost: VecDeque::with_capacity(LOST_RANGES),
            untold: 0,
        }
    }

    /// The whole number for the 32 bits of a stamp; `None` if it would be from before 0.
    #[inline]
    pub fn number(&self, sequence: u32) -> Option<u64> {
        let number = self.next as i64 + i64::from(sequence.wrapping_sub(self.next as u32).cast_signed());
        u64::try_from(number).ok()
    }

    /// Takes note of a packet: its whole number, and what it is. A late one may have none.
    #[inline]
    pub fn arrive(&mut self, sequence: u32) -> (Option<u64>, Arrival) {
        let begin = match self.begin {
            Some(begin) => begin,
            None => {
                let first = u64::from(sequence);
                (self.begin, self.next, self.base) = (Some(first), first, first / WORD * WORD);
                first
            }
        };
        let Some(number) = self.number(sequence) else { return (None, Arrival::Late) };
        if number < self.base.max(begin) {
            return (Some(number), Arrival::Late);
        }
        (Some(number), if number >= self.next { self.advance(number) } else { self.fill(number) })
    }

    /// A number higher than all before.
    #[inline]
    fn advance(&mut self, number: u64) -> Arrival {
        self.slide(number);
        if number > self.next {
            if self.gaps.len() == GAPS {
                self.gaps.pop_front();
            }
            self.gaps.push_back(Gap { first: self.next, arrival: self.unique });
        }
        self.set(number);
        self.next = number + 1;
        self.unique += 1;
        Arrival::InOrder
    }

    /// A number from inside the window.
    fn fill(&mut self, number: u64) -> Arrival {
        let (word, bit) = self.place(number);
        if self.arrived[word] & bit != 0 {
            return Arrival::Duplicate;
        }
        self.set(number);
        let after = self.gaps.partition_point(|gap| gap.first <= number);
        let extent = after.checked_sub(1).map(|gap| self.unique - self.gaps[gap].arrival);
        self.unique += 1;
        Arrival::Reordered { extent }
    }

    /// Moves the window so that `number` is in it. What falls out without having come is lost.
    fn slide(&mut self, number: u64) {
        let window = self.arrived.len() as u64 * WORD;
        if number < self.base + window {
            return;
        }
        let base = (number + 1 - window).next_multiple_of(WORD);
        for start in (self.base..base).step_by(WORD as usize).take(self.arrived.len()) {
            let (word, _) = self.place(start);
            let missing = !std::mem::take(&mut self.arrived[word]);
            self.lose_of_word(start, missing);
        }
        self.lose(self.base + window..base);
        self.base = base;
        while self.gaps.get(1).is_some_and(|gap| gap.first <= base) {
            self.gaps.pop_front();
        }
    }

    fn lose_of_word(&mut self, start: u64, mut missing: u64) {
        let mut at = 0;
        while missing != 0 {
            let skip = missing.trailing_zeros();
            let run = (missing >> skip).trailing_ones();
            at += u64::from(skip);
            self.lose(start + at..start + at + u64::from(run));
            at += u64::from(run);
            missing = missing.checked_shr(skip + run).unwrap_or(0);
        }
    }

    fn lose(&mut self, numbers: Range<u64>) {
        let begin = self.begin.unwrap_or(0);
        let numbers = numbers.start.max(begin)..numbers.end;
        if numbers.is_empty() {
            return;
        }
        if let Some(last) = self.lost.back_mut()
            && last.end == numbers.start
        {
            last.end = numbers.end;
        } else if self.lost.len() < LOST_RANGES {
            self.lost.push_back(numbers);
        } else {
            self.untold += numbers.end - numbers.start;
        }
    }

    /// Takes up to `most` numbers that were lost for good, the oldest first.
    pub fn take_lost(&mut self, most: u64) -> Option<Range<u64>> {
        let range = self.lost.front_mut()?;
        let taken = range.start..range.end.min(range.start.saturating_add(most));
        range.start = taken.end;
        if range.is_empty() {
            self.lost.pop_front();
        }
        Some(taken)
    }

    /// Nothing more comes: what has not come of the first `sent` numbers (if that is known) is lost.
    pub fn finish(&mut self, sent: Option<u64>) {
        let end = self.next.max(sent.unwrap_or(0));
        let window = self.base..self.next.min(self.base + self.arrived.len() as u64 * WORD);
        for start in window.clone().step_by(WORD as usize) {
            let (word, _) = self.place(start);
            let inside = (window.end - start).min(WORD) as u32;
            let mask = u64::MAX >> (u64::BITS - inside);
            self.lose_of_word(start, !self.arrived[word] & mask);
        }
        if self.begin.is_some() {
            self.lose(self.next..end);
        }
        self.next = end;
        self.base = end;
    }

    fn place(&self, number: u64) -> (usize, u64) {
        ((number / WORD) as usize % self.arrived.len(), 1 << (number % WORD))
    }

    fn set(&mut self, number: u64) {
        let (word, bit) = self.place(number);
        self.arrived[word] |= bit;
    }

    /// How many of the numbers up to the highest (after [`finish`](Self::finish): up to the last that was sent) have not
    /// come.
    pub fn lost(&self) -> u64 {
        self.next - self.begin.unwrap_or(0) - self.unique
    }

    /// Packets that came, duplicates and late ones left out.
    pub fn unique(&self) -> u64 {
        self.unique
    }

    /// Lost numbers that [`take_lost`](Self::take_lost) never tells, for want of room.
    pub fn untold(&self) -> u64 {
        self.untold
    }
}

#[cfg(test)]
mod tests;
