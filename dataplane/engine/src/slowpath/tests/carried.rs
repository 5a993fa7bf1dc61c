//! Bindings that are carried to another gateway: all of them once, and then what changes.

use super::*;
use crate::slowpath::neighbours::NeighbourKey;

fn page(gateway: &mut Harness, cursor: BindingCursor, most: usize) -> BindingPage {
    let (answer, answered) = crossbeam_channel::bounded(1);
    gateway.control.send(Command::Bindings(cursor, most, answer)).unwrap();
    gateway.slow_path.obey();
    answered.try_recv().unwrap()
}

/// All pages from `cursor` on, of `most` entries each.
fn read(gateway: &mut Harness, mut cursor: BindingCursor, most: usize) -> (Vec<IpAddr>, BindingCursor) {
    let mut addresses = Vec::new();
    for _ in 0..1000 {
        let page = page(gateway, cursor, most);
        assert!(page.bindings.len() <= most);
        addresses.extend(page.bindings.iter().map(|binding| binding.address));
        cursor = page.next;
        if page.is_complete {
            return (addresses, cursor);
        }
    }
    panic!("there is no end to it")
}

/// A host of the newcomer's in overlay 100.
fn host(number: u8) -> String {
    format!("10.0.1.{number}")
}

fn learn(gateway: &mut Harness, numbers: std::ops::Range<u8>) {
    for number in numbers {
        say(gateway, ENDPOINT_V6, &announces(NEWCOMER_MAC, &host(number)));
    }
}

fn gateway() -> Harness {
    with_policy(|policy| policy.addresses_per_station = 200)
}

#[test]
fn all_and_then_what_changes() {
    let mut gateway = gateway();
    learn(&mut gateway, 20..50);
    say(&mut gateway, ENDPOINT_V6, &announces(NEWCOMER_MAC, NEWCOMER[1]));
    let (mut all, cursor) = read(&mut gateway, BindingCursor::START, 7);
    all.sort_unstable();
    let expected: Vec<_> =
        (20..50).map(|number| address(&host(number))).chain([address(NEWCOMER[1])]).collect();
    assert_eq!(all, expected);
    assert_eq!(read(&mut gateway, cursor, 7), (Vec::new(), cursor), "nothing changed");
    // What was confirmed is known there already.
    learn(&mut gateway, 20..21);
    assert!(read(&mut gateway, cursor, 7).0.is_empty());
    learn(&mut gateway, 60..70);
    let (new, next) = read(&mut gateway, cursor, 3);
    assert_eq!(new, (60..70).map(|number| address(&host(number))).collect::<Vec<_>>());
    assert!(read(&mut gateway, next, 3).0.is_empty());
    // Another station that takes an address over is a change, with its own MAC address.
    say(&mut gateway, ENDPOINT_V4, &announces(STATION_MAC, &host(60)));
    let page = page(&mut gateway, next, 10);
    let [binding] = page.bindings.as_slice() else { panic!("{page:?}") };
    assert_eq!((binding.address, binding.mac), (address(&host(60)), STATION_MAC));
    assert!(page.is_complete && binding.age < Duration::from_secs(30));
}

/// What is learned while all is read is told, too.
#[test]
fn nothing_is_missed_in_between() {
    let mut gateway = gateway();
    learn(&mut gateway, 20..40);
    let first = page(&mut gateway, BindingCursor::START, 10);
    learn(&mut gateway, 40..50);
    let (rest, _) = read(&mut gateway, first.next, 10);
    let told: std::collections::BTreeSet<_> =
        first.bindings.iter().map(|binding| binding.address).chain(rest).collect();
    assert_eq!(told, (20..50).map(|number| address(&host(number))).collect());
}

/// A peer tells all others what it has learned: what comes from it is not told once more.
#[test]
fn what_a_peer_told_is_for_no_other() {
    let mut gateway = gateway();
    let (_, cursor) = read(&mut gateway, BindingCursor::START, 10);
    let vni = wire::Vni::new(100).unwrap();
    let age = Duration::from_secs(1);
    let binding = Binding { vni, address: address(NEWCOMER[0]), mac: NEWCOMER_MAC, age };
    gateway.apply([Update::Bindings(vec![binding])]);
    assert!(state(&mut gateway, NEWCOMER[0]).is_some());
    assert!(read(&mut gateway, cursor, 10).0.is_empty());
    assert_eq!(read(&mut gateway, BindingCursor::START, 10).0, [address(NEWCOMER[0])]);
}

/// Who has not asked for too long reads all again.
#[test]
fn changes_are_not_kept_for_ever() {
    let mut gateway = gateway();
    let (_, cursor) = read(&mut gateway, BindingCursor::START, 10);
    learn(&mut gateway, 20..30);
    // As if an address went from one station to another all the time.
    let overlay = gateway.slow_path.tables().overlays.by_vni(wire::Vni::new(100).unwrap()).unwrap();
    for _ in 0..65_540 {
        gateway.slow_path.learned.push(NeighbourKey { overlay, address: address(&host(20)) });
    }
    let (told, _) = read(&mut gateway, cursor, 100);
    let told: std::collections::BTreeSet<_> = told.into_iter().collect();
    assert_eq!(told, (20..30).map(|number| address(&host(number))).collect());
}
