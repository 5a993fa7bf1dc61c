//! Which neighbours the engine needs, what the kernel knows of them, and what it must be told to do.
//!
//! The kernel resolves a neighbour only if it sends to it itself. For those that only the engine sends to, an entry
//! is installed that the kernel keeps resolved (`NTF_EXT_MANAGED`). Routers and endpoints stay for as long as routes
//! name them. Hosts on the link are added when the engine asks, and stay until they stop answering.

use std::collections::{HashMap, HashSet};

use engine::{NextHop, PortIndex, Update};
use tracing::{debug, info};
use wire::MacAddr;

use super::Action;
use super::kernel::{Neighbour, NeighbourKey, Reachability};
use super::routes::PortLink;

/// Most hosts on the link that are kept; the one that was asked for longest ago gives way.
const MAX_ON_LINK: usize = 4096;

/// Most of them that may be unresolved at a time, so that a scan of the link cannot push out those that answer.
const MAX_PENDING: usize = 256;

/// A neighbour that the engine needs.
#[derive(Debug)]
struct Wanted {
    purpose: Purpose,
    /// The kernel was told to install it and has not shown it yet.
    in_flight: bool,
    /// The kernel refused to install it, and has not shown it since.
    refused: bool,
    /// What the engine was told, if anything.
    told: Option<Option<MacAddr>>,
}

/// What becomes of a neighbour that the kernel refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is tried again in a while; it was not refused before.
    First,
    /// It is tried again in a while, as before.
    Repeated,
    /// It is not needed until the engine asks again.
    Dropped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// Named by a route or an endpoint.
    Router,
    /// Asked for; the number orders them by age.
    OnLink(u64),
}

#[derive(Debug)]
pub(super) struct Neighbours {
    ports: Vec<PortLink>,
    wanted: HashMap<NextHop, Wanted>,
    /// All that the kernel has on the ports. It bounds them itself (`gc_thresh3`).
    kernel: HashMap<NextHop, Neighbour>,
    asked: u64,
    /// What the engine waits for, by port: routers and endpoints that it was not told yet, and those that it has to be told
    /// anew since the port was down, whether there is a route to them again or not.
    awaited: HashMap<PortIndex, HashSet<NextHop>>,
    /// Ports without a carrier.
    down: HashSet<PortIndex>,
}

impl Neighbours {
    pub(super) fn new(ports: Vec<PortLink>) -> Self {
        Self {
            ports,
            wanted: HashMap::new(),
            kernel: HashMap::new(),
            asked: 0,
            awaited: HashMap::new(),
            down: HashSet::new(),
        }
    }

    /// The kernel has this neighbour, in this state.
    pub(super) fn observe(&mut self, neighbour: Neighbour, actions: &mut Vec<Action>) {
        if let Some(next_hop) = self.next_hop(neighbour.key) {
            self.kernel.insert(next_hop, neighbour);
            self.reconcile(next_hop, actions);
        }
    }

    /// The kernel has this neighbour no more. If it is needed it is installed again; what the engine knows stays.
    pub(super) fn gone(&mut self, key: NeighbourKey, actions: &mut Vec<Action>) {
        if let Some(next_hop) = self.next_hop(key) {
            self.kernel.remove(&next_hop);
            self.forget_flight(next_hop);
            self.reconcile(next_hop, actions);
        }
    }

    /// Replaces all that is known of the kernel. Leftovers of an earlier run are deleted unless they are needed.
    pub(super) fn resync(
        &mut self,
        neighbours: &[Neighbour],
        routers: &HashSet<NextHop>,
        actions: &mut Vec<Action>,
    ) {
        self.kernel = neighbours
            .iter()
            .filter_map(|neighbour| Some((self.next_hop(neighbour.key)?, *neighbour)))
            .collect();
        self.wanted.values_mut().for_each(|wanted| wanted.in_flight = false);
        self.set_routers(routers, actions);
        let all: HashSet<NextHop> = self.kernel.keys().chain(self.wanted.keys()).copied().collect();
        all.into_iter().for_each(|next_hop| self.reconcile(next_hop, actions));
    }

    /// Replaces the set of routers and endpoints.
    pub(super) fn set_routers(&mut self, routers: &HashSet<NextHop>, actions: &mut Vec<Action>) {
        let dropped: Vec<NextHop> = self
            .wanted
            .iter()
            .filter(|(next_hop, wanted)| wanted.purpose == Purpose::Router && !routers.contains(*next_hop))
            .map(|(next_hop, _)| *next_hop)
            .collect();
        dropped.into_iter().for_each(|next_hop| self.drop_wanted(next_hop, actions));
        for &next_hop in routers {
            self.want(next_hop, Purpose::Router, actions);
        }
    }

