//! Gateways that take over for each other: how long nothing comes when one fails.
//!
//! ```text
//!  stations ─ endpoint ─┐               ┌─ gateway 1 ─┐
//!                       ├── underlay ───┼─ gateway 2 ─┼─── uplink ─ router ─ outer host
//!            reflector ─┘               └─ gateway 3 ─┘
//! ```

mod announce;
mod idle;
mod stage;

use std::path::Path;
use std::time::{Duration, Instant};

use lab::{Failure, GapWindow};
use serde_json::{Map, Value, json};

use self::stage::{Mode, Stage, Trial};
use crate::Error;
use crate::figure::{Figure, Goal, median};

/// How often all interfaces go down, unless told otherwise: as often as there is time for.
pub(crate) const RUNS: usize = 30;
/// Longest time for them.
const TIME: Duration = Duration::from_secs(300);
/// How often with many overlays, and each other fault.
const FEW: usize = 5;
const FEW_OVERLAYS: u32 = 100;
const MANY_OVERLAYS: u32 = 65_536;

const MEDIAN: Goal = Goal::AtMost(40.0);
const WORST: Goal = Goal::AtMost(60.0);
const OTHERS: Goal = Goal::AtMost(80.0);
const MANY: Goal = Goal::AtMost(1.2);

/// Faults but [`Failure::AllDown`].
const FAULTS: [(Failure, &str); 5] = [
    (Failure::Killed, "SIGKILL"),
    (Failure::Stopped, "SIGSTOP"),
    (Failure::UplinkDown, "uplink down"),
    (Failure::UnderlayDown, "underlay down"),
    (Failure::WorkerHeld, "worker held"),
];

/// Ways, in the order of a trial's flows.
const WAYS: [&str; 4] = ["egress IPv4", "egress IPv6", "ingress IPv4", "ingress IPv6"];

/// How it is measured, with so many `runs` of the first fault at most.
fn modes(really: &Map<String, Value>, runs: usize) -> Value {
    json!({
        "mode": "floating; announce where it says so", "bfd": "10 ms x 3, signed", "polling": "adaptive", "workers": 1, "shards": 256, "really had": really,
        "scheduling": "SCHED_FIFO: BFD 40, cluster 39, worker 10, probe 1; all else ordinary",
        "repetitions": {"all down, at most": runs, "others": FEW.min(runs)},
        "probe": "1 ms, each way, both families, 8 overlays",
        "ingress": "static routes at the router, by the shards' uplink addresses",
        "announce": announce::MODES,
    })
}

/// Measures all, or mode `announce` alone, with so many `runs` of the first fault: figures, and how it was measured.
pub(crate) fn figures(
    vxgate: &Path,
    runs: usize,
    announce_alone: bool,
) -> Result<(Vec<Figure>, Value), Error> {
    let (mut figures, mut really) = if announce_alone { Default::default() } else { floating(vxgate, runs)? };
    let (of_announce, had) = announce::figures(vxgate, runs)?;
    figures.extend(of_announce);
    really.extend(had);
    Ok((figures, modes(&really, runs)))
}

/// The same of mode `floating`; of how, what was really had.
fn floating(vxgate: &Path, runs: usize) -> Result<(Vec<Figure>, Map<String, Value>), Error> {
    let mut stage = Stage::new(vxgate, FEW_OVERLAYS, Mode::Floating)?;
    say_opened(&stage, FEW_OVERLAYS);
    let mut really = Map::new();
    really.insert(format!("floating, {FEW_OVERLAYS} overlays"), stage.modes()?);
    let idle_few = stage.idle()?;
    let (few, mut figures) = series(&mut stage, Failure::AllDown, "all down", runs)?;
    let mut duplicates = few.duplicates;
    let goals = |figures: &mut [Figure], first: Goal, second: Goal| {
        // Behind those of the ways there are figures without a goal.
        for pair in figures[..2 * WAYS.len()].chunks_mut(2) {
            let [median, worst] = pair else { continue };
            *median = median.clone().goal(first);
            *worst = worst.clone().goal(second);
        }
    };
    goals(&mut figures, MEDIAN, WORST);
    for (failure, name) in FAULTS {
        let (series, mut more) = series(&mut stage, failure, name, FEW.min(runs))?;
        goals(&mut more, OTHERS, OTHERS);
        figures.extend(more);
        duplicates += series.duplicates;
    }
    figures.push(
        Figure::new("packets twice, from fault to takeover", duplicates as f64, "").goal(Goal::AtMost(0.0)),
    );
    drop(stage);

    let mut stage = Stage::new(vxgate, MANY_OVERLAYS, Mode::Floating)?;
    say_opened(&stage, MANY_OVERLAYS);
    really.insert(format!("floating, {MANY_OVERLAYS} overlays"), stage.modes()?);
    let idle_many = stage.idle()?;
    let name = format!("all down, {MANY_OVERLAYS} overlays");
    let (many, more) = series(&mut stage, Failure::AllDown, &name, FEW.min(runs))?;
    figures.extend(more);
    for ((way, few), many) in WAYS.iter().zip(few.medians).zip(many.medians) {
        let figure = Figure::new(
            format!("{way}: median at {MANY_OVERLAYS} overlays over {FEW_OVERLAYS}"),
            many / few,
            "",
        );
        figures.push(figure.goal(MANY));
    }
    figures.extend(idle::figures("floating", idle_few, idle_many));
    Ok((figures, really))
}

