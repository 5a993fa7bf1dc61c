//! EVPN: which routes count in which overlay, and what follows from them.

pub(crate) mod duplicates;
mod members;
pub(crate) mod stations;
pub(crate) mod targets;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Instant;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use rustbgpd_wire::EvpnRouteKey;
use wire::{MacAddr, Vni};

use crate::attributes::{allows_vxlan, mobility};
use crate::event::{Change, Event, Rejection};
use crate::rib::decision::Rules;
use crate::rib::key::EvpnKey;
use crate::rib::table::{Entry, Path, RouteId, Standing, Table};
use crate::segment::EthernetSegment;
use duplicates::{DuplicatePolicy, Duplicates};
use members::Members;
use stations::Stations;
use targets::RouteTargets;

/// Holds that end at a time: others have their turn in between.
const RECOVERIES: usize = 1024;

/// What is ours, and must not be believed of others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Our VTEP addresses.
    pub vteps: HashSet<IpAddr>,
    /// MAC addresses of the overlays' router, shared by all gateways of the cluster.
    pub shared_macs: HashSet<MacAddr>,
    /// VTEP addresses of the cluster's other gateways: they alone may announce a shared MAC address.
    pub cluster: HashSet<IpAddr>,
    /// The cluster's Ethernet segment, if its gateways are found by that.
    pub segment: Option<EthernetSegment>,
}

/// A station as the routes have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StationView {
    /// VTEP that it is behind.
    pub endpoint: IpAddr,
    /// Mobility sequence of the best route.
    pub sequence: u32,
    /// It may not move.
    pub sticky: bool,
    /// Its place is held: it jumped too often.
    pub held: bool,
}

/// Something to tell.
#[derive(Debug)]
pub(crate) enum Told {
    Change(Change),
    Event(Event),
}

/// The overlays, and what is known in them.
#[derive(Debug)]
pub(crate) struct Overlays {
    pub(crate) identity: Identity,
    pub(crate) targets: HashMap<Vni, RouteTargets, RandomState>,
    stations: Stations,
    /// Type 3 routes that count.
    flood_routes: HashMap<RouteId, (Vni, IpAddr), RandomState>,
    /// How many such routes an endpoint has in an overlay.
    floods: HashMap<(Vni, IpAddr), u32, RandomState>,
    members: Members,
}

impl Overlays {
    pub(crate) fn new(identity: Identity, policy: DuplicatePolicy) -> Self {
        Self {
            identity,
            targets: HashMap::default(),
            stations: Stations::new(Duplicates::new(policy)),
            flood_routes: HashMap::default(),
            floods: HashMap::default(),
            members: Members::default(),
        }
    }

    /// Whether a path may count. A gateway has one VNI an overlay, so that a path counts in the overlay of its own VNI, if
    /// that overlay's route targets let it in.
    fn import(&self, key: &EvpnKey, path: &Path) -> Result<Standing, Rejection> {
        let attributes = &path.attributes;
        let (label, endpoint) = match key {
            EvpnKey::MacIp(_) => (path.label, attributes.next_hop),
            EvpnKey::Other(key) if matches!(**key, EvpnRouteKey::Imet { .. }) => {
                attributes.replication.ok_or(Rejection::NoIngressReplication)?
            }
            EvpnKey::Other(key) => return self.import_segment(key, path),
        };
        let vni = Vni::new(label).ok_or(Rejection::VniZero)?;
        let imported = self.targets.get(&vni).is_some_and(|targets| targets.imports(vni, &path.extended));
        if !imported {
            return Ok(Standing::Foreign);
        }
        if !is_host(endpoint) {
            return Err(Rejection::NoVtep);
        }
        if self.identity.vteps.contains(&endpoint) {
            return Err(Rejection::OwnVtep);
        }
        if !allows_vxlan(&path.extended) {
            return Err(Rejection::Encapsulation);
        }
        if let EvpnKey::MacIp(key) = key {
            if !key.mac.is_unicast() {
                return Err(Rejection::NoStationMac);
            }
            if self.identity.shared_macs.contains(&key.mac) && !self.identity.cluster.contains(&endpoint) {
                return Err(Rejection::SharedMacStranger);
            }
        }
        Ok(Standing::Eligible)
    }

