//! The single writer of the tables.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::{
    Adjacency, Endpoint, EndpointTable, Fib, Fixed, Lpm, MacCell, OuterHeader, OverlayTable, PortRecord,
    Snapshot, StationTable, Way,
};
use crate::api::{Config, NextHop, Role, RouteTarget, Update};

/// Most neighbours that are remembered. Control keeps no more in use; the bound is against its mistakes.
const MAX_NEIGHBOURS: usize = 16_384;

/// Applies updates, and publishes what came of them.
pub(crate) struct Writer {
    published: Arc<ArcSwap<Snapshot>>,
    current: Snapshot,
    changed: bool,
    neighbours: HashMap<NextHop, Arc<Adjacency>, RandomState>,
}

impl Writer {
    /// The tables at start: what the configuration says, and no routes.
    pub(crate) fn new(config: Config) -> Self {
        let vteps: Vec<IpAddr> = config
            .ports
            .iter()
            .filter(|port| port.role == Role::Underlay)
            .flat_map(|port| port.addresses.iter().copied())
            .collect();
        let overlays = OverlayTable::build(config.overlays);
        // An endpoint of a family in which we have no VTEP address can be neither sender nor receiver.
        let endpoints = overlays
            .endpoints()
            .into_iter()
            .filter_map(|address| {
                let outer = OuterHeader::new(&vteps, address)?;
                Some(Endpoint { address, adjacency: None, outer })
            })
            .collect();
        let endpoints = EndpointTable::build(endpoints);
        let stations = StationTable::build(&config.stations, |address| endpoints.index_of(address));
        let ports = config
            .ports
            .iter()
            .map(|port| PortRecord { role: port.role, mac: MacCell::new(Some(port.mac)), mtu: port.mtu })
            .collect();
        let fixed = Fixed {
            ports,
            router_mac: config.router_mac,
            router_link_local: config.router_mac.link_local(),
            vteps,
            blocks: Lpm::build(config.blocks.into_iter().map(|block| (block, ()))),
        };
        let current = Snapshot {
            fixed: Arc::new(fixed),
            overlays: Arc::new(overlays),
            stations: Arc::new(stations),
            endpoints: Arc::new(endpoints),
            fib: Arc::new(Fib::new(Lpm::new())),
            on_link: Arc::default(),
            host: Arc::default(),
        };
        Self {
            published: Arc::new(ArcSwap::from_pointee(current.clone())),
            current,
            changed: false,
            neighbours: HashMap::default(),
        }
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
                let ways = routes
                    .into_iter()
                    .map(|route| {
                        let way = match route.target {
                            RouteTarget::Via(next_hop) => {
                                self.adjacency(next_hop).map_or(Way::Reject, Way::Via)
                            }
                            RouteTarget::OnLink(port) => Way::OnLink(port),
                            RouteTarget::Reject => Way::Reject,
                        };
                        (route.prefix, way)
                    })
                    .collect::<Vec<_>>();
                self.current.fib = Arc::new(Fib::new(Lpm::build(ways)));
                self.changed = true;
                self.forget_unused();
            }
            Update::Endpoint { address, next_hop } => {
                let adjacency = next_hop.and_then(|next_hop| self.adjacency(next_hop));
                Arc::make_mut(&mut self.current.endpoints).set_adjacency(address, adjacency);
                self.changed = true;
                self.forget_unused();
            }
            Update::Neighbour { next_hop, mac } => self.set_neighbour(next_hop, mac),
            Update::HostAddresses(addresses) => {
                self.current.host = Arc::new(addresses.into_iter().collect());
                self.changed = true;
            }
            Update::PortMac { port, mac } => {
                if let Some(port) = self.current.fixed.ports.get(usize::from(port.0)) {
                    port.mac.set(Some(mac));
                }
            }
        }
    }

    /// Lets readers see all that was applied.
    pub(crate) fn publish(&mut self) {
        if std::mem::take(&mut self.changed) {
            self.published.store(Arc::new(self.current.clone()));
        }
    }

    fn set_neighbour(&mut self, next_hop: NextHop, mac: Option<wire::MacAddr>) {
        let uplink =
            self.current.fixed.ports.get(usize::from(next_hop.port.0)).map(|port| port.role == Role::Uplink);
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
        self.neighbours
            .retain(|_, adjacency| Arc::strong_count(adjacency) > 1 || adjacency.mac.get().is_some());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{PortIndex, Route};
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
        let mut writer = Writer::new(testing::config());
        let reader = Arc::clone(writer.published());
        let before = reader.load_full();
        let route = Route { prefix: "0.0.0.0/0".parse().unwrap(), target: RouteTarget::Via(router()) };
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
        let mut writer = Writer::new(testing::config());
        writer.apply(Update::Neighbour { next_hop: router(), mac: Some(MAC) });
        let route = Route { prefix: "::/0".parse().unwrap(), target: RouteTarget::Via(router()) };
        writer.apply(Update::Routes(vec![route]));
        writer.publish();
        assert_eq!(way_to(&writer.published().load_full(), "2001:db8::1"), Some(MAC));
    }

    #[test]
    fn neighbours_are_bounded_and_forgotten() {
        let mut writer = Writer::new(testing::config());
        let neighbour = |n: u32| NextHop {
            port: PortIndex(1),
            address: IpAddr::V4(std::net::Ipv4Addr::from_bits(0xc612_0000 + n)),
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
}
