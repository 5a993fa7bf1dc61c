//! Writing flows.

use std::sync::Arc;

use sys::pages::Pages;

use super::bucket::{Bucket, Entry};
use super::growth::{Found, Index, Room, STEP};
use super::key::FlowKey;
use super::quiescence::Retired;
use super::record::{self, Flow, FreeRecords};
use super::{Shared, TableFull};

/// Buckets that are migrated before it is tried again to make room.
const HURRIED_STEP: usize = 1024;

/// How many keys ahead [`FlowWriter::insert_all`] fetches.
const AHEAD: usize = 8;

/// The one writer of a table.
///
/// Each write costs a bounded number of steps, but for growth that has to be hurried
/// ([`FlowStatistics::hurried`]). Readers see a write as soon as it is done, all of it or nothing.
#[derive(Debug)]
pub struct FlowWriter {
    shared: Arc<Shared>,
    index: Index,
    free: FreeRecords,
    retired: Retired,
    max_flows: usize,
    len: usize,
    hurried: u64,
}

/// What a table holds and takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowStatistics {
    /// Keys present.
    pub flows: usize,
    /// Keys that may be present.
    pub max_flows: usize,
    /// Buckets of the newest array.
    pub buckets: usize,
    /// Their slots.
    pub slots: usize,
    /// Keys in their second bucket: a look-up of one reads two.
    pub overflowed: usize,
    /// Entries moved to make room for others, so far.
    pub displaced: u64,
    /// Times the table began to grow.
    pub growths: u64,
    /// Writes that went on with growth beyond their step, to make room for their key.
    pub hurried: u64,
    /// Whether it grows now.
    pub growing: bool,
    /// Records that wait for readers before they are used again.
    pub retired: usize,
    /// Memory taken: arrays, and records touched so far.
    pub bytes: usize,
    /// What memory the newest bucket array is made of.
    pub bucket_pages: Pages,
    /// What memory the records are made of.
    pub record_pages: Pages,
}

impl FlowWriter {
    pub(super) fn new(shared: Arc<Shared>, index: Index, free: FreeRecords, max_flows: usize) -> Self {
        Self { shared, index, free, retired: Retired::default(), max_flows, len: 0, hurried: 0 }
    }

    /// Sets a key's flow; what it was before, if there was any.
    ///
    /// # Errors
    /// [`TableFull`]: nothing is changed then, for any key.
    pub fn insert(&mut self, key: FlowKey, flow: Flow) -> Result<Option<Flow>, TableFull> {
        self.step();
        if self.free.is_empty() {
            self.reclaim();
        }
        if self.free.is_empty() {
            return Err(TableFull);
        }
        let hash = self.shared.secret.hash(key);
        let slab = self.shared.records.slab();
        if let Some(Found { bucket, slot, entry, .. }) = self.index.find(key, hash, slab) {
            let before = slab.flow(entry.record(), key);
            let Some(record) = self.free.take(slab, key, flow) else { return Err(TableFull) };
            bucket.set(slot, Entry::new(record, hash.signature()));
            self.retire(entry.record());
            return Ok(before);
        }
        if self.len == self.max_flows {
            return Err(TableFull);
        }
        if self.index.is_crowded(self.len + 1) {
            self.index.grow(&self.shared.layout);
        }
        let mut hurried = false;
        loop {
            let slab = self.shared.records.slab();
            if let Some(Room { bucket, slot }) = self.index.room(hash, &self.shared.secret, slab) {
                let Some(record) = self.free.take(slab, key, flow) else { return Err(TableFull) };
                bucket.set(slot, Entry::new(record, hash.signature()));
                self.len += 1;
                return Ok(None);
            }
            self.hurry()?;
            if !hurried {
                hurried = true;
                self.hurried += 1;
            }
        }
    }

