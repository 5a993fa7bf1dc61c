//! The tables that packets are forwarded by: read by workers without locks, written by the slow-path thread alone.
//!
//! Readers hold a [`Snapshot`], an immutable value that is replaced as a whole; its parts are shared between snapshots,
//! so a change costs what it changes. Only MAC addresses of neighbours and ports change in place, a word each.

mod adjacency;
mod endpoint;
mod fib;
#[allow(dead_code, unused_imports)]
pub(crate) mod flow;
mod group;
mod lpm;
mod members;
mod multipath;
mod overlay;
pub(crate) mod rules;
mod shards;
mod way;
mod writer;

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use wire::MacAddr;

pub(crate) use adjacency::{Adjacency, MacCell};
pub(crate) use endpoint::{Endpoint, OuterHeader};
pub(crate) use fib::{Fib, never_forwarded};
pub(crate) use lpm::Lpm;
use members::Members;
pub(crate) use multipath::Multipath;
pub(crate) use overlay::{OverlayIndex, OverlayTable};
use rules::Rules;
pub(crate) use shards::{ShardRecord, ShardTable};
pub(crate) use way::{Onward, Way};
pub use writer::TablesError;
pub(crate) use writer::{NoEndpoint, NotPlaced, Writer};

use crate::api::{NextHop, PortConfig, PortIndex, Role};
use crate::pipeline::decapsulate::Outer;

/// All tables at one moment, but for the flow table and the overlays' members, which change in place.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) fixed: Arc<Fixed>,
    pub(crate) overlays: Arc<OverlayTable>,
    pub(crate) endpoints: Arc<EndpointTable>,
    pub(crate) members: Arc<Members>,
    pub(crate) fib: Arc<Fib>,
    /// Neighbours on the links of uplink ports.
    pub(crate) on_link: Arc<HashMap<NextHop, Arc<Adjacency>, RandomState>>,
    /// What may be forwarded out of overlays.
    pub(crate) rules: Arc<Rules>,
    /// The host's own addresses.
    pub(crate) host: Arc<HashSet<IpAddr, RandomState>>,
}

impl Snapshot {
    /// Whether an endpoint may send into an overlay.
    #[cold]
    pub(crate) fn admits(&self, overlay: OverlayIndex, endpoint: IpAddr) -> bool {
        self.endpoints.index_of(endpoint).is_some_and(|index| self.members.contains(overlay, index))
    }

    /// What the gateway sends from in an overlay: as its owner, or as itself.
    pub(crate) fn sender(&self, overlay: OverlayIndex) -> MacAddr {
        self.overlays.sender(overlay, self.fixed.router_mac)
    }

    /// Whether VXLAN of an overlay may have been sent where it was: to the gateway's own address, or that of the overlay's
    /// shard. Those of other shards are no way into the overlay.
    #[inline(always)]
    pub(crate) fn is_vtep_of(&self, overlay: OverlayIndex, outer: &Outer, frame: &[u8]) -> bool {
        !outer.is_to_shard || self.overlays.is_shard_vtep(overlay, outer.vtep(frame))
    }

    /// Addresses of the endpoints that take part in an overlay.
    pub(crate) fn members_of(&self, overlay: OverlayIndex) -> impl Iterator<Item = IpAddr> {
        let members: Vec<u16> = self.members.of(overlay).to_vec();
        members.into_iter().map(|index| self.endpoints.get(index).address)
    }
}

/// What does not change while the engine runs, but for the ports' MAC addresses and whether they are up.
#[derive(Debug)]
pub(crate) struct Fixed {
    pub(crate) ports: Vec<PortRecord>,
    pub(crate) router_mac: MacAddr,
    /// The router's link-local address in every overlay.
    pub(crate) router_link_local: Ipv6Addr,
    /// All VTEP addresses.
    pub(crate) vteps: Vec<IpAddr>,
    /// Addresses of the uplinks, each with its port.
    pub(crate) uplink_addresses: Vec<(PortIndex, IpAddr)>,
    pub(crate) blocks: Lpm<()>,
}

