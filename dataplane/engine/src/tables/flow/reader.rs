//! Looking flows up.

use std::sync::Arc;

use super::Shared;
use super::bucket::Bucket;
use super::hash::Hash;
use super::key::FlowKey;
use super::layout::{Layout, Place, Rows};
use super::record::{Flow, PackedFlow, Record, Slab};
use super::sync::Subscription;

/// Makes the readers of a table.
#[derive(Clone, Debug)]
pub struct FlowReaders(pub(super) Arc<Shared>);

impl FlowReaders {
    /// One more reader; `None` if there are as many as the table was made for.
    pub fn reader(&self) -> Option<FlowReader> {
        let slot = self.0.quiescence.enter()?;
        let layout = self.0.layout.subscribe();
        Some(FlowReader { shared: Arc::clone(&self.0), slot, online: false, layout })
    }
}

/// One thread's way into the table.
///
/// It must say [`quiesce`](Self::quiesce) regularly, or [`offline`](Self::offline) before it pauses: until then the
/// writer cannot use records again that were replaced or removed, and refuses writes when it has no others.
#[derive(Debug)]
pub struct FlowReader {
    shared: Arc<Shared>,
    slot: usize,
    online: bool,
    layout: Subscription<Layout>,
}

impl FlowReader {
    /// The table as it is now or later, for one batch. Comes online if need be.
    #[inline]
    pub fn view(&mut self) -> View<'_> {
        if !self.online {
            self.shared.quiescence.online(self.slot);
            self.online = true;
        }
        let rows = self.layout.load().rows();
        View { rows, migrated: rows.migrated(), slab: self.shared.records.slab(), shared: &self.shared }
    }

    /// To be called between batches, once a round: nothing of earlier views is used any longer, which the compiler
    /// sees to.
    #[inline]
    pub fn quiesce(&mut self) {
        if self.online {
            self.shared.quiescence.quiesce(self.slot);
            self.layout.load();
        }
    }

    /// To be called before a sleep: this reader is not waited for until its next view.
    pub fn offline(&mut self) {
        self.online = false;
        // An array that was outgrown is kept while a reader has it.
        self.layout.load();
        self.shared.quiescence.offline(self.slot);
    }
}

impl Drop for FlowReader {
    fn drop(&mut self) {
        self.shared.quiescence.leave(self.slot);
    }
}

/// The table during one batch: whatever was written before the view was taken is seen, what is written since may be.
///
/// A look-up reads one cache line of the first bucket, the record, and the second bucket only if keys overflowed from
/// the first: two buckets and the records of equal signature whatever the keys, without a retry. For a batch, do each
/// step for some keys before the next, so that the lines are fetched side by side:
/// [`begin`](Self::begin), then [`advance`](Self::advance), then [`flow`](Self::flow); or have
/// [`get_all`](Self::get_all) do it.
#[derive(Clone, Copy, Debug)]
pub struct View<'r> {
    rows: Rows<'r>,
    migrated: usize,
    slab: Slab<'r>,
    shared: &'r Shared,
}

/// A look-up on its way.
#[derive(Clone, Copy, Debug)]
pub struct Lookup<'r> {
    key: FlowKey,
    hash: Hash,
    first: Bucket<'r>,
    /// The first record in it of the key's signature. Records may be used again when the view is gone.
    record: Option<Record<'r>>,
}

/// How many keys [`View::get_all`] is ahead with each step. A core has some two dozen cache lines on their way at a time
/// and forgets about prefetches beyond, so that more is slower.
const AHEAD: usize = 12;

