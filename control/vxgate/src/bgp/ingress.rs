//! Unicast routes: which are wanted, and what is to be said when the cluster changes.
//!
//! Routes are of three kinds. A covering route of each block is the floor: it leads to a gateway that can forward, whatever is
//! known of the overlay. An overlay's prefixes lead to its shard, in the same bytes from every gateway; without shards to this
//! gateway, with a MED by its rank. A host route of each address of a shard leads to this gateway, with a MED by rank, for
//! routers of the underlay.

mod next_hops;

use std::net::IpAddr;

use cluster::assign::GatewayId;
use engine::{Config, Shard};
use evpn::net::Handle;
use evpn::{PrefixAttributes, Speaker};
use ipnet::IpNet;

use crate::cluster::{Listener, Uplink};
use crate::config::{BgpSettings, ClusterSettings, Med};
use crate::ranked::{Prefixes, Ranked};
use next_hops::NextHops;
pub(crate) use next_hops::{NextHopProblem, next_hops};

/// A route, as the speaker names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    Prefix(IpNet),
    Host(IpAddr),
}

/// What is to be told of a route; `None`: that it is no more.
type Change = (Route, Option<PrefixAttributes>);

/// Routes that come and go together.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    Block(IpNet),
    Overlay(Prefixes),
    Shard(u16),
}

/// All that unicast routes follow from but the cluster's state.
#[derive(Debug)]
struct Plan {
    /// This gateway in its cluster.
    id: Option<GatewayId>,
    shards: Vec<Shard>,
    /// This gateway's own, on the uplink and on the underlay.
    uplink: NextHops,
    underlay: NextHops,
    communities: Vec<u32>,
    med: Med,
}

/// The routes, and what has been said of them.
#[derive(Debug)]
pub(super) struct Ingress {
    plan: Plan,
    entries: Ranked<Entry>,
}

impl Ingress {
    /// Nothing has been said.
    pub(super) fn new(
        settings: &BgpSettings,
        config: &Config,
        cluster: Option<&ClusterSettings>,
    ) -> Result<Self, NextHopProblem> {
        let prefixes = settings.peers.iter().any(|peer| peer.is_told_prefixes());
        let host_routes = settings.peers.iter().any(|peer| peer.is_told_host_routes());
        let mut entries: Vec<Entry> = Vec::new();
        if prefixes {
            entries.extend(config.blocks.iter().map(|&block| Entry::Block(block)));
        }
        if host_routes {
            // 4 096 at most.
            entries.extend((0..config.shards.len()).map(|shard| Entry::Shard(shard as u16)));
        }
        if prefixes {
            entries.extend(Prefixes::all(config).map(Entry::Overlay));
        }
        let plan = Plan {
            id: cluster.and_then(|cluster| GatewayId::new(cluster.id)),
            shards: config.shards.clone(),
            uplink: if prefixes { next_hops(settings, config)? } else { NextHops::default() },
            underlay: NextHops::of(&config.vteps),
            communities: settings.ingress.communities.clone(),
            med: settings.ingress.med,
        };
        Ok(Self { plan, entries: Ranked::new(entries) })
    }

    /// Looks at all entries anew.
    fn begin(&mut self) {
        self.entries.begin();
    }

    /// The next changes, which count as told; there may be none, though more follow. `None`: all is as it should be.
    fn step(&mut self, state: Option<&Uplink>) -> Option<Vec<Change>> {
        let plan = &self.plan;
        self.entries.step(|entry| plan.rank(entry, state), |entry, rank| plan.routes(entry, rank))
    }
}

impl Plan {
    /// The rank of this gateway for an entry, from 0; `None`: it is not to announce it. Without the rules of a cluster
    /// (`None`) all is announced.
    fn rank(&self, entry: &Entry, state: Option<&Uplink>) -> Option<u8> {
        match (entry, state) {
            (_, Some(state)) if !state.routes => None,
            (Entry::Block(_) | Entry::Overlay(Prefixes { shard: Some(_), .. }), _) => Some(0),
            (Entry::Overlay(prefixes), state) => prefixes.rank(self.id, state),
            (Entry::Shard(shard), state) => state.map(|state| state.shard_rank(self.id, *shard)),
        }
    }

    /// What is to be said of an entry's routes. Those for which there is no next hop are never told.
    fn routes(&self, entry: &Entry, rank: Option<u8>) -> Vec<Change> {
        let med = rank.map(|rank| self.med.of(rank));
        let change = |route, next_hop: Option<IpAddr>, med: Option<u32>| {
            let attributes = PrefixAttributes {
                next_hop: next_hop?,
                med,
                local_pref: None,
                communities: self.communities.clone(),
            };
            Some((route, rank.map(|_| attributes)))
        };
        let prefix = |prefix: &IpNet, next_hops: &NextHops, med| {
            change(Route::Prefix(*prefix), next_hops.to(prefix.addr()), med)
        };
        let shard = |number: u16| self.shards.get(usize::from(number));
        match entry {
            Entry::Block(block) => prefix(block, &self.uplink, None).into_iter().collect(),
            Entry::Overlay(Prefixes { prefixes, shard: Some(number), .. }) => {
                let next_hops = shard(*number).map(NextHops::of_shard).unwrap_or_default();
                prefixes.iter().filter_map(|net| prefix(net, &next_hops, None)).collect()
            }
            Entry::Overlay(Prefixes { prefixes, .. }) => {
                prefixes.iter().filter_map(|net| prefix(net, &self.uplink, med)).collect()
            }
            Entry::Shard(number) => {
                let addresses = shard(*number).into_iter().flat_map(Shard::vteps);
                let host = |address| change(Route::Host(address), self.underlay.to(address), med);
                addresses.filter_map(host).collect()
            }
        }
    }
}

/// Announces and withdraws as the cluster says, until it says nothing any more or the speaker ends. `None`: there are no
/// rules of a cluster.
pub(super) async fn keep(mut ingress: Ingress, handle: Handle, uplink: Option<Listener>) {
    let Some(mut uplink) = uplink else {
        ingress.tell(&handle, None, || false).await;
        return;
    };
    loop {
        let state = uplink.borrow_and_update().clone();
        ingress.tell(&handle, Some(&state), || uplink.has_changed().unwrap_or(false)).await;
        if uplink.changed().await.is_err() {
            return;
        }
    }
}

impl Ingress {
    /// Tells all that has changed, unless it is out of date meanwhile.
    async fn tell(&mut self, handle: &Handle, state: Option<&Uplink>, is_out_of_date: impl Fn() -> bool) {
        self.begin();
        while !is_out_of_date()
            && let Some(changes) = self.step(state)
        {
            let apply = move |speaker: &mut Speaker, _| changes.into_iter().for_each(|of| apply(speaker, of));
            if handle.call(apply).await.is_none() {
                return;
            }
        }
    }
}

fn apply(speaker: &mut Speaker, change: Change) {
    match change {
        (Route::Prefix(prefix), Some(attributes)) => speaker.announce_prefix(prefix, attributes),
        (Route::Prefix(prefix), None) => speaker.withdraw_prefix(prefix),
        (Route::Host(address), Some(attributes)) => speaker.announce_host_route(address, attributes),
        (Route::Host(address), None) => speaker.withdraw_host_route(address),
    }
}

#[cfg(test)]
mod tests;
