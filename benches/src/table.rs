//! The flow table alone: how many look-ups and writes a second, and what readers feel of a writer.

use std::sync::atomic::{AtomicBool, Ordering};

use core_affinity::CoreId;
use engine::offline::flow::{Flow, FlowKey, FlowReader, FlowWriter, Secret, flow_table};
use port::BATCH;
use serde_json::{Value, json};
use vxgate_bench::population::{Family, Population};

use crate::Error;
use crate::clock;
use crate::figure::{Figure, Goal, REPETITIONS, median};

/// Three keys a station: 3 000 000.
const POPULATION: Population = Population { overlays: 65_536, stations: 1_000_000, underlay: Family::V4 };
/// Keys that are so few that all about them stays in the caches.
const HOT: usize = 1_000;
/// Keys that the writer adds while readers are watched.
const ADDED: usize = 1_000_000;
/// Look-ups that are timed together.
const LOOKUPS: usize = 4 << 20;
/// Batches that readers are watched for while the writer is idle.
const WATCHED: usize = 500_000;
/// The same for every run, so that runs are alike.
const SECRET: Secret = Secret::fixed([
    0x243f_6a88_85a3_08d3,
    0x1319_8a2e_0370_7344,
    0xa409_3822_299f_31d0,
    0x082e_fa98_ec4e_6c89,
]);

/// How it is measured.
pub(crate) fn modes() -> Value {
    json!({"batch": BATCH, "keys": 3 * POPULATION.stations, "max_flows": engine::DEFAULT_MAX_FLOWS})
}

/// Measures everything.
pub(crate) fn figures(other: Option<CoreId>) -> Result<Vec<Figure>, Error> {
    let entries = entries();
    let runs = (0..REPETITIONS).map(|_| throughput(&entries)).collect::<Result<Vec<_>, _>>()?;
    let rate = |value: fn(&Throughput) -> f64| median(runs.iter().map(value));
    let mut figures = vec![
        Figure::new("look-ups, 1000 hot keys", rate(|run| run.hot), "M/s"),
        Figure::new("look-ups, 1000000 keys", rate(|run| run.million), "M/s"),
        Figure::new("look-ups, 3000000 keys", rate(|run| run.all), "M/s"),
        Figure::new("inserts with growth from empty", rate(|run| run.growth), "M/s"),
        Figure::new("inserts without growth", rate(|run| run.inserts), "M/s"),
        Figure::new("deletes", rate(|run| run.deletes), "M/s"),
    ];
    let runs = (0..REPETITIONS).map(|_| interference(&entries, other)).collect::<Result<Vec<_>, _>>()?;
    let value = |value: fn(&Interference) -> f64| median(runs.iter().map(value));
    figures.extend([
        Figure::new("readers' p99.99, writer idle", value(|run| run.idle), "ns a batch"),
        Figure::new("readers' p99.99, writer inserts 1000000", value(|run| run.busy), "ns a batch"),
        Figure::new("readers' p99.99, inserting over idle", value(|run| run.busy / run.idle), "×")
            .goal(Goal::AtMost(1.5)),
        Figure::new("readers' p99, inserting over idle", value(|run| run.p99_ratio), "×"),
        Figure::new("readers' median, inserting over idle", value(|run| run.median_ratio), "×"),
        Figure::new("growth hurried", value(|run| run.hurried), "times"),
    ]);
    Ok(figures)
}

/// All keys of all stations, in random order.
fn entries() -> Vec<(FlowKey, Flow)> {
    let mut entries: Vec<(FlowKey, Flow)> = (0..POPULATION.stations)
        .flat_map(|index| {
            let station = POPULATION.station(index);
            let flow = Flow {
                vni: station.vni,
                overlay: index % POPULATION.overlays,
                endpoint: (index % 256) as u16,
                mac: station.mac,
                mtu: 1500,
            };
            [
                (FlowKey::mac(station.vni, station.mac), flow),
                (FlowKey::address(station.vni, station.v4.into()), flow),
                (FlowKey::address(station.vni, station.v6.into()), flow),
            ]
        })
        .collect();
    fastrand::Rng::with_seed(1).shuffle(&mut entries);
    entries
}

/// Millions a second.
struct Throughput {
    growth: f64,
    inserts: f64,
    deletes: f64,
    hot: f64,
    million: f64,
    all: f64,
}

