//! From `[[rule]]` tables to the engine's rules: overlays to their prefixes, names to numbers, lists to a rule each.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use engine::{Action, MAX_RULES, Rule};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use toml::Spanned;

use super::file::{self, Destination, OneOrMany, Ports, Prefix, Protocols, VniRange};
use super::validate::overlap;
use super::{Fault, Lines, OverlaySettings, Place, Problem};

/// A rule, and how it came about.
#[derive(Debug)]
pub(crate) struct RuleSettings {
    /// Where its table is.
    pub(crate) place: Place,
    /// Whether it is for the replies to what another allows.
    pub(crate) is_reply: bool,
    /// The source as written; empty: any.
    pub(crate) from: Arc<[String]>,
    /// The destination as written; empty: any.
    pub(crate) to: Arc<[String]>,
    /// The rule.
    pub(crate) rule: Rule,
}

/// Sources or destinations, as written and as the engine takes them.
#[derive(Clone)]
struct Side {
    written: Arc<[String]>,
    prefixes: Arc<[IpNet]>,
}

/// What a side is written as.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
struct SideKey {
    destinations: Vec<Destination>,
    vnis: Vec<RangeInclusive<u32>>,
}

/// Expands rules, in order.
pub(super) fn expand(
    tables: Vec<Spanned<file::Rule>>,
    overlays: &[OverlaySettings],
    blocks: &[IpNet],
    lines: &Lines,
) -> Result<Vec<RuleSettings>, Fault> {
    let mut sides = Sides { overlays, blocks, lines, known: HashMap::new() };
    let mut rules = Vec::new();
    for table in tables {
        let place = lines.place(table.span().start);
        expand_one(place, table.into_inner(), &mut sides, &mut rules)?;
        if rules.len() > MAX_RULES {
            return Err(Fault { place, problem: Problem::TooManyRules { max: MAX_RULES } });
        }
    }
    Ok(rules)
}

fn expand_one(
    place: Place,
    table: file::Rule,
    sides: &mut Sides<'_>,
    rules: &mut Vec<RuleSettings>,
) -> Result<(), Fault> {
    let lines = sides.lines;
    let action = Action::from(table.action);
    let allows = action == Action::Allow;
    if let Some(replies) = table.replies.as_ref().filter(|replies| *replies.get_ref() && !allows) {
        return Err(Fault { place: lines.place(replies.span().start), problem: Problem::RuleReplies });
    }
    if let Some(from) = &table.from {
        let prefixes = from.get_ref().0.iter().map(|&Prefix(prefix)| prefix);
        sides.check_sources(lines.place(from.span().start), prefixes)?;
    }
    let from =
        table.from.map(|from| from.into_inner().0.into_iter().map(|Prefix(it)| Destination::Prefix(it)));
    let from = sides.side(from.into_iter().flatten().collect(), table.from_vnis)?;
    let to = sides.side(table.to.map(|to| to.into_inner().0).unwrap_or_default(), table.to_vnis)?;

    let numbers: Vec<Option<u8>> = match &table.protocol {
        None => vec![None],
        Some(protocols) => {
            protocols.get_ref().0.iter().flat_map(|Protocols(numbers)| numbers).copied().map(Some).collect()
        }
    };
    let ports: Vec<Option<RangeInclusive<u16>>> = match table.port {
        None => vec![None],
        Some(ports) => {
            if !numbers.iter().all(|number| number.is_some_and(file::has_ports)) {
                return Err(Fault { place: lines.place(ports.span().start), problem: Problem::RulePort });
            }
            ports.into_inner().0.into_iter().map(|Ports(range)| Some(range)).collect()
        }
    };
    // What comes from the outer network is not filtered.
    let replies = allows && table.replies.is_none_or(Spanned::into_inner) && sides.may_be_overlays(&to);
    for protocol in numbers {
        for ports in &ports {
            let rule = Rule {
                action,
                from: Arc::clone(&from.prefixes),
                to: Arc::clone(&to.prefixes),
                protocol,
                source_ports: None,
                destination_ports: ports.clone(),
            };
            let reply = replies.then(|| Rule {
                from: Arc::clone(&to.prefixes),
                to: Arc::clone(&from.prefixes),
                source_ports: ports.clone(),
                destination_ports: None,
                ..rule.clone()
            });
            rules.push(RuleSettings {
                place,
                is_reply: false,
                from: Arc::clone(&from.written),
                to: Arc::clone(&to.written),
                rule,
            });
            rules.extend(reply.map(|rule| RuleSettings {
                place,
                is_reply: true,
                from: Arc::clone(&to.written),
                to: Arc::clone(&from.written),
                rule,
            }));
        }
    }
    Ok(())
}

