//! From the kernel's main table to the engine's routes and the endpoints' next hops.
//!
//! Policy rules (`ip rule`), routes by type of service and routes by source are not honoured.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use engine::{NextHop, PortIndex, Route, RouteTarget};
use ipnet::IpNet;

use super::kernel::{Hop, KernelRoute, RouteKind};

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

    /// The routes of the outer network, by ascending prefix: what leads out of the uplink goes there, what leads
    /// anywhere else nowhere. Overlay blocks lead nowhere, whatever the kernel has for them.
    pub(super) fn outer_routes(&self, uplink: PortLink, blocks: &[IpNet]) -> Vec<Route> {
        let mut routes: Vec<Route> = self
            .best
            .values()
            .filter(|route| !is_link_scoped(route.prefix))
            .filter(|route| !blocks.iter().any(|block| block.contains(&route.prefix)))
            .map(|route| {
                let target = match hop_out_of(route, uplink) {
                    None => RouteTarget::Reject,
                    Some(Hop { gateway: None, .. }) => RouteTarget::OnLink(uplink.port),
                    Some(Hop { gateway: Some(address), .. }) => {
                        RouteTarget::Via(NextHop { port: uplink.port, address })
                    }
                };
                Route { prefix: route.prefix, target }
            })
            .chain(blocks.iter().map(|&prefix| Route { prefix, target: RouteTarget::Reject }))
            .collect();
        routes.sort_unstable_by_key(|route| route.prefix);
        routes
    }

    /// Whom to send to for this endpoint; `None` if its route does not lead out of the underlay port.
    pub(super) fn endpoint_next_hop(&self, endpoint: IpAddr, underlay: PortLink) -> Option<NextHop> {
        let hop = hop_out_of(self.lookup(endpoint)?, underlay)?;
        Some(NextHop { port: underlay.port, address: hop.gateway.unwrap_or(endpoint) })
    }
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

fn hop_out_of(route: &KernelRoute, port: PortLink) -> Option<Hop> {
    match &route.kind {
        RouteKind::Unicast(hops) => hops.iter().find(|hop| hop.usable && hop.link == port.link).copied(),
        RouteKind::Blackhole | RouteKind::Other => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNDERLAY: PortLink = PortLink { port: PortIndex(0), link: 10 };
    const UPLINK: PortLink = PortLink { port: PortIndex(1), link: 11 };

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn hop(link: u32, gateway: &str) -> Hop {
        Hop { link, gateway: gateway.parse().ok(), usable: true }
    }

    fn unicast(prefix: &str, metric: u32, hops: &[Hop]) -> KernelRoute {
        let kind = RouteKind::Unicast(hops.to_vec());
        KernelRoute { prefix: net(prefix), metric, protocol: 3, kind }
    }

    fn of_kind(prefix: &str, metric: u32, kind: RouteKind) -> KernelRoute {
        KernelRoute { prefix: net(prefix), metric, protocol: 3, kind }
    }

    #[track_caller]
    fn outer(routes: &[KernelRoute], expected: &[(&str, &str)]) {
        let got: Vec<(String, String)> = Fib::new(routes)
            .outer_routes(UPLINK, &[])
            .into_iter()
            .map(|route| {
                let target = match route.target {
                    RouteTarget::Via(next_hop) => {
                        assert_eq!(next_hop.port, UPLINK.port);
                        next_hop.address.to_string()
                    }
                    RouteTarget::OnLink(port) => {
                        assert_eq!(port, UPLINK.port);
                        "link".into()
                    }
                    RouteTarget::Reject => "reject".into(),
                };
                (route.prefix.to_string(), target)
            })
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
    fn multipath_takes_the_first_usable_hop_on_the_uplink() {
        let dead = Hop { usable: false, ..hop(11, "198.19.0.2") };
        outer(
            &[unicast(
                "0.0.0.0/0",
                0,
                &[hop(10, "198.18.0.9"), dead, hop(11, "198.19.0.3"), hop(11, "198.19.0.4")],
            )],
            &[("0.0.0.0/0", "198.19.0.3")],
        );
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
        let routes = Fib::new(&routes).outer_routes(UPLINK, &[net("10.0.0.0/8"), net("fd00::/16")]);
        let reject = |prefix| Route { prefix: net(prefix), target: RouteTarget::Reject };
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
            unicast("2001:db8::/32", 1024, &[hop(10, "fe80::1")]),
        ];
        let fib = Fib::new(&routes);
        let next_hop = |endpoint: &str| {
            let next_hop = fib.endpoint_next_hop(endpoint.parse().unwrap(), UNDERLAY)?;
            assert_eq!(next_hop.port, UNDERLAY.port);
            Some(next_hop.address.to_string())
        };
        assert_eq!(next_hop("198.18.0.11").as_deref(), Some("198.18.0.11"));
        assert_eq!(next_hop("198.18.1.11").as_deref(), Some("198.18.0.254"));
        assert_eq!(next_hop("198.18.1.65"), None, "out of the uplink");
        assert_eq!(next_hop("198.18.1.129"), None, "blackhole");
        assert_eq!(next_hop("203.0.113.1"), None, "the default leads out of the uplink");
        assert_eq!(next_hop("2001:db8:1::12").as_deref(), Some("2001:db8:1::12"));
        assert_eq!(next_hop("2001:db8:2::12").as_deref(), Some("fe80::1"));
        assert_eq!(next_hop("2001:4860::1"), None, "no route at all");
    }
}
