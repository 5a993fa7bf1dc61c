//! Large zeroed arrays of atomic words, of huge pages where there are some.
//!
//! Address space is reserved for the whole array at once, memory is taken as words are first written. So an array can
//! be made as large as it may ever become, and neither moves nor grows.
//!
//! Pages come from the NUMA node of the thread that first writes them, as always on Linux.

use std::fmt;
use std::io;
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::AtomicU64;

/// Bytes of a huge page that is asked for. Where the architecture has none of this size, pages are small.
const HUGE_PAGE: usize = 2 << 20;

/// What memory an array is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pages {
    /// Pages of the system's usual size.
    Small,
    /// The kernel makes huge pages of it where it finds some (`transparent_hugepage`).
    Transparent,
    /// Huge pages set aside by the operator (`vm.nr_hugepages`), reserved for the whole array.
    Huge,
}

impl fmt::Display for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Small => "small",
            Self::Transparent => "transparent",
            Self::Huge => "huge",
        })
    }
}

/// An array of atomic words, zero at first, that begins on a page.
pub struct Words {
    start: NonNull<AtomicU64>,
    len: usize,
    /// Bytes mapped from `start` on.
    mapped: usize,
    pages: Pages,
}

// SAFETY: `Words` owns its mapping alone, and gives out only shared references to atomics.
unsafe impl Send for Words {}
// SAFETY: as above: all access through `&Words` is to atomics.
unsafe impl Sync for Words {}

impl Words {
    /// An array of `len` words (8 bytes each).
    ///
    /// # Errors
    /// Those of mmap(2): `ENOMEM` if there is not enough address space, or the system forbids overcommitment.
    pub fn zeroed(len: usize) -> io::Result<Self> {
        let too_large = || io::Error::from(io::ErrorKind::OutOfMemory);
        let bytes = len.checked_mul(size_of::<AtomicU64>()).ok_or_else(too_large)?.max(1);
        if bytes < HUGE_PAGE {
            let start = map(bytes, libc::MAP_NORESERVE)?;
            return Ok(Self { start: start.cast(), len, mapped: bytes, pages: Pages::Small });
        }
        let mapped = bytes.checked_next_multiple_of(HUGE_PAGE).ok_or_else(too_large)?;
        // Without MAP_NORESERVE: the pages are reserved now, so that touching them later cannot fail.
        if let Ok(start) = map(mapped, libc::MAP_HUGETLB | libc::MAP_HUGE_2MB) {
            return Ok(Self { start: start.cast(), len, mapped, pages: Pages::Huge });
        }
        let start = map_aligned(mapped)?;
        let pages = if advise_huge(start, mapped) { Pages::Transparent } else { Pages::Small };
        Ok(Self { start: start.cast(), len, mapped, pages })
    }

    /// What memory it is made of.
    pub fn pages(&self) -> Pages {
        self.pages
    }
}

impl Deref for Words {
    type Target = [AtomicU64];

    #[inline(always)]
    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: `start` begins a mapping of at least `len` words, aligned to a page, readable and writable,
        // zeroed by the kernel (all zeros is an `AtomicU64`), which lives as long as `self`; nobody else knows
        // of it, and no `&mut` to it is ever made.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Words {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours alone, of exactly this size, and no reference into it outlives `self`.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.mapped) };
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Words").field("len", &self.len).field("pages", &self.pages).finish_non_exhaustive()
    }
}

/// Maps `bytes` of new private memory.
fn map(bytes: usize, flags: libc::c_int) -> io::Result<NonNull<u8>> {
    // SAFETY: a new anonymous mapping at an address that the kernel chooses touches no memory in use.
    let start = unsafe {
        libc::mmap(
            ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags,
            -1,
            0,
        )
    };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(start.cast()).ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))
}

/// Maps `bytes`, a multiple of [`HUGE_PAGE`], beginning at a multiple of it: else no huge page fits the ends.
fn map_aligned(bytes: usize) -> io::Result<NonNull<u8>> {
    let room = bytes.checked_add(HUGE_PAGE).ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
    let start = map(room, libc::MAP_NORESERVE)?;
    let before = start.align_offset(HUGE_PAGE);
    // SAFETY: `before` is less than `HUGE_PAGE`: within the mapping of `bytes + HUGE_PAGE`.
    let aligned = unsafe { start.add(before) };
    let after = room - before - bytes;
    // SAFETY: both pieces lie in the mapping just made, outside of what is kept, and begin at pages: the
    // mapping does, and `HUGE_PAGE` is a multiple of the page size (where it is not, munmap fails and leaves
    // the piece). Nobody refers to them.
    unsafe {
        if before > 0 {
            libc::munmap(start.as_ptr().cast(), before);
        }
        if after > 0 {
            libc::munmap(aligned.add(bytes).as_ptr().cast(), after);
        }
    }
    Ok(aligned)
}

/// Asks for transparent huge pages; whether there may be some.
fn advise_huge(start: NonNull<u8>, bytes: usize) -> bool {
    // SAFETY: the range is a mapping of ours; the advice changes no content.
    let advised = unsafe { libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE) } == 0;
    // The kernel takes the advice even where it was told to make no huge pages.
    advised
        && std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled")
            .is_ok_and(|choice| !choice.contains("[never]"))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    #[test]
    fn words_are_zero_aligned_and_there_to_the_last() {
        for len in [0, 1, 511, 512, 513, HUGE_PAGE / 8 - 1, HUGE_PAGE / 8, HUGE_PAGE / 8 + 1, HUGE_PAGE] {
            let words = Words::zeroed(len).unwrap();
            assert_eq!(words.len(), len);
            assert!(words.iter().all(|word| word.load(Relaxed) == 0));
            if let Some(last) = words.last() {
                last.store(7, Relaxed);
                words[0].fetch_add(1, Relaxed);
                assert_eq!(last.load(Relaxed), if len == 1 { 8 } else { 7 });
            }
            let aligned_to = if len * 8 < HUGE_PAGE { 4096 } else { HUGE_PAGE };
            assert_eq!(words.as_ptr().addr() % aligned_to, 0, "{len} words");
        }
    }

    #[test]
    fn only_touched_pages_take_memory() {
        let words = Words::zeroed(1 << 30).unwrap(); // 8 GiB
        words[1 << 29].store(1, Relaxed);
        assert_eq!(words[(1 << 30) - 1].load(Relaxed), 0);
        assert_ne!(words.pages(), Pages::Huge, "nobody sets aside that much");
    }

    #[test]
    fn more_than_there_is_address_space_is_refused() {
        for len in [usize::MAX, usize::MAX / 8, 1 << 58] {
            assert_eq!(Words::zeroed(len).unwrap_err().kind(), io::ErrorKind::OutOfMemory, "{len}");
        }
    }

    #[test]
    fn words_are_written_by_several_threads() {
        let words = Words::zeroed(64).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..1000).for_each(|n| _ = words[n % 64].fetch_add(1, Relaxed)));
            }
        });
        assert_eq!(words.iter().map(|word| word.load(Relaxed)).sum::<u64>(), 2000);
    }
}
