//! A table of routes: keys, the paths that peers gave for each, and the best of them.

use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use rustbgpd_wire::ExtendedCommunity;
use wire::Vni;

use crate::attributes::Attributes;
use crate::event::{PeerId, Rejection};

/// Number of a route in its table, used again after the route is gone.
pub(crate) type RouteId = u32;

/// No route.
pub(crate) const NONE: RouteId = RouteId::MAX;

/// Whether a path takes part in the choice of the best one (RFC 4271 §9.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It does.
    Eligible,
    /// It counts in no overlay of ours, and is shown as best only if none does.
    Foreign,
    /// It does not, whatever its attributes.
    Rejected(Rejection),
}

/// What a peer says of a route.
#[derive(Clone, Debug)]
pub(crate) struct Path {
    /// All but the extended communities: most often those of an endpoint.
    pub(crate) attributes: Arc<Attributes>,
    /// The extended communities: most often those of an overlay. Kept apart, since together nearly each route would have
    /// a set of its own.
    pub(crate) extended: Arc<Vec<ExtendedCommunity>>,
    /// What few routes have.
    pub(crate) extra: Option<Box<Extra>>,
    /// The first label: for VXLAN, the VNI.
    pub(crate) label: u32,
    pub(crate) peer: PeerId,
    /// The peer's at the time; stale if that has changed since.
    pub(crate) epoch: u16,
    pub(crate) standing: Standing,
    /// As the operator knows it: a rejection is told once, however often the route is looked at.
    pub(crate) told: Standing,
}

impl Path {
    /// Whether this path of a MAC/IP route may count in an overlay.
    pub(crate) fn counts_in(&self, vni: Vni) -> bool {
        self.label == vni.value() && self.standing == Standing::Eligible
    }
}

/// What few routes have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Extra {
    /// Ethernet segment identifier (RFC 7432 §5).
    pub(crate) esi: [u8; 10],
    /// Second label of type 2 (RFC 9135).
    pub(crate) label2: Option<u32>,
    /// Gateway of type 5 (RFC 9136).
    pub(crate) gateway: Option<std::net::IpAddr>,
}

/// A route: at least one path, unless it is free.
#[derive(Debug)]
pub(crate) struct Entry<K> {
    pub(crate) key: K,
    pub(crate) paths: Vec<Path>,
    /// Place of the best path; `None`: all are rejected.
    pub(crate) best: Option<u16>,
    /// VNI that it counts in; 0: none.
    pub(crate) vni: u32,
    /// The next route of the same station, or the next free entry.
    pub(crate) next: RouteId,
}

impl<K> Entry<K> {
    /// The best path; `None` while there is none that may be used.
    pub(crate) fn best(&self) -> Option<&Path> {
        self.paths.get(usize::from(self.best?))
    }
}

/// Routes by key and by number.
#[derive(Debug)]
pub(crate) struct Table<K> {
    entries: Vec<Entry<K>>,
    index: HashTable<RouteId>,
    free: RouteId,
    hash: RandomState,
}

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self { entries: Vec::new(), index: HashTable::new(), free: NONE, hash: RandomState::default() }
    }
}

impl<K: Hash + Eq> Table<K> {
    pub(crate) fn find(&self, key: &K) -> Option<RouteId> {
        let hash = self.hash.hash_one(key);
        self.index.find(hash, |&id| self.entries[id as usize].key == *key).copied()
    }

    /// The route of this key, new (without a path) if there is none.
    pub(crate) fn find_or_insert(&mut self, key: K) -> RouteId {
        let hash = self.hash.hash_one(&key);
        let entries = &mut self.entries;
        if let Some(&id) = self.index.find(hash, |&id| entries[id as usize].key == key) {
            return id;
        }
        let entry = Entry { key, paths: Vec::with_capacity(1), best: None, vni: 0, next: NONE };
        let id = if self.free == NONE {
            entries.push(entry);
            // 2^32 routes would take half a terabyte first; peers' limits are lower.
            (entries.len() - 1) as RouteId
        } else {
            let id = self.free;
            let free = &mut entries[id as usize];
            self.free = free.next;
            *free = entry;
            id
        };
        let hasher = |&id: &RouteId| self.hash.hash_one(&entries[id as usize].key);
        self.index.insert_unique(hash, id, hasher);
        id
    }

    /// Frees a route that has no path.
    pub(crate) fn remove(&mut self, id: RouteId) {
        let entry = &mut self.entries[id as usize];
        debug_assert!(entry.paths.is_empty(), "a route with paths is removed");
        entry.paths = Vec::new();
        entry.next = std::mem::replace(&mut self.free, id);
        let hash = self.hash.hash_one(&entry.key);
        if let Ok(found) = self.index.find_entry(hash, |&found| found == id) {
            found.remove();
        }
    }

    pub(crate) fn get(&self, id: RouteId) -> &Entry<K> {
        &self.entries[id as usize]
    }

    pub(crate) fn get_mut(&mut self, id: RouteId) -> &mut Entry<K> {
        &mut self.entries[id as usize]
    }

    /// Numbers in use are below this.
    pub(crate) fn end(&self) -> RouteId {
        self.entries.len() as RouteId
    }

    /// How many routes there are.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    /// All routes.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry<K>> {
        self.entries.iter().filter(|entry| !entry.paths.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_used_again() {
        let mut table = Table::default();
        let ids: Vec<_> = (0..100).map(|key| table.find_or_insert(key)).collect();
        assert_eq!(table.find_or_insert(7), ids[7]);
        table.remove(ids[7]);
        table.remove(ids[50]);
        assert_eq!((table.find(&7), table.find(&8), table.len()), (None, Some(ids[8]), 98));
        assert_eq!([table.find_or_insert(1000), table.find_or_insert(1001)], [ids[50], ids[7]]);
        assert_eq!(table.end(), 100);
    }
}
