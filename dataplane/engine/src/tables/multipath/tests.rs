//! Flows are spread by weight, keep to their paths, and move only when they must.

use std::collections::HashSet;
use std::net::IpAddr;

use proptest::prelude::*;

use super::*;
use crate::api::{MAX_PATHS, Role, Update};
use crate::tables::{MacCell, Writer};
use crate::testing;

/// Flows that are looked at: one of each bucket.
const FLOWS: std::ops::Range<u16> = 0..BUCKETS as u16;

fn mac(number: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 7, number])
}

/// A path by port `n % ports` through a router of its own.
fn path(n: usize, ports: usize, weight: u16) -> Path {
    let gateway = IpAddr::from([198, 18, 3, n as u8]);
    Path { port: PortIndex((n % ports) as u8), gateway: Some(gateway), weight }
}

/// All of whose routers are known, by an address with the path's number.
fn multipath(paths: &[Path]) -> Multipath {
    let adjacency = |NextHop { port, address }| {
        let IpAddr::V4(address) = address else { return None };
        Some(Arc::new(Adjacency { port, mac: MacCell::new(Some(mac(address.octets()[3]))) }))
    };
    Multipath::new(paths, adjacency)
}

/// Four ports, all up.
fn writer() -> Writer {
    let mut config = testing::config();
    for n in 2..4 {
        config.ports.push(crate::api::PortConfig { ifindex: n, role: Role::Both, ..config.ports[0].clone() });
    }
    Writer::new(config, 1).unwrap().0
}

fn choices(multipath: &Multipath, fixed: &Fixed) -> Vec<Option<(PortIndex, MacAddr)>> {
    let choice = |flow| {
        let short = multipath.router(fixed, flow).map(|router| (router.port, router.mac.get().unwrap()));
        assert_eq!(multipath.choose(fixed, flow, |_| None).ok(), short, "both ways of the pipeline");
        short
    };
    FLOWS.map(choice).collect()
}

fn any_paths() -> impl Strategy<Value = Vec<Path>> {
    let weights = proptest::collection::vec(prop_oneof![Just(1), 1..=8_u16], 2..=12);
    weights
        .prop_map(|weights| weights.into_iter().enumerate().map(|(n, weight)| path(n, 4, weight)).collect())
}

