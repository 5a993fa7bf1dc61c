//! What a router advertises, by rdisc6(8).

use std::net::Ipv6Addr;

use ipnet::Ipv6Net;
use wire::MacAddr;

use crate::error::{Error, Result};
use crate::segment::Nic;

/// A router advertisement (RFC 4861 §4.2) with the options that a host looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterAdvertisement {
    /// The router's link-local address.
    pub router: Ipv6Addr,
    /// What hosts shall send with; 0: unspecified.
    pub hop_limit: u8,
    /// Flag M: addresses by DHCPv6.
    pub managed: bool,
    /// Flag O: the rest by DHCPv6.
    pub other: bool,
    /// For how many seconds it is a default router.
    pub lifetime: u32,
    /// Prefixes of the link.
    pub prefixes: Vec<AdvertisedPrefix>,
    /// Recursive DNS servers (RFC 8106 §5.1).
    pub dns_servers: Vec<Ipv6Addr>,
    /// Domains to search (RFC 8106 §5.2).
    pub search: Vec<String>,
    /// MTU of the link in bytes.
    pub mtu: Option<u32>,
    /// The router's MAC address.
    pub mac: Option<MacAddr>,
}

/// A prefix information option (RFC 4861 §4.6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdvertisedPrefix {
    /// The prefix.
    pub net: Ipv6Net,
    /// Flag L: its addresses are on the link.
    pub on_link: bool,
    /// Flag A: hosts make addresses of it.
    pub autonomous: bool,
    /// Valid lifetime in seconds; the largest number: for ever.
    pub valid: u32,
    /// Preferred lifetime in seconds; the largest number: for ever.
    pub preferred: u32,
}

impl Nic {
    /// Sends a router solicitation and returns the first advertisement.
    ///
    /// # Errors
    /// [`Error::Command`] if there is none within seconds; [`Error::Output`].
    pub fn solicit_router(&self) -> Result<RouterAdvertisement> {
        // It would send from nowhere, and the answer would be a multicast that may come late (RFC 4861 §6.2.6).
        self.link_local()?;
        let output = self.namespace.run("rdisc6", &["-n", "-1", "-r", "5", "-w", "1000", &self.interface])?;
        let text = String::from_utf8_lossy(&output.stdout);
        parse(&text).ok_or_else(|| Error::Output { program: "rdisc6", output: text.into_owned() })
    }
}

fn parse(text: &str) -> Option<RouterAdvertisement> {
    let router = text.lines().find_map(|line| line.trim().strip_prefix("from ")?.parse().ok())?;
    let mut seen = RouterAdvertisement {
        router,
        hop_limit: 0,
        managed: false,
        other: false,
        lifetime: 0,
        prefixes: Vec::new(),
        dns_servers: Vec::new(),
        search: Vec::new(),
        mtu: None,
        mac: None,
    };
    // Keys are padded and followed by a colon and a blank, unlike the colons in addresses.
    for (key, value) in text.lines().filter_map(|line| line.split_once(": ")) {
        let value = value.trim();
        let yes = value == "Yes";
        match key.trim() {
            "Hop limit" => seen.hop_limit = number(value)?.try_into().ok()?,
            "Stateful address conf." => seen.managed = yes,
            "Stateful other conf." => seen.other = yes,
            "Router lifetime" => seen.lifetime = number(value)?,
            "Prefix" => seen.prefixes.push(AdvertisedPrefix {
                net: value.parse().ok()?,
                on_link: false,
                autonomous: false,
                valid: 0,
                preferred: 0,
            }),
            "On-link" => seen.prefixes.last_mut()?.on_link = yes,
            "Autonomous address conf." => seen.prefixes.last_mut()?.autonomous = yes,
            "Valid time" => seen.prefixes.last_mut()?.valid = number(value)?,
            "Pref. time" => seen.prefixes.last_mut()?.preferred = number(value)?,
            "Recursive DNS server" => seen.dns_servers.push(value.parse().ok()?),
            "DNS search list" => seen.search.extend(value.split_whitespace().map(str::to_owned)),
            "MTU" => seen.mtu = Some(number(value)?),
            "Source link-layer address" => seen.mac = Some(value.parse().ok()?),
            _ => {}
        }
    }
    Some(seen)
}

/// The number before its unit, or in place of a word.
fn number(value: &str) -> Option<u32> {
    match value.split_whitespace().next()? {
        "undefined" | "unspecified" => Some(0),
        "infinite" => Some(u32::MAX),
        number => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEN: &str = "\
Soliciting ff02::2 (ff02::2) on eth0...

Hop limit                 :           64 (      0x40)
Stateful address conf.    :           No
Stateful other conf.      :          Yes
Mobile home agent         :           No
Router preference         :       medium
Neighbor discovery proxy  :           No
Router lifetime           :         1800 (0x00000708) seconds
Reachable time            :  unspecified (0x00000000)
Retransmit time           :  unspecified (0x00000000)
 Prefix                   : fd00:1::/64
  On-link                 :          Yes
  Autonomous address conf.:          Yes
  Valid time              :     infinite (0xffffffff)
  Pref. time              :         7200 (0x00001c20) seconds
 Prefix                   : fd00:2::/64
  On-link                 :           No
  Autonomous address conf.:           No
  Valid time              :         7200 (0x00001c20) seconds
  Pref. time              :            0 (0x00000000) seconds
 MTU                      :         1400 bytes (valid)
 Source link-layer address: 02:00:00:00:00:FE
 DNS search list          : example.org example.net 
  DNS search list lifetime:         7200 (0x00001c20) seconds
 Recursive DNS server     : fd00::53
 Recursive DNS server     : fd00::54
  DNS servers lifetime    :         7200 (0x00001c20) seconds
 from fe80::ff:fe00:fe
";

    #[test]
    fn reads_header_and_options() {
        let prefix = |net: &str, flags, valid, preferred| AdvertisedPrefix {
            net: net.parse().unwrap(),
            on_link: flags,
            autonomous: flags,
            valid,
            preferred,
        };
        let expected = RouterAdvertisement {
            router: "fe80::ff:fe00:fe".parse().unwrap(),
            hop_limit: 64,
            managed: false,
            other: true,
            lifetime: 1800,
            prefixes: vec![
                prefix("fd00:1::/64", true, u32::MAX, 7200),
                prefix("fd00:2::/64", false, 7200, 0),
            ],
            dns_servers: ["fd00::53", "fd00::54"].map(|server| server.parse().unwrap()).to_vec(),
            search: ["example.org", "example.net"].map(str::to_owned).to_vec(),
            mtu: Some(1400),
            mac: Some(MacAddr([0x02, 0, 0, 0, 0, 0xfe])),
        };
        assert_eq!(parse(SEEN), Some(expected));
        assert_eq!(parse("Soliciting ff02::2 (ff02::2) on eth0...\nNo response.\n"), None);
    }
}
