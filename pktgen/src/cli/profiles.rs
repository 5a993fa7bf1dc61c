//! `pktgen profiles`: those that come with the program.

use clap::{Args, Subcommand};
use pktgen::profile::{READY, Ready};

use super::Error;

#[derive(Debug, Args)]
pub(crate) struct Profiles {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List their names, and what they are for.
    List,
    /// Print one, to be changed.
    Show {
        /// Its name.
        name: String,
    },
}

impl Profiles {
    pub(crate) fn run(self) -> Result<(), Error> {
        match self.action.unwrap_or(Action::List) {
            Action::List => {
                let width = READY.iter().map(|ready| ready.name.len()).max().unwrap_or(0);
                for ready in READY {
                    println!("{:width$}  {}", ready.name, ready.profile()?.description);
                }
            }
            Action::Show { name } => {
                let ready = Ready::named(&name).ok_or_else(|| {
                    format!("there is no ready profile {name:?}: `pktgen profiles` lists those there are")
                })?;
                print!("{}", ready.text);
            }
        }
        Ok(())
    }
}
