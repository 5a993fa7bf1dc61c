//! When a record that was unlinked can be used again: after every reader has said once that it holds none.
//!
//! Quiescent-state-based reclamation. The writer counts epochs. A reader, between two batches, writes the epoch that it
//! sees into a slot of its own; one that will not read for a while writes 0 and is not waited for.
//!
//! ```text
//! writer   unlink r · epoch 5 → 6 ······················ all slots ≥ 6 or 0: r is free
//! reader   ── batch (may hold r) ──┤ sees 6, writes 6 ├── batch (cannot find r) ──
//! ```
//!
//! *What a reader does before it writes its slot happens before the reuse*: the slot is written with release and read
//! by the writer with acquire. *What it does after cannot find the record*: the epoch was raised with release after the
//! record was unlinked, and read with acquire. Only a reader that comes online has no earlier value in its slot to
//! protect it until the new one is seen: a fence on both sides makes sure that either the writer sees the slot, or the
//! reader sees all that the writer unlinked.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use super::sync::{AtomicU64, MODELLED, Ordering, fence};

/// A slot's value while its reader reads nothing.
const OFFLINE: u64 = 0;

/// How many records are retired under one epoch at most, unless the writer has nothing else to do: so rarely is the
/// line written that all readers read, and are theirs read by the writer.
const GROUP: usize = if MODELLED { 1 } else { 64 };

/// Two cache lines: the hardware fetches them in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Padded(AtomicU64);

/// What writer and readers share.
#[derive(Debug)]
pub(super) struct Quiescence {
    epoch: Padded,
    slots: Box<[Padded]>,
    vacant: Mutex<Vec<usize>>,
}

impl Quiescence {
    pub(super) fn new(max_readers: usize) -> Self {
        Self {
            epoch: Padded(AtomicU64::new(1)),
            slots: (0..max_readers).map(|_| Padded(AtomicU64::new(OFFLINE))).collect(),
            vacant: Mutex::new((0..max_readers).rev().collect()),
        }
    }

    /// A slot for one more reader, offline; `None` if there are as many as there may be.
    pub(super) fn enter(&self) -> Option<usize> {
        self.vacant.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Gives a slot back.
    pub(super) fn leave(&self, slot: usize) {
        self.offline(slot);
        self.vacant.lock().unwrap_or_else(PoisonError::into_inner).push(slot);
    }

    /// The reader holds nothing, and will read.
    pub(super) fn online(&self, slot: usize) {
        self.quiesce(slot);
        fence(Ordering::SeqCst);
    }

    /// The reader, which is online, holds nothing at this moment.
    #[inline]
    pub(super) fn quiesce(&self, slot: usize) {
        self.slots[slot].0.store(self.epoch.0.load(Ordering::Acquire), Ordering::Release);
    }

    /// The reader holds nothing, and will not read before it is [`online`](Self::online).
    pub(super) fn offline(&self, slot: usize) {
        self.slots[slot].0.store(OFFLINE, Ordering::Release);
    }

    /// Ends the writer's epoch, and says which it was.
    fn advance(&self) -> u64 {
        let epoch = self.epoch.0.load(Ordering::Relaxed);
        self.epoch.0.store(epoch + 1, Ordering::Release);
        epoch
    }

    /// The epoch that all readers have reached.
    fn reached(&self) -> u64 {
        fence(Ordering::SeqCst);
        let slots = self.slots.iter().map(|slot| slot.0.load(Ordering::Acquire));
        slots.filter(|epoch| *epoch != OFFLINE).min().unwrap_or(u64::MAX)
    }
}

/// Records that were unlinked, in the order in which they were.
#[derive(Debug, Default)]
pub(super) struct Retired {
    records: VecDeque<u32>,
    /// Epochs that have ended, and how many of the records each has.
    groups: VecDeque<(u64, usize)>,
    /// How many of the records belong to the epoch that has not ended.
    open: usize,
}

impl Retired {
    /// Adds a record that was just unlinked; whether it is time to look which ones are free.
    pub(super) fn push(&mut self, record: u32, quiescence: &Quiescence) -> bool {
        self.records.push_back(record);
        self.open += 1;
        let full = self.open >= GROUP;
        if full {
            self.close(quiescence);
        }
        full
    }

    /// Ends the epoch, if it has any records.
    pub(super) fn close(&mut self, quiescence: &Quiescence) {
        if self.open > 0 {
            self.groups.push_back((quiescence.advance(), self.open));
            self.open = 0;
        }
    }

    /// Takes out the records that no reader can hold any longer.
    pub(super) fn take_free(&mut self, quiescence: &Quiescence) -> impl Iterator<Item = u32> {
        let mut count = 0;
        if !self.groups.is_empty() {
            let reached = quiescence.reached();
            while let Some((_, records)) = self.groups.pop_front_if(|(epoch, _)| *epoch < reached) {
                count += records;
            }
        }
        self.records.drain(..count)
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.records.capacity() * size_of::<u32>() + self.groups.capacity() * size_of::<(u64, usize)>()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn free(retired: &mut Retired, quiescence: &Quiescence) -> Vec<u32> {
        retired.close(quiescence);
        retired.take_free(quiescence).collect()
    }

    #[test]
    fn a_record_is_free_when_every_online_reader_has_passed() {
        let quiescence = Quiescence::new(3);
        let [a, b, _asleep] = [(); 3].map(|()| quiescence.enter().unwrap());
        quiescence.online(a);
        quiescence.online(b);
        let mut retired = Retired::default();
        retired.push(7, &quiescence);
        assert_eq!(free(&mut retired, &quiescence), []);
        quiescence.quiesce(a);
        assert_eq!(free(&mut retired, &quiescence), []);
        retired.push(8, &quiescence);
        quiescence.quiesce(b);
        assert_eq!(free(&mut retired, &quiescence), [7], "8 was retired after a's last quiescence");
        quiescence.offline(a);
        assert_eq!(free(&mut retired, &quiescence), []);
        quiescence.offline(b);
        assert_eq!(free(&mut retired, &quiescence), [8]);
        assert_eq!(retired.len(), 0);
    }

    #[test]
    fn a_reader_that_comes_online_later_is_not_waited_for() {
        let quiescence = Quiescence::new(1);
        let reader = quiescence.enter().unwrap();
        let mut retired = Retired::default();
        retired.push(7, &quiescence);
        retired.close(&quiescence);
        quiescence.online(reader);
        assert_eq!(free(&mut retired, &quiescence), [7]);
        retired.push(8, &quiescence);
        assert_eq!(free(&mut retired, &quiescence), []);
    }

    #[test]
    fn epochs_end_by_themselves_when_much_is_retired() {
        let quiescence = Quiescence::new(0);
        let mut retired = Retired::default();
        let closed = (1..=GROUP as u32).map(|record| retired.push(record, &quiescence)).collect::<Vec<_>>();
        assert_eq!(closed.iter().filter(|closed| **closed).count(), 1);
        assert_eq!(retired.take_free(&quiescence).count(), GROUP);
    }

    #[test]
    fn slots_are_used_again() {
        let quiescence = Quiescence::new(1);
        let slot = quiescence.enter().unwrap();
        assert_eq!(quiescence.enter(), None);
        quiescence.online(slot);
        quiescence.leave(slot);
        assert_eq!(quiescence.enter(), Some(slot));
        assert_eq!(quiescence.reached(), u64::MAX);
    }
}
