//! A station has no more routes than are kept, and peers share them.

use super::*;

const MOST: usize = 64;

/// A route of the station, in an overlay.
fn route(vni: u32, rd: u8, ip: Option<u8>) -> Nlri {
    let mut nlri = evpn_nlri(&Said { peer: 0, rd, ip, attributes: None });
    let Nlri::Evpn(routes) = &mut nlri else { unreachable!() };
    let EvpnRoute::MacIp(route) = &mut routes[0] else { unreachable!() };
    route.label1 = MplsLabel::new(vni);
    nlri
}

/// Of each peer, how many routes count that are the best by its word.
fn places(rib: &Rib) -> [usize; 2] {
    let mut places = [0; 2];
    for route in rib.routes(Family::Evpn).filter(|route| route.vni.is_some()) {
        places[usize::from(route.paths[0].peer.0)] += 1;
    }
    places
}

fn too_many(peer: PeerId, count: usize) -> Vec<(PeerId, Rejection)> {
    vec![(peer, Rejection::TooManyRoutes); count]
}

#[test]
fn whoever_makes_up_routes_shuts_nobody_out() {
    let (mut rib, now) = (rib(), Instant::now());
    let (liar, honest) = (PeerId(0), PeerId(1));
    let lie = |rib: &mut Rib| {
        (0..200).for_each(|rd| rib.announce(liar, route(VNI, rd, None), at(1, (false, 0)), now));
    };
    lie(&mut rib);
    assert_eq!((places(&rib), rejected(&mut rib)), ([MOST, 0], too_many(liar, 200 - MOST)));
    let say = |rib: &mut Rib, ip| rib.announce(honest, route(VNI, 250, Some(ip)), at(2, (false, 1)), now);
    say(&mut rib, 0);
    assert_eq!(station_of(&rib), Some(IpAddr::from([10, 0, 0, 2])));
    assert_eq!((places(&rib), rejected(&mut rib)), ([MOST - 1, 1], too_many(liar, 1)));
    // Each has half of them, whoever says more, and however often.
    (1..40).for_each(|ip| say(&mut rib, ip));
    let told = [too_many(liar, MOST / 2 - 1), too_many(honest, 8)].concat();
    assert_eq!((places(&rib), rejected(&mut rib)), ([MOST / 2; 2], told));
    lie(&mut rib);
    assert_eq!(places(&rib), [MOST / 2; 2]);
    assert!(rejected(&mut rib).iter().all(|(peer, _)| *peer == liar));
    let soon = now + std::time::Duration::from_secs(10);
    assert!(rib.deadline().is_none_or(|due| due > soon), "places that change hands are no room");
    // What goes makes room, some time later.
    (0..10).for_each(|ip| rib.withdraw(honest, &route(VNI, 250, Some(ip)), now));
    assert_eq!(places(&rib), [MOST / 2, MOST / 2 - 10]);
    rib.handle_timeout(rib.deadline().unwrap());
    assert!(rejected(&mut rib).iter().all(|(peer, _)| *peer == liar));
    assert_eq!(places(&rib), [MOST - 30, 30], "all that it has");
}

#[test]
fn routes_of_two_reflectors_take_no_places_from_each_other() {
    let (mut rib, now) = (rib(), Instant::now());
    for peer in [PeerId(0), PeerId(1)] {
        (0..70).for_each(|ip| rib.announce(peer, route(VNI, 1, Some(ip)), at(1, (false, 0)), now));
        assert_eq!(rejected(&mut rib), too_many(peer, 70 - MOST));
        assert_eq!(places(&rib).iter().sum::<usize>(), MOST);
    }
    let counts = |route: &show::RouteView| route.vni.is_some();
    let refused = rib.routes(Family::Evpn).find(|route| !counts(route)).unwrap();
    assert_eq!(refused.paths.len(), 2);
    assert!(refused.paths.iter().all(|path| path.why.is_some()), "none of its paths is best");
}

#[test]
fn a_full_station_of_another_overlay_hides_none() {
    let (mut rib, now) = (rib(), Instant::now());
    let (liar, honest) = (PeerId(0), PeerId(1));
    rib.set_overlays([VNI, VNI + 1].map(|vni| (Vni::new(vni).unwrap(), RouteTargets::Frr)));
    let mut other = at(1, (true, 9));
    other.extended[0] = ExtendedCommunity::new(0x0002_fde8_0000_0000 | u64::from(VNI + 1));
    (0..MOST as u8).for_each(|rd| rib.announce(liar, route(VNI + 1, rd, None), other.clone(), now));
    rib.announce(honest, route(VNI, 250, None), at(2, (false, 0)), now);
    rib.announce(liar, route(VNI + 1, 250, None), other, now);
    assert_eq!(station_of(&rib), Some(IpAddr::from([10, 0, 0, 2])));
    assert_eq!(rejected(&mut rib), too_many(liar, 1));
}
