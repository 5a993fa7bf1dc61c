//! Reading fixed-size fields out of slices.

use std::ops::Range;

/// The bytes of a field. `at` is a constant of the protocol and as long as the array.
#[inline]
pub(crate) fn get<const N: usize>(data: &[u8], at: Range<usize>) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&data[at]);
    field
}

/// A big-endian field of 16 bits.
#[inline]
pub(crate) fn get_u16(data: &[u8], at: Range<usize>) -> u16 {
    u16::from_be_bytes(get(data, at))
}

/// A big-endian field of 32 bits.
#[inline]
pub(crate) fn get_u32(data: &[u8], at: Range<usize>) -> u32 {
    u32::from_be_bytes(get(data, at))
}

/// Writes a big-endian field of 16 bits.
#[inline]
pub(crate) fn put_u16(data: &mut [u8], at: Range<usize>, value: u16) {
    data[at].copy_from_slice(&value.to_be_bytes());
}

/// Writes a big-endian field of 32 bits.
#[inline]
pub(crate) fn put_u32(data: &mut [u8], at: Range<usize>, value: u32) {
    data[at].copy_from_slice(&value.to_be_bytes());
}
