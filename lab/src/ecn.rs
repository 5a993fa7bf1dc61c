//! Explicit congestion notification (RFC 3168): a segment that marks packets, and the kernel's counters of marks.

use std::fs;
use std::ops::Sub;

use crate::error::{Error, Result};
use crate::namespace::Namespace;
use crate::segment::Segment;
use crate::topology::Family;

/// The ECN field that says: the sender understands ECN.
pub const ECT_0: u8 = 0b10;

/// The ECN field that says the same, for other congestion control (RFC 9331).
pub const ECT_1: u8 = 0b01;

/// The ECN field that says: congestion experienced.
pub const CE: u8 = 0b11;

/// Rules for nft(8): on the bridge, what is ECN-capable is marked. IPv4's own checksum, the only one that covers the
/// field, is mended.
const MARK: &str = "add table bridge lab
    add chain bridge lab congestion { type filter hook forward priority 0; }
    add rule bridge lab congestion ip ecn != not-ect ip ecn set ce
    add rule bridge lab congestion ip6 ecn != not-ect ip6 ecn set ce";

/// The same for what is not ECN-capable, of IPv4 and IPv6.
const MARK_ALL: &str = "add table bridge lab
    add chain bridge lab fault { type filter hook forward priority 0; }
    add rule bridge lab fault ip ecn not-ect ip ecn set ce
    add rule bridge lab fault ip6 ecn not-ect ip6 ecn set ce";

impl Segment {
    /// Lets the segment do from now on what a congested router does to each packet that crosses it: it marks the
    /// ECN-capable ones with [`CE`], of a tunnel on the outer header.
    ///
    /// # Errors
    /// [`Error::Command`] if the kernel has no nf_tables for bridges.
    pub fn mark_congestion(&self) -> Result<()> {
        self.namespace().run("nft", &[MARK]).map(drop)
    }

    /// Lets the segment do from now on what no router may: it marks the packets that are *not* ECN-capable, too.
    ///
    /// # Errors
    /// [`Error::Command`] if the kernel has no nf_tables for bridges.
    pub fn mark_wrongly(&self) -> Result<()> {
        self.namespace().run("nft", &[MARK_ALL]).map(drop)
    }
}

/// IP packets received by a namespace, by their ECN field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EcnCounters {
    /// The sender does not understand ECN.
    pub not_ect: u64,
    /// [`ECT_0`].
    pub ect_0: u64,
    /// [`ECT_1`].
    pub ect_1: u64,
    /// [`CE`].
    pub ce: u64,
}

impl Sub for EcnCounters {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            not_ect: self.not_ect - before.not_ect,
            ect_0: self.ect_0 - before.ect_0,
            ect_1: self.ect_1 - before.ect_1,
            ce: self.ce - before.ce,
        }
    }
}

impl Namespace {
    /// How many packets of a family have come in so far, by their ECN field; those that were only forwarded count too.
    ///
    /// # Errors
    /// [`Error::Io`] and [`Error::Output`] if the kernel does not tell.
    pub fn ecn_counters(&self, family: Family) -> Result<EcnCounters> {
        // Of the calling thread: `/proc/net` would be that of the process's first thread.
        let path = match family {
            Family::V4 => "/proc/thread-self/net/netstat",
            Family::V6 => "/proc/thread-self/net/snmp6",
        };
        let text = self.enter(|| fs::read_to_string(path))?.map_err(Error::io(format!("read {path}")))?;
        let counters = parse(family, &text);
        counters.ok_or(Error::Output { program: "the kernel", output: text })
    }
}

fn parse(family: Family, text: &str) -> Option<EcnCounters> {
    let value = |name: &str| match family {
        // A line of names, a line of values.
        Family::V4 => {
            let mut lines = text.lines().filter_map(|line| line.strip_prefix("IpExt: "));
            let (names, values) = (lines.next()?.split(' '), lines.next()?.split(' '));
            names.zip(values).find_map(|(key, value)| (key == name).then_some(value)?.parse().ok())
        }
        // A line for each.
        Family::V6 => text.lines().find_map(|line| {
            let value = line.strip_prefix("Ip6")?.strip_prefix(name)?;
            value.strip_prefix(char::is_whitespace)?.trim().parse().ok()
        }),
    };
    Some(EcnCounters {
        not_ect: value("InNoECTPkts")?,
        ect_0: value("InECT0Pkts")?,
        ect_1: value("InECT1Pkts")?,
        ce: value("InCEPkts")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEN: EcnCounters = EcnCounters { not_ect: 7, ect_0: 2, ect_1: 1, ce: 3 };

    #[test]
    fn reads_the_counters_of_both_families() {
        let v4 = "TcpExt: InCEPkts\nTcpExt: 99\nIpExt: InOctets InNoECTPkts InECT1Pkts InECT0Pkts InCEPkts\n\
                  IpExt: 5 7 1 2 3\n";
        assert_eq!(parse(Family::V4, v4), Some(SEEN));
        let v6 = "Ip6InReceives                   \t13\nIp6InNoECTPkts                  \t7\n\
                  Ip6InECT1Pkts                   \t1\nIp6InECT0Pkts                   \t2\n\
                  Ip6InCEPkts                     \t3\n";
        assert_eq!(parse(Family::V6, v6), Some(SEEN));
        assert_eq!(parse(Family::V4, v6), None);
    }
}
