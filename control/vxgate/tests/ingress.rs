//! Routers learn the way into the overlays by BGP alone: FRR as router, external and internal. Needs root.

#[path = "common/documented.rs"]
mod documented;
#[path = "common/members.rs"]
mod members;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use cluster::assign::{Key, ShardCount};
use lab::{Cluster, ClusterOptions, Failure, Family, Frr, Site, Topology, wait_until};
use serde_json::Value;

use crate::documented::documented;
use crate::members::members;

/// How long anything may take on a machine that others use too.
const PATIENCE: Duration = Duration::from_secs(90);

const VXGATE: &str = env!("CARGO_BIN_EXE_vxgate");
const DOCS: &str = include_str!("../../../docs/ingress.md");
const SHARDS: u16 = 16;
const OVERLAYS: u32 = 20;
const FLOOR: [&str; 2] = ["10.0.0.0/8", "fd00::/16"];

/// Gives the router this configuration of the documentation in place of the lab's own.
fn configure(router: &Frr, name: &str) {
    let remove = format!("no router bgp {}", Cluster::UPSTREAM_ASN);
    let lines: Vec<_> = documented(DOCS, name).lines().collect();
    router.vtysh(&[&["configure terminal", &remove], &lines[..]].concat()).unwrap();
}

/// One path of a route: whose, by which next hop, with which MED, and what else is of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PathOf {
    peer: String,
    next_hop: String,
    med: Option<u64>,
    best: bool,
    as_path: String,
}

/// What the router was told, both families.
fn told(router: &Frr) -> BTreeMap<String, Vec<PathOf>> {
    let mut routes = BTreeMap::new();
    for family in ["ipv4", "ipv6"] {
        let shown = router.show(&format!("show bgp {family} unicast json")).unwrap();
        for (prefix, paths) in shown["routes"].as_object().into_iter().flatten() {
            let path = |path: &Value| PathOf {
                peer: path["peerId"].as_str().unwrap_or_default().into(),
                next_hop: path["nexthops"][0]["ip"].as_str().unwrap_or_default().into(),
                med: path["metric"].as_u64(),
                best: path["bestpath"].as_bool().unwrap_or_default(),
                as_path: path["path"].as_str().unwrap_or_default().into(),
            };
            routes.insert(prefix.clone(), paths.as_array().unwrap().iter().map(path).collect());
        }
    }
    routes
}

fn uplink(number: u8) -> String {
    Topology::UPLINK.address(Family::V4, number).to_string()
}

/// Waits until the router was told all, floor included, by just these gateways: what it was told.
fn wait_told(router: &Frr, by: &[u8]) -> BTreeMap<String, Vec<PathOf>> {
    let wanted: BTreeSet<String> = by.iter().map(|&number| uplink(number)).collect();
    wait_until(&format!("routes of {by:?}"), PATIENCE, || {
        let told = told(router);
        let of = |paths: &[PathOf]| paths.iter().map(|path| path.peer.clone()).collect::<BTreeSet<_>>();
        let odd = told.iter().find(|(_, paths)| of(paths) != wanted);
        match odd {
            Some(odd) => Err(format!("{odd:?}")),
            None if told.len() == 2 * (OVERLAYS as usize + 1) => Ok(told),
            None => Err(format!("{} routes", told.len())),
        }
    })
    .unwrap()
}

fn tables() -> String {
    Cluster::floating(SHARDS, &Cluster::SHARD_VTEPS) + Cluster::SLOW_BFD
}

/// The prefixes of an overlay.
fn prefixes(vni: u32) -> [String; 2] {
    let site = Site::of_block(vni as u16 - 1);
    [site.v4.to_string(), site.v6.to_string()]
}