#[test]
fn flows_are_spread_by_weight() {
    let writer = writer();
    let fixed = &writer.current().fixed;
    for weights in [&[1, 1][..], &[1, 2], &[1, 2, 5], &[256, 256], &[3, 1, 1, 1, 1, 1], &[1; 16]] {
        let paths: Vec<Path> = weights.iter().enumerate().map(|(n, weight)| path(n, 4, *weight)).collect();
        let choices = choices(&multipath(&paths), fixed);
        let all: u16 = weights.iter().sum();
        for (n, weight) in weights.iter().enumerate() {
            let share = f64::from(*weight) / f64::from(all);
            let got = choices.iter().flatten().filter(|(_, got)| *got == mac(n as u8)).count();
            let got = got as f64 / choices.len() as f64;
            // Four standard deviations of as many draws as there are buckets.
            let tolerance = 4.0 * (share * (1.0 - share) / BUCKETS as f64).sqrt();
            assert!((got - share).abs() < tolerance, "{weights:?}: {got} of {share} by {n}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Whether the member's router is not known, its port is down or the route does without it: its flows go to
    /// others, those of others stay, and all is as before when it is back.
    #[test]
    fn only_the_flows_of_what_goes_are_moved(paths in any_paths(), gone in any::<prop::sample::Index>()) {
        let mut writer = writer();
        let fixed = Arc::clone(&writer.current().fixed);
        let whole = multipath(&paths);
        let before = choices(&whole, &fixed);
        prop_assert!(before.iter().all(Option::is_some));

        let gone = gone.index(paths.len());
        whole.members[gone].router.as_ref().unwrap().mac.set(None);
        let unresolved = choices(&whole, &fixed);
        for (before, after) in before.iter().zip(&unresolved) {
            let moved = before.unwrap().1 == mac(gone as u8);
            prop_assert!(after.is_some());
            prop_assert_eq!(before != after, moved);
        }
        let mut rest = paths.clone();
        rest.remove(gone);
        prop_assert_eq!(&choices(&multipath(&rest), &fixed), &unresolved, "it is all the same why");
        whole.members[gone].router.as_ref().unwrap().mac.set(Some(mac(gone as u8)));
        prop_assert_eq!(&choices(&whole, &fixed), &before);

        let port = paths[gone].port;
        writer.apply(Update::PortState { port, is_up: false });
        let others: Vec<Path> = paths.iter().filter(|path| path.port != port).copied().collect();
        prop_assert_eq!(choices(&whole, &fixed), choices(&multipath(&others), &fixed));
        writer.apply(Update::PortState { port, is_up: true });
        prop_assert_eq!(choices(&whole, &fixed), before);
    }

    /// Nothing is lost while one member lives, whichever.
    #[test]
    fn the_last_that_lives_has_all(count in 1..=MAX_PATHS, last in any::<prop::sample::Index>()) {
        let paths: Vec<Path> = (0..count).map(|n| path(n, 4, 1 + (n % 3) as u16)).collect();
        let (multipath, writer) = (multipath(&paths), writer());
        let last = last.index(count);
        for (n, member) in multipath.members.iter().enumerate() {
            if n != last {
                member.router.as_ref().unwrap().mac.set(None);
            }
        }
        let expected = Some((paths[last].port, mac(last as u8)));
        prop_assert!(choices(&multipath, &writer.current().fixed).iter().all(|got| *got == expected));
    }

    /// Two gateways, and one before and after a restart, choose alike.
    #[test]
    fn the_order_of_paths_does_not_matter(mut paths in any_paths()) {
        let writer = writer();
        let fixed = &writer.current().fixed;
        let one = choices(&multipath(&paths), fixed);
        paths.reverse();
        prop_assert_eq!(one, choices(&multipath(&paths), fixed));
    }
}

#[test]
fn choices_are_those_of_all_versions() {
    let paths: Vec<Path> = (0..3).map(|n| path(n, 4, 1)).collect();
    let multipath = multipath(&paths);
    let first: Vec<u8> = multipath.buckets.iter().take(16).map(|ranks| ranks[0]).collect();
    // Computed by another program too.
    assert_eq!(first, [0, 1, 1, 0, 1, 2, 0, 1, 2, 1, 1, 0, 1, 0, 1, 0]);
}

#[test]
fn nobody_gets_what_nobody_can_take() {
    let writer = writer();
    let fixed = &writer.current().fixed;
    let none = Multipath::new(&[path(0, 4, 1), path(1, 4, 1)], |_| None);
    assert!(none.router(fixed, 7).is_none());
    assert_eq!(none.choose(fixed, 7, |_| None), Err(None));
    let dead = multipath(&[path(0, 4, 1), path(1, 4, 1)]);
    dead.members.iter().for_each(|member| member.router.as_ref().unwrap().mac.set(None));
    assert_eq!(dead.choose(fixed, 7, |_| Some(mac(9))), Err(None));
}

#[test]
fn a_host_on_several_links_is_asked_for_where_its_flow_would_go() {
    let mut writer = writer();
    let fixed = Arc::clone(&writer.current().fixed);
    let on_link = Multipath::new(&[Path::on_link(PortIndex(1)), Path::on_link(PortIndex(2))], |_| None);
    assert!(on_link.router(&fixed, 0).is_none(), "it is not a router's");
    let mut asked = HashSet::new();
    for flow in FLOWS.step_by(7) {
        let port = on_link.choose(&fixed, flow, |_| None).unwrap_err().unwrap();
        asked.insert(port);
        assert_eq!(on_link.choose(&fixed, flow, |_| Some(mac(9))), Ok((port, mac(9))));
        // Known on one link alone, it is reached there.
        let known = |port| (port == PortIndex(2)).then_some(mac(9));
        assert_eq!(on_link.choose(&fixed, flow, known), Ok((PortIndex(2), mac(9))));
    }
    assert_eq!(asked.len(), 2);
    writer.apply(Update::PortState { port: PortIndex(1), is_up: false });
    for flow in FLOWS.step_by(7) {
        assert_eq!(on_link.choose(&fixed, flow, |_| None), Err(Some(PortIndex(2))));
    }
}
