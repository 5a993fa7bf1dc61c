//! The cache: resolution and aging. What stations say is in [`super::learning`].

use std::time::{Duration, Instant};

use wire::MacAddr;

use super::entries::{Binding, Entries, Entry, Phase, State};
use super::stations::Stations;
use super::timers::Timers;
use super::unresolved::Unresolved;
use super::waiting::{Admission, WaitingPackets};
use super::*;
use crate::api::NeighbourStatistics;

/// All neighbours of all overlays. `P` is a packet that waits.
#[derive(Debug)]
pub(crate) struct Neighbours<P> {
    pub(super) limits: Limits,
    pub(super) entries: Entries,
    pub(super) timers: Timers,
    /// Learned entries by station.
    pub(super) stations: Stations,
    pub(super) unresolved: Unresolved,
    waiting: WaitingPackets<P>,
    pub(super) random: fastrand::Rng,
    /// The counts of events; those of entries are kept elsewhere.
    pub(super) events: NeighbourStatistics,
}

impl<P> Neighbours<P> {
    /// An empty cache. The seed decides when bindings are probed.
    pub(crate) fn new(limits: Limits, seed: u64, now: Instant) -> Self {
        Self {
            limits,
            entries: Entries::with_capacity(limits.entries),
            timers: Timers::new(limits.entries, now),
            stations: Stations::with_capacity(limits.entries),
            unresolved: Unresolved::default(),
            waiting: WaitingPackets::new(),
            random: fastrand::Rng::with_seed(seed),
            events: NeighbourStatistics::default(),
        }
    }

    /// A packet wants to go to an address for which the tables have no MAC address: it waits until somebody answers,
    /// goes at once if somebody has by now, or comes back as unreachable. If there is no room for it, it is dropped.
    pub(crate) fn resolve(&mut self, key: NeighbourKey, packet: P, now: Instant, out: &mut Vec<Action<P>>) {
        let Some(index) = self.entries.find(key) else {
            if self.make_room_for_unresolved(key) {
                let index = self.insert(key, Self::first_solicitation(now, 0), now + RETRANS_TIMER);
                out.push(Action::SolicitAll(key));
                self.wait(index, key, packet);
            }
            return;
        };
        match self.entries.get(index).state {
            State::Learned(Binding { mac, .. }) => {
                out.push(Action::Release(key, mac, vec![packet]));
            }
            State::Failed { since, failures } if now < since + backoff(failures) => {
                self.events.held_off += 1;
                out.push(Action::Unreachable(key, vec![packet]));
            }
            State::Failed { failures, .. } => {
                self.change(index, Self::first_solicitation(now, failures), now + RETRANS_TIMER);
                out.push(Action::SolicitAll(key));
                self.wait(index, key, packet);
            }
            State::Incomplete { .. } => self.wait(index, key, packet),
        }
    }

    /// A binding that cannot be had after all is as if nobody had spoken.
    pub(crate) fn forget(&mut self, key: NeighbourKey) {
        if let Some(index) = self.entries.find(key) {
            self.remove(index);
        }
    }

    /// Who has an address has become known from elsewhere: forgets it, and gives back the packets that waited, the
    /// oldest first.
    pub(crate) fn give_up(&mut self, key: NeighbourKey) -> Vec<P> {
        let Some(index) = self.entries.find(key) else { return Vec::new() };
        let packets = self.waiting.take(index, key.overlay);
        self.remove(index);
        packets
    }

    /// The learned addresses of a station.
    pub(crate) fn addresses_of(&self, overlay: OverlayIndex, mac: MacAddr) -> Vec<IpAddr> {
        self.stations.of(overlay, mac).map(|index| self.entries.get(index).key.address).collect()
    }

    /// Does what is due; of very much only a part, and [`Self::next_deadline`] is in the past then.
    pub(crate) fn poll(&mut self, now: Instant, out: &mut Vec<Action<P>>) {
        for _ in 0..TIMERS_AT_ONCE {
            let Some(index) = self.timers.pop_due(now) else { break };
            self.expire(index, now, out);
        }
    }

