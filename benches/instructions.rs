//! Instructions that a packet takes, counted by callgrind: they repeat exactly, whatever else the machine does.
//!
//! The limits are the recorded figures (instructions.json) and three per cent. Run and recorded by ci/instructions.

#![allow(missing_docs)] // of what gungraun's macros make

use std::collections::BTreeMap;
use std::hint::black_box;

use engine::offline::Pipeline;
use gungraun::{
    Callgrind, EventKind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main,
};
use port::{BATCH, Batch};
use vxgate_bench::frames::{self, Direction, Shape};
use vxgate_bench::population::{Family, Population};

/// How much more than what is recorded is let pass.
const TOLERANCE: f64 = 1.03;

/// A gateway that has seen such frames already, and a batch of them.
fn prepare(direction: Direction, family: Family) -> (Pipeline, Shape, Batch) {
    let population = Population { overlays: 1, stations: 1, underlay: family };
    let mut gateway = population.gateway();
    let mut batch: Batch = std::iter::from_fn(|| gateway.pool().take()).take(BATCH).collect();
    let shape = Shape::smallest(direction, family);
    let mut random = fastrand::Rng::with_seed(0);
    let umem = std::sync::Arc::clone(gateway.umem());
    for _ in 0..2 {
        frames::fill(&umem, &mut batch, shape, &population, &mut random);
        assert_eq!(gateway.process(shape.port(), &mut batch), BATCH);
    }
    frames::fill(&umem, &mut batch, shape, &population, &mut random);
    (gateway, shape, batch)
}

/// Fails above what is recorded under this name, instructions a packet. What was never recorded always fails.
fn limit(name: &str) -> LibraryBenchmarkConfig {
    let recorded: BTreeMap<String, f64> =
        serde_json::from_str(include_str!("instructions.json")).expect("an object of numbers");
    let batch = recorded.get(name).map_or(0.0, |packet| packet * BATCH as f64 * TOLERANCE);
    let limits = [(EventKind::Ir, batch as u64)];
    LibraryBenchmarkConfig::default().tool(Callgrind::default().hard_limits(limits)).clone()
}

#[library_benchmark]
#[bench::decapsulate_v4(args = (Direction::Decapsulate, Family::V4), setup = prepare, config = limit("decapsulate_v4"))]
#[bench::decapsulate_v6(args = (Direction::Decapsulate, Family::V6), setup = prepare, config = limit("decapsulate_v6"))]
#[bench::encapsulate_v4(args = (Direction::Encapsulate, Family::V4), setup = prepare, config = limit("encapsulate_v4"))]
#[bench::encapsulate_v6(args = (Direction::Encapsulate, Family::V6), setup = prepare, config = limit("encapsulate_v6"))]
fn batch_of_64((mut gateway, shape, mut batch): (Pipeline, Shape, Batch)) -> (Pipeline, Batch) {
    black_box(gateway.process(shape.port(), &mut batch));
    // Returned, so that tearing down is not counted.
    (gateway, batch)
}

library_benchmark_group!(name = pipeline, benchmarks = batch_of_64);
main!(library_benchmark_groups = pipeline);
