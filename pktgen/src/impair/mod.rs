//! An impairment: a bump in the wire that loses, duplicates, corrupts, reorders and delays test packets by rule, and
//! keeps books of what it did. Receivers are proven with it: their books must agree.
//!
//! It is deterministic: the same packets and the same [`Rules`] end in the same deeds.

mod bump;
mod line;
mod rules;
mod wire;

use port::Frame;
use serde::{Deserialize, Serialize};

use crate::receive::{Check, Found, find};
use crate::stamp;

pub use bump::Bump;
pub use rules::{ParseWhenError, Rules, When};
pub use wire::ImpairedWire;

use line::Line;

/// Packets that may wait on the way; those beyond are lost, and counted as [`Deeds::overflow`].
pub const WAITING: usize = 16_384;

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deeds {
    /// Test packets that came.
    pub seen: u64,
    /// Of those: lost.
    pub lost: u64,
    /// Sent twice.
    pub duplicated: u64,
    /// With a bit flipped.
    pub corrupted: u64,
    /// Overtaken by others of their stream that came after them, which were neither lost nor corrupted.
    pub reordered: u64,
    /// By how many each, all together.
    pub overtakers: u64,
    /// Lost against the rules, because too many were on the way.
    pub overflow: u64,
    /// Frames of any kind that were on their way when the wire was cut: they never came.
    pub cut: u64,
    /// Frames that are no test packets, or whose checksum was wrong before: they pass.
    pub other: u64,
}

/// What happens to a frame: one thing at most, so that it can be told afterwards which. Numbers are those of streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// No test packet, or a broken one.
    Other,
    Pass(u16),
    Lose,
    Duplicate(u16),
    /// The bit is flipped already.
    Corrupt,
    Hold(u16),
}

/// One direction of an impaired wire.
#[derive(Debug)]
struct Impairment {
    rules: Rules,
    random: fastrand::Rng,
    line: Line<Frame>,
    deeds: Deeds,
}

impl Impairment {
    /// With all its memory.
    fn new(rules: Rules) -> Self {
        let random = fastrand::Rng::with_seed(rules.seed);
        Self { rules, random, line: Line::new(), deeds: Deeds::default() }
    }

    /// What was done so far. Packets that are held back count as reordered once they are let go.
    fn deeds(&self) -> Deeds {
        Deeds { reordered: self.line.reordered(), overtakers: self.line.overtakers(), ..self.deeds }
    }

    /// Decides about a frame: the first of the rules that is for it. To be [carried](Self::carry) out.
    fn decide(&mut self, frame: &mut [u8]) -> Fate {
        let (stamp, check) = match find(frame) {
            Found::Test { check: Check::Wrong, .. } | Found::Other(_) => {
                self.deeds.other += 1;
                return Fate::Other;
            }
            Found::Test { stamp, check, .. } => (stamp, check),
        };
        let number = self.deeds.seen;
        self.deeds.seen += 1;
        let Self { rules, random, .. } = self;
        if rules.lose.applies(number, random) {
            Fate::Lose
        } else if rules.duplicate.applies(number, random) {
            Fate::Duplicate(stamp.stream)
        } else if rules.corrupt.applies(number, random) && check == Check::Right {
            // Without a checksum nobody would notice.
            self.flip(frame, &stamp.to_bytes());
            Fate::Corrupt
        } else if rules.hold.applies(number, random) {
            Fate::Hold(stamp.stream)
        } else {
            Fate::Pass(stamp.stream)
        }
    }

    /// Sends a frame on its way at `now` (nanoseconds), or not. `copy` makes another like it, if it can. Gives back what
    /// is lost.
    fn carry(
        &mut self,
        mut frame: Frame,
        fate: Fate,
        now: u64,
        copy: impl FnOnce(&mut Frame) -> Option<Frame>,
    ) -> Option<Frame> {
        let due = now + self.rules.delay.as_nanos() as u64;
        let stream = match fate {
            Fate::Lose => {
                self.deeds.lost += 1;
                return Some(frame);
            }
            Fate::Other => return self.send(frame, due),
            Fate::Corrupt => {
                self.deeds.corrupted += 1;
                return self.send(frame, due);
            }
            Fate::Hold(stream) if self.line.may_hold() => {
                self.line.hold(frame, due, stream, self.rules.hold_for);
                return None;
            }
            Fate::Hold(stream) | Fate::Pass(stream) | Fate::Duplicate(stream) => stream,
        };
        let twice = matches!(fate, Fate::Duplicate(_)) && self.line.has_room_for(2);
        let copy = twice.then(|| copy(&mut frame)).flatten();
        if let Some(lost) = self.send(frame, due) {
            return Some(lost);
        }
        self.line.passed(stream);
        let copy = copy?;
        self.deeds.duplicated += 1;
        self.send(copy, due)
    }

    /// The next frame that is due at `now`.
    fn next(&mut self, now: u64) -> Option<Frame> {
        self.line.next(now)
    }

    /// Flips a bit of the stamp's sequence number or time: of what a checksum covers in any case, and what leaves the
    /// stamp one of the same stream.
    fn flip(&mut self, frame: &mut [u8], stamp: &[u8; stamp::LEN]) {
        let Some(at) = frame.windows(stamp::LEN).rposition(|window| window == stamp) else { return };
        let byte = at + self.random.usize(4..stamp::LEN);
        frame[byte] ^= 1 << self.random.u32(0..u8::BITS);
    }

    fn send(&mut self, frame: Frame, due: u64) -> Option<Frame> {
        let refused = self.line.put(frame, due);
        self.deeds.overflow += u64::from(refused.is_some());
        refused
    }
}

#[cfg(test)]
mod tests;
