//! Single-producer single-consumer rings as AF_XDP lays them out: two free-running indices, a flags word and a
//! power-of-two array, in memory that is shared with the kernel, or with a stand-in for it in this process.

use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::net::xdp::{XdpRingFlags, XdpRingOffset};

use crate::mapping::Mapping;

/// A frame in an RX or TX ring (`struct xdp_desc`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Descriptor {
    /// Offset of the frame's first byte in the UMEM.
    pub(crate) address: u64,
    /// Length in bytes.
    pub(crate) len: u32,
    /// `XDP_PKT_CONTD` and the like; zero here.
    pub(crate) options: u32,
}

/// The shared part of a ring. Entries are `u64` addresses or [`Descriptor`]s: plain data, any bits are valid.
struct Shared<T> {
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    entries: NonNull<T>,
    mask: u32,
    /// Keeps the memory mapped as long as an end exists.
    _memory: Arc<Mapping>,
}

// SAFETY: indices are atomics; an entry is touched only by the end that owns it by the indices' protocol, and each
// end is a value of its own that needs `&mut self`.
unsafe impl<T: Copy + Send> Send for Shared<T> {}

/// The end that writes entries.
pub(crate) struct Producer<T> {
    shared: Shared<T>,
    /// Next index to write; published by `publish`.
    next: u32,
    /// The other end's index as last seen.
    seen: u32,
}

/// The end that reads entries.
pub(crate) struct Consumer<T> {
    shared: Shared<T>,
    /// Next index to read; published by `release`.
    next: u32,
    /// The other end's index as last seen.
    seen: u32,
}

/// Where things lie in an in-process ring: each index on a cache line of its own.
const MEMORY_LAYOUT: XdpRingOffset = XdpRingOffset { producer: 0, consumer: 64, flags: Some(128), desc: 192 };

impl<T: Copy> Shared<T> {
    /// # Safety
    /// `layout` must be what the owner of `memory` said: offsets of index words and of `size` entries inside it,
    /// aligned for their types; and there must be at most one producer and one consumer of the ring.
    unsafe fn new(memory: Arc<Mapping>, layout: &XdpRingOffset, size: u32) -> Self {
        assert!(size.is_power_of_two());
        let at = |offset: u64| {
            assert!(offset as usize + 4 <= memory.len());
            // SAFETY: inside the mapping, by the assertion.
            unsafe { memory.start().add(offset as usize) }
        };
        assert!(layout.desc as usize + size as usize * size_of::<T>() <= memory.len());
        Self {
            producer: at(layout.producer).cast(),
            consumer: at(layout.consumer).cast(),
            // Checked when the kernel gave the layout.
            flags: at(layout.flags.expect("a ring with flags")).cast(),
            entries: at(layout.desc).cast(),
            mask: size - 1,
            _memory: memory,
        }
    }

    /// Maps a ring of an AF_XDP socket.
    ///
    /// # Safety
    /// `page_offset`, `layout` and `size` must be those of one ring whose entries are `T`, as the kernel gave them, and
    /// the end that is made of this must be the only one that is not the kernel's.
    unsafe fn of_kernel(
        socket: BorrowedFd<'_>,
        page_offset: u64,
        layout: &XdpRingOffset,
        size: u32,
    ) -> io::Result<Self> {
        if layout.flags.is_none() {
            let message = "AF_XDP of this kernel is too old (before 5.4)";
            return Err(io::Error::new(io::ErrorKind::Unsupported, message));
        }
        let len = layout.desc as usize + size as usize * size_of::<T>();
        let memory = Arc::new(Mapping::of_descriptor(socket, len, page_offset)?);
        // SAFETY: the mapping is of the ring's length and page-aligned; the rest is the caller's promise.
        Ok(unsafe { Self::new(memory, layout, size) })
    }

    fn producer(&self) -> &AtomicU32 {
        // SAFETY: points into the mapping that `_memory` keeps, aligned, and only ever used as an atomic here.
        unsafe { self.producer.as_ref() }
    }

    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as above.
        unsafe { self.consumer.as_ref() }
    }

    fn needs_wakeup(&self) -> bool {
        // SAFETY: as above.
        let flags = unsafe { self.flags.as_ref() }.load(Ordering::Relaxed);
        XdpRingFlags::from_bits_retain(flags).contains(XdpRingFlags::XDP_RING_NEED_WAKEUP)
    }

    fn size(&self) -> u32 {
        self.mask + 1
    }
}

/// A ring inside this process: both ends.
pub(crate) fn in_memory<T: Copy>(size: u32) -> io::Result<(Producer<T>, Consumer<T>)> {
    let len = MEMORY_LAYOUT.desc as usize + size as usize * size_of::<T>();
    let memory = Arc::new(Mapping::anonymous(len)?);
    // SAFETY: the layout fits the mapping just made, which is page-aligned, and one end of each kind is made.
    let (producer, consumer) = unsafe {
        (Shared::new(Arc::clone(&memory), &MEMORY_LAYOUT, size), Shared::new(memory, &MEMORY_LAYOUT, size))
    };
    Ok((Producer { shared: producer, next: 0, seen: 0 }, Consumer { shared: consumer, next: 0, seen: 0 }))
}