fn say_opened(stage: &Stage, overlays: u32) {
    let (of_victim, probed) = stage.probed();
    eprintln!(
        "{overlays} overlays: all open after {:.1} s; gateway {} fails, which serves {of_victim} of {probed} probed ones",
        stage.opened.as_secs_f64(),
        stage.victim
    );
}

/// What a fault did in several runs.
struct Series {
    /// Milliseconds, by way.
    medians: [f64; 4],
    duplicates: u64,
}

/// Has a fault happen again and again: for each way the median and the worst gap of an overlay that the failing gateway
/// serves.
fn series(
    stage: &mut Stage,
    failure: Failure,
    name: &str,
    runs: usize,
) -> Result<(Series, Vec<Figure>), Error> {
    let worst = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
    let begin = Instant::now();
    let mut gaps: [Vec<f64>; 4] = Default::default();
    let (mut lost, mut duplicates, mut still) = ([0; 4], 0, Vec::new());
    let (mut moved, mut back) = (Vec::new(), Vec::new());
    while gaps[0].len() < runs && (gaps[0].is_empty() || begin.elapsed() < TIME) {
        let trial = stage.trial(failure)?;
        let (seen, after) = (Seen::of(&trial.window, stage), Seen::of(&trial.back, stage));
        eprintln!("{name}, run {} of {runs}: {}", gaps[0].len() + 1, seen.line(&trial, &after));
        for way in 0..WAYS.len() {
            gaps[way].push(seen.gaps[way]);
            lost[way] += seen.lost[way];
        }
        duplicates += seen.duplicates;
        still.push(seen.still);
        moved.extend(trial.known.map(|(_, moved)| moved));
        back.push(worst(&after.gaps));
    }
    let medians = gaps.each_ref().map(|gaps| median(gaps.iter().copied()));
    let mut figures = Vec::new();
    for (way, gaps) in gaps.iter().enumerate() {
        let note = format!(
            "{} lost of {} runs; the probe itself stood still {:.0} ms at most, {:.0} in the middle",
            lost[way],
            gaps.len(),
            worst(&still),
            median(still.iter().copied())
        );
        let figure = |what, value| Figure::new(format!("{name}, {}: {what}", WAYS[way]), value, "ms");
        figures.extend([figure("median", medians[way]).note(note), figure("worst", worst(gaps))]);
    }
    let more = |what: &str, values: &[f64]| {
        let note = format!("worst {:.0}, of {} runs", worst(values), values.len());
        Figure::new(format!("{name}: {what}, median"), median(values.iter().copied()), "ms").note(note)
    };
    if !moved.is_empty() {
        figures.push(more("until the last survivor has moved its shards", &moved));
    }
    figures.push(more("longest gap when it comes back", &back));
    Ok((Series { medians, duplicates }, figures))
}

/// One run, in numbers.
struct Seen {
    /// Longest gap of an overlay of the victim's, in milliseconds, by way.
    gaps: [f64; 4],
    lost: [u64; 4],
    duplicates: u64,
    /// Longest gap of all others.
    others: f64,
    /// For how long the probe itself did nothing.
    still: f64,
}

impl Seen {
    fn of(window: &GapWindow, stage: &Stage) -> Self {
        let mut seen = Self {
            gaps: [0.0; 4],
            lost: [0; 4],
            duplicates: 0,
            others: 0.0,
            still: ms(window.sender_gap.max(window.receiver_gap)),
        };
        for (flow, of_flow) in window.flows.iter().enumerate() {
            let gap = ms(of_flow.gap_length());
            seen.duplicates += of_flow.duplicates;
            if !stage.is_victims(flow) {
                seen.others = seen.others.max(gap);
                continue;
            }
            let way = flow * 2 / window.flows.len() * 2 + flow % 2;
            seen.gaps[way] = seen.gaps[way].max(gap);
            seen.lost[way] += of_flow.lost();
        }
        seen
    }

    fn line(&self, trial: &Trial, after: &Self) -> String {
        let known = trial.known.map_or_else(String::new, |(known, moved)| {
            format!("; known after {known:.0}, moved after {moved:.0}")
        });
        format!(
            "{:.0?} ms, lost {:?}, twice {}{known}; other overlays {:.0}, the probe stood still {:.0}; \
             when it came back {:.0?} ms, lost {:?}, twice {}, the probe {:.0}",
            self.gaps,
            self.lost,
            self.duplicates,
            self.others,
            self.still,
            after.gaps,
            after.lost,
            after.duplicates,
            after.still
        )
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
