//! What a worker may hand to the slow path: so much of each class for each overlay, and so much in all.

use crate::api::{PacketRate, PuntClass, PuntLimits};
use crate::counters::Reason;
use crate::limit::Policer;
use crate::tables::OverlayIndex;

const CLASSES: usize = PuntClass::ALL.len();

/// The buckets of one worker.
#[derive(Debug)]
pub(crate) struct Police {
    each: [Policer; CLASSES],
    all: [Policer; CLASSES],
    overlays: Vec<[u64; CLASSES]>,
    total: [u64; CLASSES],
    link: Policer,
    on_links: u64,
}

/// What is about no overlay: neighbours of ports that ask for shards, each twice a minute. Costs overlays nothing.
const LINK: PacketRate = PacketRate { rate: 20_000, burst: 4_096 };

impl Police {
    pub(crate) fn new(limits: &PuntLimits, overlays: usize) -> Self {
        Self {
            each: limits.overlay.map(Policer::new),
            all: limits.total.map(Policer::new),
            overlays: vec![[0; CLASSES]; overlays],
            total: [0; CLASSES],
            link: Policer::new(LINK),
            on_links: 0,
        }
    }

    /// Whether one more may be handed over. What an overlay has too much of takes nothing from the others.
    pub(crate) fn admits(&mut self, class: PuntClass, overlay: OverlayIndex, now: u64) -> bool {
        if overlay == OverlayIndex::NONE {
            return self.link.admits(&mut self.on_links, now);
        }
        let index = class as usize;
        let Some(buckets) = self.overlays.get_mut(overlay.0 as usize) else { return false };
        self.each[index].admits(&mut buckets[index], now)
            && self.all[index].admits(&mut self.total[index], now)
    }
}

impl PuntClass {
    /// The class of what is handed over for `reason`.
    pub(crate) fn of(reason: Reason) -> Self {
        match reason {
            Reason::Arp | Reason::Ndp | Reason::ShardQuestion => Self::Neighbour,
            Reason::Resolving | Reason::Unresolved => Self::Resolve,
            Reason::UnknownStation => Self::Stranger,
            Reason::ToRouter | Reason::Dhcp | Reason::Fragmented => Self::Host,
            _ => Self::Error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::PacketRate;

    #[test]
    fn one_overlay_takes_nothing_from_another_nor_one_class_from_another() {
        let limits = PuntLimits {
            overlay: [PacketRate { rate: 10, burst: 5 }; CLASSES],
            total: [PacketRate { rate: 1000, burst: 100 }; CLASSES],
        };
        let mut police = Police::new(&limits, 50);
        let now = 1_000_000_000;
        let mut admitted =
            |class, overlay| (0..1000).filter(|_| police.admits(class, OverlayIndex(overlay), now)).count();
        assert_eq!(admitted(PuntClass::Neighbour, 0), 5);
        assert_eq!(admitted(PuntClass::Error, 0), 5);
        for overlay in 1..20 {
            assert_eq!(admitted(PuntClass::Neighbour, overlay), 5);
        }
        assert_eq!(admitted(PuntClass::Neighbour, 20), 0, "a hundred in all");
        assert_eq!(admitted(PuntClass::Error, 20), 5);
        assert_eq!(admitted(PuntClass::Error, 1_000_000), 0, "no overlay");
        assert_eq!(admitted(PuntClass::Neighbour, OverlayIndex::NONE.0), 1000, "about none");
    }
}
