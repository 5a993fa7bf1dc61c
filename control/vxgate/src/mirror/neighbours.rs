//! Which neighbours the engine needs, what the kernel knows of them, and what it must be told to do.
//!
//! The kernel resolves a neighbour only if it sends to it itself. For those that only the engine sends to, an entry
//! is installed that the kernel keeps resolved (`NTF_EXT_MANAGED`). Routers and endpoints stay for as long as routes
//! name them. Hosts on the link are added when the engine asks, and stay until they stop answering.

use std::collections::{HashMap, HashSet};

use engine::{NextHop, Update};
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
    /// What the engine was told, if anything.
    told: Option<Option<MacAddr>>,
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
}

impl Neighbours {
    pub(super) fn new(ports: Vec<PortLink>) -> Self {
        Self { ports, wanted: HashMap::new(), kernel: HashMap::new(), asked: 0 }
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

    /// The kernel refused to install a neighbour. Returns whether it should be tried again.
    pub(super) fn refused(&mut self, key: NeighbourKey) -> bool {
        let Some(next_hop) = self.next_hop(key) else { return false };
        self.forget_flight(next_hop);
        match self.wanted.get(&next_hop) {
            Some(wanted) if wanted.purpose == Purpose::Router => true,
            // The engine asks again if it still has packets for it.
            _ => {
                self.wanted.remove(&next_hop);
                false
            }
        }
    }

    /// Installs what is needed and not there.
    pub(super) fn retry(&mut self, actions: &mut Vec<Action>) {
        let all: Vec<NextHop> = self.wanted.keys().copied().collect();
        all.into_iter().for_each(|next_hop| self.reconcile(next_hop, actions));
    }

    /// The port has its carrier back: the kernel is made to ask at once, not when its timers say.
    pub(super) fn probe(&mut self, port: PortLink, actions: &mut Vec<Action>) {
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
        let wanted = Wanted { purpose, in_flight: false, told: None };
        self.wanted.entry(next_hop).or_insert(wanted).purpose = purpose;
        self.reconcile(next_hop, actions);
    }

    fn drop_wanted(&mut self, next_hop: NextHop, actions: &mut Vec<Action>) {
        let Some(wanted) = self.wanted.remove(&next_hop) else { return };
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
                if matches!(wanted.purpose, Purpose::OnLink(_)) {
                    self.drop_wanted(next_hop, actions);
                }
            }
            _ => {}
        }
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
        (Purpose::OnLink(_), mac) => debug!(?mac, "on-link host {address}"),
    }
    wanted.told = Some(mac);
    actions.push(Action::Update(Update::Neighbour { next_hop, mac }));
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use engine::PortIndex;

    use super::*;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 7]);
    const OTHER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 8]);

    fn neighbours() -> Neighbours {
        let port = |n| PortLink { port: PortIndex(n), link: 10 + u32::from(n) };
        Neighbours::new(vec![port(0), port(1)])
    }

    fn hop(n: u32) -> NextHop {
        NextHop { port: PortIndex(1), address: IpAddr::V4(Ipv4Addr::from_bits(0xc613_0000 + n)) }
    }

    fn key(n: u32) -> NeighbourKey {
        NeighbourKey { link: 11, address: hop(n).address }
    }

    fn ours(n: u32, state: Reachability) -> Neighbour {
        Neighbour { key: key(n), state, fixed: false, ours: true }
    }

    /// What a step does, in words.
    fn step(
        neighbours: &mut Neighbours,
        work: impl FnOnce(&mut Neighbours, &mut Vec<Action>),
    ) -> Vec<String> {
        let mut actions = Vec::new();
        work(neighbours, &mut actions);
        actions
            .iter()
            .map(|action| match action {
                Action::Install(key) => format!("install {}", key.address),
                Action::Delete(key) => format!("delete {}", key.address),
                Action::Update(Update::Neighbour { next_hop, mac: Some(mac) }) => {
                    format!("{} at {mac}", next_hop.address)
                }
                Action::Update(Update::Neighbour { next_hop, mac: None }) => {
                    format!("{} unknown", next_hop.address)
                }
                Action::Update(other) => panic!("{other:?}"),
            })
            .collect()
    }

    fn routers(list: &[u32]) -> HashSet<NextHop> {
        list.iter().map(|&n| hop(n)).collect()
    }

    fn with_router() -> Neighbours {
        let mut neighbours = neighbours();
        let actions = step(&mut neighbours, |n, actions| n.set_routers(&routers(&[1]), actions));
        assert_eq!(actions, ["install 198.19.0.1"]);
        neighbours
    }

    #[test]
    fn a_router_is_installed_once_and_told_when_its_mac_is_known_changes_or_fails() {
        let mut n = with_router();
        assert!(step(&mut n, |n, a| n.set_routers(&routers(&[1]), a)).is_empty());
        assert!(step(&mut n, |n, a| n.observe(ours(1, Reachability::Unresolved), a)).is_empty());
        let known = ours(1, Reachability::Known(MAC));
        assert_eq!(step(&mut n, |n, a| n.observe(known, a)), ["198.19.0.1 at 02:00:00:00:00:07"]);
        assert!(step(&mut n, |n, a| n.observe(known, a)).is_empty(), "nothing new");
        let moved = ours(1, Reachability::Known(OTHER_MAC));
        assert_eq!(step(&mut n, |n, a| n.observe(moved, a)), ["198.19.0.1 at 02:00:00:00:00:08"]);
        assert_eq!(step(&mut n, |n, a| n.observe(ours(1, Reachability::Failed), a)), ["198.19.0.1 unknown"]);
        assert!(step(&mut n, |n, a| n.observe(ours(1, Reachability::Unresolved), a)).is_empty());
        assert_eq!(step(&mut n, |n, a| n.observe(known, a)), ["198.19.0.1 at 02:00:00:00:00:07"]);
    }

    #[test]
    fn a_flushed_router_is_installed_again_and_its_mac_stays() {
        let mut n = with_router();
        step(&mut n, |n, a| n.observe(ours(1, Reachability::Known(MAC)), a));
        assert_eq!(step(&mut n, |n, a| n.gone(key(1), a)), ["install 198.19.0.1"]);
        assert!(step(&mut n, |n, a| n.observe(ours(1, Reachability::Unresolved), a)).is_empty());
        assert!(step(&mut n, |n, a| n.observe(ours(1, Reachability::Known(MAC)), a)).is_empty());
    }

    #[test]
    fn one_replaced_by_an_ordinary_entry_is_installed_again() {
        let mut n = with_router();
        step(&mut n, |n, a| n.observe(ours(1, Reachability::Known(MAC)), a));
        let plain = Neighbour { ours: false, ..ours(1, Reachability::Known(MAC)) };
        assert_eq!(step(&mut n, |n, a| n.observe(plain, a)), ["install 198.19.0.1"]);
        assert!(step(&mut n, |n, a| n.observe(plain, a)).is_empty(), "it is on its way");
    }

    #[test]
    fn the_operators_static_entry_is_used_and_left_alone() {
        let mut n = neighbours();
        let fixed = Neighbour { fixed: true, ours: false, ..ours(1, Reachability::Known(MAC)) };
        let actions = step(&mut n, |n, a| n.resync(&[fixed], &routers(&[1]), a));
        assert_eq!(actions, ["198.19.0.1 at 02:00:00:00:00:07"]);
        assert_eq!(step(&mut n, |n, a| n.set_routers(&routers(&[]), a)), ["198.19.0.1 unknown"]);
        assert!(n.installed().is_empty());
    }

    #[test]
    fn a_router_no_longer_used_is_deleted() {
        let mut n = with_router();
        step(&mut n, |n, a| n.observe(ours(1, Reachability::Known(MAC)), a));
        let actions = step(&mut n, |n, a| n.set_routers(&routers(&[2]), a));
        assert_eq!(actions, ["198.19.0.1 unknown", "delete 198.19.0.1", "install 198.19.0.2"]);
    }

    #[test]
    fn leftovers_of_an_earlier_run_are_adopted_or_deleted() {
        let mut n = neighbours();
        let left = [ours(1, Reachability::Known(MAC)), ours(2, Reachability::Known(MAC))];
        let actions = step(&mut n, |n, a| n.resync(&left, &routers(&[1]), a));
        assert_eq!(actions.len(), 2, "{actions:?}");
        assert!(actions.contains(&"198.19.0.1 at 02:00:00:00:00:07".into()));
        assert!(actions.contains(&"delete 198.19.0.2".into()));
    }

    #[test]
    fn after_an_overrun_what_was_lost_is_made_up() {
        let mut n = with_router();
        step(&mut n, |n, a| n.observe(ours(1, Reachability::Known(MAC)), a));
        let now = [ours(1, Reachability::Known(OTHER_MAC))];
        let actions = step(&mut n, |n, a| n.resync(&now, &routers(&[1, 2]), a));
        assert_eq!(actions, ["install 198.19.0.2", "198.19.0.1 at 02:00:00:00:00:08"]);
        assert!(step(&mut n, |n, a| n.resync(&[], &routers(&[]), a)).contains(&"198.19.0.1 unknown".into()));
    }

    #[test]
    fn hosts_on_the_link_stay_until_they_fail() {
        let mut n = neighbours();
        assert_eq!(step(&mut n, |n, a| n.resolve(hop(5), a)), ["install 198.19.0.5"]);
        assert!(step(&mut n, |n, a| n.resolve(hop(5), a)).is_empty());
        assert!(step(&mut n, |n, a| n.set_routers(&routers(&[]), a)).is_empty(), "not a router's business");
        step(&mut n, |n, a| n.observe(ours(5, Reachability::Known(MAC)), a));
        let actions = step(&mut n, |n, a| n.observe(ours(5, Reachability::Failed), a));
        assert_eq!(actions, ["198.19.0.5 unknown", "delete 198.19.0.5"]);
        assert!(step(&mut n, |n, a| n.gone(key(5), a)).is_empty());
        assert_eq!(step(&mut n, |n, a| n.resolve(hop(5), a)), ["install 198.19.0.5"]);
    }

    #[test]
    fn an_old_failure_of_the_kernels_own_does_not_count() {
        let mut n = neighbours();
        let failed = Neighbour { ours: false, ..ours(5, Reachability::Failed) };
        assert!(step(&mut n, |n, a| n.observe(failed, a)).is_empty());
        assert_eq!(step(&mut n, |n, a| n.resolve(hop(5), a)), ["delete 198.19.0.5", "install 198.19.0.5"]);
    }

    #[test]
    fn broadcast_is_never_sent_to() {
        let mut n = neighbours();
        step(&mut n, |n, a| n.resolve(hop(255), a));
        let broadcast = Neighbour { fixed: true, ..ours(255, Reachability::Known(MacAddr::BROADCAST)) };
        assert_eq!(step(&mut n, |n, a| n.observe(broadcast, a)), ["198.19.0.255 unknown"]);
    }

    #[test]
    fn a_scan_of_the_link_is_bounded_and_pushes_nobody_out() {
        let mut n = neighbours();
        step(&mut n, |n, a| n.resolve(hop(1), a));
        step(&mut n, |n, a| n.observe(ours(1, Reachability::Known(MAC)), a));
        let installed =
            (2..10_000).map(|host| step(&mut n, |n, a| n.resolve(hop(host), a)).len()).sum::<usize>();
        assert_eq!(installed, MAX_PENDING);
        assert!(n.wanted.contains_key(&hop(1)));
    }

    #[test]
    fn the_oldest_gives_way_when_full() {
        let mut n = neighbours();
        step(&mut n, |n, a| n.set_routers(&routers(&[0]), a));
        for host in 1..=MAX_ON_LINK as u32 {
            step(&mut n, |n, a| n.resolve(hop(host), a));
            step(&mut n, |n, a| n.observe(ours(host, Reachability::Known(MAC)), a));
        }
        let actions = step(&mut n, |n, a| n.resolve(hop(60_000), a));
        assert_eq!(actions, ["198.19.0.1 unknown", "delete 198.19.0.1", "install 198.19.234.96"]);
        assert_eq!(n.wanted.len(), MAX_ON_LINK + 1);
    }

    #[test]
    fn a_refused_router_is_tried_again_and_a_host_forgotten() {
        let mut n = with_router();
        assert!(n.refused(key(1)));
        assert_eq!(step(&mut n, |n, a| n.retry(a)), ["install 198.19.0.1"]);
        step(&mut n, |n, a| n.resolve(hop(5), a));
        assert!(!n.refused(key(5)));
        assert_eq!(step(&mut n, |n, a| n.resolve(hop(5), a)), ["install 198.19.0.5"]);
    }

    #[test]
    fn neighbours_of_other_netdevs_are_none_of_ours() {
        let mut n = neighbours();
        let foreign = NeighbourKey { link: 99, ..key(1) };
        let neighbour = Neighbour { key: foreign, ..ours(1, Reachability::Known(MAC)) };
        assert!(step(&mut n, |n, a| n.observe(neighbour, a)).is_empty());
        assert!(n.installed().is_empty());
    }

    #[test]
    fn a_port_that_comes_back_asks_at_once() {
        let mut n = with_router();
        step(&mut n, |n, a| n.observe(ours(1, Reachability::Failed), a));
        let port = n.ports[1];
        assert_eq!(step(&mut n, |n, a| n.probe(port, a)), ["install 198.19.0.1"]);
        let other = n.ports[0];
        assert!(step(&mut n, |n, a| n.probe(other, a)).is_empty());
    }

    #[test]
    fn what_is_left_at_the_end_is_what_was_installed() {
        let mut n = with_router();
        assert_eq!(n.installed(), [key(1)], "on its way");
        step(&mut n, |n, a| n.observe(ours(1, Reachability::Known(MAC)), a));
        let plain = Neighbour { ours: false, ..ours(9, Reachability::Known(MAC)) };
        step(&mut n, |n, a| n.observe(plain, a));
        assert_eq!(n.installed(), [key(1)]);
    }
}
