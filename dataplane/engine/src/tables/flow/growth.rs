//! The writer's side of the bucket arrays: finding a key's slot, making room for one more, growing.

use std::cell::Cell;
use std::sync::Arc;

use sys::pages::Pages;

use super::bucket::{BYTES, Bucket, Buckets, Entry, Overflow, SLOTS};
use super::hash::{Hash, Secret};
use super::key::FlowKey;
use super::layout::{Layout, Place, Rows};
use super::record::Slab;
use super::sync::{MODELLED, Published};

/// Buckets that are migrated at each write while the table grows.
///
/// An array is five eighths full when growth begins. At this pace it takes one write for 16 buckets to end it, so that
/// one slot in a hundred is filled meanwhile.
pub(super) const STEP: usize = if MODELLED { 1 } else { 16 };

/// How far ahead of migration the records are fetched, buckets.
const AHEAD: usize = 4;

/// Entries that may be moved one after the other to make room for one.
const DEPTH: u32 = 2;

/// Where an entry is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'a> {
    pub(super) bucket: Bucket<'a>,
    pub(super) slot: usize,
    pub(super) entry: Entry,
    /// The first bucket, if the entry is in the second.
    pub(super) overflowed_from: Option<Bucket<'a>>,
}

/// A slot for a new entry. The first bucket's overflow is counted already.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room<'a> {
    pub(super) bucket: Bucket<'a>,
    pub(super) slot: usize,
}

/// Bucket arrays, as their writer sees them.
#[derive(Debug)]
pub(super) struct Index {
    layout: Arc<Layout>,
    /// Layouts that readers may still have. Held until they have not, so that it is never a reader that unmaps an
    /// array: that takes milliseconds.
    past: Vec<Arc<Layout>>,
    max_buckets: usize,
    growths: u64,
    displaced: Cell<u64>,
    overflowed: Cell<usize>,
}

impl Index {
    pub(super) fn new(layout: Arc<Layout>, max_buckets: usize) -> Self {
        Self {
            layout,
            past: Vec::new(),
            max_buckets,
            growths: 0,
            displaced: Cell::new(0),
            overflowed: Cell::new(0),
        }
    }

    pub(super) fn rows(&self) -> Rows<'_> {
        self.layout.rows()
    }

    fn locate(&self, choice: u32) -> Place<'_> {
        self.rows().locate(choice, self.rows().migrated())
    }

    /// Asks for the cache line of the key's first bucket.
    pub(super) fn prefetch(&self, hash: Hash) {
        self.locate(hash.first()).prefetch();
    }

    /// The record that is likely the key's.
    pub(super) fn candidate(&self, hash: Hash) -> u32 {
        self.locate(hash.first()).bucket().first_match(hash.signature()).record()
    }

    /// The slot of a key.
    pub(super) fn find(&self, key: FlowKey, hash: Hash, slab: Slab<'_>) -> Option<Found<'_>> {
        let in_bucket = |bucket: Bucket<'_>| {
            bucket.matches(hash.signature()).find(|(_, entry)| slab.key(entry.record()) == key)
        };
        let first = self.locate(hash.first()).bucket();
        if let Some((slot, entry)) = in_bucket(first) {
            return Some(Found { bucket: first, slot, entry, overflowed_from: None });
        }
        if !first.may_overflow(hash.signature()) {
            return None;
        }
        let second = self.locate(hash.second()).bucket();
        let (slot, entry) = in_bucket(second)?;
        Some(Found { bucket: second, slot, entry, overflowed_from: Some(first) })
    }

    /// A slot for a key that has none, without growth: in its first bucket, its second, or where an entry of either can
    /// be moved away.
    pub(super) fn room(&self, hash: Hash, secret: &Secret, slab: Slab<'_>) -> Option<Room<'_>> {
        let first = self.locate(hash.first());
        let second = self.locate(hash.second());
        let moving = Moving { index: self, secret, slab };
        let empty = |place: Place<'_>| place.bucket().empty_slot();
        let (place, slot) = empty(first)
            .map(|slot| (first, slot))
            .or_else(|| empty(second).map(|slot| (second, slot)))
            .or_else(|| moving.empty(first, DEPTH).map(|slot| (first, slot)))
            .or_else(|| moving.empty(second, DEPTH).map(|slot| (second, slot)))?;
        if place != first {
            self.count_overflow(first.bucket(), hash);
        }
        Some(Room { bucket: place.bucket(), slot })
    }

    /// Takes an entry out.
    pub(super) fn clear(&self, found: Found<'_>, hash: Hash) {
        found.bucket.set(found.slot, Entry::EMPTY);
        if let Some(first) = found.overflowed_from {
            first.set_overflow(first.overflow().minus(hash.signature()));
            self.overflowed.update(|count| count - 1);
        }
    }

    /// Counts one more key that has this as its first bucket and will live in its second.
    fn count_overflow(&self, first: Bucket<'_>, hash: Hash) {
        first.set_overflow(first.overflow().plus(hash.signature()));
        self.overflowed.update(|count| count + 1);
    }

    /// Whether so many entries should make the table grow. The fuller, the more of them live in their second buckets:
    /// at five eighths one in twenty, at three quarters one in eight.
    pub(super) fn is_crowded(&self, entries: usize) -> bool {
        entries > self.slots() * 5 / 8
    }

    pub(super) fn slots(&self) -> usize {
        self.buckets() * SLOTS
    }

    pub(super) fn buckets(&self) -> usize {
        self.rows().new.len()
    }

    /// Memory of all arrays, bytes.
    pub(super) fn bytes(&self) -> usize {
        let oldest = self.past.first().unwrap_or(&self.layout).smallest();
        // Each array is twice the one before.
        (2 * self.buckets() - oldest) * BYTES
    }

    /// Times the table began to grow.
    pub(super) fn growths(&self) -> u64 {
        self.growths
    }

    /// Entries moved to make room, so far.
    pub(super) fn displaced(&self) -> u64 {
        self.displaced.get()
    }

    /// Entries in their second bucket.
    pub(super) fn overflowed(&self) -> usize {
        self.overflowed.get()
    }

    pub(super) fn pages(&self) -> Pages {
        self.layout.newest().pages()
    }

    pub(super) fn is_growing(&self) -> bool {
        self.rows().old.is_some()
    }

    /// Begins to grow, if it has not and there may be more buckets; whether it grows.
    pub(super) fn grow(&mut self, published: &Published<Layout>) -> bool {
        if self.is_growing() {
            return true;
        }
        let size = self.buckets() * 2;
        if size > self.max_buckets {
            return false;
        }
        let Ok(larger) = Buckets::new(size) else { return false };
        self.growths += 1;
        let layout = self.layout.growing(Arc::new(larger));
        self.replace(layout, published);
        true
    }

    /// Migrates up to so many buckets.
    pub(super) fn migrate(
        &mut self,
        buckets: usize,
        secret: &Secret,
        slab: Slab<'_>,
        to: &Published<Layout>,
    ) {
        let rows = self.layout.rows();
        let Some(old) = rows.old else { return };
        let from = rows.migrated();
        let until = from.saturating_add(buckets).min(old.len());
        for index in from..until {
            if index + AHEAD < old.len() {
                let ahead = old.bucket(index + AHEAD);
                ahead.entries().for_each(|(_, entry)| slab.prefetch(entry.record()));
            }
            split(rows, index, secret, slab);
        }
        rows.set_migrated(until);
        if until == old.len() {
            let layout = self.layout.grown();
            self.replace(layout, to);
        }
    }

    /// Lets go of arrays that no reader has any longer.
    pub(super) fn release_past(&mut self) {
        self.past.retain(|layout| Arc::strong_count(layout) > 1);
    }

    /// Whether readers still have arrays that were outgrown.
    pub(super) fn has_past(&self) -> bool {
        !self.past.is_empty()
    }

    fn replace(&mut self, layout: Layout, published: &Published<Layout>) {
        let layout = Arc::new(layout);
        published.publish(Arc::clone(&layout));
        self.past.push(std::mem::replace(&mut self.layout, layout));
        self.release_past();
    }
}

