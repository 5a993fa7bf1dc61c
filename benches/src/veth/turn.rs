//! One measurement of one contender with one shape of frames.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lab::{PacketSocket, wait_until};
use port::xdp::{Expected, LiveSource, Sink};
use vxgate_bench::frames::Shape;

use super::contender::{Contender, First, Kind};
use super::stage::{Task, counters};
use super::traffic;
use crate::Error;

/// Frames that the source makes before it looks whether to stop: some milliseconds' worth.
const STRETCH: u32 = 1 << 15;
/// As many frames as a veth has room for, whenever its far end gets to run.
const ROOM: u32 = 64;
const PATIENCE: Duration = Duration::from_secs(10);

/// How long is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// Under load, before.
    pub(crate) warm_up: Duration,
    /// From the first reading of the counters to the last.
    pub(crate) measured: Duration,
}

/// What a turn gave.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Turn {
    pub(crate) seconds: f64,
    /// Frames that came out as expected.
    pub(crate) forwarded: f64,
    /// Frames that its netdev took in.
    pub(crate) received: f64,
    /// Frames of the source that the contender's netdev had no room for.
    pub(crate) refused: f64,
    /// Frames that came out and were lost on the way to the sink.
    pub(crate) lost: f64,
    /// Frames that came out and were not as expected.
    pub(crate) other: f64,
    /// Seconds of a core that reception took.
    pub(crate) reception: f64,
    /// Seconds of a core that the process took.
    pub(crate) process: f64,
}

impl Turn {
    /// Packets a second.
    pub(crate) fn rate(&self) -> f64 {
        self.forwarded / self.seconds
    }

    /// Nanoseconds of a core that reception took for a packet that was forwarded.
    pub(crate) fn reception_ns(&self) -> f64 {
        1e9 * self.reception / self.forwarded
    }

    /// The same of the process.
    pub(crate) fn process_ns(&self) -> f64 {
        1e9 * self.process / self.forwarded
    }

    /// How much of what the source made was refused.
    pub(crate) fn refused_share(&self) -> f64 {
        self.refused / (self.refused + self.received)
    }

    /// How much of what was received did not come out. Rings that were full before a short turn may give more than none.
    pub(crate) fn wasted_share(&self) -> f64 {
        (self.received - self.forwarded).max(0.0) / self.received
    }

    /// What it took.
    pub(crate) fn note(&self) -> String {
        Self::note_of(self.reception_ns(), self.process_ns(), [self.refused_share(), self.wasted_share()])
    }

    pub(crate) fn note_of(reception: f64, process: f64, shares: [f64; 2]) -> String {
        let [refused, wasted] = shares.map(|share| 100.0 * share);
        format!(
            "reception {reception:.0} ns, process {process:.0} ns a packet; {refused:.0} % refused, {wasted:.0} % of the \
             rest lost inside"
        )
    }

    /// Why it counts for nothing, if so.
    pub(crate) fn fault(&self) -> Option<String> {
        if self.forwarded == 0.0 {
            Some("nothing was forwarded".to_owned())
        } else if self.refused == 0.0 {
            Some("the source was too slow: nothing was refused".to_owned())
        } else if self.lost > 0.01 * self.forwarded {
            Some(format!("the sink was too slow: {} frames were lost before it", self.lost))
        } else if self.other > 0.001 * self.forwarded {
            Some(format!("{} frames came out that should not", self.other))
        } else if self.reception == 0.0 {
            Some("reception was not where it should be".to_owned())
        } else {
            None
        }
    }
}

/// All counters at one moment.
struct Reading {
    at: Instant,
    forwarded: u64,
    received: u64,
    other: u64,
    refused: u64,
    lost: u64,
    reception: u64,
    process: u64,
}

/// Measures under overload.
pub(crate) fn measure(contender: &mut Contender, shape: Shape, times: Times) -> Result<Turn, Error> {
    contender.resume()?;
    contender.prefer(First::Process)?;
    let turn = overdrive(contender, shape, times);
    contender.rest()?;
    turn
}

