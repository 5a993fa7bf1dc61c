//! Stands in for the assignment.
#![allow(missing_docs)]

use std::num::NonZeroU16;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GatewayId(NonZeroU16);

impl GatewayId {
    pub const fn new(id: u16) -> Option<Self> {
        match NonZeroU16::new(id) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }

    pub const fn value(self) -> u16 {
        self.0.get()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weight(pub u16);

impl Default for Weight {
    fn default() -> Self {
        Self(100)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    pub id: GatewayId,
    pub weight: Weight,
}

#[derive(Clone, Copy, Debug)]
pub struct Key(u64);

impl Key {
    pub const fn overlay(vni: u32) -> Self {
        Self(vni as u64)
    }
}

fn score(key: u64, id: GatewayId) -> u64 {
    let mut x = key ^ (u64::from(id.value()) << 48).wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members(Vec<Member>);

impl Members {
    pub fn new(members: impl IntoIterator<Item = Member>) -> Result<Self, ()> {
        let mut members: Vec<Member> = members.into_iter().collect();
        members.sort_by_key(|member| member.id);
        Ok(Self(members))
    }

    pub fn as_slice(&self) -> &[Member] {
        &self.0
    }

    pub fn find(&self, id: GatewayId) -> Option<Member> {
        self.0.iter().copied().find(|member| member.id == id)
    }

    pub fn winner(&self, key: Key) -> Option<GatewayId> {
        self.0.iter().map(|m| (score(key.0, m.id), m.id)).max().map(|(_, id)| id)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardCount(u16);

impl ShardCount {
    pub const fn new(shards: u16) -> Result<Self, ()> {
        Ok(Self(shards))
    }

    pub const fn value(self) -> u16 {
        self.0
    }
}

#[derive(Clone, Debug)]
pub struct Layout(Members, u16);

impl Layout {
    pub fn new(members: Members, shards: ShardCount) -> Self {
        Self(members, shards.0)
    }

    pub fn owners(&self, serves: impl Fn(GatewayId) -> bool) -> Option<Vec<GatewayId>> {
        let members: Vec<_> = self.0.0.iter().filter(|m| serves(m.id)).collect();
        let quota = usize::from(self.1).div_ceil(members.len().max(1));
        let mut left = vec![quota; members.len()];
        (0..u64::from(self.1))
            .map(|key| {
                let free = members.iter().enumerate().filter(|&(place, _)| left[place] > 0);
                let best = free.map(|(place, m)| (score(key, m.id), place)).max()?.1;
                left[best] -= 1;
                Some(members[best].id)
            })
            .collect()
    }
}
