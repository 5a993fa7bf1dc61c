//! The flow table: stations of all overlays by MAC and IP address, in one structure.

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

pub(crate) use hash::{Hash, Secret};
pub(crate) use key::FlowKey;
pub(crate) use reader::{Candidate, FlowReader, FlowReaders, View};
pub(crate) use record::Flow;
pub(crate) use writer::{FlowStatistics, FlowWriter};

use bucket::{Buckets, SLOTS};
use growth::Index;
use layout::Layout;
use quiescence::Quiescence;
use record::{FreeRecords, Records};
use sync::Published;

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

/// Makes a table for at most `max_flows` keys (up to [`MAX_FLOWS`]) and `max_readers` readers at a time: the handle
/// of its one writer, and what makes readers.
///
/// # Errors
/// Not enough address space. Memory is taken as the table fills.
pub(crate) fn flow_table(
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
    let last_record = (max_flows + max_flows / 8 + 64) as u32;
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
