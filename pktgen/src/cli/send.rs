//! `pktgen send`: sends a profile.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use pktgen::attach::PortFacts;
use pktgen::profile::Layer;
use pktgen::report::Machine;
use pktgen::send::{self, Ended, Sending, Sent};
use port::BindRequest;
use serde::Serialize;
use sys::netdev::Netdev;
use wire::MacAddr;

use super::intake::Form;
use super::traffic::Traffic;
use super::{Error, dry_run, signals, table};

/// How late frames of a capture may be without a warning, in nanoseconds.
const LATE: u64 = 1_000_000;

#[derive(Debug, Args)]
pub(crate) struct Send {
    #[command(flatten)]
    to: To,
    #[command(flatten)]
    traffic: Traffic,
    /// Have the kernel make the frames (BPF_PROG_RUN): several times as fast, of one stream, and without stamps.
    #[arg(long, conflicts_with_all = ["dry_run", "queues", "bind"])]
    live: bool,
    /// Send nothing: write the frames to the file of --pcap, with the times at which they would go out.
    #[arg(long, requires = "pcap")]
    dry_run: bool,
    /// File that --dry-run writes (pcap).
    #[arg(long, value_name = "FILE", requires = "dry_run")]
    pcap: Option<PathBuf>,
    /// Send nothing: print the profile that the flags stand for.
    #[arg(long, conflicts_with_all = ["profile", "dry_run"])]
    print_profile: bool,
    /// Form of the output.
    #[arg(long, short, value_enum, value_name = "FORM", default_value_t = Form::Table)]
    output: Form,
}

/// Where frames go out.
#[derive(Debug, Args)]
pub(crate) struct To {
    /// Interface that frames go out of.
    #[arg(long, short, value_name = "NAME")]
    interface: Option<String>,
    /// Its queues, a thread each, such as 0,1: streams are cut into as many, with sequence numbers of their own.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "0")]
    queues: Vec<u32>,
    /// Cores of the threads; without, from the last one back.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    cores: Vec<usize>,
    /// How sockets are bound.
    #[arg(long, value_enum, value_name = "MODE", default_value_t = Bind::Auto)]
    bind: Bind,
}

/// How sockets are bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Bind {
    /// Zero-copy where the driver can, else copy.
    Auto,
    /// Copy, or fail.
    Copy,
    /// Zero-copy, or fail.
    ZeroCopy,
}

impl From<Bind> for BindRequest {
    fn from(bind: Bind) -> Self {
        match bind {
            Bind::Auto => Self::Auto,
            Bind::Copy => Self::Copy,
            Bind::ZeroCopy => Self::ZeroCopy,
        }
    }
}

impl To {
    /// The MAC address that frames come from if nothing else is said.
    pub(crate) fn mac(&self) -> MacAddr {
        let netdev = self.interface.as_deref().and_then(|interface| Netdev::named(interface).ok());
        netdev.map_or(MacAddr([2, 0, 0, 0, 0, 1]), |netdev| MacAddr(netdev.mac))
    }

    /// As the library takes it.
    pub(crate) fn options(&self) -> Result<send::Options, Error> {
        let interface =
            self.interface.clone().ok_or("--interface is missing: `ip link` lists those there are")?;
        Ok(send::Options {
            interface,
            queues: self.queues.clone(),
            cores: self.cores.clone(),
            bind: self.bind.into(),
        })
    }
}

impl Send {
    pub(crate) fn run(self) -> Result<(), Error> {
        let own_mac = self.to.mac();
        if self.print_profile {
            print!("{}", self.traffic.text(own_mac)?);
            return Ok(());
        }
        let lanes = u16::try_from(self.to.queues.len()).map_err(|_| "no interface has so many queues")?;
        let profile = self.traffic.profile(own_mac)?;
        if let Some(path) = &self.pcap {
            return dry_run::write(&profile, path);
        }
        let profile = profile.split(lanes)?;
        let options = self.to.options()?;
        let stop = signals::stop()?;
        let streams: Vec<_> = profile.streams.iter().map(|stream| stream.name.as_str()).collect();
        let subject =
            Subject { profile: &profile.name, streams: &streams, options: &options, output: self.output };
        if self.live {
            let port = PortFacts { bind: "live".into(), ..subject.port() };
            let sent = send::send_live(&profile, &options, &stop)?;
            return report(&sent, port, &options.cores(), &subject);
        }
        finish(send::start(&profile, &options, &stop)?, &subject)
    }
}

