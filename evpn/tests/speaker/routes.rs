//! Routes: which count, where stations are, and what is told.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::support::scripted::{OWN, PEER, Scripted, evpn_update, mac_route};
use crate::support::{ASN, Sim, mac, vni};
use evpn::{Change, Event, Family, Identity, PrefixAttributes, Reach, Rejection, RouteTargets, Step};
use rustbgpd_wire::{ExtendedCommunity, Message, PathAttribute};
use wire::MacAddr;

const STATION: [u8; 6] = [2, 0, 0, 0, 0, 1];
const SHARED: [u8; 6] = [2, 0, 0x5e, 0, 0, 1];

fn station(scripted: &Scripted) -> Option<IpAddr> {
    scripted.speaker.station(vni(1), MacAddr(STATION)).map(|station| station.endpoint)
}

fn reach(number: u32, endpoint: IpAddr) -> Reach {
    Reach {
        vni: vni(1),
        mac: mac(number),
        ip: None,
        endpoint,
        sequence: 0,
        sticky: false,
        default_gateway: false,
        router: false,
        local_pref: None,
    }
}

#[test]
fn our_own_routes_that_come_back_are_counted_and_no_more() {
    let own = |scripted: &Scripted| scripted.speaker.peers().next().unwrap().own_routes;
    let mut scripted = Scripted::up(|_| {}, |_| {});
    let mut attributes = mac_route(1, STATION, None, PEER.into());
    scripted.update(&attributes);
    assert_eq!((own(&scripted), scripted.speaker.stations()), (0, 1));
    scripted.events.clear();
    attributes.push(PathAttribute::OriginatorId(OWN));
    (0..3).for_each(|_| scripted.update(&attributes));
    // It takes the place of what the peer said before.
    assert_eq!((own(&scripted), scripted.speaker.stations(), scripted.routes()), (3, 0, 0));
    assert_eq!(scripted.events, []);
    // Each session counts anew.
    scripted.lose_connection();
    scripted.again(|_| {});
    assert_eq!(own(&scripted), 0);
}

/// The same route with other communities.
fn with(mut attributes: Vec<PathAttribute>, communities: &[ExtendedCommunity]) -> Vec<PathAttribute> {
    for attribute in &mut attributes {
        if let PathAttribute::ExtendedCommunities(own) = attribute {
            own.extend_from_slice(communities);
        }
    }
    attributes
}

#[test]
fn routes_that_may_not_be_believed_are_refused_by_name() {
    let ip = None;
    let peer = IpAddr::from(PEER);
    let gateway = IpAddr::from([10, 0, 0, 77]);
    let mpls = |mut attributes: Vec<PathAttribute>| {
        if let PathAttribute::ExtendedCommunities(own) = &mut attributes[3] {
            own[1] = ExtendedCommunity::bgp_encapsulation(10);
        }
        attributes
    };
    let cases = [
        (mac_route(1, STATION, ip, peer), None),
        (mac_route(0, STATION, ip, peer), Some(Rejection::VniZero)),
        (mac_route(1, [1, 0, 0x5e, 0, 0, 1], ip, peer), Some(Rejection::NoStationMac)),
        (mac_route(1, [0; 6], ip, peer), Some(Rejection::NoStationMac)),
        (mac_route(1, STATION, ip, OWN.into()), Some(Rejection::OwnVtep)),
        (mac_route(1, STATION, ip, IpAddr::V6(OWN.to_ipv6_mapped())), Some(Rejection::NoVtep)),
        (mac_route(1, SHARED, ip, peer), Some(Rejection::SharedMacStranger)),
        (mac_route(1, SHARED, ip, gateway), None),
        (mpls(mac_route(1, STATION, ip, peer)), Some(Rejection::Encapsulation)),
    ];
    for (attributes, reason) in cases {
        let mut scripted = Scripted::up(|_| {}, |_| {});
        scripted.speaker.set_identity(Identity {
            vteps: [OWN.into()].into(),
            shared_macs: [MacAddr(SHARED)].into(),
            cluster: [gateway].into(),
            segment: None,
        });
        scripted.update(&attributes);
        assert_eq!(scripted.rejections().first().copied(), reason);
        assert_eq!(scripted.speaker.stations(), usize::from(reason.is_none()), "{reason:?}");
        assert_eq!(scripted.routes(), 1, "it is kept to be shown");
    }
    // An overlay that is not ours is nothing to tell of.
    let mut scripted = Scripted::up(|_| {}, |_| {});
    scripted.update(&mac_route(9, STATION, ip, peer));
    assert_eq!((scripted.rejections().len(), scripted.speaker.stations(), scripted.routes()), (0, 0, 1));
    // Nor is the right VNI with another overlay's target.
    let mut foreign = mac_route(1, STATION, ip, peer);
    foreign[3] = PathAttribute::ExtendedCommunities(vec![ExtendedCommunity::new(0x0002_fde8_0000_0002)]);
    scripted.update(&foreign);
    assert_eq!((scripted.rejections().len(), scripted.speaker.stations()), (0, 0));
}

