//! The workers: how many, and on which cores.

use std::num::NonZeroU32;

use toml::Spanned;

use super::expand::{placed, placed_all};
use super::validate::fail;
use super::{Fault, Lines, Problem};

/// Most workers: more queues than any NIC is known to have.
const MAX_WORKERS: u32 = 1024;

/// One worker for each core, or as many as are asked for, on no core in particular.
pub(super) fn expand(
    workers: Option<Spanned<NonZeroU32>>,
    cores: Option<Spanned<Vec<Spanned<usize>>>>,
    lines: &Lines,
) -> Result<Vec<Option<usize>>, Fault> {
    let workers = workers.map(|workers| placed(workers, lines)).map(|(place, count)| (place, count.get()));
    if let Some((place, count)) = workers.filter(|(_, count)| *count > MAX_WORKERS) {
        return fail(place, Problem::TooManyWorkers { count, max: MAX_WORKERS });
    }
    let Some(cores) = cores else {
        return Ok(vec![None; workers.map_or(1, |(_, count)| count as usize)]);
    };
    let (place, cores) = placed(cores, lines);
    if cores.is_empty() {
        return fail(place, Problem::NoCores);
    }
    if let Some((at, count)) = workers.filter(|(_, count)| *count as usize != cores.len()) {
        return fail(place, Problem::CoresAndWorkers { cores: cores.len(), workers: count, place: at });
    }
    let cores = placed_all(cores, lines);
    for (n, &(place, core)) in cores.iter().enumerate() {
        if cores[..n].iter().any(|(_, other)| *other == core) {
            return fail(place, Problem::CoreTwice { core });
        }
    }
    Ok(cores.into_iter().map(|(_, core)| Some(core)).collect())
}
