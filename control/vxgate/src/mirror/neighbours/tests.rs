//! Neighbours come, change and go.

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
fn step(neighbours: &mut Neighbours, work: impl FnOnce(&mut Neighbours, &mut Vec<Action>)) -> Vec<String> {
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
            Action::TryLater => "try later".into(),
            other => panic!("{other:?}"),
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
    let failed = ours(1, Reachability::Failed);
    assert_eq!(step(&mut n, |n, a| n.observe(failed, a)), ["198.19.0.1 unknown", "try later"]);
    assert_eq!(step(&mut n, |n, a| n.retry(a)), ["try later", "install 198.19.0.1"]);
    assert!(step(&mut n, |n, a| n.observe(ours(1, Reachability::Unresolved), a)).is_empty());
    assert!(step(&mut n, |n, a| n.retry(a)).is_empty(), "it is being asked");
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
    assert_eq!(actions.len(), 2, "{actions:?}");
    assert!(actions.contains(&"install 198.19.0.2".into()));
    assert!(actions.contains(&"198.19.0.1 at 02:00:00:00:00:08".into()));
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
    let installed = (2..10_000).map(|host| step(&mut n, |n, a| n.resolve(hop(host), a)).len()).sum::<usize>();
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
    assert_eq!(n.refused(key(1)), Refusal::First);
    assert_eq!(step(&mut n, |n, a| n.retry(a)), ["install 198.19.0.1"]);
    step(&mut n, |n, a| n.resolve(hop(5), a));
    assert_eq!(n.refused(key(5)), Refusal::Dropped);
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
