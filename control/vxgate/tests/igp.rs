//! Routers learn the way into the overlays by OSPF, from FRR beside each gateway, as the documentation has it. Needs root.

#[path = "common/documented.rs"]
mod documented;
#[path = "common/ospf.rs"]
mod ospf;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use cluster::assign::ShardCount;
use lab::{Cluster, ClusterOptions, Failure, Family, Frr, Site, wait_until};

use crate::documented::documented;
use crate::ospf::{configure_router, id};

/// How long anything may take on a machine that others use too.
const PATIENCE: Duration = Duration::from_secs(90);

const VXGATE: &str = env!("CARGO_BIN_EXE_vxgate");
const DOCS: &str = include_str!("../../../docs/igp.md");
const SHARDS: u16 = 16;
const OVERLAYS: u32 = 20;

/// What the router has of external routes, both families, by prefix and who says it: the metric.
fn told(router: &Frr) -> BTreeMap<(String, String), u32> {
    let mut routes = BTreeMap::new();
    let mut read = |command: &str, family: Family| {
        let (mut by, mut prefix, mut metric, mut is_gone) = (String::new(), String::new(), None, false);
        for line in router.vtysh(&[command]).unwrap().lines() {
            let mut words = line.split_whitespace();
            match (words.next(), words.next(), words.next(), words.next()) {
                // A new one; of the highest age, it is withdrawn (RFC 2328 §14.1).
                (Some("LS"), Some("age:"), Some(age), _) | (Some("Age:"), Some(age), ..) => {
                    is_gone = age == "3600"
                }
                (Some("Link"), Some("State"), Some("ID:"), Some(address)) if family == Family::V4 => {
                    prefix = format!("{address}/24")
                }
                (Some("Advertising"), Some("Router:"), Some(router), _) => by = router.into(),
                (Some("Metric:"), Some(value), ..) => metric = value.parse().ok(),
                (Some("Prefix:"), Some(value), ..) => prefix = value.into(),
                _ => continue,
            }
            if line.contains("Age:") || line.contains("LS age:") {
                metric = None;
            }
            let last = if family == Family::V4 { "Metric:" } else { "Prefix:" };
            let is_complete = line.trim_start().starts_with(last);
            if let (true, false, Some(metric)) = (is_complete, is_gone, metric) {
                routes.insert((prefix.clone(), by.clone()), metric);
            }
        }
    };
    read("show ip ospf database external", Family::V4);
    read("show ipv6 ospf6 database as-external detail", Family::V6);
    routes
}

/// The prefixes of an overlay.
fn prefixes(vni: u32) -> [String; 2] {
    let site = Site::of_block(vni as u16 - 1);
    [site.v4.to_string(), site.v6.to_string()]
}

fn shard_of(vni: u32) -> usize {
    ShardCount::new(SHARDS).unwrap().shard_of(vni).into()
}

/// Waits until the router is told of all overlays by just these gateways: at 10 by the owner, and at more by others.
fn wait_told(cluster: &Cluster, by: &[u8]) -> Vec<u8> {
    let owners =
        cluster.wait_even(by, PATIENCE).unwrap_or_else(|error| panic!("{error}\n{}", cluster.logs()));
    wait_until(&format!("routes of {by:?}"), PATIENCE, || {
        let told = told(&cluster.upstream);
        let wanted = |vni: u32, number: u8| {
            prefixes(vni).map(|prefix| {
                let is_owner = owners[shard_of(vni)] == number;
                let metric = told.get(&(prefix.clone(), id(number)));
                match metric {
                    Some(10) if is_owner => Ok(()),
                    Some(20 | 30) if !is_owner => Ok(()),
                    _ => Err(format!("{prefix} by {number}, owner {is_owner}: {metric:?}")),
                }
            })
        };
        for vni in 1..=OVERLAYS {
            let outcome = by.iter().flat_map(|&number| wanted(vni, number)).collect::<Result<(), _>>();
            outcome.map_err(|error| format!("{error}: {told:?}"))?;
        }
        let count = 2 * OVERLAYS as usize * by.len();
        if told.len() == count { Ok(()) } else { Err(format!("{} routes: {told:?}", told.len())) }
    })
    .unwrap();
    owners
}

