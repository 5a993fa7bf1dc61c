//! Which bindings were learned of late, so that other gateways can be told of those alone.

use std::collections::VecDeque;
use std::time::Instant;

use super::SlowPath;
use super::neighbours::{Neighbour, NeighbourKey};
use crate::api::{Binding, BindingCursor, BindingPage, Place};

/// Changes that are remembered: 1.5 MB. Who asks more rarely than that reads all again.
const CHANGES: usize = 65_536;

/// The last bindings that were learned here, in order.
#[derive(Debug, Default)]
pub(super) struct Learned {
    keys: VecDeque<NeighbourKey>,
    /// The number of the first of them.
    first: u64,
}

impl Learned {
    pub(super) fn push(&mut self, key: NeighbourKey) {
        if self.keys.len() == CHANGES {
            self.keys.pop_front();
            self.first += 1;
        }
        self.keys.push_back(key);
    }

    /// The number of the next change.
    fn end(&self) -> u64 {
        self.first + self.keys.len() as u64
    }

    /// Changes from number `from` on; `None` if it has been forgotten.
    fn since(&self, from: u64) -> Option<impl Iterator<Item = NeighbourKey>> {
        let skipped = from.checked_sub(self.first)?;
        Some(self.keys.iter().skip(skipped as usize).copied())
    }
}

impl SlowPath {
    /// At most `most` entries from the cursor on: as much work as that.
    pub(super) fn bindings(
        &self,
        BindingCursor(place): BindingCursor,
        most: usize,
        now: Instant,
    ) -> BindingPage {
        let end = self.learned.end();
        let (entry, changes) = match place {
            Place::Snapshot { entry, changes } => (entry, changes.unwrap_or(end)),
            Place::Changes(from) => match self.learned.since(from) {
                Some(keys) => {
                    let keys: Vec<_> = keys.take(most).collect();
                    let next = from + keys.len() as u64;
                    let neighbours = keys.into_iter().filter_map(|key| self.neighbours.get(key, now));
                    return self.page(neighbours, Place::Changes(next), next >= end);
                }
                None => (0, end),
            },
        };
        let (neighbours, next) = self.neighbours.page(entry, most, now);
        let place = match next {
            Some(entry) => Place::Snapshot { entry, changes: Some(changes) },
            None => Place::Changes(changes),
        };
        self.page(neighbours, place, next.is_none() && changes == end)
    }

    fn page(
        &self,
        neighbours: impl IntoIterator<Item = Neighbour>,
        next: Place,
        is_complete: bool,
    ) -> BindingPage {
        let overlays = &self.writer.current().overlays;
        let binding = |Neighbour { key, mac, age, .. }: Neighbour| {
            Some(Binding { vni: overlays.get(key.overlay).vni, address: key.address, mac: mac?, age })
        };
        let bindings = neighbours.into_iter().filter_map(binding).collect();
        BindingPage { bindings, next: BindingCursor(next), is_complete }
    }
}
