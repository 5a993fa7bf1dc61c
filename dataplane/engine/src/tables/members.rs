//! Which endpoints take part in which overlay: whose frames are let in, and who gets what is flooded.

use std::fmt;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use super::OverlayIndex;

/// Indices of endpoints, ascending. Overlays that start with the same ones share them.
pub(super) type Set = Arc<Box<[u16]>>;

/// The endpoints of each overlay. They change in place, each overlay's by itself, so that one that joins one overlay of
/// 65 536 costs no more than the overlay's own list.
///
/// Only what is not decided by the station itself is looked up here, so that it is never read for most packets.
pub(crate) struct Members(Box<[ArcSwap<Box<[u16]>>]>);

impl Members {
    pub(super) fn new(sets: impl IntoIterator<Item = Set>) -> Self {
        Self(sets.into_iter().map(ArcSwap::new).collect())
    }

    /// Whether an endpoint takes part.
    pub(super) fn contains(&self, overlay: OverlayIndex, endpoint: u16) -> bool {
        self.of(overlay).binary_search(&endpoint).is_ok()
    }

    /// All that take part, at this moment.
    pub(crate) fn of(&self, overlay: OverlayIndex) -> Guard<Set> {
        self.0[overlay.0 as usize].load()
    }

    /// Adds an endpoint; what readers may still look at, or `None` if it was there.
    pub(super) fn join(&self, overlay: OverlayIndex, endpoint: u16) -> Option<Set> {
        let before = self.of(overlay);
        let at = before.binary_search(&endpoint).err()?;
        let after = [&before[..at], &[endpoint], &before[at..]].concat();
        drop(before);
        Some(self.0[overlay.0 as usize].swap(Arc::new(after.into())))
    }

    /// Takes an endpoint out; what readers may still look at, or `None` if it was not there.
    pub(super) fn leave(&self, overlay: OverlayIndex, endpoint: u16) -> Option<Set> {
        let before = self.of(overlay);
        let at = before.binary_search(&endpoint).ok()?;
        let after = [&before[..at], &before[at + 1..]].concat();
        drop(before);
        Some(self.0[overlay.0 as usize].swap(Arc::new(after.into())))
    }
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Members({} overlays)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlay_changes_by_itself() {
        let shared: Set = Arc::new([3, 9].into());
        let members = Members::new([Arc::clone(&shared), shared]);
        let [one, other] = [0, 1].map(OverlayIndex);
        assert!(members.join(one, 5).is_some_and(|before| **before == [3, 9]));
        assert!(members.join(one, 5).is_none());
        assert_eq!(***members.of(one), [3, 5, 9]);
        assert_eq!(***members.of(other), [3, 9]);
        assert!(members.contains(one, 5) && !members.contains(other, 5));
        assert!(members.leave(one, 3).is_some() && members.leave(one, 3).is_none());
        assert_eq!(***members.of(one), [5, 9]);
    }
}
