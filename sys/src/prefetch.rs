//! Hints that memory will be read soon.
//!
//! A hint changes no state that a program can see; on architectures without one these functions do nothing.

/// Asks for the cache line in which `value` begins.
#[inline(always)]
pub fn read<T: ?Sized>(value: &T) {
    hint(std::ptr::from_ref(value).cast());
}

/// Asks for the cache line in which `slice[index]` begins; nothing if `index` is out of bounds.
#[inline(always)]
pub fn read_at<T>(slice: &[T], index: usize) {
    if let Some(value) = slice.get(index) {
        read(value);
    }
}

/// Asks for the cache line at `address`, which may be any.
#[inline(always)]
pub fn address(address: *const u8) {
    hint(address);
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn hint(address: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: PREFETCHT0 needs SSE, which every x86_64 has; it never faults and never writes, whatever the
    // address (Intel SDM vol. 2B, "PREFETCHh").
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
}

#[cfg(target_arch = "aarch64")]
#[inline(always)]
fn hint(address: *const u8) {
    // SAFETY: PRFM is a hint: it never raises a synchronous exception and changes no register or memory,
    // whatever the address (Arm ARM, "Prefetch memory").
    unsafe {
        std::arch::asm!(
            "prfm pldl1keep, [{address}]",
            address = in(reg) address,
            options(nostack, readonly, preserves_flags),
        );
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[inline(always)]
fn hint(_address: *const u8) {}

#[cfg(test)]
mod tests {
    #[test]
    fn any_value_and_index_may_be_hinted() {
        super::read("text");
        super::read(&());
        super::address(std::ptr::null());
        let words = [1u64, 2, 3];
        super::read_at(&words, 2);
        super::read_at(&words, 3);
        super::read_at(&words, usize::MAX);
        assert_eq!(words, [1, 2, 3]);
    }
}
