//! The single writer of the tables.

mod endpoints;
mod stations;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use ipnet::IpNet;
use sys::pages::Pages;
use thiserror::Error;
use wire::Vni;

use super::flow::{self, Flow, FlowKey, TableFull};
use super::members::{Members, Set};
use super::{
    Adjacency, Endpoint, EndpointTable, Fib, Fixed, Lpm, MacCell, Multipath, OuterHeader, OverlayTable,
    PortRecord, ShardTable, Snapshot, Way, never_forwarded, rules::Rules,
};
use crate::api::{
    Config, Group, MAX_SHARDS, NextHop, Overlay, Path, PortIndex, Responsibility, Shard, Update,
};
use crate::limit;
use endpoints::Indices;
pub(crate) use endpoints::NoEndpoint;
pub(crate) use stations::NotPlaced;

/// Most neighbours that are remembered. Control keeps no more in use; the bound is against its mistakes.
const MAX_NEIGHBOURS: usize = 16_384;

/// Why there are no tables.
#[derive(Debug, Error)]
pub enum TablesError {
    /// More endpoints than an index holds.
    #[error("{0} endpoints are configured, and the tables hold {max}: use fewer", max = u16::MAX)]
    Endpoints(usize),
    /// More shards than there may be.
    #[error("{0} shards are configured, and there may be {max}: use fewer", max = MAX_SHARDS)]
    Shards(usize),
    /// An address that two shards have, or a shard and the gateway.
    #[error(
        "{0} is an address of two shards, or of the gateway itself: give each shard addresses of its own"
    )]
    ShardAddress(IpAddr),
    /// An overlay in a shard that there is not.
    #[error("overlay {vni} is in shard {shard}, and there are only {shards}, from 0 on")]
    NoShard {
        /// The overlay.
        vni: Vni,
        /// Where it is to be.
        shard: u16,
        /// How many there are.
        shards: usize,
    },
    /// More stations and addresses than there is room for.
    #[error("the stations and their addresses do not fit the tables' {0} entries: raise max-flows")]
    Full(u32),
    /// No memory.
    #[error("no memory for the tables: {0}")]
    Memory(#[from] io::Error),
}

/// Applies updates, and publishes what came of them.
pub(crate) struct Writer {
    published: Arc<ArcSwap<Snapshot>>,
    current: Snapshot,
    changed: bool,
    /// How often tables were published.
    publications: u64,
    /// Tables that workers may still read, by their numbers.
    replaced: Vec<(u64, Arc<Snapshot>)>,
    /// The same of members.
    replaced_members: Vec<Set>,
    indices: Indices,
    endpoints_changed: bool,
    neighbours: HashMap<NextHop, Arc<Adjacency>, RandomState>,
    multipaths: HashMap<Box<[Path]>, Arc<Multipath>, RandomState>,
    flows: flow::FlowWriter,
    max_flows: usize,
    /// Those of one station, on their way in; kept for its memory.
    entries: Vec<(FlowKey, Flow)>,
    /// The routes as control last gave them.
    routes: Vec<(IpNet, Way)>,
    /// Prefixes that no route may lead to, the host's own addresses left out.
    local: Vec<IpNet>,
}

