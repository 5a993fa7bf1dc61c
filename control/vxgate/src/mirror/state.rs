//! What the engine was told of the kernel, and what follows from a change. No I/O: values in, actions out.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use engine::{Config, EndpointStatus, NextHop, Path, Paths, PortIndex, Role, Route, Update};
use ipnet::IpNet;
use tracing::info;
use wire::MacAddr;

use super::Action;
use super::kernel::{Address, Link, Neighbour, NeighbourKey, Tables};
use super::neighbours::{Neighbours, Refusal};
use super::outlook::{Outlook, Routers};
use super::routes::{Fib, PortLink};
use crate::blackhole;

/// A port, as last seen.
#[derive(Debug)]
struct Port {
    link: PortLink,
    name: String,
    role: Role,
    mac: MacAddr,
    mtu: u32,
    /// What the engine was started with.
    engine_mtu: u32,
    /// What the engine takes for its addresses, and whether the netdev has each.
    addresses: Vec<(IpAddr, bool)>,
    /// `None`: the netdev is gone.
    carrier: Option<bool>,
    /// It has all of `addresses`, and they are its own: others find it by them.
    is_settled: bool,
}

impl Port {
    fn follow_mtu(&mut self, mtu: u32, actions: &mut Vec<Action>) {
        if std::mem::replace(&mut self.mtu, mtu) == mtu {
            return;
        }
        if mtu == self.engine_mtu {
            info!("port {} has its MTU {mtu} again", self.name);
        } else {
            actions.push(Action::Warn(format!(
                "port {} has MTU {mtu} now, and the gateway goes on with {}: restart the gateway",
                self.name, self.engine_mtu
            )));
        }
    }

    fn follow_addresses(&mut self, there: &[Address], actions: &mut Vec<Action>) {
        for (address, was_there) in &mut self.addresses {
            let is_there =
                there.iter().any(|there| there.link == self.link.link && there.address == *address);
            match (*was_there, is_there) {
                (true, false) => actions.push(Action::Warn(format!(
                    "port {0} has lost its address {address}, so that nobody finds the gateway there: `ip address \
                     add {address}/LENGTH dev {0}`, or change its addresses and restart the gateway",
                    self.name
                ))),
                (false, true) => info!("port {} has its address {address} again", self.name),
                _ => {}
            }
            *was_there = is_there;
        }
        self.is_settled = self.addresses.iter().all(|(address, _)| {
            there.iter().any(|it| it.link == self.link.link && it.address == *address && !it.tentative)
        });
    }
}

/// The mirror of the kernel's tables.
#[derive(Debug)]
pub(crate) struct Mirror {
    ports: Vec<Port>,
    blocks: Vec<IpNet>,
    /// The VTEP addresses that are on no port, and whether the host has each.
    vteps: Vec<(IpAddr, bool)>,
    /// Paths to all endpoints; `None`: the engine was not told yet.
    endpoints: BTreeMap<IpAddr, Option<Paths>>,
    routes: Option<Vec<Route>>,
    host_addresses: Option<Vec<IpAddr>>,
    /// Kernel routes past the blackhole routes of the blocks: prefix and metric.
    leaks: BTreeSet<(IpNet, u32)>,
    neighbours: Neighbours,
    watched: Watched,
    /// Next hops to routers, by their place in the outlook; in the first, those of all default routes, if no router is
    /// configured.
    watched_routers: Vec<(usize, Vec<NextHop>)>,
    outlook: Arc<Outlook>,
}

/// What is looked at to say whether this gateway can forward: with places in the [`Outlook`].
#[derive(Debug)]
pub(crate) struct Watched {
    /// Routers on the uplink; `None`: those of default routes.
    pub(crate) routers: Option<Vec<(usize, IpAddr)>>,
    /// Netdevs that must have a carrier.
    pub(crate) links: Vec<(usize, String)>,
    /// Destinations to which there must be a route.
    pub(crate) routes: Vec<(usize, IpNet)>,
}

