//! The gateway's end.

use std::io;
use std::time::{Duration, SystemTime};

use engine::{Direction, Engine, PortIndex, Tap, Tapped};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

use super::story::{nanoseconds, outcome_name};
use super::{End, Observe, Start, Story, TapDirection, Until};
use crate::capture::pcapng;

/// How often the tap is looked at, and the longest that a frame waits for others.
const TICK: Duration = Duration::from_millis(1);
/// Frames that are taken from the tap at once: with one such batch a tick, no capture keeps control from its work.
const FRAMES_AT_ONCE: usize = 256;
/// The same of packets to be explained, which takes longer.
const STORIES_AT_ONCE: usize = 16;
/// Longer than any tap that was given up.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Serves one client until it has all, or goes.
pub(crate) async fn serve(wanted: Observe, mut stream: UnixStream, engine: &Engine) -> io::Result<()> {
    let interfaces = interfaces(engine);
    let filter = match &wanted {
        Observe::Capture { filter, direction, dropped, .. } => {
            filter.resolve(&interfaces, *direction, *dropped, None)
        }
        Observe::Trace { filter, dropped, every, .. } => {
            filter.resolve(&interfaces, TapDirection::Rx, *dropped, Some(*every))
        }
    };
    let tap = filter.and_then(|filter| engine.tap(filter).map_err(|busy| busy.to_string()));
    let tap = match tap {
        Ok(tap) => tap,
        Err(error) => return say(&mut stream, &Start::Error(error)).await,
    };
    while !tap.is_on() {
        sleep(TICK).await;
    }
    say(&mut stream, &Start::Started).await?;
    Observation { wanted, interfaces, engine, tap, told: 0, buffer: Vec::new() }.run(stream).await
}

/// The names of the engine's ports, by [`PortIndex`].
pub(crate) fn interfaces(engine: &Engine) -> Vec<String> {
    engine.ports().into_iter().map(|port| port.interface).collect()
}

async fn say(stream: &mut UnixStream, start: &Start) -> io::Result<()> {
    let mut line = serde_json::to_vec(start)?;
    line.push(b'\n');
    stream.write_all(&line).await
}

struct Observation<'a> {
    wanted: Observe,
    /// By [`PortIndex`].
    interfaces: Vec<String>,
    engine: &'a Engine,
    tap: Tap,
    /// Frames so far.
    told: u64,
    /// What is to be sent next.
    buffer: Vec<u8>,
}

impl Observation<'_> {
    async fn run(mut self, mut stream: UnixStream) -> io::Result<()> {
        let (Observe::Capture { until, .. } | Observe::Trace { until, .. }) = self.wanted;
        let seconds = until.seconds.map_or(FOR_EVER, |seconds| Duration::from_secs(seconds.get().into()));
        let end = sleep_until(Instant::now() + seconds);
        tokio::pin!(end);
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut from, mut to) = stream.split();
        self.begin();
        loop {
            to.write_all(&self.buffer).await?;
            self.buffer.clear();
            if self.is_done(until) {
                break;
            }
            let mut unexpected = [0; 64];
            tokio::select! {
                _ = ticks.tick() => { self.take(until)?; }
                () = &mut end => break,
                // It shuts its side down when it has had enough; it has nothing more to say.
                said = from.read(&mut unexpected) => if said? == 0 { break },
            }
        }
        // What was seen before the end belongs to it: no more than the ring holds.
        while !self.is_done(until) && self.take(until)? {
            to.write_all(&self.buffer).await?;
            self.buffer.clear();
        }
        self.end()?;
        to.write_all(&self.buffer).await?;
        to.shutdown().await
    }

    fn is_done(&self, until: Until) -> bool {
        until.count.is_some_and(|count| self.told >= count.get())
    }

    fn begin(&mut self) {
        if let Observe::Capture { snaplen, .. } = self.wanted {
            pcapng::section(&mut self.buffer);
            for name in &self.interfaces {
                for way in ["rx", "tx"] {
                    pcapng::interface(
                        &mut self.buffer,
                        &format!("{name} {way}"),
                        snaplen.map_or(0, Into::into),
                    );
                }
            }
        }
    }

    /// Takes a batch from the tap; whether there was anything.
    fn take(&mut self, until: Until) -> io::Result<bool> {
        let at_once = match self.wanted {
            Observe::Capture { .. } => FRAMES_AT_ONCE,
            Observe::Trace { .. } => STORIES_AT_ONCE,
        };
        for taken in 0..at_once {
            if self.is_done(until) {
                return Ok(true);
            }
            let Some(tapped) = self.tap.next(Duration::ZERO) else { return Ok(taken > 0) };
            self.told += 1;
            match self.wanted {
                Observe::Capture { inner, snaplen, .. } => {
                    self.write(&tapped, inner, snaplen.map_or(usize::MAX, |snaplen| snaplen.get() as usize));
                }
                Observe::Trace { .. } => self.tell(&tapped)?,
            }
        }
        Ok(true)
    }

    fn write(&mut self, tapped: &Tapped, inner: bool, snaplen: usize) {
        let Tapped { port, direction, reason, frame, .. } = tapped;
        let frame = tapped.inner().filter(|_| inner).unwrap_or(frame);
        let comment =
            format!("{} {}: {}", outcome_name(reason.outcome()), reason.name(), reason.description());
        let packet = pcapng::Packet {
            interface: interface(*port, *direction),
            time_ns: nanoseconds(tapped.time),
            is_inbound: *direction == Direction::Received,
            bytes: &frame[..frame.len().min(snaplen)],
            len: frame.len(),
            comment: &comment,
        };
        packet.write(&mut self.buffer);
    }

    fn tell(&mut self, tapped: &Tapped) -> io::Result<()> {
        let explanation = self.engine.explain(tapped);
        let name = self.interfaces.get(usize::from(tapped.port.0)).map_or("", String::as_str);
        serde_json::to_writer(&mut self.buffer, &Story::new(tapped, explanation, name))?;
        self.buffer.push(b'\n');
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        match self.wanted {
            Observe::Capture { .. } => {
                #[expect(clippy::disallowed_methods, reason = "a capture's stamps")]
                let now = nanoseconds(SystemTime::now());
                for port in 0..self.interfaces.len() {
                    for direction in [Direction::Received, Direction::Transmitted] {
                        let port = PortIndex(port as u8);
                        let lost = self.tap.lost_at(port, direction);
                        pcapng::statistics(&mut self.buffer, interface(port, direction), now, lost);
                    }
                }
            }
            Observe::Trace { .. } => {
                serde_json::to_writer(&mut self.buffer, &End { lost: self.tap.lost() })?;
                self.buffer.push(b'\n');
            }
        }
        Ok(())
    }
}

/// The number of a port's way in the capture file.
fn interface(port: PortIndex, direction: Direction) -> u32 {
    u32::from(port.0) * 2 + u32::from(direction == Direction::Transmitted)
}
