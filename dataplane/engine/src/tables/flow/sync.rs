//! Atomics, arrays of them, and the publication of layouts: the real ones, or those that loom tracks.
//!
//! All else in the flow table is the same source in both. Under loom, an array is a boxed slice of loom's atomics, and
//! a layout is published by an atomic index into the list of all layouts that there ever were: release and acquire,
//! which is what arc-swap promises and what the protocol relies on. arc-swap's own inside is not modelled.

#[cfg(not(all(loom, test)))]
pub(super) use real::*;

#[cfg(all(loom, test))]
pub(super) use modelled::*;

/// Whether loom runs the table: it tries every interleaving, so that sizes must be small.
pub(super) const MODELLED: bool = cfg!(all(loom, test));

#[cfg(not(all(loom, test)))]
mod real {
    use std::sync::Arc;

    use arc_swap::{ArcSwap, Cache};

    pub(in super::super) use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
    pub(in super::super) use sys::prefetch::{read as prefetch, read_at as prefetch_at};
    pub(in super::super) use sys::words::Words;

    /// A value that one thread replaces and others read.
    #[derive(Debug)]
    pub(in super::super) struct Published<T>(Arc<ArcSwap<T>>);

    /// A reader's place at a [`Published`] value: it keeps the last one it saw, so that looking for a newer one is a
    /// single load.
    #[derive(Debug)]
    pub(in super::super) struct Subscription<T>(Cache<Arc<ArcSwap<T>>, Arc<T>>);

    impl<T> Published<T> {
        pub(in super::super) fn new(value: Arc<T>) -> Self {
            Self(Arc::new(ArcSwap::new(value)))
        }

        pub(in super::super) fn publish(&self, value: Arc<T>) {
            self.0.store(value);
        }

        pub(in super::super) fn subscribe(&self) -> Subscription<T> {
            Subscription(Cache::new(Arc::clone(&self.0)))
        }
    }

    impl<T> Subscription<T> {
        /// The newest value.
        #[inline]
        pub(in super::super) fn load(&mut self) -> &T {
            self.0.load()
        }
    }
}

#[cfg(all(loom, test))]
mod modelled {
    use std::io;
    use std::ops::Deref;
    use std::sync::{Arc, Mutex, PoisonError};

    use sys::pages::Pages;

    pub(in super::super) use loom::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};

    pub(in super::super) fn prefetch<T>(_: &T) {}

    pub(in super::super) fn prefetch_at<T>(_: &[T], _: usize) {}

    #[derive(Debug)]
    pub(in super::super) struct Words(Box<[AtomicU64]>);

    impl Words {
        pub(in super::super) fn zeroed(len: usize) -> io::Result<Self> {
            Ok(Self((0..len).map(|_| AtomicU64::new(0)).collect()))
        }

        pub(in super::super) fn pages(&self) -> Pages {
            Pages::Small
        }
    }

    impl Deref for Words {
        type Target = [AtomicU64];

        fn deref(&self) -> &[AtomicU64] {
            &self.0
        }
    }

    #[derive(Debug)]
    struct Versions<T> {
        newest: AtomicUsize,
        // Not loom's: it must add no ordering to that of `newest`.
        all: Mutex<Vec<Arc<T>>>,
    }

    #[derive(Debug)]
    pub(in super::super) struct Published<T>(Arc<Versions<T>>);

    #[derive(Debug)]
    pub(in super::super) struct Subscription<T>(Arc<Versions<T>>, Arc<T>);

    impl<T> Published<T> {
        pub(in super::super) fn new(value: Arc<T>) -> Self {
            Self(Arc::new(Versions { newest: AtomicUsize::new(0), all: Mutex::new(vec![value]) }))
        }

        pub(in super::super) fn publish(&self, value: Arc<T>) {
            let newest = {
                let mut all = self.0.all.lock().unwrap_or_else(PoisonError::into_inner);
                all.push(value);
                all.len() - 1
            };
            self.0.newest.store(newest, Ordering::Release);
        }

        pub(in super::super) fn subscribe(&self) -> Subscription<T> {
            let first = Arc::clone(&self.0.all.lock().unwrap_or_else(PoisonError::into_inner)[0]);
            Subscription(Arc::clone(&self.0), first)
        }
    }

    impl<T> Subscription<T> {
        pub(in super::super) fn load(&mut self) -> &T {
            let newest = self.0.newest.load(Ordering::Acquire);
            self.1 = Arc::clone(&self.0.all.lock().unwrap_or_else(PoisonError::into_inner)[newest]);
            &self.1
        }
    }
}
