//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use wire::Vni;

use crate::config::DEFAULT_SOCKET;

/// Userspace VXLAN gateway: routes between tens of thousands of overlays and the outer network, with no kernel
/// interface for any of them.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the gateway in the foreground until SIGTERM or SIGINT.
    ///
    /// Checks the configuration and the machine before it changes anything. Logs to standard error (RUST_LOG sets
    /// what) and says "ready" once it forwards. The blackhole routes of the overlay blocks stay when it ends, so
    /// that the kernel never forwards overlay traffic; `vxgate cleanup` removes them.
    Run(ConfigFile),
    /// Check a configuration, and whether it could run on this machine now. Changes nothing.
    Check(ConfigFile),
    /// Remove what `run` leaves in the kernel: the blackhole routes of the configured blocks, and, after a crash,
    /// the neighbours on the configured ports.
    Cleanup(ConfigFile),
    /// Show the state of the running gateway.
    Show(Show),
    /// Carry what was learned of stations' addresses from one gateway to another.
    Bindings(Bindings),
    /// Say what this machine and its NICs offer, and what to do about what is not right. Changes nothing.
    ///
    /// Exits with 0 if nothing is worse than a note, 1 if there are warnings, 2 if there are failures or the machine
    /// could not be looked at.
    Doctor(Doctor),
}

#[derive(Debug, Args)]
pub(crate) struct ConfigFile {
    /// Configuration file (TOML).
    #[arg(long, short, value_name = "FILE")]
    pub(crate) config: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Configuration file (TOML): look at its ports and at what it needs, instead of at all Ethernet netdevs.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Form of the output.
    #[arg(long, short, value_enum, value_name = "FORM", default_value_t = Output::Table)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    #[command(subcommand)]
    pub(crate) what: What,
    /// Control socket of the gateway.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET, global = true)]
    pub(crate) socket: PathBuf,
    /// Form of the output.
    #[arg(long, short, value_enum, value_name = "FORM", default_value_t = Output::Table, global = true)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Bindings {
    #[command(subcommand)]
    pub(crate) transfer: Transfer,
    /// Control socket of the gateway.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET, global = true)]
    pub(crate) socket: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Transfer {
    /// Write the addresses that stations were learned to have to standard output, as JSON.
    Export(OneVni),
    /// Have the gateway take over what another exported. It asks the stations soon whether that still holds.
    Import {
        /// File that `export` wrote; `-` is standard input.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Overlays: subnets and routers, endpoints, MTU, number of stations, how they are treated.
    Overlays(OneVni),
    /// Stations: MAC, endpoint, addresses.
    Stations(OneVni),
    /// Addresses that stations were learned to have, and those that are being asked for.
    Neighbours(OneVni),
    /// Ports: the XDP and socket modes that were really got, packets and bytes, verdicts of the XDP program.
    Ports,
    /// Rules about packets from overlays, in the order in which they are looked at.
    Rules,
    /// What the slow path is given, and what not, by class, beside the limits.
    Punts,
    /// What happened to all frames, and what the slow path did, by name.
    Counters,
}

#[derive(Debug, Args)]
pub(crate) struct OneVni {
    /// This overlay alone.
    #[arg(long, value_name = "N", value_parser = vni)]
    pub(crate) vni: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Aligned columns.
    Table,
    /// One JSON array.
    Json,
}

fn vni(text: &str) -> Result<u32, String> {
    let vni = text.parse().ok().and_then(Vni::new);
    vni.map(Vni::value).ok_or_else(|| format!("a VNI is a number from 1 to {}", Vni::MAX))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_of_show_may_come_last() {
        let line = "vxgate show stations --vni 7 --socket /tmp/s -o json";
        let Command::Show(show) = Cli::try_parse_from(line.split(' ')).unwrap().command else { panic!() };
        assert!(matches!(show.what, What::Stations(OneVni { vni: Some(7) })));
        assert_eq!((show.socket.to_str(), show.output), (Some("/tmp/s"), Output::Json));
        assert!(Cli::try_parse_from("vxgate show overlays --vni 0".split(' ')).is_err());
    }
}