    /// When to call [`Self::poll`] next, at the latest.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// The MAC address of a binding that others may be told of (RFC 9161): with evidence younger than the longest
    /// lifetime, and not being probed.
    pub(crate) fn fresh(&self, key: NeighbourKey, now: Instant) -> Option<MacAddr> {
        match self.entries.get(self.entries.find(key)?).state {
            State::Learned(Binding { phase: Phase::Probe(_), .. }) => None,
            State::Learned(Binding { mac, heard, .. }) => {
                (now.saturating_duration_since(heard) < self.longest_lifetime()).then_some(mac)
            }
            State::Incomplete { .. } | State::Failed { .. } => None,
        }
    }

    /// The MAC address that the address is bound to, fresh or not.
    pub(crate) fn bound(&self, key: NeighbourKey) -> Option<MacAddr> {
        match self.entries.get(self.entries.find(key)?).state {
            State::Learned(Binding { mac, .. }) => Some(mac),
            State::Incomplete { .. } | State::Failed { .. } => None,
        }
    }

    /// What is known of an address.
    pub(crate) fn get(&self, key: NeighbourKey, now: Instant) -> Option<Neighbour> {
        Some(self.entries.get(self.entries.find(key)?).neighbour(now))
    }

    /// What is known of so many addresses, those of the entries from number `from` on; and the number to go on with.
    pub(crate) fn page(&self, from: u32, most: usize, now: Instant) -> (Vec<Neighbour>, Option<u32>) {
        let (entries, next) = self.entries.page(from, most);
        (entries.map(|entry| entry.neighbour(now)).collect(), next)
    }

    /// All entries, in no order.
    pub(crate) fn iter(&self, now: Instant) -> impl Iterator<Item = Neighbour> {
        self.entries.iter().map(move |entry| entry.neighbour(now))
    }

    pub(crate) fn statistics(&self) -> NeighbourStatistics {
        NeighbourStatistics {
            incomplete: self.entries.count(NeighbourState::Incomplete),
            reachable: self.entries.count(NeighbourState::Reachable),
            stale: self.entries.count(NeighbourState::Stale),
            probe: self.entries.count(NeighbourState::Probe),
            failed: self.entries.count(NeighbourState::Failed),
            waiting: self.waiting.len(),
            ..self.events
        }
    }

    /// The timer of an entry has gone off.
    fn expire(&mut self, index: u32, now: Instant, out: &mut Vec<Action<P>>) {
        let Entry { key, state } = *self.entries.get(index);
        let again = now + RETRANS_TIMER;
        match state {
            State::Incomplete { since, sent, failures } if sent < MAX_MULTICAST_SOLICIT => {
                self.change(index, State::Incomplete { since, sent: sent + 1, failures }, again);
                out.push(Action::SolicitAll(key));
            }
            State::Incomplete { failures, .. } => {
                let failures = failures.saturating_add(1);
                let forgotten = now + backoff(failures) + FAILURE_MEMORY;
                self.change(index, State::Failed { since: now, failures }, forgotten);
                let packets = self.waiting.take(index, key.overlay);
                if !packets.is_empty() {
                    out.push(Action::Unreachable(key, packets));
                }
            }
            State::Failed { .. } => self.remove(index),
            State::Learned(Binding { phase: Phase::Probe(MAX_UNICAST_SOLICIT), .. }) => {
                self.unbind(index, out);
            }
            State::Learned(binding) => {
                let sent = if let Phase::Probe(sent) = binding.phase { sent } else { 0 };
                let probed = Binding { phase: Phase::Probe(sent + 1), ..binding };
                self.change(index, State::Learned(probed), again);
                out.push(Action::Probe(key, binding.mac));
            }
        }
    }

    fn first_solicitation(now: Instant, failures: u8) -> State {
        State::Incomplete { since: now, sent: 1, failures }
    }

    fn wait(&mut self, index: u32, key: NeighbourKey, packet: P) {
        match self.waiting.push(index, key.overlay, packet, &self.limits) {
            Admission::Waits => {}
            Admission::InPlaceOfOldest => self.events.displaced += 1,
            Admission::Refused => self.events.refused_waiting += 1,
        }
    }

