//! Links go and come back, and it shows whether all is there again.

use super::*;

const UNDERLAY: PortIndex = PortIndex(0);
const ENDPOINT: &str = "198.18.0.11";
const ROUTER: &str = "198.19.0.2";

fn neighbour(address: &str, state: Reachability) -> Neighbour {
    let link = if address == ENDPOINT { 10 } else { 11 };
    Neighbour { key: NeighbourKey { link, address: ip(address) }, state, fixed: false, ours: true }
}

/// Whether underlay and uplink are complete, and the routers.
fn seen(mirror: &Mirror) -> (bool, bool, Routers) {
    mirror.publish();
    let outlook = &mirror.outlook;
    (outlook.is_complete(UNDERLAY), outlook.is_complete(UPLINK), outlook.routers())
}

fn known(mirror: &mut Mirror, address: &str) {
    mirror.neighbour(neighbour(address, Reachability::Known(MAC)));
}

fn with_neighbours() -> Mirror {
    let mut mirror = started();
    assert_eq!(seen(&mirror), (false, false, Routers::Asked));
    known(&mut mirror, ENDPOINT);
    assert_eq!(seen(&mirror), (true, false, Routers::Asked));
    known(&mut mirror, ROUTER);
    assert_eq!(seen(&mirror), (true, true, Routers::Alive));
    mirror
}

#[test]
fn a_port_that_was_down_is_complete_when_its_router_is_found_by_a_route() {
    let mut mirror = with_neighbours();
    mirror.link(&Link { carrier: false, ..link(11) });
    assert_eq!(seen(&mirror), (true, false, Routers::Alive));
    mirror.neighbour_gone(NeighbourKey { link: 11, address: ip(ROUTER) });
    let mut without = tables();
    without.routes.retain(|route| route.prefix.prefix_len() != 0);
    // Carrier and all, but for the default route, which somebody has to install again.
    mirror.link(&link(11));
    mirror.tables(&without);
    assert_eq!(seen(&mirror), (true, false, Routers::None));
    assert!(!seen(&mirror).1);
    known(&mut mirror, ROUTER);
    assert!(!seen(&mirror).1, "nothing leads to it yet");
    mirror.tables(&tables());
    assert_eq!(seen(&mirror), (true, true, Routers::Alive));
}

#[test]
fn what_the_kernel_has_not_forgotten_is_asked_anew() {
    let mut mirror = with_neighbours();
    mirror.link(&Link { carrier: false, ..link(10) });
    mirror.link(&link(10));
    assert!(!seen(&mirror).0);
    mirror.neighbour(neighbour(ENDPOINT, Reachability::Unresolved));
    assert!(!seen(&mirror).0, "it is being asked");
    known(&mut mirror, ENDPOINT);
    assert!(seen(&mirror).0);
}

#[test]
fn an_endpoint_that_never_answered_is_not_waited_for_when_it_is_gone() {
    let mut mirror = started();
    assert!(!seen(&mirror).0);
    mirror.set_endpoints(&[]);
    mirror.tables(&tables());
    assert!(seen(&mirror).0);
}

#[test]
fn a_router_that_does_not_answer_is_dead() {
    let mut mirror = with_neighbours();
    mirror.neighbour(neighbour(ROUTER, Reachability::Failed));
    assert_eq!(seen(&mirror), (true, true, Routers::Dead));
    known(&mut mirror, ROUTER);
    assert_eq!(seen(&mirror).2, Routers::Alive);
}

#[test]
fn a_port_needs_its_addresses_and_may_not_share_them() {
    let config = Config {
        ports: vec![PortConfig { addresses: vec![ip("2001:db8::1")], ..config().ports[0].clone() }],
        ..config()
    };
    let mut mirror = self::mirror(&config);
    let complete = |mirror: &mut Mirror, address: Option<bool>| {
        let address = address.map(|tentative| Address {
            link: 10,
            address: ip("2001:db8::1"),
            global: true,
            tentative,
        });
        let tables = Tables { links: vec![link(10)], addresses: Vec::from_iter(address), routes: Vec::new() };
        mirror.tables(&tables);
        seen(mirror).0
    };
    assert!(complete(&mut mirror, Some(false)));
    assert!(!complete(&mut mirror, None), "it is gone");
    assert!(!complete(&mut mirror, Some(true)), "somebody may have it");
    assert!(complete(&mut mirror, Some(false)));
}

#[test]
fn configured_routers_and_tracks_are_looked_at() {
    let watched = Watched {
        routers: Some(vec![(1, ip("198.19.0.9"))]),
        links: vec![(0, "port11".into())],
        routes: vec![(1, "0.0.0.0/0".parse().unwrap())],
    };
    let outlook = Arc::new(Outlook::new(2, 2, ["link".to_owned(), "route".to_owned()]));
    let mut mirror = Mirror::new(&config(), watched, Arc::clone(&outlook));
    let failed = || outlook.failed_tracks().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(failed(), ["link", "route"], "not seen yet");
    let installed = words(mirror.resync(&tables(), &[]));
    assert!(installed.contains(&"install 198.19.0.9 on 11".into()), "{installed:?}");
    mirror.publish();
    assert_eq!((failed().len(), outlook.router(1)), (0, Routers::Asked));
    known(&mut mirror, "198.19.0.9");
    mirror.publish();
    assert_eq!((outlook.router(0), outlook.router(1)), (Routers::Asked, Routers::Alive));

    let mut without = tables();
    without.links[1].carrier = false;
    mirror.tables(&without);
    assert_eq!(failed(), ["link"]);
    without.links.pop();
    let blackhole = KernelRoute { kind: RouteKind::Blackhole, ..route("0.0.0.0/0", 11, "") };
    without.routes[0] = blackhole;
    mirror.tables(&without);
    assert_eq!(failed(), ["link", "route"]);
    mirror.tables(&tables());
    assert_eq!(failed().len(), 0);
}
