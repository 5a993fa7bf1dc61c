//! What the network announces: stations, their addresses, and the endpoints of overlays.
//!
//! An operator's word is worth more than the network's: a station or an address that the configuration has elsewhere
//! stays there, as a static entry does in any switch, and is counted ([`Deed::AnnouncedConflict`]). What is announced
//! is worth more than what was learned: ARP and ND of an announced address change nothing.
//!
//! | address is known as | announced for the same station | announced for another |
//! | --- | --- | --- |
//! | configured | nothing changes | nothing changes: conflict |
//! | announced | nothing changes | it is the last one's; goes back when that is withdrawn |
//! | learned | no longer asked for | it is the announced one's |
//!
//! A station that moves takes all its addresses along, those announced and those learned, in one go.

mod stations;

use std::net::IpAddr;
use std::time::Instant;

use foldhash::quality::RandomState;
use hashbrown::{HashMap, HashSet};
use wire::{MacAddr, Vni};

use super::neighbours::NeighbourKey;
use super::{Deed, SlowPath};
use crate::api::{AnnouncedStatistics, Announcement};
use crate::tables::flow::FlowKey;
use crate::tables::{NoEndpoint, NotPlaced, OverlayIndex};
use stations::{StationKey, Stations};

/// Stations that are tried again at once, when there is room.
const RETRIES: usize = 256;
/// Stations besides its holder that an address is remembered to be announced for: the last ones.
const RIVALS: usize = 16;

/// What is announced, as far as the flow table does not say it.
#[derive(Debug, Default)]
pub(super) struct Announced {
    stations: Stations,
    /// Addresses that several stations are announced to have: those that do not have it now, the last one last.
    contested: HashMap<NeighbourKey, Vec<MacAddr>, RandomState>,
    /// Stations that are not in the flow table with all their addresses, for want of room, and where they are to be.
    lacking: HashMap<StationKey, IpAddr, RandomState>,
    /// Endpoints that could not join an overlay, for want of room.
    outside: HashSet<(OverlayIndex, IpAddr), RandomState>,
}

impl SlowPath {
    /// Takes over what is announced.
    pub(super) fn announced(&mut self, announcements: &[Announcement], now: Instant) {
        for announcement in announcements {
            match *announcement {
                Announcement::Station { vni, mac, endpoint } => {
                    self.in_overlay(vni, |this, overlay| this.station((overlay, mac), endpoint, now));
                }
                Announcement::StationGone { vni, mac } => {
                    self.in_overlay(vni, |this, overlay| this.station_gone((overlay, mac), now));
                }
                Announcement::Address { vni, mac, address } => {
                    self.in_overlay(vni, |this, overlay| this.address((overlay, mac), address, now));
                }
                Announcement::AddressGone { vni, mac, address } => {
                    self.in_overlay(vni, |this, overlay| this.address_gone((overlay, mac), address, now));
                }
                Announcement::Member { vni, endpoint } => {
                    self.in_overlay(vni, |this, overlay| this.member(overlay, endpoint));
                }
                Announcement::MemberGone { vni, endpoint } => self.in_overlay(vni, |this, overlay| {
                    this.announced.outside.remove(&(overlay, endpoint));
                    this.writer.leave(overlay, endpoint);
                }),
            }
        }
    }

    /// How much is announced, and what there was no room for.
    pub(crate) fn announced_statistics(&self) -> AnnouncedStatistics {
        let (stations, addresses) = self.announced.stations.len();
        AnnouncedStatistics {
            stations,
            addresses,
            contested: self.announced.contested.len(),
            lacking: self.announced.lacking.len(),
            outside: self.announced.outside.len(),
        }
    }

    /// Tries again what there was no room for; whether there was some, so that more may follow.
    pub(super) fn retry_announced(&mut self, now: Instant) -> bool {
        let before = self.announced.lacking.len() + self.announced.outside.len();
        if before == 0 {
            return false;
        }
        let lacking: Vec<_> =
            self.announced.lacking.iter().take(RETRIES).map(|(&key, &at)| (key, at)).collect();
        for (station, endpoint) in lacking {
            if self.writer.has_room() {
                self.place_announced(station, endpoint, now);
            }
        }
        let outside: Vec<_> = self.announced.outside.iter().take(RETRIES).copied().collect();
        for (overlay, endpoint) in outside {
            self.member(overlay, endpoint);
        }
        self.announced.lacking.len() + self.announced.outside.len() < before
    }