    /// Sets the flows of many keys, in order: what takes memory's time for one is fetched while others are set.
    ///
    /// # Errors
    /// [`TableFull`] at the first that is refused; those before it are set.
    pub(crate) fn insert_all(&mut self, flows: &[(FlowKey, Flow)]) -> Result<(), TableFull> {
        for n in 0..flows.len() + 2 * AHEAD {
            let hash = |key: FlowKey| self.shared.secret.hash(key);
            if let Some((key, _)) = flows.get(n) {
                self.index.prefetch(hash(*key));
            }
            if let Some((key, _)) = n.checked_sub(AHEAD).and_then(|n| flows.get(n)) {
                self.shared.records.slab().prefetch(self.index.candidate(hash(*key)));
            }
            if let Some((key, flow)) = n.checked_sub(2 * AHEAD).and_then(|n| flows.get(n)) {
                self.insert(*key, *flow)?;
            }
        }
        Ok(())
    }

    /// Takes a key out; what its flow was.
    pub fn remove(&mut self, key: FlowKey) -> Option<Flow> {
        self.step();
        let hash = self.shared.secret.hash(key);
        let slab = self.shared.records.slab();
        let found = self.index.find(key, hash, slab)?;
        let flow = slab.flow(found.entry.record(), key);
        self.index.clear(found, hash);
        let record = found.entry.record();
        self.len -= 1;
        self.retire(record);
        flow
    }

    /// A key's flow.
    pub(crate) fn get(&self, key: FlowKey) -> Option<Flow> {
        let slab = self.shared.records.slab();
        let found = self.index.find(key, self.shared.secret.hash(key), slab)?;
        slab.flow(found.entry.record(), key)
    }

    /// Calls `each` with the flows of all keys.
    pub(crate) fn for_each(&self, mut each: impl FnMut(FlowKey, Flow)) {
        let slab = self.shared.records.slab();
        for (_, entry) in self.index.rows().live(self.index.rows().migrated()).flat_map(Bucket::entries) {
            let key = slab.key(entry.record());
            if let Some(flow) = slab.flow(entry.record(), key) {
                each(key, flow);
            }
        }
    }

    /// Keys present.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// A bounded step of what writes would otherwise do: growth, and taking back records that no reader holds. To be
    /// called now and then; whether there is more to do, now or when readers have moved on.
    pub fn maintain(&mut self) -> bool {
        self.step();
        self.reclaim();
        self.index.is_growing() || self.retired.len() > 0 || self.index.has_past()
    }

    /// Figures of the table.
    pub fn statistics(&self) -> FlowStatistics {
        FlowStatistics {
            flows: self.len,
            max_flows: self.max_flows,
            buckets: self.index.buckets(),
            slots: self.index.slots(),
            overflowed: self.index.overflowed(),
            displaced: self.index.displaced(),
            growths: self.index.growths(),
            hurried: self.hurried,
            growing: self.index.is_growing(),
            retired: self.retired.len(),
            bytes: self.memory_bytes(),
            bucket_pages: self.index.pages(),
            record_pages: self.shared.records.pages(),
        }
    }

    /// Memory taken, bytes: arrays (those that readers have not let go of included), and records touched so far.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.index.bytes() + self.free.touched() as usize * record::BYTES + self.retired.bytes()
    }

    fn step(&mut self) {
        self.migrate(STEP);
    }

    fn migrate(&mut self, buckets: usize) {
        let Shared { secret, records, layout, .. } = &*self.shared;
        self.index.migrate(buckets, secret, records.slab(), layout);
    }

    /// Goes on with growth without waiting for later writes, or begins it.
    fn hurry(&mut self) -> Result<(), TableFull> {
        // Where there are so many empty slots, it is equal hashes that fill the two buckets, which no growth parts.
        let sparse = self.len < self.index.slots() / 4;
        if !self.index.is_growing() && (sparse || !self.index.grow(&self.shared.layout)) {
            return Err(TableFull);
        }
        self.migrate(HURRIED_STEP);
        Ok(())
    }

    fn retire(&mut self, record: u32) {
        if self.retired.push(record, &self.shared.quiescence) {
            self.reclaim();
        }
    }

    fn reclaim(&mut self) {
        let Shared { quiescence, records, .. } = &*self.shared;
        self.retired.close(quiescence);
        for record in self.retired.take_free(quiescence) {
            self.free.give(records.slab(), record);
        }
        self.index.release_past();
    }
}
