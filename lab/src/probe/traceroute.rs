//! The routers on the way to a host, by traceroute(1).

use std::net::IpAddr;

use crate::error::{Error, Result};
use crate::namespace::Namespace;

/// A way to be traced.
#[derive(Clone, Copy, Debug)]
pub struct Traceroute {
    destination: IpAddr,
    icmp: bool,
    hops: u8,
}

/// Who answered the probes of one hop limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The router, or the destination; `None` if nobody answered.
    pub address: Option<IpAddr>,
    /// What it said if it was neither "time exceeded" nor what a reached destination says, as traceroute writes it:
    /// `!H` host and `!N` network unreachable, `!X` prohibited, `!F` too big.
    pub note: Option<String>,
}

impl Traceroute {
    /// One UDP probe for each of up to eight hops, one after the other.
    pub fn to(destination: IpAddr) -> Self {
        Self { destination, icmp: false, hops: 8 }
    }

    /// Echo requests instead of UDP.
    pub fn icmp(self) -> Self {
        Self { icmp: true, ..self }
    }

    /// At most so many hops.
    pub fn hops(self, hops: u8) -> Self {
        Self { hops, ..self }
    }

    /// Traces the way from `namespace`: hops in their order, up to the destination or the last.
    ///
    /// # Errors
    /// [`Error::Command`] if nothing could be sent.
    pub fn run(&self, namespace: &Namespace) -> Result<Vec<Hop>> {
        let (destination, hops) = (self.destination.to_string(), self.hops.to_string());
        // One at a time: routers limit how many errors they send at once. On a busy machine an answer may take its time.
        let mut arguments = vec!["-n", "-q", "1", "-N", "1", "-w", "5", "-m", &hops];
        if self.icmp {
            arguments.push("-I");
        }
        arguments.push(&destination);
        let output = namespace.run("traceroute", &arguments)?;
        let text = String::from_utf8_lossy(&output.stdout);
        parse(&text).ok_or_else(|| Error::Output { program: "traceroute", output: text.into_owned() })
    }
}

fn parse(text: &str) -> Option<Vec<Hop>> {
    // The first line says what is traced.
    text.lines().skip(1).map(parse_hop).collect()
}

fn parse_hop(line: &str) -> Option<Hop> {
    let mut words = line.split_whitespace();
    words.next()?.parse::<u8>().ok()?;
    let address = match words.next()? {
        "*" => None,
        address => Some(address.parse().ok()?),
    };
    let note = words.find(|word| word.starts_with('!')).map(str::to_owned);
    Some(Hop { address, note })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_routers_silence_and_notes() {
        let hops = parse(
            "traceroute to 198.18.2.10 (198.18.2.10), 8 hops max, 60 byte packets\n \
             1  10.1.0.1  0.063 ms\n 2  *\n 3  198.18.1.254  1.071 ms !X\n",
        )
        .unwrap();
        let hop = |address: Option<&str>, note: Option<&str>| Hop {
            address: address.map(|address| address.parse().unwrap()),
            note: note.map(str::to_owned),
        };
        assert_eq!(
            hops,
            [hop(Some("10.1.0.1"), None), hop(None, None), hop(Some("198.18.1.254"), Some("!X"))]
        );
        assert_eq!(parse("traceroute to fd00::1\nwhat is this"), None);
    }
}
