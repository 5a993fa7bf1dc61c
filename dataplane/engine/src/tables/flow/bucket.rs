//! Buckets: a cache line of seven slots, and how many keys overflowed from it.

use std::io;

use sys::words::Pages;

use super::sync::{AtomicU64, Ordering, Words, prefetch_at};

/// Slots of a bucket. Few under loom, where each costs a multiple of the interleavings.
pub(super) const SLOTS: usize = if cfg!(loom) { 2 } else { 7 };

/// Words of a bucket: the slots, and the overflow.
const WORDS: usize = SLOTS + 1;

/// Bytes of a bucket: those of a cache line.
pub(super) const BYTES: usize = WORDS * size_of::<u64>();

/// A slot's word.
///
/// ```text
///  63            32 31             0
/// ┌────────────────┬────────────────┐
/// │ record         │ signature      │   all 0: empty
/// └────────────────┴────────────────┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry(u64);

impl Entry {
    pub(super) const EMPTY: Self = Self(0);

    pub(super) fn new(record: u32, signature: u32) -> Self {
        Self(u64::from(record) << 32 | u64::from(signature))
    }

    #[inline]
    pub(super) fn record(self) -> u32 {
        (self.0 >> 32) as u32
    }

    #[inline]
    fn signature(self) -> u32 {
        self.0 as u32
    }

    #[inline]
    pub(super) fn is_empty(self) -> bool {
        self == Self::EMPTY
    }
}

/// One bucket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket<'a>(&'a [AtomicU64; WORDS]);

impl<'a> Bucket<'a> {
    /// The first entry of that signature, or an empty one. All slots are read and none is branched on, since which
    /// one matches cannot be predicted.
    #[inline]
    pub(super) fn first_match(self, signature: u32) -> Entry {
        let mut found = Entry::EMPTY;
        for slot in (0..SLOTS).rev() {
            let entry = self.entry(slot);
            if entry.signature() == signature {
                found = entry;
            }
        }
        found
    }

    /// The slots whose entries have that signature.
    #[inline]
    pub(super) fn matches(self, signature: u32) -> impl Iterator<Item = (usize, Entry)> + 'a {
        self.entries().filter(move |(_, entry)| entry.signature() == signature)
    }

    /// All entries, with their slots.
    #[inline]
    pub(super) fn entries(self) -> impl Iterator<Item = (usize, Entry)> + 'a {
        (0..SLOTS).map(move |slot| (slot, self.entry(slot))).filter(|(_, entry)| !entry.is_empty())
    }

    /// What is published before an entry is seen by whoever reads the entry.
    #[inline]
    fn entry(self, slot: usize) -> Entry {
        Entry(self.0[slot].load(Ordering::Acquire))
    }

    /// How many keys at most have this as their first bucket and live in their second. To be read after the entries:
    /// see the proof in the [module's documentation](super).
    #[inline]
    pub(super) fn overflow(self) -> u64 {
        self.0[SLOTS].load(Ordering::Acquire)
    }

    pub(super) fn empty_slot(self) -> Option<usize> {
        (0..SLOTS).find(|slot| self.0[*slot].load(Ordering::Relaxed) == 0)
    }

    /// Publishes an entry (or its end) and all that was written before.
    pub(super) fn set(self, slot: usize, entry: Entry) {
        self.0[slot].store(entry.0, Ordering::Release);
    }

    pub(super) fn set_overflow(self, overflow: u64) {
        self.0[SLOTS].store(overflow, Ordering::Release);
    }
}

/// An array of buckets, a power of two of them.
#[derive(Debug)]
pub(super) struct Buckets(Words);

impl Buckets {
    /// # Errors
    /// No memory.
    pub(super) fn new(count: usize) -> io::Result<Self> {
        debug_assert!(count.is_power_of_two());
        Words::zeroed(count * WORDS).map(Self)
    }

    pub(super) fn pages(&self) -> Pages {
        self.0.pages()
    }

    #[inline]
    pub(super) fn row(&self) -> Row<'_> {
        Row(self.0.as_chunks().0)
    }
}

/// A reference to an array of buckets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'a>(&'a [[AtomicU64; WORDS]]);

impl<'a> Row<'a> {
    #[inline]
    pub(super) fn len(self) -> usize {
        self.0.len()
    }

    /// The index of a choice: its low bits.
    #[inline]
    pub(super) fn index(self, choice: u32) -> usize {
        choice as usize & (self.0.len() - 1)
    }

    #[inline]
    pub(super) fn bucket(self, index: usize) -> Bucket<'a> {
        Bucket(&self.0[index])
    }

    /// Whether both refer to the same array.
    pub(super) fn is(self, other: Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }

    /// Asks for the bucket's cache line.
    #[inline]
    pub(super) fn prefetch(self, index: usize) {
        prefetch_at(self.0, index);
    }
}
