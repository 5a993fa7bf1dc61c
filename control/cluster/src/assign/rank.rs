//! Highest random weight hashing, weighted by the logarithmic method (Schindelhauer and Schomaker, "Weighted
//! Distributed Hash Tables", 2005): each gateway draws an exponentially distributed number of rate `weight` for the
//! key, and the smallest wins.

use std::cmp::Ordering;

use super::hash::distance;
use super::{GatewayId, Key, Member, Members, Weight};

/// What a gateway draws for a key. The lesser one ranks before the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Draw {
    hash: u64,
    distance: u64,
    weight: Weight,
    id: GatewayId,
}

impl Draw {
    pub(super) fn new(key: Key, member: Member) -> Self {
        let hash = key.hash(member.id);
        Self { hash, distance: distance(hash), weight: member.weight, id: member.id }
    }

    /// distance / weight against distance / weight, without division; at most 2^46 · 2^16. Weight zero is last.
    fn scaled(&self, other: &Self) -> u64 {
        self.distance * u64::from(other.weight.0)
    }
}

impl Ord for Draw {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_distance = self.scaled(other).cmp(&other.scaled(self));
        // Of equal weights the higher hash is first, as without weights.
        by_distance.then(other.hash.cmp(&self.hash)).then(self.id.cmp(&other.id))
    }
}

impl PartialOrd for Draw {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Members {
    /// The gateway that serves the key; none if there is none with a weight.
    pub fn winner(&self, key: Key) -> Option<GatewayId> {
        let first = self.as_slice().iter().map(|&member| Draw::new(key, member)).min()?;
        (first.weight.0 > 0).then_some(first.id)
    }

    /// The place of a gateway in the order in which they serve the key, from 0, without working out the whole order; for one
    /// that is no member, the place behind all.
    pub fn place(&self, key: Key, id: GatewayId) -> usize {
        let Some(own) = self.find(id).map(|member| Draw::new(key, member)) else {
            return self.as_slice().len();
        };
        self.as_slice().iter().filter(|&&member| Draw::new(key, member) < own).count()
    }

    /// The order in which gateways serve the key, those without weight at the end.
    pub fn rank(&self, key: Key) -> Vec<GatewayId> {
        let mut draws: Vec<Draw> = self.as_slice().iter().map(|&member| Draw::new(key, member)).collect();
        draws.sort_unstable();
        draws.into_iter().map(|draw| draw.id).collect()
    }
}
