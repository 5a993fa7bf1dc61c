//! Stations' bindings (IP address → MAC address), as gateways tell each other.
//!
//! The receiver begins: its first [`Applied`] gives credit, as soon as it knows the stations that bindings are of. The sender
//! then tells all that it has learned, and after that what changes. It keeps no queue: what is next to be told it reads from
//! where it has learned it, when there is credit. So a slow receiver costs nothing, and hears of the latest state.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Most bindings of a batch: each takes 33 bytes at most. They are entered as one, and a takeover may have to wait for that.
pub const MAX_BATCH: usize = 256;

/// Bindings that may be under way to a gateway.
pub const WINDOW: u32 = 4 * MAX_BATCH as u32;

/// One binding.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Binding {
    /// The overlay.
    pub vni: u32,
    /// The station's address.
    pub ip: IpAddr,
    /// Its MAC address.
    pub mac: [u8; 6],
    /// Since when it has been known to be so, in milliseconds before it was sent.
    pub age: u32,
}

/// Bindings that follow those of the batch before.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Batch {
    /// The number of the first; each binding of a session has the next one, from 0.
    pub first: u64,
    /// At most [`MAX_BATCH`].
    pub bindings: Vec<Binding>,
    /// With these the receiver has all that the sender had when the session began. It is said once.
    pub complete: bool,
}

impl Batch {
    pub(crate) fn is_bounded(&self) -> bool {
        self.bindings.len() <= MAX_BATCH
    }
}

/// How far bindings have been applied, and how many more may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Applied {
    /// The number of the first that is not applied.
    pub next: u64,
    /// How many may be under way from there on.
    pub credit: u32,
}

/// What the other end said does not follow from what was said before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum OutOfStep {
    /// Bindings that are not the next.
    #[error("bindings from number {0}, and {1} is the next")]
    Number(u64, u64),
    /// Bindings beyond what may be sent.
    #[error("bindings up to number {0}, beyond the credit up to {1}")]
    Credit(u64, u64),
    /// A batch that says nothing, or again that all is told.
    #[error("bindings that say nothing new")]
    Nothing,
    /// Bindings have been applied that were not sent, or fewer than before.
    #[error("{0} bindings applied, of {1} to {2}")]
    Applied(u64, u64, u64),
}

/// The end of a session that tells. One a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sender {
    /// The number of the next binding.
    next: u64,
    applied: u64,
    /// The number of the first that may not be sent yet.
    limit: u64,
    /// The receiver has given credit: only then is there somebody who listens.
    begun: bool,
    complete: bool,
}

impl Sender {
    /// How many bindings the next batch may have; none, and `None` of them as well: there may be no batch yet.
    pub fn room(&self) -> Option<usize> {
        let left = self.limit.saturating_sub(self.next).min(MAX_BATCH as u64) as usize;
        (self.begun && left > 0).then_some(left)
    }

    /// The next batch, of at most as many bindings as there is [room](Self::room) for; `is_all`: there are no others for now.
    /// `None`: there is nothing to say.
    pub fn batch(&mut self, bindings: Vec<Binding>, is_all: bool) -> Option<Batch> {
        let complete = is_all && !self.complete;
        if bindings.is_empty() && !complete {
            return None;
        }
        let first = self.next;
        self.next += bindings.len() as u64;
        self.complete |= complete;
        Some(Batch { first, bindings, complete })
    }

    /// The receiver has come so far.
    ///
    /// # Errors
    /// If it cannot have: the session is to end.
    pub fn applied(&mut self, Applied { next, credit }: Applied) -> Result<(), OutOfStep> {
        if !(self.applied..=self.next).contains(&next) {
            return Err(OutOfStep::Applied(next, self.applied, self.next));
        }
        self.begun = true;
        self.applied = next;
        // What was allowed once stays so: it may be under way.
        self.limit = self.limit.max(next.saturating_add(credit.into()));
        Ok(())
    }
}

/// The end of a session that is told. One a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receiver {
    next: u64,
    limit: u64,
    complete: bool,
}

impl Receiver {
    /// All that came has been applied, and more may come: what to say. To be said first when stations are known, and then
    /// after each batch.
    pub fn applied(&mut self) -> Applied {
        self.limit = self.next + u64::from(WINDOW);
        Applied { next: self.next, credit: WINDOW }
    }

    /// A batch has come. Whether all is there now that the sender had when the session began.
    ///
    /// # Errors
    /// If it is not the next, or too much: the session is to end.
    pub fn batch(&mut self, batch: &Batch) -> Result<bool, OutOfStep> {
        let end = batch.first.saturating_add(batch.bindings.len() as u64);
        if batch.first != self.next {
            return Err(OutOfStep::Number(batch.first, self.next));
        }
        if end > self.limit || self.limit == 0 {
            return Err(OutOfStep::Credit(end, self.limit));
        }
        if batch.complete && self.complete || batch.bindings.is_empty() && !batch.complete {
            return Err(OutOfStep::Nothing);
        }
        self.next = end;
        self.complete |= batch.complete;
        Ok(batch.complete)
    }
}
