//! Whatever the order in which routes come: the same best paths, and the same view.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rustbgpd_wire::{
    EthernetSegmentIdentifier, EthernetTagId, EvpnMacIp, ExtendedCommunity, MacAddress, MplsLabel,
    RouteDistinguisher,
};

use super::*;

mod places;

const PEERS: u16 = 4;
const VNI: u32 = 7;
/// A tunnel that is not VXLAN.
const MPLS: u16 = 10;
const STATION: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

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
        mobility in prop::option::of((any::<bool>(), 0u32..3)), is_bad in mostly(false, true),
    ) -> Attributes {
        let mut extended = vec![ExtendedCommunity::new(0x0002_fde8_0000_0000 | u64::from(VNI))];
        extended.extend(mobility.map(|(sticky, sequence)| ExtendedCommunity::mac_mobility(sticky, sequence)));
        extended.extend(is_bad.then(|| ExtendedCommunity::bgp_encapsulation(MPLS)));
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
        while let Some(told) = rib.poll() {
            let Told::Change(change) = told else { continue };
            match change {
                Change::Station { endpoint, .. } => station = Some(endpoint),
                Change::StationGone { .. } => station = None,
                Change::Address { ip, .. } => drop(addresses.insert(ip)),
                Change::AddressGone { ip, .. } => assert!(addresses.remove(&ip)),
                Change::Prefix { prefix, next_hop } => drop(prefixes.insert(prefix.to_string(), next_hop)),
                Change::PrefixGone { prefix } => drop(prefixes.remove(&prefix.to_string())),
                Change::Flood { .. } | Change::FloodGone { .. } | Change::SharedMac { .. } => {
                    unreachable!("no type 3 was sent, nor anything of a shared MAC address")
                }
                Change::Member { .. } | Change::MemberGone { .. } => {
                    unreachable!("no type 4 was sent")
                }
            }
        }
    }
    let routes = [Family::Evpn, Family::Ipv4].into_iter().flat_map(|family| rib.routes(family));
    let best = routes.filter_map(|mut route| {
        let best = route.paths.swap_remove(0);
        best.why.is_none().then_some((route.route, (best.peer, best.attributes)))
    });
    Summary { best: best.collect(), station, addresses, prefixes }
}

/// What each peer said last of each route.
fn last_words(all: &[Said], key: impl Fn(&Said) -> (u16, u8, Option<u8>)) -> Vec<Said> {
    let last: BTreeMap<_, _> = all.iter().map(|said| (key(said), said.clone())).collect();
    last.into_values().filter(|said| said.attributes.is_some()).collect()
}

/// Attributes of a station at an endpoint.
fn at(endpoint: u8, (sticky, sequence): (bool, u32)) -> Attributes {
    Attributes {
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
            ExtendedCommunity::mac_mobility(sticky, sequence),
        ]
        .into(),
        replication: None,
    }
}

fn station_of(rib: &Rib) -> Option<IpAddr> {
    rib.station(Vni::new(VNI).unwrap(), STATION).map(|station| station.endpoint)
}

/// What was rejected, with all work done.
fn rejected(rib: &mut Rib) -> Vec<(PeerId, Rejection)> {
    while rib.sweep(Instant::now()) {}
    let rejected = |told| match told {
        Told::Event(Event::Rejected { peer, reason, .. }) => Some((peer, reason)),
        _ => None,
    };
    std::iter::from_fn(|| rib.poll()).filter_map(rejected).collect()
}

