//! The keyed hash of flow keys.

use std::hash::{BuildHasher, RandomState};

use super::key::FlowKey;

/// What makes the hash of one table unlike that of any other.
///
/// Senders choose MAC and IP addresses; without the secret they cannot choose those that meet in one bucket.
#[derive(Clone, Copy)]
pub struct Secret([u64; 4]);

impl Secret {
    /// A new one, from the operating system's randomness.
    pub(crate) fn random() -> Self {
        let random = RandomState::new();
        Self(std::array::from_fn(|n| random.hash_one(n)))
    }

    /// A chosen one, so that benches and tests repeat exactly.
    pub const fn fixed(words: [u64; 4]) -> Self {
        Self(words)
    }

    /// Two rounds of 64 × 64 → 128-bit multiplication, each folded by exclusive or, secret words going into every
    /// operand.
    ///
    /// It is no cryptographic function: who saw many hashes could solve for the secret. Nobody sees any: they leave
    /// the process only as time, of which one cache line more is all that a collision costs. Should somebody solve it
    /// after all, a bucket still takes no more than it takes, and the rest is refused.
    #[inline]
    pub(super) fn hash(&self, key: FlowKey) -> Hash {
        let [a, b, c, d] = self.0;
        let first = fold((key.0 >> 64) as u64 ^ a, key.0 as u64 ^ b);
        Hash(fold(first ^ c, d) | 1)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// A key's hash.
///
/// ```text
///  63            32 31             1 0
/// ┌────────────────┬────────────────┬─┐
/// │ first choice   │ signature        1│   second choice: a product of all bits
/// └────────────────┴────────────────┴─┘
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hash(u64);

impl Hash {
    /// What a slot says of its key; never 0, so that an empty slot matches none.
    #[inline]
    pub(super) fn signature(self) -> u32 {
        self.0 as u32
    }

    /// The bucket tried first: as many of the low bits as the array has.
    #[inline]
    pub(super) fn first(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The bucket used when the first is full.
    #[inline]
    pub(super) fn second(self) -> u32 {
        (self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pearson's chi-squared of how evenly `keys` fall into 1 024 cells by `part`, in standard deviations from what
    /// chance makes of it.
    fn unevenness(keys: impl Iterator<Item = u128>, part: impl Fn(Hash) -> u32) -> f64 {
        let secret = Secret::fixed([
            0x243f_6a88_85a3_08d3,
            0x1319_8a2e_0370_7344,
            0xa409_3822_299f_31d0,
            0x082e_fa98_ec4e_6c89,
        ]);
        let mut cells = [0_u32; 1024];
        let mut count = 0_u32;
        for key in keys {
            cells[(part(secret.hash(FlowKey(key))) % 1024) as usize] += 1;
            count += 1;
        }
        let expected = f64::from(count) / 1024.0;
        let chi: f64 = cells.iter().map(|&n| (f64::from(n) - expected).powi(2) / expected).sum();
        (chi - 1023.0) / (2.0 * 1023.0_f64).sqrt()
    }

    #[test]
    fn parts_of_the_hash_are_even_and_independent_for_regular_keys() {
        let mac = |n: u128| 0xff << 120 | (n >> 8 & 0xffff) << 48 | 0x0200_0000_0000 | n & 0xff;
        let v4 = |n: u128| 0xffff << 32 | 10 << 24 | n;
        let v6 = |n: u128| 0x2001_0db8 << 96 | (n >> 6) << 64 | n & 63;
        let strided = |n: u128| n << 40;
        let kinds: [&dyn Fn(u128) -> u128; 4] = [&mac, &v4, &v6, &strided];
        let parts: [&dyn Fn(Hash) -> u32; 6] = [
            &|hash| hash.first(),
            &|hash| hash.second(),
            &|hash| hash.signature() >> 1,
            // Five bits of each of two parts: even only if the parts are independent.
            &|hash| hash.first() % 32 * 32 + hash.second() % 32,
            &|hash| hash.first() % 32 * 32 + (hash.signature() >> 27),
            &|hash| hash.second() % 32 * 32 + (hash.signature() >> 27),
        ];
        for (k, kind) in kinds.iter().enumerate() {
            for (p, part) in parts.iter().enumerate() {
                let off = unevenness((0..200_000).map(kind), part);
                assert!(off.abs() < 5.0, "keys {k}, part {p}: {off} standard deviations");
            }
        }
    }

    #[test]
    fn secrets_differ() {
        let key = FlowKey(5);
        assert_ne!(Secret::random().hash(key), Secret::random().hash(key));
    }

    #[test]
    fn signatures_are_never_those_of_an_empty_slot() {
        assert_ne!(Secret::fixed([0; 4]).hash(FlowKey(0)).signature(), 0);
    }
}
