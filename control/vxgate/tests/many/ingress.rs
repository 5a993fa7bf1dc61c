//! FRR as router, by BGP.

use cluster::assign::Key;
use lab::{Failure, Family, Topology};
use serde_json::Value;

use super::*;
use crate::members::members;
use crate::routes::{forwarded, prefixes};
use crate::stillness::{Watcher, prefer_workers};

const ALL: [u8; 3] = [1, 2, 3];

/// How overlays are shared, and what follows for the way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Announce,
    Floating,
}

fn uplink(family: Family, number: u8) -> String {
    Topology::UPLINK.address(family, number).to_string()
}

/// The next hop that each overlay is to have, by VNI from 1: IPv4 and IPv6.
fn wanted(cluster: &Cluster, mode: Mode, overlays: u32, running: &[u8]) -> Vec<[String; 2]> {
    match mode {
        Mode::Announce => {
            let members = members(running);
            let winner = |vni| members.winner(Key::overlay(vni)).unwrap().value() as u8;
            (1..=overlays).map(|vni| Family::BOTH.map(|family| uplink(family, winner(vni)))).collect()
        }
        Mode::Floating => {
            let rows = cluster.member(running[0]).gateway.show("assignments").unwrap();
            let shards = ShardCount::new(SHARDS).unwrap();
            let address = |vni, n: usize| {
                rows[usize::from(shards.shard_of(vni))]["uplink"][n].as_str().unwrap().to_owned()
            };
            (1..=overlays).map(|vni| [address(vni, 0), address(vni, 1)]).collect()
        }
    }
}

/// How many prefixes of both families each gateway has told the router.
fn told(cluster: &Cluster) -> Vec<(String, u64)> {
    let mut counts = Vec::new();
    for family in ["ipv4", "ipv6"] {
        let shown = cluster.upstream.show(&format!("show bgp {family} unicast summary json")).unwrap();
        for (peer, row) in shown["peers"].as_object().into_iter().flatten() {
            if row["state"] == "Established" {
                counts.push((format!("{family} {peer}"), row["pfxRcd"].as_u64().unwrap()));
            }
        }
    }
    counts
}