    /// The engine has a packet for a host on the link.
    pub(super) fn resolve(&mut self, next_hop: NextHop, actions: &mut Vec<Action>) {
        if self.wanted.contains_key(&next_hop) {
            return;
        }
        let on_link = self.wanted.iter().filter_map(|(next_hop, wanted)| match wanted.purpose {
            Purpose::OnLink(age) => Some((age, *next_hop, wanted.told.is_some())),
            Purpose::Router => None,
        });
        let (mut count, mut pending, mut oldest) = (0, 0, None);
        for (age, next_hop, resolved) in on_link {
            count += 1;
            match resolved {
                true => oldest = oldest.min(Some((age, next_hop))).or(Some((age, next_hop))),
                false => pending += 1,
            }
        }
        if pending >= MAX_PENDING {
            return;
        }
        if count >= MAX_ON_LINK
            && let Some((_, next_hop)) = oldest
        {
            self.drop_wanted(next_hop, actions);
        }
        self.asked += 1;
        self.want(next_hop, Purpose::OnLink(self.asked), actions);
    }

    /// The kernel refused to install a neighbour.
    pub(super) fn refused(&mut self, key: NeighbourKey) -> Refusal {
        let Some(next_hop) = self.next_hop(key) else { return Refusal::Dropped };
        self.forget_flight(next_hop);
        match self.wanted.get_mut(&next_hop) {
            Some(wanted) if wanted.purpose == Purpose::Router => {
                match std::mem::replace(&mut wanted.refused, true) {
                    false => Refusal::First,
                    true => Refusal::Repeated,
                }
            }
            // The engine asks again if it still has packets for it.
            _ => {
                self.wanted.remove(&next_hop);
                Refusal::Dropped
            }
        }
    }

    /// Installs what is needed and not there, and has those asked again that did not answer: left alone, the kernel
    /// would come back to them by timers of its own that nobody can set in a network namespace.
    pub(super) fn retry(&mut self, actions: &mut Vec<Action>) {
        let all: Vec<NextHop> = self.wanted.keys().copied().collect();
        for next_hop in all {
            self.reconcile(next_hop, actions);
            let failed =
                self.kernel.get(&next_hop).filter(|neighbour| neighbour.state == Reachability::Failed);
            if let Some(neighbour) = failed.filter(|neighbour| neighbour.ours) {
                actions.push(Action::Install(neighbour.key));
            }
        }
    }

    /// The port has lost its carrier. Whom it leads to is to be found anew once it is back: the kernel forgets neighbours, and
    /// routes, which may take their time to return.
    pub(super) fn lost_carrier(&mut self, port: PortIndex) {
        self.down.insert(port);
        let is_known = |next_hop: &NextHop, wanted: &Wanted| {
            let fixed = self.kernel.get(next_hop).is_some_and(|neighbour| neighbour.fixed);
            next_hop.port == port && wanted.is_resolved_router() && !fixed
        };
        let known = self.wanted.iter().filter(|(next_hop, wanted)| is_known(next_hop, wanted));
        self.awaited.entry(port).or_default().extend(known.map(|(next_hop, _)| *next_hop));
    }

    /// Whether nothing is awaited on the port.
    pub(super) fn is_complete(&self, port: PortIndex) -> bool {
        self.awaited.get(&port).is_none_or(HashSet::is_empty)
    }

    /// What the engine was told of a next hop: its MAC address, or that it does not answer; `None`: nothing yet.
    pub(super) fn told(&self, next_hop: NextHop) -> Option<Option<MacAddr>> {
        self.wanted.get(&next_hop)?.told
    }

    /// The port has its carrier back: the kernel is made to ask at once, not when its timers say.
    pub(super) fn probe(&mut self, port: PortLink, actions: &mut Vec<Action>) {
        self.down.remove(&port.port);
        for next_hop in self.wanted.keys().filter(|next_hop| next_hop.port == port.port) {
            if self.kernel.get(next_hop).is_none_or(|neighbour| !neighbour.fixed) {
                actions.push(Action::Install(NeighbourKey { link: port.link, address: next_hop.address }));
            }
        }
    }

    /// What this program installed and the kernel still has, or will have.
    pub(super) fn installed(&self) -> Vec<NeighbourKey> {
        let in_flight = self.wanted.iter().filter(|(_, wanted)| wanted.in_flight);
        let in_flight = in_flight.filter_map(|(next_hop, _)| self.key(*next_hop));
        self.kernel
            .values()
            .filter(|neighbour| neighbour.ours)
            .map(|neighbour| neighbour.key)
            .chain(in_flight)
            .collect()
    }

    fn next_hop(&self, key: NeighbourKey) -> Option<NextHop> {
        let port = self.ports.iter().find(|port| port.link == key.link)?;
        Some(NextHop { port: port.port, address: key.address })
    }

