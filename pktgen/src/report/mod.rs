//! Reports: what was sent, what came of it, and all that it depends on, so that figures are compared with like ones.
//!
//! Times are nanoseconds of the monotonic clock: stepping the time of day changes none of them.

mod compare;
mod csv;
mod machine;
mod table;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::attach::{PortFacts, PortLosses};
use crate::receive::{
    Expected, LatencySummary, Measured, OverlayCounts, Slice, StreamCounts, TimedSlice, Totals,
};

pub use compare::{Comparison, Difference, Verdict, compare};
pub use csv::csv;
pub use machine::Machine;
pub use table::table;
pub(crate) use table::{Rate, Time};

/// What this version writes, and reads.
pub const FORMAT: u32 = 1;
/// Slices of time that are kept, the first ones: an hour of seconds.
const SLICES: usize = 3600;

/// All that a run has to say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`FORMAT`].
    pub format: u32,
    /// Where it ran.
    pub machine: Machine,
    /// What was sent; `None` if the receiver was not told.
    pub profile: Option<String>,
    /// How it was run.
    pub setup: Setup,
    /// Why it ended.
    pub ended: Ended,
    /// What was sent, if this process sent.
    pub sent: Option<SentSummary>,
    /// What was received.
    pub received: Received,
    /// What the latency is made of without a device between: measured before, and not taken off.
    pub calibration: Option<Calibration>,
}

/// How it was run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Setup {
    /// The port that sent.
    pub sender: Option<PortFacts>,
    /// The port that received.
    pub receiver: Option<PortFacts>,
    /// Cores that sent.
    pub sender_cores: Vec<usize>,
    /// The core that received; `None`: any.
    pub receiver_core: Option<usize>,
    /// What the receiver did while nothing came: `busy` or `adaptive`.
    pub polling: String,
    /// Sequence numbers inside which everything is exact.
    pub window: u64,
}

/// Why a run ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// As it should.
    #[default]
    Complete,
    /// Somebody ended it before.
    Interrupted,
    /// Something broke; what was measured till then is in the report.
    Failed(String),
}

/// What was sent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SentSummary {
    /// Frames that the port took.
    pub packets: u64,
    /// Their bytes, without FCS.
    pub bytes: u64,
    /// From the first to the last, in nanoseconds.
    pub duration: u64,
    /// The rate that was asked for.
    pub requested: String,
    /// Packets a second that were reached.
    pub rate: Option<f64>,
    /// The part of the requested rate that was reached.
    pub reached: Option<f64>,
    /// Nanoseconds that sending fell behind its schedule for good.
    pub behind: u64,
    /// Of these: frames that the interface dropped by its own count, of a veth also those that its far end had no room
    /// for. They are among the lost, and not the device's. `None`: not known.
    #[serde(default)]
    pub dropped: Option<u64>,
}

/// What was received.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Received {
    /// Nanoseconds from the start of receiving to its end.
    pub duration: u64,
    /// Test packets a second, from the first to the last.
    pub rate: Option<f64>,
    /// All streams together.
    pub totals: Totals,
    /// All streams together: packets that did not come whole.
    pub lost: u64,
    /// All streams together.
    pub latency: Option<LatencySummary>,
    /// What the port did not give: losses that are the instrument's, and not those of what was measured.
    pub port: PortLosses,
    /// Each stream.
    pub streams: Vec<StreamReport>,
    /// Each overlay.
    pub overlays: Vec<OverlayReport>,
    /// Lost packets of which it is not known for which overlay they were.
    pub lost_of_no_overlay: u64,
    /// Pieces of time.
    pub slices: Vec<SliceReport>,
}

/// A stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamReport {
    /// Its number in stamps.
    pub stream: u16,
    /// Its name, if it was told.
    pub name: Option<String>,
    /// What was sent of it, if that is known.
    pub sent: Option<u64>,
    /// What came of it.
    #[serde(flatten)]
    pub counts: StreamCounts,
    /// How long its packets took.
    pub latency: Option<LatencySummary>,
}

/// An overlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlayReport {
    /// Its VNI, or the number that the profile gives it.
    pub overlay: u32,
    /// What came of its packets.
    #[serde(flatten)]
    pub counts: OverlayCounts,
}

/// A piece of time: what came inside it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SliceReport {
    /// When it ended, in nanoseconds since the start of receiving.
    pub end: u64,
    /// How long it was, in nanoseconds.
    pub length: u64,
    /// Test packets that came whole.
    pub received: u64,
    /// Packets that were found missing inside it, less those that came after all.
    pub missing: i64,
    /// Median latency, in nanoseconds; 0 if nothing came.
    pub p50: u64,
    /// 99th percentile.
    pub p99: u64,
}

