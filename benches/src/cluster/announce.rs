//! Mode `announce`: how long nothing leaves the overlays of a gateway that dies, until others have announced them.

use std::path::Path;
use std::time::Duration;

use lab::Failure;
use serde_json::{Map, Value};

use super::stage::{Mode, Stage, Trial};
use super::{FEW, FEW_OVERLAYS, MANY_OVERLAYS, idle, ms};
use crate::Error;
use crate::figure::{Figure, Goal, median};

/// How it is measured.
pub(super) const MODES: &str = "all down; BFD of reflector and router 50 ms x 3; egress alone";
const BFD: Duration = Duration::from_millis(50);

/// How many overlays there are; the goal is for the second.
const OVERLAYS: [(u32, Option<Goal>); 4] =
    [(FEW_OVERLAYS, None), (1000, Some(Goal::AtMost(300.0))), (10_000, None), (MANY_OVERLAYS, None)];

/// Milliseconds of one run.
struct Outage {
    /// Of the probed overlay that came back first, and of the one that came back last; of both families. They carry traffic, and
    /// so they are announced before all others: of those, `ours` tells.
    first: f64,
    last: f64,
    /// From the fault until our last route was given to the connection, and from then until the last overlay was back.
    ours: f64,
    frr: f64,
    twice: u64,
    /// For how long the probe itself did nothing.
    still: f64,
}

/// Measures all, and how it was measured.
pub(super) fn figures(vxgate: &Path, runs: usize) -> Result<(Vec<Figure>, Map<String, Value>), Error> {
    let (mut figures, mut idle, mut modes) = (Vec::new(), Vec::new(), Map::new());
    for (overlays, goal) in OVERLAYS {
        let mut stage = Stage::new(vxgate, overlays, Mode::Announce(BFD))?;
        super::say_opened(&stage, overlays);
        modes.insert(format!("announce, {overlays} overlays"), stage.modes()?);
        if [FEW_OVERLAYS, MANY_OVERLAYS].contains(&overlays) {
            idle.push(stage.idle()?);
        }
        let name = format!("announce, {overlays} overlays");
        let mut outages = Vec::new();
        for run in 1..=FEW.min(runs) {
            let trial = stage.trial(Failure::AllDown)?;
            let outage = outage(&trial, &stage)?;
            eprintln!(
                "{name}, run {run}: first {:.0} ms, last {:.0}; our last route {:.0} after the fault, seen {:.0} later; twice {}; \
                 the probe stood still {:.0}",
                outage.first, outage.last, outage.ours, outage.frr, outage.twice, outage.still
            );
            outages.push(outage);
        }
        let figure = |what: &str, of: fn(&Outage) -> f64| {
            let worst = outages.iter().map(of).fold(0.0, f64::max);
            Figure::new(format!("{name}, egress: {what}, median"), median(outages.iter().map(of)), "ms")
                .note(format!("worst {worst:.0} of {} runs; BFD of the reflector 50 ms x 3", outages.len()))
        };
        figures.push(figure("first probed overlay", |outage| outage.first).goal(goal));
        figures.push(figure("last probed overlay", |outage| outage.last).goal(goal));
        figures.push(figure("ours, until the last route of all overlays is written", |outage| outage.ours));
        figures.push(figure("FRR's, from then until the last probed overlay is back", |outage| outage.frr));
        let twice: u64 = outages.iter().map(|outage| outage.twice).sum();
        figures.push(Figure::new(format!("{name}: packets twice, from fault to takeover"), twice as f64, ""));
    }
    if let [few, many] = idle[..] {
        figures.extend(idle::figures("announce", few, many));
    }
    Ok((figures, modes))
}

fn outage(trial: &Trial, stage: &Stage) -> Result<Outage, Error> {
    let of_victim = || trial.window.flows.iter().enumerate().filter(|(flow, _)| stage.is_victims(*flow));
    // Of an overlay the worse of its families.
    let gaps: Vec<f64> = of_victim().map(|(_, flow)| ms(flow.gap_length())).collect();
    let gaps: Vec<f64> =
        gaps.chunks(2).map(|families| families.iter().copied().fold(0.0, f64::max)).collect();
    let recovered = of_victim().map(|(_, flow)| flow.recovery).collect::<Option<Vec<_>>>();
    let recovered = recovered.ok_or("an overlay did not come back")?.into_iter().max().unwrap_or_default();
    let ours = trial.announced.ok_or("nobody said that it has announced")?;
    Ok(Outage {
        first: gaps.iter().copied().fold(f64::INFINITY, f64::min),
        last: gaps.iter().copied().fold(0.0, f64::max),
        ours,
        frr: ms(recovered) - ours,
        twice: trial.window.flows.iter().map(|flow| flow.duplicates).sum(),
        still: ms(trial.window.sender_gap.max(trial.window.receiver_gap)),
    })
}