fn wait_told(cluster: &Cluster, overlays: u32, gateways: usize) {
    wait_until("the router to be told", PATIENCE, || {
        let told = told(cluster);
        // The block, too.
        let is_all = told.iter().all(|(_, count)| *count == u64::from(overlays) + 1);
        if is_all && told.len() == 2 * gateways { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", cluster.logs()));
}

/// Waits until the router's kernel forwards each overlay as it should.
fn wait_forwarded(cluster: &Cluster, wanted: &[[String; 2]]) {
    wait_until("the router to forward rightly", PATIENCE, || {
        let mut wrong = Vec::new();
        for (n, family) in Family::BOTH.into_iter().enumerate() {
            let routes = forwarded(&cluster.topology.router, family, "bgp");
            for (vni, wanted) in (1..).zip(wanted) {
                let prefix = &prefixes(vni)[n];
                let by = routes.get(prefix);
                if by != Some(&wanted[n]) {
                    wrong.push(format!("{prefix} by {by:?}, not {}", wanted[n]));
                }
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(format!("{} are wrong: {}", wrong.len(), wrong[0])) }
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", cluster.logs()));
}

/// What these gateways should not have said, and when: that BFD finds one of them dead.
fn alarms(cluster: &Cluster, running: &[u8]) -> Vec<(f64, Value)> {
    let others = ALL.iter().filter(|number| !running.contains(number));
    let gone: Vec<String> = others
        .flat_map(|&number| [Topology::UNDERLAY, Topology::UPLINK].map(|subnets| (subnets, number)))
        .flat_map(|(subnets, number)| Family::BOTH.map(|family| subnets.address(family, number).to_string()))
        .collect();
    let is_alarm = |event: &Value| {
        let is_of_other = event["gateway"].as_u64().is_some_and(|number| !running.contains(&(number as u8)))
            || gone.iter().any(|address| event["peer"] == **address);
        let detail = event["detail"].as_str().unwrap_or_default();
        !is_of_other
            && match event["event"].as_str().unwrap_or_default() {
                "bfd" => detail.starts_with("Up to "),
                "cluster-peer" => detail == "dead",
                _ => false,
            }
    };
    let of = |&number: &u8| cluster.member(number).gateway.events().unwrap();
    let timed = |event: Value| (event["time"].as_str().unwrap().parse().unwrap(), event);
    running.iter().flat_map(of).filter(is_alarm).map(timed).collect()
}

fn say(cluster: &mut Cluster, what: &str, since: Instant) {
    println!("=== {what}: {:.2} s ===", since.elapsed().as_secs_f64());
    for number in ALL {
        let member = cluster.gateway(number);
        let Some((now, most)) = member.gateway.process().and_then(|process| process.memory().ok()) else {
            continue;
        };
        let bfd = member.gateway.show("bfd").unwrap_or_default();
        println!(
            "    gateway {number}: {} MiB, {} at most; BFD's thread late {} times, {} ms at most",
            now >> 20,
            most >> 20,
            bfd["stolen-periods"],
            bfd["stolen-longest-ms"]
        );
    }
}

fn routes_follow(mode: Mode, overlays: u32, bfd: &str) {
    let options = ClusterOptions { overlays, probed: 2, ..ClusterOptions::default() };
    let mut cluster = Cluster::build(Path::new(VXGATE), options).unwrap();
    let keys = match mode {
        Mode::Announce => "mode = \"announce\"\nmove-limit = { moves = 255, window = 1 }\n\n".into(),
        Mode::Floating => Cluster::floating(SHARDS, &Cluster::SHARD_VTEPS),
    } + bfd;
    let begin = Instant::now();
    let watcher = Watcher::start();
    for number in ALL {
        let membership = cluster.membership(number, Family::V4, &keys);
        cluster.start(number, "", &membership).unwrap();
        prefer_workers(cluster.gateway(number).gateway.process().unwrap().pid());
    }
    say(&mut cluster, "started", begin);
    wait_told(&cluster, overlays, ALL.len());
    say(&mut cluster, "told", begin);
    let all = wanted(&cluster, mode, overlays, &ALL);
    wait_forwarded(&cluster, &all);
    say(&mut cluster, "forwarded", begin);
    let mut alarmed = alarms(&cluster, &ALL);
    cluster.wait_open(PATIENCE).unwrap();
    say(&mut cluster, "open", begin);

    let rest = &ALL[1..];
    let begin = Instant::now();
    cluster.gateway(1).fail(Failure::Killed).unwrap();
    let by_rest = wanted(&cluster, mode, overlays, rest);
    wait_told(&cluster, overlays, rest.len());
    say(&mut cluster, "its session is gone", begin);
    wait_forwarded(&cluster, &by_rest);
    say(&mut cluster, "forwarded by the rest", begin);
    cluster.wait_open(PATIENCE).unwrap();
    say(&mut cluster, "open", begin);
    alarmed.extend(alarms(&cluster, rest));

    let begin = Instant::now();
    cluster.gateway(1).mend().unwrap();
    prefer_workers(cluster.gateway(1).gateway.process().unwrap().pid());
    wait_told(&cluster, overlays, ALL.len());
    say(&mut cluster, "told again", begin);
    wait_forwarded(&cluster, &all);
    say(&mut cluster, "forwarded again", begin);

    let begin = Instant::now();
    assert!(cluster.gateway(1).gateway.stop().unwrap().is_some_and(|status| status.success()));
    say(&mut cluster, "stopped", begin);
    wait_forwarded(&cluster, &by_rest);
    say(&mut cluster, "forwarded by the rest", begin);
    cluster.wait_open(PATIENCE).unwrap();
    alarmed.extend(alarms(&cluster, rest));
    let still = watcher.stop();
    println!("    the machine: {still:?}");
    alarmed.retain(|&(time, _)| !still.excuses(time));
    assert!(alarmed.is_empty(), "{alarmed:#?}");
}

#[test]
fn routers_follow_gateways_by_rank() {
    routes_follow(Mode::Announce, 2_000, Cluster::SLOW_BFD);
}

#[test]
fn routers_follow_shards() {
    routes_follow(Mode::Floating, 2_000, Cluster::SLOW_BFD);
}

#[test]
#[ignore = "takes minutes"]
fn routers_follow_gateways_by_rank_in_all_overlays_that_there_may_be() {
    routes_follow(Mode::Announce, 65_536, "");
}

#[test]
#[ignore = "takes minutes"]
fn routers_follow_shards_in_all_overlays_that_there_may_be() {
    routes_follow(Mode::Floating, 65_536, "");
}
