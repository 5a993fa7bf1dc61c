//! Three gateways in mode `floating`, and one of them that fails under probes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ::cluster::assign::ShardCount;
use lab::{Cluster, ClusterOptions, Failure, Family, GapProbe, GapWindow, Station};
use serde_json::Value;

use crate::Error;

const ALL: [u8; 3] = [1, 2, 3];
/// Those of the configuration by default.
const SHARDS: u16 = 256;
const INTERVAL: Duration = Duration::from_millis(1);
/// Datagrams on each way that show that it is open.
const ENOUGH: u64 = 100;
/// How long one thing may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long many overlays may take until all of them are everywhere.
const OPENING: Duration = Duration::from_secs(120);
/// Priority of workers (SCHED_FIFO): before the probe, behind the cluster's thread and BFD's.
const WORKER_PRIORITY: &str = "10";

/// The cluster, with everything open.
pub(super) struct Stage {
    vxgate: PathBuf,
    cluster: Cluster,
    /// Who fails.
    pub(super) victim: u8,
    /// For each probed overlay whether the victim serves it.
    victims: Vec<bool>,
    /// From the first gateway's start until all was open.
    pub(super) opened: Duration,
}

/// What one fault did.
pub(super) struct Trial {
    /// From the fault until the probe ended it; first all ways out of the overlays, then all into them: of each overlay
    /// IPv4, IPv6.
    pub(super) window: GapWindow,
    /// From the mending until shards were as before.
    pub(super) back: GapWindow,
    /// Milliseconds from the fault until the survivors knew of it, and until the last of them had moved shards.
    pub(super) known: Option<(f64, f64)>,
}

impl Stage {
    pub(super) fn new(vxgate: &Path, overlays: u32) -> Result<Self, Error> {
        let options = ClusterOptions {
            gateways: ALL.len() as u8,
            overlays,
            ingress: false,
            ..ClusterOptions::default()
        };
        let mut cluster = Cluster::build(vxgate, options)?;
        let begin = Instant::now();
        for number in ALL {
            let keys = format!("mode = \"floating\"\n\n{}", Cluster::floating());
            let membership = cluster.membership(number, Family::V4, &keys);
            cluster.start(number, "", &membership)?;
        }
        let mut stage =
            Self { vxgate: vxgate.into(), cluster, victim: 1, victims: Vec::new(), opened: Duration::ZERO };
        ALL.into_iter().try_for_each(|number| stage.go_first(number))?;
        let count = ShardCount::new(SHARDS)?;
        let owners = stage.cluster.wait_even(&ALL, OPENING)?;
        let overlays = stage.cluster.stations.iter().map(|station| &station.site);
        stage.cluster.route_shards(overlays, |vni| count.shard_of(vni))?;
        stage.cluster.wait_open(OPENING)?;
        let owner = |station: &Station| owners[usize::from(count.shard_of(station.site.vni.value()))];
        let probed = stage.cluster.stations.iter().map(owner).collect::<Vec<_>>();
        // The one that serves most of what is probed.
        let served = |number: &u8| probed.iter().filter(|owner| *owner == number).count();
        stage.victim = ALL.into_iter().max_by_key(served).ok_or("no gateway")?;
        stage.victims = probed.iter().map(|&owner| owner == stage.victim).collect();
        stage.opened = begin.elapsed();
        Ok(stage)
    }

    /// How gateways are bound to their netdevs: what was really had.
    pub(super) fn ports(&self) -> Result<Value, Error> {
        let mut ports = serde_json::Map::new();
        for member in &self.cluster.gateways {
            for port in member.gateway.show("ports")?.as_array().into_iter().flatten() {
                let text = |key: &str| port[key].as_str().unwrap_or("unknown").to_owned();
                let name = format!("gateway {} {}", member.number, text("interface"));
                ports.insert(name, format!("{}, {}", text("xdp"), text("bind")).into());
            }
        }
        Ok(ports.into())
    }

    /// How many of the probed overlays the victim serves, and how many there are.
    pub(super) fn probed(&self) -> (usize, usize) {
        (self.victims.iter().filter(|of_victim| **of_victim).count(), self.victims.len())
    }

    /// Whether the victim serves what is on this way.
    pub(super) fn is_victims(&self, flow: usize) -> bool {
        self.victims[flow / 2 % self.victims.len()]
    }

    /// A fault, the takeover, the mending, and all as before.
    pub(super) fn trial(&mut self, failure: Failure) -> Result<Trial, Error> {
        let flows = [self.cluster.egress_flows(), self.cluster.ingress_flows()].concat();
        let probe = GapProbe::start(&flows, INTERVAL)?;
        probe.wait_flowing(ENOUGH, PATIENCE)?;
        let wall = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
        let begin = self.cluster.gateway(self.victim).fail(failure)?;
        let flowing = probe.wait_flowing(ENOUGH, PATIENCE);
        let known = self.known(wall)?;
        let end = Instant::now();
        self.cluster.gateway(self.victim).mend()?;
        flowing.map_err(|error| format!("{failure:?}: {error}"))?;
        if failure == Failure::Killed {
            self.go_first(self.victim)?;
        }
        self.cluster.wait_even(&ALL, PATIENCE)?;
        probe.wait_flowing(ENOUGH, PATIENCE)?;
        let report = probe.stop()?;
        Ok(Trial { window: report.window(begin, end), back: report.since(end), known })
    }

    /// Has a gateway's worker run before what is ordinary. Its threads of BFD and cluster see to that themselves.
    fn go_first(&mut self, number: u8) -> Result<(), Error> {
        let process = self.cluster.gateway(number).gateway.process().ok_or("it was never started")?;
        for task in fs::read_dir(format!("/proc/{}/task", process.pid()))? {
            let task = task?;
            if !fs::read_to_string(task.path().join("comm"))?.starts_with("worker-") {
                continue;
            }
            let output = Command::new("chrt")
                .args(["--fifo", "--pid", WORKER_PRIORITY])
                .arg(task.file_name())
                .output()?;
            if !output.status.success() {
                return Err(String::from_utf8_lossy(&output.stderr).into());
            }
        }
        Ok(())
    }

    /// Milliseconds from the fault, at `wall`, until each survivor has said that the victim is another than it was, and that
    /// it has moved shards: of the last one.
    fn known(&self, wall: f64) -> Result<Option<(f64, f64)>, Error> {
        let mut worst: Option<(f64, f64)> = None;
        for member in self.cluster.gateways.iter().filter(|member| member.number != self.victim) {
            let output = Command::new(&self.vxgate)
                .args(["events", "--socket"])
                .arg(member.gateway.socket())
                .output()?;
            let mut times = [None; 2];
            for line in String::from_utf8(output.stdout)?.lines() {
                let event: Value = serde_json::from_str(line)?;
                let time: f64 = event["time"].as_str().ok_or("an event without time")?.parse()?;
                let kind = match event["event"].as_str() {
                    Some("cluster-peer") if event["gateway"] == self.victim => 0,
                    Some("cluster-moved") => 1,
                    _ => continue,
                };
                // Times of events have milliseconds.
                let after = (time - wall) * 1e3;
                if after > -1.0 {
                    times[kind].get_or_insert(after);
                }
            }
            let [Some(known), Some(moved)] = times else { return Ok(None) };
            let so_far = worst.unwrap_or((0.0, 0.0));
            worst = Some((so_far.0.max(known), so_far.1.max(moved)));
        }
        Ok(worst)
    }
}
