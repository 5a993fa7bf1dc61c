//! The slow path's side of a worker: what it hands over, and what it is given to send.

use std::collections::VecDeque;

use rtrb::PushError;

use super::{Answer, Punted};

/// Entries of the rings between a worker and the slow path.
pub(crate) const RING: usize = 256;
/// Frames that wait for room in the ring to a worker: so much that a question reaches all endpoints of a large overlay,
/// and 32 MB at most.
pub(super) const BACKLOG: usize = 8192;

/// The slow path's ends of the rings to a worker.
pub(crate) struct WorkerLink {
    pub(super) punts: rtrb::Consumer<Punted>,
    answers: rtrb::Producer<Answer>,
    /// What the ring had no room for, the oldest first.
    backlog: VecDeque<Box<Answer>>,
    waker: port::Waker,
    /// Whether it must be woken for answers.
    answered: bool,
}

impl WorkerLink {
    /// To the worker that `waker` wakes; and the worker's ends.
    pub(crate) fn new(waker: port::Waker) -> (Self, rtrb::Producer<Punted>, rtrb::Consumer<Answer>) {
        let (punts_in, punts) = rtrb::RingBuffer::new(RING);
        let (answers, answers_out) = rtrb::RingBuffer::new(RING);
        (Self { punts, answers, backlog: VecDeque::new(), waker, answered: false }, punts_in, answers_out)
    }

    /// Hands an answer over. What there is no room for waits; whether there was room for that at least.
    pub(super) fn hand(&mut self, answer: Answer) -> bool {
        self.answered = true;
        let refused = match self.backlog.is_empty() {
            true => self.answers.push(answer).err().map(|PushError::Full(answer)| answer),
            false => Some(answer),
        };
        let Some(answer) = refused else { return true };
        let has_room = self.backlog.len() < BACKLOG;
        if has_room {
            self.backlog.push_back(Box::new(answer));
        }
        has_room
    }

    /// Drops what came from the worker and what has not been given to it yet: how much.
    pub(super) fn discard(&mut self) -> usize {
        let punts = std::iter::from_fn(|| self.punts.pop().ok()).count();
        let backlog = self.backlog.len();
        self.backlog.clear();
        punts + backlog
    }

    /// Whether something waits for room.
    pub(super) fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Hands over what there was no room for, as far as there is now.
    pub(super) fn make_up(&mut self) {
        while let Some(answer) = self.backlog.pop_front() {
            match self.answers.push(*answer) {
                Ok(()) => self.answered = true,
                Err(PushError::Full(answer)) => return self.backlog.push_front(Box::new(answer)),
            }
        }
    }

    /// Wakes the worker if it was given something.
    pub(super) fn wake(&mut self) {
        if std::mem::take(&mut self.answered) {
            self.waker.wake();
        }
    }
}
