//! What the peers say: routes, the best of each, and what follows.

pub(crate) mod decision;
pub(crate) mod key;
pub(crate) mod show;
mod sweep;
pub(crate) mod table;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use ipnet::IpNet;
use rustbgpd_wire::{EvpnRoute, ExtendedCommunity};
use wire::{MacAddr, Vni};

use crate::attributes::{Attributes, Pool};
use crate::event::{Change, Event, PeerId, Rejection};
use crate::family::Family;
use crate::overlay::duplicates::DuplicatePolicy;
use crate::overlay::targets::RouteTargets;
use crate::overlay::{Identity, Overlays, StationView, Told};
use crate::update::Nlri;
use decision::{Neighbour, Rules};
use key::EvpnKey;
use sweep::{Sweep, Sweeps};
use table::{Extra, Path, RouteId, Standing, Table};

/// So much may wait to be told before what time brings is put off.
const MUCH: usize = 1024;

/// What the RIB knows of a peer, for each family.
#[derive(Clone, Copy, Debug, Default)]
struct Peer {
    /// Paths of other epochs are stale.
    epoch: [u16; 3],
    /// Paths, stale ones too.
    routes: [usize; 3],
    /// There may be stale paths.
    stale: [bool; 3],
}

/// The attributes of a peer's routes. Each peer has pools of its own, so that what it costs is known; what two peers tell
/// alike is little beside the routes.
#[derive(Debug, Default)]
struct Pools {
    attributes: Pool<Attributes>,
    extended: Pool<Vec<ExtendedCommunity>>,
}

impl Pools {
    fn release(&mut self, path: Path) {
        self.attributes.release(path.attributes);
        self.extended.release(path.extended);
    }
}

/// All routes of all peers.
#[derive(Debug)]
pub(crate) struct Rib {
    pools: Vec<Pools>,
    peers: Vec<Peer>,
    neighbours: Vec<Neighbour>,
    evpn: Table<EvpnKey>,
    unicast: Table<IpNet>,
    overlays: Overlays,
    sweeps: Sweeps,
    told: VecDeque<Told>,
}

impl Rib {
    pub(crate) fn new(identity: Identity, policy: DuplicatePolicy) -> Self {
        Self {
            pools: Vec::new(),
            peers: Vec::new(),
            neighbours: Vec::new(),
            evpn: Table::default(),
            unicast: Table::default(),
            overlays: Overlays::new(identity, policy),
            sweeps: Sweeps::default(),
            told: VecDeque::new(),
        }
    }

    pub(crate) fn add_peer(&mut self, address: IpAddr, internal: bool) {
        self.pools.push(Pools::default());
        self.peers.push(Peer::default());
        self.neighbours.push(Neighbour { address, router_id: Ipv4Addr::UNSPECIFIED, internal });
    }

    /// The next thing to tell.
    pub(crate) fn poll(&mut self) -> Option<Told> {
        self.told.pop_front()
    }

    /// Tells an event behind all changes so far.
    pub(crate) fn tell(&mut self, event: Event) {
        self.told.push_back(Told::Event(event));
    }

    /// How much waits to be told.
    pub(crate) fn backlog(&self) -> usize {
        self.told.len()
    }

    /// The peer's identifier, known when the session comes up. It decides only for paths that come after.
    pub(crate) fn peer_up(&mut self, peer: PeerId, router_id: Ipv4Addr, internal: bool) {
        let neighbour = &mut self.neighbours[usize::from(peer.0)];
        (neighbour.router_id, neighbour.internal) = (router_id, internal);
    }

    /// Paths of a family that the peer does not confirm are stale from now on.
    pub(crate) fn mark_stale(&mut self, peer: PeerId, family: Family) {
        let peer = &mut self.peers[usize::from(peer.0)];
        let index = family.index();
        if peer.routes[index] > 0 {
            peer.epoch[index] = peer.epoch[index].wrapping_add(1);
            peer.stale[index] = true;
        }
    }

