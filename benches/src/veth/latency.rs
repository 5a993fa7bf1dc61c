//! How long frames take through a contender, from the source's program to the sink's, at a tenth of vxgate's rate.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use port::xdp::{LiveSource, Sink};
use vxgate_bench::frames::{Direction, Shape};
use vxgate_bench::population::Family;

use super::contender::{Contender, First};
use super::stage::counters;
use super::traffic;
use crate::Error;
use crate::figure::{Figure, median};

/// What is reported.
const QUANTILES: [(f64, &str); 3] = [(0.5, "p50"), (0.99, "p99"), (0.999, "p99.9")];
/// Under load, in one turn.
const TURN: Duration = Duration::from_millis(500);
/// Frames that the source makes, most of them not sent, before it looks whether to stop.
const STRETCH: u32 = 1 << 15;
/// In which no frame must come for a turn to be over.
const QUIET: Duration = Duration::from_millis(10);
/// Until what was sent last has come out, or never will.
const PATIENCE: Duration = Duration::from_secs(1);

/// Measures each contender in turn, `repetitions` times, each way, with the smallest frames; `rate` is vxgate's highest
/// for a shape, in packets a second.
pub(crate) fn figures(
    contenders: &mut [&mut Contender],
    repetitions: usize,
    rate: impl Fn(Shape) -> f64,
) -> Result<Vec<Figure>, Error> {
    let mut figures = vec![];
    for direction in [Direction::Decapsulate, Direction::Encapsulate] {
        let shape = Shape::smallest(direction, Family::V4);
        let load = rate(shape) / 10.0;
        // Not a number if all that was to tell the rate is void.
        if load.is_nan() {
            continue;
        }
        let mut turns = vec![vec![]; contenders.len()];
        for _ in 0..repetitions {
            for (contender, turns) in contenders.iter_mut().zip(&mut turns) {
                match measure(contender, shape, load)? {
                    Ok(turn) => turns.push(turn),
                    Err(fault) => eprintln!("void: latency, {shape}, {contender}: {fault}"),
                }
            }
        }
        for (contender, turns) in contenders.iter().zip(&turns).filter(|(_, turns)| !turns.is_empty()) {
            for (place, (_, name)) in QUANTILES.iter().enumerate() {
                let middle = median(turns.iter().map(|turn: &Vec<u64>| turn[place] as f64 / 1e3));
                let kind = contender.kind;
                let figure = format!("latency, {shape} at {:.0} kpps: {kind} {name}", load / 1e3);
                figures.push(Figure::new(figure, middle, "µs"));
            }
        }
    }
    Ok(figures)
}

/// The quantiles in nanoseconds; or why there are none.
fn measure(contender: &mut Contender, shape: Shape, load: f64) -> Result<Result<Vec<u64>, String>, Error> {
    contender.resume()?;
    contender.prefer(First::Reception)?;
    let stage = &contender.stage;
    let (incoming, outgoing) = stage.way(shape.direction);
    let mut frames = traffic::frames(shape, stage, contender.overlays);
    let mut expected = contender.expected(shape);
    traffic::time(&mut frames, &mut expected, (1e9 / load) as u32);
    let netdevs = counters(&stage.far)?;
    let work = || -> Result<Result<Vec<u64>, String>, Error> {
        // Frames of the turn before, still on their way, are none of this one's.
        let mut before = None;
        let quiet = lab::wait_until("the turn before to end", PATIENCE, || {
            let received = netdevs.read(&outgoing.far).map_err(|error| error.to_string())?.received;
            thread::sleep(QUIET);
            if before.replace(received) == Some(received) {
                Ok(())
            } else {
                Err(format!("{received} frames"))
            }
        });
        if let Err(busy) = quiet {
            return Ok(Err(busy.to_string()));
        }
        let sink = Sink::attach(outgoing.far_index, &outgoing.far, &expected)?;
        let mut source = LiveSource::new(frames, incoming.far_index, &incoming.far)?;
        let stop = AtomicBool::new(false);
        let sent = thread::scope(|scope| {
            let sending = scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    source.run(STRETCH)?;
                }
                source.sent()
            });
            thread::sleep(TURN);
            stop.store(true, Ordering::Relaxed);
            sending
                .join()
                .map_err(|_| "the source's thread panicked".to_owned())?
                .map_err(|error| error.to_string())
        })?;
        let came = || sink.expected().map(|counts| counts.frames).unwrap_or(0);
        // Those that are lost never come.
        let _ = lab::wait_until("the last frames", PATIENCE, || came() == sent);
        let came = came();
        // More than were sent are others' and spoil the latencies as well.
        if came.abs_diff(sent) * 1000 > sent {
            return Ok(Err(format!("{sent} frames were sent, and {came} came")));
        }
        let quantiles = sink.latency(&QUANTILES.map(|(of, _)| of))?;
        Ok(quantiles.ok_or_else(|| "nothing was sent".to_owned()))
    };
    let measured = stage.far.enter(|| work().map_err(|error| error.to_string()));
    contender.rest()?;
    Ok(measured??)
}
