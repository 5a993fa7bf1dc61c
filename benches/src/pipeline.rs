//! Nanoseconds a packet through the pipeline in memory, beside the limit loop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::offline::Pipeline;
use port::{BATCH, Batch};
use serde_json::{Value, json};
use sys::pages::Pages;
use vxgate_bench::frames::{self, Direction, Shape};
use vxgate_bench::population::{Family, Population};

use crate::Error;
use crate::figure::{Figure, Goal, REPETITIONS, median};
use crate::limit::Limit;

/// Batches before measuring, each time that it is a contender's turn: every line of what could stay in the caches is
/// touched twice, or each would be measured with the other's cache.
const WARM_UP: usize = 2048;
/// Batches that are measured then.
const TURN: usize = 4096;

/// Overlays and stations.
const SMALL: (u32, u32) = (1, 1);
const MEDIUM: (u32, u32) = (1_000, 1_000_000);
const LARGE: (u32, u32) = (65_536, 1_000_000);

/// What a case took.
#[derive(Clone, Copy, Debug)]
struct Measured {
    /// Nanoseconds a packet.
    time: f64,
    /// Of the limit loop.
    limit: f64,
    /// Of the two, in the same repetition.
    ratio: f64,
}

/// How it is measured.
fn modes(pages: Pages) -> Value {
    json!({
        "batch": BATCH,
        "packets_a_repetition": TURN * BATCH,
        "profile": if cfg!(debug_assertions) { "debug" } else { "release" },
        "pages_of_large_arrays": pages.to_string(),
    })
}

/// Measures everything; the figures, and how they were measured.
pub(crate) fn figures() -> Result<(Vec<Figure>, Value), Error> {
    let mut figures = Vec::new();
    let mut pages = Pages::Small;
    for family in [Family::V4, Family::V6] {
        let mut benches = [
            (SMALL, Bench::new(SMALL, family)?),
            (MEDIUM, Bench::new(MEDIUM, family)?),
            (LARGE, Bench::new(LARGE, family)?),
        ];
        pages = benches[2].1.limit.pages();
        for direction in [Direction::Decapsulate, Direction::Encapsulate] {
            for make in [Shape::smallest, Shape::large] {
                let shape = make(direction, family);
                let measured = benches.each_mut().map(|(size, bench)| (*size, bench.measure(shape)));
                for (size, measured) in measured {
                    describe(&mut figures, shape, size, measured);
                }
                let [(_, small), _, (_, large)] = measured;
                let goal = shape.is_smallest().then_some(Goal::AtMost(2.5));
                let name = format!("{shape}: 65536/1000000 over 1/1");
                figures.push(Figure::new(name, large.time / small.time, "×").goal(goal));
            }
        }
    }
    Ok((figures, modes(pages)))
}

/// The figures of one case, with their goals.
fn describe(figures: &mut Vec<Figure>, shape: Shape, size: (u32, u32), measured: Measured) {
    let name = |what: &str| format!("{shape}, {}/{}: {what}", size.0, size.1);
    let small_frames = |goal| Some(goal).filter(|_| shape.is_smallest());
    let (rate, ratio) = match size {
        SMALL => (small_frames(Goal::AtLeast(35.0)), None),
        LARGE => (small_frames(Goal::AtLeast(18.0)), small_frames(Goal::AtMost(1.6))),
        _ => (None, None),
    };
    figures.push(Figure::new(name("rate"), 1000.0 / measured.time, "Mpps").goal(rate));
    figures.push(Figure::new(name("time a packet"), measured.time, "ns"));
    figures.push(Figure::new(name("limit loop"), measured.limit, "ns"));
    figures.push(Figure::new(name("over the limit loop"), measured.ratio, "×").goal(ratio));
    if let Some((vpp, goal)) = vpp(shape, size) {
        figures
            .push(Figure::new(name("faster than VPP"), vpp / measured.time, "×").goal(Goal::AtLeast(goal)));
    }
}

/// Nanoseconds a packet of VPP 26.10 on such a machine, and how many times faster we want to be. From which
/// measurement: docs/benchmarks.md.
fn vpp(shape: Shape, size: (u32, u32)) -> Option<(f64, f64)> {
    if shape.family != Family::V4 || !shape.is_smallest() {
        return None;
    }
    match (size, shape.direction) {
        (SMALL, Direction::Decapsulate) => Some((78.0, 2.0)),
        (SMALL, Direction::Encapsulate) => Some((58.0, 2.0)),
        (MEDIUM, Direction::Decapsulate) => Some((154.0, 2.5)),
        (MEDIUM, Direction::Encapsulate) => Some((1586.0, 20.0)),
        _ => None,
    }
}

/// Both contenders, and the frames that they share.
struct Bench {
    population: Population,
    gateway: Pipeline,
    limit: Limit,
    batch: Batch,
    random: fastrand::Rng,
}

impl Bench {
    fn new((overlays, stations): (u32, u32), family: Family) -> Result<Self, Error> {
        let population = Population { overlays, stations, underlay: family };
        let mut gateway = population.gateway();
        let batch = std::iter::from_fn(|| gateway.pool().take()).take(BATCH).collect();
        let limit = Limit::new(&population)?;
        Ok(Self { population, gateway, limit, batch, random: fastrand::Rng::with_seed(0) })
    }

    fn measure(&mut self, shape: Shape) -> Measured {
        let repetitions: Vec<Measured> = (0..REPETITIONS).map(|_| self.repetition(shape)).collect();
        let median = |value: fn(&Measured) -> f64| median(repetitions.iter().map(value));
        Measured {
            time: median(|measured| measured.time),
            limit: median(|measured| measured.limit),
            ratio: median(|measured| measured.ratio),
        }
    }

    /// A turn of each contender.
    fn repetition(&mut self, shape: Shape) -> Measured {
        let ours = turn(|| self.forward(shape));
        let limit = turn(|| self.run_limit(shape));
        // The median batch: one that was interrupted says nothing about the code.
        let packet = |batches: Vec<Duration>| {
            median(batches.into_iter().map(|time| time.as_nanos() as f64 / BATCH as f64))
        };
        let (time, limit) = (packet(ours), packet(limit));
        Measured { time, limit, ratio: time / limit }
    }

    /// A batch through the gateway.
    fn forward(&mut self, shape: Shape) -> Duration {
        let umem = Arc::clone(self.gateway.umem());
        frames::fill(&umem, &mut self.batch, shape, &self.population, &mut self.random);
        let start = Instant::now();
        let sent = self.gateway.process(shape.port(), &mut self.batch);
        let time = start.elapsed();
        assert_eq!(sent, BATCH, "all frames of a bench are good ones");
        time
    }

    /// A batch through the limit loop.
    fn run_limit(&mut self, shape: Shape) -> Duration {
        let umem = self.gateway.umem();
        frames::fill(umem, &mut self.batch, shape, &self.population, &mut self.random);
        self.limit.draw(&mut self.random);
        let start = Instant::now();
        self.limit.process(umem, &mut self.batch, shape);
        start.elapsed()
    }
}

/// Times of the batches that `batch` processes one of.
fn turn(mut batch: impl FnMut() -> Duration) -> Vec<Duration> {
    for _ in 0..WARM_UP {
        batch();
    }
    (0..TURN).map(|_| batch()).collect()
}