#[test]
fn the_sequence_of_a_shared_mac_is_told_whoever_announces_it() {
    let mut scripted = Scripted::up(|_| {}, |_| {});
    let gateway = IpAddr::from([10, 0, 0, 77]);
    scripted.speaker.set_identity(Identity {
        vteps: [OWN.into()].into(),
        shared_macs: [MacAddr(SHARED)].into(),
        cluster: [gateway].into(),
        ..Identity::default()
    });
    let at = |sequence: u32, vni, endpoint| {
        let mut attributes = mac_route(vni, SHARED, None, endpoint);
        if let PathAttribute::ExtendedCommunities(own) = &mut attributes[3] {
            own.push(ExtendedCommunity::mac_mobility(false, sequence));
        }
        attributes
    };
    scripted.update(&mac_route(1, SHARED, None, gateway));
    scripted.update(&at(7, 1, gateway));
    // Not believed, but endpoints may have it.
    scripted.update(&at(9, 1, PEER.into()));
    // Another overlay, and a station.
    scripted.update(&at(11, 9, gateway));
    scripted.update(&mac_route(1, STATION, None, PEER.into()));
    let told: Vec<_> = scripted
        .changes
        .iter()
        .filter_map(|change| match change {
            Change::SharedMac { vni, sequence } => Some((*vni, *sequence)),
            _ => None,
        })
        .collect();
    assert_eq!(told, [0, 7, 9].map(|sequence| (vni(1), sequence)));
}

#[test]
fn overlays_that_come_later_take_what_was_there() {
    let mut scripted = Scripted::up(|_| {}, |_| {});
    scripted.update(&mac_route(9, STATION, None, PEER.into()));
    scripted.speaker.set_overlays([(vni(9), RouteTargets::Frr)]);
    scripted.follow();
    assert!(scripted.changes.contains(&Change::Station {
        vni: vni(9),
        mac: MacAddr(STATION),
        endpoint: PEER.into(),
        sticky: false,
        default_gateway: false,
    }));
    scripted.speaker.set_overlays([]);
    scripted.follow();
    assert_eq!(scripted.changes.last(), Some(&Change::StationGone { vni: vni(9), mac: MacAddr(STATION) }));
}

#[test]
fn a_station_roams_with_its_addresses() {
    let mut sim = Sim::new(1);
    let nodes: Vec<_> = (0..3).map(|_| sim.add(ASN)).collect();
    nodes.iter().for_each(|&a| nodes.iter().filter(|&&b| a < b).for_each(|&b| sim.peer(a, b, |_, _| {})));
    sim.start();
    let (old, new) = (sim.nodes[1].address, sim.nodes[2].address);
    let ip: IpAddr = "10.1.0.5".parse().unwrap();
    sim.nodes[1].speaker.reach(&Reach { ip: Some(ip), ..reach(5, old) });
    sim.follow(1);
    let at = |sim: &Sim| sim.nodes[0].view.stations.get(&(vni(1), mac(5))).copied();
    sim.run_until(Duration::from_secs(30), |sim| at(sim) == Some(old));
    // The new endpoint knows the MAC address alone.
    sim.nodes[2].speaker.reach(&Reach { sequence: 1, ..reach(5, new) });
    sim.follow(2);
    sim.run_until(Duration::from_secs(5), |sim| at(sim) == Some(new));
    assert!(sim.nodes[0].view.addresses.contains(&(vni(1), mac(5), ip)), "its address is not lost meanwhile");
    sim.nodes[1].speaker.unreach(vni(1), mac(5), Some(ip));
    sim.follow(1);
    sim.run(Duration::from_secs(1));
    assert!(sim.nodes[0].view.addresses.is_empty() && at(&sim) == Some(new));
}