impl Mirror {
    /// The engine has been told nothing but its configuration.
    pub(crate) fn new(config: &Config, watched: Watched, outlook: Arc<Outlook>) -> Self {
        let ports: Vec<Port> = (0..)
            .zip(&config.ports)
            .map(|(n, port)| Port {
                link: PortLink { port: PortIndex(n), link: port.ifindex },
                name: port.interface.clone(),
                role: port.role,
                mac: port.mac,
                mtu: port.mtu.into(),
                engine_mtu: port.mtu.into(),
                addresses: port.addresses.iter().map(|&address| (address, true)).collect(),
                carrier: Some(true),
                is_settled: true,
            })
            .collect();
        let endpoints = config
            .overlays
            .iter()
            .flat_map(|overlay| overlay.endpoints.iter())
            .map(|&address| (address, None));
        let on_port = |vtep: &IpAddr| config.ports.iter().any(|port| port.addresses.contains(vtep));
        Self {
            vteps: config.vteps.iter().filter(|vtep| !on_port(vtep)).map(|&vtep| (vtep, true)).collect(),
            neighbours: Neighbours::new(ports.iter().map(|port| port.link).collect()),
            watched,
            watched_routers: Vec::new(),
            outlook,
            ports,
            blocks: config.blocks.clone(),
            endpoints: endpoints.collect(),
            routes: None,
            host_addresses: None,
            leaks: BTreeSet::new(),
        }
    }

    /// Shows how it is now. To be called when the engine has been told what was to be told.
    pub(crate) fn publish(&self) {
        for port in &self.ports {
            let is_complete = port.is_settled && self.neighbours.is_complete(port.link.port);
            self.outlook.set_complete(port.link.port, is_complete);
        }
        for (place, next_hops) in &self.watched_routers {
            let told = next_hops.iter().map(|&next_hop| self.neighbours.told(next_hop));
            self.outlook.set_router(*place, Routers::of(told));
        }
    }

    /// All was read anew: at the start, and after notices were lost.
    pub(crate) fn resync(&mut self, tables: &Tables, neighbours: &[Neighbour]) -> Vec<Action> {
        let mut actions = Vec::new();
        let routers = self.read_tables(tables, &mut actions);
        self.neighbours.resync(neighbours, &routers, &mut actions);
        actions
    }

    /// The engine has these endpoints now. Whether the tables are to be read for them.
    pub(crate) fn set_endpoints(&mut self, endpoints: &[EndpointStatus]) -> bool {
        let there: HashSet<IpAddr> = endpoints.iter().map(|endpoint| endpoint.address).collect();
        let before = self.endpoints.len();
        self.endpoints.retain(|address, _| there.contains(address));
        let mut is_new = self.endpoints.len() != before;
        for &EndpointStatus { address, is_reachable } in endpoints {
            match self.endpoints.entry(address) {
                Entry::Vacant(place) => {
                    place.insert(None);
                    is_new = true;
                }
                // It had gone, and has come again.
                Entry::Occupied(mut told) => {
                    if !is_reachable && told.get().as_ref().is_some_and(|paths| !paths.is_empty()) {
                        told.insert(None);
                        is_new = true;
                    }
                }
            }
        }
        is_new
    }

    /// Links, addresses and routes were read anew.
    pub(crate) fn tables(&mut self, tables: &Tables) -> Vec<Action> {
        let mut actions = Vec::new();
        let routers = self.read_tables(tables, &mut actions);
        self.neighbours.set_routers(&routers, &mut actions);
        actions
    }

    /// The kernel told of a link: what cannot wait for its tables to be read.
    pub(crate) fn link(&mut self, link: &Link) -> Vec<Action> {
        let mut actions = Vec::new();
        if let Some(port) = self.ports.iter_mut().find(|port| port.link.link == link.index) {
            follow_carrier(port, Some(link), &mut self.neighbours, &mut actions);
        }
        actions
    }

