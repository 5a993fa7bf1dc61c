//! The entries themselves: a slab, and an index by key.

use std::hash::BuildHasher;
use std::time::Instant;

use foldhash::quality::RandomState;
use hashbrown::HashTable;
use wire::MacAddr;

use super::{Neighbour, NeighbourKey};
use crate::api::NeighbourState;

/// A MAC address that was learned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Binding {
    pub(super) mac: MacAddr,
    /// When the last evidence came.
    pub(super) heard: Instant,
    pub(super) phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Reachable,
    Stale,
    /// So many probes have been sent.
    Probe(u8),
}

/// What is known about an address.
#[derive(Clone, Copy, Debug)]
pub(super) enum State {
    /// `sent` solicitations since `since`, after so many failures.
    Incomplete {
        since: Instant,
        sent: u8,
        failures: u8,
    },
    Failed {
        since: Instant,
        failures: u8,
    },
    Learned(Binding),
}

impl State {
    fn kind(&self) -> NeighbourState {
        match self {
            Self::Incomplete { .. } => NeighbourState::Incomplete,
            Self::Failed { .. } => NeighbourState::Failed,
            Self::Learned(binding) => match binding.phase {
                Phase::Reachable => NeighbourState::Reachable,
                Phase::Stale => NeighbourState::Stale,
                Phase::Probe(_) => NeighbourState::Probe,
            },
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) key: NeighbourKey,
    pub(super) state: State,
}

impl Entry {
    /// As others see it.
    pub(super) fn neighbour(&self, now: Instant) -> Neighbour {
        let (mac, since) = match self.state {
            State::Incomplete { since, .. } | State::Failed { since, .. } => (None, since),
            State::Learned(Binding { mac, heard, .. }) => (Some(mac), heard),
        };
        let age = now.saturating_duration_since(since);
        Neighbour { key: self.key, mac, state: self.state.kind(), age }
    }
}

/// All entries; each keeps its index as long as it lives.
#[derive(Debug)]
pub(super) struct Entries {
    slab: Vec<Entry>,
    free: Vec<u32>,
    by_key: HashTable<u32>,
    hasher: RandomState,
    /// By [`NeighbourState`].
    counts: [usize; 5],
}

impl Entries {
    pub(super) fn with_capacity(entries: usize) -> Self {
        Self {
            slab: Vec::with_capacity(entries),
            free: Vec::new(),
            by_key: HashTable::with_capacity(entries),
            hasher: RandomState::default(),
            counts: [0; 5],
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(super) fn count(&self, state: NeighbourState) -> usize {
        self.counts[state as usize]
    }

    pub(super) fn find(&self, key: NeighbourKey) -> Option<u32> {
        let same = |&index: &u32| self.slab[index as usize].key == key;
        self.by_key.find(self.hasher.hash_one(key), same).copied()
    }

    pub(super) fn get(&self, index: u32) -> &Entry {
        &self.slab[index as usize]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.by_key.iter().map(|&index| self.get(index))
    }

    /// The entries that are in use of so many indices, from `from` on; and the index to go on with.
    pub(super) fn page(&self, from: u32, most: usize) -> (impl Iterator<Item = &Entry>, Option<u32>) {
        let end = from.saturating_add(most as u32).min(self.slab.len() as u32);
        let is_used = |index: &u32| self.find(self.get(*index).key) == Some(*index);
        let entries = (from..end).filter(is_used).map(|index| self.get(index));
        (entries, (end < self.slab.len() as u32).then_some(end))
    }

    /// Adds an entry under a key that has none.
    pub(super) fn insert(&mut self, key: NeighbourKey, state: State) -> u32 {
        let entry = Entry { key, state };
        let index = match self.free.pop() {
            Some(index) => {
                self.slab[index as usize] = entry;
                index
            }
            None => {
                self.slab.push(entry);
                self.slab.len() as u32 - 1
            }
        };
        let (slab, hasher) = (&self.slab, &self.hasher);
        let hash_of = |&index: &u32| hasher.hash_one(slab[index as usize].key);
        self.by_key.insert_unique(hasher.hash_one(key), index, hash_of);
        self.counts[state.kind() as usize] += 1;
        index
    }

    pub(super) fn set_state(&mut self, index: u32, state: State) {
        let entry = &mut self.slab[index as usize];
        self.counts[entry.state.kind() as usize] -= 1;
        self.counts[state.kind() as usize] += 1;
        entry.state = state;
    }

    pub(super) fn remove(&mut self, index: u32) {
        let Entry { key, state } = *self.get(index);
        if let Ok(found) = self.by_key.find_entry(self.hasher.hash_one(key), |&other| other == index) {
            found.remove();
            self.free.push(index);
            self.counts[state.kind() as usize] -= 1;
        }
    }
}
