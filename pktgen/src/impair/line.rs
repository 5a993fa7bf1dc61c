//! Packets on their way: each is due at its time, in order; one may be held back until others have overtaken it.

use std::collections::VecDeque;

use super::WAITING;

#[derive(Debug)]
pub(super) struct Line<T> {
    /// When each is due.
    waiting: VecDeque<(u64, T)>,
    /// One at most, so that how many overtake it is exactly what was asked for.
    held: Option<Held<T>>,
    reordered: u64,
    overtakers: u64,
}

#[derive(Debug)]
struct Held<T> {
    frame: T,
    due: u64,
    stream: u16,
    /// How many of the stream have overtaken it.
    overtaken: u64,
    /// How many there shall be.
    until: u64,
}

impl<T> Line<T> {
    pub(super) fn new() -> Self {
        Self { waiting: VecDeque::with_capacity(WAITING), held: None, reordered: 0, overtakers: 0 }
    }

    /// One place is kept for the frame that is held.
    pub(super) fn has_room_for(&self, frames: usize) -> bool {
        self.waiting.len() + frames < WAITING
    }

    /// Gives the frame back if there is no room.
    pub(super) fn put(&mut self, frame: T, due: u64) -> Option<T> {
        if !self.has_room_for(1) {
            return Some(frame);
        }
        self.waiting.push_back((due, frame));
        None
    }

    /// Whether a packet may be held back now.
    pub(super) fn may_hold(&self) -> bool {
        self.held.is_none()
    }

    /// Holds a packet back until so many of its stream have overtaken it.
    pub(super) fn hold(&mut self, frame: T, due: u64, stream: u16, until: u32) {
        self.held = Some(Held { frame, due, stream, overtaken: 0, until: u64::from(until.max(1)) });
    }

    /// A packet of a stream was sent unharmed.
    pub(super) fn passed(&mut self, stream: u16) {
        let Some(held) = &mut self.held else { return };
        if held.stream == stream {
            held.overtaken += 1;
            if held.overtaken == held.until {
                self.flush();
            }
        }
    }

    /// Lets go what is held.
    pub(super) fn flush(&mut self) {
        let Some(held) = self.held.take() else { return };
        self.reordered += u64::from(held.overtaken > 0);
        self.overtakers += held.overtaken;
        // Not before those that overtook it.
        let due = self.waiting.back().map_or(held.due, |(last, _)| held.due.max(*last));
        self.waiting.push_back((due, held.frame));
    }

    pub(super) fn next(&mut self, now: u64) -> Option<T> {
        self.waiting.pop_front_if(|(due, _)| *due <= now).map(|(_, frame)| frame)
    }

    /// How many are on their way, those not held back.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn reordered(&self) -> u64 {
        self.reordered
    }

    pub(super) fn overtakers(&self) -> u64 {
        self.overtakers
    }
}
