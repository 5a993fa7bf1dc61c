//! Stations: where each MAC address is, and its IP addresses, by all MAC/IP routes of an overlay whatever their RDs.
//!
//! A MAC address is at one endpoint: that of the best of its routes, with or without an IP address. Its IP addresses are
//! those of any of its routes. So a station that roams keeps its addresses while the old endpoint's routes are still
//! there, and a new one that knows the MAC address alone is enough to follow it.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use hashbrown::{HashMap, hash_map};
use wire::{MacAddr, Vni};

use super::duplicates::Duplicates;
use super::{StationView, Told};
use crate::attributes::{is_default_gateway, is_router, mobility};
use crate::event::{Change, Event, PeerId};
use crate::rib::decision::Rules;
use crate::rib::key::EvpnKey;
use crate::rib::table::{Entry, NONE, Path, RouteId, Table};

/// Routes that a station may have: its addresses, times those who announce them. Each costs a step when one changes. Peers
/// that want more share them.
const MOST_ROUTES: u16 = 64;

/// How long after a crowded station has lost a route those that were refused are looked for. That takes a look at all
/// routes, so that it is not done for each.
const ROOM_PAUSE: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Station {
    /// The first of its routes; they are chained.
    first: RouteId,
    routes: u16,
    /// Others were refused, since these are as many as may be.
    crowded: bool,
    endpoint: IpAddr,
    sticky: bool,
    default_gateway: bool,
}

/// All stations.
#[derive(Debug)]
pub(super) struct Stations {
    stations: HashMap<(Vni, MacAddr), Station, RandomState>,
    pub(super) duplicates: Duplicates,
    /// When refused routes are to be looked at again: a crowded station has room.
    pub(super) room: Option<Instant>,
}

impl Stations {
    pub(super) fn new(duplicates: Duplicates) -> Self {
        Self { stations: HashMap::default(), duplicates, room: None }
    }

    pub(super) fn len(&self) -> usize {
        self.stations.len()
    }

    pub(super) fn is_full(&self, vni: Vni, mac: MacAddr) -> bool {
        self.stations.get(&(vni, mac)).is_some_and(|station| station.routes >= MOST_ROUTES)
    }

    /// The route whose place at a full station is to be another's: that whose peers have the most of its routes, if those are
    /// more by two at least than what the other's peers have. So each peer has its share: whoever makes up routes of a MAC
    /// address takes places from himself. Of a route of several peers the one with the fewest routes counts.
    pub(super) fn greediest(
        &self,
        table: &Table<EvpnKey>,
        other: RouteId,
        vni: Vni,
        mac: MacAddr,
    ) -> Option<RouteId> {
        let routes = || chain(table, self.stations.get(&(vni, mac)).map_or(NONE, |station| station.first));
        let mut counts: HashMap<PeerId, u16, RandomState> = HashMap::default();
        for (_, entry) in routes() {
            peers(entry, vni).for_each(|peer| *counts.entry(peer).or_default() += 1);
        }
        let fewest =
            |entry| peers(entry, vni).map(|peer| counts.get(&peer).copied().unwrap_or(0)).min().unwrap_or(0);
        let (most, id) = routes().map(|(id, entry)| (fewest(entry), id)).max()?;
        (most > fewest(table.get(other)) + 1).then_some(id)
    }

    /// A route was refused, since its station is full.
    pub(super) fn crowd(&mut self, vni: Vni, mac: MacAddr) {
        if let Some(station) = self.stations.get_mut(&(vni, mac)) {
            station.crowded = true;
        }
    }

    /// A station loses a route: if others were refused, they are to be looked at again after a while.
    pub(super) fn make_room(&mut self, vni: Vni, mac: MacAddr, now: Instant) {
        if let Some(station) = self.stations.get_mut(&(vni, mac))
            && std::mem::take(&mut station.crowded)
        {
            self.room.get_or_insert(now + ROOM_PAUSE);
        }
    }

    /// A route counts, newly or with another best path.
    pub(super) fn link(
        &mut self,
        table: &mut Table<EvpnKey>,
        id: RouteId,
        vni: Vni,
        rules: Rules<'_>,
        now: Instant,
        told: &mut VecDeque<Told>,
    ) {
        let entry = table.get(id);
        let EvpnKey::MacIp(key) = &entry.key else { return };
        let (mac, ip) = (key.mac, key.ip());
        let Some(best) = entry.best() else { return };
        let is_new = entry.vni == 0;
        let router = is_router(&best.extended);
        if is_new {
            let mut has_address = false;
            let first = match self.stations.entry((vni, mac)) {
                hash_map::Entry::Occupied(mut known) => {
                    let station = known.get_mut();
                    has_address = chain(table, station.first).any(|(_, entry)| address(entry) == ip);
                    station.routes += 1;
                    std::mem::replace(&mut station.first, id)
                }
                hash_map::Entry::Vacant(new) => {
                    let endpoint = best.attributes.next_hop;
                    let ((sticky, _), default_gateway) =
                        (mobility(&best.extended), is_default_gateway(&best.extended));
                    new.insert(Station {
                        first: id,
                        routes: 1,
                        crowded: false,
                        endpoint,
                        sticky,
                        default_gateway,
                    });
                    told.push_back(Told::Change(Change::Station {
                        vni,
                        mac,
                        endpoint,
                        sticky,
                        default_gateway,
                    }));
                    NONE
                }
            };
            let entry = table.get_mut(id);
            (entry.vni, entry.next) = (vni.value(), first);
            // A new station is where its one route says.
            if first != NONE {
                self.place(table, (vni, mac), rules, now, told);
            }
            if has_address {
                return;
            }
        } else {
            self.place(table, (vni, mac), rules, now, told);
        }
        // Told again where its route changed: the flag may have.
        if let Some(ip) = ip {
            told.push_back(Told::Change(Change::Address { vni, mac, ip, router }));
        }
    }

