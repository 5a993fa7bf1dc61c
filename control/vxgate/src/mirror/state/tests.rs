//! The kernel's tables change, and the engine is told what follows, once.

mod outlook;

use std::sync::Arc;

use engine::{Overlay, PortConfig};
use port::Polling;
use wire::Vni;

use super::*;
use crate::mirror::kernel::{Hop, KernelRoute, Link, Reachability, RouteKind};

const UPLINK: PortIndex = PortIndex(1);
const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 7]);

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn config() -> Config {
    let port = |ifindex: u32, role| PortConfig {
        interface: format!("port{ifindex}"),
        ifindex,
        role,
        addresses: Vec::new(),
        mac: MacAddr([2, 0, 0, 0, 1, ifindex as u8]),
        mtu: 1600,
        xdp: Default::default(),
        bind: Default::default(),
    };
    let endpoints: Arc<[IpAddr]> = Arc::new([ip("198.18.0.11"), ip("2001:db8::12")]);
    let overlay = |vni| Overlay {
        vni: Vni::new(vni).unwrap(),
        subnets: Vec::new(),
        endpoints: Arc::clone(&endpoints),
        mtu: 1500,
        owner: true,
        shard: None,
        own_mac: None,
        policy: Arc::default(),
    };
    Config {
        ports: vec![port(10, Role::Underlay), port(11, Role::Uplink)],
        vteps: Vec::new(),
        shards: Vec::new(),
        polling: Polling::Busy,
        workers: vec![None],
        router_mac: MacAddr([2, 0, 0x5e, 0, 0, 1]),
        blocks: vec!["10.0.0.0/8".parse().unwrap()],
        overlays: vec![overlay(1), overlay(2)],
        stations: Vec::new(),
        rules: Vec::new(),
        punt_limits: Default::default(),
        max_flows: 10,
        stale_after: None,
    }
}

fn link(index: u32) -> Link {
    Link {
        index,
        name: format!("port{index}"),
        up: true,
        carrier: true,
        mac: Some(MacAddr([2, 0, 0, 0, 1, index as u8])),
        mtu: 1600,
        rx_queues: 1,
        xdp_program: None,
    }
}

fn route(prefix: &str, link: u32, gateway: &str) -> KernelRoute {
    let hop = Hop { link, gateway: gateway.parse().ok(), usable: true, weight: 1 };
    let kind = RouteKind::Unicast(vec![hop]);
    KernelRoute { prefix: prefix.parse().unwrap(), metric: 0, protocol: 3, kind }
}

fn tables() -> Tables {
    Tables {
        links: vec![link(10), link(11)],
        addresses: vec![
            Address { link: 11, address: ip("198.19.0.1"), global: true, tentative: false },
            Address { link: 10, address: ip("198.18.0.1"), global: true, tentative: false },
        ],
        routes: vec![
            route("0.0.0.0/0", 11, "198.19.0.2"),
            route("198.18.0.0/24", 10, ""),
            route("198.19.0.0/24", 11, ""),
            KernelRoute { kind: RouteKind::Blackhole, ..route("10.0.0.0/8", 11, "") },
        ],
    }
}

/// What the operator is told.
fn warnings(actions: Vec<Action>) -> Vec<String> {
    let text = |action| if let Action::Warn(text) = action { Some(text) } else { None };
    actions.into_iter().filter_map(text).collect()
}

