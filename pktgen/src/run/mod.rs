//! Whole measurements: a profile is sent at one port and received at another; or received alone.

mod calibrate;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::attach::PortFacts;
use crate::clock;
use crate::drops::DropCounters;
use crate::profile::{Limit, Profile};
use crate::receive::{Expected, MeterOptions, ReceiveError, Receiver, ReceiverOptions, TimedSlice};
use crate::report::{self, Calibration, Ended, FORMAT, Machine, Received, Report, SentSummary, Setup};
use crate::send::{self, SendError, Sent};

pub use calibrate::{CALIBRATION_RATE, CALIBRATION_TIME, CalibrationOptions, calibrate};

/// How often it is looked how things are going.
const TICK: Duration = Duration::from_millis(10);
/// Ticks from one look at whether the netdev is there to the next.
const LOOK: u32 = 10;
/// How much longer than [`RunOptions::settle`] late frames are waited for at most, if others keep coming.
const SETTLE_AT_MOST: u32 = 10;

/// How to send and receive.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Where and how frames go out. Its queues are as many as the profile was split into.
    pub send: send::Options,
    /// Where and how they come back; its meter is told of the profile.
    pub receive: ReceiverOptions,
    /// How long nothing must come, after the last was sent, for what is missing to be lost.
    pub settle: Duration,
    /// What was measured before, to stand in the report.
    pub calibration: Option<Calibration>,
}

/// Why nothing was measured.
#[derive(Debug, Error)]
pub enum RunError {
    /// The sender's side.
    #[error("cannot send: {0}")]
    Send(#[from] SendError),
    /// The receiver's side.
    #[error("cannot receive: {0}")]
    Receive(#[from] ReceiveError),
}

/// How far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Since the start, in nanoseconds.
    pub elapsed: u64,
    /// When it is to end, if that is known, in nanoseconds since the start.
    pub end: Option<u64>,
    /// Packets that are to be sent, if that is known.
    pub count: Option<u64>,
    /// Packets that were sent.
    pub sent: u64,
    /// Whether sending has ended, and stragglers are waited for.
    pub settling: bool,
}

/// What shows how it goes: called some hundred times a second, with the slices of time that ended since.
pub type Look<'a> = &'a mut dyn FnMut(&Progress, &[TimedSlice]);

/// The streams of a profile, as a meter wants to know them.
pub fn expected(profile: &Profile) -> Vec<Expected> {
    let stream = |stream: &crate::profile::Stream| {
        let overlays = stream.clone();
        Expected { name: stream.name.clone(), overlay: Arc::new(move |number| overlays.overlay(number)) }
    };
    profile.streams.iter().map(stream).collect()
}

/// Sends a profile and receives what comes of it, until its limit is met or `stop` is set. The netdevs are of the
/// calling thread's network namespace. See [`run_between`] for two.
///
/// # Errors
/// [`RunError`] if it did not begin. What breaks later is told in the report.
pub fn run(
    profile: &Profile,
    options: RunOptions,
    stop: &AtomicBool,
    look: Look<'_>,
) -> Result<Report, RunError> {
    run_between(profile, options, stop, look, &|begin| begin())
}

/// As [`run`], with a sender that begins wherever `place` calls what it is given: on a thread in another network
/// namespace, say.
///
/// # Errors
/// As [`run`].
pub fn run_between(
    profile: &Profile,
    options: RunOptions,
    stop: &AtomicBool,
    look: Look<'_>,
    place: &dyn Fn(&mut (dyn FnMut() + Send)),
) -> Result<Report, RunError> {
    let RunOptions { send, mut receive, settle, calibration } = options;
    let streams = expected(profile);
    receive.meter.streams = Some(streams.clone());
    let mut watched = Watched::start(receive, Some(profile.name.clone()))?;
    // Whoever stops the run stops the sender first.
    let stop_sending = Arc::new(AtomicBool::new(false));
    let mut started = None;
    place(&mut || {
        let facts = PortFacts::of(&send.interface, send.queues.len() as u32, 0);
        let drops = DropCounters::open(&send.interface).ok();
        started = Some((send::start(profile, &send, &stop_sending), facts, drops));
    });
    let (sending, mut facts, drops) = started.expect("the caller calls it");
    let sending = sending?;
    facts.mtu = sending.mtu;
    facts.bind = sending.modes.first().map_or_else(|| "none".into(), ToString::to_string);
    facts.bind_refusal = sending.refusal.clone();
    watched.setup.sender_cores = sending.cores.clone();
    watched.setup.sender = Some(facts);
    watched.progress.end = profile.limit.duration.map(|time| time.as_nanos() as u64);
    watched.progress.count = profile.limit.count;

    while !sending.is_finished() {
        watched.progress.sent = sending.progress();
        watched.tick(look);
        if stop.load(Ordering::Relaxed) || watched.is_gone() {
            stop_sending.store(true, Ordering::Relaxed);
        }
    }
    let sent = sending.join();
    watched.progress.sent = sent.packets;
    watched.settle(settle, stop, look);
    let by_stream: Vec<u64> = sent.streams.iter().map(|stream| stream.packets).collect();
    let mut report = watched.finish(Some(&streams), Some(&by_stream));
    report.ended = match (&sent.ended, report.ended) {
        (_, failed @ Ended::Failed(_)) => failed,
        (send::Ended::Failed(why), _) => Ended::Failed(why.clone()),
        (send::Ended::Stopped, _) => Ended::Interrupted,
        (send::Ended::Complete, ended) => ended,
    };
    let dropped = drops.and_then(|drops| drops.since()).map(|drops| drops.sent);
    report.sent = Some(SentSummary { dropped, ..summary(&sent) });
    report.calibration = calibration;
    Ok(report)
}

/// Receives until the limit is met or `stop` is set: its count is of test packets that came whole. With a profile, what
/// was sent of it is not known: what is missing after the last packet that came is not seen.
///
/// # Errors
/// [`RunError::Receive`] if it did not begin. What breaks later is told in the report.
pub fn receive(
    profile: Option<&Profile>,
    mut options: ReceiverOptions,
    limit: Limit,
    stop: &AtomicBool,
    look: Look<'_>,
) -> Result<Report, RunError> {
    let streams = profile.map(expected);
    options.meter = MeterOptions { streams: streams.clone(), ..options.meter };
    let mut watched = Watched::start(options, profile.map(|profile| profile.name.clone()))?;
    watched.progress.end = limit.duration.map(|time| time.as_nanos() as u64);
    let end = watched.progress.end.unwrap_or(u64::MAX);
    loop {
        watched.tick(look);
        let enough = limit.count.is_some_and(|count| watched.receiver.received() >= count);
        if enough || watched.progress.elapsed >= end || watched.is_gone() {
            break;
        }
        if stop.load(Ordering::Relaxed) {
            watched.ended = Ended::Interrupted;
            break;
        }
    }
    Ok(watched.finish(streams.as_deref(), None))
}

fn summary(sent: &Sent) -> SentSummary {
    SentSummary {
        packets: sent.packets,
        bytes: sent.bytes,
        duration: sent.duration().as_nanos() as u64,
        requested: sent.requested.to_string(),
        rate: sent.packet_rate(),
        reached: sent.reached(),
        behind: sent.behind,
        dropped: None,
    }
}

/// A receiver, and what is known so far.
struct Watched {
    receiver: Receiver,
    begin: u64,
    slices: Vec<TimedSlice>,
    progress: Progress,
    setup: Setup,
    profile: Option<String>,
    ended: Ended,
    ticks: u32,
}

impl Watched {
    fn start(options: ReceiverOptions, profile: Option<String>) -> Result<Self, ReceiveError> {
        let mut setup = Setup {
            receiver_core: options.core,
            polling: options.polling.to_string(),
            window: options.meter.window,
            ..Setup::default()
        };
        let receiver = Receiver::start(options)?;
        setup.receiver = Some(receiver.facts().clone());
        Ok(Self {
            receiver,
            begin: clock::now(),
            slices: Vec::new(),
            progress: Progress::default(),
            setup,
            profile,
            ended: Ended::Complete,
            ticks: 0,
        })
    }

