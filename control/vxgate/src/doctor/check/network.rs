//! What the kernel routes and owns beside the gateway.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;
use wire::vxlan::UDP_PORT;

use super::super::finding::{Finding, Findings, Topic, Verdict};
use super::super::machine::{Netdev, Network};
use super::Ports;
use crate::blackhole;
use crate::config::Settings;
use crate::mirror::kernel::{Hop, KernelRoute, RouteKind};
use crate::preflight;

/// Examples that are named where there may be thousands.
const EXAMPLES: usize = 3;

/// What is true whatever the configuration says.
pub(super) fn check_kernel(network: &Network, all: &mut Vec<Finding>) {
    let mut findings = Findings::new(Topic::Network, all);
    for (family, sysctl, forwards) in [
        ("IPv4", "net.ipv4.ip_forward", network.forwards_ipv4),
        ("IPv6", "net.ipv6.conf.all.forwarding", network.forwards_ipv6),
    ] {
        let subject = format!("{family} forwarding");
        match forwards {
            Some(true) => findings.bad(
                Verdict::Note,
                &subject,
                "the kernel forwards too: the blackhole routes alone keep it from overlay traffic",
                format!("`sysctl -w {sysctl}=0` unless the host is a router"),
            ),
            Some(false) => findings.ok(&subject, "off: the kernel forwards nothing"),
            None => findings.bad(Verdict::Note, &subject, "cannot be seen", format!("`sysctl {sysctl}`")),
        }
    }
}

/// What a configuration needs of the kernel's tables.
pub(super) fn check(
    settings: &Settings,
    ports: &Ports<'_>,
    netdevs: &[Netdev],
    network: &Network,
    all: &mut Vec<Finding>,
) {
    let mut findings = Findings::new(Topic::Network, all);
    blocks(settings, network, &mut findings);
    tunnels(settings, netdevs, network, &mut findings);
    if !ports.underlays.is_empty() {
        endpoints(settings, &ports.underlays, network, &mut findings);
    }
    if !ports.uplinks.is_empty() {
        outward(settings, &ports.uplinks, network, &mut findings);
    }
}

fn blocks(settings: &Settings, network: &Network, findings: &mut Findings<'_>) {
    let routes = &network.tables.routes;
    for &block in &settings.blocks {
        let subject = format!("block {block}");
        match (routes.iter().any(|route| blackhole::guards(route, block)), network.gateway_runs) {
            (true, _) => findings.ok(&subject, "its blackhole route is there"),
            (false, false) => findings.ok(&subject, "no blackhole route yet; `vxgate run` installs it"),
            (false, true) => findings.bad(
                Verdict::Warning,
                &subject,
                "its blackhole route is gone, and a gateway runs: the kernel would forward when it ends",
                "start the gateway again; find out who removed it",
            ),
        }
        let past: Vec<String> = routes
            .iter()
            .filter(|route| blackhole::leads_past(route, block))
            .map(|route| route.prefix.to_string())
            .collect();
        let forwards = if block.addr().is_ipv4() { network.forwards_ipv4 } else { network.forwards_ipv6 };
        // Where the kernel forwards it is a failure, which preflight says; and with `igp` they are wanted.
        if !past.is_empty() && forwards == Some(false) && !settings.igp {
            findings.bad(
                Verdict::Note,
                &subject,
                format!(
                    "{} lead into it; harmless while the kernel does not forward",
                    examples(&past, "routes")
                ),
                format!("`ip route del {}`", past[0]),
            );
        }
    }
}

/// The kernel's own VXLAN on the gateway's addresses: the XDP program takes its packets.
fn tunnels(settings: &Settings, netdevs: &[Netdev], network: &Network, findings: &mut Findings<'_>) {
    let vteps = preflight::vteps(settings, &network.tables);
    let takes = |local: IpAddr| {
        vteps.iter().any(|&vtep| local == vtep || local.is_unspecified() && local.is_ipv4() == vtep.is_ipv4())
    };
    let names: Vec<String> = netdevs
        .iter()
        .filter(|netdev| netdev.vxlan.is_some_and(|(local, port)| port == UDP_PORT && takes(local)))
        .map(|netdev| netdev.link.name.clone())
        .collect();
    if names.is_empty() {
        findings.ok("UDP 4789", "no VXLAN device of the kernel has it on a VTEP address");
    } else {
        findings.bad(
            Verdict::Warning,
            "UDP 4789",
            format!(
                "{} of the kernel have it on a VTEP address, and receive nothing there",
                examples(&names, "VXLAN devices")
            ),
            format!("`ip link del {}`, or give it another address or port", names[0]),
        );
    }
}

