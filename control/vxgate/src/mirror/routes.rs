//! From the kernel's main table to the engine's routes and the endpoints' next hops.
//!
//! Policy rules (`ip rule`), routes by type of service and routes by source are not honoured.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use engine::{MAX_PATHS, Path, Paths, PortIndex, Route};
use ipnet::IpNet;

use super::kernel::{KernelRoute, RouteKind};

/// A port as routes see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct PortLink {
    /// Its number in the engine.
    pub(super) port: PortIndex,
    /// Its netdev.
    pub(super) link: u32,
}

/// The routes that the kernel would use: one a prefix, the usable one with the lowest metric.
pub(super) struct Fib<'a> {
    best: HashMap<IpNet, &'a KernelRoute>,
    /// Whether IPv6, and the length: the longest first.
    lengths: BTreeSet<(bool, Reverse<u8>)>,
}

impl<'a> Fib<'a> {
    pub(super) fn new(routes: &'a [KernelRoute]) -> Self {
        let mut best: HashMap<IpNet, &KernelRoute> = HashMap::new();
        for route in routes.iter().filter(|route| is_usable(route)) {
            let entry = best.entry(route.prefix).or_insert(route);
            if route.metric < entry.metric {
                *entry = route;
            }
        }
        let lengths =
            best.keys().map(|prefix| (prefix.addr().is_ipv6(), Reverse(prefix.prefix_len()))).collect();
        Self { best, lengths }
    }

    /// The longest match.
    fn lookup(&self, address: IpAddr) -> Option<&'a KernelRoute> {
        let ipv6 = address.is_ipv6();
        self.lengths.iter().filter(|(family, _)| *family == ipv6).find_map(|(_, Reverse(length))| {
            let prefix = IpNet::new(address, *length).ok()?.trunc();
            self.best.get(&prefix).copied()
        })
    }

    /// The routes of the outer network, by ascending prefix: what leads out of uplinks goes there, what leads
    /// anywhere else nowhere. Overlay blocks lead nowhere, whatever the kernel has for them.
    pub(super) fn outer_routes(&self, uplinks: &[PortLink], blocks: &[IpNet]) -> Vec<Route> {
        let mut known = HashSet::new();
        let mut routes: Vec<Route> = self
            .best
            .values()
            .filter(|route| !is_link_scoped(route.prefix))
            .filter(|route| !blocks.iter().any(|block| block.contains(&route.prefix)))
            .map(|route| {
                let paths = shared(&mut known, paths_out_of(route, uplinks));
                Route { prefix: route.prefix, paths }
            })
            .chain(blocks.iter().map(|&prefix| Route { prefix, paths: Paths::default() }))
            .collect();
        routes.sort_unstable_by_key(|route| route.prefix);
        routes
    }

    /// How to send to an endpoint or router; no path if its route does not lead out of one of these ports.
    pub(super) fn paths_to(&self, address: IpAddr, ports: &[PortLink]) -> Paths {
        self.lookup(address).map(|route| paths_out_of(route, ports).into()).unwrap_or_default()
    }

    /// Whether there is a route to just this prefix by which packets are forwarded.
    pub(super) fn leads_to(&self, prefix: IpNet) -> bool {
        self.best.get(&prefix).is_some_and(|route| matches!(route.kind, RouteKind::Unicast(_)))
    }
}

/// A whole table has a few sets of paths, in many routes.
fn shared(known: &mut HashSet<Paths>, paths: Vec<Path>) -> Paths {
    if let Some(paths) = known.get(&paths[..]) {
        return Paths::clone(paths);
    }
    let paths = Paths::from(paths);
    known.insert(Paths::clone(&paths));
    paths
}

/// A route all of whose hops are dead or without carrier is as if it were not there.
fn is_usable(route: &KernelRoute) -> bool {
    match &route.kind {
        RouteKind::Unicast(hops) => hops.iter().any(|hop| hop.usable),
        RouteKind::Blackhole | RouteKind::Other => true,
    }
}