fn shards_are_told_alike(name: &str, asn: u32) {
    let options = ClusterOptions { overlays: OVERLAYS, probed: 2, ..ClusterOptions::default() };
    let mut cluster = Cluster::build(Path::new(VXGATE), options).unwrap();
    configure(&cluster.upstream, name);
    let all = [1, 2, 3];
    for number in all {
        let membership = cluster.membership(number, Family::V4, &tables());
        let config = cluster.config(number, "", &membership);
        let upstream = format!("remote-asn = {}\n", Cluster::UPSTREAM_ASN);
        assert!(config.contains(&upstream));
        let config = config.replace(&upstream, &format!("remote-asn = {asn}\n"));
        cluster.start_with(number, &config).unwrap();
    }

    // All say the same of an overlay, by the address of its shard; the floor leads to each of them.
    let before = wait_told(&cluster.upstream, &all);
    let rows = cluster.gateway(1).gateway.show("assignments").unwrap();
    let shards = ShardCount::new(SHARDS).unwrap();
    for vni in 1..=OVERLAYS {
        let shard = &rows[usize::from(shards.shard_of(vni))]["uplink"];
        for (n, prefix) in prefixes(vni).iter().enumerate() {
            for path in &before[prefix] {
                let same = PathOf { peer: path.peer.clone(), best: path.best, ..before[prefix][0].clone() };
                assert_eq!((path, path.med), (&same, None));
                assert_eq!(path.next_hop, shard[n], "{prefix}");
            }
        }
    }
    for (floor, family) in FLOOR.into_iter().zip(Family::BOTH) {
        for path in &before[floor] {
            let own = all.into_iter().find(|&number| uplink(number) == path.peer).unwrap();
            assert_eq!(path.next_hop, Topology::UPLINK.address(family, own).to_string());
        }
    }
    cluster.wait_open(PATIENCE).unwrap();

    // A death changes nothing that the router forwards by; but for the floor, which has that gateway's address.
    let best = |paths: &[PathOf], number| paths.iter().any(|path| path.best && path.peer == uplink(number));
    let victim = all.into_iter().find(|&number| best(&before[&prefixes(1)[0]], number)).unwrap();
    let rest: Vec<u8> = all.into_iter().filter(|&number| number != victim).collect();
    let monitor = cluster.topology.router.spawn("ip", &["monitor", "route"]).unwrap();
    wait_until("ip monitor", PATIENCE, || {
        // The same route again would be no news.
        let lines = "route add 192.0.2.1/32 dev lo\nroute del 192.0.2.1/32 dev lo\n";
        cluster.topology.router.ip(lines).unwrap();
        monitor.log().contains("192.0.2.1")
    })
    .unwrap();
    cluster.gateway(victim).fail(Failure::Killed).unwrap();
    wait_told(&cluster.upstream, &rest);
    // It comes to the kernel behind all that was said of the death.
    let bgp = format!("router bgp {asn}");
    let marker = ["configure terminal", &bgp, "address-family ipv4 unicast", "aggregate-address 10.0.0.0/19"];
    cluster.upstream.vtysh(&marker).unwrap();
    wait_until("the marker", PATIENCE, || monitor.log().contains("10.0.0.0/19")).unwrap();
    let log = monitor.log();
    for prefix in (1..=OVERLAYS).flat_map(prefixes) {
        let lines = log.lines().filter(|line| line.contains(&format!("{prefix} ")));
        // FRR replaces an IPv6 route by one with the same next hop.
        let same = format!(" via {} ", before[&prefix][0].next_hop);
        let changed = lines.filter(|line| !prefix.contains(':') || !line.contains(&same));
        assert_eq!(changed.collect::<Vec<_>>(), [""; 0], "{log}");
    }
    cluster.wait_open(PATIENCE).unwrap();
    let unmark = [&marker[..3], &["no aggregate-address 10.0.0.0/19"]].concat();
    cluster.upstream.vtysh(&unmark).unwrap();
    cluster.gateway(victim).mend().unwrap();
    wait_told(&cluster.upstream, &all);

    // One that is unhealthy says nothing any more, though its session is up.
    cluster.gateway(victim).fail(Failure::UnderlayDown).unwrap();
    wait_told(&cluster.upstream, &rest);
    let neighbours = cluster.upstream.show("show bgp neighbors json").unwrap();
    assert_eq!(neighbours[uplink(victim)]["bgpState"], "Established");
    cluster.wait_open(PATIENCE).unwrap();
    cluster.gateway(victim).mend().unwrap();
    wait_told(&cluster.upstream, &all);

    // One that leaves has withdrawn all before its session ends.
    assert!(cluster.gateway(victim).gateway.stop().unwrap().is_some_and(|status| status.success()));
    wait_told(&cluster.upstream, &rest);
    cluster.wait_open(PATIENCE).unwrap();
}

#[test]
fn an_external_router_is_told_shards_alike() {
    shards_are_told_alike("ebgp", Cluster::UPSTREAM_ASN);
}

#[test]
fn an_internal_router_is_told_shards_alike() {
    shards_are_told_alike("ibgp", Cluster::ASN);
}

#[test]
fn without_shards_the_way_is_by_rank() {
    let options = ClusterOptions { gateways: 2, overlays: OVERLAYS, probed: 2, ..ClusterOptions::default() };
    let mut cluster = Cluster::build(Path::new(VXGATE), options).unwrap();
    let all = [1, 2];
    for number in all {
        let owner = format!("owner = {}\n", number == 1);
        let tables = "[bgp.ingress]\nmed = { base = 70, step = 7 }\ncommunities = [\"65000:7\"]\n";
        cluster.start(number, &owner, tables).unwrap();
    }
    let told = wait_told(&cluster.upstream, &all);
    for prefix in (1..=OVERLAYS).flat_map(prefixes) {
        for path in &told[&prefix] {
            let number = if path.peer == uplink(1) { 1 } else { 2 };
            let family = if prefix.contains(':') { Family::V6 } else { Family::V4 };
            assert_eq!(path.next_hop, Topology::UPLINK.address(family, number).to_string());
            assert_eq!((path.med, path.best), (Some(63 + 7 * u64::from(number)), number == 1));
        }
    }
    let detail = cluster.upstream.show("show bgp ipv4 unicast 10.0.0.0/24 json").unwrap();
    assert_eq!(detail["paths"][0]["community"]["string"], "65000:7", "{detail}");
    cluster.wait_open(PATIENCE).unwrap();
    // The next in rank has it when the first one is gone.
    cluster.gateway(1).fail(Failure::Killed).unwrap();
    let told = wait_told(&cluster.upstream, &[2]);
    assert!(told.values().flatten().all(|path| path.best));
}