impl<T: Copy> Producer<T> {
    /// Maps a fill or TX ring of an AF_XDP socket. To be called once for each ring of a socket.
    pub(crate) fn of_kernel(
        socket: BorrowedFd<'_>,
        page_offset: u64,
        layout: &XdpRingOffset,
        size: u32,
    ) -> io::Result<Self> {
        // SAFETY: the kernel gave the layout of this very ring and is its consumer.
        let shared = unsafe { Shared::of_kernel(socket, page_offset, layout, size)? };
        Ok(Self { shared, next: 0, seen: 0 })
    }

    /// Writes an entry, unseen by the other end until [`publish`](Self::publish). False if the ring is full.
    #[inline]
    pub(crate) fn push(&mut self, entry: T) -> bool {
        if self.is_full() {
            return false;
        }
        // SAFETY: the index is masked into the array; the entry is ours, because the consumer has released it (its
        // index, read with Acquire, is less than `size` behind) and has not been told of it again.
        unsafe { self.shared.entries.add((self.next & self.shared.mask) as usize).write(entry) };
        self.next = self.next.wrapping_add(1);
        true
    }

    /// Whether there is no room for an entry.
    #[inline]
    pub(crate) fn is_full(&mut self) -> bool {
        self.next.wrapping_sub(self.seen) == self.shared.size() && self.pending() == self.shared.size()
    }

    /// Lets the other end see all that was pushed.
    #[inline]
    pub(crate) fn publish(&mut self) {
        self.shared.producer().store(self.next, Ordering::Release);
    }

    /// Published entries that the other end has not taken yet.
    #[inline]
    pub(crate) fn pending(&mut self) -> u32 {
        self.seen = self.shared.consumer().load(Ordering::Acquire);
        self.next.wrapping_sub(self.seen)
    }

    /// Whether the kernel asks for a system call to go on.
    #[inline]
    pub(crate) fn needs_wakeup(&self) -> bool {
        self.shared.needs_wakeup()
    }
}

impl<T: Copy> Consumer<T> {
    /// Maps a completion or RX ring of an AF_XDP socket. To be called once for each ring of a socket.
    pub(crate) fn of_kernel(
        socket: BorrowedFd<'_>,
        page_offset: u64,
        layout: &XdpRingOffset,
        size: u32,
    ) -> io::Result<Self> {
        // SAFETY: the kernel gave the layout of this very ring and is its producer.
        let shared = unsafe { Shared::of_kernel(socket, page_offset, layout, size)? };
        Ok(Self { shared, next: 0, seen: 0 })
    }

    /// Reads the next entry; its place is given back by [`release`](Self::release).
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<T> {
        if self.next == self.seen {
            self.seen = self.shared.producer().load(Ordering::Acquire);
            if self.next == self.seen {
                return None;
            }
        }
        // SAFETY: the index is masked into the array; the producer has published the entry (its index was read with
        // Acquire) and will not write to it before `release`. Any bits are a valid `T`.
        let entry = unsafe { self.shared.entries.add((self.next & self.shared.mask) as usize).read() };
        self.next = self.next.wrapping_add(1);
        Some(entry)
    }

    /// Gives back the places of all entries that were popped.
    #[inline]
    pub(crate) fn release(&mut self) {
        self.shared.consumer().store(self.next, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_arrive_once_and_in_order_however_indices_wrap() {
        let (mut producer, mut consumer) = in_memory::<u64>(8).unwrap();
        let start = u32::MAX - 3;
        (producer.next, producer.seen, consumer.next, consumer.seen) = (start, start, start, start);
        consumer.release();
        producer.publish();
        let (mut sent, mut received) = (0, 0);
        for round in 0..1000_u64 {
            for _ in 0..=(round % 11) {
                sent += u64::from(producer.push(sent));
            }
            assert!(consumer.pop().is_none(), "seen before it was published");
            assert!(producer.pending() <= 8);
            producer.publish();
            while let Some(entry) = consumer.pop() {
                assert_eq!(entry, received);
                received += 1;
            }
            consumer.release();
        }
        assert_eq!(sent, received);
        assert!(sent > 5000);
    }

    #[test]
    fn two_threads_agree() {
        let (mut producer, mut consumer) = in_memory::<u64>(64).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut value = 0;
                while value < 100_000 {
                    value += u64::from(producer.push(value));
                    producer.publish();
                }
            });
            let mut expected = 0;
            while expected < 100_000 {
                while let Some(value) = consumer.pop() {
                    assert_eq!(value, expected);
                    expected += 1;
                }
                consumer.release();
                std::thread::yield_now();
            }
        });
    }
}