    /// What is announced of overlays that are not configured is nobody's here.
    fn in_overlay(&mut self, vni: Vni, then: impl FnOnce(&mut Self, OverlayIndex)) {
        if let Some(overlay) = self.writer.current().overlays.by_vni(vni) {
            then(self, overlay);
        }
    }

    fn station(&mut self, station: StationKey, endpoint: IpAddr, now: Instant) {
        let (overlay, mac) = station;
        let tables = self.writer.current();
        let record = tables.overlays.get(overlay);
        if mac == tables.fixed.router_mac || record.own_mac == Some(mac) || mac.is_multicast() {
            return self.tally.count(Deed::AnnouncedBad);
        }
        let flow = self.writer.flow(FlowKey::mac(record.vni, mac)).filter(|flow| !flow.is_visitor());
        let is_configured = match self.announced.stations.is_configured(station) {
            Some(is_configured) => is_configured,
            None => {
                // What is in the table without having been announced is of the configuration.
                self.announced.stations.insert(station, flow.is_some());
                flow.is_some()
            }
        };
        if is_configured {
            if flow.is_some_and(|flow| tables.endpoints.get(flow.endpoint).address != endpoint) {
                self.tally.count(Deed::AnnouncedConflict);
            }
            return;
        }
        self.place_announced(station, endpoint, now);
    }

    /// Puts a station behind its endpoint, with all its addresses. It is tried again if there is no room now.
    fn place_announced(&mut self, station: StationKey, endpoint: IpAddr, now: Instant) {
        let (overlay, mac) = station;
        let was_lacking = self.announced.lacking.remove(&station).is_some();
        let before = match self.writer.place(overlay, mac, endpoint) {
            Ok(before) => before,
            Err(error) => {
                // Where it was it is no longer.
                self.drop_flows(station, now);
                return match error {
                    NotPlaced::Endpoint(NoEndpoint::Family) => self.tally.count(Deed::EndpointRefused),
                    NotPlaced::Endpoint(NoEndpoint::Full) | NotPlaced::Full(_) => {
                        self.lack(station, endpoint, was_lacking);
                    }
                };
            }
        };
        self.tally.count(Deed::StationPlaced);
        if before.is_some_and(|flow| flow.is_visitor()) {
            self.strangers.forget(overlay, mac);
        }
        let is_new = before.is_none_or(|flow| flow.is_visitor());
        let learned = if is_new { Vec::new() } else { self.neighbours.addresses_of(overlay, mac) };
        for address in learned {
            // It had its entry, so that this cannot fail for want of room, but of records that readers still hold.
            if self.writer.bind(overlay, address, mac).is_err() {
                self.tally.count(Deed::TableFull);
                self.neighbours.forget(NeighbourKey { overlay, address });
                self.writer.unbind(overlay, address);
            }
        }
        let announced: Vec<_> = self.announced.stations.addresses_of(station).collect();
        for address in announced {
            match self.rival((overlay, mac), address) {
                // Which of the two came later is not known any more.
                Some(_) => self.contest(NeighbourKey { overlay, address }, mac),
                None => _ = self.lead(station, address, now),
            }
        }
    }

    /// Another station that is announced to have the address, and has it.
    fn rival(&self, (overlay, mac): StationKey, address: IpAddr) -> Option<MacAddr> {
        self.holder(overlay, address)
            .filter(|holder| *holder != mac && self.announced.stations.has((overlay, *holder), address))
    }

    fn contest(&mut self, key: NeighbourKey, mac: MacAddr) {
        let others = self.announced.contested.entry(key).or_default();
        if !others.contains(&mac) {
            // Liars must not make the list long that all of them search.
            if others.len() == RIVALS {
                others.remove(0);
            }
            others.push(mac);
        }
    }

    /// Leads an address to its station, whoever had it; whether it is led there now.
    fn lead(&mut self, station: StationKey, address: IpAddr, now: Instant) -> bool {
        let (overlay, mac) = station;
        let tables = self.writer.current();
        let key = FlowKey::mac(tables.overlays.get(overlay).vni, mac);
        let Some(flow) = self.writer.flow(key).filter(|flow| !flow.is_visitor()) else { return false };
        if self.writer.bind(overlay, address, mac).is_err() {
            let endpoint = self.writer.current().endpoints.get(flow.endpoint).address;
            // What it was led to may be where the station no longer is.
            if self.holder(overlay, address) == Some(mac) {
                self.writer.unbind(overlay, address);
            }
            self.lack(station, endpoint, false);
            return false;
        }
        let waited = self.neighbours.give_up(NeighbourKey { overlay, address });
        self.send(super::again(waited), now);
        true
    }

