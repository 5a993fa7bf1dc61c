//! Which stream's turn it is: by weight, evenly spread.

use super::Stream;
use super::problem::Problem;

/// Most turns until all repeats.
const MAX_TURNS: u64 = 65_536;

/// The streams' turns, again and again.
#[derive(Clone, Debug)]
pub struct Schedule {
    turns: Box<[u16]>,
    next: usize,
}

/// Whether there can be a schedule.
pub(super) fn check(streams: &[Stream]) -> Result<(), Problem> {
    let sum = shares(streams).iter().sum();
    if sum > MAX_TURNS { Err(Problem::Weights { sum, max: MAX_TURNS }) } else { Ok(()) }
}

/// The weights without their common divisor.
fn shares(streams: &[Stream]) -> Vec<u64> {
    let weights = streams.iter().map(|stream| u64::from(stream.weight));
    let divisor = weights.clone().fold(0, gcd).max(1);
    weights.map(|weight| weight / divisor).collect()
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl Schedule {
    /// Of the streams of a profile: indices in `streams`.
    pub fn new(streams: &[Stream]) -> Self {
        let shares = shares(streams);
        let sum: u64 = shares.iter().sum();
        // Each turn goes to the stream that is furthest behind its share: when the k-th of w packets is due first. The
        // number breaks ties.
        let mut due: std::collections::BinaryHeap<_> = shares
            .iter()
            .enumerate()
            .map(|(number, &share)| std::cmp::Reverse((sum * 1024 / (2 * share), number as u16, 0_u64)))
            .collect();
        let turns = (0..sum).filter_map(|_| {
            let std::cmp::Reverse((_, number, sent)) = due.pop()?;
            let share = shares[usize::from(number)];
            due.push(std::cmp::Reverse((sum * 1024 * (2 * sent + 3) / (2 * share), number, sent + 1)));
            Some(number)
        });
        Self { turns: turns.collect(), next: 0 }
    }
}

impl Schedule {
    /// The stream whose turn it is.
    #[inline]
    pub fn turn(&mut self) -> usize {
        let stream = self.turns[self.next];
        self.next += 1;
        if self.next == self.turns.len() {
            self.next = 0;
        }
        stream.into()
    }
}
