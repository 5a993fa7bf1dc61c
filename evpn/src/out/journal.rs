//! Announcements in the order of their last change.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::{Attributes, Key};
use crate::attributes::Pool;

/// Number of a change; the first is 1.
pub(crate) type Version = u64;

/// What is announced of a key now; `None`: nothing any longer.
pub(crate) type Change = (Key, Option<Arc<Attributes>>);

#[derive(Debug)]
struct Slot {
    version: Version,
    /// `None`: withdrawn, and kept until all peers have been told.
    attributes: Option<Arc<Attributes>>,
}

/// Announcements of one family.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    pool: Pool<Attributes>,
    slots: HashMap<Key, Slot, RandomState>,
    /// Each key once, by its last change.
    order: BTreeMap<Version, Key>,
    /// Withdrawals in order; those that were announced again since are there in vain.
    graves: VecDeque<(Version, Key)>,
    last: Version,
}

impl Journal {
    /// Number of the last change.
    pub(crate) fn last(&self) -> Version {
        self.last
    }

    /// How many announcements there are, withdrawn ones aside.
    pub(crate) fn len(&self) -> usize {
        self.slots.values().filter(|slot| slot.attributes.is_some()).count()
    }

    /// Announces; nothing happens if that is so already.
    pub(crate) fn announce(&mut self, key: Key, attributes: Attributes) {
        let attributes = self.pool.intern(attributes);
        let slot = self.slots.entry(key).or_insert(Slot { version: 0, attributes: None });
        if slot.attributes.as_ref().is_some_and(|old| Arc::ptr_eq(old, &attributes)) {
            return;
        }
        self.last += 1;
        self.order.remove(&slot.version);
        self.order.insert(self.last, key);
        slot.version = self.last;
        if let Some(old) = slot.attributes.replace(attributes) {
            self.pool.release(old);
        }
    }

    /// Withdraws; nothing happens if nothing was announced.
    pub(crate) fn withdraw(&mut self, key: Key) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        let Some(old) = slot.attributes.take() else { return };
        self.pool.release(old);
        self.last += 1;
        self.order.remove(&slot.version);
        self.order.insert(self.last, key);
        slot.version = self.last;
        self.graves.push_back((self.last, key));
    }

    /// Withdraws all.
    pub(crate) fn withdraw_all(&mut self) {
        let keys: Vec<Key> = self.order.values().copied().collect();
        keys.into_iter().for_each(|key| self.withdraw(key));
    }

    /// Up to `count` changes after number `after`, oldest first, and the number of the last of them.
    pub(crate) fn after(&self, after: Version, count: usize) -> (Vec<Change>, Version) {
        let mut reached = self.last;
        let range = self.order.range((Bound::Excluded(after), Bound::Unbounded));
        let mut changes = Vec::new();
        for (&version, &key) in range {
            if changes.len() == count {
                return (changes, reached);
            }
            reached = version;
            let attributes = self.slots.get(&key).and_then(|slot| slot.attributes.clone());
            changes.push((key, attributes));
        }
        (changes, self.last)
    }

    /// Whether withdrawals are kept.
    pub(crate) fn has_graves(&self) -> bool {
        !self.graves.is_empty()
    }

    /// Forgets withdrawals that everybody knows: those up to `told`.
    pub(crate) fn bury(&mut self, told: Version) {
        while let Some(&(version, key)) = self.graves.front()
            && version <= told
        {
            self.graves.pop_front();
            if self.slots.get(&key).is_some_and(|slot| slot.version == version) {
                self.slots.remove(&key);
                self.order.remove(&version);
            }
        }
    }

    /// Announcements whose attributes `change` makes others of are announced anew.
    pub(crate) fn revise(&mut self, mut change: impl FnMut(&Key, &Attributes) -> Option<Attributes>) {
        let live = self.slots.iter().filter_map(|(key, slot)| Some((key, slot.attributes.as_ref()?)));
        let mut changed: Vec<_> =
            live.filter_map(|(key, attributes)| Some((*key, change(key, attributes)?))).collect();
        // So that the order does not hang on the hash.
        changed.sort_unstable_by_key(|(key, _)| *key);
        changed.into_iter().for_each(|(key, attributes)| self.announce(key, attributes));
    }

    /// Withdrawn keys that are still kept.
    #[cfg(test)]
    pub(crate) fn graves(&self) -> usize {
        self.slots.values().filter(|slot| slot.attributes.is_none()).count()
    }
}
