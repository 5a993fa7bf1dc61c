//! How many there are of something, in each overlay and in all.

use foldhash::quality::RandomState;
use hashbrown::HashMap;

use crate::tables::OverlayIndex;

/// Counts of overlays that have any.
#[derive(Debug, Default)]
pub(super) struct OverlayCounts {
    counts: HashMap<u32, usize, RandomState>,
    total: usize,
}

impl OverlayCounts {
    pub(super) fn total(&self) -> usize {
        self.total
    }

    pub(super) fn of(&self, overlay: OverlayIndex) -> usize {
        self.counts.get(&overlay.0).copied().unwrap_or(0)
    }

    pub(super) fn add(&mut self, overlay: OverlayIndex) {
        *self.counts.entry(overlay.0).or_insert(0) += 1;
        self.total += 1;
    }

    /// Takes off `number` that were added.
    pub(super) fn subtract(&mut self, overlay: OverlayIndex, number: usize) {
        let left = self.of(overlay) - number;
        if left == 0 {
            self.counts.remove(&overlay.0);
        } else {
            self.counts.insert(overlay.0, left);
        }
        self.total -= number;
    }
}
