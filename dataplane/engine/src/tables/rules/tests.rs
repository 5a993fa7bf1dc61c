use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::offline::rules::first_match;

/// Addresses are so near each other that prefixes overlap and packets hit them.
fn address() -> impl Strategy<Value = IpAddr> {
    let v4 = (0..0x400_u32).prop_map(|low| IpAddr::V4((0x0a00_0000 | low).into()));
    let v6 = (0..0x400_u128).prop_map(|low| IpAddr::V6(((0xfd << 120) | low).into()));
    prop_oneof![v4, v6, any::<IpAddr>()]
}

fn prefix() -> impl Strategy<Value = IpNet> {
    (address(), prop_oneof![0..=12_u8, Just(32)]).prop_map(|(address, host_bits)| {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        // Host bits are left as they are: they must not matter.
        IpNet::new(address, bits - host_bits).unwrap()
    })
}

fn prefixes() -> impl Strategy<Value = Arc<[IpNet]>> {
    prop_oneof![Just(vec![]), vec(prefix(), 1..4)].prop_map(Arc::from)
}

fn port() -> impl Strategy<Value = u16> {
    prop_oneof![Just(0), 1..6_u16, Just(0xfffe), Just(0xffff)]
}

/// Some end before they begin.
fn port_range() -> impl Strategy<Value = RangeInclusive<u16>> {
    (port(), port()).prop_map(|(first, last)| first..=last)
}

fn protocol() -> impl Strategy<Value = u8> {
    prop_oneof![Just(0), Just(6), Just(17), Just(255)]
}

fn rule() -> impl Strategy<Value = Rule> {
    let action = prop_oneof![Just(Action::Allow), Just(Action::Reject), Just(Action::Drop)];
    let ports = || option::weighted(0.4, port_range());
    (action, prefixes(), prefixes(), option::of(protocol()), ports(), ports()).prop_map(
        |(action, from, to, protocol, source_ports, destination_ports)| Rule {
            action,
            from,
            to,
            protocol,
            source_ports,
            destination_ports,
        },
    )
}

fn packet() -> impl Strategy<Value = Packet> {
    let ports = option::weighted(0.8, (port(), port()));
    (address(), address(), protocol(), ports).prop_map(|(source, destination, protocol, ports)| Packet {
        source,
        destination,
        protocol,
        ports,
    })
}

/// First and last address of all prefixes, and the ones beside.
fn edges(rules: &[Rule]) -> Vec<IpAddr> {
    let prefixes = rules.iter().flat_map(|rule| rule.from.iter().chain(&*rule.to));
    prefixes.flat_map(|prefix| [prefix.network(), prefix.broadcast()]).flat_map(beside).collect()
}

