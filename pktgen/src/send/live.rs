//! Sends frames that the kernel makes: faster than any socket, without stamps.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use core_affinity::CoreId;
use port::xdp::{LiveSource, XdpError};
use sys::netdev::Netdev;
use thiserror::Error;

use super::pace::Pace;
use super::sent::{Ended, Sent};
use super::start::{Options, SendError, check_netdev};
use super::wait::wait;
use crate::build::{LiveError, live_frames};
use crate::clock;
use crate::profile::Profile;

/// Most frames of a call: between calls it is looked whether it is time to stop.
const CALL: u64 = 4096;
/// How often it is looked whether the interface is still there, in nanoseconds: the kernel drops frames for one that is
/// not without a word.
const LOOK: u64 = 100_000_000;
/// What is said if it is not.
const GONE: &str =
    "the interface is gone, or was set down: see `ip link`; of the last 0.1 s it is not known what was sent";

/// Why nothing is sent.
#[derive(Debug, Error)]
pub enum LiveSendError {
    /// Several streams.
    #[error("live frames are of one stream: this profile has {0}")]
    Streams(usize),
    /// Frames that the kernel cannot make.
    #[error(transparent)]
    Frames(#[from] LiveError),
    /// The interface will not do.
    #[error(transparent)]
    Interface(#[from] SendError),
    /// The kernel's program.
    #[error(transparent)]
    Xdp(#[from] XdpError),
}

/// Sends a profile's one stream from this thread, on the first of the cores, until its limit is met or `stop` is set. What
/// is reported as sent is what the interface did not drop.
///
/// # Errors
/// [`LiveSendError`]; then nothing was sent.
pub fn send_live(
    profile: &Profile,
    options: &Options,
    stop: &Arc<AtomicBool>,
) -> Result<Sent, LiveSendError> {
    let [stream] = &profile.streams[..] else { return Err(LiveSendError::Streams(profile.streams.len())) };
    let netdev = check_netdev(&options.interface, stream.max_len())?;
    let core = options.cores().first().copied().unwrap_or(0);
    if !core_affinity::set_for_current(CoreId { id: core }) {
        return Err(SendError::Core(core).into());
    }
    let mut source = LiveSource::new(live_frames(stream)?, netdev.index, &options.interface)?;
    let dropped = source.dropped()?;
    let mut sent = Sent::new(1, profile.rate);
    let len = stream.max_len();
    let start = clock::now();
    let mut pace = Pace::new(profile.rate, start);
    let end = profile.limit.duration.map_or(u64::MAX, |time| start.saturating_add(time.as_nanos() as u64));
    let count = profile.limit.count.unwrap_or(u64::MAX);
    let is_there = || {
        let now = Netdev::named(&options.interface);
        now.is_ok_and(|now| now.index == netdev.index && now.running)
    };
    let (mut asked, mut looked, mut called) = (0, start, None);
    sent.ended = loop {
        let now = clock::now();
        if stop.load(Ordering::Relaxed) {
            break Ended::Stopped;
        }
        if asked >= count || now >= end {
            break Ended::Complete;
        }
        if now - looked >= LOOK {
            if !is_there() {
                break Ended::Failed(GONE.into());
            }
            looked = now;
        }
        if pace.due() > now {
            wait(now, pace.due().min(end));
            continue;
        }
        pace.give_up(now);
        let mut frames = 0;
        while frames < CALL.min(count - asked) && pace.due() <= now {
            pace.spend(len);
            frames += 1;
        }
        match source.run(frames as u32) {
            Ok(()) => asked += frames,
            // A signal came in the middle: it is looked what was made, and whether to stop.
            Err(XdpError::Live { source: error, .. }) if error.kind() == ErrorKind::Interrupted => {
                match source.sent() {
                    Ok(made) => asked = made,
                    Err(error) => break Ended::Failed(error.to_string()),
                }
            }
            Err(error) => break Ended::Failed(error.to_string()),
        }
        if let Some(called) = called.replace(now) {
            sent.gaps.add(now - called);
        }
        sent.gaps.add_zeros(frames - 1);
        sent.first.get_or_insert(now);
        // If more is due already, the call's frames took all of its time.
        sent.last = Some(if pace.due() <= now { clock::now() } else { now });
    };
    sent.behind = pace.behind();
    if !is_there() {
        fail(&mut sent.ended, || GONE.into());
    }
    // The drops are those of the netdev's whole life: of one that is gone they are unknown.
    match source.dropped() {
        Ok(now) => sent.dropped = now.saturating_sub(dropped),
        Err(error) => fail(&mut sent.ended, || error.to_string()),
    }
    sent.packets = source.sent()?.saturating_sub(sent.dropped);
    sent.bytes = sent.packets * len as u64;
    sent.streams[0] = super::StreamSent { packets: sent.packets, bytes: sent.bytes };
    Ok(sent)
}

/// Ends in failure, unless it has already.
fn fail(ended: &mut Ended, why: impl FnOnce() -> String) {
    if !matches!(ended, Ended::Failed(_)) {
        *ended = Ended::Failed(why());
    }
}