#[test]
fn a_station_that_jumps_too_often_is_held_until_it_is_quiet() {
    let mut sim = Sim::new(1);
    let nodes: Vec<_> = (0..3).map(|_| sim.add(ASN)).collect();
    nodes.iter().for_each(|&a| nodes.iter().filter(|&&b| a < b).for_each(|&b| sim.peer(a, b, |_, _| {})));
    sim.start();
    sim.run(Duration::from_secs(30));
    for sequence in 1..=12 {
        let node = 1 + sequence as usize % 2;
        let endpoint = sim.nodes[node].address;
        sim.nodes[node].speaker.reach(&Reach { sequence, ..reach(5, endpoint) });
        sim.follow(node);
        sim.run(Duration::from_secs(1));
    }
    let told = |sim: &Sim, duplicate: bool| {
        let is = |event: &Event| match event {
            Event::Duplicate { .. } => duplicate,
            Event::Recovered { .. } => !duplicate,
            _ => false,
        };
        sim.nodes[0].events.iter().filter(|event| is(event)).count()
    };
    assert_eq!((told(&sim, true), told(&sim, false)), (1, 0));
    let view = sim.nodes[0].speaker.station(vni(1), mac(5)).unwrap();
    // Five moves were one too many: at node 2 first, then 1, 2, 1, 2, and the fifth back to 1 was not made.
    assert!(view.held && view.endpoint == sim.nodes[2].address, "{view:?}");
    sim.run(Duration::from_secs(200));
    assert_eq!(told(&sim, false), 1);
    let view = sim.nodes[0].speaker.station(vni(1), mac(5)).unwrap();
    assert!(!view.held && view.sequence == 12 && view.endpoint == sim.nodes[1].address, "{view:?}");
}

#[test]
fn a_held_station_is_never_left_where_nobody_announces_it() {
    let mut scripted = Scripted::up(|_| {}, |_| {});
    // The same route (one RD), moved by its gateways: each replaces the other.
    for number in 1..20_u8 {
        scripted.update(&mac_route(1, STATION, None, IpAddr::from([10, 0, 0, 100 + number])));
        assert_eq!(station(&scripted), Some(IpAddr::from([10, 0, 0, 100 + number])));
    }
    assert!(scripted.events.iter().any(|event| matches!(event, Event::Duplicate { .. })));
}

#[test]
fn why_a_path_lost_is_told() {
    let mut sim = Sim::new(1);
    let nodes: Vec<_> = (0..3).map(|_| sim.add(ASN)).collect();
    nodes.iter().for_each(|&a| nodes.iter().filter(|&&b| a < b).for_each(|&b| sim.peer(a, b, |_, _| {})));
    sim.start();
    for (node, med, local_pref) in [(1, 5, 100), (2, 3, 100)] {
        let next_hop = sim.nodes[node].address;
        let attributes =
            PrefixAttributes { next_hop, med: Some(med), local_pref: Some(local_pref), communities: vec![] };
        sim.nodes[node].speaker.announce_prefix("192.0.2.0/24".parse().unwrap(), attributes);
        sim.follow(node);
    }
    sim.run_until(Duration::from_secs(60), |sim| {
        sim.nodes[0].speaker.routes(Family::Ipv4).any(|route| route.paths.len() == 2)
    });
    let route = sim.nodes[0].speaker.routes(Family::Ipv4).next().unwrap();
    assert_eq!((route.route.as_str(), route.paths[0].why.as_ref()), ("192.0.2.0/24", None));
    let why = route.paths[1].why.as_ref().unwrap();
    assert_eq!((why.step, why.better.as_str(), why.worse.as_str()), (Step::Med, "3", "5"));
}