/// Link-local and multicast destinations are never routed (RFC 4291 §2.5.6, RFC 3927 §2.7).
fn is_link_scoped(prefix: IpNet) -> bool {
    match prefix {
        IpNet::V4(net) => net.addr().is_multicast() || net.addr().is_link_local(),
        IpNet::V6(net) => net.addr().is_multicast() || net.addr().is_unicast_link_local(),
    }
}

/// The usable hops of a route that lead out of these ports, each once and in order.
fn paths_out_of(route: &KernelRoute, ports: &[PortLink]) -> Vec<Path> {
    let RouteKind::Unicast(hops) = &route.kind else { return Vec::new() };
    let mut paths: Vec<Path> = hops
        .iter()
        .filter(|hop| hop.usable)
        .filter_map(|hop| {
            let port = ports.iter().find(|port| port.link == hop.link)?.port;
            Some(Path { port, gateway: hop.gateway, weight: hop.weight })
        })
        .collect();
    paths.sort_unstable();
    paths.dedup_by(|next, path| {
        let same = (next.port, next.gateway) == (path.port, path.gateway);
        if same {
            path.weight = path.weight.saturating_add(next.weight);
        }
        same
    });
    paths.truncate(MAX_PATHS);
    if let [alone] = &mut paths[..] {
        alone.weight = 1;
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mirror::kernel::Hop;

    const UNDERLAYS: [PortLink; 2] =
        [PortLink { port: PortIndex(0), link: 10 }, PortLink { port: PortIndex(2), link: 20 }];
    const UPLINKS: [PortLink; 2] =
        [PortLink { port: PortIndex(1), link: 11 }, PortLink { port: PortIndex(3), link: 21 }];

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn hop(link: u32, gateway: &str) -> Hop {
        Hop { link, gateway: gateway.parse().ok(), usable: true, weight: 1 }
    }

    fn unicast(prefix: &str, metric: u32, hops: &[Hop]) -> KernelRoute {
        let kind = RouteKind::Unicast(hops.to_vec());
        KernelRoute { prefix: net(prefix), metric, protocol: 3, kind }
    }

    fn of_kind(prefix: &str, metric: u32, kind: RouteKind) -> KernelRoute {
        KernelRoute { prefix: net(prefix), metric, protocol: 3, kind }
    }

    /// Each path's gateway or `link`, with its port unless that is the first uplink, and its weight unless that is 1.
    fn words(paths: &[Path]) -> String {
        let word = |path: &Path| {
            let gateway = path.gateway.map_or("link".into(), |gateway| gateway.to_string());
            let port = if path.port == PortIndex(1) { String::new() } else { format!("@{}", path.port.0) };
            let weight = if path.weight == 1 { String::new() } else { format!("*{}", path.weight) };
            gateway + &port + &weight
        };
        match paths {
            [] => "reject".into(),
            paths => paths.iter().map(word).collect::<Vec<_>>().join(" "),
        }
    }

    #[track_caller]
    fn outer(routes: &[KernelRoute], expected: &[(&str, &str)]) {
        let got: Vec<(String, String)> = Fib::new(routes)
            .outer_routes(&UPLINKS, &[])
            .into_iter()
            .map(|route| (route.prefix.to_string(), words(&route.paths)))
            .collect();
        let expected: Vec<(String, String)> =
            expected.iter().map(|&(prefix, target)| (prefix.into(), target.into())).collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn targets() {
        outer(
            &[
                unicast("0.0.0.0/0", 0, &[hop(11, "198.19.0.2")]),
                unicast("198.19.0.0/24", 0, &[hop(11, "")]),
                unicast("198.18.0.0/24", 0, &[hop(10, "")]),
                unicast("203.0.113.0/24", 0, &[hop(10, "198.18.0.9")]),
                unicast("192.0.2.0/24", 0, &[hop(12, "192.168.0.1")]),
                of_kind("198.51.100.0/24", 0, RouteKind::Blackhole),
                of_kind("198.51.101.0/24", 0, RouteKind::Other),
                unicast("::/0", 1024, &[hop(11, "fe80::2")]),
                unicast("2001:db8:f::/64", 256, &[hop(11, "")]),
                unicast("fe80::/64", 256, &[hop(11, "")]),
                unicast("169.254.0.0/16", 256, &[hop(11, "")]),
            ],
            &[
                ("0.0.0.0/0", "198.19.0.2"),
                ("192.0.2.0/24", "reject"),
                ("198.18.0.0/24", "reject"),
                ("198.19.0.0/24", "link"),
                ("198.51.100.0/24", "reject"),
                ("198.51.101.0/24", "reject"),
                ("203.0.113.0/24", "reject"),
                ("::/0", "fe80::2"),
                ("2001:db8:f::/64", "link"),
            ],
        );
    }

    #[test]
    fn an_ipv4_route_may_have_an_ipv6_next_hop() {
        outer(&[unicast("0.0.0.0/0", 0, &[hop(11, "fe80::2")])], &[("0.0.0.0/0", "fe80::2")]);
    }

    #[test]
    fn the_lowest_metric_wins_and_the_first_of_equals() {
        outer(
            &[
                unicast("0.0.0.0/0", 200, &[hop(11, "198.19.0.2")]),
                unicast("0.0.0.0/0", 100, &[hop(11, "198.19.0.3")]),
                unicast("0.0.0.0/0", 100, &[hop(11, "198.19.0.4")]),
                unicast("192.0.2.0/24", 1, &[hop(11, "198.19.0.2")]),
                of_kind("192.0.2.0/24", 0, RouteKind::Blackhole),
            ],
            &[("0.0.0.0/0", "198.19.0.3"), ("192.0.2.0/24", "reject")],
        );
    }

    #[test]
    fn multipath_takes_all_usable_hops_on_uplinks() {
        let dead = Hop { usable: false, ..hop(11, "198.19.0.2") };
        let weighted = |hop, weight| Hop { weight, ..hop };
        outer(
            &[
                unicast(
                    "0.0.0.0/0",
                    0,
                    &[
                        hop(10, "198.18.0.9"),
                        dead,
                        weighted(hop(21, "198.19.1.3"), 256),
                        weighted(hop(11, "198.19.0.4"), 2),
                    ],
                ),
                unicast("192.0.2.0/24", 0, &[dead, weighted(hop(11, "198.19.0.4"), 7)]),
                unicast("198.51.100.0/24", 0, &[hop(11, ""), hop(21, "")]),
                unicast("203.0.113.0/24", 0, &[weighted(hop(11, "198.19.0.4"), 3), hop(11, "198.19.0.4")]),
                unicast("::/0", 1024, &[hop(11, "fe80::2"), hop(21, "fe80::2")]),
            ],
            &[
                ("0.0.0.0/0", "198.19.0.4*2 198.19.1.3@3*256"),
                // Alone, a path needs no weight; the same twice is one.
                ("192.0.2.0/24", "198.19.0.4"),
                ("198.51.100.0/24", "link link@3"),
                ("203.0.113.0/24", "198.19.0.4"),
                ("::/0", "fe80::2 fe80::2@3"),
            ],
        );
    }

    #[test]
    fn the_order_of_hops_does_not_matter() {
        let hops = [hop(11, "198.19.0.2"), hop(21, "198.19.1.2"), hop(11, "198.19.0.9")];
        let reversed: Vec<Hop> = hops.iter().rev().copied().collect();
        let paths = |hops: &[Hop]| Fib::new(&[unicast("::/0", 0, hops)]).outer_routes(&UPLINKS, &[]);
        assert_eq!(paths(&hops), paths(&reversed));
    }

    #[test]
    fn routes_share_their_paths_and_have_a_bounded_number() {
        let hops: Vec<Hop> = (0..200).map(|n| hop(11, &format!("198.19.0.{n}"))).collect();
        let routes = [unicast("192.0.2.0/24", 0, &hops), unicast("198.51.100.0/24", 0, &hops)];
        let routes = Fib::new(&routes).outer_routes(&UPLINKS, &[]);
        assert!(std::sync::Arc::ptr_eq(&routes[0].paths, &routes[1].paths));
        assert_eq!(routes[0].paths.len(), MAX_PATHS);
    }

    #[test]
    fn a_route_without_usable_hops_gives_way() {
        let dead = Hop { usable: false, ..hop(11, "198.19.0.2") };
        outer(
            &[
                unicast("0.0.0.0/0", 10, &[dead]),
                unicast("0.0.0.0/0", 20, &[hop(11, "198.19.0.3")]),
                unicast("192.0.2.0/24", 0, &[dead]),
            ],
            &[("0.0.0.0/0", "198.19.0.3")],
        );
        // But one whose usable hops are all elsewhere rejects: the kernel would use it.
        outer(&[unicast("0.0.0.0/0", 0, &[dead, hop(10, "198.18.0.9")])], &[("0.0.0.0/0", "reject")]);
    }

    #[test]
    fn overlay_blocks_lead_nowhere() {
        let routes = [
            unicast("0.0.0.0/0", 0, &[hop(11, "198.19.0.2")]),
            unicast("10.1.0.0/16", 0, &[hop(11, "198.19.0.2")]),
            of_kind("10.0.0.0/8", 1, RouteKind::Blackhole),
        ];
        let routes = Fib::new(&routes).outer_routes(&UPLINKS, &[net("10.0.0.0/8"), net("fd00::/16")]);
        let reject = |prefix| Route { prefix: net(prefix), paths: Paths::default() };
        assert_eq!(routes[1..], [reject("10.0.0.0/8"), reject("fd00::/16")]);
        assert_eq!(routes.len(), 3);
    }

    #[test]
    fn endpoints_take_the_longest_match_out_of_the_underlay() {
        let routes = [
            unicast("0.0.0.0/0", 0, &[hop(11, "198.19.0.2")]),
            unicast("198.18.0.0/24", 0, &[hop(10, "")]),
            unicast("198.18.1.0/24", 0, &[hop(10, "198.18.0.254")]),
            unicast("198.18.1.64/26", 0, &[hop(11, "198.19.0.2")]),
            of_kind("198.18.1.128/25", 0, RouteKind::Blackhole),
            unicast("2001:db8:1::/64", 256, &[hop(10, "")]),
            unicast(
                "198.18.2.0/24",
                0,
                &[
                    hop(10, "198.18.0.254"),
                    Hop { weight: 3, ..hop(20, "198.18.9.254") },
                    hop(11, "198.19.0.2"),
                ],
            ),
            unicast("2001:db8::/32", 1024, &[hop(10, "fe80::1"), hop(20, "fe80::1")]),
        ];
        let fib = Fib::new(&routes);
        let paths = |endpoint: &str| words(&fib.paths_to(endpoint.parse().unwrap(), &UNDERLAYS));
        assert_eq!(paths("198.18.0.11"), "link@0");
        assert_eq!(paths("198.18.1.11"), "198.18.0.254@0");
        assert_eq!(paths("198.18.1.65"), "reject", "out of the uplink");
        assert_eq!(paths("198.18.1.129"), "reject", "blackhole");
        assert_eq!(paths("198.18.2.11"), "198.18.0.254@0 198.18.9.254@2*3");
        assert_eq!(paths("203.0.113.1"), "reject", "the default leads out of the uplink");
        assert_eq!(paths("2001:db8:1::12"), "link@0");
        assert_eq!(paths("2001:db8:2::12"), "fe80::1@0 fe80::1@2");
        assert_eq!(paths("2001:4860::1"), "reject", "no route at all");
    }
}