/// A port, as the pipeline sees it.
#[derive(Debug)]
pub(crate) struct PortRecord {
    pub(crate) role: Role,
    pub(crate) mac: MacCell,
    pub(crate) mtu: u16,
    is_up: AtomicBool,
}

impl PortRecord {
    fn new(port: &PortConfig) -> Self {
        let PortConfig { role, mac, mtu, .. } = *port;
        Self { role, mac: MacCell::new(Some(mac)), mtu, is_up: AtomicBool::new(true) }
    }

    /// Whether frames can leave by it, as far as control knows.
    #[inline]
    pub(crate) fn is_up(&self) -> bool {
        self.is_up.load(Ordering::Relaxed)
    }

    fn set_up(&self, is_up: bool) {
        self.is_up.store(is_up, Ordering::Relaxed);
    }
}

impl Fixed {
    /// The port's own MAC address.
    #[inline]
    pub(crate) fn port_mac(&self, port: PortIndex) -> MacAddr {
        self.ports[usize::from(port.0)].mac.get().unwrap_or_default()
    }

    #[inline]
    pub(crate) fn port(&self, port: PortIndex) -> &PortRecord {
        &self.ports[usize::from(port.0)]
    }
}

/// Endpoints by index, and the index by address.
#[derive(Clone, Debug)]
pub(crate) struct EndpointTable {
    endpoints: Vec<Endpoint>,
    by_address: HashMap<IpAddr, u16, RandomState>,
    /// What an index leads to that is nobody's yet, or no longer.
    nobody: Endpoint,
}

impl EndpointTable {
    pub(crate) fn build(endpoints: Vec<Endpoint>) -> Self {
        let by_address =
            endpoints.iter().enumerate().map(|(index, endpoint)| (endpoint.address, index as u16)).collect();
        Self { endpoints, by_address, nobody: Endpoint::nobody() }
    }

    /// The endpoint. That of an index that these tables do not know, because they are older than the flow that it was
    /// found in, is one that nothing comes from or goes to.
    #[inline]
    pub(crate) fn get(&self, index: u16) -> &Endpoint {
        self.endpoints.get(usize::from(index)).unwrap_or(&self.nobody)
    }

    /// Hints that the endpoint will be read.
    #[inline]
    pub(crate) fn prefetch(&self, index: u16) {
        if let Some(endpoint) = self.endpoints.get(usize::from(index)) {
            sys::prefetch::read(endpoint);
            sys::prefetch::read(&endpoint.outer);
        }
    }

    pub(crate) fn index_of(&self, address: IpAddr) -> Option<u16> {
        self.by_address.get(&address).copied()
    }

    /// All endpoints.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Endpoint> {
        self.by_address.values().map(|index| self.get(*index))
    }

    /// How many indices have been in use.
    fn len(&self) -> usize {
        self.endpoints.len()
    }

    /// An index that was never in use.
    fn unused(&self) -> Option<u16> {
        u16::try_from(self.endpoints.len()).ok().filter(|index| *index < u16::MAX)
    }

    /// Puts an endpoint under an index that is nobody's.
    fn insert(&mut self, index: u16, endpoint: Endpoint) {
        self.by_address.insert(endpoint.address, index);
        match self.endpoints.get_mut(usize::from(index)) {
            Some(place) => *place = endpoint,
            None => self.endpoints.push(endpoint),
        }
    }

    fn remove(&mut self, index: u16) {
        let gone = std::mem::replace(&mut self.endpoints[usize::from(index)], Endpoint::nobody());
        self.by_address.remove(&gone.address);
    }

    pub(crate) fn set_way(&mut self, address: IpAddr, way: Way) {
        if let Some(index) = self.index_of(address) {
            self.endpoints[usize::from(index)].way = way;
        }
    }
}
