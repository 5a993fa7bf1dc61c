//! Intervals: what is said, what is in force, and the poll sequences between (RFC 5880 §6.5, §6.8.2 to §6.8.4, §6.8.7).

use std::time::Duration;

use crate::config::Timing;

/// A session that is not up sends this often at most (§6.8.3).
const SLOW: u32 = 1_000_000;

/// A poll sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Poll {
    None,
    /// The peer is asked.
    Asking,
    /// The same, and there is more to ask: an answer may be to what was said before.
    AskingMore,
    /// To ask again after a packet that does not, so that answers can be told apart.
    Pause,
}

/// The intervals of one end, in microseconds.
#[derive(Clone, Debug)]
pub(super) struct Intervals {
    configured: Timing,
    is_up: bool,
    /// bfd.DesiredMinTxInterval and bfd.RequiredMinRxInterval, as said.
    pub(super) desired_min_tx: u32,
    pub(super) required_min_rx: u32,
    /// Those in force: a longer one to send, or a shorter one to expect, has to be answered first.
    transmit: u32,
    expect: u32,
    poll: Poll,
}

impl Intervals {
    pub(super) fn new(configured: Timing) -> Self {
        let mut intervals = Self {
            configured,
            is_up: false,
            desired_min_tx: 0,
            required_min_rx: 0,
            transmit: 0,
            expect: 0,
            poll: Poll::None,
        };
        intervals.apply();
        intervals
    }

    /// bfd.DetectMult.
    pub(super) fn detect_multiplier(&self) -> u8 {
        self.configured.detect_multiplier
    }

    /// The session came up, or is no longer.
    pub(super) fn set_up(&mut self, is_up: bool) {
        if self.is_up != is_up {
            self.is_up = is_up;
            self.apply();
        }
    }

    /// Other intervals are wanted.
    pub(super) fn change(&mut self, configured: Timing) {
        self.configured = configured;
        self.apply();
    }

    fn apply(&mut self) {
        let before = (self.desired_min_tx, self.required_min_rx);
        let least = if self.is_up { 0 } else { SLOW };
        self.desired_min_tx = micros(self.configured.desired_min_tx).max(least);
        self.required_min_rx = micros(self.configured.required_min_rx);
        if !self.is_up {
            // Each packet says what holds; nothing is lost if a slow session disagrees for a moment.
            self.poll = Poll::None;
            (self.transmit, self.expect) = (self.desired_min_tx, self.required_min_rx);
            return;
        }
        self.transmit = self.transmit.min(self.desired_min_tx);
        self.expect = self.expect.max(self.required_min_rx);
        if before != (self.desired_min_tx, self.required_min_rx) {
            self.poll = match self.poll {
                Poll::None => Poll::Asking,
                Poll::Asking | Poll::AskingMore => Poll::AskingMore,
                Poll::Pause => Poll::Pause,
            };
        }
    }

    /// Whether packets ask for an answer.
    pub(super) fn is_polling(&self) -> bool {
        matches!(self.poll, Poll::Asking | Poll::AskingMore)
    }

    /// A packet went out.
    pub(super) fn sent(&mut self) {
        if self.poll == Poll::Pause {
            self.poll = Poll::Asking;
        }
    }

    /// The peer answered.
    pub(super) fn answered(&mut self) {
        match self.poll {
            Poll::Asking => {
                self.poll = Poll::None;
                (self.transmit, self.expect) = (self.desired_min_tx, self.required_min_rx);
            }
            Poll::AskingMore => self.poll = Poll::Pause,
            Poll::None | Poll::Pause => {}
        }
    }

    /// Between two periodic packets to a peer that takes them this often; not yet jittered.
    pub(super) fn transmit(&self, remote_min_rx: u32) -> Duration {
        Duration::from_micros(self.transmit.max(remote_min_rx).into())
    }

    /// Between two packets of a peer that would send this often.
    pub(super) fn receive(&self, remote_min_tx: u32) -> Duration {
        Duration::from_micros(self.expect.max(remote_min_tx).into())
    }
}

