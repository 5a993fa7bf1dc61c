//! Memory mapped from the kernel, unmapped on drop.

use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};

use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

/// An owned mapping: page-aligned, readable and writable, zeroed when anonymous.
pub(crate) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: a mapping is plain memory that belongs to no thread; what may be read and written when is the concern of
// the types that hold it.
unsafe impl Send for Mapping {}
// SAFETY: as above; a shared reference gives out only the address.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len` bytes of fresh memory.
    pub(crate) fn anonymous(len: usize) -> io::Result<Self> {
        // SAFETY: no address is asked for, so no existing mapping is touched.
        let start = unsafe {
            mmap_anonymous(
                ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::POPULATE,
            )?
        };
        Ok(Self { start: NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?, len })
    }

    /// Maps `len` bytes of `fd` from `offset`, shared with the kernel.
    pub(crate) fn of_descriptor(fd: BorrowedFd<'_>, len: usize, offset: u64) -> io::Result<Self> {
        // SAFETY: no address is asked for, so no existing mapping is touched.
        let start = unsafe {
            mmap(
                ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED | MapFlags::POPULATE,
                fd,
                offset,
            )?
        };
        Ok(Self { start: NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?, len })
    }

    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by us, is unmapped once, and whoever holds pointers into it also holds this
        // value (see `umem` and `ring`). Failure would mean a wrong range, which the constructors rule out.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.len) };
    }
}
