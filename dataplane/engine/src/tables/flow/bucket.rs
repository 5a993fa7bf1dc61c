//! Buckets: a cache line of seven slots, and counts of the keys that overflowed from it.

use std::hint::select_unpredictable;
use std::io;

use sys::pages::Pages;

use super::sync::{AtomicU64, MODELLED, Ordering, Words, prefetch};

/// Slots of a bucket. Few under loom, where each costs a multiple of the interleavings.
pub(super) const SLOTS: usize = if MODELLED { 2 } else { 7 };

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

/// How many keys at most have a bucket as their first and live in their second: eight counts of a byte, a key's by the
/// top bits of its signature.
///
/// A bound, not a number, since after growth nobody knows which of two buckets it belongs to, and both have it. With one
/// count, most buckets would soon have some; of eight, few are above zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Overflow(u64);

impl Overflow {
    pub(super) const NONE: Self = Self(0);

    #[inline]
    fn of(self, signature: u32) -> u8 {
        (self.0 >> Self::shift(signature)) as u8
    }

    #[inline]
    fn shift(signature: u32) -> u32 {
        signature >> 29 << 3
    }

    /// With one key more. A full count stays so for good.
    pub(super) fn plus(self, signature: u32) -> Self {
        if self.of(signature) == u8::MAX { self } else { Self(self.0 + (1 << Self::shift(signature))) }
    }

    /// With one key less that was counted.
    pub(super) fn minus(self, signature: u32) -> Self {
        match self.of(signature) {
            0 | u8::MAX => self,
            _ => Self(self.0 - (1 << Self::shift(signature))),
        }
    }
}

/// One bucket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket<'a>(&'a [AtomicU64; WORDS]);

impl<'a> Bucket<'a> {
    /// The first entry of that signature, or an empty one. All slots are read and none is branched on, since
    /// which one matches cannot be predicted.
    #[inline]
    pub(super) fn first_match(self, signature: u32) -> Entry {
        let mut found = Entry::EMPTY;
        for slot in (0..SLOTS).rev() {
            let entry = self.entry(slot);
            found = select_unpredictable(entry.signature() == signature, entry, found);
        }
        found
    }

    /// Asks for the bucket's cache line.
    #[inline(always)]
    pub(super) fn prefetch(self) {
        prefetch(self.0);
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

    /// Whether a key of that signature may have this as its first bucket and live in its second. To be read after the
    /// entries: see the proof in the [module's documentation](super).
    #[inline]
    pub(super) fn may_overflow(self, signature: u32) -> bool {
        self.overflow().of(signature) != 0
    }

    /// What is to be read after the entries.
    #[inline]
    pub(super) fn overflow(self) -> Overflow {
        Overflow(self.0[SLOTS].load(Ordering::Acquire))
    }

    pub(super) fn empty_slot(self) -> Option<usize> {
        (0..SLOTS).find(|slot| self.0[*slot].load(Ordering::Relaxed) == 0)
    }

    /// Publishes an entry (or its end) and all that was written before.
    pub(super) fn set(self, slot: usize, entry: Entry) {
        self.0[slot].store(entry.0, Ordering::Release);
    }

    pub(super) fn set_overflow(self, overflow: Overflow) {
        self.0[SLOTS].store(overflow.0, Ordering::Release);
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
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn counts_of_overflow_are_apart_and_never_wrap() {
        let [low, high] = [0x1fff_ffff, 0xe000_0001];
        let mut overflow = Overflow::NONE;
        for _ in 0..300 {
            overflow = overflow.plus(high);
        }
        assert_eq!((overflow.of(low), overflow.of(high)), (0, 255));
        assert_eq!(overflow.minus(high), overflow, "how many they were is no longer known");
        overflow = overflow.plus(low).plus(low).minus(low);
        assert_eq!((overflow.of(low), overflow.of(high)), (1, 255));
        assert_eq!(Overflow::NONE.minus(low), Overflow::NONE);
    }

    #[test]
    fn the_first_match_is_found_in_any_slot() {
        let buckets = Buckets::new(2).unwrap();
        let bucket = buckets.row().bucket(1);
        assert!(bucket.first_match(5).is_empty());
        for slot in (0..SLOTS).rev() {
            bucket.set(slot, Entry::new(slot as u32 + 1, 5));
            assert_eq!(bucket.first_match(5).record(), slot as u32 + 1);
            assert!(bucket.first_match(6).is_empty());
        }
        assert_eq!(bucket.empty_slot(), None);
        assert_eq!(bucket.matches(5).count(), SLOTS);
        assert_eq!(buckets.row().bucket(0).entries().count(), 0);
    }
}