    /// The kernel told of a neighbour.
    pub(crate) fn neighbour(&mut self, neighbour: Neighbour) -> Vec<Action> {
        let mut actions = Vec::new();
        self.neighbours.observe(neighbour, &mut actions);
        actions
    }

    /// The kernel told that a neighbour is gone.
    pub(crate) fn neighbour_gone(&mut self, key: NeighbourKey) -> Vec<Action> {
        let mut actions = Vec::new();
        self.neighbours.gone(key, &mut actions);
        actions
    }

    /// The engine asked for an on-link host.
    pub(crate) fn resolve(&mut self, next_hop: NextHop) -> Vec<Action> {
        let mut actions = Vec::new();
        self.neighbours.resolve(next_hop, &mut actions);
        actions
    }

    /// The kernel refused an [`Action::Install`]: [`Self::retry`] is to be called in a while unless it is dropped.
    pub(crate) fn refused(&mut self, key: NeighbourKey) -> Refusal {
        self.neighbours.refused(key)
    }

    /// Tries again what was refused.
    pub(crate) fn retry(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        self.neighbours.retry(&mut actions);
        actions
    }

    /// What must be deleted from the kernel at the end.
    pub(crate) fn installed(&self) -> Vec<NeighbourKey> {
        self.neighbours.installed()
    }

    /// Tells the engine what changed; returns the routers and endpoints in use.
    fn read_tables(&mut self, tables: &Tables, actions: &mut Vec<Action>) -> HashSet<NextHop> {
        self.read_links(tables, actions);
        self.follow_vteps(&tables.addresses, actions);

        let mut addresses: Vec<IpAddr> = tables.addresses.iter().map(|address| address.address).collect();
        addresses.sort_unstable();
        addresses.dedup();
        if self.host_addresses.as_ref() != Some(&addresses) {
            self.host_addresses = Some(addresses.clone());
            actions.push(Action::Update(Update::HostAddresses(addresses)));
        }

        self.guard_blocks(tables, actions);

        let fib = Fib::new(&tables.routes);
        let mut routers = HashSet::new();
        let underlays = self.ports_of(Role::is_underlay);
        for (&address, told) in &mut self.endpoints {
            let paths = fib.paths_to(address, &underlays);
            routers.extend(paths.iter().map(|path| path.next_hop(address)));
            if told.as_ref() != Some(&paths) {
                if paths.is_empty() {
                    let text = format!("endpoint {address} has no route out of an underlay port");
                    actions.push(Action::Warn(text));
                }
                *told = Some(Paths::clone(&paths));
                actions.push(Action::Update(Update::Endpoint { address, paths }));
            }
        }
        let routes = fib.outer_routes(&self.ports_of(Role::is_uplink), &self.blocks);
        let router = |path: &Path| Some(NextHop { port: path.port, address: path.gateway? });
        self.watched_routers = match &self.watched.routers {
            Some(configured) => {
                let uplinks = self.ports_of(Role::is_uplink);
                let next_hops = |&(place, address): &(usize, IpAddr)| {
                    let paths = fib.paths_to(address, &uplinks);
                    (place, paths.iter().map(|path| path.next_hop(address)).collect())
                };
                configured.iter().map(next_hops).collect()
            }
            None => {
                let defaults = routes.iter().filter(|route| route.prefix.prefix_len() == 0);
                let routers = defaults.flat_map(|route| route.paths.iter()).filter_map(router);
                vec![(0, routers.collect())]
            }
        };
        routers.extend(self.watched_routers.iter().flat_map(|(_, next_hops)| next_hops));
        for (place, prefix) in &self.watched.routes {
            self.outlook.set_track(*place, fib.leads_to(*prefix));
        }
        let paths = routes.iter().flat_map(|route| route.paths.iter());
        routers.extend(paths.filter_map(router));
        if self.routes.as_ref() != Some(&routes) {
            self.routes = Some(routes.clone());
            actions.push(Action::Update(Update::Routes(routes)));
        }
        routers
    }

