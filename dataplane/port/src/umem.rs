//! Frame memory: one area for all sockets of a worker, cut into chunks, each owned by one [`Frame`].
//!
//! A `Frame` is a token: it can't be copied, it is given up when the frame goes to a ring, and comes back when the
//! kernel returns it. So a frame that was sent can't be written to, nor be sent twice.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use arrayvec::ArrayVec;

use sys::pages::{Pages, Region};

/// Bytes that the kernel leaves free before a received frame (`XDP_PACKET_HEADROOM`): room for any encapsulation.
pub const HEADROOM: usize = 256;
/// Longest frame that can be received into the largest chunk.
pub const MAX_FRAME: usize = ChunkSize::Large.max_frame();
/// Largest MTU of a port.
pub const MAX_MTU: u16 = ChunkSize::Large.max_mtu();
/// Most frames that are handled at once.
pub const BATCH: usize = 64;

/// Frames that are handled together.
pub type Batch = ArrayVec<Frame, BATCH>;

/// Bytes of a chunk: those that AF_XDP has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChunkSize {
    /// 2 048.
    #[default]
    Small,
    /// 4 096.
    Large,
}

impl ChunkSize {
    /// The smallest that holds frames of ports with this MTU.
    pub const fn for_mtu(mtu: u16) -> Option<Self> {
        if mtu <= Self::Small.max_mtu() {
            Some(Self::Small)
        } else if mtu <= Self::Large.max_mtu() {
            Some(Self::Large)
        } else {
            None
        }
    }

    /// In bytes.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Small => 2048,
            Self::Large => 4096,
        }
    }

    /// Longest frame that can be received into such a chunk.
    pub const fn max_frame(self) -> usize {
        self.bytes() - HEADROOM
    }

    /// Largest MTU of a port: a frame with an Ethernet header and one VLAN tag must fit.
    pub const fn max_mtu(self) -> u16 {
        (self.max_frame() - 14 - 4) as u16
    }
}

static NEXT_ID: AtomicU16 = AtomicU16::new(0);

/// The memory of all frames of a worker.
pub struct Umem {
    memory: Region,
    chunk_size: ChunkSize,
    id: u16,
}

/// Sole owner of one chunk, and where in it the frame lies.
#[must_use = "a frame that is dropped is lost to the pool"]
#[derive(Debug)]
pub struct Frame {
    /// Where the chunk begins, in bytes from the start of the memory.
    chunk: u64,
    start: u16,
    len: u16,
    umem: u16,
    /// Bytes of the chunk.
    size: u16,
}

impl Umem {
    /// Maps memory for `chunks` frames and hands out all of them. It is of the NUMA node of this thread.
    ///
    /// # Errors
    /// When there is not enough memory, or 65 535 areas were made by this process already.
    pub fn new(chunks: u32, chunk_size: ChunkSize) -> io::Result<(Arc<Self>, FramePool)> {
        let id = NEXT_ID
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |id| id.checked_add(1))
            .map_err(|_| io::Error::other("too many frame memories in one process"))?;
        let memory = Region::populated(chunks as usize * chunk_size.bytes())?;
        let size = chunk_size.bytes() as u16;
        let frames = (0..chunks)
            .map(|chunk| u64::from(chunk) * u64::from(size))
            .map(|chunk| Frame { chunk, start: HEADROOM as u16, len: 0, umem: id, size })
            .collect();
        Ok((Arc::new(Self { memory, chunk_size, id }), FramePool { frames }))
    }

    /// How large its chunks are.
    pub fn chunk_size(&self) -> ChunkSize {
        self.chunk_size
    }

    /// What pages it is made of. No chunk lies on two.
    pub fn pages(&self) -> Pages {
        self.memory.pages()
    }

    pub(crate) fn memory(&self) -> &Region {
        &self.memory
    }

    /// The bytes of a frame.
    #[inline]
    pub fn data<'a>(&'a self, frame: &'a Frame) -> &'a [u8] {
        self.check(frame);
        // SAFETY: `check` proved that the frame is of this memory; its constructors and movers keep
        // `start + len <= size`, and `chunk` is where one of the chunks begins, so the range is mapped. The frame is the
        // only owner of its chunk and is borrowed for as long as the slice lives, so that nobody writes meanwhile.
        unsafe {
            std::slice::from_raw_parts(self.memory.start().as_ptr().add(frame.offset()), frame.len.into())
        }
    }

    /// The bytes of a frame, to write.
    #[inline]
    #[allow(clippy::mut_from_ref)] // exclusive by the frame, which is borrowed mutably
    pub fn data_mut<'a>(&'a self, frame: &'a mut Frame) -> &'a mut [u8] {
        self.check(frame);
        // SAFETY: as in `data`; and the only owner of the chunk is borrowed mutably, so that nobody reads either.
        unsafe {
            std::slice::from_raw_parts_mut(self.memory.start().as_ptr().add(frame.offset()), frame.len.into())
        }
    }

    /// Hints that the frame will be read from its start on.
    #[inline(always)]
    pub fn prefetch(&self, frame: &Frame) {
        sys::prefetch::address(self.memory.start().as_ptr().wrapping_add(frame.offset()));
    }

    #[inline]
    fn check(&self, frame: &Frame) {
        assert_eq!(self.id, frame.umem, "a frame of another memory");
    }

    /// Turns a place that the kernel (or its stand-in) gave back into the frame that owns it.
    ///
    /// # Safety
    /// `address` must lie in a chunk that was given up by [`Frame::into_address`] and not yet taken back.
    #[inline]
    pub(crate) unsafe fn reclaim(&self, address: u64, len: u32) -> Frame {
        let offset = address as usize;
        let size = self.chunk_size.bytes();
        let start = offset % size;
        // The kernel is trusted with ownership, not with arithmetic: this keeps every slice inside the mapping.
        assert!(offset < self.memory.bytes() && start + len as usize <= size, "a descriptor outside memory");
        let chunk = address - start as u64;
        Frame { chunk, start: start as u16, len: len as u16, umem: self.id, size: size as u16 }
    }
}

