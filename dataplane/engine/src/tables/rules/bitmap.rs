//! Sets of rules as bitmaps, each kept once.
//!
//! A bitmap has a bit a rule, in words of 64, and before them a *summary*: a bit a word, set if the word is not zero
//! (aggregated bit vectors, Baboescu and Varghese, 2001). As many words as a summary has bits make 4 096 rules. Words
//! that are zero are not kept: a set takes 8 bytes and 8 more for each other word, 520 at most.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

const WORD_BITS: usize = u64::BITS as usize;

/// Most rules that there can be.
pub const MAX_RULES: usize = WORD_BITS * WORD_BITS;

/// A set of rules that is being put together.
#[derive(Clone)]
pub(super) struct RuleSet([u64; WORD_BITS]);

impl RuleSet {
    pub(super) const EMPTY: Self = Self([0; WORD_BITS]);

    /// # Panics
    /// From [`MAX_RULES`] on.
    pub(super) fn insert(&mut self, rule: usize) {
        self.0[rule / WORD_BITS] |= 1 << (rule % WORD_BITS);
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(word, other)| *word |= other);
    }

    pub(super) fn remove(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(word, other)| *word &= !other);
    }

    pub(super) fn intersection(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|n| self.0[n] & other.0[n]))
    }

    /// A bit for each word that is not zero.
    fn summary(&self) -> u64 {
        self.0.iter().enumerate().fold(0, |summary, (n, word)| summary | (u64::from(*word != 0) << n))
    }
}

/// Where a bitmap's summary is among the words of [`Bitmaps`]. Its other words follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BitmapId(u32);

/// All bitmaps of compiled rules.
#[derive(Debug)]
pub(super) struct Bitmaps {
    words: Box<[u64]>,
}

impl Bitmaps {
    /// The first rule that is in all of these sets.
    #[inline]
    pub(super) fn first_common<const N: usize>(&self, ids: [BitmapId; N]) -> Option<u16> {
        let summaries = ids.map(|id| self.words[id.0 as usize]);
        // Words that are zero in none of the sets; their bits need not meet.
        let mut candidates = summaries.iter().fold(!0, |common, summary| common & summary);
        while candidates != 0 {
            let word = candidates.trailing_zeros();
            let below = (1 << word) - 1;
            let common = (0..N).fold(!0, |common, n| {
                let place = ids[n].0 + (summaries[n] & below).count_ones() + 1;
                common & self.words[place as usize]
            });
            if common != 0 {
                return Some((word * u64::BITS + common.trailing_zeros()) as u16);
            }
            candidates &= candidates - 1;
        }
        None
    }

    pub(super) fn memory_bytes(&self) -> usize {
        size_of_val(&*self.words)
    }
}

/// Puts bitmaps together; equal ones are one.
#[derive(Default)]
pub(super) struct Interner {
    words: Vec<u64>,
    known: HashTable<BitmapId>,
    hasher: RandomState,
}

impl Interner {
    pub(super) fn intern(&mut self, rules: &RuleSet) -> BitmapId {
        let Self { words, known, hasher } = self;
        // Appended at once and taken back if it is there already: this way all are compared in one form.
        let id = BitmapId(u32::try_from(words.len()).expect("less than 32 GiB of bitmaps"));
        words.push(rules.summary());
        words.extend(rules.0.iter().filter(|word| **word != 0));
        let packed = |id: BitmapId| {
            let bitmap = &words[id.0 as usize..];
            &bitmap[..=bitmap[0].count_ones() as usize]
        };
        let hash = |id: &BitmapId| hasher.hash_one(packed(*id));
        match known.entry(hash(&id), |other| packed(*other) == packed(id), hash) {
            Entry::Occupied(found) => {
                words.truncate(id.0 as usize);
                *found.get()
            }
            Entry::Vacant(place) => *place.insert(id).get(),
        }
    }

    pub(super) fn finish(self) -> Bitmaps {
        Bitmaps { words: self.words.into_boxed_slice() }
    }
}
