//! How long the tables take to be ready, and the memory that they take.

use std::fs;
use std::process::Command;
use std::time::Instant;

use engine::Config;
use engine::offline::Pipeline;
use vxgate_bench::population::{Family, Population};

use crate::Error;
use crate::figure::{Figure, Goal, REPETITIONS, median};

/// The argument that makes a child process measure memory: a fresh one, so that nothing else is counted.
pub(crate) const MEMORY: &str = "memory-of-tables";

const POPULATION: Population = Population { overlays: 65_536, stations: 1_000_000, underlay: Family::V4 };

/// Measures start-up and memory.
pub(crate) fn figures() -> Result<Vec<Figure>, Error> {
    let repetitions: Vec<(f64, f64)> = (0..REPETITIONS).map(|_| start()).collect();
    let overlays = median(repetitions.iter().map(|(overlays, _)| *overlays));
    let stations = median(repetitions.iter().map(|(_, stations)| *stations));
    let (steady, peak) = memory()?;
    Ok(vec![
        Figure::new("start with 65536 overlays", overlays, "s").goal(Goal::AtMost(1.0)),
        Figure::new("1000000 stations more", stations, "s").goal(Goal::AtMost(1.5)),
        Figure::new("memory of the tables, steady", steady, "MiB").goal(Goal::AtMost(320.0)),
        Figure::new("memory of the tables, peak", peak, "MiB").goal(Goal::AtMost(480.0)),
    ])
}

/// Seconds that overlays take, and how many more with all stations.
fn start() -> (f64, f64) {
    let time = |config: Config| {
        let start = Instant::now();
        let gateway = Pipeline::new(config);
        let time = start.elapsed().as_secs_f64();
        drop(gateway);
        time
    };
    let overlays = time(POPULATION.config());
    let all = time(Config { stations: POPULATION.stations(), ..POPULATION.config() });
    (overlays, all - overlays)
}

/// MiB that the tables take when all is in, and at most on the way there.
fn memory() -> Result<(f64, f64), Error> {
    let child = Command::new(std::env::current_exe()?).arg(MEMORY).output()?;
    let text = String::from_utf8(child.stdout)?;
    let numbers: Vec<f64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    match numbers[..] {
        [steady, peak] => Ok((steady, peak)),
        _ => Err(format!("the process that measures memory said {text:?}").into()),
    }
}

/// In a process of its own: prints steady and peak resident memory of the tables in MiB.
pub(crate) fn print_memory() -> Result<(), Error> {
    let config = Config { stations: POPULATION.stations(), ..POPULATION.config() };
    // From here on the peak is that of the tables (proc_pid_clear_refs(5)).
    fs::write("/proc/self/clear_refs", "5")?;
    let before = resident("VmRSS")?;
    let gateway = Pipeline::new(config);
    let (after, peak) = (resident("VmRSS")?, resident("VmHWM")?);
    drop(gateway);
    println!("{} {}", after - before, peak - before);
    Ok(())
}

/// A figure of /proc/self/status in MiB.
fn resident(name: &str) -> Result<f64, Error> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kibibytes =
        line.and_then(|line| line.trim().strip_suffix(" kB")).ok_or("no such line in /proc/self/status")?;
    Ok(kibibytes.parse::<f64>()? / 1024.0)
}
