//! What is put into a copy of the template, and what it adds to checksums.

use crate::profile::{Field, Walk};

/// Checksums that a frame can have: IP header and transport, outside and inside.
pub(super) const SLOTS: usize = 4;

/// Sums of 16-bit words, big-endian, with as many carries as come together.
pub(super) type Sums = [u64; SLOTS];

/// A field whose value changes.
pub(super) struct Patch {
    pub(super) field: Field,
    pub(super) walk: Walk,
    pub(super) at: usize,
    pub(super) width: Width,
    pub(super) shift: u32,
    /// Bits around the field in its words.
    keep: u64,
    /// It begins at an odd place: its bytes count the other way round.
    sum_shift: u32,
    /// All ones for the checksums that cover it.
    covers: Sums,
}

/// Bytes that are read and written at once: exactly those of the field where it has whole ones, so that a store is
/// never followed by a load of a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    /// 2.
    U16,
    /// 4.
    U32,
    /// 6.
    U48,
    /// 16.
    U128,
}

/// Where a field is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// First byte of its words.
    pub(super) at: usize,
    /// Bytes of its words.
    pub(super) width: Width,
    /// Its bits; not of use for the widest.
    pub(super) bits: u32,
    /// Bits below it in its words.
    pub(super) shift: u32,
}

impl Place {
    /// Writes a value there.
    pub(super) fn put(self, frame: &mut [u8], value: u128) {
        put(frame, self.at, self.width, self.keep(), (value as u64) << self.shift, value);
    }

    fn keep(self) -> u64 {
        !(((1_u64 << self.bits.min(48)) - 1) << self.shift)
    }
}

impl Patch {
    pub(super) fn new(field: &Field, place: Place, covers: Sums) -> Self {
        Self {
            field: field.clone(),
            walk: Walk::new(field, 0, 1),
            at: place.at,
            width: place.width,
            shift: place.shift,
            keep: place.keep(),
            sum_shift: if place.at.is_multiple_of(2) { 0 } else { 8 },
            covers,
        }
    }

    /// Whether its value counts for this checksum.
    pub(super) fn is_covered_by(&self, slot: usize) -> bool {
        self.covers[slot] != 0
    }

    /// Puts a value in.
    pub(super) fn put(&self, frame: &mut [u8], value: u128) {
        put(frame, self.at, self.width, self.keep, (value as u64) << self.shift, value);
    }

    /// Puts the next value in, and adds it to the sums that cover it.
    #[inline]
    pub(super) fn apply(&mut self, frame: &mut [u8], sums: &mut Sums) {
        let index = self.walk.next(&self.field);
        let sum = if self.width == Width::U128 {
            let value = self.field.nth(index);
            put(frame, self.at, self.width, self.keep, 0, value);
            sum_128(value)
        } else {
            let value = self.field.nth_low(index) << self.shift;
            put(frame, self.at, self.width, self.keep, value, 0);
            // 2¹⁶ is 1 in ones' complement, so that a word of any length is its own sum.
            fold_once(value) << self.sum_shift
        };
        for (total, covers) in sums.iter_mut().zip(self.covers) {
            *total += sum & covers;
        }
    }
}

#[inline]
fn put(frame: &mut [u8], at: usize, width: Width, keep: u64, value: u64, long: u128) {
    match width {
        Width::U16 => {
            let place = frame[at..].first_chunk_mut().expect("inside the frame");
            *place = (u16::from_be_bytes(*place) & keep as u16 | value as u16).to_be_bytes();
        }
        Width::U32 => {
            let place = frame[at..].first_chunk_mut().expect("inside the frame");
            *place = (u32::from_be_bytes(*place) & keep as u32 | value as u32).to_be_bytes();
        }
        Width::U48 => frame[at..at + 6].copy_from_slice(&value.to_be_bytes()[2..]),
        Width::U128 => frame[at..at + 16].copy_from_slice(&long.to_be_bytes()),
    }
}

/// The sum of eight words.
#[inline]
pub(super) fn sum_128(value: u128) -> u64 {
    fold_once((value >> 64) as u64) + fold_once(value as u64)
}

/// 33 bits of the same sum.
#[inline]
fn fold_once(sum: u64) -> u64 {
    (sum >> 32) + (sum & 0xffff_ffff)
}

/// 16 bits of the same sum.
#[inline]
pub(super) fn fold(sum: u64) -> u16 {
    let sum = fold_once(sum);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    ((sum >> 16) + (sum & 0xffff)) as u16
}
