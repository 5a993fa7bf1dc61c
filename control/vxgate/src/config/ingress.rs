//! `[bgp.ingress]`, and which peers are told of unicast routes.

use std::net::IpAddr;

use evpn::Family;
use ipnet::IpNet;
use thiserror::Error;
use toml::Spanned;

use super::expand::{placed, placed_all};
use super::file;
use super::validate::{Placed, fail, is_routable};
use super::{BgpProblem, Fault, Lines, Place};

/// MED of the gateway that serves an overlay or a shard first, and how much more each one behind it has.
const MED_BASE: u32 = 100;
const MED_STEP: u32 = 10;

/// A checked `[bgp.ingress]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IngressSettings {
    /// This gateway's own addresses on the uplink as next hops, at most one a family; a family without: the machine says.
    pub(crate) next_hops: Vec<IpAddr>,
    /// On all unicast routes (RFC 1997).
    pub(crate) communities: Vec<u32>,
    pub(crate) med: Med,
}

/// How MEDs follow from ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Med {
    pub(crate) base: u32,
    pub(crate) step: u32,
}

impl Med {
    /// Of the gateway at this place, the first at 0.
    pub(crate) fn of(self, rank: u8) -> u32 {
        self.base.saturating_add(self.step.saturating_mul(rank.into()))
    }
}

/// What `[bgp.ingress]` and its peers say that cannot be. The messages end with the remedy.
#[derive(Debug, Error, PartialEq)]
pub(crate) enum IngressProblem {
    #[error("{address} cannot be a next hop: it must be unicast, neither loopback nor link-local")]
    NextHop { address: IpAddr },
    #[error("next hop {address} lies in block {block}: give this gateway's address on the uplink")]
    NextHopInBlock { address: IpAddr, block: IpNet },
    #[error("a second next hop of one family, {address}: name at most one IPv4 and one IPv6 address")]
    NextHopTwice { address: IpAddr },
    #[error(
        "{key} = true needs a family of unicast routes: add \"ipv4\" or \"ipv6\" to families of peer {address}"
    )]
    Families { key: &'static str, address: IpAddr },
    #[error(
        "host-routes are those of shards, and there are none: set mode = \"floating\" in [cluster], or remove host-routes"
    )]
    HostRoutes,
}

pub(super) fn expand(
    table: Option<Spanned<file::Ingress>>,
    blocks: &[IpNet],
    lines: &Lines,
) -> Result<IngressSettings, Fault> {
    let table = table.map(Spanned::into_inner).unwrap_or_default();
    let mut next_hops: Vec<IpAddr> = Vec::new();
    for (place, address) in placed_all(table.next_hop, lines) {
        next_hop(place, address, &next_hops, blocks)?;
        next_hops.push(address);
    }
    let communities = table.communities.map_or_else(Vec::new, |file::OneOrMany(list)| list);
    Ok(IngressSettings {
        next_hops,
        communities: communities.into_iter().map(|file::Community(value)| value).collect(),
        med: Med { base: table.med.base.unwrap_or(MED_BASE), step: table.med.step.unwrap_or(MED_STEP) },
    })
}

fn next_hop(place: Place, address: IpAddr, others: &[IpAddr], blocks: &[IpNet]) -> Result<(), Fault> {
    let problem = if !is_routable(address) {
        IngressProblem::NextHop { address }
    } else if let Some(&block) = blocks.iter().find(|block| block.contains(&address)) {
        IngressProblem::NextHopInBlock { address, block }
    } else if others.iter().any(|other| other.is_ipv4() == address.is_ipv4()) {
        IngressProblem::NextHopTwice { address }
    } else {
        return Ok(());
    };
    fail(place, BgpProblem::from(problem).into())
}

/// Which unicast routes a peer is told: prefixes of overlays, and host routes of shards.
pub(super) fn of_peer(
    (address, families): (IpAddr, &[Family]),
    (ingress, host_routes): (Option<Placed<bool>>, Option<Placed<bool>>),
    floating: bool,
) -> Result<(bool, bool), Fault> {
    let has_unicast = families.iter().any(|&family| family != Family::Evpn);
    for (key, said) in [("ingress", ingress), ("host-routes", host_routes)] {
        if let Some((place, true)) = said
            && !has_unicast
        {
            return fail(place, BgpProblem::from(IngressProblem::Families { key, address }).into());
        }
    }
    if let Some((place, true)) = host_routes
        && !floating
    {
        return fail(place, BgpProblem::from(IngressProblem::HostRoutes).into());
    }
    let host_routes = host_routes.is_some_and(|(_, is)| is);
    // Whoever wants host routes is a router of the underlay, as a rule.
    let ingress = ingress.map_or(has_unicast && !host_routes, |(_, is)| is);
    Ok((ingress, host_routes))
}

/// For an optional switch and where it is.
pub(super) fn switch(switch: Option<Spanned<bool>>, lines: &Lines) -> Option<Placed<bool>> {
    switch.map(|switch| placed(switch, lines))
}
