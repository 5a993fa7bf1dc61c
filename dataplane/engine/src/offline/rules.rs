//! The filter of forwarded packets alone.

use crate::api::{Action, Rule};
pub use crate::tables::rules::{MAX_RULES, Packet, Rules};

/// What [`Rules::decide`] says, found by trying one rule after another: what compiled rules are measured by.
pub fn first_match(rules: &[Rule], packet: &Packet) -> Option<(u16, Action)> {
    let place = rules.iter().position(|rule| matches(rule, packet))?;
    Some((place as u16, rules[place].action))
}

fn matches(rule: &Rule, packet: &Packet) -> bool {
    let ports = [
        (&rule.source_ports, packet.ports.map(|(source, _)| source)),
        (&rule.destination_ports, packet.ports.map(|(_, destination)| destination)),
    ];
    rule.protocol.is_none_or(|protocol| protocol == packet.protocol)
        && ports.iter().all(|(wanted, port)| {
            wanted.as_ref().is_none_or(|wanted| port.is_some_and(|port| wanted.contains(&port)))
        })
        && (rule.from.is_empty() || rule.from.iter().any(|prefix| prefix.contains(&packet.source)))
        && (rule.to.is_empty() || rule.to.iter().any(|prefix| prefix.contains(&packet.destination)))
}