    fn key(&self, next_hop: NextHop) -> Option<NeighbourKey> {
        let port = self.ports.iter().find(|port| port.port == next_hop.port)?;
        Some(NeighbourKey { link: port.link, address: next_hop.address })
    }

    fn forget_flight(&mut self, next_hop: NextHop) {
        if let Some(wanted) = self.wanted.get_mut(&next_hop) {
            wanted.in_flight = false;
        }
    }

    fn want(&mut self, next_hop: NextHop, purpose: Purpose, actions: &mut Vec<Action>) {
        let wanted = Wanted { purpose, in_flight: false, refused: false, told: None };
        let wanted = self.wanted.entry(next_hop).or_insert(wanted);
        wanted.purpose = purpose;
        if purpose == Purpose::Router && wanted.told.is_none() {
            self.awaited.entry(next_hop.port).or_default().insert(next_hop);
        }
        self.reconcile(next_hop, actions);
    }

    fn drop_wanted(&mut self, next_hop: NextHop, actions: &mut Vec<Action>) {
        let Some(wanted) = self.wanted.remove(&next_hop) else { return };
        // One that was known may be wanted again: routes are often gone for a moment when a link was.
        if wanted.told.is_none() {
            self.no_longer_awaited(next_hop);
        }
        if let Some(Some(_)) = wanted.told {
            actions.push(Action::Update(Update::Neighbour { next_hop, mac: None }));
        }
        let ours = self.kernel.get(&next_hop).is_some_and(|neighbour| neighbour.ours);
        if let (true, Some(key)) = (ours || wanted.in_flight, self.key(next_hop)) {
            actions.push(Action::Delete(key));
        }
    }

    /// Brings one neighbour's wanted and actual state together.
    fn reconcile(&mut self, next_hop: NextHop, actions: &mut Vec<Action>) {
        let Some(key) = self.key(next_hop) else { return };
        let kernel = self.kernel.get(&next_hop).copied();
        let ours = kernel.is_some_and(|neighbour| neighbour.ours);
        let Some(wanted) = self.wanted.get_mut(&next_hop) else {
            if ours {
                actions.push(Action::Delete(key));
            }
            return;
        };
        if ours || kernel.is_some_and(|neighbour| neighbour.fixed) {
            wanted.in_flight = false;
            wanted.refused = false;
        } else if !wanted.in_flight {
            wanted.in_flight = true;
            // What failed before, for somebody else, would fail us before it was asked.
            if kernel.is_some_and(|neighbour| neighbour.state == Reachability::Failed) {
                actions.push(Action::Delete(key));
            }
            actions.push(Action::Install(key));
        }
        match kernel.map(|neighbour| neighbour.state) {
            // A broadcast address resolves to a group MAC, which the engine must not send to.
            Some(Reachability::Known(mac)) => {
                tell(next_hop, wanted, mac.is_unicast().then_some(mac), actions)
            }
            Some(Reachability::Failed) if ours => {
                tell(next_hop, wanted, None, actions);
                match wanted.purpose {
                    Purpose::Router => actions.push(Action::TryLater),
                    Purpose::OnLink(_) => self.drop_wanted(next_hop, actions),
                }
            }
            _ => {}
        }
        let is_back = self.wanted.get(&next_hop).is_some_and(Wanted::is_resolved_router)
            && self.kernel.get(&next_hop).is_some_and(|it| matches!(it.state, Reachability::Known(_)));
        if is_back && !self.down.contains(&next_hop.port) {
            self.no_longer_awaited(next_hop);
        }
    }

    fn no_longer_awaited(&mut self, next_hop: NextHop) {
        if let Some(awaited) = self.awaited.get_mut(&next_hop.port) {
            awaited.remove(&next_hop);
        }
    }
}

impl Wanted {
    fn is_resolved_router(&self) -> bool {
        self.purpose == Purpose::Router && matches!(self.told, Some(Some(_)))
    }
}

fn tell(next_hop: NextHop, wanted: &mut Wanted, mac: Option<MacAddr>, actions: &mut Vec<Action>) {
    if wanted.told == Some(mac) {
        return;
    }
    let address = next_hop.address;
    match (wanted.purpose, mac) {
        (Purpose::Router, Some(mac)) => info!("next hop {address} is at {mac}"),
        (Purpose::Router, None) => info!("next hop {address} does not answer"),
        (Purpose::OnLink(_), Some(mac)) => debug!("on-link host {address} is at {mac}"),
        (Purpose::OnLink(_), None) => debug!("on-link host {address} does not answer"),
    }
    wanted.told = Some(mac);
    actions.push(Action::Update(Update::Neighbour { next_hop, mac }));
}

#[cfg(test)]
mod tests;