impl<'r> View<'r> {
    /// Begins to look a key up: asks for the cache line of its first bucket.
    #[inline(always)]
    pub fn begin(&self, key: FlowKey) -> Lookup<'r> {
        let hash = self.shared.secret.hash(key);
        let first = self.first(hash).bucket();
        first.prefetch();
        Lookup { key, hash, first, record: None }
    }

    /// Reads the first bucket, and asks for the cache line that is needed next.
    #[inline(always)]
    pub fn advance(&self, lookup: &mut Lookup<'r>) {
        let signature = lookup.hash.signature();
        let entry = lookup.first.first_match(signature);
        if !entry.is_empty() {
            lookup.record = self.slab.get(entry.record());
            lookup.record.inspect(|record| record.prefetch());
        } else if lookup.first.may_overflow(signature) {
            self.second(lookup.hash).bucket().prefetch();
        }
    }

    /// The key's flow.
    #[inline]
    pub fn flow(&self, lookup: &Lookup<'r>) -> Option<Flow> {
        self.packed(lookup).and_then(PackedFlow::unpack)
    }

    /// The same as it lies in its record.
    #[inline(always)]
    pub fn packed(&self, lookup: &Lookup<'r>) -> Option<PackedFlow> {
        let flow = lookup.record.and_then(|record| record.packed(lookup.key));
        if flow.is_some() { flow } else { self.search(lookup) }
    }

    /// The flows of many keys, each given to `each` with the key's place in `keys`, in order. All three steps, each
    /// ahead of the next by as many keys as serves best.
    #[inline]
    pub fn get_all(&self, keys: &[FlowKey], mut each: impl FnMut(usize, Option<Flow>)) {
        const RING: usize = (2 * AHEAD).next_power_of_two();
        let mut ring = [None; RING];
        for n in 0..keys.len() + 2 * AHEAD {
            if let Some(done) = n.checked_sub(2 * AHEAD) {
                each(done, ring[done % RING].and_then(|lookup| self.flow(&lookup)));
            }
            if let Some(key) = keys.get(n) {
                ring[n % RING] = Some(self.begin(*key));
            }
            if n >= AHEAD
                && n - AHEAD < keys.len()
                && let Some(lookup) = &mut ring[(n - AHEAD) % RING]
            {
                self.advance(lookup);
            }
        }
    }

    /// The key's flow, all in one.
    #[inline]
    pub(crate) fn get(&self, key: FlowKey) -> Option<Flow> {
        let mut lookup = self.begin(key);
        self.advance(&mut lookup);
        self.flow(&lookup)
    }

    /// Calls `each` with the flows of all keys. While the writer writes, one that is present all the time may be
    /// missed or come twice.
    pub(crate) fn for_each(&self, mut each: impl FnMut(FlowKey, Flow)) {
        for bucket in self.rows.live(self.migrated) {
            for (_, entry) in bucket.entries() {
                let key = self.slab.key(entry.record());
                if let Some(flow) = self.slab.flow(entry.record(), key) {
                    each(key, flow);
                }
            }
        }
    }

    /// Where the key's first bucket was when the view was taken: the writer moves on by a bucket at each write, and
    /// following it would take a cache line from it at each look-up.
    #[inline]
    fn first(&self, hash: Hash) -> Place<'r> {
        self.rows.locate(hash.first(), self.migrated)
    }

    /// Where its second bucket is now: later than what was read of the first, as the proof wants it.
    #[inline]
    fn second(&self, hash: Hash) -> Place<'r> {
        self.rows.locate(hash.second(), self.rows.migrated())
    }

    /// The rest of the look-up: the record, if there is one, was another key's.
    #[inline(never)]
    fn search(&self, &Lookup { key, hash, first, record }: &Lookup<'r>) -> Option<PackedFlow> {
        let found = record.and_then(|_| self.search_bucket(first, key, hash));
        if found.is_none() && first.may_overflow(hash.signature()) {
            return self.search_bucket(self.second(hash).bucket(), key, hash);
        }
        found
    }

    fn search_bucket(&self, bucket: Bucket<'r>, key: FlowKey, hash: Hash) -> Option<PackedFlow> {
        let mut matches = bucket.matches(hash.signature());
        matches.find_map(|(_, entry)| self.slab.get(entry.record())?.packed(key))
    }
}
