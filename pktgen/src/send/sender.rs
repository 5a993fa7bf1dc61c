//! Sends frames through one port: what one thread does.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use port::{BATCH, FramePool, Port, RING_SIZE};

use super::pace::Pace;
use super::sent::{Ended, Sent};
use super::source::{Built, Source};
use super::wait::wait;
use crate::clock;
use crate::profile::{Limit, MIN_LEN, Rate};

/// How long a port that takes nothing is waited for, in nanoseconds: to the end of a run, or before it is called stuck.
const PATIENCE: u64 = 1_000_000_000;

/// What others may see of a sender while it sends.
#[derive(Debug, Default)]
pub struct Progress {
    packets: AtomicU64,
}

impl Progress {
    /// Frames that were given to the port.
    pub fn packets(&self) -> u64 {
        self.packets.load(Ordering::Relaxed)
    }
}

/// One thread's port, and what goes out there.
pub(super) struct Sender<S> {
    port: Port,
    pool: FramePool,
    source: S,
    sent: Sent,
    /// Stream and length of the last frames, a ring: what the port never took is taken off the result.
    recent: Box<[(u16, u16)]>,
}

impl<S: Source> Sender<S> {
    /// Sends what `source` has, from a pool of at most [`RING_SIZE`] frames of the port's memory.
    pub(super) fn new(port: Port, pool: FramePool, source: S, streams: usize, requested: Rate) -> Self {
        assert!(pool.available() <= RING_SIZE as usize, "each frame has a place in the ring");
        let recent = vec![(0, 0); RING_SIZE as usize].into();
        Self { port, pool, source, sent: Sent::new(streams, requested), recent }
    }

    /// Sends until the limit is met, the source ends, it is told to stop, or the port fails. The source and the limit
    /// begin at `start`, nanoseconds of the clock.
    pub(super) fn run(
        mut self,
        mut pace: Pace,
        start: u64,
        limit: Limit,
        stop: &AtomicBool,
        progress: &Progress,
    ) -> Sent {
        let end = limit.duration.map_or(u64::MAX, |time| start.saturating_add(time.as_nanos() as u64));
        let count = limit.count.unwrap_or(u64::MAX);
        let mut taken_at = start;
        self.sent.ended = loop {
            let now = clock::now();
            if stop.load(Ordering::Relaxed) {
                break Ended::Stopped;
            }
            if self.sent.packets >= count || now >= end {
                break Ended::Complete;
            }
            if let Some(failure) = self.port.failure() {
                break failed(&failure);
            }
            let Some(own) = self.source.due(start) else { break Ended::Complete };
            let due = pace.due().max(own);
            if due > now {
                // What the kernel had no room for goes out now, and not with the next frames.
                if self.port.has_unsent() {
                    self.port.flush();
                }
                wait(now, due.min(end));
                continue;
            }
            pace.give_up(now);
            self.port.reclaim(&mut self.pool);
            let most = (count - self.sent.packets).min(BATCH as u64) as usize;
            match self.send(most, start, now, &mut pace) {
                0 if self.pool.available() > 0 => {}
                0 => {
                    // The port holds all frames: it must be made to send them.
                    self.port.flush();
                    if now - taken_at > PATIENCE {
                        break Ended::Failed("the port takes no more frames: see `ip link`".into());
                    }
                    continue;
                }
                _ if own > start => self.sent.late = self.sent.late.max(now - own),
                _ => {}
            }
            taken_at = now;
            progress.packets.store(self.sent.packets, Ordering::Relaxed);
        };
        self.sent.behind = pace.behind();
        self.finish();
        progress.packets.store(self.sent.packets, Ordering::Relaxed);
        self.sent
    }

    /// Sends what is due, `most` frames at most; how many.
    #[inline]
    fn send(&mut self, most: usize, start: u64, now: u64, pace: &mut Pace) -> usize {
        let mut count = 0;
        while count < most && pace.due() <= now {
            let Some(mut frame) = self.pool.take() else { break };
            let fits = frame.reset(self.source.max_len());
            assert!(fits, "checked with the profile");
            let buffer = self.port.umem().data_mut(&mut frame);
            let Some(Built { stream, len }) = self.source.next(start, now, buffer) else {
                self.pool.put(frame);
                break;
            };
            frame.truncate(len);
            let transmitted = self.port.transmit(frame);
            assert!(transmitted.is_ok(), "the ring has a place for every frame of the pool");
            pace.spend(len);
            self.recent[(self.sent.packets % u64::from(RING_SIZE)) as usize] = (stream as u16, len as u16);
            self.sent.packets += 1;
            self.sent.bytes += len as u64;
            self.sent.padding += padding(len);
            self.sent.streams[stream].packets += 1;
            self.sent.streams[stream].bytes += len as u64;
            count += 1;
        }
        if count > 0 {
            self.port.flush();
            if let Some(last) = self.sent.last {
                self.sent.gaps.add(now - last);
            }
            self.sent.gaps.add_zeros(count as u64 - 1);
            self.sent.first.get_or_insert(now);
            self.sent.last = Some(now);
        }
        count
    }

    /// Waits until the port has taken all, or is not going to, and takes what it has not off the result.
    fn finish(&mut self) {
        let start = clock::now();
        while self.port.has_unsent() && self.port.failure().is_none() && clock::now() - start < PATIENCE {
            self.port.reclaim(&mut self.pool);
            self.port.flush();
        }
        if let (Some(failure), Ended::Complete | Ended::Stopped) = (self.port.failure(), &self.sent.ended) {
            self.sent.ended = failed(&failure);
        }
        for _ in 0..self.port.unsent() {
            self.sent.packets -= 1;
            let (stream, len) = self.recent[(self.sent.packets % u64::from(RING_SIZE)) as usize];
            self.sent.bytes -= u64::from(len);
            self.sent.padding -= padding(len.into());
            self.sent.streams[usize::from(stream)].packets -= 1;
            self.sent.streams[usize::from(stream)].bytes -= u64::from(len);
        }
        if self.sent.packets == 0 {
            (self.sent.first, self.sent.last) = (None, None);
        }
    }
}

/// Bytes that a wire adds to a short frame.
fn padding(len: usize) -> u64 {
    MIN_LEN.saturating_sub(len) as u64
}

fn failed(failure: &std::io::Error) -> Ended {
    Ended::Failed(format!("the interface is gone, or was set down: {failure}; see `ip link`"))
}
