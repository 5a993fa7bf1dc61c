//! A set of small numbers.

use std::cmp::Ordering;

/// A set of numbers below a limit, as bits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Bits {
    words: Vec<u64>,
    limit: u32,
    count: u32,
}

impl Bits {
    pub(crate) fn new(limit: u32) -> Self {
        Self { words: vec![0; limit.div_ceil(64) as usize], limit, count: 0 }
    }

    pub(crate) fn len(&self) -> u32 {
        self.count
    }

    pub(crate) fn words(&self) -> &[u64] {
        &self.words
    }

    pub(crate) fn contains(&self, number: u32) -> bool {
        self.words.get(number as usize / 64).is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    /// Whether it is new.
    pub(crate) fn insert(&mut self, number: u32) -> bool {
        debug_assert!(number < self.limit);
        let new = !self.contains(number);
        self.words[number as usize / 64] |= 1 << (number % 64);
        self.count += u32::from(new);
        new
    }

    /// Whether it was there.
    pub(crate) fn remove(&mut self, number: u32) -> bool {
        let there = self.contains(number);
        if there {
            self.words[number as usize / 64] &= !(1 << (number % 64));
            self.count -= 1;
        }
        there
    }

    /// Adds those of another set of the same limit.
    pub(crate) fn extend(&mut self, others: &Self) {
        for (word, &more) in self.words.iter_mut().zip(&others.words) {
            self.count += (more & !*word).count_ones();
            *word |= more;
        }
    }

    pub(crate) fn clear(&mut self) {
        self.words.fill(0);
        self.count = 0;
    }

    pub(crate) fn fill(&mut self) {
        for place in 0..self.words.len() {
            self.replace_word(place, u64::MAX);
        }
    }

    /// Which of 64 numbers are below the limit.
    pub(crate) fn valid(&self, place: usize) -> u64 {
        match (place + 1).cmp(&self.words.len()) {
            Ordering::Less => u64::MAX,
            Ordering::Equal => u64::MAX >> (self.words.len() as u32 * 64 - self.limit),
            Ordering::Greater => 0,
        }
    }

    /// Replaces 64 numbers; which of them are others than before. What is no number here is left out.
    pub(crate) fn replace_word(&mut self, place: usize, word: u64) -> u64 {
        let word = word & self.valid(place);
        let Some(old) = self.words.get_mut(place) else { return 0 };
        let changed = *old ^ word;
        self.count = self.count - old.count_ones() + word.count_ones();
        *old = word;
        changed
    }

    /// The first number from `start` on.
    pub(crate) fn first_from(&self, start: u32) -> Option<u32> {
        let place = start as usize / 64;
        let first = self.words.get(place)? & (u64::MAX << (start % 64));
        let rest = self.words[place + 1..].iter().copied();
        let found = std::iter::once(first).chain(rest).enumerate().find(|&(_, word)| word != 0);
        found.map(|(after, word)| (place + after) as u32 * 64 + word.trailing_zeros())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        std::iter::successors(self.first_from(0), |&number| self.first_from(number + 1))
    }
}

/// The numbers of a word's bits.
pub(crate) fn numbers(place: usize, mut word: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let bit = (word != 0).then(|| word.trailing_zeros())?;
        word &= word - 1;
        Some(place as u32 * 64 + bit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_set() {
        for limit in [1, 63, 64, 65, 200] {
            let mut bits = Bits::new(limit);
            assert_eq!((bits.len(), bits.first_from(0)), (0, None));
            bits.fill();
            assert_eq!(bits.iter().collect::<Vec<_>>(), (0..limit).collect::<Vec<_>>());
            assert_eq!(bits.len(), limit);
            assert!(bits.remove(limit - 1) && !bits.remove(limit - 1) && !bits.contains(limit - 1));
            assert!(bits.insert(limit - 1) && !bits.insert(limit - 1) && bits.contains(limit - 1));
            let last = bits.words().len() - 1;
            assert_eq!(bits.replace_word(last, u64::MAX), 0, "what is beyond the limit is left out");
            assert_eq!(bits.len(), limit);
            assert_eq!(bits.replace_word(0, 0) & 1, 1);
            assert_eq!(bits.len(), limit.saturating_sub(64));
            assert_eq!(bits.replace_word(9, 1), 0);
            bits.clear();
            assert_eq!(bits.len(), 0);
        }
        assert_eq!(numbers(1, 0b101).collect::<Vec<_>>(), [64, 66]);
    }
}
