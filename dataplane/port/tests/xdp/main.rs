//! The XDP program in the real kernel. Needs root: without, the tests fail and say so.

use std::sync::{Mutex, MutexGuard, PoisonError};

mod attach;
mod classifier;
mod collector;
mod frames;
mod live;
mod questions;

/// For tests that start processes, and for those that close a descriptor and look at the effect: between fork and exec
/// a child has a copy of every descriptor, so that closing has none.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