fn overdrive(contender: &mut Contender, shape: Shape, times: Times) -> Result<Turn, Error> {
    let process = contender.process();
    let inside = counters(&contender.stage.gateway)?;
    let outside = counters(&contender.stage.far)?;
    let contender = &*contender;
    let (incoming, outgoing) = contender.stage.way(shape.direction);
    let work = || -> Result<Turn, String> {
        let say = |error: Error| error.to_string();
        let (mut source, sink) = source_and_sink(contender, shape).map_err(say)?;
        let read = || -> Result<Reading, Error> {
            Ok(Reading {
                at: Instant::now(),
                forwarded: sink.expected()?.frames,
                received: inside.read(&incoming.near)?.received,
                other: sink.other()?.frames,
                refused: outside.read(&incoming.far)?.transmit_drops,
                lost: inside.read(&outgoing.near)?.transmit_drops,
                reception: contender.reception.iter().copied().map(Task::processor_time).sum(),
                process: process.map_or(0, Task::processor_time),
            })
        };
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let run = || -> Result<(), String> {
                while !stop.load(Ordering::Relaxed) {
                    source.run(STRETCH).map_err(|error| error.to_string())?;
                }
                Ok(())
            };
            let sending = scope.spawn(run);
            thread::sleep(times.warm_up);
            let first = read();
            thread::sleep(times.measured);
            let last = read();
            stop.store(true, Ordering::Relaxed);
            sending.join().map_err(|_| "the source's thread panicked")??;
            Ok(difference(&first.map_err(say)?, &last.map_err(say)?))
        })
    };
    Ok(contender.stage.far.enter(work)??)
}

fn difference(first: &Reading, last: &Reading) -> Turn {
    let frames = |counter: fn(&Reading) -> u64| (counter(last) - counter(first)) as f64;
    Turn {
        seconds: (last.at - first.at).as_secs_f64(),
        forwarded: frames(|reading| reading.forwarded),
        received: frames(|reading| reading.received),
        refused: frames(|reading| reading.refused),
        lost: frames(|reading| reading.lost),
        other: frames(|reading| reading.other),
        reception: frames(|reading| reading.reception) / 1e9,
        process: frames(|reading| reading.process) / 1e9,
    }
}

/// To be called inside the far namespace.
fn source_and_sink(contender: &Contender, shape: Shape) -> Result<(LiveSource, Sink), Error> {
    let (incoming, outgoing) = contender.stage.way(shape.direction);
    let sink = Sink::attach(outgoing.far_index, &outgoing.far, &contender.expected(shape))?;
    let frames = traffic::frames(shape, &contender.stage, contender.overlays);
    Ok((LiveSource::new(frames, incoming.far_index, &incoming.far)?, sink))
}

/// Sends every overlay's frame, so few at a time that none is lost, and checks that each came out right: the first ones
/// byte by byte, all of them by the sink's count.
pub(crate) fn prove(contender: &mut Contender, shape: Shape) -> Result<(), Error> {
    contender.resume()?;
    let contender_name = contender.to_string();
    let proved = (|| {
        if contender.kind != Kind::Reflector {
            inspect(contender, shape)?;
        }
        count(contender, shape)
    })();
    contender.rest()?;
    proved.map_err(|error: Error| format!("{contender_name}, {shape}: {error}").into())
}

fn inspect(contender: &Contender, shape: Shape) -> Result<(), Error> {
    let (incoming, outgoing) = contender.stage.way(shape.direction);
    let socket = contender.stage.far.packet_socket(&outgoing.far)?;
    let sample = ROOM.min(contender.overlays);
    contender.stage.far.enter(|| {
        let frames = traffic::frames(shape, &contender.stage, contender.overlays);
        let send = LiveSource::new(frames, incoming.far_index, &incoming.far);
        send.and_then(|mut source| source.run(sample)).map_err(|error| error.to_string())
    })??;
    let expected = contender.expected(shape);
    for overlay in 0..sample {
        let frame = next_expected(&socket, &expected)?;
        traffic::check(&frame, shape, overlay)?;
    }
    Ok(())
}

/// The next frame that the sink would expect; the host's own are passed over.
fn next_expected(socket: &PacketSocket, expected: &Expected) -> Result<Vec<u8>, Error> {
    let mut buffer = [0; 2048];
    loop {
        let len = socket.receive(&mut buffer, PATIENCE)?.ok_or("a frame did not come out")?;
        let frame = &buffer[..len];
        let is_right = |&(at, byte): &(u16, u8)| frame[usize::from(at)] == byte;
        if len == usize::from(expected.length) && expected.bytes.iter().all(is_right) {
            return Ok(frame.to_vec());
        }
    }
}

fn count(contender: &Contender, shape: Shape) -> Result<(), Error> {
    let all = || -> Result<(), Error> {
        let (mut source, sink) = source_and_sink(contender, shape)?;
        let mut sent = 0;
        while sent < contender.overlays {
            let some = ROOM.min(contender.overlays - sent);
            source.run(some)?;
            sent += some;
            wait_until(&format!("{sent} frames to come out"), PATIENCE, || {
                let counted = sink.expected().map_err(|error| error.to_string())?.frames;
                if counted == u64::from(sent) { Ok(()) } else { Err(format!("{counted} came out")) }
            })?;
        }
        Ok(())
    };
    Ok(contender.stage.far.enter(|| all().map_err(|error| error.to_string()))??)
}
