//! Builds the frames of a stream: a template is copied, what changes is put in, and checksums follow by what was put in.
//!
//! All is laid out when a builder is made; [`FrameBuilder::write`] allocates nothing and divides nothing as long as
//! sequence numbers come one after the other.

mod layout;
mod live;
mod patch;
#[cfg(test)]
mod tests;

use arrayvec::ArrayVec;

pub use live::{LiveError, live_frames};

use crate::profile::{FCS_LEN, Field, Stream, Walk};
use crate::stamp::{self, Stamp};
use layout::{Check, Layout};
use patch::{Patch, SLOTS, Sums, fold};

/// Writes the frames of one stream.
pub struct FrameBuilder {
    /// The longest frame; what changes is zero in it.
    template: Box<[u8]>,
    /// By the number of the size.
    sizes: Box<[Size]>,
    size: Field,
    size_walk: Walk,
    lengths: Box<[Length]>,
    patches: Box<[Patch]>,
    /// Innermost first, as outer ones cover inner ones.
    checks: ArrayVec<Check, SLOTS>,
    number: u16,
    lane: u64,
    lanes: u64,
    /// The position that the walks stand at.
    next: u64,
}

/// A frame's length, and what follows from it.
#[derive(Clone, Copy)]
struct Size {
    len: usize,
    /// Of all that never changes.
    sums: Sums,
    /// The stamp begins at an odd place: its bytes count the other way round.
    stamp_shift: u32,
}

/// A length field of 16 bits.
#[derive(Clone, Copy)]
struct Length {
    at: usize,
    /// It counts the bytes from here to the end.
    from: usize,
}

impl FrameBuilder {
    /// Lays the frames of a stream out.
    pub fn new(stream: &Stream) -> Self {
        let Layout { bytes, patches, lengths, checks } = Layout::new(stream);
        let mut builder = Self {
            template: bytes.into(),
            sizes: Box::new([]),
            size: stream.sizes.clone(),
            size_walk: Walk::new(&stream.sizes, stream.lane, stream.lanes),
            lengths: lengths.into(),
            patches: patches.into(),
            checks,
            number: stream.number,
            lane: stream.lane,
            lanes: stream.lanes,
            next: stream.lane,
        };
        let lens = stream.sizes.values().map(|size| stream.outer_len() + size as usize - FCS_LEN);
        builder.sizes = lens.map(|len| builder.lay_out_size(len)).collect();
        // Walks are made for the start of a stream, with its stride.
        builder.seat(stream.lane);
        if let [size] = *builder.sizes {
            // Lengths never change: they need not be written again.
            for length in std::mem::take(&mut builder.lengths) {
                length.write(&mut builder.template[..size.len]);
            }
        }
        builder
    }

    fn lay_out_size(&self, len: usize) -> Size {
        let mut frame = self.template[..len].to_vec();
        frame[len - stamp::LEN..].fill(0);
        self.lengths.iter().for_each(|length| length.write(&mut frame));
        let mut sums = [0; SLOTS];
        for check in &self.checks {
            sums[check.slot] = check.base(&frame);
        }
        Size { len, sums, stamp_shift: if len.is_multiple_of(2) { 0 } else { 8 } }
    }

    /// Moves all walks to a position.
    #[cold]
    fn seat(&mut self, position: u64) {
        self.next = position;
        self.size_walk = Walk::new(&self.size, position, self.lanes);
        for patch in &mut self.patches {
            patch.walk = Walk::new(&patch.field, position, self.lanes);
        }
    }

    /// Writes the frame with this number, without FCS, to the start of `buffer`, and returns its length. `time` is that
    /// of the stamp.
    ///
    /// # Panics
    /// If `buffer` is shorter than the frame.
    #[inline]
    pub fn write(&mut self, sequence: u64, time: u64, buffer: &mut [u8]) -> usize {
        let position = sequence.wrapping_mul(self.lanes).wrapping_add(self.lane);
        if position != self.next {
            self.seat(position);
        }
        self.next = position.wrapping_add(self.lanes);
        let size =
            &self.sizes[if self.sizes.len() > 1 { self.size_walk.next(&self.size) as usize } else { 0 }];
        let frame = &mut buffer[..size.len];
        frame.copy_from_slice(&self.template[..size.len]);
        for length in &self.lengths {
            length.write(frame);
        }
        let mut sums = size.sums;
        for patch in &mut self.patches {
            patch.apply(frame, &mut sums);
        }
        let stamp = Stamp { stream: self.number, sequence: sequence as u32, time };
        let stamp = stamp.to_bytes();
        frame[size.len - stamp::LEN..].copy_from_slice(&stamp);
        let stamp = patch::sum_128(u128::from_be_bytes(stamp)) << size.stamp_shift;
        for check in &self.checks {
            let sum = sums[check.slot] + (stamp & check.covers_stamp);
            let mut checksum = !fold(sum);
            if check.never_zero && checksum == 0 {
                checksum = 0xffff;
            }
            frame[check.at..check.at + 2].copy_from_slice(&checksum.to_be_bytes());
            if let Some(outer) = check.covered_by {
                sums[outer] += u64::from(checksum);
            }
        }
        size.len
    }

    /// Length of the longest frame, without FCS.
    pub fn max_len(&self) -> usize {
        self.template.len()
    }
}

impl Length {
    #[inline]
    fn write(self, frame: &mut [u8]) {
        let len = (frame.len() - self.from) as u16;
        frame[self.at..self.at + 2].copy_from_slice(&len.to_be_bytes());
    }
}
