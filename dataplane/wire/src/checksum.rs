//! The Internet checksum (RFC 1071): the complement of the ones' complement sum of the 16-bit words.
//!
//! Sums are carried as `u32` and folded as they grow, so no number of pieces overflows them.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A ones' complement sum on its way. It adds words as they lie in memory, eight bytes at a time: but for a final swap,
/// the sum depends neither on the byte order in which it is built nor on the size of the words (RFC 1071 §2).
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// With the big-endian 16-bit words of `acc` in it, of which there may be two.
    #[inline(always)]
    pub fn new(acc: u32) -> Self {
        Self(acc.swap_bytes().into())
    }

    /// With these bytes, an even number unless they are the last: an odd last byte counts as if a zero followed it.
    #[inline(always)]
    pub fn bytes(self, data: &[u8]) -> Self {
        // The carries are counted beside the sum. Two sums, since they do not wait for each other.
        let mut sums = [u128::from(self.0), 0];
        let (blocks, rest) = data.as_chunks::<32>();
        for block in blocks {
            for (n, word) in block.as_chunks().0.iter().enumerate() {
                sums[n % 2] += u128::from(u64::from_le_bytes(*word));
            }
        }
        let (words, rest) = rest.as_chunks();
        for word in words {
            sums[0] += u128::from(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let last = match data.last_chunk() {
                Some(last) => u64::from_le_bytes(*last) >> (64 - 8 * rest.len()),
                None => rest.iter().rev().fold(0, |last, byte| last << 8 | u64::from(*byte)),
            };
            sums[1] += u128::from(last);
        }
        // A slice is shorter than 2⁶⁴ bytes, so that the carries leave much room.
        let sum = sums[0] + sums[1];
        Self(sum as u64).word((sum >> 64) as u64)
    }

    /// With eight bytes at an even place, given as a little-endian number.
    #[inline(always)]
    pub fn word(self, word: u64) -> Self {
        let (sum, carry) = self.0.overflowing_add(word);
        Self(sum + u64::from(carry))
    }

    /// The checksum field: folded to 16 bits and complemented.
    #[inline(always)]
    pub fn finish(self) -> u16 {
        !self.fold()
    }

    #[inline(always)]
    fn fold(self) -> u16 {
        let sum = (self.0 >> 32) + (self.0 & 0xffff_ffff);
        let sum = (sum >> 16) + (sum & 0xffff);
        fold(sum as u32).swap_bytes()
    }
}

/// Adds the big-endian 16-bit words of `data` to the sum `acc`. An odd last byte counts as if a zero followed
/// it, so all pieces but the last must have an even length.
#[inline]
pub fn ones_sum(data: &[u8], acc: u32) -> u32 {
    Sum::new(acc).bytes(data).fold().into()
}

/// Whether the checksum in an IPv4 header without options is right: its words add up to all ones. As
/// [`ones_sum`] and [`finish`], for the length that nearly all have, without a loop: a ones' complement sum is a
/// remainder by 2¹⁶ − 1, whatever the size and order of the words, and whether that is zero takes one multiplication.
#[inline]
pub fn is_valid_header(header: &[u8; 20]) -> bool {
    let (words, _) = header.as_chunks::<4>();
    let sum = words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum::<u64>();
    // Multiples of an odd number, and they alone, times its inverse are the quotients (Granlund and Montgomery 1994, §9);
    // the least of them, zero, is the sum of nothing but zeros.
    const INVERSE: u64 = 0xfffe_fffe_fffe_ffff;
    sum.wrapping_mul(INVERSE).wrapping_sub(1) < u64::MAX / 0xffff
}

/// The checksum field for the sum `acc`: folded to 16 bits and complemented. Over data that includes a right
/// checksum it is zero.
#[inline]
pub const fn finish(acc: u32) -> u16 {
    !fold(acc)
}

/// The checksum field `check` after one 16-bit word that it covers went from `old` to `new` (RFC 1624 §3,
/// equation 3). A wrong checksum stays wrong by the same amount.
#[inline]
pub const fn update(check: u16, old: u16, new: u16) -> u16 {
    finish(!check as u32 + !old as u32 + new as u32)
}

