//! Memory from the kernel, of huge pages where there are some.
//!
//! Pages come from the NUMA node of the thread that first writes them, as always on Linux.

use std::fmt;
use std::io;
use std::ptr::{self, NonNull};

/// Bytes of a huge page that is asked for. Where the architecture has none of this size, pages are small.
pub(crate) const HUGE_PAGE: usize = 2 << 20;
/// Bytes of a page at least: no architecture has smaller ones.
const SMALLEST_PAGE: usize = 4096;

/// What pages a region is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pages {
    /// Pages of the system's usual size.
    Small,
    /// The kernel makes huge pages of it where it finds some (`transparent_hugepage`).
    Transparent,
    /// Huge pages set aside by the operator (`vm.nr_hugepages`), reserved for the whole region.
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

/// Memory that begins on a page: zeroed, readable, writable, unmapped on drop.
#[derive(Debug)]
pub struct Region {
    start: NonNull<u8>,
    len: usize,
    /// Bytes mapped from `start` on.
    mapped: usize,
    pages: Pages,
}

// SAFETY: a region is plain memory that belongs to no thread; what may be read and written when is the concern of
// those who hold it.
unsafe impl Send for Region {}
// SAFETY: as above; a shared reference gives out only the address.
unsafe impl Sync for Region {}

impl Region {
    /// A region of `len` bytes. It takes memory as it is written; only huge pages are reserved at once.
    ///
    /// # Errors
    /// Those of mmap(2): `ENOMEM` if there is not enough address space, or the system forbids overcommitment.
    pub fn zeroed(len: usize) -> io::Result<Self> {
        if len < HUGE_PAGE {
            let mapped = len.max(1);
            return Ok(Self { start: map(mapped, libc::MAP_NORESERVE)?, len, mapped, pages: Pages::Small });
        }
        let mapped = len
            .checked_next_multiple_of(HUGE_PAGE)
            .ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
        // Without MAP_NORESERVE: the pages are reserved now, so that touching them later cannot fail.
        if let Ok(start) = map(mapped, libc::MAP_HUGETLB | libc::MAP_HUGE_2MB) {
            return Ok(Self { start, len, mapped, pages: Pages::Huge });
        }
        let start = map_aligned(mapped)?;
        let pages = if advise_huge(start, mapped) { Pages::Transparent } else { Pages::Small };
        Ok(Self { start, len, mapped, pages })
    }

    /// A region of `len` bytes that takes all its memory now, from the NUMA node of this thread if there is enough.
    ///
    /// # Errors
    /// As above.
    pub fn populated(len: usize) -> io::Result<Self> {
        let region = Self::zeroed(len)?;
        for offset in (0..len).step_by(SMALLEST_PAGE) {
            // SAFETY: inside the mapping, which nobody else knows of yet.
            unsafe { region.start.add(offset).write_volatile(0) };
        }
        Ok(region)
    }

    /// Where it begins. What is read and written through this must be within [`bytes`](Self::bytes), and not longer than
    /// the region lives.
    #[inline(always)]
    pub fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Bytes of it that may be used.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.len
    }

    /// What pages it is made of.
    pub fn pages(&self) -> Pages {
        self.pages
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours alone, of exactly this size, and who holds pointers into it holds `self` too.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.mapped) };
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
    use super::*;

    fn page_size() -> usize {
        // SAFETY: asks for a constant of the system.
        unsafe { libc::sysconf(libc::_SC_PAGESIZE) as usize }
    }

    /// How many of its pages are in memory.
    fn resident(region: &Region) -> usize {
        let mut pages = vec![0_u8; region.mapped.div_ceil(page_size())];
        // SAFETY: the range is mapped, and `pages` has a byte for each page of it or more.
        let failed =
            unsafe { libc::mincore(region.start.as_ptr().cast(), region.mapped, pages.as_mut_ptr()) };
        assert_eq!(failed, 0, "{}", io::Error::last_os_error());
        pages.iter().filter(|page| **page & 1 == 1).count()
    }

    #[test]
    fn memory_is_taken_when_it_is_asked_for() {
        for len in [1, SMALLEST_PAGE + 1, HUGE_PAGE - 1, HUGE_PAGE, HUGE_PAGE + 1] {
            let (lazy, whole) = (Region::zeroed(len).unwrap(), Region::populated(len).unwrap());
            for region in [&lazy, &whole] {
                let aligned_to = if len < HUGE_PAGE { SMALLEST_PAGE } else { HUGE_PAGE };
                assert_eq!((region.bytes(), region.start().as_ptr().addr() % aligned_to), (len, 0));
            }
            assert_eq!(resident(&lazy), 0, "{len}");
            assert!(resident(&whole) >= len / page_size(), "{len}");
        }
    }
}
