//! The hash of a key and a gateway, and its logarithm, in integers: the same bits on every machine.

use super::GatewayId;

/// 2^64 divided by the golden ratio, odd.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Steps of the table of logarithms between 1 and 2, as a power of two.
const STEP_BITS: u32 = 10;

/// Bits behind the point of a logarithm.
const FRACTION_BITS: u32 = 40;

/// What is assigned: an overlay or a shard, hashed once for all gateways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(u64);

impl Key {
    /// The overlay with this VNI.
    pub const fn overlay(vni: u32) -> Self {
        Self::new(1, vni)
    }

    /// The shard with this number.
    pub const fn shard(number: u16) -> Self {
        Self::new(2, number as u32)
    }

    /// A run of VNIs that are spread over all shards.
    pub(super) const fn run(number: u32) -> Self {
        Self::new(3, number)
    }

    /// Kinds are apart, so that shard 7 and VNI 7 have nothing in common.
    const fn new(kind: u64, number: u32) -> Self {
        Self(mix((kind << 32 | number as u64).wrapping_add(GOLDEN)))
    }

    /// The key's own bits.
    pub(super) const fn bits(self) -> u64 {
        self.0
    }

    /// The random weight of this key at a gateway, uniform over all 64-bit numbers.
    pub const fn hash(self, id: GatewayId) -> u64 {
        mix(self.0 ^ (id.value() as u64).wrapping_mul(GOLDEN))
    }
}

/// The finalizer of SplitMix64: a bijection in which every bit of `x` changes each bit of the result half of the time.
const fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// −log₂(`hash` / 2^64) · 2^40, from 1 to 2^46: exponentially distributed if `hash` is uniform.
///
/// It never grows with `hash`. Between the 1 024 steps of the table it is a straight line, whose slope is within 0.05 %
/// of the logarithm's.
pub const fn distance(hash: u64) -> u64 {
    // Zero has no logarithm.
    let hash = hash | 1;
    let zeros = hash.leading_zeros();
    let mantissa = hash << zeros;
    let step = (mantissa >> (63 - STEP_BITS)) as usize & ((1 << STEP_BITS) - 1);
    let between = (mantissa >> (31 - STEP_BITS)) & 0xffff_ffff;
    let (low, high) = (LOG2[step], LOG2[step + 1]);
    let fraction = low + (((high - low) * between) >> 32);
    ((zeros as u64 + 1) << FRACTION_BITS) - fraction
}

/// ⌊log₂(1 + i / 1024) · 2^40⌋.
static LOG2: [u64; (1 << STEP_BITS) + 1] = {
    let mut table = [0; (1 << STEP_BITS) + 1];
    let mut step = 0;
    while step < 1 << STEP_BITS {
        table[step] = log2((1 << 63) + ((step as u64) << (63 - STEP_BITS)));
        step += 1;
    }
    table[step] = 1 << FRACTION_BITS;
    table
};

/// ⌊log₂(x / 2^63) · 2^40⌋ for 2^63 ≤ x: squared, a number from 1 to 2 tells the next bit of its logarithm.
const fn log2(mut x: u64) -> u64 {
    let mut log = 0;
    let mut bit = 0;
    while bit < FRACTION_BITS {
        let square = x as u128 * x as u128;
        let carry = (square >> 127) as u64;
        x = (square >> (63 + carry as u32)) as u64;
        log = log << 1 | carry;
        bit += 1;
    }
    log
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_table_is_the_logarithm() {
        for (step, &entry) in LOG2.iter().enumerate() {
            let real = (1.0 + step as f64 / 1024.0).log2() * (1u64 << 40) as f64;
            assert!((entry as f64 - real).abs() <= 1.01, "{step}: {entry} {real}");
        }
    }

    #[test]
    fn the_ends_of_the_range() {
        assert_eq!(distance(u64::MAX), 1);
        assert_eq!(distance(1 << 63), 1 << 40, "one half: one bit");
        assert_eq!((distance(0), distance(1)), (64 << 40, 64 << 40));
    }

    proptest! {
        #[test]
        fn distance_is_the_logarithm_and_never_grows(a: u64, shift in 0u32..64, step in 1u64..1 << 50) {
            let a = a >> shift;
            let real = (64.0 - (a as f64 + 0.5).log2()) * (1u64 << 40) as f64;
            // A straight line over 1/1024 leaves the logarithm by 1/8 of its curvature.
            if a > 1 << 32 {
                prop_assert!((distance(a) as f64 - real).abs() < 1.8e-7 * (1u64 << 40) as f64);
            }
            prop_assert!(distance(a.saturating_add(step)) <= distance(a));
            prop_assert!(distance(a.saturating_add(1)) <= distance(a));
        }
    }

    #[test]
    fn slopes_are_right_where_winners_are() {
        // Near 2^64, where the distance is small, its relative error counts.
        for shift in 2..40 {
            let gap = u64::MAX >> shift;
            let real = -(-(gap as f64) / 2f64.powi(64)).ln_1p() / std::f64::consts::LN_2;
            let ours = distance(u64::MAX - gap) as f64 / (1u64 << 40) as f64;
            assert!((ours / real - 1.0).abs() < 5e-4 + 2f64.powi(-40) / real, "{shift}: {ours} {real}");
        }
    }
}
