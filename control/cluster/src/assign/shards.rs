//! Shards: overlays hash into a fixed number of shards, and shards are given to gateways by quotas.

use thiserror::Error;

use super::quota::settle;
use super::rank::Draw;
use super::{GatewayId, Key, Members};

/// How many shards there are, 1 to 4096. All gateways of a cluster have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardCount(u16);

/// Not from 1 to [`ShardCount::MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the number of shards is from 1 to {max}", max = ShardCount::MAX)]
pub struct ShardCountError;

impl ShardCount {
    /// The highest.
    pub const MAX: u16 = 4096;

    /// Checks the range.
    pub const fn new(shards: u16) -> Result<Self, ShardCountError> {
        match shards {
            1..=Self::MAX => Ok(Self(shards)),
            _ => Err(ShardCountError),
        }
    }

    /// The number.
    pub const fn value(self) -> u16 {
        self.0
    }

    /// The shard of an overlay, from 0.
    ///
    /// As many consecutive VNIs as there are shards, from a multiple of that number on, take each shard once: they are
    /// dealt out in turn, from a place that a hash of the run says. So VNIs that follow each other are even, and
    /// VNIs in strides are as even as a hash.
    pub const fn shard_of(self, vni: u32) -> u16 {
        let shards = self.0 as u32;
        let start = Key::run(vni / shards).bits() % shards as u64;
        ((vni % shards + start as u32) % shards) as u16
    }
}

impl Default for ShardCount {
    fn default() -> Self {
        Self(256)
    }
}

/// Which gateway takes which shard, whoever of the members serves.
///
/// Each shard has an order of all members, built so that quotas hold at every step: the shards are split into quotas of
/// all members; the shards of each are split into quotas of the rest, for the case that it fails; and so on. A gateway
/// that fails leaves its shards to their next, evenly.
#[derive(Clone, Debug)]
pub struct Layout {
    members: Members,
    keys: Vec<Key>,
    /// Indices into `members`, those with a weight: `columns` for each shard, the first one serves if it can.
    orders: Vec<u8>,
    columns: usize,
}

impl Layout {
    /// Takes time in the order of shards · members², so it is kept until members or weights change.
    pub fn new(members: Members, shards: ShardCount) -> Self {
        let keys: Vec<Key> = (0..shards.value()).map(Key::shard).collect();
        let all: Vec<u8> =
            (0..).zip(members.as_slice()).filter(|(_, m)| m.weight.0 > 0).map(|(i, _)| i).collect();
        let mut layout = Self { members, orders: vec![0; keys.len() * all.len()], columns: all.len(), keys };
        let every: Vec<u16> = (0..shards.value()).collect();
        layout.split(&every, &all);
        layout
    }

    /// Splits shards, whose order so far is the same, among the members that are left.
    fn split(&mut self, shards: &[u16], left: &[u8]) {
        let column = self.columns - left.len();
        if left.is_empty() {
            return;
        }
        let keys: Vec<Key> = shards.iter().map(|&shard| self.keys[usize::from(shard)]).collect();
        if let ([shard], [key]) = (shards, &keys[..]) {
            // One shard fits everyone's quota.
            let start = usize::from(*shard) * self.columns + column;
            let rest = &mut self.orders[start..start + left.len()];
            rest.copy_from_slice(left);
            rest.sort_by_cached_key(|&index| Draw::new(*key, self.members.as_slice()[usize::from(index)]));
            return;
        }
        let draw = |key, index: u8| Draw::new(key, self.members.as_slice()[usize::from(index)]);
        let mut owners: Vec<u8> = keys
            .iter()
            .filter_map(|&key| left.iter().copied().min_by_key(|&index| draw(key, index)))
            .collect();
        settle(&self.members, left, &keys, &mut owners);
        for (&shard, &owner) in shards.iter().zip(&owners) {
            self.orders[usize::from(shard) * self.columns + column] = owner;
        }
        for &owner in left {
            let part: Vec<u16> =
                shards.iter().zip(&owners).filter(|&(_, &of)| of == owner).map(|(&shard, _)| shard).collect();
            if !part.is_empty() {
                let others: Vec<u8> = left.iter().copied().filter(|&other| other != owner).collect();
                self.split(&part, &others);
            }
        }
    }

    /// The owner of each shard while those members serve that `serves` says; none if nobody with a weight does.
    ///
    /// Each has ⌊w·S⌋ or ⌈w·S⌉ of the S shards, where w is its share of the weight of those that serve. If all n served and
    /// one fails, or the other way round, its own shards move and fewer than n others.
    pub fn owners(&self, serves: impl Fn(GatewayId) -> bool) -> Option<Vec<GatewayId>> {
        let id = |index: u8| self.members.as_slice()[usize::from(index)].id;
        let serving: Vec<u8> = (0..)
            .zip(self.members.as_slice())
            .filter(|(_, m)| m.weight.0 > 0 && serves(m.id))
            .map(|(i, _)| i)
            .collect();
        if serving.is_empty() {
            return None;
        }
        let mut owners: Vec<u8> = self
            .orders
            .chunks_exact(self.columns)
            .filter_map(|order| order.iter().copied().find(|index| serving.contains(index)))
            .collect();
        settle(&self.members, &serving, &self.keys, &mut owners);
        Some(owners.into_iter().map(id).collect())
    }
}
