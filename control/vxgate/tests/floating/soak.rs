//! False alarms: BFD at its default, 10 ms × 3, for long, on a machine all of whose cores are busy with something else.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lab::{Cluster, ClusterOptions, Family};
use serde_json::Value;

use crate::{ALL, GATEWAYS, VXGATE, wait_even};

/// Above the threads of BFD (40), and below the kernel's interrupt threads.
const WATCH_PRIORITY: i32 = 49;
/// How often watchers look at the clock.
const LOOK: Duration = Duration::from_millis(1);
/// The machine stands still when whoever comes before all others is late by more.
const STILL: Duration = Duration::from_millis(10);
/// For so long after the machine stood still a session may end because of it: the detection time, and one packet's more.
const AFTERMATH: f64 = 0.040;

/// Seconds since 1970.
fn now() -> f64 {
    #[expect(clippy::disallowed_methods, reason = "compared with events")]
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

/// From when to when the machine stood still, and the longest that a watcher was late.
type Seen = (Vec<(f64, f64)>, Duration);

/// One thread a core, which is late when nothing runs there.
struct Watcher {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Seen>>,
}

impl Watcher {
    fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let watch = |core: core_affinity::CoreId| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                assert!(core_affinity::set_for_current(core));
                sys::scheduling::set_realtime(WATCH_PRIORITY).unwrap();
                let (mut still, mut longest) = (Vec::new(), Duration::ZERO);
                while !stop.load(Ordering::Relaxed) {
                    let (begin, start) = (now(), Instant::now());
                    thread::sleep(LOOK);
                    let late = start.elapsed().saturating_sub(LOOK);
                    longest = longest.max(late);
                    if late > STILL {
                        still.push((begin, now()));
                    }
                }
                (still, longest)
            })
        };
        let threads = core_affinity::get_core_ids().unwrap().into_iter().map(watch).collect();
        Self { stop, threads }
    }

    fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = (Vec::new(), Duration::ZERO);
        for thread in self.threads {
            let (still, longest) = thread.join().unwrap();
            all.0.extend(still);
            all.1 = all.1.max(longest);
        }
        all
    }
}

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

/// Has the gateway's workers run before ordinary threads, as where they have cores of their own.
fn prefer_workers(pid: u32) {
    for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let task = task.unwrap();
        if fs::read_to_string(task.path().join("comm")).unwrap_or_default().starts_with("worker-") {
            let number = task.file_name().into_string().unwrap();
            assert!(Command::new("chrt").args(["-f", "-p", "10", &number]).status().unwrap().success());
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
    cluster.start_all(Family::V4, &Cluster::floating(256, &Cluster::SHARD_VTEPS)).unwrap();
    for number in ALL {
        prefer_workers(cluster.gateway(number).gateway.process().unwrap().pid());
    }
    wait_even(&cluster, &ALL);

    let (watcher, load) = (Watcher::start(), Load::start());
    let begin = now();
    thread::sleep(Duration::from_secs(seconds));
    let logs: Vec<String> = cluster.gateways.iter().map(|member| member.gateway.log()).collect();
    let (still, longest) = watcher.stop();
    drop(load);

    println!("| figure | value |\n| --- | --- |");
    println!(
        "| time, with {} busy processes | {seconds} s |",
        2 * core_affinity::get_core_ids().unwrap().len()
    );
    println!("| the machine stood still for more than {} ms | {} times |", STILL.as_millis(), still.len());
    println!("| the longest of these, or late at all | {:.1} ms |", longest.as_secs_f64() * 1e3);
    let mut outside = Vec::new();
    for (number, log) in (1..).zip(&logs) {
        let alarms = alarms(log, begin);
        let excused = |time: f64| still.iter().any(|&(from, to)| (from..to + AFTERMATH).contains(&time));
        let (inside, rest): (Vec<_>, Vec<_>) = alarms.into_iter().partition(|&(time, _)| excused(time));
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