/// The sum of the pseudo header that UDP and TCP checksums cover over IPv4 (RFC 768). `len` is that of the
/// upper-layer header and payload, in bytes.
#[inline]
pub fn pseudo_header_v4(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, len: u16) -> u32 {
    ones_sum(&dst.octets(), ones_sum(&src.octets(), u32::from(protocol) + u32::from(len)))
}

/// The sum of the pseudo header that upper-layer checksums cover over IPv6 (RFC 8200 §8.1). `len` is that of
/// the upper-layer header and payload, in bytes.
#[inline]
pub fn pseudo_header_v6(src: Ipv6Addr, dst: Ipv6Addr, protocol: u8, len: u32) -> u32 {
    let numbers = u32::from(protocol) + (len >> 16) + (len & 0xffff);
    ones_sum(&dst.octets(), ones_sum(&src.octets(), numbers))
}

/// Adds the carries of a ones' complement sum back until 16 bits hold it. Only an empty or all-zero sum gives
/// zero.
#[inline]
const fn fold(sum: u32) -> u16 {
    let sum = (sum >> 16) + (sum & 0xffff);
    ((sum >> 16) + (sum & 0xffff)) as u16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 1071 §1, word by word.
    fn naive(data: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in data.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    #[test]
    fn examples_of_the_rfcs() {
        // RFC 1071 §3.
        assert_eq!(!finish(ones_sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7], 0)), 0xddf2);
        // RFC 1624 §4, where the way of RFC 1141 gives 0xffff.
        assert_eq!(update(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    #[test]
    fn sums_do_not_overflow() {
        let most = ones_sum(&[0xff; 1 << 16], u32::MAX);
        assert_eq!(finish(ones_sum(&[0xff; 1 << 16], most)), 0);
        assert_eq!(finish(u32::MAX), 0);
        assert_eq!(finish(0), 0xffff);
    }

    proptest! {
        #[test]
        fn as_the_naive_sum_and_etherparse(data in prop::collection::vec(any::<u8>(), 0..200)) {
            let check = finish(ones_sum(&data, 0));
            prop_assert_eq!(check, naive(&data));
            let independent = etherparse::checksum::Sum16BitWords::new().add_slice(&data);
            prop_assert_eq!(check, independent.ones_complement().to_be());
        }

        #[test]
        fn a_header_is_valid_if_its_sum_is(mut header: [u8; 20], blank: bool, repair: bool) {
            if blank {
                header.fill(0);
            }
            prop_assert_eq!(is_valid_header(&header), finish(ones_sum(&header, 0)) == 0);
            if repair {
                header[10..12].fill(0);
                let check = finish(ones_sum(&header, 0));
                header[10..12].copy_from_slice(&check.to_be_bytes());
                prop_assert!(is_valid_header(&header));
            }
        }

        #[test]
        fn words_count_as_bytes(data: [u8; 24], acc: u32) {
            let words = data.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word));
            let sum = words.fold(Sum::new(acc), Sum::word);
            prop_assert_eq!(sum.finish(), finish(ones_sum(&data, acc)));
        }

        #[test]
        fn pieces_add_up(data in prop::collection::vec(any::<u8>(), 0..200), cut in 0usize..100) {
            let (head, tail) = data.split_at((cut * 2).min(data.len()));
            prop_assert_eq!(finish(ones_sum(tail, ones_sum(head, 0))), naive(&data));
        }

        #[test]
        fn pseudo_headers(src: [u8; 16], dst: [u8; 16], protocol: u8, len: u32) {
            let header = [&src[..], &dst, &len.to_be_bytes(), &[0, 0, 0, protocol]].concat();
            let sum = pseudo_header_v6(src.into(), dst.into(), protocol, len);
            prop_assert_eq!(finish(sum), naive(&header));

            let src = Ipv4Addr::from_octets(src[..4].try_into()?);
            let dst = Ipv4Addr::from_octets(dst[..4].try_into()?);
            let len = len as u16;
            let header = [&src.octets()[..], &dst.octets(), &[0, protocol], &len.to_be_bytes()].concat();
            prop_assert_eq!(finish(pseudo_header_v4(src, dst, protocol, len)), naive(&header));
        }

        #[test]
        fn an_update_is_a_sum_anew(first in 1u16.., old: u16, new: u16) {
            let sum = |word: u16| finish(ones_sum(&[first.to_be_bytes(), word.to_be_bytes()].concat(), 0));
            prop_assert_eq!(update(sum(old), old, new), sum(new));
        }
    }
}