    /// What is to be told of a path that announces a shared MAC address, whoever announces it: endpoints may go by it.
    pub(crate) fn shared_mac(&self, key: &EvpnKey, path: &Path) -> Option<Change> {
        let EvpnKey::MacIp(key) = key else { return None };
        let vni = self.identity.shared_macs.contains(&key.mac).then(|| Vni::new(path.label))??;
        let imported = self.targets.get(&vni).is_some_and(|targets| targets.imports(vni, &path.extended));
        imported.then(|| Change::SharedMac { vni, sequence: mobility(&path.extended).1 })
    }

    /// The same of a type 4 route. It counts in no overlay.
    fn import_segment(&self, key: &EvpnRouteKey, path: &Path) -> Result<Standing, Rejection> {
        let EvpnRouteKey::Es { esi, originator_ip, .. } = *key else { return Ok(Standing::Foreign) };
        let is_ours = |segment: &EthernetSegment| segment.esi() == esi && segment.imports(&path.extended);
        if !self.identity.segment.as_ref().is_some_and(is_ours) {
            Ok(Standing::Foreign)
        } else if !is_host(originator_ip) {
            Err(Rejection::NoVtep)
        } else if self.identity.vteps.contains(&originator_ip) {
            Err(Rejection::OwnVtep)
        } else {
            Ok(Standing::Eligible)
        }
    }

    /// Chooses the best path of a route; the overlay in which it counts, if any, and the route whose place it takes there
    /// (if that `may_displace` any).
    fn choose(
        &mut self,
        table: &mut Table<EvpnKey>,
        id: RouteId,
        rules: Rules<'_>,
        may_displace: bool,
    ) -> Option<(Vni, Option<RouteId>)> {
        let Entry { key, paths, .. } = table.get_mut(id);
        let rules = Rules { mac: matches!(key, EvpnKey::MacIp(_)), ..rules };
        for path in paths {
            path.standing = self.import(key, path).unwrap_or_else(Standing::Rejected);
        }
        loop {
            let entry = table.get_mut(id);
            entry.best = rules.choose(&entry.paths);
            let path = entry.best().filter(|path| path.standing == Standing::Eligible)?;
            let EvpnKey::MacIp(key) = &entry.key else {
                return path.attributes.replication.and_then(|(vni, _)| Vni::new(vni)).map(|vni| (vni, None));
            };
            let (vni, mac) = (Vni::new(path.label)?, key.mac);
            // One that counts already takes no further place.
            if entry.vni == vni.value() || !self.stations.is_full(vni, mac) {
                return Some((vni, None));
            }
            self.stations.crowd(vni, mac);
            if may_displace && let Some(greedy) = self.stations.greediest(table, id, vni, mac) {
                return Some((vni, Some(greedy)));
            }
            // Of another overlay there may still be some.
            let paths = table.get_mut(id).paths.iter_mut();
            for path in paths.filter(|path| path.counts_in(vni)) {
                path.standing = Standing::Rejected(Rejection::TooManyRoutes);
            }
        }
    }

    /// A route has other paths, or none, or is looked at anew: the best is chosen, what counts is set right, and which
    /// paths are rejected is told.
    pub(crate) fn refresh(
        &mut self,
        table: &mut Table<EvpnKey>,
        id: RouteId,
        rules: Rules<'_>,
        now: Instant,
        told: &mut VecDeque<Told>,
    ) {
        self.look_at(table, id, rules, true, now, told);
    }