/// Actions but for warnings in words, sorted.
fn words(actions: Vec<Action>) -> Vec<String> {
    let mut words: Vec<String> = actions
        .into_iter()
        .filter(|action| !matches!(action, Action::Warn(_)))
        .map(|action| match action {
            Action::Warn(text) => text,
            Action::Install(key) => format!("install {} on {}", key.address, key.link),
            Action::Delete(key) => format!("delete {} on {}", key.address, key.link),
            Action::Blackhole(block) => format!("blackhole {block}"),
            Action::TryLater => "try later".into(),
            Action::Update(Update::Routes(routes)) => format!("{} routes", routes.len()),
            Action::Update(Update::Endpoint { address, paths }) => {
                let next_hops = paths.iter().map(|path| path.next_hop(address).address.to_string());
                let next_hops = next_hops.collect::<Vec<_>>().join(" and ");
                format!("{address} by {}", if next_hops.is_empty() { "nobody" } else { &next_hops })
            }
            Action::Update(Update::Neighbour { next_hop, mac }) => {
                format!("{} at {}", next_hop.address, mac.map_or("nowhere".into(), |mac| mac.to_string()))
            }
            Action::Update(Update::HostAddresses(addresses)) => format!("host {addresses:?}"),
            Action::Update(Update::Announced(some)) => format!("{} announcements", some.len()),
            Action::Update(Update::Bindings(bindings)) => format!("{} bindings", bindings.len()),
            Action::Update(Update::Responsibility(groups)) => format!("{} groups", groups.len()),
            Action::Update(Update::PortMac { port, mac }) => format!("port {} is {mac}", port.0),
            Action::Update(Update::PortState { port, is_up }) => {
                format!("port {} is {}", port.0, if is_up { "up" } else { "down" })
            }
        })
        .collect();
    words.sort();
    words
}

fn mirror(config: &Config) -> Mirror {
    let watched = Watched { routers: None, links: Vec::new(), routes: Vec::new() };
    Mirror::new(config, watched, Arc::new(Outlook::new(config.ports.len(), 1, [])))
}

fn started() -> Mirror {
    let mut mirror = self::mirror(&config());
    mirror.resync(&tables(), &[]);
    mirror
}

#[test]
fn at_the_start_the_engine_is_told_all() {
    let mut mirror = self::mirror(&config());
    let actions = words(mirror.resync(&tables(), &[]));
    let expected = [
        "198.18.0.11 by 198.18.0.11",
        "2001:db8::12 by nobody",
        "4 routes",
        "host [198.18.0.1, 198.19.0.1]",
        "install 198.18.0.11 on 10",
        "install 198.19.0.2 on 11",
    ];
    assert_eq!(actions, expected);
    assert!(mirror.tables(&tables()).is_empty(), "and only once");
}

#[test]
fn an_endpoint_follows_its_route() {
    let mut mirror = started();
    let mut tables = tables();
    tables.routes.push(route("198.18.0.11/32", 10, "198.18.0.254"));
    let expected =
        ["198.18.0.11 by 198.18.0.254", "5 routes", "delete 198.18.0.11 on 10", "install 198.18.0.254 on 10"];
    assert_eq!(words(mirror.tables(&tables)), expected);
    tables.routes.retain(|route| route.prefix.addr() == ip("0.0.0.0"));
    let actions = words(mirror.tables(&tables));
    assert!(actions.contains(&"198.18.0.11 by nobody".into()), "the default leads elsewhere: {actions:?}");
    assert!(actions.contains(&"delete 198.18.0.254 on 10".into()), "{actions:?}");
}

#[test]
fn endpoints_that_come_are_resolved_and_forgotten_when_they_go() {
    let mut mirror = started();
    let status = |address: &str, is_reachable| EndpointStatus { address: ip(address), is_reachable };
    let old = [status("198.18.0.11", true), status("2001:db8::12", false)];
    assert!(!mirror.set_endpoints(&old), "these are known, and one has no route");
    let new = [&old[..], &[status("198.18.0.13", false)]].concat();
    assert!(mirror.set_endpoints(&new));
    let expected = ["198.18.0.13 by 198.18.0.13", "install 198.18.0.13 on 10"];
    assert_eq!(words(mirror.tables(&tables())), expected);
    assert!(!mirror.set_endpoints(&[&old[..], &[status("198.18.0.13", true)]].concat()));
    assert!(mirror.set_endpoints(&new), "it had gone and come again, unseen");
    assert_eq!(words(mirror.tables(&tables())), ["198.18.0.13 by 198.18.0.13"]);
    assert!(mirror.set_endpoints(&old));
    assert_eq!(words(mirror.tables(&tables())), ["delete 198.18.0.13 on 10"]);
}

