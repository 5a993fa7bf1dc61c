//! Clusters in virtual time, with everything that can go wrong.
//!
//! `VXGATE_SEED=n` replays one seed and prints what happened; `VXGATE_SEEDS=n` says how many are run of
//! each kind of cluster (1000).

mod check;
mod faults;
mod neighbours;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

use cluster::Mode;
use cluster::assign::ShardCount;
use world::World;

const SECOND: u64 = 1_000_000;

fn announce(overlays: u32) -> Mode {
    Mode::Announce((1..=overlays).map(|n| n * 7).collect())
}

fn floating() -> Mode {
    Mode::Floating(ShardCount::new(256).unwrap())
}

/// One cluster's fate; what does not hold.
fn run(gateways: usize, mode: Mode, faults: usize, seed: u64, log: bool) -> World {
    let mut world = World::new(gateways, mode, seed);
    world.log = log.then(Vec::new);
    world.plan(faults, 10 * SECOND, 70 * SECOND);
    world.run(5 * SECOND);
    world.check_end();
    let mut now = world.now;
    while now < 70 * SECOND {
        now += 250_000;
        world.run(now);
    }
    world.run(130 * SECOND);
    world.check_end();
    // Those that moved too often rest, and then go home.
    world.run(400 * SECOND);
    world.check_end();
    let moves = world.moves;
    world.run(500 * SECOND);
    if world.moves != moves {
        world.checks.failures.push("groups move without end".into());
    }
    world
}

fn many(mode: fn() -> Mode, gateways: usize, faults: usize, seeds: u64) {
    if let Some(seed) = std::env::var("VXGATE_SEED").ok().and_then(|seed| seed.parse().ok()) {
        let world = run(gateways, mode(), faults, seed, true);
        world.log.iter().flatten().for_each(|line| println!("{line}"));
        assert_eq!(world.checks.failures, Vec::<String>::new(), "seed {seed}");
        return;
    }
    let (next, longest, moves, messages) =
        (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    let world = run(gateways, mode(), faults, seed, false);
                    let failures = &world.checks.failures;
                    assert!(failures.is_empty(), "VXGATE_SEED={seed} replays: {failures:#?}");
                    longest.fetch_max(world.checks.longest_gap, Ordering::Relaxed);
                    moves.fetch_add(world.moves, Ordering::Relaxed);
                    messages.fetch_add(world.messages, Ordering::Relaxed);
                }
            });
        }
    });
    println!("{seeds} seeds: {moves:?} moves, {messages:?} messages, longest without owner {longest:?} µs");
}

fn seeds() -> u64 {
    std::env::var("VXGATE_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(1000)
}

#[test]
fn overlays_find_one_owner_whatever_happens() {
    many(|| announce(256), 20, 10, seeds());
}

#[test]
fn shards_find_one_owner_whatever_happens() {
    many(floating, 20, 10, seeds());
}

#[test]
fn small_clusters_too() {
    many(floating, 3, 8, seeds());
    many(|| announce(16), 2, 8, seeds());
}

#[test]
#[ignore = "minutes; part of scripts/test --long"]
fn as_many_overlays_as_there_are_subnets() {
    many(|| announce(65_536), 20, 4, 10);
}