#[test]
fn a_peer_that_reads_slowly_is_told_the_latest_alone() {
    let mut scripted = Scripted::up(|_| {}, |_| {});
    scripted.heard();
    for sequence in 1..=1000 {
        scripted.speaker.reach(&Reach { sequence, ..reach(1, OWN.into()) });
    }
    scripted.speaker.reach(&reach(2, OWN.into()));
    scripted.speaker.unreach(vni(1), mac(2), None);
    let updates: Vec<_> = scripted
        .heard()
        .into_iter()
        .filter_map(|message| match message {
            Message::Update(update) => Some(update.parse(true, false, &[]).unwrap().attributes),
            _ => None,
        })
        .collect();
    assert_eq!(updates.len(), 2, "one announcement, one withdrawal");
    let mobility = updates.iter().flatten().find_map(|attribute| {
        attribute.extended_communities()?.iter().find_map(|community| community.as_mac_mobility())
    });
    assert_eq!(mobility, Some((false, 1000)));
}

#[test]
fn communities_of_a_router_are_written_and_read() {
    let mut sim = Sim::new(1);
    let (a, b) = (sim.add(ASN), sim.add(ASN));
    sim.peer(a, b, |_, _| {});
    sim.start();
    let endpoint = sim.nodes[a].address;
    let ip = "fe80::5eff:fe00:1".parse().unwrap();
    let router =
        Reach { ip: Some(ip), default_gateway: true, router: true, sticky: true, ..reach(1, endpoint) };
    sim.nodes[a].speaker.reach(&router);
    sim.follow(a);
    sim.run_until(Duration::from_secs(30), |sim| sim.nodes[b].speaker.stations() == 1);
    let route = sim.nodes[b].speaker.routes(Family::Evpn).next().unwrap();
    let attributes = &route.paths[0].attributes;
    assert!(attributes.is_default_gateway() && attributes.is_router() && attributes.allows_vxlan());
    assert_eq!(attributes.mobility(), (true, 0));
    // As RFC 7432 §7.8, RFC 9047 §2 and RFC 9012 §4.1 have them on the wire; the route target first.
    let raw: Vec<_> = attributes.extended.iter().map(|community| community.as_u64()).collect();
    assert_eq!(
        raw,
        [
            0x0002_fde8_0000_0001,
            0x030c_0000_0000_0008,
            0x0600_0100_0000_0000,
            0x030d_0000_0000_0000,
            0x0608_0100_0000_0000
        ]
    );
    assert_eq!(route.route, "[2]:[1:1]:[0]:[02:00:00:00:00:01]:[fe80::5eff:fe00:1]", "RD cluster:VNI");
}

#[test]
fn routes_of_other_types_and_unknown_ones_harm_nothing() {
    let mut scripted = Scripted::up(|_| {}, |_| {});
    let mut attributes = evpn_update(PEER.into(), vec![], vec![]);
    attributes.pop();
    let mut encoded = Vec::new();
    rustbgpd_wire::attribute::encode_path_attributes(&attributes, &mut encoded, true, false).unwrap();
    // MP_REACH with a route of type 99, three bytes long.
    encoded.extend([0x80, 14, 14, 0, 25, 70, 4, 10, 0, 0, 2, 0, 99, 3, 1, 2, 3]);
    scripted.say(&Message::Update(rustbgpd_wire::UpdateMessage {
        withdrawn_routes: bytes::Bytes::new(),
        path_attributes: encoded.into(),
        nlri: bytes::Bytes::new(),
    }));
    assert_eq!((scripted.heard_notification(), scripted.routes()), (None, 0));
}