fn endpoints(settings: &Settings, underlays: &[&Netdev], network: &Network, findings: &mut Findings<'_>) {
    let name = names(underlays);
    let routes = Routes::new(&network.tables.routes);
    let endpoints: BTreeSet<IpAddr> =
        settings.groups.iter().flat_map(|group| group.endpoints.iter().copied()).collect();
    let (mut unreachable, mut neighbours) = (Vec::new(), BTreeSet::new());
    for &endpoint in &endpoints {
        let hops = routes.hops(endpoint, underlays);
        if hops.is_empty() {
            unreachable.push(endpoint.to_string());
        }
        neighbours.extend(hops.iter().map(|hop| (hop.link, hop.gateway.unwrap_or(endpoint))));
    }
    if unreachable.is_empty() {
        findings.ok("endpoints", format!("{} reached by {name}", endpoints.len()));
    } else {
        findings.bad(
            Verdict::Warning,
            "endpoints",
            format!(
                "{} of {} have no route out of {name}",
                examples(&unreachable, "endpoints"),
                endpoints.len()
            ),
            format!(
                "`ip route get {}`; `ip route add PREFIX via ROUTER dev {}`",
                unreachable[0], underlays[0].link.name
            ),
        );
    }
    for (family, ipv4, limit, sysctl) in [
        ("IPv4", true, network.neighbours_ipv4, "net.ipv4.neigh.default.gc_thresh3"),
        ("IPv6", false, network.neighbours_ipv6, "net.ipv6.neigh.default.gc_thresh3"),
    ] {
        let Some(limit) = limit else { continue };
        let subject = format!("{family} neighbours");
        // One each, and the uplink's router.
        let wanted = neighbours.iter().filter(|(_, address)| address.is_ipv4() == ipv4).count() + 1;
        let found = format!("{wanted} next hops, and the kernel takes {limit}");
        if wanted > limit as usize {
            let enough = (2 * wanted).next_power_of_two();
            findings.bad(
                Verdict::Warning,
                &subject,
                found,
                format!("`sysctl -w {sysctl}={enough}` on the host"),
            );
        } else {
            findings.ok(&subject, found);
        }
    }
}

fn outward(settings: &Settings, uplinks: &[&Netdev], network: &Network, findings: &mut Findings<'_>) {
    let name = names(uplinks);
    let prefixes =
        || settings.overlays.iter().flat_map(|overlay| overlay.subnets.iter().map(|subnet| subnet.prefix));
    for (family, ipv4, option) in [("IPv4", true, "-4"), ("IPv6", false, "-6")] {
        if !prefixes().any(|prefix| prefix.addr().is_ipv4() == ipv4) {
            continue;
        }
        let subject = format!("{family} outward");
        let out: Vec<IpNet> = network
            .tables
            .routes
            .iter()
            .filter(|route| route.prefix.addr().is_ipv4() == ipv4 && !hops(route, uplinks).is_empty())
            .filter(|route| !is_link_local(route.prefix.addr()))
            .map(|route| route.prefix)
            .collect();
        let remedy = format!("`ip {option} route add default via ROUTER dev {}`", uplinks[0].link.name);
        if out.iter().any(|prefix| prefix.prefix_len() == 0) {
            findings.ok(&subject, format!("the default route leads out of {name}"));
        } else if out.is_empty() {
            let found = format!("no route leads out of {name}: stations reach nothing outside");
            findings.bad(Verdict::Warning, &subject, found, remedy);
        } else {
            let found = format!("no default route, and {} others, lead out of {name}", out.len());
            findings.bad(Verdict::Note, &subject, found, format!("{remedy} unless that is meant"));
        }
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_multicast(),
        IpAddr::V6(address) => address.is_unicast_link_local() || address.is_multicast(),
    }
}

