//! Three gateways in mode `floating`, with FRR as endpoint, reflector and router around them. Needs root.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use cluster::assign::ShardCount;
use lab::{Cluster, ClusterOptions, Failure, Family, Station, wait_until};
use serde_json::Value;

/// How long anything may take on a machine that others use too.
const PATIENCE: Duration = Duration::from_secs(90);

const VXGATE: &str = env!("CARGO_BIN_EXE_vxgate");
const SHARDS: u16 = 64;
const GATEWAYS: u8 = 3;

/// Slow BFD: here it is not about time, and the machine may be busy.
fn tables() -> String {
    format!(
        "mode = \"floating\"\n\n[cluster.floating]\nshards = {SHARDS}\nvtep = {:?}\nuplink = {:?}\n\n\
         [cluster.bfd]\ninterval = 200\nmultiplier = 5\n",
        Cluster::SHARD_VTEPS,
        Cluster::SHARD_UPLINKS,
    )
}

fn shard(station: &Station) -> usize {
    ShardCount::new(SHARDS).unwrap().shard_of(station.site.vni.value()).into()
}

/// Which gateway says that it serves each shard; all that run must agree, and each shard have one.
fn owners(cluster: &Cluster, running: &[u8]) -> Result<Vec<u8>, String> {
    let mut owners = vec![0; SHARDS.into()];
    let mut views = Vec::new();
    for &number in running {
        let rows = cluster.gateways[usize::from(number) - 1].gateway.show("assignments").unwrap();
        let rows = rows.as_array().unwrap();
        assert_eq!(rows.len(), usize::from(SHARDS));
        for (row, owner) in rows.iter().zip(&mut owners) {
            if row["own"] == true {
                if *owner != 0 {
                    return Err(format!("shard {} has two: {owner} and {number}", row["shard"]));
                }
                *owner = number;
            }
        }
        views.push(rows.iter().map(|row| row["owner"].as_u64().unwrap_or(0) as u8).collect::<Vec<_>>());
    }
    if owners.contains(&0) || views.iter().any(|view| *view != owners) {
        return Err(format!("not agreed: {owners:?}, seen as {views:?}"));
    }
    Ok(owners)
}

/// Waits until each shard has one owner of these gateways, and they have equally many: the owners.
fn wait_even(cluster: &Cluster, running: &[u8]) -> Vec<u8> {
    let outcome = wait_until(&format!("shards to be even among {running:?}"), PATIENCE, || {
        let owners = owners(cluster, running)?;
        let mut counts: BTreeMap<u8, usize> = running.iter().map(|&number| (number, 0)).collect();
        owners.iter().for_each(|owner| *counts.entry(*owner).or_default() += 1);
        let quota = usize::from(SHARDS) / running.len();
        match counts.len() == running.len()
            && counts.values().all(|count| (quota..=quota + 1).contains(count))
        {
            true => Ok(owners),
            false => Err(format!("{counts:?}")),
        }
    });
    outcome.unwrap_or_else(|error| {
        let logs = cluster.gateways.iter().map(|member| member.gateway.log()).collect::<Vec<_>>();
        panic!("{error}\n{}", logs.join("\n\n"))
    })
}

fn events(cluster: &Cluster, number: u8) -> Vec<Value> {
    let socket = cluster.gateways[usize::from(number) - 1].gateway.socket();
    let output = Command::new(VXGATE).args(["events", "--socket"]).arg(socket).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn shards_have_one_owner_whoever_dies() {
    let options = ClusterOptions { gateways: GATEWAYS, probed: 3, ..ClusterOptions::default() };
    let mut cluster = Cluster::build(Path::new(VXGATE), options).unwrap();
    for number in 1..=GATEWAYS {
        let membership = cluster.membership(number, Family::V4, &tables());
        cluster.start(number, "", &membership).unwrap();
    }
    let all: Vec<u8> = (1..=GATEWAYS).collect();
    let before = wait_even(&cluster, &all);

    cluster.wait_open(PATIENCE).unwrap();

    // Killed: the others have its shards, and nothing else moves.
    let victim = before[shard(&cluster.stations[0])];
    let rest: Vec<u8> = all.iter().copied().filter(|&number| number != victim).collect();
    cluster.gateway(victim).fail(Failure::Killed).unwrap();
    let during = wait_even(&cluster, &rest);
    let moved = (0..before.len()).filter(|&n| before[n] != during[n]).count();
    let of_victim = before.iter().filter(|&&owner| owner == victim).count();
    assert!(moved < of_victim + usize::from(GATEWAYS), "{before:?}, {during:?}");
    cluster.wait_open(PATIENCE).unwrap();
    for &number in &rest {
        let events = events(&cluster, number);
        let death = format!("gateway {victim} is dead");
        let moved = events.iter().find(|event| event["event"] == "cluster-moved" && event["cause"] == *death);
        let moved = moved.unwrap_or_else(|| panic!("{events:#?}"));
        eprintln!("=== gateway {number}: {} in {} us ===", moved["detail"], moved["duration-us"]);
        let shown = cluster.gateways[usize::from(number) - 1].gateway.show("cluster").unwrap();
        let row = shown.as_array().unwrap().iter().find(|row| row["id"] == victim).unwrap();
        assert_eq!((&row["part"], &row["shards"]), (&"dead".into(), &0.into()), "{shown}");
    }

    // Back: even again, as it was.
    cluster.gateway(victim).mend().unwrap();
    assert_eq!(wait_even(&cluster, &all), before);
    cluster.wait_open(PATIENCE).unwrap();

    // What it can tell itself it does, and serves nothing; of what stopped it only the others can tell.
    let failures = [Failure::UplinkDown, Failure::UnderlayDown, Failure::WorkerHeld, Failure::AllDown];
    for failure in failures.into_iter().chain([Failure::Stopped]) {
        cluster.gateway(victim).fail(failure).unwrap();
        wait_even(&cluster, &rest);
        if failure != Failure::Stopped {
            let shown = cluster.gateway(victim).gateway.show("cluster").unwrap();
            assert_eq!((&shown[0]["part"], &shown[0]["shards"]), (&"unfit: unhealthy".into(), &0.into()));
        }
        cluster.wait_open(PATIENCE).unwrap();
        cluster.gateway(victim).mend().unwrap();
        assert_eq!(wait_even(&cluster, &all), before);
    }
    cluster.wait_open(PATIENCE).unwrap();

    // Stopped in order: others have taken over before.
    cluster.gateway(victim).gateway.stop().unwrap();
    wait_even(&cluster, &rest);
    cluster.wait_open(PATIENCE).unwrap();
    let events = events(&cluster, rest[0]);
    let leaving = format!("gateway {victim} leaves");
    assert!(
        events.iter().any(|event| event["event"] == "cluster-moved" && event["cause"] == *leaving),
        "{events:#?}"
    );
}
