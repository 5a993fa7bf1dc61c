//! Next hops of a family each.

use std::net::IpAddr;

use engine::{Config, Shard};
use thiserror::Error;

use crate::config::BgpSettings;

/// At most one address a family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NextHops {
    v4: Option<IpAddr>,
    v6: Option<IpAddr>,
}

/// Nobody says which of several addresses is the next hop.
#[derive(Debug, Error)]
#[error(
    "BGP: the uplink has several addresses of one family ({}), and one is the next hop of what is announced: name it in \
     [bgp.ingress]: next-hop = [\"…\"]",
    .0.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ")
)]
pub(crate) struct NextHopProblem(Vec<IpAddr>);

impl NextHops {
    /// The first of each family.
    pub(super) fn of(addresses: &[IpAddr]) -> Self {
        let first = |is_ipv4: bool| addresses.iter().copied().find(|address| address.is_ipv4() == is_ipv4);
        Self { v4: first(true), v6: first(false) }
    }

    /// What routers send to.
    pub(super) fn of_shard(shard: &Shard) -> Self {
        Self { v4: shard.uplink_v4.map(IpAddr::V4), v6: shard.uplink_v6.map(IpAddr::V6) }
    }

    /// The way to a destination. IPv4 may go by IPv6, to peers that can take that (RFC 8950).
    pub(super) fn to(&self, destination: IpAddr) -> Option<IpAddr> {
        match destination {
            IpAddr::V4(_) => self.v4.or(self.v6),
            IpAddr::V6(_) => self.v6,
        }
    }
}

/// This gateway as next hop on the uplink: as configured, else its only address of each family there.
pub(crate) fn next_hops(settings: &BgpSettings, config: &Config) -> Result<NextHops, NextHopProblem> {
    let mut chosen = settings.ingress.next_hops.clone();
    for is_ipv4 in [true, false] {
        if chosen.iter().any(|address| address.is_ipv4() == is_ipv4) {
            continue;
        }
        let uplinks = config.ports.iter().filter(|port| port.role.is_uplink());
        let mut addresses: Vec<IpAddr> = uplinks.flat_map(|port| port.addresses.iter().copied()).collect();
        addresses.retain(|address| address.is_ipv4() == is_ipv4);
        if addresses.len() > 1 {
            return Err(NextHopProblem(addresses));
        }
        chosen.append(&mut addresses);
    }
    Ok(NextHops::of(&chosen))
}