fn examples(names: &[String], what: &str) -> String {
    let shown = names[..names.len().min(EXAMPLES)].join(", ");
    match names.len() {
        count if count > EXAMPLES => format!("{count} {what} ({shown}, …)"),
        _ => format!("{what} {shown}"),
    }
}

fn names(netdevs: &[&Netdev]) -> String {
    netdevs.iter().map(|netdev| netdev.link.name.as_str()).collect::<Vec<_>>().join(" or ")
}

/// The usable hops of a route that lead out of these netdevs.
fn hops(route: &KernelRoute, netdevs: &[&Netdev]) -> Vec<Hop> {
    let RouteKind::Unicast(hops) = &route.kind else { return Vec::new() };
    let is_out = |hop: &&Hop| hop.usable && netdevs.iter().any(|netdev| netdev.link.index == hop.link);
    hops.iter().filter(is_out).copied().collect()
}

/// The best route to each prefix.
struct Routes<'a> {
    best: HashMap<IpNet, &'a KernelRoute>,
    /// Whether IPv4, and the length: the longest first.
    lengths: BTreeSet<(bool, Reverse<u8>)>,
}

impl<'a> Routes<'a> {
    fn new(routes: &'a [KernelRoute]) -> Self {
        let mut best: HashMap<IpNet, &KernelRoute> = HashMap::new();
        for route in routes {
            let entry = best.entry(route.prefix).or_insert(route);
            if route.metric < entry.metric {
                *entry = route;
            }
        }
        let lengths = best.keys().map(|net| (net.addr().is_ipv4(), Reverse(net.prefix_len()))).collect();
        Self { best, lengths }
    }