#[test]
fn a_path_that_may_not_be_used_hides_no_good_one() {
    let (liar, honest) = (PeerId(0), PeerId(1));
    let said = Said { peer: 0, rd: 1, ip: None, attributes: None };
    let identity = Identity {
        vteps: [IpAddr::from([10, 0, 0, 1])].into(),
        shared_macs: [STATION].into(),
        cluster: [IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2])].into(),
        segment: None,
    };
    let mut mpls = at(2, (true, 9));
    mpls.extended = [&*mpls.extended, &[ExtendedCommunity::bgp_encapsulation(MPLS)]].concat().into();
    let mut foreign = at(2, (true, 9));
    foreign.extended[0] = ExtendedCommunity::new(0x0002_fde8_0000_0008);
    let cases = [
        (mpls, Some(Rejection::Encapsulation), "rejected: encapsulation is not VXLAN"),
        (at(1, (false, 0)), Some(Rejection::OwnVtep), "rejected: next hop is our own VTEP"),
        (
            at(3, (false, 9)),
            Some(Rejection::SharedMacStranger),
            "rejected: the shared MAC address from a stranger",
        ),
        (foreign, None, "overlay: not imported against imported"),
    ];
    for (bad, reason, why) in cases {
        for bad_first in [true, false] {
            let (mut rib, now) = (rib(), Instant::now());
            rib.set_identity(identity.clone());
            let mut both = [(honest, at(2, (false, 0))), (liar, bad.clone())];
            both[..].rotate_left(bad_first.into());
            both.into_iter()
                .for_each(|(peer, attributes)| rib.announce(peer, evpn_nlri(&said), attributes, now));
            assert_eq!(station_of(&rib), Some(IpAddr::from([10, 0, 0, 2])), "{why}");
            assert_eq!(rejected(&mut rib), reason.map(|reason| (liar, reason)).as_slice(), "{why}");
            let [good, bad] = &rib.routes(Family::Evpn).next().unwrap().paths[..] else {
                panic!("two paths")
            };
            assert_eq!((good.peer, good.why.as_ref(), bad.peer), (honest, None, liar), "{why}");
            assert_eq!(bad.why.as_ref().unwrap().to_string(), why);

            // With the good one the station goes, and there is nothing new to tell.
            rib.withdraw(honest, &evpn_nlri(&said), now);
            assert_eq!((station_of(&rib), rejected(&mut rib)), (None, vec![]), "{why}");
            let [bad] = &rib.routes(Family::Evpn).next().unwrap().paths[..] else { panic!("one path") };
            assert_eq!(bad.why.is_some(), reason.is_some(), "the best of those that count nowhere is one");
        }
    }
}

#[test]
fn what_a_new_configuration_rejects_is_told_once() {
    let (mut rib, now) = (rib(), Instant::now());
    let said = Said { peer: 0, rd: 1, ip: None, attributes: None };
    rib.announce(PeerId(0), evpn_nlri(&said), at(1, (false, 0)), now);
    rib.announce(PeerId(1), evpn_nlri(&said), at(2, (false, 0)), now);
    assert_eq!((station_of(&rib), rejected(&mut rib)), (Some(IpAddr::from([10, 0, 0, 1])), vec![]));
    let ours = Identity { vteps: [IpAddr::from([10, 0, 0, 1])].into(), ..Identity::default() };
    rib.set_identity(ours.clone());
    assert_eq!(rejected(&mut rib), [(PeerId(0), Rejection::OwnVtep)]);
    assert_eq!(station_of(&rib), Some(IpAddr::from([10, 0, 0, 2])));
    rib.set_identity(ours);
    assert_eq!(rejected(&mut rib), [], "known");
    rib.set_identity(Identity::default());
    assert_eq!((rejected(&mut rib), station_of(&rib)), (vec![], Some(IpAddr::from([10, 0, 0, 1]))));
    // Said again, it is told again.
    rib.set_overlays([]);
    rib.set_identity(Identity { vteps: [IpAddr::from([10, 0, 0, 1])].into(), ..Identity::default() });
    assert_eq!(rejected(&mut rib), [], "of an overlay that is not there");
    rib.set_overlays([(Vni::new(VNI).unwrap(), RouteTargets::Frr)]);
    assert_eq!(rejected(&mut rib), [(PeerId(0), Rejection::OwnVtep)]);
    rib.announce(PeerId(0), evpn_nlri(&said), at(1, (false, 0)), now);
    assert_eq!(rejected(&mut rib), [(PeerId(0), Rejection::OwnVtep)], "said again");
}

#[test]
fn an_endless_hold_ends_with_the_last_route() {
    let now = Instant::now();
    let policy = DuplicatePolicy { moves: 1, recovery: None, ..DuplicatePolicy::default() };
    let mut rib = Rib { overlays: Overlays::new(Identity::default(), policy), ..rib() };
    rib.set_overlays([(Vni::new(VNI).unwrap(), RouteTargets::Frr)]);
    let events = |rib: &mut Rib| {
        std::iter::from_fn(|| rib.poll()).filter(|told| matches!(told, Told::Event(_))).collect::<Vec<_>>()
    };
    for round in 0..3 {
        for (peer, sequence) in [(0, 0), (1, 1)] {
            let said = Said { peer, rd: peer as u8, ip: None, attributes: None };
            rib.announce(PeerId(peer), evpn_nlri(&said), at(1 + peer as u8, (false, sequence)), now);
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
        let good = evpn.iter().filter(|said| said.attributes.as_ref().is_some_and(Attributes::allows_vxlan));
        let addresses: BTreeSet<_> = good.filter_map(|said| said.ip).map(|last| IpAddr::from([10, 1, 0, last])).collect();
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