    /// A route does not count any longer.
    pub(super) fn unlink(
        &mut self,
        table: &mut Table<EvpnKey>,
        id: RouteId,
        vni: Vni,
        rules: Rules<'_>,
        now: Instant,
        told: &mut VecDeque<Told>,
    ) {
        let entry = table.get_mut(id);
        entry.vni = 0;
        let next = std::mem::replace(&mut entry.next, NONE);
        let EvpnKey::MacIp(key) = &entry.key else { return };
        let (mac, ip) = (key.mac, key.ip());
        let Some(station) = self.stations.get_mut(&(vni, mac)) else { return };
        station.routes -= 1;
        if station.first == id {
            station.first = next;
        } else {
            let before =
                chain(table, station.first).find(|(_, entry)| entry.next == id).map(|(before, _)| before);
            if let Some(before) = before {
                table.get_mut(before).next = next;
            }
        }
        let first = station.first;
        if let Some(ip) = ip
            && !chain(table, first).any(|(_, entry)| address(entry) == Some(ip))
        {
            told.push_back(Told::Change(Change::AddressGone { vni, mac, ip }));
        }
        if first == NONE {
            self.stations.remove(&(vni, mac));
            told.push_back(Told::Change(Change::StationGone { vni, mac }));
            if self.duplicates.forget_endless((vni, mac)) {
                told.push_back(Told::Event(Event::Recovered { vni, mac }));
            }
        } else {
            self.place(table, (vni, mac), rules, now, told);
        }
    }

    /// A hold is over.
    pub(super) fn recover(
        &mut self,
        table: &Table<EvpnKey>,
        vni: Vni,
        mac: MacAddr,
        rules: Rules<'_>,
        now: Instant,
        told: &mut VecDeque<Told>,
    ) {
        told.push_back(Told::Event(Event::Recovered { vni, mac }));
        self.place(table, (vni, mac), rules, now, told);
    }

    pub(super) fn view(
        &self,
        table: &Table<EvpnKey>,
        vni: Vni,
        mac: MacAddr,
        rules: Rules<'_>,
    ) -> Option<StationView> {
        let station = self.stations.get(&(vni, mac))?;
        let (_, sequence) = mobility(&best(table, station.first, rules)?.extended);
        let held = self.duplicates.is_held((vni, mac));
        Some(StationView { endpoint: station.endpoint, sequence, sticky: station.sticky, held })
    }

    /// Puts a station where its best route says.
    fn place(
        &mut self,
        table: &Table<EvpnKey>,
        (vni, mac): (Vni, MacAddr),
        rules: Rules<'_>,
        now: Instant,
        told: &mut VecDeque<Told>,
    ) {
        let Some(station) = self.stations.get_mut(&(vni, mac)) else { return };
        let Some(best) = best(table, station.first, rules) else { return };
        let endpoint = best.attributes.next_hop;
        if endpoint != station.endpoint {
            let old = station.endpoint;
            // Held to its place as long as somebody announces it there: an endpoint that does not is never right.
            let announced = chain(table, station.first)
                .any(|(_, entry)| entry.best().is_some_and(|path| path.attributes.next_hop == old));
            let was_held = self.duplicates.is_held((vni, mac));
            let holds = was_held || self.duplicates.is_one_too_many((vni, mac), now);
            if holds && !was_held {
                let (held, other) = if announced { (old, endpoint) } else { (endpoint, old) };
                let recovery = self.duplicates.policy().recovery;
                told.push_back(Told::Event(Event::Duplicate { vni, mac, held, other, recovery }));
            }
            if holds && announced {
                return;
            }
        }
        let ((sticky, _), default_gateway) = (mobility(&best.extended), is_default_gateway(&best.extended));
        if (station.endpoint, station.sticky, station.default_gateway) != (endpoint, sticky, default_gateway)
        {
            (station.endpoint, station.sticky, station.default_gateway) = (endpoint, sticky, default_gateway);
            told.push_back(Told::Change(Change::Station { vni, mac, endpoint, sticky, default_gateway }));
        }
    }
}

/// Routes from `first` on.
fn chain(table: &Table<EvpnKey>, first: RouteId) -> impl Iterator<Item = (RouteId, &Entry<EvpnKey>)> + Clone {
    let entry = move |id: RouteId| (id != NONE).then(|| (id, table.get(id)));
    std::iter::successors(entry(first), move |(_, before)| entry(before.next))
}

fn address(entry: &Entry<EvpnKey>) -> Option<IpAddr> {
    match &entry.key {
        EvpnKey::MacIp(key) => key.ip(),
        EvpnKey::Other(_) => None,
    }
}

/// Peers whose path of a route may count in an overlay.
fn peers(entry: &Entry<EvpnKey>, vni: Vni) -> impl Iterator<Item = PeerId> + '_ {
    entry.paths.iter().filter(move |path| path.counts_in(vni)).map(|path| path.peer)
}

/// The best path of a chain of routes.
fn best<'t>(table: &'t Table<EvpnKey>, first: RouteId, rules: Rules<'_>) -> Option<&'t Path> {
    let entry = (first != NONE).then(|| table.get(first))?;
    if entry.next == NONE {
        return entry.best();
    }
    let paths = chain(table, first).filter_map(|(_, entry)| entry.best());
    rules.best(paths.enumerate()).map(|(_, path)| path)
}
