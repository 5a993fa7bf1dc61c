//! `vxgate doctor`: what this machine and its NICs offer, a verdict and a remedy each.
//!
//! `gather` looks, `check` judges what it saw by pure functions, `report` says it. Nothing that outlives the command
//! is changed: the XDP program is loaded, to see whether the kernel takes it, and attached to nothing.

mod check;
mod finding;
mod gather;
mod machine;
mod report;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use thiserror::Error;

use crate::cli::{Doctor, Output};
use crate::config::{ConfigError, DEFAULT_SOCKET, Settings};
use crate::mirror::netlink::NetlinkError;
use crate::preflight::{self, Obstacle};
use finding::{Finding, Findings, Topic, Verdict};
use machine::Machine;

/// Status if the machine could not be looked at: as bad as a failure.
const UNKNOWN: u8 = 2;

/// Why the machine could not be looked at.
#[derive(Debug, Error)]
enum DoctorError {
    #[error("no asynchronous runtime, or no standard output: {0}")]
    Io(#[from] io::Error),
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
}

/// Looks, judges and prints; the exit status is 0 if nothing is worse than a note, 1 if there are warnings, 2 if there
/// are failures.
pub(crate) fn doctor(arguments: &Doctor) -> ExitCode {
    match examine(arguments) {
        Ok(status) => status.into(),
        Err(error) => {
            eprintln!("error: {error}");
            UNKNOWN.into()
        }
    }
}

fn examine(arguments: &Doctor) -> Result<u8, DoctorError> {
    let (settings, fault) = match arguments.config.as_deref().map(Settings::load) {
        Some(Ok(settings)) => (Some(settings), None),
        Some(Err(error)) => (None, Some(error)),
        None => (None, None),
    };
    let socket = settings.as_ref().map_or(Path::new(DEFAULT_SOCKET), |settings| &settings.socket);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let machine = runtime.block_on(gather::machine(socket))?;
    let obstacles = settings.as_ref().map_or_else(Vec::new, |settings| obstacles(settings, &machine));
    let mut findings = check::check(&machine, settings.as_ref(), &obstacles);
    if let Some(finding) = configuration(settings.as_ref(), fault) {
        findings.insert(0, finding);
    }
    let text = match arguments.output {
        Output::Table => report::table(&findings),
        Output::Json => report::json(&findings)?,
    };
    match io::stdout().write_all(text.as_bytes()) {
        // `vxgate doctor | head` is no failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        outcome => outcome?,
    }
    Ok(report::exit_status(&findings))
}

/// What `vxgate run` would refuse.
fn obstacles(settings: &Settings, machine: &Machine) -> Vec<Obstacle> {
    let mut tables = machine.network.tables.clone();
    if machine.network.gateway_runs {
        // Its own programs are not in its way.
        tables.links.iter_mut().for_each(|link| link.xdp_program = None);
    }
    let outcome = preflight::prepare(settings, &preflight::Machine::inspect(tables));
    outcome.err().map_or_else(Vec::new, |obstacles| obstacles.0)
}

/// What is to be said of the file; a machine can be looked at though the file is wrong.
fn configuration(settings: Option<&Settings>, fault: Option<ConfigError>) -> Option<Finding> {
    let mut all = Vec::new();
    let mut findings = Findings::new(Topic::Configuration, &mut all);
    if let Some(error) = fault {
        let remedy = "correct it, until `vxgate check` is content; the rest below is of the machine alone";
        findings.bad(Verdict::Failure, "file", error.to_string(), remedy);
    }
    if let Some(settings) = settings {
        let (ports, overlays) = (settings.ports.len(), settings.overlays.len());
        findings.ok("file", format!("{}: {ports} ports, {overlays} overlays", settings.path.display()));
    }
    all.pop()
}
