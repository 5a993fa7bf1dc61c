//! What was sent, for people and for spreadsheets.

use std::io::{self, Write};

use pktgen::profile::Layer;
use pktgen::send::{Ended, Sent};

/// Writes the result of sending.
pub(super) fn sent(out: &mut impl Write, header: &str, streams: &[&str], sent: &Sent) -> io::Result<()> {
    let ended = match &sent.ended {
        Ended::Complete => "complete".to_owned(),
        Ended::Stopped => "stopped".to_owned(),
        Ended::Failed(message) => format!("failed: {message}"),
    };
    writeln!(out, "{header}")?;
    writeln!(out, "ended      {ended}")?;
    writeln!(out, "packets    {}", sent.packets)?;
    writeln!(out, "bytes      {} (without FCS)", sent.bytes)?;
    writeln!(out, "time       {:.6} s, first to last", sent.duration().as_secs_f64())?;
    writeln!(out, "requested  {}", sent.requested)?;
    if let (Some(packets), Some(l1), Some(l2)) =
        (sent.packet_rate(), sent.bit_rate(Layer::L1), sent.bit_rate(Layer::L2))
    {
        let reached =
            sent.reached().map(|part| format!(" ({:.3} % of it)", part * 100.0)).unwrap_or_default();
        writeln!(
            out,
            "reached    {packets:.0} packets/s{reached}, {:.3} Mbit/s L1, {:.3} L2",
            l1 / 1e6,
            l2 / 1e6
        )?;
    }
    if sent.behind > 0 {
        writeln!(out, "given up   {:.3} s, in which it could not keep up", sent.behind as f64 / 1e9)?;
    }
    if sent.late > 0 {
        writeln!(out, "late       {:.3} ms at worst, against the capture's times", sent.late as f64 / 1e6)?;
    }
    if sent.dropped > 0 {
        writeln!(out, "dropped    {} by the interface, not counted as sent", sent.dropped)?;
    }
    let gaps = sent.gaps.histogram();
    if !gaps.is_empty() {
        let at = |percentile| gaps.value_at_percentile(percentile) as f64 / 1e3;
        writeln!(
            out,
            "gaps       µs: mean {:.3}, p1 {:.3}, p50 {:.3}, p90 {:.3}, p99 {:.3}, p99.9 {:.3}, max {:.3}",
            gaps.mean() / 1e3,
            at(1.0),
            at(50.0),
            at(90.0),
            at(99.0),
            at(99.9),
            gaps.max() as f64 / 1e3
        )?;
    }
    writeln!(out)?;
    let width = streams.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(6);
    writeln!(out, "{:width$}  {:>14}  {:>18}", "stream", "packets", "bytes")?;
    for (name, sent) in streams.iter().zip(&sent.streams) {
        writeln!(out, "{:width$}  {:>14}  {:>18}", name, sent.packets, sent.bytes)?;
    }
    Ok(())
}

/// Writes the result as CSV (RFC 4180): a line a stream, with the total last; what is not known is empty.
pub(super) fn sent_csv(out: &mut impl Write, streams: &[&str], sent: &Sent) -> io::Result<()> {
    let line = "stream,name,packets,bytes,packets_per_second,bits_per_second_l1,bits_per_second_l2,reached,late_ns,dropped";
    write!(out, "{line}\r\n")?;
    for (number, (name, stream)) in streams.iter().zip(&sent.streams).enumerate() {
        let name = name.replace('"', "\"\"");
        write!(out, "{number},\"{name}\",{},{},,,,,,\r\n", stream.packets, stream.bytes)?;
    }
    let rates = [sent.packet_rate(), sent.bit_rate(Layer::L1), sent.bit_rate(Layer::L2), sent.reached()]
        .map(|rate| rate.map_or_else(String::new, |rate| rate.to_string()));
    let Sent { packets, bytes, late, dropped, .. } = sent;
    write!(out, "all,,{packets},{bytes},{},{late},{dropped}\r\n", rates.join(","))
}
