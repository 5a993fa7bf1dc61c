//! The filter of forwarded packets: rules of which the first that matches decides, compiled.
//!
//! Bit vectors (Lakshman and Stiliadis, "High-speed policy-based packet forwarding using efficient multi-dimensional
//! range matching", SIGCOMM 1998): each header field leads, by a binary search, to the set of rules that it satisfies,
//! a bitmap; the first bit that all fields' bitmaps have is the rule. What a decision costs grows with the logarithm
//! of the ranges, whatever the number of rules.
//!
//! # Fragments
//! A rule with ports matches only a packet whose ports can be seen. A later fragment has none, and were it let through
//! because its ports *might* be allowed, a station could send any bytes past the rule as the middle of a datagram
//! (RFC 1858 §3, RFC 3128). A rule that forbids ports does not match it either: it stops the first fragment, without
//! which the rest is never put together. That first fragment must hold the ports; whoever asks drops those that don't
//! (RFC 1858 §4.2.1, RFC 7112 §5).
//!
//! # Memory
//! Two ranges a prefix at most, of 8 bytes (IPv4) or 20 (IPv6): 65 536 IPv6 prefixes take 2.5 MiB a side, and next to
//! nothing if they are neighbours in the same rules. A bitmap of 4 096 rules takes 520 bytes at most. Rules whose
//! prefixes don't overlap make one a rule, 2 MiB; were the prefixes nested so that each range had another set, there
//! would be two a prefix, 65 MiB a side. Compiling takes about as much again.

mod bitmap;
mod ranges;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use ipnet::IpNet;

pub use bitmap::MAX_RULES;
use bitmap::{BitmapId, Bitmaps, Interner, RuleSet};
use ranges::{Condition, Field, Ranges};

use crate::api::{Action, Rule};

/// What rules ask of a packet.
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Upper-layer protocol, that of the whole datagram if this is a fragment.
    pub protocol: u8,
    /// Source and destination port; `None`: the protocol has none, or this is a later fragment.
    pub ports: Option<(u16, u16)>,
}

/// Compiled rules.
#[derive(Debug)]
pub struct Rules {
    /// A rule each.
    actions: Box<[Action]>,
    bitmaps: Bitmaps,
    sources: Addresses,
    destinations: Addresses,
    protocols: Ranges<u8>,
    source_ports: Ranges<u16>,
    destination_ports: Ranges<u16>,
    /// The rules that ask nothing of ports.
    without_ports: BitmapId,
}

impl Rules {
    /// Compiles rules. Of those with the same prefixes (the same [`Arc`]) the prefixes are gone through once.
    ///
    /// # Panics
    /// If there are more than [`MAX_RULES`].
    pub fn compile(rules: &[Rule]) -> Self {
        let mut bitmaps = Interner::default();
        let sources = Addresses::build(rules.iter().map(|rule| &rule.from), &mut bitmaps);
        let destinations = Addresses::build(rules.iter().map(|rule| &rule.to), &mut bitmaps);
        let protocols = rules.iter().map(|rule| rule.protocol.map(|protocol| protocol..=protocol));
        let (protocols, _) = build(protocols, &mut bitmaps);
        let (source_ports, any_source) =
            build(rules.iter().map(|rule| rule.source_ports.clone()), &mut bitmaps);
        let (destination_ports, any_destination) =
            build(rules.iter().map(|rule| rule.destination_ports.clone()), &mut bitmaps);
        let without_ports = bitmaps.intern(&any_source.intersection(&any_destination));
        Self {
            actions: rules.iter().map(|rule| rule.action).collect(),
            bitmaps: bitmaps.finish(),
            sources,
            destinations,
            protocols,
            source_ports,
            destination_ports,
            without_ports,
        }
    }

    /// Whether there is no rule.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }

