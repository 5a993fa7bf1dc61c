//! How fast the data plane is, beside what the machine allows.
//!
//! `vxgate-bench NAME` measures, prints a table and writes `target/bench/NAME.json`. What each bench measures, and what
//! it does not, is in docs/benchmarks.md.

mod clock;
mod figure;
mod limit;
mod pipeline;
mod report;
mod rules;
mod startup;
mod table;

use std::process::ExitCode;

use report::Report;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments[..] {
        ["pipeline"] => pin().and_then(pipeline),
        ["table"] => pin().and_then(table),
        ["rules"] => pin().and_then(rules),
        [startup::MEMORY] => startup::print_memory(),
        _ => Err("usage: vxgate-bench pipeline|table|rules".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vxgate-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn pipeline(core: usize) -> Result<(), Error> {
    let mut figures = startup::figures()?;
    let (pipeline, modes) = pipeline::figures()?;
    figures.extend(pipeline);
    Report::new(core, modes, figures).publish("pipeline")
}

fn table(core: usize) -> Result<(), Error> {
    Report::new(core, table::modes(), table::figures(core)?).publish("table")
}

fn rules(core: usize) -> Result<(), Error> {
    Report::new(core, rules::modes(), rules::figures()?).publish("rules")
}

/// What a bench fails with: only an operator reads it.
type Error = Box<dyn std::error::Error>;

/// Pins this thread to the last core: the first one usually takes the machine's interrupts.
fn pin() -> Result<usize, Error> {
    let core = core_affinity::get_core_ids().and_then(|cores| cores.last().copied());
    let core = core.ok_or("the cores of this machine cannot be listed")?;
    core_affinity::set_for_current(core).then_some(core.id).ok_or_else(|| "pinning to a core failed".into())
}
