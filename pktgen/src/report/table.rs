//! Reports for people.

use std::fmt::{self, Display, Write};

use super::{Calibration, Ended, OverlayReport, Report, SentSummary, Setup};
use crate::attach::PortFacts;
use crate::receive::LatencySummary;

/// Overlays that are shown, those with most losses first.
const OVERLAYS: usize = 10;

/// The report as text, with a line feed at its end.
pub fn table(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a `String` cannot fail.
    let _ = write(&mut text, report);
    text
}

fn write(out: &mut String, report: &Report) -> fmt::Result {
    let Report { machine, profile, setup, ended, sent, received, calibration, .. } = report;
    writeln!(out, "machine      {}, {} cores, Linux {}", machine.cpu, machine.cores, machine.kernel)?;
    writeln!(out, "pktgen       {}, profile {}", machine.pktgen, profile.as_deref().unwrap_or("unknown"))?;
    write_setup(out, setup)?;
    write_end(out, ended)?;
    writeln!(out)?;
    if let Some(SentSummary { packets, rate, requested, reached, behind, .. }) = sent {
        write!(out, "sent         {packets} packets")?;
        if let Some(rate) = rate {
            write!(out, ", {} packets/s", Rate(*rate))?;
        }
        write!(out, ", asked for {requested}")?;
        if let Some(reached) = reached {
            write!(out, ", reached {:.2} %", reached * 100.0)?;
        }
        if *behind > 0 {
            write!(out, ", {} behind for good", Time(*behind))?;
        }
        writeln!(out)?;
    }
    let totals = &received.totals;
    write!(out, "received     {} packets", totals.received)?;
    if let Some(rate) = received.rate {
        write!(out, ", {} packets/s", Rate(rate))?;
    }
    writeln!(out)?;
    let all = totals.received + received.lost;
    writeln!(out, "lost         {}{}", received.lost, Share(received.lost, all))?;
    let counted = [
        ("corrupted", totals.corrupted, "among the lost"),
        ("duplicates", totals.duplicates, ""),
        ("reordered", totals.reordered, ""),
        ("late", totals.late, "behind the window: lost ones or duplicates"),
        ("misdelivered", totals.misdelivered, "in another overlay than theirs"),
        ("unchecked", totals.unchecked, "no checksum: their corruption would not be seen"),
        ("unexpected", totals.unexpected, "test packets of no stream of the profile"),
        ("other", totals.other.sum(), "no test packets"),
    ];
    for (name, count, meaning) in counted {
        if count > 0 || ["duplicates", "reordered", "corrupted"].contains(&name) {
            let meaning =
                if meaning.is_empty() || count == 0 { String::new() } else { format!(" ({meaning})") };
            writeln!(out, "{name:12} {count}{meaning}")?;
        }
    }
    let port = &received.port;
    if port.overrun + port.too_long + port.no_socket > 0 {
        writeln!(
            out,
            "NOT TAKEN    {} by a receiver that did not keep up, {} too long, {} on queues without a socket: these \
             losses are the receiver's own",
            port.overrun, port.too_long, port.no_socket
        )?;
    }
    if port.dropped > 0 {
        writeln!(
            out,
            "NOT TAKEN    {} dropped by the receiving interface itself (some drivers count those not taken here too, and \
             frames for nobody)",
            port.dropped
        )?;
    }
    if let Some(dropped @ 1..) = sent.as_ref().and_then(|sent| sent.dropped) {
        writeln!(
            out,
            "NOT SENT     {dropped} dropped by the sending interface, or for want of room at its far end: these losses are \
             the sender's own"
        )?;
    }
    if let Some(latency) = &received.latency {
        writeln!(out, "latency      {}", Latency(latency))?;
    }
    if totals.backward > 0 {
        writeln!(
            out,
            "CLOCKS       {} packets came before they were sent: sender and receiver have no clock in common, and latency \
             means nothing",
            totals.backward
        )?;
    }
    if let Some(Calibration { path, ended, latency: Some(latency), lost, .. }) = calibration {
        writeln!(out, "calibration  {}", Latency(latency))?;
        writeln!(out, "             {path}, back to back, {lost} lost; not taken off the latency above")?;
        if *ended != Ended::Complete {
            writeln!(out, "             cut short: what it says is of less time than was asked for")?;
        }
    }
    if received.streams.len() > 1 {
        write_streams(out, report)?;
    }
    write_overlays(out, &received.overlays)
}

fn write_end(out: &mut String, ended: &Ended) -> fmt::Result {
    match ended {
        Ended::Complete => Ok(()),
        Ended::Interrupted => writeln!(out, "ended        interrupted: this is what was measured till then"),
        Ended::Failed(why) => {
            writeln!(out, "ended        FAILED: {why}; this is what was measured till then")
        }
    }
}