impl Writer {
    /// The tables at start, what the configuration says and no routes; and where workers get their look at the flow
    /// table, of which there may be `readers`.
    pub(crate) fn new(config: Config, readers: usize) -> Result<(Self, flow::FlowReaders), TablesError> {
        let vteps = config.vteps;
        let uplink_addresses = (0..)
            .map(PortIndex)
            .zip(&config.ports)
            .filter(|(_, port)| port.role.is_uplink())
            .flat_map(|(index, port)| port.addresses.iter().map(move |&address| (index, address)))
            .collect();
        let shards = shards(&config.overlays, config.shards, &vteps)?;
        let overlays = OverlayTable::build(config.overlays, shards);
        // An endpoint of a family in which we have no VTEP address can be neither sender nor receiver.
        let mut addresses: Vec<_> = overlays.endpoints().into_iter().collect();
        // So that they are flooded to in this order.
        addresses.sort_unstable();
        let endpoints: Vec<Endpoint> = addresses
            .into_iter()
            .filter_map(|address| {
                let outer = OuterHeader::new(&vteps, address)?;
                Some(Endpoint { address, way: Way::Reject, outer })
            })
            .collect();
        if endpoints.len() > usize::from(u16::MAX) {
            return Err(TablesError::Endpoints(endpoints.len()));
        }
        let ports = config.ports.iter().map(PortRecord::new).collect();
        let addresses = vteps.iter().copied().chain(overlays.shards.all_addresses()).map(IpNet::from);
        let local = config.blocks.iter().copied().chain(addresses).chain(never_forwarded()).collect();
        let fixed = Fixed {
            ports,
            router_mac: config.router_mac,
            router_link_local: config.router_mac.link_local(),
            vteps,
            uplink_addresses,
            blocks: Lpm::build(config.blocks.into_iter().map(|block| (block, ()))),
        };
        let endpoints = EndpointTable::build(endpoints);
        let members = Members::new(overlays.endpoint_sets(|address| endpoints.index_of(address)));
        let current = Snapshot {
            fixed: Arc::new(fixed),
            overlays: Arc::new(overlays),
            endpoints: Arc::new(endpoints),
            members: Arc::new(members),
            fib: Arc::new(Fib::build(&[], &[])),
            on_link: Arc::default(),
            rules: Arc::new(Rules::compile(&config.rules)),
            host: Arc::default(),
        };
        let (flows, flow_readers) =
            flow::flow_table(config.max_flows as usize, readers, flow::Secret::random())?;
        let mut writer = Self {
            published: Arc::new(ArcSwap::from_pointee(current.clone())),
            current,
            changed: false,
            publications: 0,
            replaced: Vec::new(),
            replaced_members: Vec::new(),
            indices: Indices::default(),
            endpoints_changed: false,
            neighbours: HashMap::default(),
            multipaths: HashMap::default(),
            flows,
            max_flows: config.max_flows as usize,
            entries: Vec::new(),
            routes: Vec::new(),
            local,
        };
        writer.rebuild_fib();
        writer.keep_configured_endpoints();
        for station in &config.stations {
            writer.set_station(station).map_err(|TableFull| TablesError::Full(config.max_flows))?;
        }
        writer.publish();
        Ok((writer, flow_readers))
    }

    /// Frees tables that nobody reads any more, and does a bounded step of the flow table's upkeep; whether there is
    /// more of that.
    pub(crate) fn maintain(&mut self) -> bool {
        self.replaced.retain(|(_, tables)| Arc::strong_count(tables) > 1);
        self.replaced_members.retain(|set| Arc::strong_count(set) > 1);
        self.flows.maintain()
    }

