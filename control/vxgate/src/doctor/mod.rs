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
use crate::config::{DEFAULT_SOCKET, Settings};
use crate::mirror::netlink::NetlinkError;
use crate::preflight::{self, Obstacle};
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
    let file = arguments.config.as_deref().map(Settings::load);
    let settings = file.as_ref().and_then(|file| file.as_ref().ok());
    let socket = settings.map_or(Path::new(DEFAULT_SOCKET), |settings| &settings.socket);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let machine = runtime.block_on(gather::machine(socket))?;
    let obstacles = settings.map_or_else(Vec::new, |settings| obstacles(settings, &machine));
    let findings = check::check(&machine, file.as_ref(), &obstacles);
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