    /// Stale paths go.
    pub(crate) fn sweep_stale(&mut self, peer: PeerId, family: Family) {
        let known = &mut self.peers[usize::from(peer.0)];
        if std::mem::take(&mut known.stale[family.index()]) {
            let epoch = known.epoch[family.index()];
            let end = self.end_of(family);
            self.sweeps.start(Sweep::Stale(peer, family, epoch), end);
        }
    }

    pub(crate) fn is_stale(&self, peer: PeerId, family: Family) -> bool {
        self.peers[usize::from(peer.0)].stale[family.index()]
    }

    /// Replaces the overlays and their route targets; what counts follows.
    pub(crate) fn set_overlays(&mut self, overlays: impl IntoIterator<Item = (Vni, RouteTargets)>) {
        self.overlays.targets = overlays.into_iter().collect();
        self.import_anew();
    }

    /// Replaces what is ours; what counts follows.
    pub(crate) fn set_identity(&mut self, identity: Identity) {
        self.overlays.identity = identity;
        self.import_anew();
    }

    pub(crate) fn targets(&self, vni: Vni) -> Option<&RouteTargets> {
        self.overlays.targets.get(&vni)
    }

    fn import_anew(&mut self) {
        if self.evpn.len() > 0 {
            self.sweeps.start(Sweep::Import, self.evpn.end());
        }
    }

    /// How many paths of a family a peer has.
    pub(crate) fn routes_of(&self, peer: PeerId, family: Family) -> usize {
        self.peers[usize::from(peer.0)].routes[family.index()]
    }

    /// Bytes of the attributes of a peer's paths, each set counted once.
    pub(crate) fn attribute_bytes(&self, peer: PeerId) -> usize {
        let pools = &self.pools[usize::from(peer.0)];
        pools.attributes.bytes() + pools.extended.bytes()
    }

    // Routes.

    pub(crate) fn announce(&mut self, peer: PeerId, nlri: Nlri, mut attributes: Attributes, now: Instant) {
        let pools = &mut self.pools[usize::from(peer.0)];
        let extended = pools.extended.intern(std::mem::take(&mut attributes.extended).into_vec());
        let attributes = pools.attributes.intern(attributes);
        match nlri {
            Nlri::Evpn(routes) => {
                for route in routes {
                    let path = self.path(peer, Family::Evpn, (&attributes, &extended), &route);
                    let key = EvpnKey::new(&route);
                    self.told.extend(self.overlays.shared_mac(&key, &path).map(Told::Change));
                    let id = self.evpn.find_or_insert(key);
                    let old = replace(&mut self.evpn.get_mut(id).paths, path);
                    self.count(peer, Family::Evpn, old);
                    self.refresh_evpn(id, now);
                }
            }
            Nlri::Unicast(prefixes) => {
                for prefix in prefixes {
                    let family = family_of(prefix);
                    let epoch = self.peers[usize::from(peer.0)].epoch[family.index()];
                    let path = Path {
                        attributes: attributes.clone(),
                        extended: extended.clone(),
                        extra: None,
                        label: 0,
                        peer,
                        epoch,
                        standing: Standing::Eligible,
                        told: Standing::Eligible,
                    };
                    let id = self.unicast.find_or_insert(prefix);
                    let before = self.next_hop(id);
                    let old = replace(&mut self.unicast.get_mut(id).paths, path);
                    self.count(peer, family, old);
                    self.refresh_unicast(id, before);
                }
            }
        }
        let pools = &mut self.pools[usize::from(peer.0)];
        pools.attributes.release(attributes);
        pools.extended.release(extended);
    }

    pub(crate) fn withdraw(&mut self, peer: PeerId, nlri: &Nlri, now: Instant) {
        match nlri {
            Nlri::Evpn(routes) => {
                for route in routes {
                    if let Some(id) = self.evpn.find(&EvpnKey::new(route)) {
                        self.take_evpn(id, now, |path, _| path.peer == peer);
                    }
                }
            }
            Nlri::Unicast(prefixes) => {
                for prefix in prefixes {
                    if let Some(id) = self.unicast.find(prefix) {
                        self.take_unicast(id, |path, _| path.peer == peer);
                    }
                }
            }
        }
    }

