//! How fast the data plane is, beside what the machine allows.
//!
//! `vxgate-bench NAME` measures, prints a table and writes `target/bench/NAME.json`. What each bench measures, and what
//! it does not, is in docs/benchmarks.md.

mod bgp;
mod clock;
mod cluster;
mod figure;
mod limit;
mod pipeline;
mod pktgen;
mod report;
mod rules;
mod startup;
mod table;
mod veth;
mod workers;

use std::path::PathBuf;
use std::process::ExitCode;

use core_affinity::CoreId;
use report::Report;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments[..] {
        ["pipeline"] => pin().and_then(pipeline),
        ["table"] => pin().and_then(table),
        ["pktgen"] => pin().and_then(pktgen),
        ["rules"] => pin().and_then(rules),
        ["veth"] => veth(),
        ["veth", "--short"] => vxgate().and_then(|vxgate| veth::short(&vxgate)),
        ["bgp"] => bgp(None),
        ["bgp", part @ ("offline" | "reflector" | "forwarding")] => bgp(Some(part)),
        ["cluster"] => cluster(cluster::RUNS, false),
        ["cluster", runs] | ["cluster", runs, "announce"] => match runs.parse() {
            Ok(runs @ 1..) => cluster(runs, arguments.len() > 2),
            _ => Err("cluster: RUNS is a number from 1".into()),
        },
        [startup::MEMORY] => startup::print_memory(),
        _ => {
            Err("usage: vxgate-bench pipeline|table|rules|bgp [PART]|cluster [RUNS [announce]]|pktgen|veth [--short]"
                .into())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vxgate-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn pipeline(cores: Cores) -> Result<(), Error> {
    let mut figures = startup::figures()?;
    let (pipeline, modes) = pipeline::figures()?;
    figures.extend(pipeline);
    if let Some(other) = cores.other {
        figures.extend(workers::figures([cores.own, other])?);
    }
    Report::new(cores.own.id, modes, figures).publish("pipeline")
}

fn table(cores: Cores) -> Result<(), Error> {
    Report::new(cores.own.id, table::modes(), table::figures(cores.other)?).publish("table")
}

fn rules(cores: Cores) -> Result<(), Error> {
    Report::new(cores.own.id, rules::modes(), rules::figures()?).publish("rules")
}

/// All of it, or one part alone, in a file of its own.
fn bgp(part: Option<&str>) -> Result<(), Error> {
    let vxgate = vxgate()?;
    let parts = bgp::Part::ALL.into_iter().filter(|which| part.is_none_or(|part| which.name() == part));
    let (mut figures, mut modes) = (Vec::new(), serde_json::Map::new());
    for part in parts {
        let (of_part, how) = part.figures(&vxgate)?;
        figures.extend(of_part);
        modes.insert(part.name().into(), how);
    }
    let name = part.map_or_else(|| "bgp".into(), |part| format!("bgp-{part}"));
    Report::new(cores()?.own.id, modes.into(), figures).publish(&name)
}

fn pktgen(cores: Cores) -> Result<(), Error> {
    Report::new(cores.own.id, pktgen::modes(), pktgen::figures(cores.own, cores.other)?).publish("pktgen")
}

fn veth() -> Result<(), Error> {
    let figures = veth::figures(&vxgate()?)?;
    Report::new(veth::CORE, veth::modes(), figures).publish("veth")
}

/// With this many runs of the first fault; all of it, or mode `announce` alone, in a file of its own.
fn cluster(runs: usize, announce_alone: bool) -> Result<(), Error> {
    let (figures, modes) = cluster::figures(&vxgate()?, runs, announce_alone)?;
    let name = if announce_alone { "cluster-announce" } else { "cluster" };
    Report::new(cores()?.own.id, modes, figures).publish(name)
}

/// The binary, beside this one.
fn vxgate() -> Result<PathBuf, Error> {
    let binary = std::env::current_exe()?.with_file_name("vxgate");
    match binary.is_file() {
        true => Ok(binary),
        false => Err(format!("{} is not there: build package vxgate too", binary.display()).into()),
    }
}

/// What a bench fails with: only an operator reads it.
type Error = Box<dyn std::error::Error>;

/// Where things run.
#[derive(Clone, Copy)]
struct Cores {
    /// The last one, for this thread: the first usually takes the machine's interrupts.
    own: CoreId,
    /// Another, for a second thread. Once a thread is pinned it sees only its own.
    other: Option<CoreId>,
}

/// The cores that this thread may run on.
fn cores() -> Result<Cores, Error> {
    let mut cores = core_affinity::get_core_ids().ok_or("the cores of this machine cannot be listed")?;
    let own = cores.pop().ok_or("this process may run on no core")?;
    Ok(Cores { own, other: cores.pop() })
}

/// Pins this thread.
fn pin() -> Result<Cores, Error> {
    let cores = cores()?;
    match core_affinity::set_for_current(cores.own) {
        true => Ok(cores),
        false => Err("pinning to a core failed".into()),
    }
}
