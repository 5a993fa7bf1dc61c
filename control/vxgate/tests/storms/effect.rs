//! What an attack did, held against what it may do, and the table of all.

use std::fmt;
use std::ops::RangeBounds;
use std::time::Duration;

use lab::{Family, LatencyReport, StormReport};

use crate::stage::Counters;

/// What an attack did.
pub(crate) struct Effect {
    pub(crate) name: &'static str,
    pub(crate) storm: StormReport,
    /// By how much counters have risen, those that have.
    pub(crate) rises: Counters,
    /// From before the storm until the counters were read.
    pub(crate) elapsed: Duration,
    pub(crate) pings: Vec<PingEffect>,
    /// Frames that the gateway's sockets had no room for.
    pub(crate) overflowed: u64,
    /// What was not as it must be.
    pub(crate) wrong: Vec<String>,
}

/// What became of the echo requests of one probe.
pub(crate) struct PingEffect {
    pub(crate) vni: u32,
    pub(crate) family: Family,
    /// Whether a hostile station is in the same overlay.
    pub(crate) is_beside_hostile: bool,
    pub(crate) before: LatencyReport,
    pub(crate) during: LatencyReport,
}

/// Limits of what the slow path is given of one overlay, by class, as the book says: a second, and at once.
const LIMITS: [(&str, u64, u64); 5] = [
    ("neighbour", 200, 100),
    ("resolve", 100, 64),
    ("stranger", 100, 64),
    ("host", 200, 50),
    ("error", 100, 50),
];

impl Effect {
    pub(crate) fn rise(&self, counter: &str) -> u64 {
        self.rises.get(counter).copied().unwrap_or(0)
    }

    /// That something holds.
    pub(crate) fn check(mut self, holds: bool, what: impl fmt::Display) -> Self {
        if !holds {
            self.wrong.push(format!("{}: {what}; counted: {:?}", self.name, self.rises));
        }
        self
    }

    /// That pings in all overlays went on, without a loss. Where the machine did not let the gateway run for so long that
    /// its sockets were full, frames are lost before anybody can tell overlays apart: there a twentieth is allowed.
    pub(crate) fn unnoticed(mut self) -> Self {
        for PingEffect { vni, family, before, during, .. } in &self.pings {
            let allowed = if self.overflowed == 0 { 0 } else { during.sent / 20 };
            if before.lost() > 0 || during.lost() > allowed {
                let what = format!("{}: ping in {vni}, {family:?}: {before}; {during}", self.name);
                self.wrong.push(what);
            }
        }
        self
    }

    /// That a counter has risen by so much.
    pub(crate) fn counted(self, counter: &str, range: impl RangeBounds<u64> + fmt::Debug) -> Self {
        let rise = self.rise(counter);
        self.check(range.contains(&rise), format_args!("{rise} of {counter}, not {range:?}"))
    }

    /// That each of these counters has risen.
    pub(crate) fn counted_all(self, counters: &[&str]) -> Self {
        counters.iter().fold(self, |effect, counter| effect.counted(counter, 1..))
    }

    /// That none of these counters has risen.
    pub(crate) fn counted_none(self, counters: &[&str]) -> Self {
        counters.iter().fold(self, |effect, counter| effect.counted(counter, ..1))
    }

    /// That the limits of one overlay in a class held, and had to.
    pub(crate) fn limited(self, class: &str) -> Self {
        let limit = LIMITS.iter().find(|(name, ..)| *name == class);
        let (_, rate, burst) = limit.expect("a class of the table");
        let most = burst + (*rate as f64 * self.elapsed.as_secs_f64()) as u64;
        self.counted(&format!("{class} handed over"), 1..=most).counted(&format!("{class} refused"), 1..)
    }

    /// That the slow path sent nothing: no answer, no question, no error.
    pub(crate) fn unanswered(self) -> Self {
        self.counted_none(&["slow_path"])
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, storm, overflowed, .. } = self;
        let [handed_over, refused] = ["handed over", "refused"].map(|what| -> u64 {
            LIMITS.iter().map(|(class, ..)| self.rise(&format!("{class} {what}"))).sum()
        });
        writeln!(
            f,
            "{name}: {:.0} packets/s; to the slow path {handed_over}, refused {refused}; sockets full {overflowed}",
            storm.rate()
        )?;
        for PingEffect { vni, family, is_beside_hostile, before, during } in &self.pings {
            let place = if *is_beside_hostile { "same overlay" } else { "other" };
            writeln!(f, "  {vni} {family:?} {place:12} | {} | {}", Columns(before), Columns(during))?;
        }
        Ok(())
    }
}

struct Columns<'a>(&'a LatencyReport);

impl fmt::Display for Columns<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(report) = self;
        let [p50, p99, max] = [report.p50, report.p99, report.max].map(|time| time.as_micros());
        write!(f, "{:4} {:5} {p50:7} {p99:7} {max:7}", report.lost(), report.sent)
    }
}

/// The table of all.
pub(crate) fn table(effects: &[Effect]) -> String {
    let columns = "lost    of  p50 µs  p99 µs  max µs";
    let head = format!("{:23} | before: {columns:26} | during: {columns}\n", "overlay");
    head + &effects.iter().map(Effect::to_string).collect::<String>()
}
