//! Whatever the order in which routes come: the same best paths, and the same view.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rustbgpd_wire::{
    EthernetSegmentIdentifier, EthernetTagId, EvpnMacIp, ExtendedCommunity, MacAddress, MplsLabel,
    RouteDistinguisher,
};

use super::*;

const PEERS: u16 = 4;
const VNI: u32 = 7;

/// One thing that a peer says.
#[derive(Clone, Debug)]
struct Said {
    peer: u16,
    rd: u8,
    ip: Option<u8>,
    /// `None`: withdrawn.
    attributes: Option<Attributes>,
}

fn mostly<T: Clone + std::fmt::Debug>(usual: T, other: T) -> impl Strategy<Value = T> {
    prop_oneof![9 => Just(usual), 1 => Just(other)]
}

prop_compose! {
    /// Mostly equal values, so that each step of the decision decides now and then.
    fn attributes()(
        next_hop in mostly(1u8, 2), local_pref in mostly(100u32, 101), med in 0u32..3, neighbour in 0u32..2,
        length in mostly(1u16, 2), origin in mostly(0u8, 1), originator in prop::option::of(1u8..4), clusters in 0usize..3,
        mobility in prop::option::of((any::<bool>(), 0u32..3)),
    ) -> Attributes {
        let mut extended = vec![ExtendedCommunity::new(0x0002_fde8_0000_0000 | u64::from(VNI))];
        extended.extend(mobility.map(|(sticky, sequence)| ExtendedCommunity::mac_mobility(sticky, sequence)));
        Attributes {
            next_hop: IpAddr::from([10, 0, 0, next_hop]),
            origin,
            local_pref,
            med,
            as_path: vec![65000 + neighbour; length.into()].into(),
            as_path_length: length,
            originator: originator.map(|last| Ipv4Addr::new(9, 9, 9, last)),
            cluster_list: vec![Ipv4Addr::LOCALHOST; clusters].into(),
            communities: Box::default(),
            large_communities: Box::default(),
            extended: extended.into(),
            replication: None,
        }
    }
}

prop_compose! {
    fn said()(
        peer in 0..PEERS, rd in 0u8..3, ip in prop::option::of(0u8..2),
        attributes in prop_oneof![4 => attributes().prop_map(Some), 1 => Just(None)],
    ) -> Said {
        Said { peer, rd, ip, attributes }
    }
}

fn evpn_nlri(said: &Said) -> Nlri {
    Nlri::Evpn(vec![EvpnRoute::MacIp(EvpnMacIp {
        rd: RouteDistinguisher([0, 0, 0, 1, 0, 0, 0, said.rd]),
        esi: EthernetSegmentIdentifier([0; 10]),
        ethernet_tag: EthernetTagId(0),
        mac: MacAddress([2, 0, 0, 0, 0, 1]),
        ip: said.ip.map(|last| IpAddr::from([10, 1, 0, last])),
        label1: MplsLabel::new(VNI),
        label2: None,
    })])
}

fn unicast_nlri(said: &Said) -> Nlri {
    Nlri::Unicast(vec![format!("192.0.{}.0/24", said.rd).parse().unwrap()])
}

fn rib() -> Rib {
    // No move is one too many: that hangs on the order, and is tested elsewhere.
    let policy = DuplicatePolicy { moves: u16::MAX, ..DuplicatePolicy::default() };
    let mut rib = Rib::new(Identity::default(), policy);
    for number in 0..PEERS {
        rib.add_peer(IpAddr::from([10, 9, 0, number as u8]), true);
        // Two have the same identifier, two are external.
        rib.peer_up(PeerId(number), Ipv4Addr::new(1, 1, 1, number as u8 / 2), number % 2 == 0);
    }
    rib.set_overlays([(Vni::new(VNI).unwrap(), RouteTargets::Frr)]);
    rib
}

/// What a RIB says in the end: best paths, and all changes added up.
#[derive(Debug, PartialEq, Eq)]
struct Summary {
    best: BTreeMap<String, (PeerId, Attributes)>,
    station: Option<IpAddr>,
    addresses: BTreeSet<IpAddr>,
    prefixes: BTreeMap<String, IpAddr>,
}

fn play<'s>(rib: &mut Rib, all: impl Iterator<Item = &'s Said>) -> Summary {
    let now = Instant::now();
    let (mut station, mut addresses, mut prefixes) = (None, BTreeSet::new(), BTreeMap::new());
    for said in all {
        for nlri in [evpn_nlri(said), unicast_nlri(said)] {
            match &said.attributes {
                Some(attributes) => rib.announce(PeerId(said.peer), nlri, attributes.clone(), now),
                None => rib.withdraw(PeerId(said.peer), &nlri, now),
            }
        }
        while let Some(Told::Change(change)) = rib.poll() {
            match change {
                Change::Station { endpoint, .. } => station = Some(endpoint),
                Change::StationGone { .. } => station = None,
                Change::Address { ip, .. } => drop(addresses.insert(ip)),
                Change::AddressGone { ip, .. } => assert!(addresses.remove(&ip)),
                Change::Prefix { prefix, next_hop } => drop(prefixes.insert(prefix.to_string(), next_hop)),
                Change::PrefixGone { prefix } => drop(prefixes.remove(&prefix.to_string())),
                Change::Flood { .. } | Change::FloodGone { .. } => unreachable!("no type 3 was sent"),
            }
        }
    }
    let routes = [Family::Evpn, Family::Ipv4].into_iter().flat_map(|family| rib.routes(family));
    let best = routes.map(|mut route| {
        let best = route.paths.swap_remove(0);
        (route.route, (best.peer, best.attributes))
    });
    Summary { best: best.collect(), station, addresses, prefixes }
}

