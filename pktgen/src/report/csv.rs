//! Reports as CSV (RFC 4180): a line a stream, with the total last.

use std::fmt::Write;

use super::{Report, StreamReport};
use crate::receive::{LatencySummary, StreamCounts};

/// The columns.
const HEADER: &str = "stream,name,sent,received,lost,duplicates,reordered,extent_max,late,corrupted,unchecked,\
    misdelivered,latency_min_ns,latency_p50_ns,latency_p90_ns,latency_p99_ns,latency_p999_ns,latency_max_ns,jitter_ns,backward";

/// One line for each stream, and one for all of them; what is not known is empty.
pub fn csv(report: &Report) -> String {
    let mut text = HEADER.to_owned() + "\r\n";
    for stream in &report.received.streams {
        let StreamReport { stream, name, sent, counts, latency } = stream;
        line(&mut text, &stream.to_string(), name.as_deref().unwrap_or(""), *sent, counts, latency.as_ref());
    }
    let totals = &report.received.totals;
    let counts = StreamCounts {
        received: totals.received,
        lost: report.received.lost,
        duplicates: totals.duplicates,
        reordered: totals.reordered,
        extent_max: report.received.streams.iter().map(|stream| stream.counts.extent_max).max().unwrap_or(0),
        late: totals.late,
        corrupted: totals.corrupted,
        unchecked: totals.unchecked,
        misdelivered: totals.misdelivered,
        backward: totals.backward,
        ..StreamCounts::default()
    };
    let sent = report.sent.as_ref().map(|sent| sent.packets);
    line(&mut text, "all", "", sent, &counts, report.received.latency.as_ref());
    text
}

fn line(
    text: &mut String,
    stream: &str,
    name: &str,
    sent: Option<u64>,
    counts: &StreamCounts,
    latency: Option<&LatencySummary>,
) {
    let known = |value: Option<u64>| value.map_or_else(String::new, |value| value.to_string());
    let of_latency = |value: fn(&LatencySummary) -> u64| known(latency.map(value));
    let fields = [
        stream.to_owned(),
        quoted(name),
        known(sent),
        counts.received.to_string(),
        counts.lost.to_string(),
        counts.duplicates.to_string(),
        counts.reordered.to_string(),
        counts.extent_max.to_string(),
        counts.late.to_string(),
        counts.corrupted.to_string(),
        counts.unchecked.to_string(),
        counts.misdelivered.to_string(),
        of_latency(|latency| latency.min),
        of_latency(|latency| latency.p50.value),
        of_latency(|latency| latency.p90.value),
        of_latency(|latency| latency.p99.value),
        of_latency(|latency| latency.p999.value),
        of_latency(|latency| latency.max),
        of_latency(|latency| latency.jitter),
        counts.backward.to_string(),
    ];
    // Writing to a `String` cannot fail.
    let _ = write!(text, "{}\r\n", fields.join(","));
}

/// A field in quotes, if it needs them.
fn quoted(field: &str) -> String {
    if field.contains(['"', ',', '\r', '\n']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.into()
    }
}