    fn look_at(
        &mut self,
        table: &mut Table<EvpnKey>,
        id: RouteId,
        rules: Rules<'_>,
        may_displace: bool,
        now: Instant,
        told: &mut VecDeque<Told>,
    ) {
        let was = Vni::new(table.get(id).vni);
        let (vni, greedy) = self.choose(table, id, rules, may_displace).unzip();
        let entry = table.get_mut(id);
        tell_rejections(entry, told);
        match &entry.key {
            EvpnKey::MacIp(key) => {
                let mac = key.mac;
                if let Some(was) = was.filter(|_| was != vni) {
                    self.stations.make_room(was, mac, now);
                    self.stations.unlink(table, id, was, rules, now, told);
                }
                if let Some(vni) = vni {
                    self.stations.link(table, id, vni, rules, now, told);
                    if let Some(greedy) = greedy.flatten() {
                        self.stations.unlink(table, greedy, vni, rules, now, told);
                        self.look_at(table, greedy, rules, false, now, told);
                    }
                }
            }
            EvpnKey::Other(other) if let EvpnRouteKey::Es { originator_ip, .. } = **other => {
                let counts = entry.best().is_some_and(|path| path.standing == Standing::Eligible);
                self.members.set(id, counts.then_some(originator_ip), told);
            }
            EvpnKey::Other(_) => {
                let replication = entry.best().and_then(|path| path.attributes.replication);
                entry.vni = vni.map_or(0, Vni::value);
                self.set_flood(id, vni.zip(replication.map(|(_, endpoint)| endpoint)), told);
            }
        }
    }

    fn set_flood(&mut self, id: RouteId, new: Option<(Vni, IpAddr)>, told: &mut VecDeque<Told>) {
        let old = match new {
            Some(new) => self.flood_routes.insert(id, new),
            None => self.flood_routes.remove(&id),
        };
        if old == new {
            return;
        }
        if let Some((vni, endpoint)) = new {
            let count = self.floods.entry((vni, endpoint)).or_insert(0);
            *count += 1;
            if *count == 1 {
                told.push_back(Told::Change(Change::Flood { vni, endpoint }));
            }
        }
        if let Some((vni, endpoint)) = old
            && let Some(count) = self.floods.get_mut(&(vni, endpoint))
        {
            *count -= 1;
            if *count == 0 {
                self.floods.remove(&(vni, endpoint));
                told.push_back(Told::Change(Change::FloodGone { vni, endpoint }));
            }
        }
    }

    /// Where a station is.
    pub(crate) fn station(
        &self,
        table: &Table<EvpnKey>,
        vni: Vni,
        mac: MacAddr,
        rules: Rules<'_>,
    ) -> Option<StationView> {
        self.stations.view(table, vni, mac, rules)
    }

    /// How many stations there are.
    pub(crate) fn stations(&self) -> usize {
        self.stations.len()
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.stations.duplicates.deadline().into_iter().chain(self.stations.room).min()
    }

    /// Duplicates whose time is over count again, the first few of them. Whether there is room for routes that were
    /// refused since their station had too many: they are to be looked at again.
    pub(crate) fn handle_timeout(
        &mut self,
        table: &Table<EvpnKey>,
        rules: Rules<'_>,
        now: Instant,
        told: &mut VecDeque<Told>,
    ) -> bool {
        for _ in 0..RECOVERIES {
            let Some((vni, mac)) = self.stations.duplicates.expire(now) else { break };
            self.stations.recover(table, vni, mac, rules, now, told);
        }
        self.stations.room.take_if(|due| *due <= now).is_some()
    }

    /// A duplicate counts again, by the operator's word; whether there was one.
    pub(crate) fn clear_duplicate(
        &mut self,
        table: &Table<EvpnKey>,
        (vni, mac): (Vni, MacAddr),
        rules: Rules<'_>,
        now: Instant,
        told: &mut VecDeque<Told>,
    ) -> bool {
        let held = self.stations.duplicates.clear((vni, mac));
        if held {
            self.stations.recover(table, vni, mac, rules, now, told);
        }
        held
    }
}

/// Tells which paths are rejected that were not before, or for another reason.
fn tell_rejections(entry: &mut Entry<EvpnKey>, told: &mut VecDeque<Told>) {
    let Entry { key, paths, .. } = entry;
    for path in paths.iter_mut().filter(|path| path.told != path.standing) {
        path.told = path.standing;
        if let Standing::Rejected(reason) = path.standing {
            let (peer, route) = (path.peer, key.to_string());
            told.push_back(Told::Event(Event::Rejected { peer, reason, route }));
        }
    }
}

/// Whether an address can be that of a host on the underlay. An IPv4 address has one form alone: as IPv6 it would pass for
/// another.
fn is_host(address: IpAddr) -> bool {
    let of_no_host = match address {
        IpAddr::V4(address) => address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local() || address.to_ipv4_mapped().is_some(),
    };
    !(of_no_host || address.is_unspecified() || address.is_loopback() || address.is_multicast())
}