/// Copies an old bucket's entries to the two new buckets that its index becomes. Each new bucket gets entries of this
/// one only, in the same role, so that there is room.
fn split(rows: Rows<'_>, index: usize, secret: &Secret, slab: Slab<'_>) {
    let Some(old) = rows.old else { return };
    let bucket = old.bucket(index);
    let mut filled = [0; 2];
    for (_, entry) in bucket.entries() {
        let hash = secret.hash(slab.key(entry.record()));
        let choice = if old.index(hash.first()) == index { hash.first() } else { hash.second() };
        let target = rows.new.index(choice);
        let upper = usize::from(target != index);
        rows.new.bucket(target).set(filled[upper], entry);
        filled[upper] += 1;
    }
    // Which of the two the overflowed keys belong to is not known here: it is a bound, so both take all.
    let overflow = bucket.overflow();
    if overflow != Overflow::NONE {
        rows.new.bucket(index).set_overflow(overflow);
        rows.new.bucket(index + old.len()).set_overflow(overflow);
    }
}

/// Moving entries from their first buckets to their second.
#[derive(Clone, Copy)]
struct Moving<'a> {
    index: &'a Index,
    secret: &'a Secret,
    slab: Slab<'a>,
}

impl Moving<'_> {
    /// Empties a slot of a full bucket, moving up to `depth` entries in a chain.
    fn empty(self, place: Place<'_>, depth: u32) -> Option<usize> {
        let bucket = place.bucket();
        for (slot, entry) in bucket.entries() {
            let hash = self.secret.hash(self.slab.key(entry.record()));
            if self.index.locate(hash.first()) != place {
                continue;
            }
            let second = self.index.locate(hash.second());
            // Between arrays nothing moves but by migration: see the proof.
            if second == place || !second.same_array(place) {
                continue;
            }
            let room = second
                .bucket()
                .empty_slot()
                .or_else(|| if depth > 1 { self.empty(second, depth - 1) } else { None });
            let Some(room) = room else { continue };
            self.index.count_overflow(bucket, hash);
            second.bucket().set(room, entry);
            bucket.set(slot, Entry::EMPTY);
            self.index.displaced.update(|count| count + 1);
            return Some(slot);
        }
        None
    }
}
