//! Large zeroed arrays of atomic words, of huge pages where there are some.
//!
//! Address space is reserved for the whole array at once, memory is taken as words are first written. So an array can
//! be made as large as it may ever become, and neither moves nor grows.

use std::fmt;
use std::io;
use std::ops::Deref;
use std::slice;
use std::sync::atomic::AtomicU64;

use crate::pages::{Pages, Region};

/// An array of atomic words, zero at first, that begins on a page.
pub struct Words {
    region: Region,
    len: usize,
}

impl Words {
    /// An array of `len` words (8 bytes each).
    ///
    /// # Errors
    /// Those of mmap(2): `ENOMEM` if there is not enough address space, or the system forbids overcommitment.
    pub fn zeroed(len: usize) -> io::Result<Self> {
        let bytes = len.checked_mul(size_of::<AtomicU64>()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { region: Region::zeroed(bytes)?, len })
    }

    /// What pages it is made of.
    pub fn pages(&self) -> Pages {
        self.region.pages()
    }
}

impl Deref for Words {
    type Target = [AtomicU64];

    #[inline(always)]
    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: the region has at least `len` words, aligned to a page, readable and writable, zeroed by the
        // kernel (all zeros is an `AtomicU64`), and lives as long as `self`; nobody else knows of it, and no `&mut`
        // to it is ever made.
        unsafe { slice::from_raw_parts(self.region.start().cast().as_ptr(), self.len) }
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Words").field("len", &self.len).field("pages", &self.pages()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;
    use crate::pages::HUGE_PAGE;

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