#[test]
fn a_new_default_router_replaces_the_old() {
    let mut mirror = started();
    let key = |text| NeighbourKey { link: 11, address: ip(text) };
    let known =
        |text| Neighbour { key: key(text), state: Reachability::Known(MAC), fixed: false, ours: true };
    assert_eq!(words(mirror.neighbour(known("198.19.0.2"))), ["198.19.0.2 at 02:00:00:00:00:07"]);
    let mut tables = tables();
    tables.routes[0] = route("0.0.0.0/0", 11, "198.19.0.3");
    let expected =
        ["198.19.0.2 at nowhere", "4 routes", "delete 198.19.0.2 on 11", "install 198.19.0.3 on 11"];
    assert_eq!(words(mirror.tables(&tables)), expected);
    assert_eq!(words(mirror.neighbour_gone(key("198.19.0.2"))), [""; 0]);
    assert_eq!(words(mirror.neighbour(known("198.19.0.3"))), ["198.19.0.3 at 02:00:00:00:00:07"]);
    let mut left: Vec<IpAddr> = mirror.installed().into_iter().map(|key| key.address).collect();
    left.sort();
    assert_eq!(left, [ip("198.18.0.11"), ip("198.19.0.3")]);
}

#[test]
fn a_host_on_the_link_is_resolved_on_demand() {
    let mut mirror = started();
    let next_hop = NextHop { port: UPLINK, address: ip("198.19.0.77") };
    assert_eq!(words(mirror.resolve(next_hop)), ["install 198.19.0.77 on 11"]);
    let key = NeighbourKey { link: 11, address: next_hop.address };
    assert_eq!(mirror.refused(key), Refusal::Dropped, "the engine asks again");
    assert_eq!(words(mirror.resolve(next_hop)), ["install 198.19.0.77 on 11"]);
}

#[test]
fn a_refused_router_is_tried_again() {
    let mut mirror = started();
    let key = NeighbourKey { link: 10, address: ip("198.18.0.11") };
    for refusal in [Refusal::First, Refusal::Repeated, Refusal::Repeated] {
        assert_eq!(mirror.refused(key), refusal);
        assert_eq!(words(mirror.retry()), ["install 198.18.0.11 on 10"]);
        assert_eq!(words(mirror.retry()), [""; 0]);
    }
    // Once it was there, a refusal is news.
    let state = Reachability::Known(MAC);
    mirror.neighbour(Neighbour { key, state, fixed: false, ours: true });
    mirror.neighbour_gone(key);
    assert_eq!(mirror.refused(key), Refusal::First);
}

#[test]
fn host_addresses_and_port_macs_are_followed() {
    let mut mirror = started();
    let mut tables = tables();
    tables.addresses.remove(0);
    tables.links[0].mac = Some(MAC);
    let expected = ["host [198.18.0.1]", "port 0 is 02:00:00:00:00:07"];
    assert_eq!(words(mirror.tables(&tables)), expected);
    assert!(mirror.tables(&tables).is_empty());
}

#[test]
fn a_port_that_comes_back_has_its_next_hops_asked_at_once() {
    let mut mirror = started();
    let mut down = tables();
    down.links[1].carrier = false;
    down.routes.retain(|route| route.prefix.prefix_len() != 0);
    assert!(words(mirror.tables(&down)).contains(&"3 routes".into()));
    let mut gone = down.clone();
    gone.links.pop();
    assert_eq!(words(mirror.tables(&gone)), [""; 0]);
    let actions = words(mirror.tables(&tables()));
    assert!(actions.contains(&"install 198.19.0.2 on 11".into()), "{actions:?}");
    // With the routes unchanged too.
    let mut down = tables();
    down.links[0].up = false;
    assert_eq!(words(mirror.tables(&down)), ["port 0 is down"]);
    assert_eq!(words(mirror.tables(&tables())), ["install 198.18.0.11 on 10", "port 0 is up"]);
}

#[test]
fn a_port_that_goes_down_is_told_of_before_the_tables_are_read() {
    let mut mirror = started();
    let down = Link { carrier: false, ..link(11) };
    assert_eq!(words(mirror.link(&down)), ["port 1 is down"]);
    assert_eq!(words(mirror.link(&down)), [""; 0], "and once");
    let mut tables = tables();
    tables.links[1] = down;
    assert_eq!(words(mirror.tables(&tables)), [""; 0]);
    assert_eq!(words(mirror.link(&link(11))), ["install 198.19.0.2 on 11", "port 1 is up"]);
    assert_eq!(words(mirror.link(&Link { up: false, ..link(99) })), [""; 0], "it is no port");
}

