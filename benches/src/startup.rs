//! How long the tables take to be ready, how fast stations are written, and the memory that they take.

use std::fs;
use std::process::Command;

use engine::Station;
use engine::offline::Pipeline;
use vxgate_bench::population::{Family, Population};

use crate::Error;
use crate::clock;
use crate::figure::{Figure, Goal, REPETITIONS, median};

/// The argument that makes a child process measure memory: a fresh one, so that nothing else is counted.
pub(crate) const MEMORY: &str = "memory-of-tables";

const POPULATION: Population = Population { overlays: 65_536, stations: 1_000_000, underlay: Family::V4 };

/// Stations that are made at a time: few beside the tables, whose memory is measured.
const STEP: u32 = 1024;

/// Seconds.
struct Start {
    overlays: f64,
    stations: f64,
    moves: f64,
}

/// Measures start-up and memory.
pub(crate) fn figures() -> Result<Vec<Figure>, Error> {
    let starts = (0..REPETITIONS).map(|_| start()).collect::<Result<Vec<_>, _>>()?;
    let median = |value: fn(&Start) -> f64| median(starts.iter().map(value));
    let (overlays, stations) = (median(|start| start.overlays), median(|start| start.stations));
    let millions = f64::from(POPULATION.stations) / 1e6;
    let moves = millions / median(|start| start.moves);
    let Memory { resident, peak, stated } = memory()?;
    Ok(vec![
        Figure::new("start with 65536 overlays", overlays, "s").goal(Goal::AtMost(1.0)),
        Figure::new("1000000 stations more", stations, "s").goal(Goal::AtMost(1.5)),
        Figure::new("insert of a station", millions / stations, "M/s").goal(Goal::AtLeast(1.0)),
        Figure::new("move of a station", moves, "M/s").goal(Goal::AtLeast(1.0)),
        Figure::new("memory of the tables, resident", resident, "MiB").goal(Goal::AtMost(320.0)),
        Figure::new("memory of the tables, peak of growth", peak, "MiB").goal(Goal::AtMost(480.0)),
        Figure::new("memory of the tables, as they state it", stated, "MiB").goal(Goal::AtMost(320.0)),
    ])
}

/// Starts with the overlays, then enters all stations, then moves each to another endpoint.
fn start() -> Result<Start, Error> {
    let config = POPULATION.config();
    let (gateway, overlays) = timed(|| Pipeline::new(config));
    let mut gateway = gateway;
    let mut stations = POPULATION.stations(0..POPULATION.stations);
    let (entered, inserts) = timed(|| enter(&mut gateway, &stations));
    entered?;
    // Each where another one was: as far a move as any.
    let endpoints: Vec<_> = stations.iter().map(|station| station.endpoint).collect();
    for (station, endpoint) in stations.iter_mut().zip(endpoints.iter().skip(1).chain(endpoints.first())) {
        station.endpoint = *endpoint;
    }
    let (moved, moves) = timed(|| enter(&mut gateway, &stations));
    moved?;
    Ok(Start { overlays, stations: inserts, moves })
}

fn enter(gateway: &mut Pipeline, stations: &[Station]) -> Result<(), Error> {
    for station in stations {
        gateway.set_station(station)?;
    }
    Ok(())
}

/// What `work` makes, and the seconds of a processor that it takes.
fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let start = clock::processor_time();
    let made = work();
    (made, (clock::processor_time() - start).as_secs_f64())
}

/// MiB of the tables.
struct Memory {
    /// What the process has more with all stations in the tables than before there were tables.
    resident: f64,
    /// The most that it had on the way there.
    peak: f64,
    /// What the tables say themselves.
    stated: f64,
}

fn memory() -> Result<Memory, Error> {
    let child = Command::new(std::env::current_exe()?).arg(MEMORY).output()?;
    let text = String::from_utf8(child.stdout)?;
    let numbers: Vec<f64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    match numbers[..] {
        [resident, peak, stated] => Ok(Memory { resident, peak, stated }),
        _ => Err(format!("the process that measures memory said {text:?}").into()),
    }
}

/// In a process of its own: prints the numbers of [`Memory`].
pub(crate) fn print_memory() -> Result<(), Error> {
    let config = POPULATION.config();
    let before = status("VmRSS")?;
    // From here on the peak is that of the tables (proc_pid_clear_refs(5)).
    fs::write("/proc/self/clear_refs", "5")?;
    let mut gateway = Pipeline::new(config);
    for first in (0..POPULATION.stations).step_by(STEP as usize) {
        let last = POPULATION.stations.min(first + STEP);
        enter(&mut gateway, &POPULATION.stations(first..last))?;
    }
    let (after, peak) = (status("VmRSS")?, status("VmHWM")?);
    let stated = gateway.memory_bytes() as f64 / f64::from(1 << 20);
    println!("{} {} {stated}", after - before, peak - before);
    Ok(())
}

/// A figure of /proc/self/status, in MiB.
fn status(name: &str) -> Result<f64, Error> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(kibibytes.ok_or("no such line in /proc/self/status")?.parse::<f64>()? / 1024.0)
}
