//! The addresses of stations: what the neighbour cache is told, and what it wants done.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Instant;

use wire::{MacAddr, Vni};

use super::neighbours::{Action, Evidence, NeighbourKey};
use super::received::Origin;
use super::{Deed, Punted, Received, SlowPath, again, icmp, solicit};
use crate::api::{Binding, NeighbourStatus, Proxy};
use crate::tables::OverlayIndex;
use crate::tables::flow::{Flow, FlowKey};

/// That a station says that it has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) address: IpAddr,
    pub(super) evidence: Evidence,
}

impl SlowPath {
    /// A packet for an address that the flow table does not have: it waits.
    pub(super) fn resolve_station(&mut self, overlay: OverlayIndex, punted: Punted, now: Instant) {
        let destination =
            Received::read(self.writer.current(), &punted).and_then(|received| received.destination());
        let Some(address) = destination else { return };
        let key = NeighbourKey { overlay, address };
        // It has been announced since the packet was punted.
        if self.known_for_certain(key).is_some() {
            return self.send(again([Box::new(punted)]), now);
        }
        let mut actions = Vec::new();
        self.neighbours.resolve(key, Box::new(punted), now, &mut actions);
        self.carry_out(actions, now);
    }

    /// Believes a claim, or not: the station must be known where it was heard, and the address one that it can have.
    pub(super) fn learn(
        &mut self,
        received: &Received<'_>,
        Claim { address, evidence }: Claim,
        now: Instant,
    ) {
        let Origin::Station { overlay: index, endpoint } = received.origin else { return };
        if let Err(deed) = self.check_station_address(index, address) {
            return self.tally.count(deed);
        }
        let tables = self.writer.current();
        let overlay = tables.overlays.get(index);
        let (vni, mac) = (overlay.vni, received.sender);
        let limit = overlay.policy.addresses_per_station.into();
        let is_here =
            |flow: &Flow| !flow.is_visitor() && tables.endpoints.get(flow.endpoint).address == endpoint;
        if !self.writer.flow(FlowKey::mac(vni, mac)).as_ref().is_some_and(is_here) {
            return;
        }
        let key = NeighbourKey { overlay: index, address };
        match self.known_for_certain(key) {
            Some(owner) if owner != mac => self.tally.count(Deed::AddressConflict),
            Some(_) => {}
            None => {
                let mut actions = Vec::new();
                self.neighbours.heard(key, mac, evidence, limit, now, &mut actions);
                self.carry_out(actions, now);
            }
        }
    }

    /// Whether a station of the overlay can have the address; if not, what its claim is.
    pub(super) fn check_station_address(&self, index: OverlayIndex, address: IpAddr) -> Result<(), Deed> {
        let tables = self.writer.current();
        let overlay = tables.overlays.get(index);
        let own = overlay.own_mac.map(|mac| IpAddr::V6(mac.link_local()));
        if overlay.is_router(address, tables.fixed.router_link_local) || own == Some(address) {
            return Err(Deed::RouterAddressClaimed);
        }
        // What the flow table does not look at must not tell addresses apart here.
        let is_whole = match address {
            IpAddr::V6(address) if address.is_unicast_link_local() => is_plain_link_local(address),
            _ => true,
        };
        if overlay.can_have(address) && is_whole { Ok(()) } else { Err(Deed::BadNeighbour) }
    }

    /// The station whose address this is by configuration or announcement: it is in the flow table without having been
    /// learned.
    fn known_for_certain(&self, key: NeighbourKey) -> Option<MacAddr> {
        let vni = self.writer.current().overlays.get(key.overlay).vni;
        let flow = self.writer.flow(FlowKey::address(vni, key.address))?;
        self.neighbours.bound(key).is_none().then_some(flow.mac)
    }

    /// The station that has the address, if that is certain enough to tell others (RFC 9161 §3.2).
    pub(super) fn fresh(&self, key: NeighbourKey, now: Instant) -> Option<MacAddr> {
        self.known_for_certain(key).or_else(|| self.neighbours.fresh(key, now))
    }

    /// The MAC address to answer with when `sender` asks for `target`; none if the answer is not the router's to give.
    /// There is no asker in duplicate address detection, and that is disturbed only to defend what is the router's own.
    pub(super) fn answer_for(
        &self,
        index: OverlayIndex,
        target: IpAddr,
        asker: Option<IpAddr>,
        sender: MacAddr,
        now: Instant,
    ) -> Option<MacAddr> {
        let tables = self.writer.current();
        let overlay = tables.overlays.get(index);
        let key = NeighbourKey { overlay: index, address: target };
        if let Some(own) = overlay.own_mac.filter(|own| IpAddr::V6(own.link_local()) == target) {
            return Some(own);
        }
        if !tables.overlays.is_owner(index) {
            return None;
        }
        if overlay.is_router(target, tables.fixed.router_link_local) {
            let can_ask = asker.is_none_or(|asker| self.check_station_address(index, asker).is_ok());
            return Some(tables.fixed.router_mac).filter(|_| can_ask);
        }
        asker.filter(|asker| self.check_station_address(index, *asker).is_ok())?;
        match overlay.policy.proxy {
            Proxy::Own => None,
            Proxy::Known => self.fresh(key, now).filter(|mac| *mac != sender),
            Proxy::Isolate => {
                let is_theirs = overlay.subnet_of(target).is_some() && !overlay.is_edge(target);
                let is_own = self.fresh(key, now) == Some(sender);
                (is_theirs && !is_own).then_some(tables.fixed.router_mac)
            }
        }
    }