#[test]
fn ipv6_vteps_are_told_to_those_alone_who_take_them() {
    for takes in [false, true] {
        let mut scripted = Scripted::up(|config| config.announce_ipv6_vtep = takes, |_| {});
        scripted.heard();
        let vtep = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]);
        let updates = |scripted: &mut Scripted| {
            scripted.heard().iter().filter(|message| matches!(message, Message::Update(_))).count()
        };
        scripted.speaker.join_flood(vni(1), vtep);
        scripted.speaker.reach(&reach(1, vtep));
        assert_eq!(
            updates(&mut scripted),
            if takes { 2 } else { 1 },
            "a withdrawal of the MAC address is harmless"
        );
        scripted.speaker.leave_flood(vni(1), vtep);
        assert_eq!(updates(&mut scripted), usize::from(takes));
    }
}

#[test]
fn an_ipv4_prefix_has_an_ipv6_next_hop_where_that_was_agreed() {
    let mut sim = Sim::new(1);
    let (a, b) = (sim.add(ASN), sim.add(ASN));
    sim.peer(a, b, |_, _| {});
    sim.start();
    let next_hop: IpAddr = "2001:db8::9".parse().unwrap();
    let attributes = PrefixAttributes { next_hop, med: None, local_pref: None, communities: vec![] };
    let prefix = "192.0.2.0/24".parse().unwrap();
    sim.nodes[a].speaker.announce_prefix(prefix, attributes.clone());
    sim.follow(a);
    sim.run_until(Duration::from_secs(30), |sim| sim.nodes[b].view.prefixes.get(&prefix) == Some(&next_hop));

    let both = |config: &mut evpn::PeerConfig| config.families = Family::ALL.to_vec();
    let mut scripted = Scripted::up(both, |_| {});
    scripted.heard();
    scripted.speaker.announce_prefix(prefix, attributes);
    let heard = scripted.heard();
    let announces = |message: &Message| match message {
        Message::Update(update) => !update.nlri.is_empty() || !update.path_attributes.is_empty(),
        _ => false,
    };
    assert!(!heard.iter().any(announces), "not agreed: {heard:?}");
}

#[test]
fn route_targets_that_change_are_told_anew_and_nothing_else_is() {
    let mut scripted = Scripted::up(|_| {}, |_| {});
    (1..=8).for_each(|number| scripted.speaker.join_flood(vni(number), OWN.into()));
    scripted.heard();
    let overlays = (1..=8)
        .map(|number| (vni(number), if number == 3 { RouteTargets::Rfc8365 } else { RouteTargets::Frr }));
    scripted.speaker.set_overlays(overlays);
    let heard = scripted.heard();
    assert_eq!(heard.len(), 1, "{heard:?}");
}

#[test]
fn a_station_has_no_more_routes_than_are_kept() {
    let mut scripted = Scripted::up(|_| {}, |_| {});
    for number in 0..200 {
        let ip = Ipv4Addr::new(10, 1, 0, number).into();
        scripted.update(&with(mac_route(1, STATION, Some(ip), PEER.into()), &[]));
    }
    let addresses = scripted.changes.iter().filter(|change| matches!(change, Change::Address { .. })).count();
    assert_eq!(addresses, 64);
    assert_eq!(scripted.rejections(), vec![Rejection::TooManyRoutes; 136]);
}