#[test]
fn in_mode_announce_the_med_is_the_rank_among_those_that_serve() {
    let options = ClusterOptions { overlays: OVERLAYS, probed: 2, ..ClusterOptions::default() };
    let mut cluster = Cluster::build(Path::new(VXGATE), options).unwrap();
    let keys = [Cluster::ANNOUNCE, Cluster::SLOW_BFD].concat();
    cluster.start_all(Family::V4, &keys).unwrap();
    let wait = |cluster: &Cluster, running: &[u8]| {
        let members = members(running);
        wait_until(&format!("MEDs by rank of {running:?}"), PATIENCE, || {
            let told = told(&cluster.upstream);
            for vni in 1..=OVERLAYS {
                let order = members.rank(Key::overlay(vni));
                let wanted: BTreeMap<String, Option<u64>> = order
                    .iter()
                    .zip(0..)
                    .map(|(id, n)| (uplink(id.value() as u8), Some(100 + 10 * n)))
                    .collect();
                for prefix in prefixes(vni) {
                    let paths = told.get(&prefix).map_or(&[][..], |paths| paths);
                    let seen: BTreeMap<_, _> =
                        paths.iter().map(|path| (path.peer.clone(), path.med)).collect();
                    let best = paths.iter().find(|path| path.best).map(|path| path.med);
                    if seen != wanted || best != Some(Some(100)) {
                        return Err(format!("{prefix}: {paths:?}, not {wanted:?}"));
                    }
                }
            }
            Ok(())
        })
        .unwrap();
    };
    wait(&cluster, &[1, 2, 3]);
    cluster.wait_open(PATIENCE).unwrap();
    for failure in Failure::ALL {
        cluster.gateway(2).fail(failure).unwrap();
        wait(&cluster, &[1, 3]);
        cluster.wait_open(PATIENCE).unwrap();
        cluster.gateway(2).mend().unwrap();
        wait(&cluster, &[1, 2, 3]);
        cluster.wait_open(PATIENCE).unwrap();
    }
}

#[test]
fn routers_of_the_underlay_are_told_of_shards_by_rank() {
    let options =
        ClusterOptions { overlays: OVERLAYS, probed: 1, ingress: false, ..ClusterOptions::default() };
    let mut cluster = Cluster::build(Path::new(VXGATE), options).unwrap();
    let bgp = format!("router bgp {}", Cluster::ASN);
    let [v4, v6] = ["ipv4", "ipv6"].map(|family| format!("address-family {family} unicast"));
    let activate = ["neighbor c activate", "exit-address-family"];
    let lines = [&["configure terminal", &bgp, &v4], &activate[..], &[&v6], &activate[..]].concat();
    cluster.reflector.vtysh(&lines).unwrap();
    let underlay = |family, number| Topology::UNDERLAY.address(family, number).to_string();
    for number in [1, 2, 3] {
        let membership = cluster.membership(number, Family::V4, &tables());
        let config = cluster.config(number, "", &membership);
        let peer = format!("address = \"{}\"\n", underlay(Family::V4, Cluster::REFLECTOR));
        assert!(config.contains(&peer));
        let host_routes = "families = [\"evpn\", \"ipv4\", \"ipv6\"]\nhost-routes = true\n";
        let config = config.replace(&peer, &(peer.clone() + host_routes));
        cluster.start_with(number, &config).unwrap();
    }
    // The best path of each address leads to its owner, and there is one of each gateway.
    let wait = |cluster: &Cluster, running: &[u8]| {
        wait_until("host routes by rank", PATIENCE, || {
            let (told, owners) = (told(&cluster.reflector), cluster.owners(running)?);
            if told.len() != 2 * usize::from(SHARDS) {
                return Err(format!("{} routes", told.len()));
            }
            let rows = cluster.gateways[2].gateway.show("assignments").unwrap();
            for (shard, &owner) in owners.iter().enumerate() {
                for (n, (family, length)) in Family::BOTH.into_iter().zip([32, 128]).enumerate() {
                    let address = rows[shard]["vtep"][n].as_str().unwrap();
                    let paths = &told[&format!("{address}/{length}")];
                    let best: Vec<_> = paths.iter().filter(|path| path.best).collect();
                    let by = underlay(family, owner);
                    let first: Vec<_> = paths.iter().filter(|path| path.med == Some(100)).collect();
                    if paths.len() != running.len()
                        || best != first
                        || best.iter().any(|path| path.next_hop != by)
                    {
                        return Err(format!("shard {shard} of {owner}: {paths:?}"));
                    }
                }
            }
            Ok(owners)
        })
        .unwrap()
    };
    let before = wait(&cluster, &[1, 2, 3]);
    assert!((1..=3).all(|number| before.contains(&number)), "{before:?}");
    cluster.gateway(1).fail(Failure::Killed).unwrap();
    wait(&cluster, &[2, 3]);
}