    /// Does what the cache wants done, and remembers what was learned.
    pub(super) fn carry_out(&mut self, actions: Vec<Action<Box<Punted>>>, now: Instant) {
        for action in actions {
            if let Some(key) = self.act(action, now) {
                self.learned.push(key);
            }
        }
    }

    /// Does what the cache wants done: the address that has another station now, if any.
    fn act(&mut self, action: Action<Box<Punted>>, now: Instant) -> Option<NeighbourKey> {
        match action {
            Action::SolicitAll(key) => {
                self.tally.count(Deed::SolicitationSent);
                let question = solicit::all(self.writer.current(), key);
                self.send([question], now);
            }
            Action::Probe(key, mac) => self.probe(key, mac, now),
            Action::Bind(key, mac) => {
                if self.writer.bind(key.overlay, key.address, mac).is_ok() {
                    self.tally.count(Deed::Learned);
                    return Some(key);
                }
                // What workers cannot find must not count as known: its packets would come back for ever.
                self.tally.count(Deed::TableFull);
                self.neighbours.forget(key);
                self.writer.unbind(key.overlay, key.address);
            }
            Action::Unbind(key) => {
                self.tally.count(Deed::Forgotten);
                self.writer.unbind(key.overlay, key.address);
            }
            Action::Release(key, _, _) if self.neighbours.bound(key).is_none() => {}
            Action::Release(_, _, waited) => self.send(again(waited), now),
            Action::Unreachable(_, waited) => {
                for punted in waited {
                    let tables = self.writer.current();
                    let Some(received) = Received::read(tables, &punted) else { continue };
                    let error = icmp::address_unreachable(tables, &received, &self.tally);
                    self.send(error, now);
                }
            }
        }
        None
    }

    fn probe(&mut self, key: NeighbourKey, mac: MacAddr, now: Instant) {
        let tables = self.writer.current();
        let station = FlowKey::mac(tables.overlays.get(key.overlay).vni, mac);
        let Some(flow) = self.writer.flow(station) else { return };
        self.tally.count(Deed::ProbeSent);
        let question = solicit::one(tables, key, mac, tables.endpoints.get(flow.endpoint).address);
        self.send([question], now);
    }

    /// Takes over what another gateway has learned, as far as the stations are known here.
    pub(super) fn import(&mut self, bindings: Vec<Binding>, now: Instant) {
        let mut actions = Vec::new();
        for Binding { vni, address, mac, age } in bindings {
            let overlays = &self.writer.current().overlays;
            let Some(index) = overlays.by_vni(vni) else { continue };
            let limit = overlays.get(index).policy.addresses_per_station.into();
            let fits = self.check_station_address(index, address).is_ok();
            let is_station = self.writer.flow(FlowKey::mac(vni, mac)).is_some_and(|flow| !flow.is_visitor());
            let key = NeighbourKey { overlay: index, address };
            if fits && is_station && self.known_for_certain(key).is_none() {
                self.neighbours.import(key, mac, age, limit, now, &mut actions);
                for action in actions.drain(..) {
                    // Who told it tells the others itself.
                    let _ = self.act(action, now);
                }
            }
        }
    }

    /// What the cache has, for who asks from outside.
    pub(super) fn neighbours(&self, vni: Option<Vni>, now: Instant) -> Vec<NeighbourStatus> {
        let tables = self.writer.current();
        let vni_of = |overlay: OverlayIndex| tables.overlays.get(overlay).vni;
        self.neighbours
            .iter(now)
            .filter(|neighbour| vni.is_none_or(|vni| vni == vni_of(neighbour.key.overlay)))
            .map(|neighbour| NeighbourStatus {
                vni: vni_of(neighbour.key.overlay),
                address: neighbour.key.address,
                mac: neighbour.mac,
                state: neighbour.state,
                age: neighbour.age,
            })
            .collect()
    }
}

/// Whether a link-local address is one of fe80::/64 (RFC 4291 §2.5.6).
fn is_plain_link_local(address: Ipv6Addr) -> bool {
    address.to_bits() >> 64 == 0xfe80 << 48
}