/// Makes sides, equal ones once: rules that share their prefixes are compiled faster.
struct Sides<'a> {
    overlays: &'a [OverlaySettings],
    blocks: &'a [IpNet],
    lines: &'a Lines,
    known: HashMap<SideKey, Side>,
}

impl Sides<'_> {
    fn side(
        &mut self,
        destinations: Vec<Destination>,
        vnis: Option<Spanned<OneOrMany<VniRange>>>,
    ) -> Result<Side, Fault> {
        let place = vnis.as_ref().map(|vnis| self.lines.place(vnis.span().start));
        let vnis = vnis.map(|vnis| vnis.into_inner().0.into_iter().map(|VniRange(range)| range).collect());
        let key = SideKey { destinations, vnis: vnis.unwrap_or_default() };
        if let Some(side) = self.known.get(&key) {
            return Ok(side.clone());
        }
        let mut prefixes = Vec::new();
        let mut written = Vec::new();
        for &destination in &key.destinations {
            match destination {
                Destination::Prefix(prefix) => {
                    prefixes.push(prefix);
                    written.push(prefix.to_string());
                }
                Destination::Outside => {
                    for whole in [IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())] {
                        push_outside(self.blocks, whole, &mut prefixes);
                    }
                    written.push("outside".into());
                }
            }
        }
        for range in &key.vnis {
            let among = among(self.overlays, range);
            if let (true, Some(place)) = (among.is_empty(), place) {
                let (first, last) = (*range.start(), *range.end());
                return Err(Fault { place, problem: Problem::RuleVnis { first, last } });
            }
            prefixes.extend(among.iter().flat_map(|overlay| &overlay.subnets).map(|subnet| subnet.prefix));
            written.push(match range.start() == range.end() {
                true => format!("VNI {}", range.start()),
                false => format!("VNI {}-{}", range.start(), range.end()),
            });
        }
        let side = Side { written: written.into(), prefixes: IpNet::aggregate(&prefixes).into() };
        self.known.insert(key, side.clone());
        Ok(side)
    }

    fn check_sources(&self, place: Place, prefixes: impl Iterator<Item = IpNet>) -> Result<(), Fault> {
        let mut prefixes = prefixes.filter(|prefix| !self.blocks.iter().any(|block| overlap(block, prefix)));
        match prefixes.next() {
            Some(prefix) => Err(Fault { place, problem: Problem::RuleSource { prefix } }),
            None => Ok(()),
        }
    }

    fn may_be_overlays(&self, side: &Side) -> bool {
        let is_overlay = |prefix: &IpNet| self.blocks.iter().any(|block| overlap(block, prefix));
        side.prefixes.is_empty() || side.prefixes.iter().any(is_overlay)
    }
}

/// The overlays, of some sorted by VNI, whose VNIs are in a range.
pub(super) fn among<'a>(
    overlays: &'a [OverlaySettings],
    range: &RangeInclusive<u32>,
) -> &'a [OverlaySettings] {
    let first = overlays.partition_point(|overlay| overlay.vni.value() < *range.start());
    let rest = &overlays[first..];
    &rest[..rest.partition_point(|overlay| overlay.vni.value() <= *range.end())]
}

/// What of `whole` is in no block.
fn push_outside(blocks: &[IpNet], whole: IpNet, outside: &mut Vec<IpNet>) {
    if blocks.iter().any(|block| block.contains(&whole)) {
        return;
    }
    if !blocks.iter().any(|block| whole.contains(block)) {
        outside.push(whole);
        return;
    }
    // Longer by a bit: a block inside it is longer by one at least.
    for half in whole.subnets(whole.prefix_len() + 1).into_iter().flatten() {
        push_outside(blocks, half, outside);
    }
}