    fn lack(&mut self, station: StationKey, endpoint: IpAddr, again: bool) {
        if self.announced.lacking.insert(station, endpoint).is_none() && !again {
            self.tally.count(Deed::AnnouncedFull);
        }
    }

    fn station_gone(&mut self, station: StationKey, now: Instant) {
        self.announced.lacking.remove(&station);
        let addresses: Vec<_> = self.announced.stations.addresses_of(station).collect();
        for address in addresses {
            self.address_gone(station, address, now);
        }
        if self.announced.stations.remove(station) == Some(false) {
            self.drop_flows(station, now);
        }
    }

    /// Takes a station out of the flow table, with its addresses; what is announced of it stays known.
    fn drop_flows(&mut self, station: StationKey, now: Instant) {
        let (overlay, mac) = station;
        let vni = self.writer.current().overlays.get(overlay).vni;
        if self.writer.flow(FlowKey::mac(vni, mac)).is_none_or(|flow| flow.is_visitor()) {
            return;
        }
        for address in self.neighbours.addresses_of(overlay, mac) {
            self.tally.count(Deed::Forgotten);
            self.neighbours.forget(NeighbourKey { overlay, address });
            self.writer.unbind(overlay, address);
        }
        let announced: Vec<_> = self.announced.stations.addresses_of(station).collect();
        for address in announced {
            self.let_go(station, address, now);
        }
        self.writer.displace(overlay, mac);
    }

    /// The station that packets to the address go to.
    fn holder(&self, overlay: OverlayIndex, address: IpAddr) -> Option<MacAddr> {
        let vni = self.writer.current().overlays.get(overlay).vni;
        self.writer.flow(FlowKey::address(vni, address)).map(|flow| flow.mac)
    }

    fn address(&mut self, station: StationKey, address: IpAddr, now: Instant) {
        let (overlay, mac) = station;
        if !self.announced.stations.contains(station) || self.announced.stations.has(station, address) {
            return;
        }
        if self.check_station_address(overlay, address).is_err() {
            return self.tally.count(Deed::AnnouncedBad);
        }
        let key = NeighbourKey { overlay, address };
        let rival = self.rival(station, address);
        if rival.is_none() && self.neighbours.bound(key).is_none() {
            match self.holder(overlay, address) {
                // What is neither announced nor learned is of the configuration.
                Some(holder) if holder != mac => return self.tally.count(Deed::AnnouncedConflict),
                Some(_) => return,
                None => {}
            }
        }
        self.announced.stations.add(station, address);
        if self.lead(station, address, now)
            && let Some(rival) = rival
        {
            self.contest(key, rival);
        }
    }

    fn address_gone(&mut self, station: StationKey, address: IpAddr, now: Instant) {
        if self.announced.stations.take(station, address) {
            self.let_go(station, address, now);
        }
    }

    /// An address that a station had, or would have had, is led to the next one that is announced to have it.
    fn let_go(&mut self, (overlay, mac): StationKey, address: IpAddr, now: Instant) {
        let key = NeighbourKey { overlay, address };
        let is_holder = self.holder(overlay, address) == Some(mac) && self.neighbours.bound(key).is_none();
        let mut next = None;
        if let Some(others) = self.announced.contested.get_mut(&key) {
            others.retain(|other| *other != mac);
            if is_holder {
                next = others.pop();
            }
            if others.is_empty() {
                self.announced.contested.remove(&key);
            }
        }
        if is_holder {
            self.writer.unbind(overlay, address);
            if let Some(next) = next {
                self.lead((overlay, next), address, now);
            }
        }
    }

    fn member(&mut self, overlay: OverlayIndex, endpoint: IpAddr) {
        match self.writer.join(overlay, endpoint) {
            Ok(()) => _ = self.announced.outside.remove(&(overlay, endpoint)),
            Err(NoEndpoint::Family) => self.tally.count(Deed::EndpointRefused),
            Err(NoEndpoint::Full) => {
                if self.announced.outside.insert((overlay, endpoint)) {
                    self.tally.count(Deed::EndpointRefused);
                }
            }
        }
    }
}
