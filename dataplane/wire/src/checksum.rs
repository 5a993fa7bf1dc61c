//! The Internet checksum (RFC 1071): the complement of the ones' complement sum of the 16-bit words.
//!
//! Sums are carried as `u32` and folded as they grow, so no number of pieces overflows them.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Adds the big-endian 16-bit words of `data` to the sum `acc`. An odd last byte counts as if a zero followed
/// it, so all pieces but the last must have an even length.
#[inline]
pub fn ones_sum(data: &[u8], acc: u32) -> u32 {
    // The sum does not depend on the byte order in which it is built, but for a final swap (RFC 1071 §2 B):
    // so native words are added, eight bytes at a step, and the carries of a slice of any length stay inside
    // 64 bits.
    let (chunks, rest) = data.as_chunks::<8>();
    let mut sum = 0u64;
    for chunk in chunks {
        let word = u64::from_ne_bytes(*chunk);
        sum += (word >> 32) + (word & 0xffff_ffff);
    }
    let (pairs, last) = rest.as_chunks::<2>();
    for pair in pairs {
        sum += u64::from(u16::from_ne_bytes(*pair));
    }
    if let [byte] = last {
        sum += u64::from(u16::from_ne_bytes([*byte, 0]));
    }
    sum = (sum >> 32) + (sum & 0xffff_ffff);
    sum = (sum >> 32) + (sum & 0xffff_ffff);
    u32::from(fold(acc)) + u32::from(u16::from_be(fold(sum as u32)))
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
