//! Echo requests, by ping(8).

use std::time::Duration;

use crate::error::{Error, Result, command_line};
use crate::namespace::Namespace;

/// A series of echo requests to be sent.
#[derive(Clone, Debug)]
pub struct Ping {
    destination: String,
    count: u32,
    interval: Duration,
    timeout: Duration,
    size: u16,
    tos: u8,
    may_be_cut: bool,
}

/// What came back.
#[derive(Clone, Debug, PartialEq)]
pub struct PingReport {
    /// Echo requests sent.
    pub sent: u64,
    /// Echo replies received, duplicates not counted.
    pub received: u64,
    /// Replies that came more than once.
    pub duplicates: u64,
    /// ICMP errors received instead.
    pub errors: u64,
    /// Round-trip times, if there was a reply.
    pub round_trip: Option<RoundTrip>,
}

/// Round-trip times of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoundTrip {
    /// The shortest.
    pub min: Duration,
    /// The mean.
    pub mean: Duration,
    /// The longest.
    pub max: Duration,
}

impl Ping {
    /// Five requests of 56 bytes, 10 ms apart, each awaited for a second. The destination is an address, for a
    /// link-local one with its zone (`fe80::1%eth0`).
    pub fn to(destination: impl ToString) -> Self {
        Self {
            destination: destination.to_string(),
            count: 5,
            interval: Duration::from_millis(10),
            timeout: Duration::from_secs(1),
            size: 56,
            tos: 0,
            may_be_cut: false,
        }
    }

    /// How many requests.
    pub fn count(self, count: u32) -> Self {
        Self { count, ..self }
    }

    /// How far apart.
    pub fn interval(self, interval: Duration) -> Self {
        Self { interval, ..self }
    }

    /// How long to wait for a first reply. Once there was one, ping(8) waits for the last for twice the longest round
    /// trip so far, at least an interval: on a busy machine only a series of [one](Self::count) tells a loss from a
    /// delay.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Bytes of ICMP payload. Packets are never fragmented, unless they [may be](Self::may_be_cut).
    pub fn size(self, size: u16) -> Self {
        Self { size, ..self }
    }

    /// Packets may be cut into fragments: here, and over IPv4 by routers too.
    pub fn may_be_cut(self) -> Self {
        Self { may_be_cut: true, ..self }
    }

    /// The byte with DSCP and ECN: type of service, or traffic class. The ECN field of a reply is not that of its
    /// request.
    pub fn tos(self, tos: u8) -> Self {
        Self { tos, ..self }
    }

    /// Sends them from `namespace`. That nothing came back is no error.
    ///
    /// # Errors
    /// [`Error::Command`] if nothing could be sent: no route, an address not understood.
    pub fn run(&self, namespace: &Namespace) -> Result<PingReport> {
        let seconds = |duration: Duration| format!("{:.3}", duration.as_secs_f64());
        let (count, size, tos) = (self.count.to_string(), self.size.to_string(), self.tos.to_string());
        let (interval, timeout) = (seconds(self.interval), seconds(self.timeout));
        let discovery = if self.may_be_cut { "dont" } else { "do" };
        let arguments = [
            "-n",
            "-q",
            "-M",
            discovery,
            "-c",
            &count,
            "-s",
            &size,
            "-Q",
            &tos,
            "-i",
            &interval,
            "-W",
            &timeout,
            "--",
            &self.destination,
        ];
        let mut command = namespace.command("ping", &arguments);
        let output = namespace
            .enter(|| command.output())?
            .map_err(Error::io(format!("run `{}`", command_line(&command))))?;
        // 1: no reply, or fewer than asked for.
        if !matches!(output.status.code(), Some(0 | 1)) {
            return Err(Error::command(&command, &output));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        parse(&text).ok_or_else(|| Error::Output { program: "ping", output: text.into_owned() })
    }
}

impl PingReport {
    /// Whether every request was answered, once.
    pub fn is_complete(&self) -> bool {
        self.sent > 0 && self.received == self.sent && self.duplicates == 0 && self.errors == 0
    }
}

/// Reads the summary that ping writes at its end.
fn parse(text: &str) -> Option<PingReport> {
    let summary = text.lines().find(|line| line.contains(" packets transmitted"))?;
    let number = |after: &str| {
        summary.split(", ").find_map(|part| part.strip_suffix(after)?.trim_start_matches('+').parse().ok())
    };
    let round_trip = text.lines().find_map(|line| {
        let (_, times) = line.strip_prefix("rtt ")?.split_once(" = ")?;
        let mut times = times.split_whitespace().next()?.split('/').map(|time| time.parse::<f64>().ok());
        let mut next = || times.next()?.map(|milliseconds| Duration::from_secs_f64(milliseconds / 1e3));
        Some(RoundTrip { min: next()?, mean: next()?, max: next()? })
    });
    Some(PingReport {
        sent: number(" packets transmitted")?,
        received: number(" received")?,
        duplicates: number(" duplicates").unwrap_or(0),
        errors: number(" errors").unwrap_or(0),
        round_trip,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_full_summary() {
        let report = parse(
            "PING 127.0.0.1 (127.0.0.1) 56(84) bytes of data.\n\n--- 127.0.0.1 ping statistics ---\n\
             3 packets transmitted, 3 received, 0% packet loss, time 22ms\n\
             rtt min/avg/max/mdev = 0.014/0.030/0.055/0.018 ms\n",
        )
        .unwrap();
        assert!(report.is_complete());
        assert_eq!((report.sent, report.received), (3, 3));
        let round_trip = report.round_trip.unwrap();
        assert_eq!(round_trip.min, Duration::from_micros(14));
        assert_eq!(round_trip.max, Duration::from_micros(55));
    }

    #[test]
    fn reads_losses_duplicates_and_errors() {
        let report = parse(
            "--- 10.0.0.1 ping statistics ---\n\
             10 packets transmitted, 6 received, +2 duplicates, +1 errors, 40% packet loss, time 90ms\n\
             rtt min/avg/max/mdev = 1.000/2.000/3.000/0.500 ms, pipe 3\n",
        )
        .unwrap();
        assert_eq!((report.sent, report.received, report.duplicates, report.errors), (10, 6, 2, 1));
        assert_eq!(report.round_trip.unwrap().mean, Duration::from_millis(2));
        assert!(!report.is_complete());
    }

    #[test]
    fn reads_silence_and_refuses_nonsense() {
        let report = parse("2 packets transmitted, 0 received, 100% packet loss, time 11ms\n\n").unwrap();
        assert_eq!((report.received, report.round_trip), (0, None));
        assert_eq!(parse("ping: unknown host\n"), None);
    }
}
