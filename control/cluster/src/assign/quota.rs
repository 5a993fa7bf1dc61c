//! Quotas: nobody has more or less than its share, rounded up or down.

use super::rank::Draw;
use super::{Key, Members};

/// What a member may have of `shards`: its share of the weight, rounded down and up.
#[derive(Clone, Copy, Debug)]
struct Quota {
    least: usize,
    most: usize,
}

/// Moves as few shards as it takes until each of the `candidates` has its quota.
///
/// Candidates and owners are indices into `members`. Owners are candidates, and a candidate's weight is not zero. Who
/// is above its quota gives; then who is below it takes from those that can spare one. Each time, of all shards that may
/// be given to all that may take, the pair with the best draw moves.
pub(super) fn settle(members: &Members, candidates: &[u8], keys: &[Key], owners: &mut [u8]) {
    let weight = |index: u8| usize::from(members.as_slice()[usize::from(index)].weight.0);
    let total: usize = candidates.iter().map(|&index| weight(index)).sum();
    let mut quotas = [Quota { least: 0, most: 0 }; Members::MAX];
    let mut counts = [0; Members::MAX];
    for &index in candidates {
        let share = keys.len() * weight(index);
        quotas[usize::from(index)] = Quota { least: share / total, most: share.div_ceil(total) };
    }
    owners.iter().for_each(|&owner| counts[usize::from(owner)] += 1);

    loop {
        let count = |index: u8| (counts[usize::from(index)], quotas[usize::from(index)]);
        let above = |index: &u8| count(*index).0 > count(*index).1.most;
        let below = |index: &u8| count(*index).0 < count(*index).1.least;
        let (any_above, any_below) = (candidates.iter().any(above), candidates.iter().any(below));
        if !any_above && !any_below {
            return;
        }
        let gives = |index: u8| if any_above { above(&index) } else { count(index).0 > count(index).1.least };
        let takes = |index: u8| if any_below { below(&index) } else { count(index).0 < count(index).1.most };
        let takers: Vec<u8> = candidates.iter().copied().filter(|&index| takes(index)).collect();
        let best = (0..keys.len())
            .filter(|&shard| gives(owners[shard]))
            .flat_map(|shard| takers.iter().map(move |&taker| (shard, taker)))
            .min_by_key(|&(shard, taker)| Draw::new(keys[shard], members.as_slice()[usize::from(taker)]));
        // Quotas rounded up are enough for all, and rounded down too few: while one is above or below, another one
        // can take or give.
        let Some((shard, taker)) = best else { return };
        counts[usize::from(owners[shard])] -= 1;
        counts[usize::from(taker)] += 1;
        owners[shard] = taker;
    }
}