impl Frame {
    #[inline]
    fn offset(&self) -> usize {
        self.chunk as usize + usize::from(self.start)
    }

    /// Length in bytes.
    #[inline]
    #[allow(clippy::len_without_is_empty)] // no caller asks
    pub fn len(&self) -> usize {
        self.len.into()
    }

    /// Moves the start up by `bytes`, cutting them off the front. False, and unchanged, if the frame is shorter.
    #[inline]
    #[must_use]
    pub fn pull(&mut self, bytes: usize) -> bool {
        if bytes > self.len() {
            return false;
        }
        self.start += bytes as u16;
        self.len -= bytes as u16;
        true
    }

    /// Moves the start down by `bytes`, adding them to the front with undefined content. False, and unchanged, if
    /// there is no room.
    #[inline]
    #[must_use]
    pub fn push(&mut self, bytes: usize) -> bool {
        if bytes > self.start.into() {
            return false;
        }
        self.start -= bytes as u16;
        self.len += bytes as u16;
        true
    }

    /// Cuts bytes off the end, so that `len` remain; nothing if it is shorter already.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len().min(len) as u16;
    }

    /// Makes the frame an empty chunk again whose content is to be `len` bytes from the usual headroom on. False, and
    /// unchanged, if that does not fit.
    #[inline]
    #[must_use]
    pub fn reset(&mut self, len: usize) -> bool {
        if len > usize::from(self.size) - HEADROOM {
            return false;
        }
        self.start = HEADROOM as u16;
        self.len = len as u16;
        true
    }

    /// Gives the chunk up: its address, with the frame's start, and the frame's length.
    #[inline]
    pub(crate) fn into_address(self) -> (u64, u32) {
        (self.offset() as u64, self.len.into())
    }

    /// Gives the chunk up as an empty one: the address of its first byte.
    #[inline]
    pub(crate) fn into_chunk_address(self) -> u64 {
        self.chunk
    }

    pub(crate) fn is_of(&self, umem: &Umem) -> bool {
        self.umem == umem.id
    }
}

/// Frames that nobody uses.
#[derive(Debug)]
pub struct FramePool {
    frames: Vec<Frame>,
}

impl FramePool {
    /// Takes a frame of unspecified length and content.
    #[inline]
    pub fn take(&mut self) -> Option<Frame> {
        self.frames.pop()
    }

    /// Gives a frame back.
    #[inline]
    pub fn put(&mut self, frame: Frame) {
        self.frames.push(frame);
    }

    /// How many are there.
    pub fn available(&self) -> usize {
        self.frames.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_own_disjoint_chunks_and_move_both_ways() {
        for size in [ChunkSize::Small, ChunkSize::Large] {
            let (umem, mut pool) = Umem::new(4, size).unwrap();
            let max = size.max_frame();
            let mut frames: Vec<Frame> = std::iter::from_fn(|| pool.take()).collect();
            assert_eq!(frames.len(), 4);
            for (mark, frame) in frames.iter_mut().enumerate() {
                assert!(frame.reset(max));
                umem.data_mut(frame).fill(mark as u8);
            }
            for (mark, frame) in frames.iter().enumerate() {
                assert!(umem.data(frame).iter().all(|byte| usize::from(*byte) == mark));
            }
            let frame = &mut frames[1];
            assert!(frame.push(70));
            umem.data_mut(frame)[..70].fill(0xa5);
            assert!(frame.pull(70) && umem.data(frame)[0] == 1);
            assert!(!frame.push(HEADROOM + 1) && !frame.pull(max + 1) && !frame.reset(max + 1));
            frame.truncate(60);
            assert_eq!(umem.data(frame), [1; 60]);
        }
    }

    #[test]
    fn chunks_are_as_large_as_the_mtu_needs() {
        let size = |mtu| ChunkSize::for_mtu(mtu);
        assert_eq!([1500, 1774].map(size), [Some(ChunkSize::Small); 2]);
        assert_eq!([1775, MAX_MTU].map(size), [Some(ChunkSize::Large); 2]);
        assert_eq!(size(MAX_MTU + 1), None);
    }

    #[test]
    #[should_panic(expected = "another memory")]
    fn a_frame_opens_only_its_own_memory() {
        let (_first, mut pool) = Umem::new(1, ChunkSize::Small).unwrap();
        let (second, _pool) = Umem::new(1, ChunkSize::Small).unwrap();
        second.data(&pool.take().unwrap());
    }
}