    /// Lets go what waits for an entry.
    pub(super) fn release(&mut self, index: u32, key: NeighbourKey, mac: MacAddr, out: &mut Vec<Action<P>>) {
        let packets = self.waiting.take(index, key.overlay);
        if !packets.is_empty() {
            out.push(Action::Release(key, mac, packets));
        }
    }

    /// Whether one more incomplete entry may be; a failed one may have to give way.
    fn make_room_for_unresolved(&mut self, key: NeighbourKey) -> bool {
        if self.unresolved.of(key.overlay) >= self.limits.unresolved_per_overlay {
            let Some(oldest) = self.unresolved.oldest_failed_of(key.overlay) else {
                self.events.refused_by_overlay += 1;
                return false;
            };
            self.evict_failed(oldest);
        }
        if self.unresolved.total() >= self.limits.unresolved {
            let Some(oldest) = self.unresolved.oldest_failed() else {
                self.events.refused_unresolved += 1;
                return false;
            };
            self.evict_failed(oldest);
        }
        self.make_room()
    }

    /// Whether one more entry may be; a failed one may have to give way.
    pub(super) fn make_room(&mut self) -> bool {
        if self.entries.len() < self.limits.entries {
            return true;
        }
        let Some(oldest) = self.unresolved.oldest_failed() else {
            self.events.refused_full += 1;
            return false;
        };
        self.evict_failed(oldest);
        true
    }

    fn evict_failed(&mut self, index: u32) {
        self.remove(index);
        self.events.failed_evicted += 1;
    }

    /// The longest time that a binding may be without evidence before it is probed.
    pub(super) fn longest_lifetime(&self) -> Duration {
        self.limits.lifetime * 3 / 2
    }

    /// Removes an entry that has a MAC address.
    pub(super) fn unbind(&mut self, index: u32, out: &mut Vec<Action<P>>) {
        out.push(Action::Unbind(self.entries.get(index).key));
        self.remove(index);
    }

    /// Adds an entry under a key that has none, with a timer.
    pub(super) fn insert(&mut self, key: NeighbourKey, state: State, due: Instant) -> u32 {
        let index = self.entries.insert(key, state);
        self.enlist(index);
        self.timers.set(index, due);
        index
    }

    /// Gives an entry another state and timer.
    pub(super) fn change(&mut self, index: u32, state: State, due: Instant) {
        let before = self.entries.get(index).state;
        // A station's addresses are in the order of their evidence: a probe changes nothing in it.
        let same_place = matches!((before, state), (State::Learned(before), State::Learned(after))
            if before.mac == after.mac && before.heard == after.heard);
        if !same_place {
            self.delist(index);
        }
        self.entries.set_state(index, state);
        if !same_place {
            self.enlist(index);
        }
        self.timers.set(index, due);
    }

    fn remove(&mut self, index: u32) {
        self.delist(index);
        self.timers.clear(index);
        self.entries.remove(index);
    }

    /// Puts an entry where entries of its state are counted and listed.
    fn enlist(&mut self, index: u32) {
        let Entry { key, state } = *self.entries.get(index);
        match state {
            State::Incomplete { .. } => self.unresolved.add(key.overlay, index, None),
            State::Failed { since, .. } => self.unresolved.add(key.overlay, index, Some(since)),
            State::Learned(Binding { mac, heard, .. }) => {
                let entries = &self.entries;
                let is_younger = |other| match entries.get(other).state {
                    State::Learned(other) => other.heard > heard,
                    _ => false,
                };
                self.stations.add(key.overlay, mac, index, is_younger);
            }
        }
    }

    /// Undoes [`Self::enlist`].
    fn delist(&mut self, index: u32) {
        let Entry { key, state } = *self.entries.get(index);
        match state {
            State::Incomplete { .. } => self.unresolved.remove(key.overlay, index, None),
            State::Failed { since, .. } => self.unresolved.remove(key.overlay, index, Some(since)),
            State::Learned(Binding { mac, .. }) => self.stations.remove(key.overlay, mac, index),
        }
    }
}

/// How long an address is not asked for after so many failures in a row.
fn backoff(failures: u8) -> Duration {
    let doublings = u32::from(failures.saturating_sub(1)).min(8);
    Duration::from_secs(1 << doublings).min(MAX_BACKOFF)
}
