//! The learned addresses of each station, the least recently confirmed first.

use foldhash::quality::RandomState;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use wire::MacAddr;

use super::links::{Links, List};
use crate::tables::OverlayIndex;

#[derive(Clone, Copy, Debug)]
struct Station {
    addresses: List,
    len: u32,
}

/// Entries by overlay and MAC address.
#[derive(Debug)]
pub(super) struct Stations {
    stations: HashMap<(u32, MacAddr), Station, RandomState>,
    links: Links,
}

impl Stations {
    pub(super) fn with_capacity(entries: usize) -> Self {
        Self {
            stations: HashMap::with_capacity_and_hasher(entries, RandomState::default()),
            links: Links::with_capacity(entries),
        }
    }

    /// Addresses that the station has.
    pub(super) fn count(&self, overlay: OverlayIndex, mac: MacAddr) -> usize {
        self.stations.get(&(overlay.0, mac)).map_or(0, |station| station.len as usize)
    }

    /// Its addresses, the least recently confirmed first.
    pub(super) fn of(&self, overlay: OverlayIndex, mac: MacAddr) -> impl Iterator<Item = u32> {
        let first = self.stations.get(&(overlay.0, mac)).and_then(|station| station.addresses.first());
        std::iter::successors(first, |index| self.links.after(*index))
    }

    /// Its least recently confirmed address.
    pub(super) fn oldest(&self, overlay: OverlayIndex, mac: MacAddr) -> Option<u32> {
        self.stations.get(&(overlay.0, mac))?.addresses.first()
    }

    /// Adds an entry in its place: behind all but those that `is_younger` tells.
    pub(super) fn add(
        &mut self,
        overlay: OverlayIndex,
        mac: MacAddr,
        index: u32,
        is_younger: impl Fn(u32) -> bool,
    ) {
        let station =
            self.stations.entry((overlay.0, mac)).or_insert(Station { addresses: List::EMPTY, len: 0 });
        let mut before = station.addresses.last();
        while let Some(younger) = before.filter(|&other| is_younger(other)) {
            before = self.links.before(younger);
        }
        self.links.insert_after(&mut station.addresses, before, index);
        station.len += 1;
    }

    /// Takes out what was added.
    pub(super) fn remove(&mut self, overlay: OverlayIndex, mac: MacAddr, index: u32) {
        let Entry::Occupied(mut entry) = self.stations.entry((overlay.0, mac)) else { return };
        let station = entry.get_mut();
        self.links.remove(&mut station.addresses, index);
        station.len -= 1;
        if station.len == 0 {
            entry.remove();
        }
    }
}