    /// Routes that cannot be used count as withdrawn (RFC 7606 §2).
    pub(crate) fn refuse(&mut self, peer: PeerId, nlri: &Nlri, reason: Rejection, now: Instant) {
        self.withdraw(peer, nlri, now);
        let mut tell = |route: String| {
            self.told.push_back(Told::Event(Event::Rejected { peer, reason, route }));
        };
        match nlri {
            Nlri::Evpn(routes) => routes.iter().for_each(|route| tell(EvpnKey::new(route).to_string())),
            Nlri::Unicast(prefixes) => prefixes.iter().for_each(|prefix| tell(prefix.to_string())),
        }
    }

    fn path(
        &self,
        peer: PeerId,
        family: Family,
        (attributes, extended): (&Arc<Attributes>, &Arc<Vec<ExtendedCommunity>>),
        route: &EvpnRoute,
    ) -> Path {
        let (esi, label, label2, gateway) = match route {
            EvpnRoute::EadPerEs(route) => (route.esi.0, route.label.value(), None, None),
            EvpnRoute::EadPerEvi(route) => (route.esi.0, route.label.value(), None, None),
            EvpnRoute::MacIp(route) => {
                (route.esi.0, route.label1.as_vni(), route.label2.map(|label| label.value()), None)
            }
            EvpnRoute::IpPrefix(route) => (route.esi.0, route.label.as_vni(), None, Some(route.gateway)),
            _ => ([0; 10], 0, None, None),
        };
        let is_plain = esi == [0; 10] && label2.is_none() && gateway.is_none();
        Path {
            attributes: attributes.clone(),
            extended: extended.clone(),
            extra: (!is_plain).then(|| Box::new(Extra { esi, label2, gateway })),
            label,
            peer,
            epoch: self.peers[usize::from(peer.0)].epoch[family.index()],
            standing: Standing::Eligible,
            told: Standing::Eligible,
        }
    }

    /// A peer's path is in a route, in place of its old one.
    fn count(&mut self, peer: PeerId, family: Family, old: Option<Path>) {
        match old {
            Some(old) => self.pools[usize::from(peer.0)].release(old),
            None => self.peers[usize::from(peer.0)].routes[family.index()] += 1,
        }
    }

    /// Takes paths out of a route.
    fn take_evpn(&mut self, id: RouteId, now: Instant, gone: impl Fn(&Path, &[Peer]) -> bool) {
        let taken = take(&mut self.evpn.get_mut(id).paths, |path| gone(path, &self.peers));
        if taken.is_empty() {
            return;
        }
        self.forget(Family::Evpn, taken);
        self.refresh_evpn(id, now);
        if self.evpn.get(id).paths.is_empty() {
            self.evpn.remove(id);
        }
    }

    fn take_unicast(&mut self, id: RouteId, gone: impl Fn(&Path, &[Peer]) -> bool) {
        let before = self.next_hop(id);
        let entry = self.unicast.get_mut(id);
        let family = family_of(entry.key);
        let taken = take(&mut entry.paths, |path| gone(path, &self.peers));
        if taken.is_empty() {
            return;
        }
        self.forget(family, taken);
        self.refresh_unicast(id, before);
        if self.unicast.get(id).paths.is_empty() {
            self.unicast.remove(id);
        }
    }

    fn forget(&mut self, family: Family, taken: Vec<Path>) {
        for path in taken {
            let peer = usize::from(path.peer.0);
            self.peers[peer].routes[family.index()] -= 1;
            self.pools[peer].release(path);
        }
    }

    /// The paths of a route are others, or what is ours is: what follows.
    fn refresh_evpn(&mut self, id: RouteId, now: Instant) {
        let rules = Rules { mac: true, peers: &self.neighbours };
        self.overlays.refresh(&mut self.evpn, id, rules, now, &mut self.told);
    }

    fn next_hop(&self, id: RouteId) -> Option<IpAddr> {
        self.unicast.get(id).best().map(|path| path.attributes.next_hop)
    }

