//! The filter of forwarded packets alone: what a decision costs by the number of rules, beside trying them in turn.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use engine::offline::rules::{MAX_RULES, Packet, Rules, first_match};
use engine::{Action, Rule};
use ipnet::IpNet;
use serde_json::{Value, json};

use crate::Error;
use crate::clock;
use crate::figure::{Figure, Goal, REPETITIONS, median};

const COUNTS: [u32; 5] = [1, 10, 100, 1_000, 4_000];
/// Packets, drawn once for a number of rules.
const PACKETS: usize = 4_096;
/// How often compiled rules are asked about all packets in a repetition; trying in turn takes long enough once.
const ROUNDS: usize = 32;
const TCP: u8 = 6;

/// How it is measured.
pub(crate) fn modes() -> Value {
    json!({"packets": PACKETS})
}

/// Measures everything.
pub(crate) fn figures() -> Result<Vec<Figure>, Error> {
    let mut figures = Vec::new();
    for count in COUNTS {
        let rules: Vec<Rule> = (0..count).map(rule).collect();
        let start = clock::processor_time();
        let compiled = Rules::compile(&rules);
        let compiling = clock::processor_time() - start;
        let mut random = fastrand::Rng::with_seed(u64::from(count));
        let packets: Vec<Packet> = (0..PACKETS).map(|_| packet(count, &mut random)).collect();
        if packets.iter().any(|packet| compiled.decide(packet) != first_match(&rules, packet)) {
            return Err("compiled rules say something else than rules in turn".into());
        }
        let runs: Vec<(f64, f64)> = (0..REPETITIONS)
            .map(|_| {
                let decide = time(&packets, ROUNDS, |packet| compiled.decide(packet));
                (decide, time(&packets, 1, |packet| first_match(&rules, packet)))
            })
            .collect();
        // A thousand rules must not cost a thousand comparisons.
        let goal = (count >= 1_000).then_some(Goal::AtLeast(10.0));
        let value = |value: fn(&(f64, f64)) -> f64| median(runs.iter().map(value));
        figures.extend([
            Figure::new(format!("decision among {count}"), value(|run| run.0), "ns"),
            Figure::new(format!("in turn among {count}"), value(|run| run.1), "ns"),
            Figure::new(format!("in turn over decision among {count}"), value(|run| run.1 / run.0), "×")
                .goal(goal),
            Figure::new(format!("compiling {count}"), compiling.as_secs_f64() * 1e3, "ms"),
            Figure::new(format!("memory of {count}"), compiled.memory_bytes() as f64 / 1e3, "kB"),
        ]);
    }
    figures.push(Figure::new("decision at worst", at_worst(), "ns"));
    Ok(figures)
}

/// As many rules as there can be, every other one for the packet's source, the rest for its destination: all words of
/// the bitmaps must be read to find that none has both.
fn at_worst() -> f64 {
    let rules: Vec<Rule> = (0..MAX_RULES as u32)
        .map(|n| Rule { from: prefixes(n % 2), to: prefixes(1 - n % 2), ..rule(n) })
        .map(|rule| Rule { protocol: None, destination_ports: None, ..rule })
        .collect();
    let compiled = Rules::compile(&rules);
    let packet = Packet { source: v6(0, 1), destination: v6(0, 2), protocol: TCP, ports: Some((1, 2)) };
    median((0..REPETITIONS).map(|_| time(&[packet; PACKETS], 1, |packet| compiled.decide(packet))))
}

/// Nanoseconds a packet.
fn time<T>(packets: &[Packet], rounds: usize, decide: impl Fn(&Packet) -> T) -> f64 {
    let start = clock::processor_time();
    for _ in 0..rounds {
        for packet in packets {
            black_box(decide(black_box(packet)));
        }
    }
    (clock::processor_time() - start).as_nanos() as f64 / (rounds * packets.len()) as f64
}

/// From one overlay to another, TCP, to a port of the rule's own.
fn rule(n: u32) -> Rule {
    Rule {
        action: Action::Allow,
        from: prefixes(2 * n),
        to: prefixes(2 * n + 1),
        protocol: Some(TCP),
        source_ports: None,
        destination_ports: Some(port(n)..=port(n)),
    }
}

fn port(n: u32) -> u16 {
    1_024 + n as u16
}

/// The IPv4 and the IPv6 prefix of an overlay.
fn prefixes(overlay: u32) -> Arc<[IpNet]> {
    [(v4(overlay, 0), 24), (v6(overlay, 0), 64)]
        .map(|(address, len)| IpNet::new(address, len).expect("a prefix is no longer than its address"))
        .into()
}

fn v4(overlay: u32, host: u8) -> IpAddr {
    Ipv4Addr::from_bits((10 << 24) | (overlay << 8) | u32::from(host)).into()
}

fn v6(overlay: u32, host: u8) -> IpAddr {
    Ipv6Addr::from_bits((0xfd << 120) | (u128::from(overlay) << 64) | u128::from(host)).into()
}

/// A packet between the overlays of a rule drawn from all, of either family; half of them to another port, so that no
/// rule matches.
fn packet(rules: u32, random: &mut fastrand::Rng) -> Packet {
    let rule = random.u32(..rules);
    let address = if random.bool() { v4 } else { v6 };
    let destination_port = if random.bool() { port(rule) } else { port(rules) };
    Packet {
        source: address(2 * rule, random.u8(..)),
        destination: address(2 * rule + 1, random.u8(..)),
        protocol: TCP,
        ports: Some((random.u16(..), destination_port)),
    }
}