fn write_setup(out: &mut String, setup: &Setup) -> fmt::Result {
    for (what, port, cores) in [
        ("sender", &setup.sender, setup.sender_cores.iter().map(ToString::to_string).collect::<Vec<_>>()),
        ("receiver", &setup.receiver, setup.receiver_core.iter().map(ToString::to_string).collect()),
    ] {
        let Some(port) = port else { continue };
        let PortFacts { interface, driver, mtu, queues, xdp, bind, .. } = port;
        let cores = if cores.is_empty() { "any".to_owned() } else { cores.join(", ") };
        write!(
            out,
            "{what:12} {interface}, driver {driver}, MTU {mtu}, queues {queues}, XDP {xdp}, socket {bind}, core {cores}"
        )?;
        if what == "receiver" {
            write!(out, ", polling {}", setup.polling)?;
        }
        writeln!(out)?;
        for refusal in [&port.xdp_refusal, &port.bind_refusal].into_iter().flatten() {
            writeln!(out, "             {refusal}")?;
        }
    }
    Ok(())
}

fn write_streams(out: &mut String, report: &Report) -> fmt::Result {
    let name = |stream: &super::StreamReport| {
        stream.name.clone().unwrap_or_else(|| format!("stream {}", stream.stream))
    };
    let width =
        report.received.streams.iter().map(|stream| name(stream).chars().count()).max().unwrap_or(0).max(6);
    writeln!(
        out,
        "\n{:width$}  {:>10}  {:>10}  {:>8}  {:>8}  {:>9}  {:>9}  {:>10}  {:>10}",
        "stream", "sent", "received", "lost", "twice", "reordered", "corrupted", "p50", "p99"
    )?;
    for stream in &report.received.streams {
        let counts = &stream.counts;
        let time = |of: fn(&LatencySummary) -> u64| {
            stream.latency.as_ref().map_or_else(|| "-".to_owned(), |latency| Time(of(latency)).to_string())
        };
        writeln!(
            out,
            "{:width$}  {:>10}  {:>10}  {:>8}  {:>8}  {:>9}  {:>9}  {:>10}  {:>10}",
            name(stream),
            stream.sent.map_or_else(|| "-".to_owned(), |sent| sent.to_string()),
            counts.received,
            counts.lost,
            counts.duplicates,
            counts.reordered,
            counts.corrupted,
            time(|latency| latency.p50.value),
            time(|latency| latency.p99.value),
        )?;
    }
    Ok(())
}

fn write_overlays(out: &mut String, overlays: &[OverlayReport]) -> fmt::Result {
    if overlays.is_empty() {
        return Ok(());
    }
    let amiss = |row: &OverlayReport| row.counts.lost + row.counts.corrupted + row.counts.strangers > 0;
    let mut worst: Vec<&OverlayReport> = overlays.iter().filter(|row| amiss(row)).collect();
    worst.sort_by_key(|row| std::cmp::Reverse((row.counts.lost, row.counts.strangers)));
    let received: Vec<u64> = overlays.iter().map(|row| row.counts.received).collect();
    let [least, most] =
        [received.iter().min(), received.iter().max()].map(|value| value.copied().unwrap_or(0));
    writeln!(
        out,
        "\noverlays     {}, each received {least} to {most} packets; {} with losses, corruption or strangers",
        overlays.len(),
        worst.len()
    )?;
    for OverlayReport { overlay, counts } in worst.iter().take(OVERLAYS) {
        writeln!(
            out,
            "  {overlay:>8}   {} received, {} lost, {} corrupted, {} of other overlays",
            counts.received, counts.lost, counts.corrupted, counts.strangers
        )?;
    }
    Ok(())
}

impl Display for Calibration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut setup = String::new();
        write_setup(&mut setup, &self.setup)?;
        write_end(&mut setup, &self.ended)?;
        write!(
            f,
            "{setup}path         {}, back to back, {} packets/s, {} lost",
            self.path, self.rate, self.lost
        )?;
        match &self.latency {
            Some(latency) => writeln!(f, "\nlatency      {}", Latency(latency)),
            None => writeln!(f),
        }
    }
}

struct Latency<'a>(&'a LatencySummary);

impl Display for Latency<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LatencySummary { min, p50, p90, p99, p999, max, jitter, .. } = self.0;
        let [p50, p90, p99, p999] = [p50, p90, p99, p999].map(|percentile| Time(percentile.value));
        write!(f, "min {}, p50 {p50}, p90 {p90}, p99 {p99}, p99.9 {p999}, max {}", Time(*min), Time(*max))?;
        if *jitter > 0 { write!(f, ", jitter {}", Time(*jitter)) } else { Ok(()) }
    }
}

/// A time in nanoseconds, in the unit that suits it.
pub(crate) struct Time(pub(crate) u64);

impl Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.0 as f64;
        let text = match self.0 {
            0..1_000 => format!("{value} ns"),
            1_000..1_000_000 => format!("{:.1} µs", value / 1e3),
            1_000_000..1_000_000_000 => format!("{:.2} ms", value / 1e6),
            _ => format!("{:.2} s", value / 1e9),
        };
        f.pad(&text)
    }
}

/// A number a second, with a prefix.
pub(crate) struct Rate(pub(crate) f64);

impl Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self.0 {
            rate if rate >= 1e6 => format!("{:.3} M", rate / 1e6),
            rate if rate >= 1e4 => format!("{:.2} k", rate / 1e3),
            rate => format!("{rate:.1}"),
        };
        f.pad(&text)
    }
}

/// What part of a whole something is, in brackets, if it is any.
struct Share(u64, u64);

impl Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self(0, _) | Self(_, 0) => Ok(()),
            Self(part, whole) => write!(f, " ({:.4} %)", part as f64 / whole as f64 * 100.0),
        }
    }
}
