//! Entries without a MAC address: how many there are, and which of them failed first.

use std::collections::BTreeSet;
use std::time::Instant;

use super::overlay_counts::OverlayCounts;
use crate::tables::OverlayIndex;

/// Incomplete and failed entries.
#[derive(Debug, Default)]
pub(super) struct Unresolved {
    counts: OverlayCounts,
    /// By overlay, then since when.
    failed_by_overlay: BTreeSet<(u32, Instant, u32)>,
    failed_by_age: BTreeSet<(Instant, u32)>,
}

impl Unresolved {
    pub(super) fn total(&self) -> usize {
        self.counts.total()
    }

    pub(super) fn of(&self, overlay: OverlayIndex) -> usize {
        self.counts.of(overlay)
    }

    /// An entry that is incomplete, or failed at `failed`.
    pub(super) fn add(&mut self, overlay: OverlayIndex, index: u32, failed: Option<Instant>) {
        self.counts.add(overlay);
        if let Some(since) = failed {
            self.failed_by_overlay.insert((overlay.0, since, index));
            self.failed_by_age.insert((since, index));
        }
    }

    /// Takes out what was added.
    pub(super) fn remove(&mut self, overlay: OverlayIndex, index: u32, failed: Option<Instant>) {
        self.counts.subtract(overlay, 1);
        if let Some(since) = failed {
            self.failed_by_overlay.remove(&(overlay.0, since, index));
            self.failed_by_age.remove(&(since, index));
        }
    }

    /// The entry that failed first.
    pub(super) fn oldest_failed(&self) -> Option<u32> {
        self.failed_by_age.first().map(|&(_, index)| index)
    }

    /// The entry of the overlay that failed first.
    pub(super) fn oldest_failed_of(&self, overlay: OverlayIndex) -> Option<u32> {
        let earliest = self.failed_by_age.first()?.0;
        let first = self.failed_by_overlay.range((overlay.0, earliest, 0)..).next();
        first.filter(|&&(of, ..)| of == overlay.0).map(|&(.., index)| index)
    }
}