/// What each peer said last of each route.
fn last_words(all: &[Said], key: impl Fn(&Said) -> (u16, u8, Option<u8>)) -> Vec<Said> {
    let last: BTreeMap<_, _> = all.iter().map(|said| (key(said), said.clone())).collect();
    last.into_values().filter(|said| said.attributes.is_some()).collect()
}

#[test]
fn an_endless_hold_ends_with_the_last_route() {
    let now = Instant::now();
    let policy = DuplicatePolicy { moves: 1, recovery: None, ..DuplicatePolicy::default() };
    let mut rib = Rib { overlays: Overlays::new(Identity::default(), policy), ..rib() };
    rib.set_overlays([(Vni::new(VNI).unwrap(), RouteTargets::Frr)]);
    let attributes = |endpoint: u8, sequence: u32| Attributes {
        next_hop: IpAddr::from([10, 0, 0, endpoint]),
        origin: 0,
        local_pref: 100,
        med: 0,
        as_path: Box::default(),
        as_path_length: 0,
        originator: None,
        cluster_list: Box::default(),
        communities: Box::default(),
        large_communities: Box::default(),
        extended: vec![
            ExtendedCommunity::new(0x0002_fde8_0000_0000 | u64::from(VNI)),
            ExtendedCommunity::mac_mobility(false, sequence),
        ]
        .into(),
        replication: None,
    };
    let events = |rib: &mut Rib| {
        std::iter::from_fn(|| rib.poll()).filter(|told| matches!(told, Told::Event(_))).collect::<Vec<_>>()
    };
    for round in 0..3 {
        for (peer, sequence) in [(0, 0), (1, 1)] {
            let said = Said { peer, rd: peer as u8, ip: None, attributes: None };
            rib.announce(PeerId(peer), evpn_nlri(&said), attributes(1 + peer as u8, sequence), now);
        }
        let told = events(&mut rib);
        assert!(matches!(told[..], [Told::Event(Event::Duplicate { .. })]), "{round}: {told:?}");
        for peer in [0, 1] {
            let said = Said { peer, rd: peer as u8, ip: None, attributes: None };
            rib.withdraw(PeerId(peer), &evpn_nlri(&said), now);
            let told = events(&mut rib);
            assert_eq!(told.len(), peer.into(), "{round}: {told:?}");
        }
        assert!(!rib.clear_duplicate(Vni::new(VNI).unwrap(), MacAddr([2, 0, 0, 0, 0, 1]), now), "forgotten");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_order_of_routes_does_not_matter(
        all in prop::collection::vec(said(), 1..60), seed in any::<u64>(),
    ) {
        // EVPN routes differ by IP address, prefixes do not: of the latter only the last word on any counts.
        let all: Vec<Said> = all.into_iter().map(|said| Said { ip: said.ip.filter(|_| said.rd != 0), ..said }).collect();
        let mut first = rib();
        let seen = play(&mut first, all.iter());

        // Each peer's last words alone, in another order.
        let evpn = last_words(&all, |said| (said.peer, said.rd, said.ip));
        let unicast = last_words(&all, |said| (said.peer, said.rd, None));
        let mut second = rib();
        let now = Instant::now();
        let mut words: Vec<(Nlri, &Said)> = evpn.iter().map(|said| (evpn_nlri(said), said)).collect();
        words.extend(unicast.iter().map(|said| (unicast_nlri(said), said)));
        fastrand::Rng::with_seed(seed).shuffle(&mut words);
        for (nlri, said) in words {
            if let Some(attributes) = said.attributes.clone() {
                second.announce(PeerId(said.peer), nlri, attributes, now);
            }
        }
        let again = play(&mut second, std::iter::empty());
        prop_assert_eq!(&seen.best, &again.best);
        let station = second.station(Vni::new(VNI).unwrap(), MacAddr([2, 0, 0, 0, 0, 1]));
        prop_assert_eq!(seen.station, station.map(|station| station.endpoint));
        let addresses: BTreeSet<_> = evpn.iter().filter_map(|said| said.ip).map(|last| IpAddr::from([10, 1, 0, last])).collect();
        prop_assert_eq!(&seen.addresses, &addresses);
        for (prefix, next_hop) in &seen.prefixes {
            prop_assert_eq!(*next_hop, seen.best[prefix].1.next_hop);
        }

        // And when all peers are gone, nothing is left.
        for peer in (0..PEERS).map(PeerId) {
            for family in Family::ALL {
                first.mark_stale(peer, family);
                first.sweep_stale(peer, family);
            }
        }
        while first.sweep(now) {}
        while first.poll().is_some() {}
        prop_assert_eq!((first.evpn.len(), first.unicast.len(), first.stations()), (0, 0, 0));
        prop_assert!((0..PEERS).all(|peer| Family::ALL.into_iter().all(|family| first.routes_of(PeerId(peer), family) == 0) && first.attribute_bytes(PeerId(peer)) == 0));
    }
}
