//! Three gateways, and one of them that fails under probes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ::cluster::assign::{GatewayId, Key, Member, Members, ShardCount, Weight};
use lab::{Cluster, ClusterGateway, ClusterOptions, Failure, Family, GapProbe, GapWindow, wait_until};
use serde_json::{Value, json};

use super::idle;
use crate::Error;

const ALL: [u8; 3] = [1, 2, 3];
/// As many as by default.
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

/// How the gateways share overlays.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// By who announces an overlay. Reflector and router speak BFD with the gateways at this interval, × 3.
    Announce(Duration),
    /// By shards.
    Floating,
}

/// The cluster, with everything open.
pub(super) struct Stage {
    mode: Mode,
    /// How many groups each gateway serves, by number.
    serves: Vec<u64>,
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
    /// Milliseconds from the fault until the survivors knew of it, and until the last of them had moved groups.
    pub(super) known: Option<(f64, f64)>,
    /// In `announce`: milliseconds from the fault until the last survivor's connection to the reflector had been given its last
    /// route.
    pub(super) announced: Option<f64>,
}

impl Stage {
    pub(super) fn new(vxgate: &Path, overlays: u32, mode: Mode) -> Result<Self, Error> {
        let (bfd, keys) = match mode {
            Mode::Announce(bfd) => (Some(bfd), Cluster::ANNOUNCE.to_owned()),
            Mode::Floating => (None, Cluster::floating(SHARDS, &Cluster::SHARD_VTEPS)),
        };
        let options = ClusterOptions {
            gateways: ALL.len() as u8,
            overlays,
            bfd,
            ingress: false,
            ..ClusterOptions::default()
        };
        let mut cluster = Cluster::build(vxgate, options)?;
        let begin = Instant::now();
        cluster.start_all(Family::V4, &(keys + Cluster::SIGNED_BFD))?;
        let mut stage = Self {
            mode,
            serves: Vec::new(),
            cluster,
            victim: 1,
            victims: Vec::new(),
            opened: Duration::ZERO,
        };
        ALL.into_iter().try_for_each(|number| stage.go_first(number))?;
        let probed = stage.owners()?;
        // The one that serves most of what is probed.
        let served = |number: &u8| probed.iter().filter(|owner| *owner == number).count();
        stage.victim = ALL.into_iter().max_by_key(served).ok_or("no gateway")?;
        stage.victims = probed.iter().map(|&owner| owner == stage.victim).collect();
        if let Mode::Announce(_) = mode {
            // Whoever lives forwards what the router sends it.
            let other = ALL.into_iter().find(|&number| number != stage.victim).ok_or("no other gateway")?;
            stage.cluster.route_blocks_by(other)?;
        }
        stage.cluster.wait_open(OPENING)?;
        stage.serves = stage.serves()?;
        stage.opened = begin.elapsed();
        Ok(stage)
    }

    /// Waits until all groups have an owner: those of the probed overlays, with routes to their shards' addresses.
    fn owners(&self) -> Result<Vec<u8>, Error> {
        let vnis = self.cluster.stations.iter().map(|station| station.site.vni.value());
        Ok(match self.mode {
            Mode::Announce(_) => {
                let ids = ALL.into_iter().filter_map(|number| GatewayId::new(number.into()));
                let members = Members::new(ids.map(|id| Member { id, weight: Weight::default() }))?;
                let winner = |vni| members.winner(Key::overlay(vni)).map_or(0, |id| id.value() as u8);
                // Before each has what it wins, overlays still move.
                wait_until("each overlay to be its winner's", OPENING, || {
                    let owners = self.cluster.owners(&ALL)?;
                    // VNIs from 1.
                    let moving = owners.iter().zip(1..).filter(|&(&owner, vni)| owner != winner(vni)).count();
                    if moving == 0 { Ok(()) } else { Err(format!("{moving} are not")) }
                })?;
                vnis.map(winner).collect()
            }
            Mode::Floating => {
                let count = ShardCount::new(SHARDS)?;
                let owners = self.cluster.wait_even(&ALL, OPENING)?;
                let overlays = self.cluster.stations.iter().map(|station| &station.site);
                self.cluster.route_shards(overlays, |vni| count.shard_of(vni))?;
                vnis.map(|vni| owners[usize::from(count.shard_of(vni))]).collect()
            }
        })
    }

    /// How many groups each gateway says that it serves.
    fn serves(&self) -> Result<Vec<u64>, Error> {
        let of = |member: &ClusterGateway| {
            Ok(member.gateway.show("cluster")?[0]["serves"].as_u64().ok_or("it has left")?)
        };
        self.cluster.gateways.iter().map(of).collect()
    }