/// What was measured back to back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// The ports that were wired to each other, as `A → B`.
    pub path: String,
    /// Packets a second.
    pub rate: f64,
    /// How they were attached.
    pub setup: Setup,
    /// Why it ended.
    #[serde(default)]
    pub ended: Ended,
    /// Packets that did not come: it should be none.
    pub lost: u64,
    /// The latency of sender, kernel and receiver without a device between.
    pub latency: Option<LatencySummary>,
}

/// A report that cannot be read or written.
#[derive(Debug, Error)]
pub enum ReportError {
    /// The file.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Its content.
    #[error("{path} is no report of pktgen: {source}")]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// Another version's.
    #[error("{path} is a report of format {format}, and this pktgen reads format {FORMAT}: make it anew")]
    Format {
        /// Which.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
}

impl Report {
    /// Reads one that was [saved](Self::save).
    ///
    /// # Errors
    /// [`ReportError`]
    pub fn load(path: &Path) -> Result<Self, ReportError> {
        let text =
            fs::read_to_string(path).map_err(|source| ReportError::File { path: path.to_owned(), source })?;
        let content = |source| ReportError::Content { path: path.to_owned(), source };
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let Head { format } = serde_json::from_str(&text).map_err(content)?;
        if format != FORMAT {
            return Err(ReportError::Format { path: path.to_owned(), format });
        }
        serde_json::from_str(&text).map_err(content)
    }

    /// Writes it as JSON.
    ///
    /// # Errors
    /// [`ReportError::File`]
    pub fn save(&self, path: &Path) -> Result<(), ReportError> {
        let error = |source| ReportError::File { path: path.to_owned(), source };
        fs::write(path, self.to_json() + "\n").map_err(error)
    }

    /// As JSON, over several lines.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("numbers and text have a form in JSON")
    }
}

impl Received {
    /// Of what a receiver measured from `begin` on. `names` and `sent` are by stream.
    pub fn new(
        measured: Measured,
        begin: u64,
        slices: &[TimedSlice],
        port: PortLosses,
        names: Option<&[Expected]>,
        sent: Option<&[u64]>,
    ) -> Self {
        let first = measured.streams.iter().filter_map(|(_, counts, _)| counts.first).min();
        let last = measured.streams.iter().map(|(_, counts, _)| counts.last).max();
        let time = first.zip(last).map(|(first, last)| last.saturating_sub(first)).filter(|time| *time > 0);
        let rate = time.map(|time| measured.totals.received.saturating_sub(1) as f64 / time as f64 * 1e9);
        let lost = measured.streams.iter().map(|(_, counts, _)| counts.lost).sum();
        let streams = measured.streams.into_iter().map(|(stream, counts, latency)| StreamReport {
            stream,
            name: names.and_then(|names| Some(names.get(usize::from(stream))?.name.clone())),
            sent: sent.and_then(|sent| sent.get(usize::from(stream)).copied()),
            counts,
            latency,
        });
        Self {
            duration: slices.last().map_or(0, |last| last.end.saturating_sub(begin)),
            rate,
            totals: measured.totals,
            lost,
            latency: measured.latency,
            port,
            streams: streams.collect(),
            overlays: measured
                .overlays
                .into_iter()
                .map(|(overlay, counts)| OverlayReport { overlay, counts })
                .collect(),
            lost_of_no_overlay: measured.lost_of_no_overlay,
            slices: differences(begin, slices),
        }
    }
}

/// Adds a slice to those that a report is made of: the first [`SLICES`], and the last there is, which tells the end.
pub(crate) fn keep(slices: &mut Vec<TimedSlice>, slice: TimedSlice) {
    slices.truncate(SLICES);
    slices.push(slice);
}

/// What happened inside each slice, of what had happened by its end.
fn differences(begin: u64, slices: &[TimedSlice]) -> Vec<SliceReport> {
    let mut before = Slice::default();
    let report = |TimedSlice { end, length, slice }: &TimedSlice| {
        let report = SliceReport {
            end: end.saturating_sub(begin),
            length: *length,
            received: slice.totals.received - before.totals.received,
            missing: slice.missing.cast_signed() - before.missing.cast_signed(),
            p50: slice.p50,
            p99: slice.p99,
        };
        before = *slice;
        report
    };
    slices.iter().map(report).take(SLICES).collect()
}

#[cfg(test)]
mod tests;
