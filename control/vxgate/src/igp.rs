//! Prefixes of overlays for routing daemons that are not BGP (`igp = "kernel"`): routes in the kernel, from which such a daemon
//! redistributes, by rank.
//!
//! For each rank there is a TUN device, and the prefixes of that rank are routes by it in the main table: FRR's daemons can tell
//! routes of the kernel apart by netdev, and by nothing else in both families. Nothing is ever forwarded by them: the engine takes
//! what comes for overlays before the kernel sees it. With the process the devices go, and the routes.

use std::io;

use cluster::assign::GatewayId;
use engine::Config;
use ipnet::IpNet;
use sys::tun::Tun;
use thiserror::Error;
use tracing::warn;
use wire::Vni;

use crate::cluster::{Listener, Uplink};
use crate::config::ClusterSettings;
use crate::mirror::netlink::{DeviceRoute, Netlink};

/// Metric of the first rank: what the kernel has for IPv6 if nothing is said.
const FIRST_METRIC: u32 = 1024;

/// The netdev of a rank could not be made.
#[derive(Debug, Error)]
#[error("igp: cannot make the TUN device {name}: {source}; see /dev/net/tun, or remove igp from [gateway]")]
pub(crate) struct DeviceError {
    name: String,
    source: io::Error,
}

/// An overlay, and at which rank its prefixes are in the kernel.
#[derive(Debug)]
struct Entry {
    vni: Vni,
    shard: Option<u16>,
    owner: bool,
    prefixes: Vec<IpNet>,
    rank: Option<u8>,
}

/// The devices, and what is in the kernel.
#[derive(Debug)]
pub(crate) struct Igp {
    id: Option<GatewayId>,
    devices: Vec<Tun>,
    entries: Vec<Entry>,
}

impl Igp {
    /// Makes the devices: as many as there are gateways, two for one that is alone.
    pub(crate) fn new(config: &Config, cluster: Option<&ClusterSettings>) -> Result<Self, DeviceError> {
        // 128 at most.
        let ranks = cluster.map_or(2, |cluster| cluster.gateways.len() + 1);
        let device = |rank: usize| {
            let name = format!("vxgate-rank{rank}");
            Tun::create(&name).map_err(|source| DeviceError { name, source })
        };
        let entry = |overlay: &engine::Overlay| Entry {
            vni: overlay.vni,
            shard: overlay.shard,
            owner: overlay.owner,
            prefixes: overlay.subnets.iter().map(|subnet| subnet.prefix).collect(),
            rank: None,
        };
        Ok(Self {
            id: cluster.and_then(|cluster| GatewayId::new(cluster.id)),
            devices: (0..ranks).map(device).collect::<Result<_, _>>()?,
            entries: config.overlays.iter().map(entry).collect(),
        })
    }

    /// The netdevs.
    pub(crate) fn links(&self) -> impl Iterator<Item = u32> {
        self.devices.iter().map(Tun::index)
    }

    /// Keeps the routes as the cluster says, for ever; without rules of a cluster (`None`) they stay.
    pub(crate) async fn keep(mut self, netlink: Netlink, uplink: Option<Listener>) {
        let Some(mut uplink) = uplink else {
            self.apply(&netlink, None, || false).await;
            return std::future::pending().await;
        };
        loop {
            let state = uplink.borrow_and_update().clone();
            self.apply(&netlink, Some(&state), || uplink.has_changed().unwrap_or(false)).await;
            if uplink.changed().await.is_err() {
                // The gateway has left; its routes are gone.
                return std::future::pending().await;
            }
        }
    }

    async fn apply(&mut self, netlink: &Netlink, state: Option<&Uplink>, is_out_of_date: impl Fn() -> bool) {
        let mut refused = None;
        for entry in &mut self.entries {
            if is_out_of_date() {
                return;
            }
            let last = self.devices.len() - 1;
            let wanted = rank(entry, self.id, state).map(|rank| rank.min(last as u8));
            if wanted == entry.rank {
                continue;
            }
            let route = |rank: u8, prefix: IpNet| DeviceRoute {
                prefix,
                link: self.devices[usize::from(rank)].index(),
                metric: FIRST_METRIC + u32::from(rank),
            };
            // The new one first, so that there is always one.
            for &prefix in &entry.prefixes {
                let added = match wanted {
                    Some(rank) => netlink.add_device_route(route(rank, prefix)).await,
                    None => Ok(()),
                };
                let removed = match entry.rank {
                    Some(rank) => netlink.delete_device_route(route(rank, prefix)).await,
                    None => Ok(()),
                };
                refused = refused.or_else(|| added.and(removed).err().map(|error| (prefix, error)));
            }
            entry.rank = wanted;
        }
        if let Some((prefix, error)) = refused {
            warn!("igp: the route of {prefix}, and others maybe, is not as it should be: {error}");
        }
    }
}

/// The rank at which an overlay's prefixes are to be there, from 0; `None`: they are not.
fn rank(entry: &Entry, id: Option<GatewayId>, state: Option<&Uplink>) -> Option<u8> {
    match state {
        None => Some(u8::from(!entry.owner)),
        Some(state) if !state.routes => None,
        Some(state) => Some(match entry.shard {
            Some(shard) => state.shard_rank(id, shard),
            None => state.overlay_rank(id, entry.vni),
        }),
    }
}

#[cfg(test)]
mod tests {
    use cluster::assign::{Key, Member, Members, Weight};

    use super::*;

    #[test]
    fn the_rank_is_the_shards_owner_first_or_that_of_the_overlay() {
        let vni = Vni::new(7).unwrap();
        let entry = |shard, owner| Entry { vni, shard, owner, prefixes: Vec::new(), rank: None };
        let id = GatewayId::new(2);
        let member = |id| Member { id: GatewayId::new(id).unwrap(), weight: Weight::default() };
        let serving = Members::new([1, 2, 3].map(member)).unwrap();
        let place = |key| serving.place(key, id.unwrap()) as u8;
        let state = |routes| Uplink { routes, serving: serving.clone(), owned: vec![true, false] };
        assert_eq!([true, false].map(|owner| rank(&entry(None, owner), None, None)), [Some(0), Some(1)]);
        assert_eq!(rank(&entry(None, true), id, Some(&state(true))), Some(place(Key::overlay(7))));
        assert_eq!(rank(&entry(Some(0), true), id, Some(&state(true))), Some(0));
        assert_eq!(rank(&entry(Some(1), true), id, Some(&state(true))), Some(1 + place(Key::shard(1))));
        assert_eq!(rank(&entry(Some(0), true), id, Some(&state(false))), None, "it does not serve");
    }
}
