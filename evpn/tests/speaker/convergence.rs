//! A hundred speakers, sessions that break at random, stations that come, go and move: in the end all have one view. A
//! speaker that lies changes nothing of it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::support::{ASN, Sim, View, mac, vni};
use evpn::{Family, PrefixAttributes, Reach};

/// What a speaker announces, kept beside it.
#[derive(Clone, Default)]
struct Own {
    reaches: BTreeMap<(u32, u32, Option<u8>), Reach>,
    floods: Vec<u32>,
    prefixes: BTreeMap<u8, PrefixAttributes>,
}

/// Announces, changes or withdraws something at random.
fn stir(sim: &mut Sim, owns: &mut [Own]) {
    let node = sim.random.usize(..owns.len());
    let (address, own) = (sim.nodes[node].address, &mut owns[node]);
    let speaker = &mut sim.nodes[node].speaker;
    let overlay = sim.random.u32(1..=8);
    match sim.random.u8(..10) {
        0..6 => {
            let number = sim.random.u32(..40);
            let ip = [None, Some(1), Some(2), Some(6)][sim.random.usize(..4)];
            let reach = Reach {
                vni: vni(overlay),
                mac: mac(number),
                ip: ip.map(|last: u8| match last {
                    6 => std::net::IpAddr::from([0xfd00, 0, 0, 0, 0, 0, number as u16, 6]),
                    last => std::net::IpAddr::from([10, 1, number as u8, last]),
                }),
                endpoint: address,
                sequence: sim.random.u32(..6),
                sticky: sim.random.u8(..10) == 0,
                default_gateway: false,
                router: false,
                local_pref: None,
            };
            if sim.random.u8(..3) > 0 {
                speaker.reach(&reach);
                own.reaches.insert((overlay, number, ip), reach);
            } else {
                speaker.unreach(reach.vni, reach.mac, reach.ip);
                own.reaches.remove(&(overlay, number, ip));
            }
        }
        6..8 => {
            if own.floods.contains(&overlay) {
                speaker.leave_flood(vni(overlay), address);
                own.floods.retain(|other| *other != overlay);
            } else {
                speaker.join_flood(vni(overlay), address);
                own.floods.push(overlay);
            }
        }
        _ => {
            let number = sim.random.u8(..4);
            let prefix = format!("192.0.{number}.0/24").parse().unwrap();
            let attributes = PrefixAttributes {
                next_hop: address,
                med: Some(sim.random.u32(..3)),
                local_pref: Some(100 + sim.random.u32(..3)),
                communities: vec![sim.random.u32(..2)],
            };
            if sim.random.bool() {
                speaker.announce_prefix(prefix, attributes.clone());
                own.prefixes.insert(number, attributes);
            } else {
                speaker.withdraw_prefix(prefix);
                own.prefixes.remove(&number);
            }
        }
    }
    sim.follow(node);
}

/// The last speaker says something that may not be believed, and would be best: it has the first one's route
/// distinguishers, so that its paths are of the same routes.
fn lie(sim: &mut Sim) {
    let liar = sim.nodes.len() - 1;
    let number = sim.random.u32(..40);
    let reach = Reach {
        vni: vni(sim.random.u32(1..=8)),
        mac: mac(number),
        ip: [None, Some(std::net::IpAddr::from([10, 1, number as u8, 1]))][sim.random.usize(..2)],
        // No host has an IPv4 address written as IPv6.
        endpoint: std::net::Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped().into(),
        sequence: 1000,
        sticky: true,
        default_gateway: false,
        router: false,
        local_pref: Some(1000),
    };
    let speaker = &mut sim.nodes[liar].speaker;
    if sim.random.u8(..4) > 0 {
        speaker.reach(&reach);
    } else {
        speaker.unreach(reach.vni, reach.mac, reach.ip);
    }
    sim.follow(liar);
}

