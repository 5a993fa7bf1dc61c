//! What the network announces: stations, addresses and endpoints that come, move and go.

use wire::Vni;

use super::*;

const MAC: MacAddr = MacAddr([2, 0, 0, 0, 7, 1]);
const OTHER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 7, 2]);
const ADDRESS: [&str; 2] = ["10.0.1.88", "fd00:0:0:1::88"];
/// An endpoint that the configuration does not know.
const NEW_ENDPOINT: &str = "198.18.0.13";

fn vni() -> Vni {
    Vni::new(100).unwrap()
}

fn placed(mac: MacAddr, endpoint: &str) -> Announcement {
    Announcement::Station { vni: vni(), mac, endpoint: address(endpoint) }
}

fn gone(mac: MacAddr) -> Announcement {
    Announcement::StationGone { vni: vni(), mac }
}

fn has(mac: MacAddr, own: &str) -> Announcement {
    Announcement::Address { vni: vni(), mac, address: address(own) }
}

fn has_not(mac: MacAddr, own: &str) -> Announcement {
    Announcement::AddressGone { vni: vni(), mac, address: address(own) }
}

fn announce(gateway: &mut Harness, announcements: &[Announcement]) {
    gateway.apply([Update::Announced(announcements.to_vec())]);
}

/// The way to an endpoint, as control tells it.
fn resolved(endpoint: &str) -> [Update; 2] {
    let next_hop = NextHop { port: UNDERLAY, address: address(endpoint) };
    let paths = [Path::via(next_hop)].into();
    [
        Update::Endpoint { address: next_hop.address, paths },
        Update::Neighbour { next_hop, mac: Some(ENDPOINT_MAC) },
    ]
}

/// To which endpoint and station a packet for the address goes, at once.
#[track_caller]
fn way_to(gateway: &mut Harness, destination: &str) -> Option<(IpAddr, MacAddr)> {
    let out = heard(&call(gateway, destination, 1));
    match &out[..] {
        [Heard { endpoint, macs: (ROUTER_MAC, mac), message: Message::Packet { .. }, .. }] => {
            Some((*endpoint, *mac))
        }
        _ => None,
    }
}

fn endpoints(gateway: &Harness) -> Vec<IpAddr> {
    let mut endpoints: Vec<_> = gateway.slow_path.tables().endpoints.iter().map(|e| e.address).collect();
    endpoints.sort_unstable();
    endpoints
}

#[test]
fn an_announced_station_is_reached_without_being_asked() {
    let mut gateway = gateway();
    announce(&mut gateway, &[placed(MAC, ENDPOINT_V6), has(MAC, ADDRESS[0]), has(MAC, ADDRESS[1])]);
    for family in BOTH {
        assert_eq!(way_to(&mut gateway, ADDRESS[family]), Some((address(ENDPOINT_V6), MAC)));
        let udp = Udp::from_station(ADDRESS[family], OUTSIDE[family]).macs(MAC, ROUTER_MAC);
        assert_eq!(outside(&say(&mut gateway, ENDPOINT_V6, &udp.frame())).len(), 1);
    }
    assert_eq!(gateway.count(Reason::EgressElsewhere), 0);
    announce(&mut gateway, &[has_not(MAC, ADDRESS[0])]);
    assert_eq!(way_to(&mut gateway, ADDRESS[0]), None);
    assert_eq!(state(&mut gateway, ADDRESS[0]), Some((NeighbourState::Incomplete, None)), "asked for");
    announce(&mut gateway, &[gone(MAC)]);
    assert_eq!(way_to(&mut gateway, ADDRESS[1]), None);
    assert_eq!(gateway.slow_path.announced_statistics(), AnnouncedStatistics::default());
}

#[test]
fn an_endpoint_comes_with_its_first_station_and_goes_with_its_last() {
    let mut gateway = gateway();
    let before = endpoints(&gateway);
    announce(&mut gateway, &[placed(MAC, NEW_ENDPOINT), has(MAC, ADDRESS[0])]);
    assert_eq!(gateway.events.lock().unwrap().pop(), Some(Event::Endpoints));
    assert!(endpoints(&gateway).contains(&address(NEW_ENDPOINT)));
    assert_eq!(way_to(&mut gateway, ADDRESS[0]), None, "nobody knows the way yet");
    gateway.apply(resolved(NEW_ENDPOINT));
    assert_eq!(way_to(&mut gateway, ADDRESS[0]), Some((address(NEW_ENDPOINT), MAC)));
    announce(&mut gateway, &[placed(OTHER_MAC, NEW_ENDPOINT), gone(MAC)]);
    assert!(endpoints(&gateway).contains(&address(NEW_ENDPOINT)));
    announce(&mut gateway, &[placed(OTHER_MAC, ENDPOINT_V4)]);
    assert_eq!(endpoints(&gateway), before);
    assert_eq!(gateway.events.lock().unwrap().pop(), Some(Event::Endpoints));
}

