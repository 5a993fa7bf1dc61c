//! The command line.

use std::net::IpAddr;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use wire::Vni;

use crate::config::DEFAULT_SOCKET;
use crate::observe::{FilterArguments, TapDirection};
use crate::plan::PlanArguments;

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
    /// Make and show the keys by which the gateways of a cluster know each other.
    Cluster(Cluster),
    /// Show the state of the running gateway.
    Show(Show),
    /// Tell what happened to sessions of BGP, BFD and the cluster, and which routes were refused and why: a line of JSON
    /// each.
    ///
    /// The last thousand are kept.
    Events(Events),
    /// Carry what was learned of stations' addresses from one gateway to another.
    Bindings(Bindings),
    /// Write frames at the ports of the running gateway to a file (pcapng), each with what became of it.
    ///
    /// Frames must meet all conditions given. Ends by itself with -c or --seconds, or in order on SIGINT or SIGTERM.
    Capture(Capture),
    /// Tell the way of received packets through the running gateway, step by step, and why they were dropped.
    ///
    /// Packets must meet all conditions given. Ends by itself with -c or --seconds, or in order on SIGINT or SIGTERM.
    Trace(Trace),
    /// Say what this machine and its NICs offer, and what to do about what is not right. Changes nothing.
    ///
    /// Exits with 0 if nothing is worse than a note, 1 if there are warnings, 2 if there are failures or the machine
    /// could not be looked at.
    Doctor(Doctor),
    /// Say which gateway of a cluster gets what, before and after a change. Asks no gateway, and changes nothing.
    ///
    /// Shows how even it is beside the weights, how much moves, and from whom to whom.
    Plan(PlanArguments),
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
pub(crate) struct Cluster {
    #[command(subcommand)]
    pub(crate) command: ClusterCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Make a key and its certificate, and say what to put into the configurations of this gateway and the others.
    ///
    /// Writes cluster.key, for this user alone, and cluster.crt. What is there is never overwritten.
    Keygen {
        /// Directory to write to; it is made if it is not there.
        #[arg(long, value_name = "DIR", default_value = "/etc/vxgate")]
        out: PathBuf,
    },
    /// Say the pin of a certificate: SHA-256 of its public key.
    Fingerprint {
        /// Certificate (PEM).
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
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
pub(crate) struct Events {
    /// Go on, and tell what happens.
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Control socket of the gateway.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub(crate) socket: PathBuf,
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

#[derive(Debug, Args)]
pub(crate) struct Capture {
    #[command(flatten)]
    pub(crate) filter: FilterArguments,
    /// Frames that go this way.
    #[arg(long, value_enum, value_name = "WAY", default_value_t = TapDirection::Both)]
    pub(crate) direction: TapDirection,
    /// Only frames that were dropped.
    #[arg(long)]
    pub(crate) dropped: bool,
    /// Write what is inside of VXLAN instead of the whole frames.
    #[arg(long)]
    pub(crate) inner: bool,
    /// Keep so many bytes of a frame at most.
    #[arg(long, value_name = "BYTES")]
    pub(crate) snaplen: Option<NonZeroU32>,
    /// End after so many frames.
    #[arg(long, short, value_name = "N")]
    pub(crate) count: Option<NonZeroU64>,
    /// End after so many seconds.
    #[arg(long, value_name = "N")]
    pub(crate) seconds: Option<NonZeroU32>,
    /// File to write; `-` is standard output, for `| tshark -r -`.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) write: PathBuf,
    /// Control socket of the gateway.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub(crate) socket: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Trace {
    #[command(flatten)]
    pub(crate) filter: FilterArguments,
    /// Only packets that were dropped.
    #[arg(long)]
    pub(crate) dropped: bool,
    /// One of so many packets.
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) every: NonZeroU32,
    /// End after so many packets.
    #[arg(long, short, value_name = "N")]
    pub(crate) count: Option<NonZeroU64>,
    /// End after so many seconds.
    #[arg(long, value_name = "N")]
    pub(crate) seconds: Option<NonZeroU32>,
    /// Form of the output.
    #[arg(long, short, value_enum, value_name = "FORM", default_value_t = TraceForm::Text)]
    pub(crate) output: TraceForm,
    /// Control socket of the gateway.
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub(crate) socket: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TraceForm {
    /// A paragraph a packet.
    Text,
    /// One JSON object a packet, a line each.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Overlays: subnets and routers, endpoints, MTU, number of stations, how they are treated.
    Overlays(OneVni),
    /// Stations: MAC, endpoint, addresses.
    Stations(OneVni),
    /// Addresses that stations were learned to have, and those that are being asked for.
    Neighbours(OneVni),
    /// How many addresses of stations are known and asked for, and how often which limit was met.
    Resolution,
    /// Ports: the XDP and socket modes that were really got, packets and bytes, verdicts of the XDP program.
    Ports,
    /// Workers: cores, NUMA nodes, and how much of the time they have nothing to do.
    Workers,
    /// Rules about packets from overlays, in the order in which they are looked at.
    Rules,
    /// What the slow path is given, and what not, by class, beside the limits.
    Punts,
    /// Captures and traces that are running.
    Taps,
    /// What happened to all frames, and what the slow path did, by name.
    Counters,
    /// Gateways of the cluster: whether there is a session with each, since when, or why not; their weights.
    Cluster,
    /// Overlays of the cluster, or its shards with their addresses: which gateway serves each.
    Assignments(Assignments),
    /// Overlays or shards that this gateway has taken or let go of, the last 1 024 times: when, from and to which gateway, why,
    /// and how long it took from knowing the cause until the engine had been told.
    Moves(Moves),
    /// BFD: sessions, what was agreed, packets and why some were dropped, and when its own thread did not run.
    Bfd,
    /// BGP: peers, and the routes that they told.
    #[command(subcommand)]
    Bgp(BgpWhat),
}

#[derive(Debug, Subcommand)]
pub(crate) enum BgpWhat {
    /// Sessions: state, what was agreed, how many routes came and whether all of ours were told.
    Peers,
    /// Routes of all families that peers told, the best path of each first.
    Routes {
        /// This family alone.
        #[arg(long, value_name = "FAMILY", value_parser = ["evpn", "ipv4", "ipv6"])]
        family: Option<String>,
        #[command(flatten)]
        paths: Paths,
    },
    /// EVPN routes, and in which overlay they count.
    Evpn {
        /// Those that count in this overlay.
        #[arg(long, value_name = "N", value_parser = vni)]
        vni: Option<u32>,
        /// Those of this MAC address.
        #[arg(long, value_name = "MAC", value_parser = mac)]
        mac: Option<String>,
        /// Those of this type: 2 is MAC/IP, 3 inclusive multicast.
        #[arg(long = "type", value_name = "N")]
        route_type: Option<u8>,
        #[command(flatten)]
        paths: Paths,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Paths {
    /// What this peer told.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) peer: Option<IpAddr>,
    /// No more paths than this.
    #[arg(long, value_name = "N", default_value = "10000")]
    pub(crate) limit: usize,
    /// Why each path is the best, or is not.
    #[arg(long)]
    pub(crate) why: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Moves {
    /// From this gateway or to it.
    #[arg(long, value_name = "ID")]
    pub(crate) gateway: Option<u16>,
    /// Of this overlay (mode announce) or shard, where it is among the 32 that a move names.
    #[arg(long, value_name = "N")]
    pub(crate) group: Option<u32>,
    /// The last so many.
    #[arg(long, value_name = "N", default_value = "1024")]
    pub(crate) limit: usize,
}

#[derive(Debug, Args)]
pub(crate) struct Assignments {
    /// This overlay, or the shard that it is in.
    #[arg(long, value_name = "N", value_parser = vni)]
    pub(crate) vni: Option<u32>,
    /// Those that this gateway serves.
    #[arg(long, value_name = "ID")]
    pub(crate) owner: Option<u16>,
    /// Those that nobody serves.
    #[arg(long, conflicts_with = "owner")]
    pub(crate) unowned: bool,
    /// No more than this.
    #[arg(long, value_name = "N", default_value = "100000")]
    pub(crate) limit: usize,
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

/// A MAC address, as routes are written with it.
fn mac(text: &str) -> Result<String, String> {
    text.parse::<wire::MacAddr>().map(|mac| mac.to_string()).map_err(|error| error.to_string())
}

/// A VNI, as the command line gives it.
pub(crate) fn vni(text: &str) -> Result<u32, String> {
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

    #[test]
    fn conditions_are_checked_before_the_gateway_is_asked() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' ')).map(|cli| cli.command);
        let line = "vxgate capture --port a --port b --mac 02:00:00:00:00:0A --proto icmp -c 3 -w -";
        let Command::Capture(capture) = parse(line).unwrap() else { panic!() };
        assert_eq!((capture.filter.ports.len(), capture.count), (2, NonZeroU64::new(3)));
        assert_eq!(capture.filter.mac.as_deref(), Some("02:00:00:00:00:0a"));
        for wrong in
            ["--vni 0", "--mac 02", "--proto 256", "--host 10.0.0", "--every 0", "-c 0", "--seconds 0"]
        {
            assert!(parse(&format!("vxgate trace {wrong}")).is_err(), "{wrong}");
        }
        assert!(parse("vxgate capture").is_err(), "no file");
    }
}