/// The address and its neighbours; beyond the last comes the first.
fn beside(address: IpAddr) -> [IpAddr; 3] {
    [u128::MAX, 0, 1].map(|step| match address {
        IpAddr::V4(address) => IpAddr::V4(address.to_bits().wrapping_add(step as u32).into()),
        IpAddr::V6(address) => IpAddr::V6(address.to_bits().wrapping_add(step).into()),
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn says_what_the_first_match_says(
        mut rules in vec(rule(), 0..150),
        shared in vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..20),
        packets in vec(packet(), 50),
    ) {
        for (one, other) in shared {
            if !rules.is_empty() {
                let (one, other) = (one.index(rules.len()), other.index(rules.len()));
                rules[one].from = Arc::clone(&rules[other].from);
                rules[other].to = Arc::clone(&rules[one].from);
            }
        }
        let compiled = Rules::compile(&rules);
        prop_assert_eq!(compiled.is_empty(), rules.is_empty());
        let edges = edges(&rules);
        let pairs = edges.iter().zip(edges.iter().rev()).step_by(1 + edges.len() / 200);
        let at_edges = pairs
            .zip(packets.iter().cycle())
            .map(|((source, destination), packet)| Packet { source: *source, destination: *destination, ..*packet });
        for packet in packets.iter().copied().chain(at_edges) {
            prop_assert_eq!(compiled.decide(&packet), first_match(&rules, &packet), "{:?}", packet);
        }
    }
}

fn any_packet(action: Action) -> Rule {
    Rule {
        action,
        from: Arc::new([]),
        to: Arc::new([]),
        protocol: None,
        source_ports: None,
        destination_ports: None,
    }
}

fn net(text: &str) -> Arc<[IpNet]> {
    Arc::new([text.parse().unwrap()])
}

fn udp(source: &str, destination: &str, ports: impl Into<Option<(u16, u16)>>) -> Packet {
    Packet {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
        protocol: 17,
        ports: ports.into(),
    }
}

#[test]
fn no_rule_says_nothing() {
    let rules = Rules::compile(&[]);
    assert!(rules.is_empty());
    assert_eq!(rules.decide(&udp("10.0.0.1", "10.0.0.2", (1, 2))), None);
    assert_eq!(rules.decide(&udp("fd00::1", "fd00::2", None)), None);
}

/// `/0`, `/32` and `/128`: a range that begins with the least value, or ends with the last, has no edge there.
#[test]
fn the_ends_of_the_address_space() {
    for (bits, first, last, other) in [
        (32, "0.0.0.0", "255.255.255.255", "::"),
        (128, "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "0.0.0.0"),
    ] {
        let all = net(&format!("{first}/0"));
        let host = |address| net(&format!("{address}/{bits}"));
        let rules = [
            Rule { from: host(first), to: host(last), ..any_packet(Action::Drop) },
            Rule { from: Arc::clone(&all), to: host(last), ..any_packet(Action::Reject) },
            Rule { from: Arc::clone(&all), to: all, ..any_packet(Action::Allow) },
        ];
        let rules = Rules::compile(&rules);
        let decide = |from, to| rules.decide(&udp(from, to, None));
        assert_eq!(decide(first, last), Some((0, Action::Drop)));
        assert_eq!(decide(last, last), Some((1, Action::Reject)));
        assert_eq!(decide(last, first), Some((2, Action::Allow)));
        assert_eq!(decide(first, first), Some((2, Action::Allow)));
        assert_eq!(decide(other, other), None);
    }
}

#[test]
fn the_ends_of_the_ports() {
    let to = |ports| Rule { destination_ports: Some(ports), ..any_packet(Action::Allow) };
    let from = |ports| Rule { source_ports: Some(ports), ..any_packet(Action::Drop) };
    let rules = Rules::compile(&[to(0..=0), to(65_535..=65_535), from(0..=9), from(0..=65_535)]);
    let decide = |ports| rules.decide(&udp("10.0.0.1", "10.0.0.2", ports)).map(|(rule, _)| rule);
    assert_eq!(decide(Some((7, 0))), Some(0));
    assert_eq!(decide(Some((7, 65_535))), Some(1));
    assert_eq!(decide(Some((9, 1))), Some(2));
    assert_eq!(decide(Some((10, 65_534))), Some(3));
    assert_eq!(decide(Some((65_535, 1))), Some(3));
    // All ports are not the same as no ports.
    assert_eq!(decide(None), None);
}

#[test]
fn a_later_fragment_matches_only_rules_without_ports() {
    let dns = Rule { protocol: Some(17), destination_ports: Some(53..=53), ..any_packet(Action::Allow) };
    let rules = [dns, Rule { protocol: Some(17), ..any_packet(Action::Drop) }];
    let rules = Rules::compile(&rules);
    for (source, destination) in [("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2")] {
        let first = udp(source, destination, (4_000, 53));
        let later = udp(source, destination, None);
        assert_eq!(rules.decide(&first), Some((0, Action::Allow)));
        assert_eq!(rules.decide(&later), Some((1, Action::Drop)));
        assert_eq!(rules.decide(&Packet { protocol: 6, ..first }), None);
    }
}

/// Every rule can be the one, the last of the last word too; between them nothing is found in the words that all
/// summaries have.
#[test]
fn as_many_rules_as_there_can_be() {
    let v4 = |low: usize| Ipv4Addr::from_bits((10 << 24) | low as u32);
    let v6 = |low: usize| Ipv6Addr::from_bits((0xfd << 120) | low as u128);
    let both =
        |low| -> Arc<[IpNet]> { Arc::new([IpAddr::from(v4(low)).into(), IpAddr::from(v6(low)).into()]) };
    let rules: Vec<Rule> = (0..MAX_RULES)
        .map(|n| Rule { from: both(n), to: both(n + 1), ..any_packet(Action::Allow) })
        .collect();
    let rules = Rules::compile(&rules);
    let packet = |source, destination| Packet { source, destination, protocol: 6, ports: None };
    for n in 0..MAX_RULES {
        let found = Some((n as u16, Action::Allow));
        assert_eq!(rules.decide(&packet(v4(n).into(), v4(n + 1).into())), found);
        assert_eq!(rules.decide(&packet(v6(n).into(), v6(n + 1).into())), found);
        assert_eq!(rules.decide(&packet(v4(n).into(), v4(n).into())), None);
        assert_eq!(rules.decide(&packet(v6(n).into(), v6(n + 2).into())), None);
    }
}

#[test]
#[should_panic]
fn more_rules_than_there_can_be() {
    Rules::compile(&vec![any_packet(Action::Allow); MAX_RULES + 1]);
}

/// Neighbouring prefixes of one rule are one range, and rules with the same prefixes share the work.
#[test]
fn rules_over_all_overlays() {
    let overlays: Arc<[IpNet]> = (0..65_536_u32)
        .flat_map(|n| {
            let v4 = Ipv4Addr::from_bits((10 << 24) | (n << 8));
            let v6 = Ipv6Addr::from_bits((0xfd << 120) | (u128::from(n) << 64));
            [IpNet::new(v4.into(), 24).unwrap(), IpNet::new(v6.into(), 64).unwrap()]
        })
        .collect();
    let rule = |port| Rule {
        from: Arc::clone(&overlays),
        to: Arc::clone(&overlays),
        destination_ports: Some(port..=port),
        ..any_packet(Action::Allow)
    };
    let rules = Rules::compile(&(0..MAX_RULES as u16).map(rule).collect::<Vec<_>>());
    for (inside, outside) in [("10.255.255.255", "11.0.0.0"), ("fd00::ffff:0:0:0:1", "fd00:0:1::")] {
        let found = rules.decide(&udp(inside, inside, (1, 4_095)));
        assert_eq!(found, Some((4_095, Action::Allow)));
        assert_eq!(rules.decide(&udp(inside, outside, (1, 80))), None);
    }
    for addresses in [&rules.sources, &rules.destinations] {
        assert!(addresses.memory_bytes() <= 4 * (8 + 20), "{}", addresses.memory_bytes());
    }
}

/// Equal sets are one bitmap: 4 096 rules over 65 536 prefixes of their own, none a neighbour of the next.
#[test]
fn memory_of_rules_that_do_not_overlap() {
    let prefixes = |n: usize| -> Arc<[IpNet]> {
        (0..16)
            .map(|m| Ipv6Addr::from_bits((0xfd << 120) | ((2 * (16 * n + m) as u128) << 64)))
            .map(|address| IpNet::new(address.into(), 64).unwrap())
            .collect()
    };
    let rules: Vec<Rule> =
        (0..MAX_RULES).map(|n| Rule { from: prefixes(n), ..any_packet(Action::Allow) }).collect();
    let rules = Rules::compile(&rules);
    assert!(rules.sources.memory_bytes() <= 131_073 * 20 + 8);
    // A word and its summary for each rule; the sets of none and of all.
    assert_eq!(rules.bitmaps.memory_bytes(), MAX_RULES * 16 + 8 + 520);
}
