//! FRR as router and beside the gateways, by OSPF.

use lab::{Failure, Family, Frr, Namespace};

use super::*;
use crate::documented::documented;
use crate::ospf::configure_router;
use crate::routes::{forwarded, prefixes};

const DOCS: &str = include_str!("../../../../docs/igp.md");
const ALL: [u8; 2] = [1, 2];

/// The next hops of a gateway, as a router on the uplink knows it by OSPF.
fn next_hops(cluster: &Cluster, number: u8) -> [String; 2] {
    let shown =
        cluster.member(number).namespace.ip_json(&["-6", "address", "show", "dev", "uplink0"]).unwrap();
    let mut addresses = shown[0]["addr_info"].as_array().unwrap().iter();
    let link_local = addresses.find(|address| address["scope"] == "link").unwrap();
    [crate::ospf::id(number), link_local["local"].as_str().unwrap().into()]
}

/// Waits until the router's kernel forwards each overlay to the owner of its shard, of these gateways.
fn wait_forwarded(cluster: &Cluster, overlays: u32, running: &[u8]) {
    let owners = cluster.wait_even(running, PATIENCE).unwrap();
    let hops = ALL.map(|number| next_hops(cluster, number));
    let shards = ShardCount::new(SHARDS).unwrap();
    wait_until("the router to forward rightly", PATIENCE, || {
        for (n, family) in Family::BOTH.into_iter().enumerate() {
            let routes = forwarded(&cluster.topology.router, family, "ospf");
            let wrong = (1..=overlays).filter(|&vni| {
                let owner = owners[usize::from(shards.shard_of(vni))];
                routes.get(&prefixes(vni)[n]) != Some(&hops[usize::from(owner) - 1][n])
            });
            match wrong.count() {
                0 => {}
                wrong => return Err(format!("{wrong} of {family:?} are wrong, of {}", routes.len())),
            }
        }
        Ok(())
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", cluster.logs()));
}

/// Waits until nothing of a gateway's is in its kernel: no netdev, and no route other than blackholes.
fn wait_gone(namespace: &Namespace) {
    wait_until("nothing to be left", PATIENCE, || {
        let mut left = namespace.interfaces().unwrap();
        left.retain(|name| name.starts_with("vxgate"));
        for family in ["-4", "-6"] {
            let output = namespace.run("ip", &["-o", family, "route", "show", "proto", "118"]).unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            left.extend(text.lines().filter(|line| !line.starts_with("blackhole")).map(str::to_owned));
        }
        if left.is_empty() { Ok(()) } else { Err(format!("{} left: {}", left.len(), left[0])) }
    })
    .unwrap();
}

fn say(what: &str, since: Instant) {
    println!("=== {what}: {:.2} s ===", since.elapsed().as_secs_f64());
}

fn routers_follow(overlays: u32) {
    let options =
        ClusterOptions { gateways: 2, overlays, probed: 2, ingress: false, ..ClusterOptions::default() };
    let mut cluster = Cluster::build(Path::new(VXGATE), options).unwrap();
    configure_router(&mut cluster);
    let begin = Instant::now();
    let mut daemons = Vec::new();
    for number in ALL {
        let namespace = cluster.member(number).namespace.clone();
        let configs = ["zebra", "ospfd", "ospf6d"].map(|name| (name, documented(DOCS, name)));
        daemons.push(Frr::start_daemons(&namespace, &configs).unwrap());
        let keys = Cluster::floating(SHARDS, &Cluster::SHARD_VTEPS) + Cluster::SLOW_BFD;
        let config = cluster.config(number, "", &cluster.membership(number, Family::V4, &keys));
        let config = config.replacen("[gateway]\n", "[gateway]\nigp = \"kernel\"\n", 1);
        let started = cluster.start_with(number, &config).unwrap();
        println!("=== gateway {number} started in {started:?} ===");
    }
    wait_forwarded(&cluster, overlays, &ALL);
    say("forwarded", begin);
    cluster.wait_open(PATIENCE).unwrap();

    let begin = Instant::now();
    cluster.gateway(1).fail(Failure::Killed).unwrap();
    say("killed", begin);
    wait_gone(&cluster.member(1).namespace);
    say("gone from its kernel", begin);
    wait_forwarded(&cluster, overlays, &[2]);
    say("forwarded by the other", begin);

    let begin = Instant::now();
    cluster.gateway(1).mend().unwrap();
    wait_forwarded(&cluster, overlays, &ALL);
    say("forwarded again", begin);

    let begin = Instant::now();
    assert!(cluster.gateway(1).gateway.stop().unwrap().is_some_and(|status| status.success()));
    say("stopped", begin);
    wait_gone(&cluster.member(1).namespace);
    wait_forwarded(&cluster, overlays, &[2]);
    say("forwarded by the other", begin);
    cluster.wait_open(PATIENCE).unwrap();
}

#[test]
fn routers_follow_by_ospf() {
    routers_follow(1_000);
}

#[test]
#[ignore = "takes minutes"]
fn routers_follow_by_ospf_in_many_overlays() {
    routers_follow(10_000);
}
