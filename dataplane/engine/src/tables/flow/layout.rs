//! Which bucket arrays there are, and in which of them a bucket is.

use std::sync::Arc;

use super::bucket::{Bucket, Buckets, Row};
use super::sync::{AtomicUsize, Ordering};

/// The bucket arrays: one, or two while the table grows.
///
/// ```text
///          0      migrated          N                         2N
///   old    ├─frozen──┼─────live─────┤
///   new    ├──live───┼──not yet─────┼──live───┼───not yet─────┤
///          0      migrated          N      N + migrated       2N
/// ```
#[derive(Debug)]
pub(super) struct Layout {
    old: Option<Arc<Buckets>>,
    new: Arc<Buckets>,
    /// Buckets of `old` below this are in `new`, and frozen where they were.
    migrated: AtomicUsize,
}

impl Layout {
    /// All in one array.
    pub(super) fn steady(buckets: Arc<Buckets>) -> Self {
        Self { old: None, new: buckets, migrated: AtomicUsize::new(0) }
    }

    /// The beginning of growth from this layout's newest array to `larger`, of twice its size.
    pub(super) fn growing(&self, larger: Arc<Buckets>) -> Self {
        Self { old: Some(Arc::clone(&self.new)), new: larger, migrated: AtomicUsize::new(0) }
    }

    /// The end of it.
    pub(super) fn grown(&self) -> Self {
        Self::steady(Arc::clone(&self.new))
    }

    #[inline]
    pub(super) fn rows(&self) -> Rows<'_> {
        Rows { old: self.old.as_ref().map(|old| old.row()), new: self.new.row(), migrated: &self.migrated }
    }

    pub(super) fn newest(&self) -> &Buckets {
        &self.new
    }

    /// Buckets of the older array, or the only one.
    pub(super) fn smallest(&self) -> usize {
        self.old.as_ref().unwrap_or(&self.new).row().len()
    }
}

/// References to the arrays of a layout.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows<'a> {
    pub(super) old: Option<Row<'a>>,
    pub(super) new: Row<'a>,
    migrated: &'a AtomicUsize,
}

impl<'a> Rows<'a> {
    /// How many old buckets have been migrated; what they were migrated to is seen by whoever reads this.
    #[inline]
    pub(super) fn migrated(self) -> usize {
        self.migrated.load(Ordering::Acquire)
    }

    pub(super) fn set_migrated(self, migrated: usize) {
        self.migrated.store(migrated, Ordering::Release);
    }

    /// Where the bucket of a choice is when so many are migrated.
    #[inline]
    pub(super) fn locate(self, choice: u32, migrated: usize) -> Place<'a> {
        if let Some(old) = self.old {
            let index = old.index(choice);
            if index >= migrated {
                return Place { row: old, index };
            }
        }
        Place { row: self.new, index: self.new.index(choice) }
    }

    /// All buckets that are live when so many are migrated.
    pub(super) fn live(self, migrated: usize) -> impl Iterator<Item = Bucket<'a>> {
        let old = self.old.map(|old| (old.len(), (migrated..old.len()).map(move |index| old.bucket(index))));
        let (size, unmigrated) = old.map_or((0, None), |(size, buckets)| (size, Some(buckets)));
        (0..self.new.len())
            .filter(move |index| size == 0 || index % size < migrated)
            .map(move |index| self.new.bucket(index))
            .chain(unmigrated.into_iter().flatten())
    }
}

/// A bucket's array and index.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    row: Row<'a>,
    pub(super) index: usize,
}

impl<'a> Place<'a> {
    #[inline]
    pub(super) fn bucket(self) -> Bucket<'a> {
        self.row.bucket(self.index)
    }

    #[inline]
    pub(super) fn prefetch(self) {
        self.bucket().prefetch();
    }

    pub(super) fn same_array(self, other: Self) -> bool {
        self.row.is(other.row)
    }
}

impl PartialEq for Place<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.same_array(*other) && self.index == other.index
    }
}