    /// How the longest match leads to the address out of these netdevs.
    fn hops(&self, address: IpAddr, netdevs: &[&Netdev]) -> Vec<Hop> {
        let mut lengths = self.lengths.iter().filter(|(ipv4, _)| *ipv4 == address.is_ipv4());
        let route = lengths.find_map(|(_, Reverse(length))| {
            self.best.get(&IpNet::new(address, *length).ok()?.trunc()).copied()
        });
        route.map(|route| hops(route, netdevs)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::machine::Machine;
    use super::super::testing::{CONFIG, machine, route, settings};
    use super::*;

    fn judge(config: &str, spoil: impl FnOnce(&mut Machine)) -> Vec<Finding> {
        let mut machine = machine();
        spoil(&mut machine);
        let settings = settings(config);
        let mut all = Vec::new();
        check_kernel(&machine.network, &mut all);
        check(
            &settings,
            &Ports::find(&settings, &machine.netdevs),
            &machine.netdevs,
            &machine.network,
            &mut all,
        );
        all.retain(|finding| finding.verdict != Verdict::Ok);
        all
    }

    /// Expects one finding that is not right.
    #[track_caller]
    fn found(spoil: impl FnOnce(&mut Machine), verdict: Verdict, subject: &str, words: &[&str]) {
        let all = judge(CONFIG, spoil);
        let [finding] = &all[..] else { panic!("{all:?}") };
        assert_eq!((finding.verdict, finding.subject.as_str()), (verdict, subject), "{finding:?}");
        let text = format!("{} {}", finding.finding, finding.remedy.as_deref().unwrap_or_default());
        words.iter().for_each(|word| assert!(text.contains(word), "{word:?} in {text}"));
    }

    #[test]
    fn a_good_network() {
        assert_eq!(judge(CONFIG, |_| {}), []);
    }

    #[test]
    fn forwarding_is_noted() {
        let on = |it: &mut Machine| it.network.forwards_ipv6 = Some(true);
        found(on, Verdict::Note, "IPv6 forwarding", &["net.ipv6.conf.all.forwarding=0"]);
        found(|it| it.network.forwards_ipv4 = None, Verdict::Note, "IPv4 forwarding", &["cannot be seen"]);
    }

    #[test]
    fn blackhole_routes() {
        let running = |it: &mut Machine| it.network.gateway_runs = true;
        let all = judge(CONFIG, running);
        assert_eq!(all.len(), 2, "{all:?}");
        assert!(
            all.iter().all(|it| it.verdict == Verdict::Warning && it.finding.contains("gone")),
            "{all:?}"
        );
        let guarded = judge(CONFIG, |it| {
            running(it);
            it.network.tables.routes.push(route("10.0.0.0/8", 0, RouteKind::Blackhole));
            it.network.tables.routes.push(route("fd00::/16", 1, RouteKind::Blackhole));
        });
        assert_eq!(guarded, []);
        let into = |it: &mut Machine| {
            let kind = RouteKind::Unicast(vec![Hop { link: 3, gateway: None, usable: true, weight: 1 }]);
            it.network.tables.routes.push(route("10.9.0.0/16", 0, kind));
        };
        found(into, Verdict::Note, "block 10.0.0.0/8", &["10.9.0.0/16", "ip route del"]);
    }

    #[test]
    fn the_kernels_own_vxlan() {
        let with = |local: &'static str, port| {
            move |it: &mut Machine| it.netdevs[1].vxlan = Some((local.parse().unwrap(), port))
        };
        for local in ["198.18.0.1", "2001:db8::1", "0.0.0.0", "::"] {
            found(with(local, 4789), Verdict::Warning, "UDP 4789", &["uplink0", "ip link del"]);
        }
        assert_eq!(judge(CONFIG, with("198.18.0.2", 4789)), []);
        assert_eq!(judge(CONFIG, with("198.18.0.1", 8472)), []);
        let named =
            CONFIG.replace("role = \"underlay\"", "role = \"underlay\"\naddresses = [\"198.18.0.1\"]");
        let named = named.replace("2001:db8::12", "198.18.0.12");
        assert_eq!(
            judge(&named, with("2001:db8::1", 4789)),
            [],
            "an address of the port, and not the VTEP's"
        );
    }

    #[test]
    fn endpoints_need_routes_out_of_the_underlay() {
        let gone = |it: &mut Machine| {
            it.network.tables.routes.retain(|route| route.prefix.to_string() != "198.18.0.0/24");
        };
        // The default route leads out of the uplink.
        found(gone, Verdict::Warning, "endpoints", &["endpoints 198.18.0.11 of 2", "underlay0"]);
        let more_specific = |it: &mut Machine| {
            it.network.tables.routes.push(route("198.18.0.11/32", 0, RouteKind::Blackhole));
        };
        found(more_specific, Verdict::Warning, "endpoints", &["198.18.0.11"]);
    }

    #[test]
    fn neighbours_have_a_limit() {
        let few = |it: &mut Machine| it.network.neighbours_ipv4 = Some(1);
        found(few, Verdict::Warning, "IPv4 neighbours", &["2 next hops", "gc_thresh3=4"]);
    }

    #[test]
    fn stations_need_a_way_out() {
        let gone = |it: &mut Machine| it.network.tables.routes.retain(|route| route.prefix.prefix_len() != 0);
        let all = judge(CONFIG, gone);
        assert_eq!(all.len(), 2, "{all:?}");
        assert!(all.iter().all(|it| it.verdict == Verdict::Note), "on-link prefixes remain: {all:?}");
        let none = judge(CONFIG, |it| {
            let uplink = [&it.netdevs[1]];
            it.network.tables.routes.retain(|route| hops(route, &uplink).is_empty());
        });
        assert!(none.iter().all(|it| it.verdict == Verdict::Warning), "{none:?}");
        assert!(none[0].remedy.as_ref().unwrap().contains("ip -4 route add default"), "{none:?}");
    }

    #[test]
    fn thousands_are_counted_and_not_listed() {
        let names: Vec<String> = (0..5000).map(|number| number.to_string()).collect();
        assert_eq!(examples(&names, "endpoints"), "5000 endpoints (0, 1, 2, …)");
        assert_eq!(examples(&names[..2], "endpoints"), "endpoints 0, 1");
    }
}
