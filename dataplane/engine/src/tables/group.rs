//! What this gateway is to a group of overlays: a word that the slow path writes and workers read in place.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::api::Responsibility;
use crate::limit;

/// How long a former owner forwards what is still sent to it: endpoints need as long to hear of a change.
const GRACE: u64 = 2_000_000_000;

/// In a word: nothing is forwarded that is not for this gateway alone.
const OTHER: u64 = 0;
/// In a word: this gateway is the owner. Any other word is when the grace of a former owner ends, on the clock of
/// [`limit::now`].
const OWNER: u64 = u64::MAX;
/// In a word: another gateway is the owner by configuration, and there is no word of a cluster in which all have what is
/// flooded. What comes for the shared MAC address is forwarded.
const UNTOLD: u64 = OWNER - 1;

/// A group's word.
#[derive(Debug)]
pub(crate) struct GroupState(AtomicU64);

impl GroupState {
    /// As configured, before control has said anything.
    pub(super) fn new(is_owner: bool) -> Self {
        Self(AtomicU64::new(if is_owner { OWNER } else { UNTOLD }))
    }

    #[inline(always)]
    pub(crate) fn is_owner(&self) -> bool {
        self.0.load(Ordering::Relaxed) == OWNER
    }

    /// Whether frames for the shared MAC address are to be forwarded.
    #[cold]
    pub(crate) fn forwards(&self) -> bool {
        match self.0.load(Ordering::Relaxed) {
            OWNER => true,
            OTHER => false,
            UNTOLD => true,
            until => limit::now() < until,
        }
    }

    /// Takes over what control says at `now` (of [`limit::now`]).
    pub(super) fn set(&self, responsibility: Responsibility, now: u64) {
        let before = self.0.load(Ordering::Relaxed);
        let after = match responsibility {
            Responsibility::Owner => OWNER,
            Responsibility::Former if before == OWNER => {
                now.saturating_add(GRACE).clamp(OTHER + 1, UNTOLD - 1)
            }
            Responsibility::Former if before == UNTOLD => OTHER,
            // Said once more it does not last longer.
            Responsibility::Former => before,
            Responsibility::Other => OTHER,
        };
        self.0.store(after, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_former_owner_forwards_for_a_while_and_no_longer() {
        let state = GroupState::new(true);
        assert!(state.is_owner() && state.forwards());
        let now = limit::now();
        state.set(Responsibility::Former, now);
        assert!(!state.is_owner() && state.forwards());
        let until = state.0.load(Ordering::Relaxed);
        assert_eq!(until, now + GRACE);
        state.set(Responsibility::Former, now + GRACE / 2);
        assert_eq!(state.0.load(Ordering::Relaxed), until, "said again it is no longer");
        state.0.store(1, Ordering::Relaxed);
        assert!(!state.forwards(), "its time is over");
        state.set(Responsibility::Owner, now);
        assert!(state.is_owner());
        state.set(Responsibility::Other, now);
        assert!(!state.is_owner() && !state.forwards());
        state.set(Responsibility::Former, now);
        assert!(!state.forwards(), "it was not the owner");
    }

    #[test]
    fn a_gateway_without_a_cluster_forwards() {
        for told in [Responsibility::Former, Responsibility::Other] {
            let state = GroupState::new(false);
            assert!(!state.is_owner() && state.forwards());
            state.set(told, limit::now());
            assert!(!state.forwards(), "in a cluster the owner has it too");
        }
    }
}
