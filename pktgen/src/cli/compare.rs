//! `pktgen compare`: two reports beside each other.

use std::path::PathBuf;

use clap::Args;
use pktgen::report::{Report, compare};

use super::{Error, Output};

#[derive(Debug, Args)]
pub(crate) struct Compare {
    /// Report A (JSON).
    a: PathBuf,
    /// Report B.
    b: PathBuf,
    /// Form of the output.
    #[arg(long, short, value_enum, value_name = "FORM", default_value_t = Output::Table)]
    output: Output,
}

impl Compare {
    pub(crate) fn run(self) -> Result<(), Error> {
        let comparison = compare(&Report::load(&self.a)?, &Report::load(&self.b)?);
        match self.output {
            Output::Table => print!("{comparison}"),
            Output::Json => println!("{}", serde_json::to_string_pretty(&comparison)?),
        }
        Ok(())
    }
}