/// What of ours is in the kernel of a gateway: netdevs, and routes other than blackholes.
fn traces(cluster: &Cluster, number: u8) -> Vec<String> {
    let namespace = &cluster.member(number).namespace;
    let mut traces = namespace.interfaces().unwrap();
    traces.retain(|name| name.starts_with("vxgate"));
    for family in ["-4", "-6"] {
        let routes = namespace.ip_json(&[family, "route", "show", "table", "all", "proto", "118"]).unwrap();
        let unicast = routes.as_array().unwrap().iter().filter(|route| route["type"] == "unicast");
        traces.extend(unicast.map(|route| route.to_string()));
    }
    traces
}

#[test]
fn the_way_is_by_ospf() {
    let options = ClusterOptions {
        gateways: 2,
        overlays: OVERLAYS,
        probed: 4,
        ingress: false,
        ..ClusterOptions::default()
    };
    let mut cluster = Cluster::build(Path::new(VXGATE), options).unwrap();
    configure_router(&mut cluster);
    let all = [1, 2];
    let mut daemons = Vec::new();
    for number in all {
        let namespace = cluster.gateway(number).namespace.clone();
        let configs = ["zebra", "ospfd", "ospf6d"].map(|name| (name, documented(DOCS, name)));
        daemons.push(Frr::start_daemons(&namespace, &configs).unwrap());
        let tables = Cluster::floating(SHARDS, &Cluster::SHARD_VTEPS) + Cluster::SLOW_BFD;
        let config = cluster.config(number, "", &cluster.membership(number, Family::V4, &tables));
        let config = config.replacen("[gateway]\n", "[gateway]\nigp = \"kernel\"\n", 1);
        cluster.start_with(number, &config).unwrap();
    }

    // By rank, and there and back.
    let before = wait_told(&cluster, &all);
    cluster.wait_open(PATIENCE).unwrap();
    for number in all {
        let gateway = &cluster.gateway(number).gateway;
        gateway.run("check").unwrap();
        let log = gateway.log();
        assert!(!log.contains("before the blackhole route"), "{log}");
        // Three netdevs, and a route a prefix.
        assert_eq!(traces(&cluster, number).len(), 3 + 2 * OVERLAYS as usize);
    }
    let addresses =
        cluster.gateway(1).namespace.ip_json(&["address", "show", "dev", "vxgate-rank0"]).unwrap();
    assert_eq!(addresses[0]["addr_info"].as_array().map(Vec::len), Some(0), "{addresses}");

    // Killed, it takes netdevs and routes with it, and its daemons say so. The other one is first of all then.
    let victim = before[shard_of(cluster.stations[0].site.vni.value())];
    let rest = if victim == 1 { [2] } else { [1] };
    cluster.gateway(victim).fail(Failure::Killed).unwrap();
    wait_told(&cluster, &rest);
    assert_eq!(traces(&cluster, victim), [""; 0]);
    cluster.wait_open(PATIENCE).unwrap();
    cluster.gateway(victim).mend().unwrap();
    assert_eq!(wait_told(&cluster, &all), before);
    cluster.wait_open(PATIENCE).unwrap();

    // Unhealthy, it has no routes, though its daemons are neighbours of the router.
    cluster.gateway(victim).fail(Failure::UnderlayDown).unwrap();
    wait_told(&cluster, &rest);
    assert_eq!(traces(&cluster, victim).len(), 3);
    cluster.wait_open(PATIENCE).unwrap();
    cluster.gateway(victim).mend().unwrap();
    wait_told(&cluster, &all);

    // After an orderly end nothing is left but the blackhole routes, and after `cleanup` not even those.
    assert!(cluster.gateway(victim).gateway.stop().unwrap().is_some_and(|status| status.success()));
    wait_told(&cluster, &rest);
    assert_eq!(traces(&cluster, victim), [""; 0]);
    cluster.wait_open(PATIENCE).unwrap();
    cluster.gateway(victim).gateway.run("cleanup").unwrap();
    let namespace = &cluster.gateway(victim).namespace;
    for family in ["-4", "-6"] {
        let left = namespace.ip_json(&[family, "route", "show", "table", "all", "proto", "118"]).unwrap();
        assert_eq!(left.as_array().map(Vec::len), Some(0), "{left}");
    }
}
