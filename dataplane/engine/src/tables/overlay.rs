//! Overlays, found by VNI from the underlay and by prefix from the uplink.

use std::net::{IpAddr, Ipv6Addr};

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use wire::Vni;

use super::lpm::Lpm;
use crate::api::{Overlay, Subnet};

/// Index of an overlay in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OverlayIndex(u32);

/// All overlays.
#[derive(Debug)]
pub(crate) struct OverlayTable {
    overlays: Vec<Overlay>,
    by_vni: HashMap<Vni, OverlayIndex, RandomState>,
    by_prefix: Lpm<OverlayIndex>,
    /// Admission by endpoint: sets are shared by many overlays, so each distinct list is one set.
    endpoint_sets: Vec<HashSet<IpAddr, RandomState>>,
    set_of: Vec<u32>,
}

impl OverlayTable {
    pub(crate) fn build(overlays: Vec<Overlay>) -> Self {
        let mut endpoint_sets: Vec<HashSet<IpAddr, RandomState>> = Vec::new();
        let mut set_by_list: HashMap<&[IpAddr], u32, RandomState> = HashMap::default();
        let mut set_by_pointer: HashMap<*const IpAddr, u32, RandomState> = HashMap::default();
        let set_of = overlays
            .iter()
            .map(|overlay| {
                // Overlays of one configuration block share the list itself: its content is hashed once.
                *set_by_pointer.entry(overlay.endpoints.as_ptr()).or_insert_with(|| {
                    *set_by_list.entry(&overlay.endpoints).or_insert_with(|| {
                        endpoint_sets.push(overlay.endpoints.iter().copied().collect());
                        (endpoint_sets.len() - 1) as u32
                    })
                })
            })
            .collect();
        drop(set_by_list);
        let index_of = |(index, overlay): (usize, &Overlay)| (overlay.vni, OverlayIndex(index as u32));
        let by_vni = overlays.iter().enumerate().map(index_of).collect();
        let by_prefix = Lpm::build(overlays.iter().enumerate().flat_map(|(index, overlay)| {
            overlay.subnets.iter().map(move |subnet| (subnet.prefix, OverlayIndex(index as u32)))
        }));
        Self { overlays, by_vni, by_prefix, endpoint_sets, set_of }
    }

    #[inline]
    pub(crate) fn by_vni(&self, vni: Vni) -> Option<OverlayIndex> {
        self.by_vni.get(&vni).copied()
    }

    /// The overlay that `address` lies in.
    #[inline]
    pub(crate) fn by_address(&self, address: IpAddr) -> Option<OverlayIndex> {
        self.by_prefix.lookup(address).copied()
    }

    #[inline]
    pub(crate) fn get(&self, index: OverlayIndex) -> &Overlay {
        &self.overlays[index.0 as usize]
    }

    /// Whether the endpoint may send into the overlay.
    #[inline]
    pub(crate) fn admits(&self, index: OverlayIndex, endpoint: IpAddr) -> bool {
        self.endpoint_sets[self.set_of[index.0 as usize] as usize].contains(&endpoint)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Overlay> {
        self.overlays.iter()
    }

    /// All endpoints of all overlays, each once.
    pub(crate) fn endpoints(&self) -> HashSet<IpAddr, RandomState> {
        self.endpoint_sets.iter().flatten().copied().collect()
    }
}

impl Overlay {
    /// The subnet that `address` lies in.
    #[inline]
    pub(crate) fn subnet_of(&self, address: IpAddr) -> Option<&Subnet> {
        self.subnets.iter().find(|subnet| subnet.prefix.contains(&address))
    }

    /// Whether `address` is the router's in this overlay; its link-local address is `link_local`.
    #[inline]
    pub(crate) fn is_router(&self, address: IpAddr, link_local: Ipv6Addr) -> bool {
        address == link_local || self.subnets.iter().any(|subnet| subnet.router == address)
    }
}