/// Two ports of each role: 10 and 20 underlay, 11 and 21 uplink.
fn with_several_ports() -> (Config, Tables) {
    let (mut config, mut tables) = (config(), tables());
    for (of, ifindex) in [(0, 20), (1, 21)] {
        config.ports.push(PortConfig {
            ifindex,
            interface: format!("port{ifindex}"),
            ..config.ports[of].clone()
        });
        tables.links.push(link(ifindex));
    }
    let multipath = |prefix: &str, hops: &[(u32, &str, u16)]| {
        let hop = |&(link, gateway, weight): &(u32, &str, u16)| Hop {
            link,
            gateway: gateway.parse().ok(),
            usable: true,
            weight,
        };
        KernelRoute { kind: RouteKind::Unicast(hops.iter().map(hop).collect()), ..route(prefix, 0, "") }
    };
    tables.routes[0] = multipath("0.0.0.0/0", &[(11, "198.19.0.2", 1), (21, "198.19.1.2", 2)]);
    tables.routes[1] = multipath("198.18.0.0/24", &[(10, "198.18.3.2", 1), (20, "198.18.4.2", 1)]);
    (config, tables)
}

#[test]
fn all_paths_of_a_route_are_followed() {
    let (config, tables) = with_several_ports();
    let mut mirror = self::mirror(&config);
    let actions = mirror.resync(&tables, &[]);
    let weights = actions.iter().find_map(|action| match action {
        Action::Update(Update::Routes(routes)) => {
            Some(routes[0].paths.iter().map(|path| (path.port.0, path.weight)).collect::<Vec<_>>())
        }
        _ => None,
    });
    assert_eq!(weights.unwrap(), [(1, 1), (3, 2)]);
    let told = words(actions);
    for expected in [
        "198.18.0.11 by 198.18.3.2 and 198.18.4.2",
        "install 198.18.3.2 on 10",
        "install 198.18.4.2 on 20",
        "install 198.19.0.2 on 11",
        "install 198.19.1.2 on 21",
    ] {
        assert!(told.contains(&expected.into()), "{expected}: {told:?}");
    }
    assert!(mirror.tables(&tables).is_empty(), "and only once");

    // A port loses its carrier: the kernel marks the hop, and its router is needed no more.
    let mut down = tables.clone();
    down.links[2].carrier = false;
    if let RouteKind::Unicast(hops) = &mut down.routes[1].kind {
        hops[1].usable = false;
    }
    let expected = ["198.18.0.11 by 198.18.3.2", "delete 198.18.4.2 on 20", "port 2 is down"];
    assert_eq!(words(mirror.tables(&down)), expected);
    let expected = ["198.18.0.11 by 198.18.3.2 and 198.18.4.2", "install 198.18.4.2 on 20", "port 2 is up"];
    assert_eq!(words(mirror.tables(&tables)), expected);
}

#[test]
fn a_vtep_address_on_no_port_is_followed() {
    let (mut config, mut tables) = with_several_ports();
    config.vteps = vec![ip("198.18.255.1"), ip("198.18.0.1")];
    config.ports[0].addresses = vec![ip("198.18.0.1")];
    tables.addresses.push(Address { link: 1, address: ip("198.18.255.1"), global: true, tentative: false });
    let mut mirror = self::mirror(&config);
    assert!(warnings(mirror.resync(&tables, &[])).iter().all(|text| !text.contains("198.18.255.1")));
    let address = tables.addresses.pop().unwrap();
    let warnings = warnings(mirror.tables(&tables));
    let [warning] = &warnings[..] else { panic!("{warnings:?}") };
    assert!(warning.contains("no netdev has the VTEP address 198.18.255.1"), "{warning}");
    assert!(warning.contains("`ip address add 198.18.255.1 dev lo`"), "{warning}");
    assert!(mirror.tables(&tables).is_empty(), "said once");
    // Any netdev will do.
    tables.addresses.push(Address { link: 11, ..address });
    mirror.tables(&tables);
}

#[test]
fn a_blackhole_route_that_somebody_removed_comes_back() {
    let mut mirror = started();
    let mut tables = tables();
    tables.routes.pop();
    assert_eq!(words(mirror.tables(&tables)), ["blackhole 10.0.0.0/8"]);
}

