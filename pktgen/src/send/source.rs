//! What is sent next.

use crate::build::FrameBuilder;
use crate::profile::{Profile, Schedule, Stream};

/// Where frames come from.
pub(super) trait Source {
    /// Length of the longest frame.
    fn max_len(&self) -> usize;

    /// When the next frame is due at the earliest, whatever the pace is; `None` if there is none. All began at `start`;
    /// nanoseconds.
    fn due(&self, start: u64) -> Option<u64>;

    /// Writes the next frame, which is stamped with the time `now`, to the start of `buffer`; `None` if none is due.
    fn next(&mut self, start: u64, now: u64, buffer: &mut [u8]) -> Option<Built>;
}

/// A frame that was written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Built {
    /// Its stream, an index.
    pub(super) stream: usize,
    /// Its bytes.
    pub(super) len: usize,
}

/// The streams of a profile, or those of one lane.
pub(super) struct Streams {
    streams: Vec<Running>,
    schedule: Schedule,
    max_len: usize,
}

/// A stream that goes out.
struct Running {
    /// Index in the profile.
    stream: usize,
    builder: FrameBuilder,
    sequence: u64,
}

impl Streams {
    /// Those of a lane of a profile, numbered from 0.
    pub(super) fn new(profile: &Profile, lane: u64) -> Self {
        let (indices, own): (Vec<_>, Vec<_>) =
            profile.streams.iter().cloned().enumerate().filter(|(_, stream)| stream.lane == lane).unzip();
        let running = indices.into_iter().zip(&own).map(|(stream, own)| Running {
            stream,
            builder: FrameBuilder::new(own),
            sequence: 0,
        });
        let streams: Vec<_> = running.collect();
        let max_len = own.iter().map(Stream::max_len).max().unwrap_or(0);
        Self { streams, schedule: Schedule::new(&own), max_len }
    }
}

impl Source for Streams {
    fn max_len(&self) -> usize {
        self.max_len
    }

    #[inline]
    fn due(&self, start: u64) -> Option<u64> {
        Some(start)
    }

    #[inline]
    fn next(&mut self, _start: u64, now: u64, buffer: &mut [u8]) -> Option<Built> {
        let running = &mut self.streams[self.schedule.turn()];
        let len = running.builder.write(running.sequence, now, buffer);
        running.sequence += 1;
        Some(Built { stream: running.stream, len })
    }
}