/// A worker that has not looked at the tables since must not take one endpoint for another.
#[test]
fn an_index_is_used_again_when_no_worker_can_mistake_it() {
    let mut gateway = gateway();
    let index =
        |gateway: &Harness, endpoint| gateway.slow_path.tables().endpoints.index_of(address(endpoint));
    announce(&mut gateway, &[placed(MAC, NEW_ENDPOINT)]);
    let first = index(&gateway, NEW_ENDPOINT).unwrap();
    gateway.worker.round();
    let held = gateway.slow_path.published();
    announce(&mut gateway, &[gone(MAC)]);
    announce(&mut gateway, &[placed(MAC, "198.18.0.14")]);
    assert_ne!(index(&gateway, "198.18.0.14"), Some(first), "somebody may read the tables of before");
    assert_eq!(held.endpoints.get(first).address, address(NEW_ENDPOINT));
    drop(held);
    // The worker's own look.
    gateway.deliver(UPLINK, &Udp::new(FROM_OUTSIDE, OUTSIDE[0], ADDRESS[0]).frame());
    gateway.worker.round();
    gateway.slow_path.take_punts();
    announce(&mut gateway, &[placed(OTHER_MAC, "198.18.0.15")]);
    assert_eq!(index(&gateway, "198.18.0.15"), Some(first));
}

#[test]
fn a_station_that_moves_takes_all_its_addresses_along() {
    let mut gateway = gateway();
    let learned = ["10.0.1.89", "fd00:0:0:1::89"];
    announce(&mut gateway, &[placed(MAC, ENDPOINT_V4), has(MAC, ADDRESS[0]), has(MAC, ADDRESS[1])]);
    for own in learned {
        say(&mut gateway, ENDPOINT_V4, &announces(MAC, own));
    }
    for own in ADDRESS.into_iter().chain(learned) {
        assert_eq!(way_to(&mut gateway, own), Some((address(ENDPOINT_V4), MAC)), "{own}");
    }
    announce(&mut gateway, &[placed(MAC, ENDPOINT_V6)]);
    for own in ADDRESS.into_iter().chain(learned) {
        assert_eq!(way_to(&mut gateway, own), Some((address(ENDPOINT_V6), MAC)), "{own}");
    }
    // What was learned goes with the station that it was learned of.
    announce(&mut gateway, &[gone(MAC)]);
    for own in learned {
        assert_eq!(way_to(&mut gateway, own), None);
    }
}

#[test]
fn what_waits_for_an_address_goes_when_it_is_announced() {
    for family in BOTH {
        let mut gateway = gateway();
        assert_eq!(heard(&call(&mut gateway, ADDRESS[family], 7)), question(ADDRESS[family]));
        announce(&mut gateway, &[placed(MAC, ENDPOINT_V4), has(MAC, ADDRESS[family])]);
        let out = heard(&settle(&mut gateway));
        let [Heard { macs: (_, MAC), message: Message::Packet { payload, .. }, .. }] = &out[..] else {
            panic!("{out:?}")
        };
        assert_eq!(payload[0], 7);
        assert_eq!(statistics(&mut gateway).waiting, 0);
    }
}

#[test]
fn a_packet_that_was_on_its_way_to_be_asked_for_goes_too() {
    let mut gateway = gateway();
    gateway.deliver(UPLINK, &Udp::new(FROM_OUTSIDE, OUTSIDE[0], ADDRESS[0]).frame());
    gateway.worker.round();
    announce(&mut gateway, &[placed(MAC, ENDPOINT_V4), has(MAC, ADDRESS[0])]);
    let out = heard(&settle(&mut gateway));
    assert!(matches!(&out[..], [Heard { macs: (_, MAC), message: Message::Packet { .. }, .. }]), "{out:?}");
    assert_eq!(state(&mut gateway, ADDRESS[0]), None);
}

#[test]
fn what_is_configured_stays_whatever_is_announced() {
    let mut gateway = gateway();
    announce(
        &mut gateway,
        &[
            placed(STATION_MAC, ENDPOINT_V6),
            placed(MAC, ENDPOINT_V6),
            has(MAC, STATION[0]),
            has(STATION_MAC, STATION[1]),
            has(STATION_MAC, ADDRESS[0]),
        ],
    );
    assert_eq!(gateway.done(Deed::AnnouncedConflict), 2, "where the station is, and whose the address");
    for own in [STATION[0], STATION[1], ADDRESS[0]] {
        assert_eq!(way_to(&mut gateway, own), Some((address(ENDPOINT_V4), STATION_MAC)), "{own}");
    }
    announce(&mut gateway, &[gone(MAC), has_not(STATION_MAC, STATION[1]), gone(STATION_MAC)]);
    for own in STATION {
        assert_eq!(way_to(&mut gateway, own), Some((address(ENDPOINT_V4), STATION_MAC)));
    }
    assert_eq!(way_to(&mut gateway, ADDRESS[0]), None);
}

