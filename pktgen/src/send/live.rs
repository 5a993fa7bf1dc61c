//! Sends frames that the kernel makes: faster than any socket, without stamps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use core_affinity::CoreId;
use port::xdp::{LiveSource, XdpError};
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
    let mut asked = 0;
    sent.ended = loop {
        let now = clock::now();
        if stop.load(Ordering::Relaxed) {
            break Ended::Stopped;
        }
        if asked >= count || now >= end {
            break Ended::Complete;
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
        // A signal may have come in the middle: then it is looked what was sent, and whether to stop.
        if let Err(error) = source.run(frames as u32)
            && !stop.load(Ordering::Relaxed)
        {
            break Ended::Failed(error.to_string());
        }
        asked += frames;
        if let Some(last) = sent.last {
            sent.gaps.add(now - last);
        }
        sent.gaps.add_zeros(frames - 1);
        sent.first.get_or_insert(now);
        sent.last = Some(now);
    };
    sent.behind = pace.behind();
    // If the interface is gone, its drops are unknown.
    sent.dropped = source.dropped().map_or(0, |now| now.saturating_sub(dropped));
    sent.packets = source.sent()?.saturating_sub(sent.dropped);
    sent.bytes = sent.packets * len as u64;
    sent.streams[0] = super::StreamSent { packets: sent.packets, bytes: sent.bytes };
    Ok(sent)
}