#[test]
fn a_blackhole_route_of_another_metric_is_none() {
    let mut mirror = started();
    let mut tables = tables();
    tables.routes.last_mut().unwrap().metric = 1;
    assert_eq!(words(mirror.tables(&tables)), ["blackhole 10.0.0.0/8"]);
}

#[test]
fn routes_past_the_blackhole_routes_are_warned_of_once() {
    let mut config = config();
    config.blocks.push("fd00::/16".parse().unwrap());
    let mut tables = tables();
    let guard = KernelRoute { kind: RouteKind::Blackhole, metric: 1, ..route("fd00::/16", 11, "") };
    tables.routes.push(guard);
    let mut mirror = self::mirror(&config);
    mirror.resync(&tables, &[]);

    let mut warned = |route: KernelRoute| {
        let mut tables = tables.clone();
        tables.routes.push(route);
        let warnings = warnings(mirror.tables(&tables));
        assert!(mirror.tables(&tables).is_empty(), "said once");
        tables.routes.pop();
        mirror.tables(&tables);
        warnings
    };
    let with_metric = |prefix: &str, metric| KernelRoute { metric, ..route(prefix, 11, "198.19.0.2") };
    for (prefix, metric) in [
        // The block itself: of the same metric when ours was replaced, or the other was put before it.
        ("10.0.0.0/8", 0),
        ("fd00::/16", 1),
        // A part of it, whatever the metric.
        ("10.9.0.0/16", 700),
        ("fd00:9::/32", 1024),
    ] {
        let warnings = warned(with_metric(prefix, metric));
        let [warning] = &warnings[..] else { panic!("{prefix}: {warnings:?}") };
        assert!(warning.contains(&format!("a route to {prefix} ")), "{warning}");
        assert!(warning.contains(&format!("`ip route del unicast {prefix} metric {metric}`")), "{warning}");
    }
    // What the blackhole route beats, what is outside, and what forwards nothing.
    let harmless = [
        with_metric("10.0.0.0/8", 1),
        with_metric("fd00::/16", 1024),
        with_metric("0.0.0.0/1", 0),
        with_metric("172.16.0.0/12", 0),
        KernelRoute { kind: RouteKind::Other, ..route("10.9.0.0/16", 11, "") },
        KernelRoute { kind: RouteKind::Blackhole, ..route("10.9.0.0/16", 11, "") },
    ];
    for route in harmless {
        assert_eq!(warned(route.clone()), [""; 0], "{route:?}");
    }
}

#[test]
fn what_only_a_restart_mends_is_warned_of_once() {
    let mut config = config();
    config.ports[0].addresses = vec![ip("198.18.0.1")];
    let mut mirror = self::mirror(&config);
    mirror.resync(&tables(), &[]);
    let mut warned = |tables: &Tables| {
        let warnings = warnings(mirror.tables(tables));
        assert!(mirror.tables(tables).is_empty(), "said once");
        warnings
    };

    let mut changed = tables();
    changed.links[0].mtu = 1500;
    let warnings = warned(&changed);
    let [warning] = &warnings[..] else { panic!("{warnings:?}") };
    assert!(
        warning.contains("port10 has MTU 1500 now, and the gateway goes on with 1600: restart the gateway"),
        "{warning}"
    );
    changed.links[0].mtu = 1600;
    assert_eq!(warned(&changed), [""; 0]);

    // On another netdev it is of no use.
    changed.addresses[1].link = 11;
    let warnings = warned(&changed);
    let [warning] = &warnings[..] else { panic!("{warnings:?}") };
    assert!(warning.contains("port10 has lost its address 198.18.0.1"), "{warning}");
    assert!(warning.contains("restart the gateway"), "{warning}");
    assert_eq!(warned(&tables()), [""; 0]);

    let mut gone = tables();
    gone.links.remove(0);
    gone.addresses.pop();
    let warnings = warned(&gone);
    assert!(warnings.iter().any(|text| text.contains("port10 is gone")), "{warnings:?}");
    assert!(warnings.iter().all(|text| !text.contains("has lost")), "{warnings:?}");
}
