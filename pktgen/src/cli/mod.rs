//! The command line.

mod compare;
mod dry_run;
mod impair;
mod intake;
mod profiles;
mod receive;
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
    /// Receive test packets, and tell what came of them: loss, duplicates, reordering, corruption, latency.
    ///
    /// Ends at a limit, or in order on SIGINT or SIGTERM, with a report.
    Receive(Box<receive::Receive>),
    /// Send at one interface and receive at another, and tell what came of it.
    ///
    /// Ends at a limit, or in order on SIGINT or SIGTERM, with a report. Exits with 1 if an interface failed; the report
    /// tells what was measured till then.
    Run(Box<receive::Run>),
    /// Compare two reports that were saved: what differs, and whether that may be chance.
    Compare(compare::Compare),
    /// Measure the latency of this machine itself: between two interfaces that are wired to each other.
    Calibrate(Box<receive::Calibrate>),
    /// Join two interfaces by a wire that loses, duplicates, corrupts, reorders and delays test packets.
    ///
    /// Ends on SIGINT or SIGTERM, and tells exactly what was done.
    Impair(impair::Impair),
    /// List the ready profiles, or print one.
    Profiles(profiles::Profiles),
    /// Write completions for a shell to standard output.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write the man page, or that of a command, to standard output.
    Man {
        /// The command, such as send.
        command: Option<String>,
    },
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
        Command::Receive(receive) => receive.run(),
        Command::Run(run) => run.run(),
        Command::Compare(compare) => compare.run(),
        Command::Calibrate(calibrate) => calibrate.run(),
        Command::Impair(impair) => impair.run(),
        Command::Profiles(profiles) => profiles.run(),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "pktgen", &mut std::io::stdout());
            Ok(())
        }
        Command::Man { command } => man(command.as_deref()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pktgen: {error}");
            ExitCode::FAILURE
        }
    }
}

fn man(command: Option<&str>) -> Result<(), Error> {
    let mut page = Cli::command();
    if let Some(name) = command {
        let found = page.find_subcommand(name).cloned();
        page = found.ok_or_else(|| format!("there is no command {name:?}: see `pktgen --help`"))?;
        page = page.display_name(format!("pktgen-{name}")).bin_name(format!("pktgen {name}"));
    }
    clap_mangen::Man::new(page).render(&mut std::io::stdout())?;
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
