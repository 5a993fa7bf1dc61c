//! Gateways that stand in for each other: what each is responsible for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wire::Vni;

use super::Role;

/// Most shards of a cluster of gateways.
pub const MAX_SHARDS: usize = 4096;

/// Overlays that have one owner among several gateways, which changes for all of them at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Group {
    /// An overlay that is in no shard.
    Overlay(Vni),
    /// The overlays of a shard: an index of [`Config::shards`](super::Config::shards).
    Shard(u16),
}

/// What a gateway is to a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Responsibility {
    /// Its owner: answers for the router, and sends from the shared MAC address.
    Owner,
    /// Its owner until now: what endpoints still send to the shared MAC address is forwarded for two seconds more. Means
    /// [`Other`](Self::Other) for who was not the owner, and for a shard, whose frames are always forwarded.
    Former,
    /// Not its owner.
    Other,
}

/// Addresses that the owner of a shard has, and no netdev. None twice, and none of the gateway's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Shard {
    /// What endpoints send to, over IPv4.
    pub vtep_v4: Option<Ipv4Addr>,
    /// The same over IPv6.
    pub vtep_v6: Option<Ipv6Addr>,
    /// What routers of the outer network send IPv4 to.
    pub uplink_v4: Option<Ipv4Addr>,
    /// The same of IPv6.
    pub uplink_v6: Option<Ipv6Addr>,
}

impl Shard {
    /// Its addresses at underlay ports.
    pub fn vteps(&self) -> impl Iterator<Item = IpAddr> + use<> {
        self.vtep_v4.map(IpAddr::V4).into_iter().chain(self.vtep_v6.map(IpAddr::V6))
    }

    /// Its addresses at uplink ports.
    pub fn uplinks(&self) -> impl Iterator<Item = IpAddr> + use<> {
        self.uplink_v4.map(IpAddr::V4).into_iter().chain(self.uplink_v6.map(IpAddr::V6))
    }

    /// Its addresses at ports of this role.
    pub(crate) fn at_ports(&self, role: Role) -> impl Iterator<Item = IpAddr> + use<> {
        let vteps = self.vteps().filter(move |_| role.is_underlay());
        vteps.chain(self.uplinks().filter(move |_| role.is_uplink()))
    }
}