/// An interval less 0 to 25 %; with a detect multiplier of 1, less 10 to 25 % (§6.8.7).
pub(super) fn jittered(interval: Duration, detect_multiplier: u8, random: &mut fastrand::Rng) -> Duration {
    let most = if detect_multiplier == 1 { 900 } else { 1000 };
    interval * random.u32(750..=most) / 1000
}

/// Of a configured interval, which is a minute at most.
fn micros(interval: Duration) -> u32 {
    u32::try_from(interval.as_micros()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn up() -> Intervals {
        let mut intervals = Intervals::new(Timing::symmetric(10 * MS, 3));
        intervals.set_up(true);
        intervals.answered();
        assert!(!intervals.is_polling());
        intervals
    }

    #[test]
    fn slow_until_up_and_then_at_once() {
        let mut intervals = Intervals::new(Timing::symmetric(10 * MS, 3));
        assert_eq!((intervals.desired_min_tx, intervals.transmit(1)), (1_000_000, 1000 * MS));
        assert_eq!((intervals.required_min_rx, intervals.receive(1_000_000)), (10_000, 1000 * MS));
        intervals.set_up(true);
        // Sending faster needs no answer, but the peer is asked for one.
        assert_eq!((intervals.desired_min_tx, intervals.transmit(1)), (10_000, 10 * MS));
        assert!(intervals.is_polling());
        intervals.set_up(false);
        assert_eq!((intervals.desired_min_tx, intervals.transmit(1)), (1_000_000, 1000 * MS));
        assert!(!intervals.is_polling());
    }

    #[test]
    fn the_slower_end_decides() {
        let intervals = up();
        assert_eq!(intervals.transmit(50_000), 50 * MS);
        assert_eq!(intervals.transmit(5_000), 10 * MS);
        assert_eq!(intervals.receive(50_000), 50 * MS);
        assert_eq!(intervals.receive(5_000), 10 * MS);
    }

    #[test]
    fn less_often_or_expected_sooner_only_when_answered() {
        let mut intervals = up();
        intervals.change(Timing { desired_min_tx: 100 * MS, required_min_rx: 5 * MS, detect_multiplier: 3 });
        assert_eq!((intervals.desired_min_tx, intervals.required_min_rx), (100_000, 5_000));
        assert_eq!((intervals.transmit(1), intervals.receive(1)), (10 * MS, 10 * MS));
        intervals.answered();
        assert_eq!((intervals.transmit(1), intervals.receive(1)), (100 * MS, 5 * MS));
        // The other way: at once.
        intervals.change(Timing::symmetric(20 * MS, 3));
        assert_eq!((intervals.transmit(1), intervals.receive(1)), (20 * MS, 20 * MS));
        assert!(intervals.is_polling());
    }

    #[test]
    fn an_answer_to_older_words_is_not_one_to_newer() {
        let mut intervals = up();
        intervals.change(Timing::symmetric(50 * MS, 3));
        intervals.change(Timing::symmetric(100 * MS, 3));
        intervals.answered();
        assert_eq!((intervals.transmit(1), intervals.is_polling()), (10 * MS, false));
        // Nothing asked: nothing answered.
        intervals.answered();
        assert_eq!(intervals.transmit(1), 10 * MS);
        intervals.sent();
        assert!(intervals.is_polling());
        intervals.answered();
        assert_eq!((intervals.transmit(1), intervals.is_polling()), (100 * MS, false));
    }

    #[test]
    fn jitter_keeps_its_bounds() {
        let mut random = fastrand::Rng::with_seed(1);
        for (multiplier, most) in [(1, 90), (2, 100), (3, 100), (255, 100)] {
            let drawn: Vec<_> = (0..1000).map(|_| jittered(100 * MS, multiplier, &mut random)).collect();
            let (low, high) = (drawn.iter().min().unwrap(), drawn.iter().max().unwrap());
            assert!(*low >= 75 * MS && *high <= most * MS, "{multiplier}: {low:?} to {high:?}");
            assert!(*high - *low > 10 * MS);
        }
    }
}