    /// The first rule that matches, by its place, and what it says; `None`: no rule matches.
    #[inline]
    pub fn decide(&self, packet: &Packet) -> Option<(u16, Action)> {
        let (source_port, destination_port) = match packet.ports {
            Some((source, destination)) => {
                (self.source_ports.lookup(source), self.destination_ports.lookup(destination))
            }
            None => (self.without_ports, self.without_ports),
        };
        let rule = self.bitmaps.first_common([
            self.sources.lookup(packet.source),
            self.destinations.lookup(packet.destination),
            self.protocols.lookup(packet.protocol),
            source_port,
            destination_port,
        ])?;
        Some((rule, self.actions[usize::from(rule)]))
    }

    /// Bytes in use.
    pub fn memory_bytes(&self) -> usize {
        size_of_val(&*self.actions)
            + self.bitmaps.memory_bytes()
            + self.sources.memory_bytes()
            + self.destinations.memory_bytes()
            + self.protocols.memory_bytes()
            + self.source_ports.memory_bytes()
            + self.destination_ports.memory_bytes()
    }
}

/// Source or destination addresses.
#[derive(Debug)]
struct Addresses {
    v4: Ranges<u32>,
    v6: Ranges<u128>,
}

impl Addresses {
    /// From each rule's prefixes.
    fn build<'a>(prefixes: impl Iterator<Item = &'a Arc<[IpNet]>>, bitmaps: &mut Interner) -> Self {
        let mut unconditional = RuleSet::EMPTY;
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        let mut conditions = HashMap::with_hasher(RandomState::default());
        for (rule, prefixes) in prefixes.enumerate() {
            if prefixes.is_empty() {
                unconditional.insert(rule);
                continue;
            }
            let place = *conditions.entry(Arc::as_ptr(prefixes)).or_insert_with(|| {
                let (in_v4, in_v6) =
                    (prefixes.iter().filter_map(v4_range), prefixes.iter().filter_map(v6_range));
                v4.push(Condition { ranges: in_v4.collect(), rules: RuleSet::EMPTY });
                v6.push(Condition { ranges: in_v6.collect(), rules: RuleSet::EMPTY });
                v4.len() - 1
            });
            v4[place].rules.insert(rule);
            v6[place].rules.insert(rule);
        }
        Self {
            v4: Ranges::build(&unconditional, &v4, bitmaps),
            v6: Ranges::build(&unconditional, &v6, bitmaps),
        }
    }

    #[inline]
    fn lookup(&self, address: IpAddr) -> BitmapId {
        match address {
            IpAddr::V4(address) => self.v4.lookup(address.to_bits()),
            IpAddr::V6(address) => self.v6.lookup(address.to_bits()),
        }
    }

    fn memory_bytes(&self) -> usize {
        self.v4.memory_bytes() + self.v6.memory_bytes()
    }
}

/// First and last address, if the prefix is IPv4.
fn v4_range(prefix: &IpNet) -> Option<(u32, u32)> {
    match prefix {
        IpNet::V4(prefix) => Some((prefix.network().to_bits(), prefix.broadcast().to_bits())),
        IpNet::V6(_) => None,
    }
}

/// First and last address, if the prefix is IPv6.
fn v6_range(prefix: &IpNet) -> Option<(u128, u128)> {
    match prefix {
        IpNet::V4(_) => None,
        IpNet::V6(prefix) => Some((prefix.network().to_bits(), prefix.broadcast().to_bits())),
    }
}

/// From the range that each rule asks for, if any; and which rules ask for none. No value is in an empty range.
fn build<F: Field>(
    ranges: impl Iterator<Item = Option<RangeInclusive<F>>>,
    bitmaps: &mut Interner,
) -> (Ranges<F>, RuleSet) {
    let mut unconditional = RuleSet::EMPTY;
    let mut conditions = Vec::new();
    for (rule, range) in ranges.enumerate() {
        match range {
            None => unconditional.insert(rule),
            Some(range) if range.is_empty() => {}
            Some(range) => {
                let mut rules = RuleSet::EMPTY;
                rules.insert(rule);
                conditions.push(Condition { ranges: vec![range.into_inner()], rules });
            }
        }
    }
    (Ranges::build(&unconditional, &conditions, bitmaps), unconditional)
}
