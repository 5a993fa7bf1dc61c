//! Throughput, by iperf3(1).

use std::net::IpAddr;
use std::time::Duration;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::namespace::Namespace;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How much longer than its test iperf3 may run.
const GRACE: Duration = Duration::from_secs(20);

/// First of the ports used: iperf3's own.
const FIRST_PORT: u16 = 5201;

/// A measurement to be made.
#[derive(Clone, Copy, Debug)]
pub struct Iperf {
    /// Bits of UDP payload a second; `None`: TCP.
    udp: Option<u64>,
    seconds: u32,
    streams: u32,
    reverse: bool,
}

/// What was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IperfReport {
    /// Payload received, in bits a second.
    pub bits_per_second: f64,
    /// TCP: segments sent again.
    pub retransmits: u64,
    /// UDP: datagrams sent.
    pub datagrams: u64,
    /// UDP: datagrams that did not arrive.
    pub lost: u64,
}

impl Iperf {
    /// One TCP stream for a second, from the client to the server.
    pub fn tcp() -> Self {
        Self { udp: None, seconds: 1, streams: 1, reverse: false }
    }

    /// One UDP stream of so many bits a second, for a second, from the client to the server.
    pub fn udp(bits_per_second: u64) -> Self {
        Self { udp: Some(bits_per_second), seconds: 1, streams: 1, reverse: false }
    }

    /// For how many seconds.
    pub fn seconds(self, seconds: u32) -> Self {
        Self { seconds, ..self }
    }

    /// So many streams at once, each with its own ports.
    pub fn streams(self, streams: u32) -> Self {
        Self { streams, ..self }
    }

    /// From the server to the client instead.
    pub fn reverse(self) -> Self {
        Self { reverse: true, ..self }
    }

    /// Measures between a client and a server at `address`.
    ///
    /// # Errors
    /// [`Error::Ended`] or [`Error::Output`] if the two do not reach each other.
    pub fn run(&self, client: &Namespace, server: &Namespace, address: IpAddr) -> Result<IperfReport> {
        let port = (FIRST_PORT + server.lab().unique_number() % 1000).to_string();
        let address = address.to_string();
        let mut serving = server.spawn("iperf3", &["-s", "-1", "-B", &address, "-p", &port])?;
        serving.wait_until("an iperf3 server that listens", CONNECT_TIMEOUT, || {
            let filter = format!("sport = :{port}");
            match server.run("ss", &["-Hltn", &filter]) {
                Ok(output) if output.stdout.is_empty() => Err("no such socket".to_owned()),
                Ok(_) => Ok(()),
                Err(error) => Err(error.to_string()),
            }
        })?;
        let seconds = self.seconds.to_string();
        let connect = CONNECT_TIMEOUT.as_millis().to_string();
        let streams = self.streams.to_string();
        let mut arguments = vec!["-c", &address, "-p", &port, "-t", &seconds, "-P", &streams];
        arguments.extend(["-J", "--connect-timeout", &connect]);
        let rate = self.udp.map(|rate| rate.to_string());
        if let Some(rate) = &rate {
            arguments.extend(["-u", "-b", rate]);
        }
        if self.reverse {
            arguments.push("-R");
        }
        let mut running = client.spawn("iperf3", &arguments)?;
        running.wait(Duration::from_secs(self.seconds.into()) + GRACE)?;
        let text = running.stdout();
        let report = serde_json::from_str(&text).ok().and_then(|json| parse(&json, self.udp.is_some()));
        report.ok_or_else(|| Error::Output { program: "iperf3", output: text + &running.stderr() })
    }
}

impl IperfReport {
    /// UDP: the part that did not arrive, from 0 to 1.
    pub fn loss(&self) -> f64 {
        if self.datagrams == 0 { 0.0 } else { self.lost as f64 / self.datagrams as f64 }
    }
}

/// Reads the report of the client; `None` if it is not one of a whole test.
fn parse(json: &Value, udp: bool) -> Option<IperfReport> {
    let end = json.get("end")?;
    let received = end.get("sum_received")?;
    let bits_per_second = received.get("bits_per_second")?.as_f64()?;
    if !udp {
        let retransmits = end.get("sum_sent")?.get("retransmits").and_then(Value::as_u64).unwrap_or(0);
        return Some(IperfReport { bits_per_second, retransmits, datagrams: 0, lost: 0 });
    }
    let number = |of: &Value, name| of.get(name).and_then(Value::as_u64);
    let lost = number(received, "lost_packets")?;
    let datagrams = number(received, "packets")?;
    Some(IperfReport { bits_per_second, retransmits: 0, datagrams, lost })
}