/// What a report is about, and its form.
pub(super) struct Subject<'a> {
    /// What is sent.
    pub(super) profile: &'a str,
    /// Names of its streams.
    pub(super) streams: &'a [&'a str],
    /// Where and how.
    pub(super) options: &'a send::Options,
    /// Form of the report.
    pub(super) output: Form,
}

impl Subject<'_> {
    /// The port that sends, but for how its sockets are bound.
    fn port(&self) -> PortFacts {
        let send::Options { interface, queues, .. } = self.options;
        // One that is not there is refused with its name before anything is sent.
        let mtu = Netdev::named(interface).map_or(0, |netdev| netdev.mtu);
        PortFacts::of(interface, queues.len() as u32, mtu)
    }
}

/// What is said in the end.
#[derive(Serialize)]
struct Report<'a> {
    machine: Machine,
    profile: &'a str,
    port: PortFacts,
    queues: &'a [u32],
    cores: &'a [usize],
    streams: &'a [&'a str],
    packets_per_second: Option<f64>,
    bits_per_second_l1: Option<f64>,
    bits_per_second_l2: Option<f64>,
    reached: Option<f64>,
    sent: &'a Sent,
}

/// Shows how it goes, waits for the end, and says what was sent.
pub(super) fn finish(sending: Sending, subject: &Subject<'_>) -> Result<(), Error> {
    let mut modes: Vec<String> = sending.modes.iter().map(ToString::to_string).collect();
    modes.dedup();
    let port = PortFacts {
        mtu: sending.mtu,
        bind: modes.join(", "),
        bind_refusal: sending.refusal.clone(),
        ..subject.port()
    };
    let cores = sending.cores.clone();
    watch(&sending);
    report(&sending.join(), port, &cores, subject)
}

/// Says what was sent.
fn report(sent: &Sent, port: PortFacts, cores: &[usize], subject: &Subject<'_>) -> Result<(), Error> {
    let &Subject { profile, streams, options, output } = subject;
    let report = Report {
        machine: Machine::this(),
        profile,
        port,
        queues: &options.queues,
        cores,
        streams,
        packets_per_second: sent.packet_rate(),
        bits_per_second_l1: sent.bit_rate(Layer::L1),
        bits_per_second_l2: sent.bit_rate(Layer::L2),
        reached: sent.reached(),
        sent,
    };
    let mut out = std::io::stdout().lock();
    match output {
        Form::Json => writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?,
        Form::Csv => table::sent_csv(&mut out, streams, sent)?,
        Form::Table => table::sent(&mut out, &report.header(), streams, sent)?,
    }
    if let Some(reached) = sent.reached().filter(|&reached| reached < 0.995) {
        eprintln!(
            "pktgen: {:.2} % of the requested {} were reached: ask for less; `pktgen send` without --live can take more \
             --queues",
            reached * 100.0,
            sent.requested
        );
    }
    if sent.late > LATE {
        eprintln!(
            "pktgen: frames went out up to {:.3} ms after their times in the capture: ask for a lower --speed",
            sent.late as f64 / 1e6
        );
    }
    match &sent.ended {
        Ended::Failed(message) => Err(message.clone().into()),
        Ended::Complete | Ended::Stopped => Ok(()),
    }
}

impl Report<'_> {
    /// All that the figures depend on, a line each.
    fn header(&self) -> String {
        let Self { machine, profile, port, queues, cores, .. } = self;
        let mut text = format!(
            "machine    {}, {} cores, Linux {}\npktgen     {}, profile {profile}\n",
            machine.cpu, machine.cores, machine.kernel, machine.pktgen
        );
        text += &format!(
            "port       {}, driver {}, MTU {}, queues {queues:?} on cores {cores:?}, socket {}",
            port.interface, port.driver, port.mtu, port.bind
        );
        if let Some(refusal) = &port.bind_refusal {
            text += &format!("\n           {refusal}");
        }
        text
    }
}

/// On a terminal, a line each second.
fn watch(sending: &Sending) {
    let mut out = std::io::stderr();
    if !out.is_terminal() {
        return;
    }
    let mut last = (Instant::now(), 0);
    while !sending.is_finished() {
        thread::sleep(Duration::from_millis(50));
        if last.0.elapsed() < Duration::from_secs(1) {
            continue;
        }
        let packets = sending.progress();
        let rate = (packets - last.1) as f64 / last.0.elapsed().as_secs_f64();
        last = (Instant::now(), packets);
        // A terminal that is gone is no reason to stop.
        let _ = write!(out, "\r\x1b[K{packets} packets, {rate:.0}/s");
    }
    let _ = write!(out, "\r\x1b[K");
}
