//! What gateways say to each other while nothing happens.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use lab::{Cluster, ClusterGateway, wait_until};
use serde_json::Value;

use super::{FEW_OVERLAYS, MANY_OVERLAYS};
use crate::Error;
use crate::figure::{Figure, Goal};

/// For how long it is counted: this many signs of life on each session.
const WINDOW: Duration = Duration::from_secs(20);
/// As long without a message is quiet: bindings are told each second.
const QUIET: Duration = Duration::from_secs(5);
/// How long it may take until it is quiet.
const PATIENCE: Duration = Duration::from_secs(120);

/// A sign of life more or less at the ends of the time, on each of the sessions: within this it is the same.
const INDEPENDENT: Goal = Goal::AtMost(1.1);

/// What all gateways sent each other in a second.
#[derive(Clone, Copy)]
pub(super) struct Rates {
    /// Messages of their sessions, without signs of life.
    messages: f64,
    /// TCP's segments with data and their bytes, as the kernel counts them: all that is sent on the sessions.
    segments: f64,
    bytes: f64,
    /// BFD's packets.
    bfd: f64,
}

/// The same since the start.
#[derive(Default)]
struct Sent {
    /// Ends of sessions.
    ends: u64,
    messages: u64,
    segments: u64,
    bytes: u64,
    bfd: u64,
}

impl Rates {
    /// Waits until the gateways are quiet, and counts for a while.
    pub(super) fn of(cluster: &Cluster) -> Result<Self, Error> {
        let mut messages = (u64::MAX, Instant::now());
        wait_until("gateways to be quiet", PATIENCE, || {
            let now = Sent::by(cluster).map_err(|error| error.to_string())?.messages;
            if now != messages.0 {
                messages = (now, Instant::now());
            }
            if messages.1.elapsed() >= QUIET { Ok(()) } else { Err(format!("{now} messages so far")) }
        })?;
        let (begin, before) = (Instant::now(), Sent::by(cluster)?);
        thread::sleep(WINDOW);
        let (seconds, after) = (begin.elapsed().as_secs_f64(), Sent::by(cluster)?);
        if after.ends != before.ends || after.bytes < before.bytes {
            return Err("a session between gateways ended while they were idle".into());
        }
        let rate = |of: fn(&Sent) -> u64| of(&after).saturating_sub(of(&before)) as f64 / seconds;
        Ok(Self {
            messages: rate(|sent| sent.messages),
            segments: rate(|sent| sent.segments),
            bytes: rate(|sent| sent.bytes),
            bfd: rate(|sent| sent.bfd),
        })
    }

    pub(super) fn line(&self) -> String {
        let Self { messages, segments, bytes, bfd } = self;
        format!(
            "idle, all gateways to each other: {messages:.1} messages/s, {segments:.1} segments/s and {bytes:.0} bytes/s on their \
             sessions, {bfd:.0} packets/s of BFD"
        )
    }
}

impl Sent {
    fn by(cluster: &Cluster) -> Result<Self, Error> {
        let mut sent = Self::default();
        for member in &cluster.gateways {
            sent.add(member)?;
        }
        Ok(sent)
    }

    fn add(&mut self, member: &ClusterGateway) -> Result<(), Error> {
        let rows = member.gateway.show("cluster")?;
        let rows = rows.as_array().ok_or("no gateways")?;
        let mut addresses = BTreeSet::new();
        let mut ports = BTreeSet::new();
        for peer in rows.iter().filter(|row| row["session"] != "self") {
            self.messages += number(&peer["sent"])?;
            let lists = ["underlay", "uplink"].map(|side| peer[side].as_array());
            addresses
                .extend(lists.into_iter().flatten().flatten().filter_map(Value::as_str).map(str::to_owned));
            let (_, port) =
                peer["address"].as_str().and_then(|at| at.rsplit_once(':')).ok_or("no address")?;
            ports.insert(port.to_owned());
        }
        for session in member.gateway.show("bfd")?["sessions"].as_array().into_iter().flatten() {
            if session["peer"].as_str().is_some_and(|peer| addresses.contains(peer)) {
                self.bfd += number(&session["sent"])?;
            }
        }
        for port in ports {
            // A session is of one connection, opened by either.
            let filter = format!("( sport = :{port} or dport = :{port} )");
            let output = member.namespace.run("ss", &["-tinHO", "state", "established", &filter])?;
            for line in String::from_utf8_lossy(&output.stdout).lines() {
                self.ends += 1;
                self.segments += field(line, "data_segs_out:")?;
                self.bytes += field(line, "bytes_sent:")?;
            }
        }
        Ok(())
    }
}

fn number(value: &Value) -> Result<u64, Error> {
    Ok(value.as_u64().ok_or("a counter that is no number")?)
}

/// The number behind a name in a line of `ss`.
fn field(line: &str, name: &str) -> Result<u64, Error> {
    let word = line.split_whitespace().find_map(|word| word.strip_prefix(name));
    Ok(word.ok_or_else(|| format!("ss says nothing of {name} in {line}"))?.parse()?)
}

/// What was said with few and with many overlays.
pub(super) fn figures(mode: &str, few: Rates, many: Rates) -> Vec<Figure> {
    let mut figures = Vec::new();
    for (overlays, rates) in [(FEW_OVERLAYS, few), (MANY_OVERLAYS, many)] {
        let name = format!("idle, {mode}, {overlays} overlays, all gateways to each other");
        let figure = |what: &str, value, unit| Figure::new(format!("{name}: {what}"), value, unit);
        figures.extend([
            figure("messages of their sessions", rates.messages, "/s")
                .note("signs of life, one each second and session, are not among them".into()),
            figure("segments with data on their sessions", rates.segments, "/s"),
            figure("bytes on their sessions", rates.bytes, "bytes/s"),
            figure("packets of BFD", rates.bfd, "/s"),
        ]);
    }
    let ratio = |what: &str, of: fn(&Rates) -> f64| {
        let name = format!("idle, {mode}: {what} at {MANY_OVERLAYS} overlays over {FEW_OVERLAYS}");
        Figure::new(name, of(&many) / of(&few), "").goal(INDEPENDENT)
    };
    figures.push(ratio("segments between gateways", |rates| rates.segments));
    figures.push(ratio("bytes between gateways", |rates| rates.bytes));
    figures
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ss_says_is_read() {
        let line = "0 0 198.18.0.1:7790 198.18.0.2:40000 cubic bytes_sent:1234 bytes_acked:1234 segs_out:70 data_segs_out:56 send 1Mbps";
        assert_eq!((field(line, "bytes_sent:").unwrap(), field(line, "data_segs_out:").unwrap()), (1234, 56));
        assert!(field(line, "delivered:").is_err());
    }
}
