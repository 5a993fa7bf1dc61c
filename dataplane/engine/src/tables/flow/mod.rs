//! The flow table: stations of all overlays by MAC and IP address, in one structure.
//!
//! One thread writes ([`FlowWriter`]), others read without locks, waits or retries ([`FlowReader`], [`View`]).
//!
//! # Structure
//!
//! ```text
//! key ── hash ─┬─ first choice ──▶ bucket: one cache line
//!              │                  ┌──────┬──────┬──────┬──────┬──────┬──────┬──────┬──────────┐
//!              │                  │ slot │ slot │ slot │ slot │ slot │ slot │ slot │ overflow │
//!              │                  └──────┴──┬───┴──────┴──────┴──────┴──────┴──────┴────┬─────┘
//!              │         signature, record  │                          some key of this │ class is in its second
//!              └─ second choice ──────────────────────────▶ another bucket ◀────────────┘
//!                                           ▼
//!                   record: half a line   ┌──────────┬─────────┬───────────┬──────────────────────────┐
//!                                         │ key high │ key low │ MAC │ MTU │ VNI │ endpoint │ overlay │
//!                                         └──────────┴─────────┴───────────┴──────────────────────────┘
//! ```
//!
//! A key is in its first bucket, or in its second if there was no room. A look-up reads the first bucket's line and the
//! records whose signature (31 bits of the hash) is the key's, most often one; the second bucket only if keys of the
//! key's class (8 by signature) overflowed from the first. That bounds it, whatever the keys: two lines and 14 records.
//! A key that finds both buckets full makes up to two entries move to *their* second buckets; failing that, the table
//! grows, or refuses the key.
//!
//! Everything is an index into arrays of `AtomicU64`: buckets, and records of 32 bytes in a slab reserved for as many as
//! there may ever be. A key costs 32 bytes and between 14.6 and 29 in buckets, which are filled to five eighths.
//! The table never shrinks.
//!
//! # Protocol
//!
//! *Publication.* A record is written before the slot that leads to it is (release), and read after it (acquire).
//! While it can be found it never changes: a new flow for a key is a new record, and the slot's word is swapped.
//!
//! *Reuse.* A record that was unlinked is used again after all readers have been [quiescent](quiescence) once. A view
//! borrows its reader, and quiescence takes the reader itself, so that no view outlives it.
//!
//! *Growth* (see [`layout`]). An array of twice the size is made, and at each write some old buckets are copied, in
//! order: bucket *i* of *N* becomes buckets *i* and *i* + *N*, which get entries of no other, each in the role (first
//! or second choice) that it has, so that they fit. `migrated` says how far that went. An old bucket below it is never
//! written again, and stays as it is for readers who came earlier.
//!
//! # Why a key that is present is always found
//!
//! Say a key is present from before a view is taken until after the look-up. Three things happen to its entry: its
//! word is swapped for another record (it can be found by either), its bucket is migrated, it moves from its first
//! bucket to its second, once, within one array, both buckets being live.
//!
//! 1. *The view looks for the first bucket where it was when the view was taken.* If it has been migrated since, the
//!    view reads the frozen original, which has what the bucket had then.
//! 2. *If the entry is not there*, it was already in the second bucket when the first was frozen, or it is read live
//!    and the entry has moved. Either way the overflow says so: it is raised before the entry is published in the
//!    second bucket, which is before the slot in the first is emptied; it is read after the slots; copies of the
//!    bucket inherit it; and it is lowered only when an overflowed key is removed.
//! 3. *The second bucket is looked for where it is after the first was read.* Had the view used its own, older
//!    `migrated`, it might read the frozen original of a bucket into whose copy the entry moved. So it reads
//!    `migrated` again. If it still gets the original, that was not migrated when the first bucket was read; the move
//!    was within the first bucket's array, and so is in the original, or precedes its copy. Entries in second buckets
//!    move no further.
//! 4. *The layout itself may be older than the writer's*, which has begun another growth since. The arrays that the view
//!    knows are then partly or wholly frozen. Moves within the newer array begin from a bucket whose original is frozen
//!    with the entry in it, or already overflowed: 1 and 2 hold for the originals alone.
//!
//! # Why a record is never used again under a reader
//!
//! An unlinked record may still be named by frozen originals. A reader that was quiescent after the record was
//! unlinked has seen the epoch raised after that, and with it `migrated` and the layout of that time: the original was
//! below `migrated` already, since only the copy is written, and no later view reads it. Views from before the
//! quiescence are gone. An array goes when the last reader has loaded a newer layout.

mod bucket;
mod growth;
mod hash;
mod key;
mod layout;
mod quiescence;
mod reader;
mod record;
mod sync;
#[cfg(test)]
mod tests;
mod writer;

use std::io;
use std::sync::Arc;

pub use hash::Secret;
pub use key::FlowKey;
pub use reader::{FlowReader, FlowReaders, Lookup, View};
pub use record::{Flow, PackedFlow};
pub use writer::{FlowStatistics, FlowWriter};

use bucket::{Buckets, SLOTS};
use growth::Index;
use layout::Layout;
use quiescence::Quiescence;
use record::{FreeRecords, Records};
use sync::{MODELLED, Published};

/// Buckets of a new table: 64 KiB.
const FIRST_BUCKETS: usize = 1024;

/// Most keys a table can be made for: records are numbered by 32 bits, and some are beyond the keys' own.
pub(crate) const MAX_FLOWS: usize = 1 << 31;

/// A write that was refused.
///
/// The table holds as many keys as it was made for; or all records that were replaced or removed are still waiting for
/// a reader; or both buckets of the key are full of keys that cannot be elsewhere, which takes keys chosen by somebody
/// who knows the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the flow table is full")]
pub struct TableFull;

/// What readers and writer share.
#[derive(Debug)]
struct Shared {
    secret: Secret,
    records: Records,
    layout: Published<Layout>,
    quiescence: Quiescence,
}

/// Makes a table for at most `max_flows` keys (2³¹ at most) and `max_readers` readers at a time: the handle
/// of its one writer, and what makes readers.
///
/// # Errors
/// Not enough address space. Memory is taken as the table fills.
pub fn flow_table(
    max_flows: usize,
    max_readers: usize,
    secret: Secret,
) -> io::Result<(FlowWriter, FlowReaders)> {
    let max_flows = max_flows.min(MAX_FLOWS);
    let max_buckets = (max_flows * 8).div_ceil(SLOTS * 5).next_power_of_two();
    with_limits(max_flows, max_readers, secret, FIRST_BUCKETS.min(max_buckets), max_buckets)
}

/// As [`flow_table`], with chosen numbers of buckets, powers of two.
fn with_limits(
    max_flows: usize,
    max_readers: usize,
    secret: Secret,
    buckets: usize,
    max_buckets: usize,
) -> io::Result<(FlowWriter, FlowReaders)> {
    // Beside those of the keys, some that wait for readers: a reader may be away for milliseconds, the writer replaces
    // thousands in one.
    let spare = if MODELLED { 2 } else { max_flows / 8 + 64 };
    let last_record = (max_flows + spare) as u32;
    let layout = Arc::new(Layout::steady(Arc::new(Buckets::new(buckets)?)));
    let shared = Arc::new(Shared {
        secret,
        records: Records::new(last_record)?,
        layout: Published::new(Arc::clone(&layout)),
        quiescence: Quiescence::new(max_readers),
    });
    let index = Index::new(layout, max_buckets);
    let writer = FlowWriter::new(Arc::clone(&shared), index, FreeRecords::new(last_record), max_flows);
    Ok((writer, FlowReaders(shared)))
}