/// What a speaker should see of all the others, worked out anew.
fn expected(owns: &[Own], observer: usize) -> View {
    let mut view = View::default();
    let mut best = BTreeMap::new();
    let mut prefixes = BTreeMap::new();
    for (node, own) in owns.iter().enumerate().filter(|(node, _)| *node != observer) {
        let address = Sim::address(node + 1);
        for reach in own.reaches.values() {
            let rank = (reach.sticky, reach.sequence, std::cmp::Reverse(reach.endpoint));
            let best = best.entry((reach.vni, reach.mac)).or_insert(rank);
            *best = rank.max(*best);
            view.addresses.extend(reach.ip.map(|ip| (reach.vni, reach.mac, ip)));
        }
        view.floods.extend(own.floods.iter().map(|&overlay| (vni(overlay), address)));
        for (number, attributes) in &own.prefixes {
            // All in one AS: LOCAL_PREF, then MED, then the lowest router id.
            let rank = (attributes.local_pref, std::cmp::Reverse((attributes.med, address)));
            let best = prefixes.entry(*number).or_insert(rank);
            *best = rank.max(*best);
        }
    }
    view.stations =
        best.into_iter().map(|(key, (_, _, std::cmp::Reverse(endpoint)))| (key, endpoint)).collect();
    view.prefixes = prefixes
        .into_iter()
        .map(|(number, (_, std::cmp::Reverse((_, address))))| {
            (format!("192.0.{number}.0/24").parse().unwrap(), address)
        })
        .collect();
    view
}

fn converges(seed: u64, honest: usize, has_liar: bool, cuts: usize) {
    let mut sim = Sim::new(seed);
    let mut owns = vec![Own::default(); honest];
    (0..honest).for_each(|_| {
        sim.add(ASN);
    });
    if has_liar {
        sim.add_with(ASN, 1);
    }
    let count = sim.nodes.len();
    for a in 0..count {
        // Long hold times: most of what happens would be keepalives.
        (a + 1..count).for_each(|b| {
            sim.peer(a, b, |_, config| (config.hold_time, config.announce_ipv6_vtep) = (180, has_liar));
        });
    }
    sim.start();
    for cut in 0..cuts {
        let pause = Duration::from_millis(sim.random.u64(..400));
        sim.run(pause);
        sim.cut_any();
        (0..4).for_each(|_| stir(&mut sim, &mut owns));
        if has_liar {
            (0..8).for_each(|_| lie(&mut sim));
        }
        // Now and then somebody hears and says nothing for a while.
        if cut % 20 == 10 {
            let node = sim.random.usize(..count);
            let isolated = !sim.nodes[node].isolated;
            sim.isolate(node, isolated);
        }
    }
    (0..count)
        .filter(|&node| sim.nodes[node].isolated)
        .collect::<Vec<_>>()
        .into_iter()
        .for_each(|node| sim.isolate(node, false));
    sim.run_until(Duration::from_secs(600), |sim| {
        sim.nodes.iter().all(|node| node.is_up() && node.speaker.peers().all(|peer| peer.told_all))
    });
    // Until what is on its way is there and no duplicate is held any longer.
    sim.run(Duration::from_secs(400));
    assert!(owns.iter().map(|own| own.reaches.len()).sum::<usize>() > cuts / 4, "little was announced");
    for (number, node) in sim.nodes.iter().enumerate() {
        assert_eq!(node.view, expected(&owns, number), "seed {seed}, view of speaker {number}");
        assert_eq!(node.speaker.routes(Family::Evpn).filter(|route| route.paths.is_empty()).count(), 0);
    }
    assert_eq!(sim.connections(), count * (count - 1) / 2, "one connection for each pair");
    if has_liar {
        let routes: Vec<_> = sim.nodes[1].speaker.routes(Family::Evpn).collect();
        let contested = |route: &&evpn::RouteView| route.vni.is_some() && route.paths.len() == 2;
        let contested = routes.iter().filter(contested).count();
        assert!(contested > 3, "{contested} of {} routes were lied about", routes.len());
    }
}

#[test]
fn a_hundred_speakers_come_to_one_view() {
    converges(1, 100, false, 200);
}

#[test]
fn few_speakers_come_to_one_view_whatever_happens() {
    (2..30).for_each(|seed| converges(seed, 5, false, 150));
}

#[test]
fn one_that_lies_changes_no_view() {
    (30..40).for_each(|seed| converges(seed, 4, true, 150));
}
