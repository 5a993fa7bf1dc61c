//! What stations and other gateways say: new bindings, confirmed ones, and changes of the MAC address.

use std::time::{Duration, Instant};

use wire::MacAddr;

use super::cache::Neighbours;
use super::entries::{Binding, Phase, State};
use super::{ARP_LOCK_TIME, Action, DELAY_FIRST_PROBE_TIME, Evidence, NeighbourKey};

impl<P> Neighbours<P> {
    /// ARP or ND from `mac`, which is known in the overlay, says that it has this address. The station may have
    /// `limit` learned addresses: the one that was confirmed least recently gives way.
    ///
    /// Duplicate address detection (sender 0.0.0.0 or ::) is no evidence: it must not come here.
    pub(crate) fn heard(
        &mut self,
        key: NeighbourKey,
        mac: MacAddr,
        evidence: Evidence,
        limit: usize,
        now: Instant,
        out: &mut Vec<Action<P>>,
    ) {
        let is_reply = matches!(evidence, Evidence::Reply { .. });
        let phase = if is_reply { Phase::Reachable } else { Phase::Stale };
        let Some(index) = self.entries.find(key) else {
            // Nothing was asked, so that a reply is worth no more than an announcement (RFC 9131 §6.1.1).
            let binding = Binding { mac, heard: now, phase: Phase::Stale };
            let due = now + self.random_lifetime();
            self.learn(None, key, binding, due, limit, out);
            return;
        };
        match self.entries.get(index).state {
            State::Incomplete { .. } | State::Failed { .. } => {
                let due = now + self.random_lifetime();
                self.learn(Some(index), key, Binding { mac, heard: now, phase }, due, limit, out);
            }
            State::Learned(binding) if binding.mac == mac => {
                // What is reachable stays so, whatever the evidence (RFC 4861 appendix C).
                let reachable = is_reply || binding.phase == Phase::Reachable;
                let phase = if reachable { Phase::Reachable } else { Phase::Stale };
                let due = now + self.random_lifetime();
                self.change(index, State::Learned(Binding { mac, heard: now, phase }), due);
            }
            State::Learned(binding) if takes_over(key, evidence, binding, now) => {
                let due = now + if is_reply { self.random_lifetime() } else { DELAY_FIRST_PROBE_TIME };
                if self.learn(Some(index), key, Binding { mac, heard: now, phase }, due, limit, out) {
                    self.events.moved += 1;
                }
            }
            State::Learned(binding) => {
                self.events.conflicts += 1;
                // An advertisement without the O flag puts the binding in doubt (RFC 4861 §7.2.5): its station is
                // asked whether it still has the address.
                if key.address.is_ipv6() && binding.phase == Phase::Reachable {
                    let doubtful = State::Learned(Binding { phase: Phase::Stale, ..binding });
                    self.change(index, doubtful, now + DELAY_FIRST_PROBE_TIME);
                }
            }
        }
    }

    /// A binding that another gateway learned `age` ago, if it is younger than what is known here. It is stale, and
    /// probed soon: within half a lifetime, so that many are spread over time. A station that has `limit` learned
    /// addresses gets no other by this.
    pub(crate) fn import(
        &mut self,
        key: NeighbourKey,
        mac: MacAddr,
        age: Duration,
        limit: usize,
        now: Instant,
        out: &mut Vec<Action<P>>,
    ) {
        let Some(heard) = now.checked_sub(age).filter(|_| age < self.longest_lifetime()) else { return };
        let index = self.entries.find(key);
        let known = index.map(|index| self.entries.get(index).state);
        let imported = Binding { mac, heard, phase: Phase::Stale };
        let due = now + self.limits.lifetime.mul_f64(self.random.f64() / 2.0);
        match (index, known) {
            (_, Some(State::Learned(known))) if known.heard >= heard => {}
            (Some(index), Some(State::Learned(known))) if known.mac == mac => {
                self.change(index, State::Learned(imported), due);
            }
            _ if self.stations.count(key.overlay, mac) >= limit => self.events.refused_by_station += 1,
            _ => _ = self.learn(index, key, imported, due, limit, out),
        }
    }

    /// Binds an address, known by `index` or not yet, to a MAC address that it did not have. Whether there was room.
    fn learn(
        &mut self,
        index: Option<u32>,
        key: NeighbourKey,
        binding: Binding,
        due: Instant,
        limit: usize,
        out: &mut Vec<Action<P>>,
    ) -> bool {
        // More than one only if the limit was lowered.
        while self.stations.count(key.overlay, binding.mac) >= limit {
            let Some(oldest) = self.stations.oldest(key.overlay, binding.mac) else {
                self.events.refused_by_station += 1;
                return false;
            };
            self.unbind(oldest, out);
            self.events.evicted += 1;
        }
        let state = State::Learned(binding);
        let index = match index {
            Some(index) => {
                self.change(index, state, due);
                index
            }
            None if self.make_room() => self.insert(key, state, due),
            None => return false,
        };
        out.push(Action::Bind(key, binding.mac));
        self.release(index, key, binding.mac, out);
        true
    }

    /// How long a binding is believed, drawn anew each time, so that bindings that came together do not end together.
    fn random_lifetime(&mut self) -> Duration {
        self.limits.lifetime.mul_f64(0.5 + self.random.f64())
    }
}

/// Whether the evidence gives an address that has a MAC address to another.
fn takes_over(key: NeighbourKey, evidence: Evidence, known: Binding, now: Instant) -> bool {
    match evidence {
        Evidence::Announcement { override_: true } => true,
        _ if key.address.is_ipv4() => now.saturating_duration_since(known.heard) >= ARP_LOCK_TIME,
        // RFC 4861 §7.2.3 and §7.2.5.
        Evidence::Request => true,
        Evidence::Reply { override_ } | Evidence::Announcement { override_ } => override_,
    }
}
