//! How well a rate is kept.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use core_affinity::CoreId;
use lab::wait_until;
use pktgen::profile::{Profile, Rate};
use pktgen::send::{self, Sent};

use super::sending::options;
use super::{Link, PROFILE};
use crate::Error;
use crate::figure::{Figure, Goal, median};

/// How long each rate is sent.
const TIME: Duration = Duration::from_secs(2);
/// Until what was sent last has arrived, or never will.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often; of gaps the median of the percentiles is shown.
const TURNS: usize = 3;

/// Errors in per cent, and percentiles of gaps in microseconds.
pub(super) fn figures(link: &Link, core: CoreId, fastest: f64) -> Result<Vec<Figure>, Error> {
    let rates =
        [("1 k", 1e3), ("10 k", 1e4), ("100 k", 1e5), ("50 % of the fastest", (fastest / 2.0).round())];
    let mut figures = Vec::new();
    for (name, rate) in rates {
        let turns = (0..TURNS).map(|_| send(link, core, rate)).collect::<Result<Vec<_>, _>>()?;
        let error = |(sent, arrived): &(Sent, u64)| {
            let arrived = *arrived as f64 / sent.packets as f64;
            (sent.reached().unwrap_or(0.0) * arrived - 1.0).abs() * 100.0
        };
        let worst = turns.iter().map(error).fold(0.0, f64::max);
        figures.push(
            Figure::new(format!("{name} packets/s: error, the worst of {TURNS}"), worst, "%")
                .goal(Goal::AtMost(0.5)),
        );
        for percentile in [1.0, 50.0, 99.0, 99.9] {
            let gap =
                |(sent, _): &(Sent, u64)| sent.gaps.histogram().value_at_percentile(percentile) as f64 / 1e3;
            let value = median(turns.iter().map(gap));
            figures.push(Figure::new(format!("{name} packets/s: gap, p{percentile}"), value, "µs"));
        }
    }
    Ok(figures)
}

/// What the sender says of itself, and how many packets the far end saw.
fn send(link: &Link, core: CoreId, rate: f64) -> Result<(Sent, u64), Error> {
    let mut profile = Profile::parse("bench", PROFILE)?;
    profile.rate = Rate::Packets(rate);
    profile.limit.duration = Some(TIME);
    let stop = Arc::new(AtomicBool::new(false));
    let before = link.arrived()?;
    let sent = link.near.enter(|| send::start(&profile, &options(core), &stop))??.join();
    let arrived = || Ok::<_, Error>(link.arrived()? - before);
    // The last are on their way; those that are lost never come.
    let _ = wait_until("the last packets", PATIENCE, || arrived().is_ok_and(|came| came >= sent.packets));
    match arrived()? {
        came if came > 0 && came.abs_diff(sent.packets) * 1000 <= sent.packets => Ok((sent, came)),
        came => Err(format!("at {rate} packets/s {} were sent, and {came} arrived", sent.packets).into()),
    }
}
