//! `vxgate plan`: who gets what before and after a change of the cluster, without a gateway that runs.

mod arguments;
mod change;
mod study;
mod svg;
mod tables;

use std::fs;
use std::io;
use std::path::PathBuf;

use cluster::assign::MembersError;
use thiserror::Error;

use crate::config::{ConfigError, Settings};
use crate::show::print;
pub(crate) use arguments::PlanArguments;
use arguments::{ChangeArguments, Form, Question, StudyArguments, Vnis};

/// Why there is no plan.
#[derive(Debug, Error)]
pub(crate) enum PlanError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Members(#[from] MembersError),
    #[error("nobody serves {0} the change: give a gateway a weight above zero")]
    Nobody(&'static str),
    #[error("cannot write {}: {source}; name a file in a directory that exists", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Print(#[from] io::Error),
}

/// Works it out and prints it.
pub(crate) fn plan(arguments: &PlanArguments) -> Result<(), PlanError> {
    match (&arguments.question, &arguments.change) {
        (Some(Question::Study(arguments)), _) => print_study(arguments),
        (None, Some(arguments)) => print_change(arguments),
        // The parser asks for the one unless the other is there.
        (None, None) => Ok(()),
    }
}

fn print_change(arguments: &ChangeArguments) -> Result<(), PlanError> {
    let vnis = match &arguments.config {
        Some(path) => Settings::load(path)?.overlays.iter().map(|overlay| overlay.vni.value()).collect(),
        None => arguments.vnis.iter().flat_map(Vnis::iter).collect(),
    };
    let report = change::report(arguments, vnis)?;
    print(&match arguments.output {
        Form::Table => tables::change(&report),
        Form::Json => json(&report)?,
    })?;
    Ok(())
}

fn print_study(arguments: &StudyArguments) -> Result<(), PlanError> {
    let study = study::study(arguments.samples.get(), arguments.seed);
    if let Some(path) = &arguments.svg {
        fs::write(path, svg::plot(&study))
            .map_err(|source| PlanError::Write { path: path.clone(), source })?;
    }
    print(&match arguments.output {
        Form::Table => tables::study(&study),
        Form::Json => json(&study)?,
    })?;
    Ok(())
}

fn json<T: serde::Serialize>(value: &T) -> io::Result<String> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}
