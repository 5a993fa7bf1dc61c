//! Two workers against one: what they share (tables, memory, the last level of caches) must not make them slower.

use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use core_affinity::CoreId;
use engine::PortIndex;
use engine::offline::{Forwarder, Pipeline};
use port::{BATCH, Batch};
use vxgate_bench::frames::{self, Direction, Shape};
use vxgate_bench::population::{Family, Population};

use crate::Error;
use crate::figure::{Figure, Goal, REPETITIONS, median};

/// Batches before measuring, each time that a worker runs.
const WARM_UP: usize = 2048;
/// Batches that are measured then.
const TURN: usize = 4096;

/// The figures of the smallest frames, both ways and both families, on these two cores.
pub(crate) fn figures(cores: [CoreId; 2]) -> Result<Vec<Figure>, Error> {
    let mut figures = Vec::new();
    for family in [Family::V4, Family::V6] {
        let population = Population { overlays: 65_536, stations: 1_000_000, underlay: family };
        let mut gateway = population.gateway();
        let mut pair = cores.map(|core| on(core, || Lane::new(&mut gateway, core)));
        for direction in [Direction::Decapsulate, Direction::Encapsulate] {
            let shape = Shape::smallest(direction, family);
            let run = |lanes: &mut [Lane]| rates(lanes, shape, &population);
            let ratios = (0..REPETITIONS).map(|_| {
                let alone = pair.each_mut().map(|lane| run(std::slice::from_mut(lane)));
                2.0 * run(&mut pair) / alone.iter().sum::<f64>()
            });
            let name = format!("{shape}, 65536/1000000: two workers over one");
            figures.push(Figure::new(name, median(ratios), "×").goal(Some(Goal::AtLeast(1.9))));
        }
    }
    Ok(figures)
}

/// A worker, its core, and the frames that it is given.
struct Lane {
    core: CoreId,
    forwarder: Forwarder,
    batch: Batch,
    random: fastrand::Rng,
}

impl Lane {
    fn new(gateway: &mut Pipeline, core: CoreId) -> Self {
        let mut forwarder = gateway.forwarder();
        let batch = std::iter::from_fn(|| forwarder.pool().take()).take(BATCH).collect();
        Self { core, forwarder, batch, random: fastrand::Rng::with_seed(core.id as u64) }
    }

    /// Nanoseconds of the median batch, each begun together with the others at the gate: so the others are at work
    /// all the time that is measured, and what making the frames costs counts for nobody.
    fn turn(&mut self, shape: Shape, population: &Population, gate: &Gate) -> f64 {
        let umem = Arc::clone(self.forwarder.umem());
        let port: PortIndex = shape.port();
        let mut sent = 0;
        let mut batch = |number| {
            frames::fill(&umem, &mut self.batch, shape, population, &mut self.random);
            gate.pass(number);
            let start = Instant::now();
            sent += self.forwarder.process(port, &mut self.batch);
            start.elapsed().as_nanos() as f64
        };
        (0..WARM_UP).for_each(|number| _ = batch(number));
        let time = median((WARM_UP..WARM_UP + TURN).map(&mut batch));
        // Not before, since the others would wait at the gate for ever.
        assert_eq!(sent, (WARM_UP + TURN) * BATCH, "all frames of a bench are good ones");
        time
    }
}

/// Packets a nanosecond of all workers together.
fn rates(lanes: &mut [Lane], shape: Shape, population: &Population) -> f64 {
    let gate = Gate { workers: lanes.len(), arrived: AtomicUsize::new(0) };
    thread::scope(|scope| {
        let run = |lane| scope.spawn(|| turn_on_core(lane, shape, population, &gate));
        let threads: Vec<_> = lanes.iter_mut().map(run).collect();
        threads.into_iter().map(|thread| BATCH as f64 / thread.join().expect("it said why")).sum()
    })
}

fn turn_on_core(lane: &mut Lane, shape: Shape, population: &Population, gate: &Gate) -> f64 {
    let is_there = core_affinity::set_for_current(lane.core);
    let time = lane.turn(shape, population, gate);
    assert!(is_there, "the core was there before");
    time
}

/// Does `work` on a core.
fn on<T: Send>(core: CoreId, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let pinned = || {
            assert!(core_affinity::set_for_current(core), "the core was there before");
            work()
        };
        scope.spawn(pinned).join().expect("it said why")
    })
}

/// Lets all workers pass together, again and again.
struct Gate {
    workers: usize,
    arrived: AtomicUsize,
}

impl Gate {
    /// For the `number`th time, counted from 0.
    fn pass(&self, number: usize) {
        self.arrived.fetch_add(1, Ordering::Relaxed);
        while self.arrived.load(Ordering::Relaxed) < (number + 1) * self.workers {
            spin_loop();
        }
    }
}
