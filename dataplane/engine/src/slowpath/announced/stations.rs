//! What is announced of stations: which there are, and their addresses. No more than that: where they are is in the
//! flow table.

use std::net::{IpAddr, Ipv6Addr};

use foldhash::quality::RandomState;
use hashbrown::HashMap;
use wire::MacAddr;

use crate::tables::OverlayIndex;

const NONE: u32 = u32::MAX;

/// A station's MAC address in an overlay.
pub(in crate::slowpath) type StationKey = (OverlayIndex, MacAddr);

/// What is announced of one station.
#[derive(Clone, Copy, Debug)]
struct Station {
    /// The first of its addresses, in [`Stations::links`].
    first: u32,
    /// The configuration says where it is.
    is_configured: bool,
}

/// An address, and the next of its station. IPv4 addresses are mapped (RFC 4291 §2.5.5.2).
#[derive(Clone, Copy, Debug)]
struct Link {
    address: Ipv6Addr,
    next: u32,
}

/// All announced stations. One takes about 24 bytes and 20 for each address.
#[derive(Debug, Default)]
pub(super) struct Stations {
    stations: HashMap<StationKey, Station, RandomState>,
    links: Vec<Link>,
    /// The first of the links that are nobody's, chained too.
    free: Option<u32>,
    addresses: usize,
}

impl Stations {
    /// Stations, and their addresses.
    pub(super) fn len(&self) -> (usize, usize) {
        (self.stations.len(), self.addresses)
    }

    /// Whether the configuration says where an announced station is; `None`: it is not announced.
    pub(super) fn is_configured(&self, station: StationKey) -> Option<bool> {
        self.stations.get(&station).map(|station| station.is_configured)
    }

    /// Whether a station is announced.
    pub(super) fn contains(&self, station: StationKey) -> bool {
        self.stations.contains_key(&station)
    }

    /// A station is announced now.
    pub(super) fn insert(&mut self, station: StationKey, is_configured: bool) {
        self.stations.insert(station, Station { first: NONE, is_configured });
    }

    /// A station is announced no longer; whether it was configured.
    pub(super) fn remove(&mut self, station: StationKey) -> Option<bool> {
        let Station { first, is_configured } = self.stations.remove(&station)?;
        let mut index = first;
        while index != NONE {
            index = self.give(index);
        }
        Some(is_configured)
    }

    /// A station's addresses, the newest first.
    pub(super) fn addresses_of(&self, station: StationKey) -> impl Iterator<Item = IpAddr> {
        let link = |index: u32| self.links.get(index as usize);
        let first = self.stations.get(&station).and_then(|station| link(station.first));
        std::iter::successors(first, move |before| link(before.next)).map(|link| link.address.to_canonical())
    }

    /// Whether an address is announced to be a station's.
    pub(super) fn has(&self, station: StationKey, address: IpAddr) -> bool {
        self.addresses_of(station).any(|other| other == address)
    }

    /// Adds an address, which an announced station did not have.
    pub(super) fn add(&mut self, station: StationKey, address: IpAddr) {
        let Some(station) = self.stations.get_mut(&station) else { return };
        let link = Link { address: mapped(address), next: station.first };
        station.first = match self.free {
            Some(index) => {
                let place = &mut self.links[index as usize];
                self.free = Some(place.next).filter(|next| *next != NONE);
                *place = link;
                index
            }
            None => {
                self.links.push(link);
                (self.links.len() - 1) as u32
            }
        };
        self.addresses += 1;
    }

    /// Takes an address out; whether it was there.
    pub(super) fn take(&mut self, station: StationKey, address: IpAddr) -> bool {
        let Some(Station { first, .. }) = self.stations.get(&station).copied() else { return false };
        let address = mapped(address);
        let (mut before, mut index) = (NONE, first);
        while let Some(link) = self.links.get(index as usize) {
            if link.address == address {
                let next = self.give(index);
                match self.links.get_mut(before as usize) {
                    Some(before) => before.next = next,
                    None => _ = self.stations.get_mut(&station).map(|station| station.first = next),
                }
                return true;
            }
            (before, index) = (index, link.next);
        }
        false
    }

    /// Makes a link nobody's; the one after it.
    fn give(&mut self, index: u32) -> u32 {
        let next = std::mem::replace(&mut self.links[index as usize].next, self.free.unwrap_or(NONE));
        self.free = Some(index);
        self.addresses -= 1;
        next
    }
}

fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_and_go_and_their_room_is_used_again() {
        let mut stations = Stations::default();
        let key = |number| (OverlayIndex(number), MacAddr([2, 0, 0, 0, 0, 1]));
        let address = |n: u8| IpAddr::from([10, 0, 0, n]);
        for overlay in 0..2 {
            stations.insert(key(overlay), false);
            (0..4).for_each(|n| stations.add(key(overlay), address(n)));
        }
        for gone in [1, 3, 0] {
            assert!(stations.take(key(0), address(gone)) && !stations.take(key(0), address(gone)));
        }
        assert_eq!(stations.addresses_of(key(0)).collect::<Vec<_>>(), [address(2)]);
        assert_eq!(stations.addresses_of(key(1)).count(), 4);
        stations.add(key(0), "fe80::1".parse().unwrap());
        assert!(stations.has(key(0), "fe80::1".parse().unwrap()) && !stations.has(key(1), address(9)));
        assert_eq!(stations.remove(key(1)), Some(false));
        assert_eq!((stations.len(), stations.links.len()), ((1, 2), 8));
        (10..16).for_each(|n| stations.add(key(0), address(n)));
        assert_eq!((stations.len(), stations.links.len()), ((1, 8), 8));
        assert!(stations.remove(key(1)).is_none());
    }
}
