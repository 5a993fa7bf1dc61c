//! `pktgen impair`: a bump in the wire.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use clap::Args;
use pktgen::attach::AttachOptions;
use pktgen::impair::{Deeds, ImpairedWire, Rules, When};
use pktgen::profile::Span;

use super::{Error, Output, signals};

#[derive(Debug, Args)]
pub(crate) struct Impair {
    /// Interface whose frames are impaired on their way to the other.
    #[arg(long, value_name = "NAME")]
    from: String,
    /// The other; frames from it pass as they are.
    #[arg(long, value_name = "NAME")]
    to: String,
    /// Which test packets are lost: 1% (by chance) or every:100 (exactly).
    #[arg(long, value_name = "WHEN")]
    lose: Option<When>,
    /// Which are sent twice.
    #[arg(long, value_name = "WHEN")]
    duplicate: Option<When>,
    /// In which a bit is flipped.
    #[arg(long, value_name = "WHEN")]
    corrupt: Option<When>,
    /// Which are held back until others overtook them.
    #[arg(long, value_name = "WHEN")]
    hold: Option<When>,
    /// How many of the same stream shall overtake one that is held.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    hold_for: u32,
    /// How long all frames take, such as 5ms.
    #[arg(long, value_name = "TIME")]
    delay: Option<Span>,
    /// Decides what is left to chance: the same number and the same packets end in the same deeds.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Form of the output.
    #[arg(long, short, value_enum, value_name = "FORM", default_value_t = Output::Table)]
    output: Output,
}

impl Impair {
    pub(crate) fn run(self) -> Result<(), Error> {
        if self.from == self.to {
            return Err("--from and --to must be two interfaces".into());
        }
        let rules = Rules {
            seed: self.seed,
            lose: self.lose.unwrap_or_default(),
            duplicate: self.duplicate.unwrap_or_default(),
            corrupt: self.corrupt.unwrap_or_default(),
            hold: self.hold.unwrap_or_default(),
            hold_for: self.hold_for,
            delay: self.delay.map_or(Duration::ZERO, |span| span.0),
        };
        let stop = signals::stop()?;
        let wire = ImpairedWire::start(AttachOptions::new(self.from), AttachOptions::new(self.to), rules)?;
        eprintln!("pktgen: impairing; Ctrl-C ends it and tells what was done");
        let mut gone = None;
        while !stop.load(Ordering::Relaxed) && gone.is_none() {
            thread::sleep(Duration::from_millis(50));
            gone =
                wire.watches().iter().find(|watch| watch.is_gone()).map(|watch| watch.interface().to_owned());
        }
        let overrun: u64 = wire.watches().iter().map(|watch| watch.losses().overrun).sum();
        let deeds = wire.stop();
        match self.output {
            Output::Json => println!("{}", serde_json::to_string_pretty(&deeds)?),
            Output::Table => {
                let Deeds { seen, lost, duplicated, corrupted, reordered, overtakers, overflow, cut, other } =
                    deeds;
                println!(
                    "seen        {seen}\nlost        {lost}\nduplicated  {duplicated}\ncorrupted   {corrupted}"
                );
                println!(
                    "reordered   {reordered} (overtaken by {overtakers})\noverflow    {overflow}\ncut off     {cut}\nother       {other}"
                );
            }
        }
        if overrun > 0 {
            eprintln!("pktgen: {overrun} more frames were lost by a wire that did not keep up");
        }
        match gone {
            Some(interface) => Err(format!("interface {interface} is gone: see `ip link`").into()),
            None => Ok(()),
        }
    }
}
