//! Stations that are not known yet: let in for a while, a few an overlay, so that one that has just come is served
//! until its route arrives.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use foldhash::quality::RandomState;
use hashbrown::HashMap;
use wire::MacAddr;

use crate::tables::OverlayIndex;

/// Visitors of one overlay at a time, and so many barred ones.
const PER_OVERLAY: usize = 64;
/// Of all overlays, against sixteen thousand that all misbehave.
const IN_ALL: usize = 1 << 20;
/// How long one is let in.
const VISIT: Duration = Duration::from_secs(5);
/// How long one that nobody has named after its visit stays out: otherwise it would be let in for ever.
const BARRED: Duration = Duration::from_secs(60);

type Queue = VecDeque<(Instant, OverlayIndex, MacAddr)>;

/// Whose visit ends when.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    /// With the end of the visit or of the bar.
    known: HashMap<(OverlayIndex, MacAddr), Known, RandomState>,
    counts: HashMap<OverlayIndex, Counts, RandomState>,
    /// In the order in which the visits end.
    visits: Queue,
    /// In the order in which they may come again.
    bars: Queue,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    Visits(Instant),
    Barred(Instant),
}

#[derive(Debug, Default)]
struct Counts {
    visitors: usize,
    barred: usize,
}

impl Strangers {
    /// Whether this one is let in now.
    pub(super) fn admit(&mut self, overlay: OverlayIndex, mac: MacAddr, now: Instant) -> bool {
        if self.known.contains_key(&(overlay, mac)) || self.known.len() >= IN_ALL {
            return false;
        }
        let counts = self.counts.entry(overlay).or_default();
        if counts.visitors >= PER_OVERLAY {
            return false;
        }
        counts.visitors += 1;
        self.known.insert((overlay, mac), Known::Visits(now + VISIT));
        self.visits.push_back((now + VISIT, overlay, mac));
        true
    }

    /// This one is a station now: a later visit has nothing to do with this one.
    pub(super) fn forget(&mut self, overlay: OverlayIndex, mac: MacAddr) {
        if let Some(known) = self.known.remove(&(overlay, mac)) {
            self.uncount(overlay, known);
        }
    }

    /// Calls `leave` for those whose visit is over.
    pub(super) fn poll(&mut self, now: Instant, mut leave: impl FnMut(OverlayIndex, MacAddr)) {
        while let Some((end, overlay, mac)) = self.visits.pop_front_if(|(end, ..)| *end <= now) {
            if self.known.get(&(overlay, mac)) != Some(&Known::Visits(end)) {
                continue;
            }
            leave(overlay, mac);
            let Some(counts) = self.counts.get_mut(&overlay) else { continue };
            if counts.barred < PER_OVERLAY {
                counts.visitors -= 1;
                counts.barred += 1;
                self.known.insert((overlay, mac), Known::Barred(end + BARRED));
                self.bars.push_back((end + BARRED, overlay, mac));
            } else {
                self.forget(overlay, mac);
            }
        }
        while let Some((end, overlay, mac)) = self.bars.pop_front_if(|(end, ..)| *end <= now) {
            if self.known.get(&(overlay, mac)) == Some(&Known::Barred(end)) {
                self.forget(overlay, mac);
            }
        }
    }

    fn uncount(&mut self, overlay: OverlayIndex, known: Known) {
        let Some(counts) = self.counts.get_mut(&overlay) else { return };
        match known {
            Known::Visits(_) => counts.visitors -= 1,
            Known::Barred(_) => counts.barred -= 1,
        }
        if counts.visitors + counts.barred == 0 {
            self.counts.remove(&overlay);
        }
    }

    /// When there is something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let first = |queue: &Queue| queue.front().map(|(end, ..)| *end);
        first(&self.visits).into_iter().chain(first(&self.bars)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OVERLAY: OverlayIndex = OverlayIndex(7);

    fn mac(number: u32) -> MacAddr {
        let [a, b, c, d] = number.to_be_bytes();
        MacAddr([2, 0, a, b, c, d])
    }

    fn left(strangers: &mut Strangers, now: Instant) -> usize {
        let mut left = 0;
        strangers.poll(now, |_, _| left += 1);
        left
    }

    #[test]
    fn a_few_an_overlay_for_a_while_and_not_at_once_again() {
        let (mut strangers, start) = (Strangers::default(), Instant::now());
        let admitted = (0..1000).filter(|n| strangers.admit(OVERLAY, mac(*n), start)).count();
        assert_eq!(admitted, PER_OVERLAY);
        assert!(strangers.admit(OverlayIndex(8), mac(5), start), "another overlay");
        assert_eq!(left(&mut strangers, start + VISIT - Duration::from_nanos(1)), 0);
        assert_eq!(strangers.deadline(), Some(start + VISIT));
        assert_eq!(left(&mut strangers, start + VISIT), PER_OVERLAY + 1);
        let later = start + VISIT;
        assert!(!strangers.admit(OVERLAY, mac(5), later), "it had its visit");
        assert!(strangers.admit(OVERLAY, mac(5000), later), "there is room again");
        assert_eq!(left(&mut strangers, later + BARRED), 1);
        assert!(strangers.admit(OVERLAY, mac(5), later + BARRED));
    }

    #[test]
    fn one_that_becomes_a_station_may_come_again() {
        let (mut strangers, start) = (Strangers::default(), Instant::now());
        assert!(strangers.admit(OVERLAY, mac(5), start));
        strangers.forget(OVERLAY, mac(5));
        let later = start + VISIT / 2;
        assert!(strangers.admit(OVERLAY, mac(5), later), "neither a visitor nor barred");
        assert_eq!(left(&mut strangers, start + VISIT), 0, "that was the end of the first visit");
        assert_eq!(left(&mut strangers, later + VISIT), 1);
        strangers.forget(OVERLAY, mac(5));
        assert!(strangers.known.is_empty() && strangers.counts.is_empty());
    }

    #[test]
    fn they_are_bounded_and_forgotten() {
        let (mut strangers, start) = (Strangers::default(), Instant::now());
        let mut now = start;
        for round in 0..20 {
            for number in 0..PER_OVERLAY as u32 {
                assert!(strangers.admit(OVERLAY, mac(1000 * round + number), now));
            }
            now += VISIT;
            left(&mut strangers, now);
            assert!(strangers.known.len() <= 2 * PER_OVERLAY);
        }
        left(&mut strangers, now + BARRED);
        assert!(strangers.known.is_empty() && strangers.counts.is_empty());
        assert_eq!(strangers.deadline(), None);
    }
}