    /// Waits a little, and looks what happened.
    fn tick(&mut self, look: Look<'_>) {
        thread::sleep(TICK);
        self.ticks += 1;
        self.progress.elapsed = clock::now() - self.begin;
        let new: Vec<_> = self.receiver.slices().collect();
        look(&self.progress, &new);
        new.into_iter().for_each(|slice| report::keep(&mut self.slices, slice));
        if self.ticks.is_multiple_of(LOOK) && self.ended == Ended::Complete && self.receiver.port_is_gone() {
            let interface = &self.receiver.facts().interface;
            self.ended = Ended::Failed(format!("interface {interface} is gone: see `ip link` and `dmesg`"));
        }
    }

    fn is_gone(&self) -> bool {
        matches!(self.ended, Ended::Failed(_))
    }

    /// Waits until all that was sent has come, or nothing has come for so long. What ended the sending is no reason not
    /// to wait: the packets on their way are not lost. Only a stop that comes meanwhile is.
    fn settle(&mut self, settle: Duration, stop: &AtomicBool, look: Look<'_>) {
        let settle = settle.as_nanos() as u64;
        self.progress.settling = true;
        let stopped_before = stop.load(Ordering::Relaxed);
        let begin = clock::now();
        let (mut frames, mut quiet_since) = (self.receiver.frames(), begin);
        // A second look tells whether duplicates come behind the last.
        while !self.is_gone() {
            self.tick(look);
            let now = clock::now();
            let seen = self.receiver.frames();
            if seen != frames {
                (frames, quiet_since) = (seen, now);
            }
            let complete = self.receiver.received() >= self.progress.sent && now - quiet_since >= settle / 10;
            let too_long = now - begin >= settle * u64::from(SETTLE_AT_MOST);
            if complete || now - quiet_since >= settle || too_long {
                break;
            }
            if !stopped_before && stop.load(Ordering::Relaxed) && !self.is_gone() {
                self.ended = Ended::Interrupted;
                break;
            }
        }
    }

    fn finish(self, names: Option<&[Expected]>, sent: Option<&[u64]>) -> Report {
        let (meter, rest, losses) = self.receiver.stop();
        let mut slices = self.slices;
        rest.into_iter().for_each(|slice| report::keep(&mut slices, slice));
        Report {
            format: FORMAT,
            machine: Machine::this(),
            profile: self.profile,
            setup: self.setup,
            ended: self.ended,
            sent: None,
            received: Received::new(meter.finish(sent), self.begin, &slices, losses, names, sent),
            calibration: None,
        }
    }
}
