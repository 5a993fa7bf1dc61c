//! Two reports beside each other: what differs, and whether that may be chance.
//!
//! What a single run knows of its own noise is used, and no more: of counts, that of binomial sampling; of rates, how much
//! seconds differ; of percentiles, both how much seconds differ and the confidence interval of their ranks, which alone
//! takes packets that waited together for independent ones. None of this knows how much one *run*
//! differs from the next: for that, run both several times, in turn.

use std::fmt::{self, Display, Write};

use serde::{Deserialize, Serialize};

use super::table::Time;
use super::{Report, SliceReport};
use crate::attach::PortFacts;
use crate::receive::{LatencySummary, Percentile};

/// Standard deviations beyond which a difference is no chance: 1 in 370 by chance, were the noise normal.
const SIGMAS: f64 = 3.0;

/// Two reports beside each other.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Comparison {
    /// What the two did not have in common: machine, modes, profile. Figures of unlike runs are not like ones.
    pub unlike: Vec<Unlike>,
    /// The figures.
    pub differences: Vec<Difference>,
}

/// Something that should be the same in both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unlike {
    /// What.
    pub what: String,
    /// In the first.
    pub a: String,
    /// In the second.
    pub b: String,
}

/// A figure in both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// Which.
    pub figure: String,
    /// In the first.
    pub a: f64,
    /// In the second.
    pub b: f64,
    /// `ns`, `packets/s`, or `of all`.
    pub unit: String,
    /// What to make of it.
    pub verdict: Verdict,
}

/// What to make of a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// There is none.
    Same,
    /// It may be chance.
    Noise,
    /// It is more than the noise inside of the two runs.
    Differs,
    /// The runs are too short to tell.
    Unknown,
}

impl Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Same => "same",
            Self::Noise => "within noise",
            Self::Differs => "DIFFERS",
            Self::Unknown => "too short to tell",
        })
    }
}

/// Compares two reports.
pub fn compare(a: &Report, b: &Report) -> Comparison {
    Comparison { unlike: unlike(a, b), differences: differences(a, b) }
}

fn unlike(a: &Report, b: &Report) -> Vec<Unlike> {
    let mut unlike = Vec::new();
    let mut check = |what: &str, a: String, b: String| {
        if a != b {
            unlike.push(Unlike { what: what.to_owned(), a, b });
        }
    };
    let or_unknown = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".into());
    check("profile", or_unknown(&a.profile), or_unknown(&b.profile));
    let requested = |report: &Report| {
        report.sent.as_ref().map_or_else(|| "unknown".into(), |sent| sent.requested.clone())
    };
    check("requested rate", requested(a), requested(b));
    check("CPU", a.machine.cpu.clone(), b.machine.cpu.clone());
    check("cores", a.machine.cores.to_string(), b.machine.cores.to_string());
    check("kernel", a.machine.kernel.clone(), b.machine.kernel.clone());
    check("pktgen", a.machine.pktgen.clone(), b.machine.pktgen.clone());
    check("polling", a.setup.polling.clone(), b.setup.polling.clone());
    check("window", a.setup.window.to_string(), b.setup.window.to_string());
    let cores = |report: &Report| {
        format!("sending on {:?}, receiving on {:?}", report.setup.sender_cores, report.setup.receiver_core)
    };
    check("use of cores", cores(a), cores(b));
    check("end", format!("{:?}", a.ended), format!("{:?}", b.ended));
    for (side, a, b) in
        [("sender", &a.setup.sender, &b.setup.sender), ("receiver", &a.setup.receiver, &b.setup.receiver)]
    {
        type Of = fn(&PortFacts) -> String;
        let facts: [(&str, Of); 7] = [
            ("driver", |port| port.driver.clone()),
            ("firmware", |port| port.firmware.clone()),
            ("MTU", |port| port.mtu.to_string()),
            ("queues", |port| port.queues.to_string()),
            ("link speed", |port| format!("{:?}", port.speed)),
            ("XDP mode", |port| port.xdp.clone()),
            ("socket mode", |port| port.bind.clone()),
        ];
        for (fact, of) in facts {
            let of = |port: &Option<PortFacts>| port.as_ref().map_or_else(|| "none".into(), of);
            check(&format!("{side}'s {fact}"), of(a), of(b));
        }
    }
    unlike
}

