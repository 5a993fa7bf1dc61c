//! `pktgen replay`: sends what was captured.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use pktgen::pcap::Capture;
use pktgen::profile::Limit;
use pktgen::send::{self, Timing};

use super::intake::Form;
use super::send::{Subject, To, finish};
use super::traffic::Course;
use super::{Error, signals};

#[derive(Debug, Args)]
pub(crate) struct Replay {
    #[command(flatten)]
    to: To,
    /// Capture: pcap or pcapng, of Ethernet. Its frames go out unchanged, without stamps.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// So many times as fast as it was captured; --rate and --burst go without the capture's times.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = speed)]
    speed: f64,
    /// So many times over; 0 is until it is stopped.
    #[arg(long = "loop", value_name = "N", default_value_t = 1)]
    rounds: u64,
    #[command(flatten)]
    course: Course,
    /// Form of the output.
    #[arg(long, short, value_enum, value_name = "FORM", default_value_t = Form::Table)]
    output: Form,
}

fn speed(text: &str) -> Result<f64, String> {
    let speed = text.parse().ok().filter(|speed: &f64| speed.is_finite() && *speed > 0.0);
    speed.ok_or_else(|| "a speed is a number above zero, such as 2 or 0.1".into())
}

impl Replay {
    pub(crate) fn run(self) -> Result<(), Error> {
        let capture = Capture::load(&self.file)?;
        if capture.skipped != Default::default() {
            eprintln!("pktgen: {}", capture.skipped);
        }
        let timing = self.course.rate()?.map_or(Timing::Scaled(self.speed), Timing::Paced);
        let limit = self.course.limit(Limit::default());
        let options = self.to.options()?;
        if options.queues.len() > 1 {
            return Err(
                "a capture goes out of one queue, so that its order is kept: give --queues one".into()
            );
        }
        let stop = signals::stop()?;
        let sending = send::replay(Arc::new(capture), timing, self.rounds, limit, &options, &stop)?;
        let name = self.file.display().to_string();
        let subject = Subject { profile: &name, streams: &[&name], options: &options, output: self.output };
        finish(sending, &subject)
    }
}
