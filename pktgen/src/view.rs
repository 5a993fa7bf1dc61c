//! How a measurement is going, on a terminal.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use crate::receive::{Slice, TimedSlice};
use crate::report::{Rate, Time};
use crate::run::Progress;

/// Columns of the bar.
const BAR: usize = 24;

/// A few lines that are written over and over; nothing at all where there is no terminal.
pub struct View {
    out: Option<io::Stderr>,
    /// Lines that stand there.
    lines: usize,
    last: Option<(TimedSlice, u64)>,
    before: Option<(TimedSlice, u64)>,
}

impl Default for View {
    fn default() -> Self {
        Self::new()
    }
}

impl View {
    /// On standard error, so that standard output is the report alone; if that is a terminal.
    pub fn new() -> Self {
        let out = io::stderr();
        Self { out: out.is_terminal().then_some(out), lines: 0, last: None, before: None }
    }

    /// Shows how it is, if there is anything new.
    pub fn look(&mut self, progress: &Progress, slices: &[TimedSlice]) {
        let Some(slice) = slices.last() else { return };
        self.before = self.last.replace((*slice, progress.sent));
        let text = render(progress, self.before, (*slice, progress.sent));
        self.write(&text);
    }

    fn write(&mut self, text: &str) {
        let Some(out) = &mut self.out else { return };
        let mut frame = String::new();
        if self.lines > 0 {
            // Up to the first of them, and clear from there on.
            let _ = write!(frame, "\x1b[{}A\x1b[J", self.lines);
        }
        frame += text;
        self.lines = text.lines().count();
        // A terminal that is gone is no reason to stop.
        let _ = out.write_all(frame.as_bytes()).and_then(|()| out.flush());
    }
}

impl Drop for View {
    fn drop(&mut self) {
        self.write("");
    }
}

/// The lines for the newest slice; rates are against the one before.
fn render(progress: &Progress, before: Option<(TimedSlice, u64)>, (now, sent): (TimedSlice, u64)) -> String {
    let (earlier, earlier_sent) = before.map_or((Slice::default(), 0), |(timed, sent)| (timed.slice, sent));
    let seconds = now.length as f64 / 1e9;
    let rate = |now: u64, before: u64| {
        Rate(if seconds > 0.0 { now.saturating_sub(before) as f64 / seconds } else { 0.0 })
    };
    let totals = &now.slice.totals;
    let mut text = String::new();
    // Writing to a `String` cannot fail.
    let _ = writeln!(text, "{}", course(progress));
    if sent > 0 {
        let _ = writeln!(text, "sent      {:>10}/s  {sent} packets", rate(sent, earlier_sent));
    }
    let received = rate(totals.received, earlier.totals.received);
    let _ = writeln!(text, "received  {received:>10}/s  {} packets", totals.received);
    let _ = writeln!(
        text,
        "missing {}, duplicates {}, reordered {}, corrupted {}, other frames {}",
        now.slice.missing,
        totals.duplicates,
        totals.reordered,
        totals.corrupted,
        totals.other.sum()
    );
    let _ = writeln!(text, "latency   p50 {}, p99 {}", Time(now.slice.p50), Time(now.slice.p99));
    text
}

/// How far it is, by time or by count, and how long it will take.
fn course(progress: &Progress) -> String {
    let seconds = |nanoseconds: u64| nanoseconds / 1_000_000_000;
    let elapsed = seconds(progress.elapsed);
    let by_count = progress.count.filter(|count| *count > 0).map(|count| progress.sent as f64 / count as f64);
    let by_time = progress.end.filter(|end| *end > 0).map(|end| progress.elapsed as f64 / end as f64);
    let Some(part) = by_count.into_iter().chain(by_time).reduce(f64::max).map(|part| part.min(1.0)) else {
        return format!("{elapsed} s; Ctrl-C ends it with a report");
    };
    let done = (part * BAR as f64) as usize;
    let bar = "#".repeat(done) + &"-".repeat(BAR - done);
    let left = if progress.settling {
        "waiting for the last".to_owned()
    } else if part > 0.0 {
        format!("{} s left", seconds((progress.elapsed as f64 * (1.0 - part) / part) as u64))
    } else {
        "just begun".to_owned()
    };
    format!("[{bar}] {:.0} %, {elapsed} s, {left}", part * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receive::Totals;

    fn timed(received: u64, missing: u64) -> TimedSlice {
        let totals = Totals { received, duplicates: 2, ..Totals::default() };
        let slice = Slice { totals, missing, p50: 12_345, p99: 2_500_000 };
        TimedSlice { end: 0, length: 500_000_000, slice }
    }

    #[test]
    fn rates_are_of_the_slice() {
        let progress =
            Progress { elapsed: 2_500_000_000, end: Some(10_000_000_000), sent: 5000, ..Progress::default() };
        let text = render(&progress, Some((timed(3000, 0), 4000)), (timed(3990, 10), 5000));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], format!("[{}{}] 25 %, 2 s, 7 s left", "#".repeat(6), "-".repeat(18)));
        assert_eq!(lines[1], "sent          2000.0/s  5000 packets");
        assert_eq!(lines[2], "received      1980.0/s  3990 packets");
        assert_eq!(lines[3], "missing 10, duplicates 2, reordered 0, corrupted 0, other frames 0");
        assert_eq!(lines[4], "latency   p50 12.3 µs, p99 2.50 ms");
    }

    #[test]
    fn the_course_is_told_whatever_is_known_of_it() {
        let progress = Progress { elapsed: 3_000_000_000, ..Progress::default() };
        assert_eq!(course(&progress), "3 s; Ctrl-C ends it with a report");
        let counted = course(&Progress { count: Some(100), sent: 50, ..progress });
        assert!(counted.ends_with("] 50 %, 3 s, 3 s left"), "{counted}");
        let over = course(&Progress { count: Some(100), sent: 100, settling: true, ..progress });
        assert!(over.ends_with("] 100 %, 3 s, waiting for the last"), "{over}");
        let begun = course(&Progress { count: Some(100), ..progress });
        assert!(begun.ends_with("just begun"), "{begun}");
    }
}
