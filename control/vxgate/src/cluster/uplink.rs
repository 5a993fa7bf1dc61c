//! What BGP is to know of the cluster: whether to announce on the uplink, and who serves what.

use cluster::assign::{GatewayId, Key, Members};
use cluster::{Group, Member};
use tokio::sync::watch;
use wire::Vni;

/// As [`Member`] sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Uplink {
    /// Routes are announced: this gateway serves.
    pub(crate) routes: bool,
    /// The gateways that serve, this one among them unless it leaves.
    pub(crate) serving: Members,
    /// Whether this gateway serves each shard; empty in mode `announce`.
    pub(crate) owned: Vec<bool>,
}

impl Uplink {
    /// The place of a gateway among those that serve, in the order for an overlay, from 0.
    pub(crate) fn overlay_rank(&self, id: Option<GatewayId>, vni: Vni) -> u8 {
        self.place(id, Key::overlay(vni.value()))
    }

    /// The same for a shard: its owner, which must be this gateway, is at 0; behind it the others are in an order of their own.
    pub(crate) fn shard_rank(&self, id: Option<GatewayId>, shard: u16) -> u8 {
        match self.owned.get(usize::from(shard)) {
            Some(true) => 0,
            _ => self.place(id, Key::shard(shard)).saturating_add(1),
        }
    }

    fn place(&self, id: Option<GatewayId>, key: Key) -> u8 {
        // 128 at most.
        id.map_or(0, |id| self.serving.place(key, id)) as u8
    }
}

/// Hears of it.
pub(crate) type Listener = watch::Receiver<Uplink>;

/// Tells it when it changes.
pub(super) struct Publisher {
    sender: watch::Sender<Uplink>,
    last: Uplink,
    shards: u32,
    /// Something else may have changed than who serves.
    moved: bool,
}

impl Publisher {
    /// `shards`: how many there are; 0 in mode `announce`.
    pub(super) fn new(shards: u32) -> (Self, Listener) {
        let (sender, receiver) = watch::channel(Uplink::default());
        (Self { sender, last: Uplink::default(), shards, moved: false }, receiver)
    }

    /// Routes are to be announced, or withdrawn.
    pub(super) fn set_routes(&mut self, routes: bool) {
        self.last.routes = routes;
        self.moved = true;
    }

    /// Groups have moved.
    pub(super) fn note_moves(&mut self) {
        self.moved = true;
    }

    /// Tells what is new. To be called at each turn: it looks at little if nothing is.
    pub(super) fn publish(&mut self, member: &Member) {
        if !std::mem::take(&mut self.moved) && *member.serving() == self.last.serving {
            return;
        }
        self.last.serving = member.serving().clone();
        self.last.owned = (0..self.shards).map(|shard| member.owns(Group(shard))).collect();
        let last = self.last.clone();
        self.sender.send_if_modified(|told| {
            let is_new = *told != last;
            *told = last;
            is_new
        });
    }
}
