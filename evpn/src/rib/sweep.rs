//! Work on all routes of a table, done in steps so that neither time nor memory grows with it.

use std::collections::VecDeque;
use std::ops::Range;

use super::table::RouteId;
use crate::event::PeerId;
use crate::family::Family;

/// Routes looked at in one step.
const STEP: RouteId = 1024;

/// What is done with each route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sweep {
    /// Paths of a peer go that were stale in this epoch, and are still.
    Stale(PeerId, Family, u16),
    /// What counts in overlays is decided anew.
    Import,
    /// The same for routes of which a station had too many: there may be room for them.
    Room,
}

impl Sweep {
    /// Whether the one does what the other would do, both being begun now.
    fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Stale(peer, family, _), Self::Stale(other, of, _)) => (peer, family) == (other, of),
            _ => self == other,
        }
    }
}

#[derive(Debug)]
struct Progress {
    sweep: Sweep,
    /// The next route.
    from: RouteId,
    /// The first that is not looked at: what comes later is as it should be.
    end: RouteId,
    /// Routes to look at: those from there on, then the first ones.
    left: RouteId,
}

/// What is under way: each kind of sweep once at most, whatever the peers do.
#[derive(Debug, Default)]
pub(super) struct Sweeps(VecDeque<Progress>);

impl Sweeps {
    /// All routes below `end` are to be looked at. If such a sweep is under way, it goes on from where it is: a peer that
    /// comes and goes faster than its routes are looked at neither adds to the work nor keeps the last routes from their
    /// turn.
    pub(super) fn start(&mut self, sweep: Sweep, end: RouteId) {
        match self.0.iter_mut().find(|progress| progress.sweep.is_like(&sweep)) {
            Some(progress) => *progress = Progress { sweep, end, left: end, ..*progress },
            None => self.0.push_back(Progress { sweep, from: 0, end, left: end }),
        }
    }

    /// The next few routes, those of each sweep in turn.
    pub(super) fn step(&mut self) -> Option<(Sweep, Range<RouteId>)> {
        let Progress { sweep, from, end, left } = self.0.pop_front()?;
        // A table does not shrink, so that `from` is not beyond the end.
        let to = end.min(from.saturating_add(STEP.min(left)));
        let left = left - (to - from);
        if left > 0 {
            self.0.push_back(Progress { sweep, from: if to == end { 0 } else { to }, end, left });
        }
        Some((sweep, from..to))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const SWEEP: Sweep = Sweep::Stale(PeerId(1), Family::Evpn, 7);

    #[test]
    fn each_route_is_looked_at_once() {
        let mut sweeps = Sweeps::default();
        sweeps.start(SWEEP, 3000);
        sweeps.start(Sweep::Import, 3000);
        let mut seen = Vec::new();
        while let Some((sweep, routes)) = sweeps.step() {
            assert!(routes.len() <= STEP as usize);
            seen.extend(routes.filter(|_| sweep == SWEEP));
        }
        assert_eq!(seen, (0..3000).collect::<Vec<_>>());
    }

    #[test]
    fn a_peer_that_flaps_adds_no_work_and_all_routes_have_their_turn() {
        let mut sweeps = Sweeps::default();
        let (mut seen, mut last) = (BTreeSet::new(), 0);
        for epoch in 0..100 {
            sweeps.start(Sweep::Stale(PeerId(1), Family::Evpn, epoch), 10_000);
            assert_eq!(sweeps.0.len(), 1);
            let (sweep, routes) = sweeps.step().unwrap();
            assert_eq!(sweep, Sweep::Stale(PeerId(1), Family::Evpn, epoch));
            last = routes.len();
            seen.extend(routes);
        }
        assert_eq!(seen.len(), 10_000);
        let mut left = 0;
        while let Some((_, routes)) = sweeps.step() {
            left += routes.len();
        }
        assert_eq!(left, 10_000 - last);
    }
}
