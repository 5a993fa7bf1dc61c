//! The shards of a cluster of gateways: the addresses that each one's owner has, and whether that is this gateway.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use wire::checksum;

use super::group::GroupState;
use crate::api::{MAX_SHARDS, Responsibility, Role, Shard};

/// No shard's number.
pub(super) const NO_SHARD: u16 = u16::MAX;

/// What outer packets of a shard's overlays have instead of the gateway's own VTEP address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<A> {
    pub(crate) address: A,
    /// What is to be added to the sum of the headers for it.
    pub(crate) change: u32,
}

/// A shard, as the pipeline sees it.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct ShardRecord {
    pub(crate) state: GroupState,
    pub(crate) v4: Option<Source<Ipv4Addr>>,
    pub(crate) v6: Option<Source<Ipv6Addr>>,
}

impl ShardRecord {
    fn new(shard: &Shard, vteps: &[IpAddr]) -> Self {
        let own_v4 = vteps.iter().find_map(|vtep| if let IpAddr::V4(own) = vtep { Some(own) } else { None });
        let own_v6 = vteps.iter().find_map(|vtep| if let IpAddr::V6(own) = vtep { Some(own) } else { None });
        let v4 = |(address, own): (Ipv4Addr, &Ipv4Addr)| Source {
            address,
            change: change(&own.octets(), &address.octets()),
        };
        let v6 = |(address, own): (Ipv6Addr, &Ipv6Addr)| Source {
            address,
            change: change(&own.octets(), &address.octets()),
        };
        Self {
            state: GroupState::new(false),
            v4: shard.vtep_v4.zip(own_v4).map(v4),
            v6: shard.vtep_v6.zip(own_v6).map(v6),
        }
    }

    /// Whether this is its VTEP address.
    #[inline(always)]
    pub(super) fn is_vtep(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.v4.is_some_and(|source| source.address == address),
            IpAddr::V6(address) => self.v6.is_some_and(|source| source.address == address),
        }
    }
}

/// What a one's complement sum gains where `after` is in place of `before` (RFC 1624 §3).
fn change(before: &[u8], after: &[u8]) -> u32 {
    let [before, after] = [before, after].map(|bytes| checksum::finish(checksum::ones_sum(bytes, 0)));
    u32::from(before) + u32::from(!after)
}

/// All shards, by number.
#[derive(Debug, Default)]
pub(crate) struct ShardTable {
    shards: Box<[ShardRecord]>,
    configured: Vec<Shard>,
    by_address: HashMap<IpAddr, (u16, Side), RandomState>,
}

/// Where the owner of a shard has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Underlay,
    Uplink,
}

impl ShardTable {
    /// Shards beside the gateway's own VTEP addresses.
    ///
    /// # Errors
    /// The address that is there twice.
    pub(super) fn build(shards: Vec<Shard>, vteps: &[IpAddr]) -> Result<Self, IpAddr> {
        let mut by_address = HashMap::default();
        for (number, shard) in (0..).zip(&shards).take(MAX_SHARDS) {
            let sided = |side| move |address| (address, (number, side));
            let vteps_and_uplinks =
                shard.vteps().map(sided(Side::Underlay)).chain(shard.uplinks().map(sided(Side::Uplink)));
            for (address, place) in vteps_and_uplinks {
                if vteps.contains(&address) || by_address.insert(address, place).is_some() {
                    return Err(address);
                }
            }
        }
        let records = shards.iter().map(|shard| ShardRecord::new(shard, vteps)).collect();
        Ok(Self { shards: records, configured: shards, by_address })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.shards.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.shards.len()
    }

    #[inline(always)]
    pub(crate) fn get(&self, shard: u16) -> Option<&ShardRecord> {
        self.shards.get(usize::from(shard))
    }

    /// Its addresses.
    pub(crate) fn addresses(&self, shard: u16) -> Shard {
        self.configured.get(usize::from(shard)).copied().unwrap_or_default()
    }

    /// All addresses of all shards.
    pub(crate) fn all_addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.by_address.keys().copied()
    }

    /// Whether this is an address of a shard.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.by_address.contains_key(&address)
    }

    /// Whether this is a VTEP address of a shard.
    pub(crate) fn is_vtep(&self, address: IpAddr) -> bool {
        matches!(self.by_address.get(&address), Some((_, Side::Underlay)))
    }

    /// The shard whose owner has the address at ports of this role.
    pub(crate) fn at_port(&self, role: Role, address: IpAddr) -> Option<u16> {
        let (shard, side) = self.by_address.get(&address)?;
        let is_there = match side {
            Side::Underlay => role.is_underlay(),
            Side::Uplink => role.is_uplink(),
        };
        is_there.then_some(*shard)
    }

    /// The shards that this gateway owns.
    pub(crate) fn owned(&self) -> impl Iterator<Item = u16> {
        (0..).zip(&self.shards).filter(|(_, shard)| shard.state.is_owner()).map(|(number, _)| number)
    }

    /// Takes over what control says; whether this gateway owned the shard before, and now. `None`: no such shard.
    pub(super) fn set(&self, shard: u16, responsibility: Responsibility, now: u64) -> Option<(bool, bool)> {
        let state = &self.get(shard)?.state;
        let was_owner = state.is_owner();
        // What reaches a gateway for a shard was sent to the shard's address, and goes on, with or without grace.
        let is_owner = responsibility == Responsibility::Owner;
        state.set(if is_owner { Responsibility::Owner } else { Responsibility::Other }, now);
        Some((was_owner, is_owner))
    }
}
