//! What comes and goes by this gateway's rank: how routers, by whatever protocol, are told of overlays.

use cluster::assign::GatewayId;
use engine::Config;
use ipnet::IpNet;
use wire::Vni;

use crate::cluster::Uplink;

/// Entries that are looked at in one go, and changes that are made together: others get their turn in between.
const LOOK: usize = 2048;
pub(crate) const CHANGES_AT_ONCE: usize = 512;

/// The prefixes of an overlay, which come and go together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prefixes {
    vni: Vni,
    /// The shard that the overlay is in.
    pub(crate) shard: Option<u16>,
    owner: bool,
    pub(crate) prefixes: Box<[IpNet]>,
}

impl Prefixes {
    /// Those of all overlays, in the order of shards: with the same next hop side by side.
    pub(crate) fn all(config: &Config) -> impl Iterator<Item = Self> {
        let mut overlays: Vec<&engine::Overlay> = config.overlays.iter().collect();
        overlays.sort_by_key(|overlay| (overlay.shard, overlay.vni));
        overlays.into_iter().map(|overlay| Self {
            vni: overlay.vni,
            shard: overlay.shard,
            owner: overlay.owner,
            prefixes: overlay.subnets.iter().map(|subnet| subnet.prefix).collect(),
        })
    }

    /// The rank of this gateway as next hop, from 0; `None`: it is none. Without the rules of a cluster (`None`) it always is one.
    pub(crate) fn rank(&self, id: Option<GatewayId>, state: Option<&Uplink>) -> Option<u8> {
        match (state, self.shard) {
            (Some(state), _) if !state.routes => None,
            (Some(state), Some(shard)) => Some(state.shard_rank(id, shard)),
            (Some(state), None) => Some(state.overlay_rank(id, self.vni)),
            (None, _) => Some(u8::from(!self.owner)),
        }
    }
}

/// Entries, each with the rank that was told of it, if any, in the order in which they are told.
#[derive(Debug)]
pub(crate) struct Ranked<T> {
    entries: Vec<(T, Option<u8>)>,
    /// Where to go on.
    next: usize,
}

impl<T> Ranked<T> {
    /// Nothing has been told.
    pub(crate) fn new(entries: impl IntoIterator<Item = T>) -> Self {
        Self { entries: entries.into_iter().map(|entry| (entry, None)).collect(), next: 0 }
    }

    /// Looks at all entries anew.
    pub(crate) fn begin(&mut self) {
        self.next = 0;
    }

    /// What was told is known to nobody any more.
    pub(crate) fn forget(&mut self) {
        self.entries.iter_mut().for_each(|(_, told)| *told = None);
    }

    /// The next changes, which count as told; there may be none, though more follow. `None`: all is as it should be.
    pub(crate) fn step<C>(
        &mut self,
        wanted: impl Fn(&T) -> Option<u8>,
        changes: impl Fn(&T, Option<u8>) -> Vec<C>,
    ) -> Option<Vec<C>> {
        if self.next == self.entries.len() {
            return None;
        }
        let mut all = Vec::new();
        for (entry, told) in self.entries.iter_mut().skip(self.next).take(LOOK) {
            if all.len() >= CHANGES_AT_ONCE {
                break;
            }
            self.next += 1;
            let wanted = wanted(entry);
            if *told != wanted {
                *told = wanted;
                all.extend(changes(entry, wanted));
            }
        }
        Some(all)
    }
}
