//! False alarms: BFD at its default, 10 ms × 3, for long, on a machine all of whose cores are busy with something else.

use std::path::Path;
use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

use lab::{Cluster, ClusterOptions, Family};
use serde_json::Value;

use crate::stillness::{STILL, Watcher, now, prefer_workers};
use crate::{ALL, GATEWAYS, VXGATE, wait_even};

/// Busy processes, which end with it.
struct Load(Vec<Child>);

impl Load {
    fn start() -> Self {
        let cores = core_affinity::get_core_ids().unwrap().len();
        let spin = |_| Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        Self((0..2 * cores).map(spin).collect())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Sessions that ended and the gateway's stages, with their times, from this time on.
fn alarms(log: &str, from: f64) -> Vec<(f64, String)> {
    let events = log.lines().filter_map(|line| Some(line.split_once("event ")?.1));
    let rows = events.filter_map(|text| serde_json::from_str::<Value>(text).ok());
    let alarm = |row: Value| {
        let time: f64 = row["time"].as_str()?.parse().ok()?;
        let detail = row["detail"].as_str()?;
        let is_alarm = match row["event"].as_str()? {
            "bfd" => detail.starts_with("Up to "),
            "cluster-stage" => detail != "serving",
            _ => false,
        };
        (is_alarm && time >= from).then(|| (time, row.to_string()))
    };
    rows.filter_map(alarm).collect()
}

/// `VXGATE_SOAK_SECONDS`: for how long; half an hour if it is not set.
#[test]
#[ignore = "takes half an hour, and all of the machine"]
fn nobody_is_taken_for_dead_on_a_busy_machine() {
    let seconds = std::env::var("VXGATE_SOAK_SECONDS").map_or(1800, |text| text.parse().unwrap());
    let options = ClusterOptions { gateways: GATEWAYS, probed: 1, ..ClusterOptions::default() };
    let mut cluster = Cluster::build(Path::new(VXGATE), options).unwrap();
    cluster
        .start_all(Family::V4, &(Cluster::floating(256, &Cluster::SHARD_VTEPS) + Cluster::SIGNED_BFD))
        .unwrap();
    for number in ALL {
        prefer_workers(cluster.gateway(number).gateway.process().unwrap().pid());
    }
    wait_even(&cluster, &ALL);

    let (watcher, load) = (Watcher::start(), Load::start());
    let begin = now();
    thread::sleep(Duration::from_secs(seconds));
    let logs: Vec<String> = cluster.gateways.iter().map(|member| member.gateway.log()).collect();
    let still = watcher.stop();
    drop(load);

    println!("| figure | value |\n| --- | --- |");
    println!(
        "| time, with {} busy processes | {seconds} s |",
        2 * core_affinity::get_core_ids().unwrap().len()
    );
    println!(
        "| the machine stood still for more than {} ms | {} times |",
        STILL.as_millis(),
        still.times.len()
    );
    println!("| the longest of these, or late at all | {:.1} ms |", still.longest.as_secs_f64() * 1e3);
    let mut outside = Vec::new();
    for (number, log) in (1..).zip(&logs) {
        let alarms = alarms(log, begin);
        let (inside, rest): (Vec<_>, Vec<_>) = alarms.into_iter().partition(|&(time, _)| still.excuses(time));
        let stolen = cluster.gateway(number).gateway.show("bfd").unwrap();
        println!(
            "| gateway {number}: alarms while it stood still, other alarms, pauses of BFD's thread, the longest | {}, {}, {}, {} ms |",
            inside.len(),
            rest.len(),
            stolen["stolen-periods"],
            stolen["stolen-longest-ms"]
        );
        outside.extend(rest);
    }
    assert!(outside.is_empty(), "{outside:#?}");
}
