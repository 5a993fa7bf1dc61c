//! Stations, found by (VNI, MAC) as senders and by (VNI, IP) as receivers.
//!
//! A plain table, replaced whole. What reads it asks only `by_mac` and `by_address`.

use std::net::IpAddr;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use wire::{MacAddr, Vni};

use crate::api::Station;

/// What the pipeline needs to know of a station.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StationRecord {
    pub(crate) mac: MacAddr,
    /// Index of its endpoint in the endpoint table.
    pub(crate) endpoint: u32,
}

/// All stations of all overlays.
#[derive(Debug)]
pub(crate) struct StationTable {
    records: Vec<StationRecord>,
    by_mac: HashMap<(Vni, MacAddr), u32, RandomState>,
    by_address: HashMap<(Vni, IpAddr), u32, RandomState>,
}

impl StationTable {
    /// Stations whose endpoint has no index are left out.
    pub(crate) fn build(stations: &[Station], endpoint_index: impl Fn(IpAddr) -> Option<u32>) -> Self {
        let mut table = Self {
            records: Vec::with_capacity(stations.len()),
            by_mac: HashMap::with_capacity_and_hasher(stations.len(), RandomState::default()),
            by_address: HashMap::with_capacity_and_hasher(stations.len(), RandomState::default()),
        };
        for station in stations {
            let Some(endpoint) = endpoint_index(station.endpoint) else { continue };
            let index = table.records.len() as u32;
            table.records.push(StationRecord { mac: station.mac, endpoint });
            table.by_mac.insert((station.vni, station.mac), index);
            for address in &station.addresses {
                table.by_address.insert((station.vni, *address), index);
            }
        }
        table
    }

    #[inline]
    pub(crate) fn by_mac(&self, vni: Vni, mac: MacAddr) -> Option<&StationRecord> {
        self.by_mac.get(&(vni, mac)).map(|index| &self.records[*index as usize])
    }

    #[inline]
    pub(crate) fn by_address(&self, vni: Vni, address: IpAddr) -> Option<&StationRecord> {
        self.by_address.get(&(vni, address)).map(|index| &self.records[*index as usize])
    }

    /// The stations, as they were given.
    pub(crate) fn list(&self, endpoint_address: impl Fn(u32) -> IpAddr) -> Vec<Station> {
        let mut addresses: Vec<Vec<IpAddr>> = vec![Vec::new(); self.records.len()];
        for ((_, address), index) in &self.by_address {
            addresses[*index as usize].push(*address);
        }
        let mut list: Vec<Station> = self
            .by_mac
            .iter()
            .map(|((vni, mac), index)| {
                let mut addresses = std::mem::take(&mut addresses[*index as usize]);
                addresses.sort_unstable();
                let endpoint = endpoint_address(self.records[*index as usize].endpoint);
                Station { vni: *vni, mac: *mac, endpoint, addresses }
            })
            .collect();
        list.sort_unstable_by_key(|station| (station.vni, station.mac));
        list
    }
}