#[test]
fn what_is_learned_gives_way_to_what_is_announced() {
    let mut gateway = gateway();
    announce(&mut gateway, &[placed(MAC, ENDPOINT_V4), placed(OTHER_MAC, ENDPOINT_V6)]);
    for family in BOTH {
        say(&mut gateway, ENDPOINT_V4, &announces(MAC, ADDRESS[family]));
        assert_eq!(way_to(&mut gateway, ADDRESS[family]), Some((address(ENDPOINT_V4), MAC)));
        announce(&mut gateway, &[has(OTHER_MAC, ADDRESS[family])]);
        say(&mut gateway, ENDPOINT_V4, &announces(MAC, ADDRESS[family]));
        assert_eq!(way_to(&mut gateway, ADDRESS[family]), Some((address(ENDPOINT_V6), OTHER_MAC)));
        assert_eq!(state(&mut gateway, ADDRESS[family]), None, "nobody is asked about it");
    }
    assert_eq!(gateway.done(Deed::AddressConflict), 2);
}

#[test]
fn an_address_of_two_stations_is_the_last_ones_and_goes_back() {
    let mut gateway = gateway();
    announce(&mut gateway, &[placed(MAC, ENDPOINT_V4), placed(OTHER_MAC, ENDPOINT_V6)]);
    announce(&mut gateway, &[has(MAC, ADDRESS[0]), has(OTHER_MAC, ADDRESS[0])]);
    assert_eq!(way_to(&mut gateway, ADDRESS[0]), Some((address(ENDPOINT_V6), OTHER_MAC)));
    assert_eq!(gateway.slow_path.announced_statistics().contested, 1);
    // Where the first is makes no difference to the second.
    announce(&mut gateway, &[placed(MAC, ENDPOINT_V6), placed(MAC, ENDPOINT_V4)]);
    assert_eq!(way_to(&mut gateway, ADDRESS[0]), Some((address(ENDPOINT_V6), OTHER_MAC)));
    announce(&mut gateway, &[gone(OTHER_MAC)]);
    assert_eq!(way_to(&mut gateway, ADDRESS[0]), Some((address(ENDPOINT_V4), MAC)));
    assert_eq!(gateway.slow_path.announced_statistics().contested, 0);
}

#[test]
fn a_stranger_whose_route_comes_is_a_station_at_once() {
    let mut gateway = gateway();
    let start = Instant::now();
    let udp = Udp::from_station(ADDRESS[0], OUTSIDE[0]).macs(MAC, ROUTER_MAC);
    assert_eq!(outside(&say(&mut gateway, ENDPOINT_V4, &udp.frame())).len(), 1);
    assert_eq!(gateway.done(Deed::StrangerAdmitted), 1);
    announce(&mut gateway, &[placed(MAC, ENDPOINT_V4), has(MAC, ADDRESS[0])]);
    assert_eq!(way_to(&mut gateway, ADDRESS[0]), Some((address(ENDPOINT_V4), MAC)));
    // The end of its visit is not its end, and it may visit again.
    at(&mut gateway, start + Duration::from_secs(60));
    assert_eq!(way_to(&mut gateway, ADDRESS[0]), Some((address(ENDPOINT_V4), MAC)));
    announce(&mut gateway, &[gone(MAC)]);
    assert_eq!(outside(&say(&mut gateway, ENDPOINT_V4, &udp.frame())).len(), 1);
    assert_eq!(gateway.done(Deed::StrangerAdmitted), 2);
}