    /// Bytes of all tables.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.flows.memory_bytes() + self.current.overlays.memory_bytes()
    }

    /// What pages the records of the flow table are made of.
    pub(crate) fn record_pages(&self) -> Pages {
        self.flows.statistics().record_pages
    }

    fn rebuild_fib(&mut self) {
        let host = self.current.host.iter().map(|address| IpNet::from(*address));
        let local: Vec<IpNet> = self.local.iter().copied().chain(host).collect();
        self.current.fib = Arc::new(Fib::build(&self.routes, &local));
        self.changed = true;
    }

    /// Where readers find the tables.
    pub(crate) fn published(&self) -> &Arc<ArcSwap<Snapshot>> {
        &self.published
    }

    /// The tables as the writer sees them, what is not published yet included.
    pub(crate) fn current(&self) -> &Snapshot {
        &self.current
    }

    /// Takes an update in; readers see it after [`publish`](Self::publish) at the latest.
    pub(crate) fn apply(&mut self, update: Update) {
        match update {
            Update::Routes(routes) => {
                self.routes =
                    routes.into_iter().map(|route| (route.prefix, self.way(&route.paths))).collect();
                self.rebuild_fib();
                self.forget_unused();
            }
            Update::Endpoint { address, paths } => {
                // Unlike hosts of the outer network it is asked for before there is something for it.
                let to_it = |path: &Path| Path { gateway: Some(path.next_hop(address).address), ..*path };
                let paths: Vec<Path> = paths.iter().map(to_it).collect();
                let way = self.way(&paths);
                Arc::make_mut(&mut self.current.endpoints).set_way(address, way);
                self.changed = true;
                self.forget_unused();
            }
            Update::Neighbour { next_hop, mac } => self.set_neighbour(next_hop, mac),
            Update::HostAddresses(addresses) => {
                self.current.host = Arc::new(addresses.into_iter().collect());
                self.rebuild_fib();
            }
            // These change more than the tables.
            Update::Bindings(_) | Update::Announced(_) | Update::Responsibility(_) => {}
            Update::PortMac { port, mac } => {
                if let Some(port) = self.current.fixed.ports.get(usize::from(port.0)) {
                    port.mac.set(Some(mac));
                }
            }
            Update::PortState { port, is_up } => {
                if let Some(port) = self.current.fixed.ports.get(usize::from(port.0)) {
                    port.set_up(is_up);
                }
            }
        }
    }

    /// Takes over what this gateway is to a group, which workers see at once. Of a shard: whether it owned it before, and
    /// does now. What control says of groups that are not configured is nobody's here.
    pub(crate) fn set_responsibility(
        &mut self,
        group: Group,
        responsibility: Responsibility,
    ) -> Option<(bool, bool)> {
        let (overlays, now) = (&self.current.overlays, limit::now());
        match group {
            Group::Shard(shard) => overlays.shards.set(shard, responsibility, now),
            Group::Overlay(vni) => {
                overlays.set(overlays.by_vni(vni)?, responsibility, now);
                None
            }
        }
    }

    /// Lets readers see all that was applied.
    pub(crate) fn publish(&mut self) {
        if std::mem::take(&mut self.changed) {
            self.forget_unused();
            // A worker that lets go of the last reference would free whole tables on the packet path.
            let before = self.published.swap(Arc::new(self.current.clone()));
            self.replaced.push((self.publications, before));
            self.publications += 1;
        }
    }

    fn set_neighbour(&mut self, next_hop: NextHop, mac: Option<wire::MacAddr>) {
        let uplink =
            self.current.fixed.ports.get(usize::from(next_hop.port.0)).map(|port| port.role.is_uplink());
        let Some(uplink) = uplink else { return };
        match mac {
            Some(_) => {
                let Some(adjacency) = self.adjacency(next_hop) else { return };
                adjacency.mac.set(mac);
                if uplink && !self.current.on_link.contains_key(&next_hop) {
                    Arc::make_mut(&mut self.current.on_link).insert(next_hop, adjacency);
                    self.changed = true;
                }
            }
            None => {
                if let Some(adjacency) = self.neighbours.get(&next_hop) {
                    adjacency.mac.set(None);
                }
                if self.current.on_link.contains_key(&next_hop) {
                    Arc::make_mut(&mut self.current.on_link).remove(&next_hop);
                    self.changed = true;
                }
                self.forget_unused();
            }
        }
    }

    /// The way of these paths. Those with the same paths share it.
    fn way(&mut self, paths: &[Path]) -> Way {
        match paths {
            [] => Way::Reject,
            [Path { port, gateway: None, .. }] => Way::OnLink(*port),
            [Path { port, gateway: Some(address), .. }] => {
                let next_hop = NextHop { port: *port, address: *address };
                self.adjacency(next_hop).map_or(Way::Reject, Way::Via)
            }
            several => {
                if let Some(multipath) = self.multipaths.get(several) {
                    return Way::Multipath(Arc::clone(multipath));
                }
                let multipath = Arc::new(Multipath::new(several, |next_hop| self.adjacency(next_hop)));
                self.multipaths.insert(several.into(), Arc::clone(&multipath));
                Way::Multipath(multipath)
            }
        }
    }

    /// The adjacency of a neighbour, made if need be; `None` if there are too many.
    fn adjacency(&mut self, next_hop: NextHop) -> Option<Arc<Adjacency>> {
        if let Some(adjacency) = self.neighbours.get(&next_hop) {
            return Some(Arc::clone(adjacency));
        }
        if self.neighbours.len() >= MAX_NEIGHBOURS {
            return None;
        }
        let adjacency = Arc::new(Adjacency { port: next_hop.port, mac: MacCell::new(None) });
        self.neighbours.insert(next_hop, Arc::clone(&adjacency));
        Some(adjacency)
    }

    /// Forgets neighbours that nothing leads to. A snapshot that a worker still reads keeps its own alive.
    fn forget_unused(&mut self) {
        self.multipaths.retain(|_, multipath| Arc::strong_count(multipath) > 1);
        self.neighbours
            .retain(|_, adjacency| Arc::strong_count(adjacency) > 1 || adjacency.mac.get().is_some());
    }
}