    /// The paths of a prefix are others: tells the best next hop, if it is another than `before`.
    fn refresh_unicast(&mut self, id: RouteId, before: Option<IpAddr>) {
        let entry = self.unicast.get_mut(id);
        entry.best = Rules { mac: false, peers: &self.neighbours }.choose(&entry.paths);
        let (prefix, next_hop) = (self.unicast.get(id).key, self.next_hop(id));
        if next_hop == before {
            return;
        }
        self.told.push_back(Told::Change(match next_hop {
            Some(next_hop) => Change::Prefix { prefix, next_hop },
            None => Change::PrefixGone { prefix },
        }));
    }

    // Sweeps.

    /// A step of what is to be done with all routes; whether there was anything to do.
    pub(crate) fn sweep(&mut self, now: Instant) -> bool {
        let Some((sweep, routes)) = self.sweeps.step() else { return false };
        for id in routes {
            match sweep {
                Sweep::Stale(peer, family @ Family::Evpn, epoch) => {
                    self.take_evpn(id, now, |path, peers| {
                        path.peer == peer && path.epoch != epoch && is_stale(path, family, peers)
                    });
                }
                Sweep::Stale(peer, family, epoch) => {
                    if family_of(self.unicast.get(id).key) == family {
                        self.take_unicast(id, |path, peers| {
                            path.peer == peer && path.epoch != epoch && is_stale(path, family, peers)
                        });
                    }
                }
                Sweep::Import => {
                    if !self.evpn.get(id).paths.is_empty() {
                        self.refresh_evpn(id, now);
                    }
                }
                Sweep::Room => {
                    let too_many = Standing::Rejected(Rejection::TooManyRoutes);
                    if self.evpn.get(id).paths.iter().any(|path| path.standing == too_many) {
                        self.refresh_evpn(id, now);
                    }
                }
            }
        }
        true
    }

    fn end_of(&self, family: Family) -> RouteId {
        match family {
            Family::Evpn => self.evpn.end(),
            Family::Ipv4 | Family::Ipv6 => self.unicast.end(),
        }
    }

    // Time.

    /// None while much waits to be told: what is due would add to it.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.overlays.deadline().filter(|_| self.told.len() < MUCH)
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.told.len() >= MUCH {
            return;
        }
        let rules = Rules { mac: true, peers: &self.neighbours };
        if self.overlays.handle_timeout(&self.evpn, rules, now, &mut self.told) {
            self.sweeps.start(Sweep::Room, self.evpn.end());
        }
    }

    pub(crate) fn clear_duplicate(&mut self, vni: Vni, mac: MacAddr, now: Instant) -> bool {
        let rules = Rules { mac: true, peers: &self.neighbours };
        self.overlays.clear_duplicate(&self.evpn, (vni, mac), rules, now, &mut self.told)
    }

    // Views.

    pub(crate) fn station(&self, vni: Vni, mac: MacAddr) -> Option<StationView> {
        let rules = Rules { mac: true, peers: &self.neighbours };
        self.overlays.station(&self.evpn, vni, mac, rules)
    }

    pub(crate) fn stations(&self) -> usize {
        self.overlays.stations()
    }
}

/// Puts a peer's path in place of its old one.
fn replace(paths: &mut Vec<Path>, path: Path) -> Option<Path> {
    match paths.iter_mut().find(|old| old.peer == path.peer) {
        Some(old) => Some(std::mem::replace(old, path)),
        None => {
            paths.push(path);
            None
        }
    }
}

fn take(paths: &mut Vec<Path>, gone: impl Fn(&Path) -> bool) -> Vec<Path> {
    if !paths.iter().any(&gone) {
        return Vec::new();
    }
    let (taken, kept) = std::mem::take(paths).into_iter().partition(|path| gone(path));
    *paths = kept;
    taken
}

fn is_stale(path: &Path, family: Family, peers: &[Peer]) -> bool {
    path.epoch != peers[usize::from(path.peer.0)].epoch[family.index()]
}

fn family_of(prefix: IpNet) -> Family {
    match prefix {
        IpNet::V4(_) => Family::Ipv4,
        IpNet::V6(_) => Family::Ipv6,
    }
}