#[test]
fn an_endpoint_that_joins_is_let_in_and_asked_until_it_leaves() {
    let mut gateway = gateway();
    let member = |endpoint: &str| Announcement::Member { vni: vni(), endpoint: address(endpoint) };
    let left = |endpoint: &str| Announcement::MemberGone { vni: vni(), endpoint: address(endpoint) };
    let question = asks(MAC, ADDRESS[0], ROUTER[0]);
    assert_eq!(say(&mut gateway, NEW_ENDPOINT, &question), []);
    assert_eq!(gateway.count(Reason::UnknownEndpoint), 1);
    announce(&mut gateway, &[member(NEW_ENDPOINT), member(NEW_ENDPOINT)]);
    gateway.apply(resolved(NEW_ENDPOINT));
    assert_eq!(heard(&say(&mut gateway, NEW_ENDPOINT, &question)).len(), 1, "the answer to it");
    let asked = heard(&call(&mut gateway, "10.0.1.99", 1));
    assert!(asked.iter().any(|heard| heard.endpoint == address(NEW_ENDPOINT)));
    assert_eq!(asked.len(), 3);
    // It is one of overlay 100 alone.
    let mut out = gateway.send(UNDERLAY, &vxlan(NEW_ENDPOINT, 200, &asks(MAC, "10.0.2.9", "10.0.2.1")));
    out.extend(settle(&mut gateway));
    assert_eq!((out.len(), gateway.count(Reason::ForeignEndpoint)), (0, 1));
    announce(&mut gateway, &[left(NEW_ENDPOINT), left(ENDPOINT_V4)]);
    let asked: Vec<_> = heard(&call(&mut gateway, "10.0.1.98", 1)).iter().map(|h| h.endpoint).collect();
    assert_eq!(asked, [ENDPOINT_V4, ENDPOINT_V6].map(address), "who is configured stays");
    say(&mut gateway, NEW_ENDPOINT, &asks(OTHER_MAC, ADDRESS[0], ROUTER[0]));
    assert_eq!(gateway.count(Reason::ForeignEndpoint), 2, "its visitor keeps its index");
    at(&mut gateway, Instant::now() + Duration::from_secs(60));
    assert!(!endpoints(&gateway).contains(&address(NEW_ENDPOINT)));
}

#[test]
fn what_the_table_has_no_room_for_comes_when_there_is() {
    // Two stations with two addresses each, the newcomer, and room for one announced station with one address.
    let mut gateway = gateway_with(|config| config.max_flows = 9);
    announce(&mut gateway, &[placed(MAC, ENDPOINT_V4), has(MAC, ADDRESS[0])]);
    announce(&mut gateway, &[has(MAC, ADDRESS[1]), placed(OTHER_MAC, ENDPOINT_V6)]);
    announce(&mut gateway, &[has(OTHER_MAC, "10.0.1.90")]);
    assert_eq!(gateway.done(Deed::AnnouncedFull), 2);
    assert_eq!(gateway.slow_path.announced_statistics().lacking, 2);
    assert_eq!(way_to(&mut gateway, ADDRESS[0]), Some((address(ENDPOINT_V4), MAC)));
    announce(&mut gateway, &[gone(MAC)]);
    assert_eq!(way_to(&mut gateway, "10.0.1.90"), Some((address(ENDPOINT_V6), OTHER_MAC)));
    assert_eq!(gateway.slow_path.announced_statistics().lacking, 0);
}

#[test]
fn what_can_be_no_stations_is_not_believed() {
    let mut gateway = gateway_with(|config| config.overlays[0].own_mac = Some(OTHER_MAC));
    let link_local = ROUTER_MAC.link_local().to_string();
    let bad = ["10.0.1.1", "10.0.1.255", "10.0.2.7", "203.0.113.5", "fd00:0:0:1::1", "ff02::1", &link_local];
    let mut all = vec![placed(ROUTER_MAC, ENDPOINT_V4), placed(OTHER_MAC, ENDPOINT_V4)];
    all.extend([placed(MacAddr::BROADCAST, ENDPOINT_V4), placed(MAC, ENDPOINT_V4)]);
    all.extend(bad.map(|own| has(MAC, own)));
    announce(&mut gateway, &all);
    assert_eq!(gateway.done(Deed::AnnouncedBad), 3 + bad.len() as u64);
    let statistics = gateway.slow_path.announced_statistics();
    assert_eq!((statistics.stations, statistics.addresses), (1, 0));
    // Nor is anything of an overlay that is none.
    let vni = Vni::new(999).unwrap();
    announce(&mut gateway, &[Announcement::Station { vni, mac: MAC, endpoint: address(ENDPOINT_V4) }]);
    assert_eq!(gateway.slow_path.announced_statistics().stations, 1);
}

#[test]
fn an_endpoint_of_a_family_without_vtep_is_refused() {
    let mut gateway = gateway_with(|config| config.vteps.retain(IpAddr::is_ipv4));
    announce(&mut gateway, &[placed(MAC, "2001:db8:0:1::13"), has(MAC, ADDRESS[0])]);
    assert_eq!(gateway.done(Deed::EndpointRefused), 1);
    announce(&mut gateway, &[placed(MAC, ENDPOINT_V4)]);
    assert_eq!(way_to(&mut gateway, ADDRESS[0]), Some((address(ENDPOINT_V4), MAC)));
}
