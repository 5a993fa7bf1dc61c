//! `pktgen receive`, `run` and `calibrate`: whatever receives.

use std::fs;
use std::path::PathBuf;

use clap::Args;
use pktgen::profile::{Limit, Profile, Ready, Span};
use pktgen::report::{Calibration, Ended, Report};
use pktgen::run::{self, CALIBRATION_RATE, CalibrationOptions, RunOptions};
use pktgen::view::View;

use super::intake::{Intake, Reporting};
use super::send::To;
use super::traffic::Traffic;
use super::{Error, signals};

#[derive(Debug, Args)]
pub(crate) struct Receive {
    /// Interface that frames come in at.
    #[arg(long, short, value_name = "NAME")]
    interface: String,
    /// What is sent (a file, or the name of a ready profile): names its streams, and tells for which overlays lost packets
    /// were.
    #[arg(long, short, value_name = "FILE|NAME")]
    profile: Option<String>,
    /// Queues that the sender sends on: its streams are cut into as many.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "profile")]
    lanes: u16,
    /// Ends after this time, such as 10s.
    #[arg(long, short, value_name = "TIME")]
    duration: Option<Span>,
    /// Ends after so many test packets that came whole.
    #[arg(long, short, value_name = "N")]
    count: Option<u64>,
    #[command(flatten)]
    intake: Intake,
    #[command(flatten)]
    reporting: Reporting,
}

impl Receive {
    pub(crate) fn run(self) -> Result<(), Error> {
        let profile = self.profile.as_deref().map(load).transpose()?;
        let profile = profile.map(|profile| profile.split(self.lanes)).transpose()?;
        let options = self.intake.options(self.interface, &[]);
        let limit = Limit { duration: self.duration.map(|span| span.0), count: self.count };
        let stop = signals::stop()?;
        let mut view = View::new();
        let report = run::receive(profile.as_ref(), options, limit, &stop, &mut |progress, slices| {
            view.look(progress, slices);
        })?;
        drop(view);
        self.reporting.publish(&report)
    }
}

fn load(name: &str) -> Result<Profile, Error> {
    match Ready::named(name) {
        Some(ready) => Ok(ready.profile()?),
        None => Ok(Profile::load(&PathBuf::from(name))?),
    }
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    to: To,
    /// Interface that frames come back in at: another than they go out of.
    #[arg(long, value_name = "NAME")]
    receiver: String,
    #[command(flatten)]
    traffic: Traffic,
    #[command(flatten)]
    intake: Intake,
    /// What is missing is lost once nothing has come for this time after the last was sent.
    #[arg(long, value_name = "TIME", default_value = "1s", help_heading = "Receiving")]
    settle: Span,
    /// What `pktgen calibrate --output json` wrote, to stand in the report.
    #[arg(long, value_name = "FILE")]
    calibration: Option<PathBuf>,
    #[command(flatten)]
    reporting: Reporting,
}

impl Run {
    pub(crate) fn run(self) -> Result<(), Error> {
        let send = self.to.options()?;
        if send.interface == self.receiver {
            return Err(
                "--receiver must be another interface: a queue has one socket, to send or to receive".into(),
            );
        }
        let lanes = u16::try_from(send.queues.len()).map_err(|_| "no interface has so many queues")?;
        let profile = self.traffic.profile(self.to.mac())?.split(lanes)?;
        let calibration = self.calibration.map(|path| read_calibration(&path)).transpose()?;
        let receive = self.intake.options(self.receiver, &send.cores());
        let options = RunOptions { send, receive, settle: self.settle.0, calibration };
        let stop = signals::stop()?;
        let mut view = View::new();
        let report = run::run(&profile, options, &stop, &mut |progress, slices| view.look(progress, slices))?;
        drop(view);
        warn(&report);
        self.reporting.publish(&report)
    }
}

fn warn(report: &Report) {
    let Some(sent) = &report.sent else { return };
    if let Some(reached) = sent.reached.filter(|reached| *reached < 0.995) {
        eprintln!("pktgen: {:.2} % of the requested {} were reached", reached * 100.0, sent.requested);
    }
}

fn read_calibration(path: &PathBuf) -> Result<Calibration, Error> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let wrong =
        |error| format!("{} is no calibration of `pktgen calibrate -o json`: {error}", path.display());
    Ok(serde_json::from_str(&text).map_err(wrong)?)
}

#[derive(Debug, Args)]
pub(crate) struct Calibrate {
    #[command(flatten)]
    to: To,
    /// Interface at the other end of the wire.
    #[arg(long, value_name = "NAME")]
    receiver: String,
    /// Packets a second.
    #[arg(long, value_name = "N", default_value_t = CALIBRATION_RATE)]
    packets: f64,
    /// How long.
    #[arg(long, short, value_name = "TIME", default_value = "3s")]
    duration: Span,
    #[command(flatten)]
    intake: Intake,
    /// Form of the output.
    #[arg(long, short, value_enum, value_name = "FORM", default_value_t = super::Output::Table)]
    output: super::Output,
}

impl Calibrate {
    pub(crate) fn run(self) -> Result<(), Error> {
        let send = self.to.options()?;
        if send.interface == self.receiver {
            return Err("--receiver must be the other end of the wire".into());
        }
        if !(self.packets > 0.0 && self.packets <= 1e6) {
            return Err("--packets is from more than 0 to 1000000 a second".into());
        }
        let receive = self.intake.options(self.receiver, &send.cores());
        let options = CalibrationOptions { send, receive, rate: self.packets, time: self.duration.0 };
        let stop = signals::stop()?;
        let mut view = View::new();
        let calibration =
            run::calibrate(options, &stop, &mut |progress, slices| view.look(progress, slices), &|begin| {
                begin()
            })?;
        drop(view);
        match self.output {
            super::Output::Json => println!("{}", serde_json::to_string_pretty(&calibration)?),
            super::Output::Table => print!("{calibration}"),
        }
        match (calibration.ended, calibration.latency) {
            (Ended::Failed(why), _) => Err(why.into()),
            (_, Some(_)) => Ok(()),
            (_, None) => Err("nothing came: is that the other end of the wire?".into()),
        }
    }
}