fn throughput(entries: &[(FlowKey, Flow)]) -> Result<Throughput, Error> {
    let (mut writer, readers) = flow_table(engine::DEFAULT_MAX_FLOWS as usize, 1, SECRET)?;
    let growth = rate(entries.len(), || insert(&mut writer, entries))?;
    let again = &entries[..ADDED];
    let deletes = rate(again.len(), || {
        again.iter().for_each(|(key, _)| _ = writer.remove(*key));
        Ok(())
    })?;
    let inserts = rate(again.len(), || insert(&mut writer, again))?;
    while writer.maintain() {}

    let mut reader = readers.reader().ok_or("no reader")?;
    let mut random = fastrand::Rng::with_seed(2);
    let mut lookups = |among: usize| {
        let keys: Vec<FlowKey> = (0..LOOKUPS).map(|_| entries[random.usize(..among)].0).collect();
        rate(keys.len(), || {
            let found: usize = keys.as_chunks().0.iter().map(|batch| look_up(&mut reader, batch)).sum();
            if found == keys.len() { Ok(()) } else { Err("keys are missing".into()) }
        })
    };
    let (hot, million, all) = (lookups(HOT)?, lookups(1_000_000)?, lookups(entries.len())?);
    Ok(Throughput { growth, inserts, deletes, hot, million, all })
}

fn insert(writer: &mut FlowWriter, entries: &[(FlowKey, Flow)]) -> Result<(), Error> {
    for (key, flow) in entries {
        writer.insert(*key, *flow)?;
    }
    Ok(())
}

/// Looks a batch up as the pipeline does, and says how many were found.
fn look_up(reader: &mut FlowReader, keys: &[FlowKey; BATCH]) -> usize {
    let found = {
        let view = reader.view();
        let mut lookups = keys.map(|key| view.begin(key));
        lookups.iter_mut().for_each(|lookup| view.advance(lookup));
        lookups.iter().filter(|lookup| view.flow(lookup).is_some_and(|flow| flow.mtu != 0)).count()
    };
    reader.quiesce();
    found
}

/// Millions a second of `count` that `work` does.
fn rate(count: usize, work: impl FnOnce() -> Result<(), Error>) -> Result<f64, Error> {
    let start = clock::processor_time();
    work()?;
    Ok(count as f64 / 1e6 / (clock::processor_time() - start).as_secs_f64())
}

/// What readers feel of a writer.
struct Interference {
    /// p99.99 of a batch, ns.
    idle: f64,
    busy: f64,
    /// Of the p99.
    p99_ratio: f64,
    median_ratio: f64,
    hurried: f64,
}

/// A reader on this core, in a table of a third of all keys, while the writer on the `other` core is idle, and while it
/// inserts another third.
fn interference(entries: &[(FlowKey, Flow)], other: Option<CoreId>) -> Result<Interference, Error> {
    let (mut writer, readers) = flow_table(engine::DEFAULT_MAX_FLOWS as usize, 1, SECRET)?;
    let (present, added) = (&entries[..ADDED], &entries[ADDED..2 * ADDED]);
    insert(&mut writer, present)?;
    while writer.maintain() {}
    let mut reader = readers.reader().ok_or("no reader")?;
    let mut random = fastrand::Rng::with_seed(3);
    let mut watch = |times: &mut Vec<u64>| -> Result<(), Error> {
        let keys = std::array::from_fn(|_| present[random.usize(..present.len())].0);
        let start = clock::processor_time();
        let found = look_up(&mut reader, &keys);
        times.push((clock::processor_time() - start).as_nanos() as u64);
        if found == BATCH { Ok(()) } else { Err("a key was missed that was there all the time".into()) }
    };

    let (mut idle, mut busy) = (Vec::with_capacity(WATCHED), Vec::with_capacity(WATCHED));
    (0..WATCHED).try_for_each(|_| watch(&mut idle))?;
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let inserting = scope.spawn(|| {
            if let Some(other) = other {
                core_affinity::set_for_current(other);
            }
            let inserted = insert(&mut writer, added).map_err(|error| error.to_string());
            done.store(true, Ordering::Release);
            inserted
        });
        while !done.load(Ordering::Acquire) {
            watch(&mut busy)?;
        }
        inserting.join().map_err(|_| "the writer panicked")?.map_err(Error::from)
    })?;
    idle.sort_unstable();
    busy.sort_unstable();
    let quantile = |times: &[u64], of: f64| times[((times.len() - 1) as f64 * of) as usize] as f64;
    let ratio = |of| quantile(&busy, of) / quantile(&idle, of);
    Ok(Interference {
        idle: quantile(&idle, 0.9999),
        busy: quantile(&busy, 0.9999),
        p99_ratio: ratio(0.99),
        median_ratio: ratio(0.5),
        hurried: writer.statistics().hurried as f64,
    })
}