    /// Waits until each gateway serves as much as before.
    fn wait_as_before(&self) -> Result<(), Error> {
        let as_before = || match self.serves() {
            Ok(serves) if serves == self.serves => Ok(()),
            Ok(serves) => Err(format!("{serves:?}, not {:?}", self.serves)),
            Err(error) => Err(error.to_string()),
        };
        Ok(wait_until("gateways to serve what they did", PATIENCE, as_before)?)
    }

    /// What the gateways say to each other while nothing happens.
    pub(super) fn idle(&self) -> Result<idle::Rates, Error> {
        let rates = idle::Rates::of(&self.cluster)?;
        eprintln!("{}", rates.line());
        Ok(rates)
    }

    /// How gateways are bound to their netdevs, and how soon BFD finds whom dead: what was really had.
    pub(super) fn modes(&self) -> Result<Value, Error> {
        let (mut ports, mut bfd) = (serde_json::Map::new(), BTreeMap::<_, u32>::new());
        for member in &self.cluster.gateways {
            let sessions = member.gateway.show("bfd")?;
            let scheduling = if sessions["real-time"] == true { "real-time" } else { "NOT real-time" };
            for session in sessions["sessions"].as_array().into_iter().flatten() {
                let (state, detection) = (&session["state"], &session["detection-ms"]);
                let name = format!(
                    "{}, detection {detection} ms, {scheduling}",
                    state.as_str().unwrap_or("unknown")
                );
                *bfd.entry(name).or_default() += 1;
            }
            for port in member.gateway.show("ports")?.as_array().into_iter().flatten() {
                let text = |key: &str| port[key].as_str().unwrap_or("unknown").to_owned();
                let name = format!("gateway {} {}", member.number, text("interface"));
                ports.insert(name, format!("{}, {}", text("xdp"), text("bind")).into());
            }
        }
        Ok(json!({"ports": ports, "bfd sessions": bfd}))
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
        let mut flows = self.cluster.egress_flows();
        if self.mode == Mode::Floating {
            flows.extend(self.cluster.ingress_flows());
        }
        let probe = GapProbe::start(&flows, INTERVAL)?;
        probe.wait_flowing(ENOUGH, PATIENCE)?;
        #[expect(clippy::disallowed_methods, reason = "compared with events")]
        let wall = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
        let begin = self.cluster.gateway(self.victim).fail(failure)?;
        let flowing = probe.wait_flowing(ENOUGH, PATIENCE);
        let [known, moved, announced] = self.known(wall)?;
        let end = Instant::now();
        self.cluster.gateway(self.victim).mend()?;
        flowing.map_err(|error| format!("{failure:?}: {error}"))?;
        if failure == Failure::Killed {
            self.go_first(self.victim)?;
        }
        self.wait_as_before()?;
        probe.wait_flowing(ENOUGH, PATIENCE)?;
        let report = probe.stop()?;
        Ok(Trial {
            window: report.window(begin, end),
            back: report.since(end),
            known: known.zip(moved),
            announced,
        })
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

    /// Milliseconds from the fault, at `wall`: until each survivor has said that the victim is another than it was, and that
    /// it has moved groups, of the last one; and the same until it has announced them.
    fn known(&self, wall: f64) -> Result<[Option<f64>; 3], Error> {
        let mut worst = [Some(0.0f64); 3];
        for member in self.cluster.gateways.iter().filter(|member| member.number != self.victim) {
            let times = wait_until("the event of the last route", PATIENCE, || {
                let times = self.times(member, wall).map_err(|error| error.to_string())?;
                let is_told = times[2].is_some() || self.mode == Mode::Floating;
                if is_told { Ok(times) } else { Err("not yet".to_owned()) }
            })?;
            for (worst, time) in worst.iter_mut().zip(times) {
                *worst = worst.zip(time).map(|(worst, time)| worst.max(time));
            }
        }
        Ok(worst)
    }

    /// The same of one survivor; none of what it has not said.
    fn times(&self, member: &ClusterGateway, wall: f64) -> Result<[Option<f64>; 3], Error> {
        let mut times = [None; 3];
        for event in member.gateway.events()? {
            let time: f64 = event["time"].as_str().ok_or("an event without time")?.parse()?;
            let kind = match event["event"].as_str() {
                Some("cluster-peer") if event["gateway"] == self.victim => 0,
                Some("cluster-moved") => 1,
                Some("cluster-announced") => 2,
                _ => continue,
            };
            // Times of events have milliseconds.
            let after = (time - wall) * 1e3;
            if after > -1.0 {
                times[kind].get_or_insert(after);
            }
        }
        Ok(times)
    }
}