/// The shards, and that each overlay's is one of them.
fn shards(overlays: &[Overlay], shards: Vec<Shard>, vteps: &[IpAddr]) -> Result<ShardTable, TablesError> {
    if shards.len() > MAX_SHARDS {
        return Err(TablesError::Shards(shards.len()));
    }
    let table = ShardTable::build(shards, vteps).map_err(TablesError::ShardAddress)?;
    let shards = table.len();
    for &Overlay { vni, shard, .. } in overlays {
        if let Some(shard) = shard.filter(|&shard| usize::from(shard) >= shards) {
            return Err(TablesError::NoShard { vni, shard, shards });
        }
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Route;
    use crate::testing;

    const MAC: wire::MacAddr = wire::MacAddr([2, 0, 0, 0, 9, 9]);

    fn router() -> NextHop {
        NextHop { port: PortIndex(1), address: "198.18.1.254".parse().unwrap() }
    }

    fn way_to(tables: &Snapshot, address: &str) -> Option<wire::MacAddr> {
        match tables.fib.lookup(address.parse().unwrap())? {
            Way::Via(adjacency) => adjacency.mac.get(),
            _ => None,
        }
    }

    #[test]
    fn readers_see_a_change_when_it_is_published_and_a_mac_at_once() {
        let (mut writer, _) = Writer::new(testing::config(), 1).unwrap();
        let reader = Arc::clone(writer.published());
        let before = reader.load_full();
        let paths = Arc::new([Path::via(router())]);
        let route = Route { prefix: "0.0.0.0/0".parse().unwrap(), paths };
        writer.apply(Update::Routes(vec![route]));
        writer.apply(Update::Neighbour { next_hop: router(), mac: Some(MAC) });
        assert!(Arc::ptr_eq(&before, &reader.load_full()));
        writer.publish();
        let after = reader.load_full();
        assert_eq!(way_to(&after, "203.0.113.1"), Some(MAC));
        assert!(before.fib.lookup("203.0.113.1".parse().unwrap()).is_none());
        let other = wire::MacAddr([2, 0, 0, 0, 8, 8]);
        writer.apply(Update::Neighbour { next_hop: router(), mac: Some(other) });
        assert_eq!(way_to(&after, "203.0.113.1"), Some(other), "a new MAC needs no new snapshot");
        writer.apply(Update::Neighbour { next_hop: router(), mac: None });
        assert_eq!(way_to(&after, "203.0.113.1"), None);
    }

    #[test]
    fn a_neighbour_may_be_known_before_the_route_through_it() {
        let (mut writer, _) = Writer::new(testing::config(), 1).unwrap();
        writer.apply(Update::Neighbour { next_hop: router(), mac: Some(MAC) });
        let paths = Arc::new([Path::via(router())]);
        let route = Route { prefix: "::/0".parse().unwrap(), paths };
        writer.apply(Update::Routes(vec![route]));
        writer.publish();
        assert_eq!(way_to(&writer.published().load_full(), "2001:db8::1"), Some(MAC));
    }

    #[test]
    fn neighbours_are_bounded_and_forgotten() {
        let (mut writer, _) = Writer::new(testing::config(), 1).unwrap();
        let neighbour = |n: u32| NextHop {
            port: PortIndex(1),
            address: std::net::Ipv4Addr::from_bits(0xc612_0000 + n).into(),
        };
        for n in 0..MAX_NEIGHBOURS as u32 + 10 {
            writer.apply(Update::Neighbour { next_hop: neighbour(n), mac: Some(MAC) });
        }
        assert_eq!(writer.neighbours.len(), MAX_NEIGHBOURS);
        for n in 0..MAX_NEIGHBOURS as u32 + 10 {
            writer.apply(Update::Neighbour { next_hop: neighbour(n), mac: None });
        }
        assert!(writer.neighbours.is_empty() && writer.current.on_link.is_empty());
    }

    #[test]
    fn tables_that_are_read_are_freed_by_the_writer() {
        let (mut writer, _) = Writer::new(testing::config(), 1).unwrap();
        let reader = writer.published().load_full();
        writer.apply(Update::HostAddresses(vec!["192.0.2.1".parse().unwrap()]));
        writer.publish();
        writer.maintain();
        assert_eq!(writer.replaced.len(), 1);
        drop(reader);
        writer.maintain();
        assert!(writer.replaced.is_empty());
    }
}
