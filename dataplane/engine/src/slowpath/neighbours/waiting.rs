//! Packets that wait for an address to be resolved (RFC 4861 §7.2.2, RFC 1122 §2.3.2.2).

use std::collections::VecDeque;

use foldhash::quality::RandomState;
use hashbrown::HashMap;

use super::Limits;
use super::overlay_counts::OverlayCounts;
use crate::tables::OverlayIndex;

/// What became of a packet that was to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Waits,
    /// The oldest for the same address was dropped for it.
    InPlaceOfOldest,
    /// It was dropped: too many wait, of its overlay or in all.
    Refused,
}

/// Waiting packets by the entry that they wait for.
#[derive(Debug)]
pub(super) struct WaitingPackets<P> {
    queues: HashMap<u32, VecDeque<P>, RandomState>,
    counts: OverlayCounts,
}

impl<P> WaitingPackets<P> {
    pub(super) fn new() -> Self {
        Self { queues: HashMap::default(), counts: OverlayCounts::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.counts.total()
    }

    pub(super) fn push(
        &mut self,
        index: u32,
        overlay: OverlayIndex,
        packet: P,
        limits: &Limits,
    ) -> Admission {
        if let Some(queue) = self.queues.get_mut(&index)
            && queue.len() >= limits.waiting_per_address
            && queue.pop_front().is_some()
        {
            queue.push_back(packet);
            return Admission::InPlaceOfOldest;
        }
        if self.counts.of(overlay) >= limits.waiting_per_overlay || self.counts.total() >= limits.waiting {
            return Admission::Refused;
        }
        self.queues.entry(index).or_default().push_back(packet);
        self.counts.add(overlay);
        Admission::Waits
    }

    /// Those that wait for the entry, the oldest first.
    pub(super) fn take(&mut self, index: u32, overlay: OverlayIndex) -> Vec<P> {
        let Some(queue) = self.queues.remove(&index) else { return Vec::new() };
        self.counts.subtract(overlay, queue.len());
        queue.into()
    }
}