#[test]
fn routes_that_were_too_many_count_when_there_is_room() {
    let mut scripted = Scripted::up(|_| {}, |_| {});
    let route = |number: u8| mac_route(1, STATION, Some(Ipv4Addr::new(10, 1, 0, number).into()), PEER.into());
    // Another that does not count, and never will.
    scripted.update(&mac_route(9, STATION, None, PEER.into()));
    (0..67).for_each(|number| scripted.update(&route(number)));
    assert_eq!(scripted.rejections(), [Rejection::TooManyRoutes; 3]);
    let withdraw = |scripted: &mut Scripted, number: u8| {
        let mut routes = route(number);
        let Some(PathAttribute::MpReachNlri(reach)) = routes.pop() else { panic!() };
        scripted.update(&[PathAttribute::MpUnreachNlri(Box::new(rustbgpd_wire::MpUnreachNlri {
            afi: reach.afi,
            safi: reach.safi,
            withdrawn: Vec::new(),
            flowspec_withdrawn: Vec::new(),
            evpn_withdrawn: reach.evpn_announced,
            bgpls_withdrawn: Vec::new(),
            vpn_withdrawn: Vec::new(),
            labeled_withdrawn: Vec::new(),
            rtc_withdrawn: Vec::new(),
        }))]);
    };
    let come = |scripted: &Scripted| {
        scripted.changes.iter().filter(|change| matches!(change, Change::Address { .. })).count()
    };
    // However often there is room: all routes are looked at after a while, and not each time.
    (0..2).for_each(|number| withdraw(&mut scripted, number));
    assert_eq!(come(&scripted), 64);
    scripted.wait(Duration::from_secs(6));
    assert_eq!(come(&scripted), 66, "two of the three");
    // It is still crowded.
    withdraw(&mut scripted, 2);
    scripted.wait(Duration::from_secs(6));
    assert_eq!(come(&scripted), 67);
    // And then no longer.
    withdraw(&mut scripted, 3);
    let next = scripted.now + Duration::from_secs(10);
    assert!(scripted.speaker.deadline().is_none_or(|due| due > next));
}

#[test]
fn the_router_flag_is_told_to_those_alone_who_take_it() {
    for takes in [false, true] {
        let mut scripted = Scripted::up(|config| config.announce_router_flag = takes, |_| {});
        scripted.heard();
        let ip = Some("10.1.0.1".parse().unwrap());
        scripted.speaker.reach(&Reach { ip, router: true, default_gateway: true, ..reach(1, OWN.into()) });
        let heard = scripted.heard();
        let [Message::Update(update)] = &heard[..] else { panic!("{heard:?}") };
        let attributes = update.parse(true, false, &[]).unwrap().attributes;
        let mut communities = attributes.iter().filter_map(PathAttribute::extended_communities).flatten();
        assert!(communities.clone().any(|community| community.as_default_gateway()));
        assert_eq!(communities.any(|community| community.as_u64() == 0x0608_0100_0000_0000), takes);
    }
}

#[test]
fn prefixes_and_host_routes_are_told_to_those_that_want_them() {
    for (prefixes, host_routes) in [(true, false), (false, true), (false, false)] {
        let choose = |config: &mut evpn::PeerConfig| {
            config.families = vec![Family::Ipv4, Family::Ipv6];
            (config.announce_prefixes, config.announce_host_routes) = (prefixes, host_routes);
        };
        let mut scripted = Scripted::up(choose, |_| {});
        scripted.heard();
        let attributes =
            PrefixAttributes { next_hop: OWN.into(), med: None, local_pref: None, communities: vec![] };
        let (prefix, host) = ("192.0.2.0/24".parse().unwrap(), Ipv4Addr::new(198, 51, 100, 7).into());
        scripted.speaker.announce_prefix(prefix, attributes.clone());
        scripted.speaker.announce_host_route(host, attributes);
        let told = |scripted: &mut Scripted| -> Vec<(Vec<u8>, Vec<u8>)> {
            let update = |message| match message {
                Message::Update(update) => Some((update.nlri.to_vec(), update.withdrawn_routes.to_vec())),
                _ => None,
            };
            scripted.heard().into_iter().filter_map(update).collect()
        };
        let wanted = match (prefixes, host_routes) {
            (true, false) => vec![vec![24, 192, 0, 2]],
            (false, true) => vec![vec![32, 198, 51, 100, 7]],
            _ => vec![],
        };
        let announced: Vec<_> = wanted.iter().map(|nlri| (nlri.clone(), vec![])).collect();
        assert_eq!(told(&mut scripted), announced);
        scripted.speaker.withdraw_prefix(prefix);
        scripted.speaker.withdraw_host_route(host);
        let withdrawn: Vec<_> = wanted.into_iter().map(|nlri| (vec![], nlri)).collect();
        assert_eq!(told(&mut scripted), withdrawn);
    }
}