fn differences(a: &Report, b: &Report) -> Vec<Difference> {
    let mut all = Vec::new();
    let slices = [&*a.received.slices, &*b.received.slices];
    if let (Some(a), Some(b)) = (&a.sent, &b.sent)
        && let (Some(rate_a), Some(rate_b)) = (a.rate, b.rate)
    {
        // How even sending was is not in the report: only a difference of nothing can be called one.
        let verdict = if rate_a == rate_b { Verdict::Same } else { Verdict::Unknown };
        all.push(difference("sent", rate_a, rate_b, "packets/s", verdict));
    }
    if let (Some(rate_a), Some(rate_b)) = (a.received.rate, b.received.rate) {
        let rate = |slice: &SliceReport| slice.received as f64 / slice.length as f64;
        let verdict = of_samples(&sample(slices[0], rate), &sample(slices[1], rate));
        all.push(difference("received", rate_a, rate_b, "packets/s", verdict));
    }
    let [of_a, of_b] = [a, b].map(|report| {
        let (totals, lost) = (&report.received.totals, report.received.lost);
        let counts = [lost, totals.duplicates, totals.reordered, totals.corrupted, totals.misdelivered];
        (counts, totals.received + lost)
    });
    for (at, name) in ["lost", "duplicates", "reordered", "corrupted", "misdelivered"].into_iter().enumerate()
    {
        all.push(of_counts(name, (of_a.0[at], of_a.1), (of_b.0[at], of_b.1)));
    }
    if let (Some(a), Some(b)) = (&a.received.latency, &b.received.latency) {
        let [p50, p99] = [|slice: &SliceReport| slice.p50 as f64, |slice: &SliceReport| slice.p99 as f64]
            .map(|of| of_samples(&latencies(slices[0], of), &latencies(slices[1], of)));
        type Of = fn(&LatencySummary) -> Percentile;
        let percentiles: [(&str, Of, Verdict); 4] = [
            ("latency p50", |latency| latency.p50, p50),
            ("latency p90", |latency| latency.p90, p50),
            ("latency p99", |latency| latency.p99, p99),
            ("latency p99.9", |latency| latency.p999, p99),
        ];
        all.extend(percentiles.map(|(name, of, seconds)| of_percentiles(name, of(a), of(b), seconds)));
        // Extremes have no distribution that a run would know.
        for (name, a, b) in [("latency min", a.min, b.min), ("latency max", a.max, b.max)] {
            let verdict = if a == b { Verdict::Same } else { Verdict::Unknown };
            all.push(difference(name, a as f64, b as f64, "ns", verdict));
        }
    }
    all
}

fn difference(figure: &str, a: f64, b: f64, unit: &str, verdict: Verdict) -> Difference {
    Difference { figure: figure.to_owned(), a, b, unit: unit.to_owned(), verdict }
}

/// Of whole slices, the first and the last left out: sending began and ended inside those.
fn sample(slices: &[SliceReport], of: fn(&SliceReport) -> f64) -> Vec<f64> {
    let whole = slices.get(1..slices.len().saturating_sub(1)).unwrap_or_default();
    whole.iter().filter(|slice| slice.length > 0).map(of).collect()
}

/// As [`sample`], without the slices in which no latency was measured: their 0 is none.
fn latencies(slices: &[SliceReport], of: fn(&SliceReport) -> f64) -> Vec<f64> {
    sample(slices, of).into_iter().filter(|latency| *latency > 0.0).collect()
}

/// Whether the means of two samples differ by more than their spread allows (Welch's test, at a fixed bound).
fn of_samples(a: &[f64], b: &[f64]) -> Verdict {
    let (Some((mean_a, error_a)), Some((mean_b, error_b))) = (mean(a), mean(b)) else {
        return Verdict::Unknown;
    };
    let difference = (mean_a - mean_b).abs();
    match difference {
        0.0 => Verdict::Same,
        _ if difference > SIGMAS * (error_a + error_b).sqrt() => Verdict::Differs,
        _ => Verdict::Noise,
    }
}

/// The mean, and the square of its standard error; `None` of less than three.
fn mean(sample: &[f64]) -> Option<(f64, f64)> {
    let count = sample.len() as f64;
    if count < 3.0 {
        return None;
    }
    let mean = sample.iter().sum::<f64>() / count;
    let variance = sample.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
    Some((mean, variance / count))
}

/// Of two parts of all: the test of two proportions, pooled.
fn of_counts(name: &str, (a, all_a): (u64, u64), (b, all_b): (u64, u64)) -> Difference {
    let part = |count: u64, all: u64| if all == 0 { 0.0 } else { count as f64 / all as f64 };
    let (part_a, part_b) = (part(a, all_a), part(b, all_b));
    let verdict = if all_a == 0 || all_b == 0 {
        Verdict::Unknown
    } else if part_a == part_b {
        Verdict::Same
    } else {
        let pooled = part(a + b, all_a + all_b).min(1.0);
        let error = (pooled * (1.0 - pooled) * (1.0 / all_a as f64 + 1.0 / all_b as f64)).sqrt();
        if (part_a - part_b).abs() > SIGMAS * error { Verdict::Differs } else { Verdict::Noise }
    };
    difference(name, part_a, part_b, "of all", verdict)
}

/// Of two percentiles: whether their intervals leave room for the same one, and what seconds say.
fn of_percentiles(name: &str, a: Percentile, b: Percentile, seconds: Verdict) -> Difference {
    let verdict = if a.value == b.value {
        Verdict::Same
    } else if a.low <= b.high && b.low <= a.high {
        Verdict::Noise
    } else {
        seconds
    };
    difference(name, a.value as f64, b.value as f64, "ns", verdict)
}

impl Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.unlike.is_empty() {
            writeln!(f, "UNLIKE: the two runs did not have in common")?;
            for Unlike { what, a, b } in &self.unlike {
                writeln!(f, "  {what}: {a} | {b}")?;
            }
            writeln!(f)?;
        }
        writeln!(f, "{:14}  {:>14}  {:>14}  {:>9}", "figure", "A", "B", "B to A")?;
        for Difference { figure, a, b, unit, verdict } in &self.differences {
            let shown = |value: f64| match unit.as_str() {
                "ns" => Time(value as u64).to_string(),
                "of all" => format!("{:.4} %", value * 100.0),
                _ => format!("{value:.0} /s"),
            };
            let mut change = String::new();
            if *a > 0.0 {
                write!(change, "{:+.1} %", (b / a - 1.0) * 100.0)?;
            }
            writeln!(f, "{figure:14}  {:>14}  {:>14}  {change:>9}  {verdict}", shown(*a), shown(*b))?;
        }
        writeln!(
            f,
            "\nNoise is what is known of it inside of each run. Runs differ from each other too: repeat them in turn."
        )
    }
}
