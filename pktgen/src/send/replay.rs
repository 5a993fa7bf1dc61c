//! Replays a capture.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::source::{Built, Source};
use super::start::{Options, SendError, Sending, start_sources};
use crate::pcap::Capture;
use crate::profile::{Limit, Rate};

/// When the frames of a capture go out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Timing {
    /// At the times between them that the capture has, divided by this.
    Scaled(f64),
    /// At this rate, whatever the capture says.
    Paced(Rate),
}

/// Sends the frames of a capture, unchanged and `rounds` times (0: for ever), out of the first queue.
///
/// # Errors
/// [`SendError`]; then nothing was sent.
pub fn replay(
    capture: Arc<Capture>,
    timing: Timing,
    rounds: u64,
    limit: Limit,
    options: &Options,
    stop: &Arc<AtomicBool>,
) -> Result<Sending, SendError> {
    let max_len = capture.max_len();
    let rate = match timing {
        Timing::Scaled(_) => Rate::Max,
        Timing::Paced(rate) => rate,
    };
    let options = Options { queues: options.queues.iter().copied().take(1).collect(), ..options.clone() };
    let source = Replay::new(capture, timing, rounds);
    start_sources(std::iter::once(source), &options, max_len, 1, rate, limit, stop)
}

/// A capture that goes out.
pub(super) struct Replay {
    capture: Arc<Capture>,
    /// Nanoseconds that go out for each one of the capture; none if its times don't matter.
    scale: Option<f64>,
    next: usize,
    /// Rounds that are not through; never through if none.
    rounds: Option<u64>,
    /// When this round began, in the capture's time.
    begun: u64,
    /// From the start of a round to that of the next.
    period: u64,
    max_len: usize,
}

impl Replay {
    pub(super) fn new(capture: Arc<Capture>, timing: Timing, rounds: u64) -> Self {
        let packets = capture.packets();
        let length = packets.last().map_or(0, |packet| packet.time);
        // Between rounds is the mean time between frames.
        let period = length.saturating_add(length / (packets.len() as u64).saturating_sub(1).max(1));
        let scale = match timing {
            Timing::Scaled(speed) => Some(1.0 / speed),
            Timing::Paced(_) => None,
        };
        let max_len = capture.max_len();
        Self { capture, scale, next: 0, rounds: (rounds > 0).then_some(rounds), begun: 0, period, max_len }
    }
}

impl Source for Replay {
    fn max_len(&self) -> usize {
        self.max_len
    }

    #[inline]
    fn due(&self, start: u64) -> Option<u64> {
        if self.rounds == Some(0) {
            return None;
        }
        let packet = self.capture.packets().get(self.next)?;
        let Some(scale) = self.scale else { return Some(start) };
        // Saturates, as conversions of floating-point numbers do.
        Some(start.saturating_add((self.begun.saturating_add(packet.time) as f64 * scale) as u64))
    }

    #[inline]
    fn next(&mut self, start: u64, now: u64, buffer: &mut [u8]) -> Option<Built> {
        if self.due(start)? > now {
            return None;
        }
        let packet = *self.capture.packets().get(self.next)?;
        let frame = self.capture.frame(packet);
        buffer[..frame.len()].copy_from_slice(frame);
        self.next += 1;
        if self.next == self.capture.packets().len() {
            self.next = 0;
            self.begun = self.begun.saturating_add(self.period);
            self.rounds = self.rounds.map(|rounds| rounds - 1);
        }
        Some(Built { stream: 0, len: frame.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pcap;

    /// A capture of three frames, at 0, 10 and 30.
    fn capture() -> Arc<Capture> {
        let mut file = Vec::new();
        pcap::write_header(&mut file).unwrap();
        for (number, time) in [5, 15, 35].into_iter().enumerate() {
            pcap::write_packet(&mut file, time, &[number as u8; 60]).unwrap();
        }
        Arc::new(Capture::read(&file[..]).unwrap())
    }

    /// When each frame goes out, looked at each nanosecond.
    fn sent(timing: Timing, rounds: u64, end: u64) -> Vec<(u64, u8)> {
        let mut replay = Replay::new(capture(), timing, rounds);
        let mut sent = Vec::new();
        for now in 100..100 + end {
            let mut buffer = [0xa5; 64];
            while sent.len() < 100 {
                let Some(Built { len, .. }) = replay.next(100, now, &mut buffer) else { break };
                sent.push((now - 100, buffer[len - 1]));
            }
        }
        sent
    }

    #[test]
    fn timed_scaled_and_looped() {
        assert_eq!(sent(Timing::Scaled(1.0), 1, 100), [(0, 0), (10, 1), (30, 2)]);
        assert_eq!(sent(Timing::Scaled(2.0), 1, 100), [(0, 0), (5, 1), (15, 2)]);
        let twice = [(0, 0), (10, 1), (30, 2), (45, 0), (55, 1), (75, 2)];
        assert_eq!(sent(Timing::Scaled(1.0), 2, 100), twice);
        assert_eq!(sent(Timing::Scaled(1.0), 0, 46), twice[..4]);
        assert_eq!(sent(Timing::Paced(Rate::Max), 1, 1), [(0, 0), (0, 1), (0, 2)]);
    }

    #[test]
    fn after_the_last_frame_nothing_is_due() {
        for timing in [Timing::Scaled(1.0), Timing::Paced(Rate::Packets(0.001))] {
            let mut replay = Replay::new(capture(), timing, 2);
            for _ in 0..6 {
                assert!(replay.due(100).is_some());
                assert!(replay.next(100, 1000, &mut [0; 64]).is_some());
            }
            assert_eq!(replay.due(100), None, "{timing:?}");
        }
    }
}
