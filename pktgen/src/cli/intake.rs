//! Where and how frames are received: what commands that receive have in common.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use pktgen::attach::AttachOptions;
use pktgen::receive::{MeterOptions, ReceiverOptions, WINDOW};
use pktgen::report::{Report, csv, table};
use port::xdp::Wanted;
use port::{BindRequest, Polling, XdpRequest};

use super::Error;
use super::send::Bind;

#[derive(Debug, Args)]
#[command(next_help_heading = "Receiving")]
pub(crate) struct Intake {
    /// How the receiving XDP program is attached.
    #[arg(long, value_enum, value_name = "MODE", default_value_t = Xdp::Auto)]
    xdp: Xdp,
    /// How receiving sockets are bound.
    #[arg(long, value_enum, value_name = "MODE", default_value_t = Bind::Auto)]
    receive_bind: Bind,
    /// Core that receives; without, one that does not send, or any.
    #[arg(long, value_name = "CORE")]
    receive_core: Option<usize>,
    /// What the receiver does while nothing comes.
    #[arg(long, value_enum, value_name = "HOW", default_value_t = Poll::Busy)]
    polling: Poll,
    /// Which frames are taken from the kernel.
    #[arg(long, value_enum, value_name = "WHICH", default_value_t = Take::Traffic)]
    take: Take,
    /// Sequence numbers of a stream inside which everything is exact; 1 bit each.
    #[arg(long, value_name = "N", default_value_t = WINDOW, value_parser = clap::value_parser!(u64).range(128..=1 << 30))]
    window: u64,
}

/// How an XDP program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Xdp {
    /// In the driver where it can, else in the generic hook.
    Auto,
    /// In the driver, or fail.
    Native,
    /// In the generic hook, or fail.
    Generic,
}

/// What the receiver does while nothing comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Poll {
    /// Looks again at once: the most exact times, and a whole core.
    Busy,
    /// Sleeps after a while: latency includes waking up.
    Adaptive,
}

/// Which frames are taken from the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Take {
    /// All but ARP and IPv6 neighbour discovery.
    Traffic,
    /// UDP.
    Udp,
    /// All: nobody answers for the port's addresses then.
    Everything,
}

impl Intake {
    /// As the library takes it. `sending` are cores that are busy.
    pub(crate) fn options(&self, interface: String, sending: &[usize]) -> ReceiverOptions {
        let cores = core_affinity::get_core_ids().unwrap_or_default();
        let free = cores.iter().map(|core| core.id).find(|core| !sending.contains(core));
        ReceiverOptions {
            attach: AttachOptions {
                interface,
                xdp: match self.xdp {
                    Xdp::Auto => XdpRequest::Auto,
                    Xdp::Native => XdpRequest::Native,
                    Xdp::Generic => XdpRequest::Generic,
                },
                bind: BindRequest::from(self.receive_bind),
                wanted: match self.take {
                    Take::Traffic => Wanted::Traffic,
                    Take::Udp => Wanted::Udp,
                    Take::Everything => Wanted::Everything,
                },
            },
            meter: MeterOptions { window: self.window, ..MeterOptions::default() },
            core: self.receive_core.or(free),
            polling: match self.polling {
                Poll::Busy => Polling::Busy,
                Poll::Adaptive => Polling::Adaptive,
            },
            slice: Duration::from_secs(1),
        }
    }
}

/// What becomes of a report.
#[derive(Debug, Args)]
pub(crate) struct Reporting {
    /// Form of the report on standard output.
    #[arg(long, short, value_enum, value_name = "FORM", default_value_t = Form::Table)]
    output: Form,
    /// Also write the report as JSON to this file, for `pktgen compare`.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
}

/// Form of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// For people.
    Table,
    /// One JSON object.
    Json,
    /// A line a stream.
    Csv,
}

impl Reporting {
    pub(crate) fn publish(&self, report: &Report) -> Result<(), Error> {
        match self.output {
            Form::Table => print!("{}", table(report)),
            Form::Json => println!("{}", report.to_json()),
            Form::Csv => print!("{}", csv(report)),
        }
        if let Some(path) = &self.save {
            report.save(path)?;
        }
        match &report.ended {
            pktgen::report::Ended::Failed(why) => Err(why.clone().into()),
            _ => Ok(()),
        }
    }
}
