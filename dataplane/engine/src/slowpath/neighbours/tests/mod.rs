//! The cache in virtual time.

mod aging;
mod hostile;
mod learning;
mod limits;
mod model;
mod resolution;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use super::*;
use crate::api::{DEFAULT_ADDRESSES_PER_STATION, NeighbourStatistics};

const LIMIT: usize = DEFAULT_ADDRESSES_PER_STATION as usize;

const REPLY: Evidence = Evidence::Reply { override_: true };
const REQUEST: Evidence = Evidence::Request;
const ANNOUNCEMENT: Evidence = Evidence::Announcement { override_: true };

/// Longer than a solicitation waits for its answer, by less than the next takes.
const RETRANSMISSION: Duration = Duration::from_millis(1100);

fn key_in(overlay: u32, address: impl Into<IpAddr>) -> NeighbourKey {
    NeighbourKey { overlay: OverlayIndex(overlay), address: address.into() }
}

fn v4(number: u32) -> NeighbourKey {
    key_in(1, Ipv4Addr::from_bits(0x0a00_0000 + number))
}

fn v6(number: u32) -> NeighbourKey {
    key_in(1, Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(number)))
}

fn mac(number: u32) -> MacAddr {
    let [a, b, c, d] = number.to_be_bytes();
    MacAddr([2, 0, a, b, c, d])
}

/// A cache and its clock. Packets are numbers.
struct Simulation {
    neighbours: Neighbours<u32>,
    now: Instant,
}

impl Simulation {
    fn new() -> Self {
        Self::with(Limits { entries: 100_000, ..Limits::default() })
    }

    fn with(limits: Limits) -> Self {
        let now = Instant::now();
        Self { neighbours: Neighbours::new(limits, 7, now), now }
    }

    /// What comes out of a call.
    fn out(
        &mut self,
        call: impl FnOnce(&mut Neighbours<u32>, Instant, &mut Vec<Action<u32>>),
    ) -> Vec<Action<u32>> {
        let mut out = Vec::new();
        call(&mut self.neighbours, self.now, &mut out);
        out
    }

    fn resolve(&mut self, key: NeighbourKey, packet: u32) -> Vec<Action<u32>> {
        self.out(|neighbours, now, out| neighbours.resolve(key, packet, now, out))
    }

    fn heard(&mut self, key: NeighbourKey, mac: MacAddr, evidence: Evidence) -> Vec<Action<u32>> {
        self.out(|neighbours, now, out| neighbours.heard(key, mac, evidence, LIMIT, now, out))
    }

    fn import(&mut self, key: NeighbourKey, mac: MacAddr, age: Duration) -> Vec<Action<u32>> {
        self.out(|neighbours, now, out| neighbours.import(key, mac, age, LIMIT, now, out))
    }

    /// Time passes, and whatever is due is done.
    fn pass(&mut self, time: Duration) -> Vec<Action<u32>> {
        let mut out = Vec::new();
        let end = self.now + time;
        while let Some(deadline) = self.neighbours.next_deadline().filter(|&deadline| deadline <= end) {
            self.now = self.now.max(deadline);
            self.neighbours.poll(self.now, &mut out);
        }
        self.now = end;
        out
    }

    fn seconds(&mut self, seconds: u64) -> Vec<Action<u32>> {
        self.pass(Duration::from_secs(seconds))
    }

    fn neighbour(&self, key: NeighbourKey) -> Option<Neighbour> {
        self.neighbours.iter(self.now).find(|neighbour| neighbour.key == key)
    }

    fn state(&self, key: NeighbourKey) -> Option<NeighbourState> {
        self.neighbour(key).map(|neighbour| neighbour.state)
    }

    fn statistics(&self) -> NeighbourStatistics {
        self.neighbours.statistics()
    }

    /// An address that has failed so many times in a row, just now.
    fn fail(&mut self, key: NeighbourKey) -> Vec<Action<u32>> {
        let mut out = self.resolve(key, 0);
        while self.state(key) == Some(NeighbourState::Incomplete) {
            out.extend(self.pass(Duration::from_millis(100)));
        }
        out
    }
}
