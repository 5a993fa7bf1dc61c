//! The command line.

mod dry_run;
mod profiles;
mod replay;
mod send;
mod signals;
mod table;
mod traffic;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};

/// Packet generator and receiver for VXLAN gateways, on AF_XDP.
#[derive(Debug, Parser)]
#[command(name = "pktgen", version, about, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Send the frames of a profile, or of one stream by flags.
    ///
    /// Each frame carries a stamp (stream, sequence number, time) in its last 16 bytes. Ends at a limit, or in order on
    /// SIGINT or SIGTERM, with a report of what was sent. Exits with 1 if nothing could be sent or the interface failed.
    Send(Box<send::Send>),
    /// Send the frames of a capture (pcap, pcapng), at its own times, scaled, or at a rate.
    Replay(replay::Replay),
    /// List the ready profiles, or print one.
    Profiles(profiles::Profiles),
    /// Write completions for a shell to standard output.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write the man page to standard output.
    Man,
}

/// Form of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Aligned columns.
    Table,
    /// One JSON object.
    Json,
}

/// What a command fails with: only an operator reads it.
type Error = Box<dyn std::error::Error>;

pub(crate) fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Send(send) => send.run(),
        Command::Replay(replay) => replay.run(),
        Command::Profiles(profiles) => profiles.run(),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "pktgen", &mut std::io::stdout());
            Ok(())
        }
        Command::Man => man(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pktgen: {error}");
            ExitCode::FAILURE
        }
    }
}

fn man() -> Result<(), Error> {
    clap_mangen::Man::new(Cli::command()).render(&mut std::io::stdout())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