    fn follow_vteps(&mut self, there: &[Address], actions: &mut Vec<Action>) {
        for (address, was_there) in &mut self.vteps {
            let is_there = there.iter().any(|there| there.address == *address);
            match (*was_there, is_there) {
                (true, false) => actions.push(Action::Warn(format!(
                    "no netdev has the VTEP address {address} any more, so that nobody finds the gateway there: \
                     `ip address add {address} dev lo`, or change vtep and restart the gateway"
                ))),
                (false, true) => info!("the VTEP address {address} is there again"),
                _ => {}
            }
            *was_there = is_there;
        }
    }

    /// Should the engine die, the blackhole routes alone keep the kernel from forwarding overlay traffic.
    fn guard_blocks(&mut self, tables: &Tables, actions: &mut Vec<Action>) {
        let mut leaks = BTreeSet::new();
        for &block in &self.blocks {
            if !tables.routes.iter().any(|route| blackhole::guards(route, block)) {
                actions.push(Action::Blackhole(block));
            }
            let past = tables.routes.iter().filter(|route| blackhole::leads_past(route, block));
            leaks.extend(past.map(|route| (route.prefix, route.metric)));
        }
        for (prefix, metric) in leaks.difference(&self.leaks) {
            actions.push(Action::Warn(format!(
                "the kernel has a route to {prefix} that comes before the blackhole route of its overlay block: \
                 should the gateway die, overlay packets could leave by it; `ip route del unicast {prefix} metric \
                 {metric}`"
            )));
        }
        self.leaks = leaks;
    }

    fn read_links(&mut self, tables: &Tables, actions: &mut Vec<Action>) {
        for (place, name) in &self.watched.links {
            let link = tables.links.iter().find(|link| link.name == *name);
            self.outlook.set_track(*place, link.is_some_and(|link| link.up && link.carrier));
        }
        for port in &mut self.ports {
            let link = tables.links.iter().find(|link| link.index == port.link.link);
            follow_carrier(port, link, &mut self.neighbours, actions);
            if let Some(mac) = link.and_then(|link| link.mac)
                && mac != port.mac
            {
                info!("port {} has a new MAC address, {mac}", port.name);
                port.mac = mac;
                actions.push(Action::Update(Update::PortMac { port: port.link.port, mac }));
            }
            // The engine learns both at its start alone.
            if let Some(link) = link {
                port.follow_mtu(link.mtu, actions);
                port.follow_addresses(&tables.addresses, actions);
            }
        }
    }

    fn ports_of(&self, has_role: fn(Role) -> bool) -> Vec<PortLink> {
        self.ports.iter().filter(|port| has_role(port.role)).map(|port| port.link).collect()
    }
}

/// `link`: what the port's netdev is like, if it is there.
fn follow_carrier(
    port: &mut Port,
    link: Option<&Link>,
    neighbours: &mut Neighbours,
    actions: &mut Vec<Action>,
) {
    let carrier = link.map(|link| link.up && link.carrier);
    let before = std::mem::replace(&mut port.carrier, carrier);
    if before == carrier {
        return;
    }
    match carrier {
        Some(true) => info!("port {} is up", port.name),
        Some(false) => actions.push(Action::Warn(format!("port {} is down", port.name))),
        None => actions.push(Action::Warn(format!(
            "port {} is gone: once it is there again, restart the gateway",
            port.name
        ))),
    }
    let is_up = carrier == Some(true);
    if is_up != (before == Some(true)) {
        actions.push(Action::Update(Update::PortState { port: port.link.port, is_up }));
    }
    match is_up {
        true => neighbours.probe(port.link, actions),
        false => neighbours.lost_carrier(port.link.port),
    }
}

#[cfg(test)]
mod tests;
