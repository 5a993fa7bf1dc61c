//! All that can happen to a small cluster, breadth first and to its end: three gateways in mode `floating`, two shards, and
//! one message under way at most from each to each. What BFD tells is an event. Time passes when nothing else is left to
//! happen. Faults come at any moment, and their ends when [`cluster::Ends`] says.

mod cluster;
mod gateway;
mod hash;

use std::collections::HashSet;
use std::hash::BuildHasherDefault;

use crate::cluster::{Ends, Limits, State, Step};
use crate::gateway::Gateways;
use crate::hash::{Same, hash};

/// The state before each, by place, and the step between.
type Ways = Vec<(u32, Option<Step>)>;

/// The steps by which a state was reached.
fn path(ways: &Ways, way: u32) -> Vec<Step> {
    let before = |&way: &u32| ways[way as usize].1.map(|_| ways[way as usize].0);
    let mut path: Vec<_> =
        std::iter::successors(Some(way), before).filter_map(|way| ways[way as usize].1).collect();
    path.reverse();
    path
}

/// Looks at every state that can be reached. How many there are, and how many of them at rest.
fn explore(limits: Limits) -> (usize, usize) {
    let mut gateways = Gateways::new();
    let start = State::new(&mut gateways, limits).unwrap();
    let mut seen: HashSet<u64, BuildHasherDefault<Same>> = HashSet::from_iter([hash(&start)]);
    let mut ways: Ways = vec![(0, None)];
    // States of as many steps, whose ways are the last ones in this order.
    let mut level = vec![start];
    let (mut rests, mut most, mut way) = (0, 0, 0);
    while !level.is_empty() {
        let mut next_level = Vec::new();
        for state in level {
            let (choices, rest) = state.choices(&gateways, limits);
            if rest {
                rests += 1;
                state
                    .check_rest(&gateways)
                    .unwrap_or_else(|error| panic!("{error} after {:?}", path(&ways, way)));
            }
            for choice in choices {
                let next = state.after(&mut gateways, limits, choice).unwrap_or_else(|error| {
                    panic!("{error} after {:?} and {:?}", path(&ways, way), choice.step)
                });
                if seen.insert(hash(&next)) {
                    ways.push((way, Some(choice.step)));
                    next_level.push(next);
                }
            }
            way += 1;
        }
        level = next_level;
        most += usize::from(!level.is_empty());
    }
    let (alone, compared) = (gateways.len(), gateways.compare());
    println!(
        "{limits:?}: {} states, {rests} at rest, {most} steps at most; \
         {alone} states of single gateways, {compared} of their steps compared",
        seen.len()
    );
    (seen.len(), rests)
}

#[test]
fn one_fault_ends_well_in_every_order() {
    let (_, rests) = explore(Limits { faults: 1, swaps: Limits::ALL, ends: Ends::AnyMoment });
    assert!(rests > 5);
}

#[test]
fn two_faults_end_well_in_every_order() {
    let (_, rests) = explore(Limits { faults: 2, swaps: Limits::ALL, ends: Ends::Alone });
    assert!(rests > 5);
}

#[test]
fn two_faults_at_any_moment_end_well_in_order() {
    let (_, rests) = explore(Limits { faults: 2, swaps: 1, ends: Ends::AnyMoment });
    assert!(rests > 5);
}

#[test]
#[ignore = "long; part of scripts/test --long"]
fn two_faults_end_well_but_for_two_steps_in_order() {
    let (_, rests) = explore(Limits { faults: 2, swaps: 2, ends: Ends::AnyMoment });
    assert!(rests > 5);
}

#[test]
#[ignore = "long; part of scripts/test --long"]
fn two_faults_with_ends_when_all_is_told_end_well_but_for_four_steps_in_order() {
    let (_, rests) = explore(Limits { faults: 2, swaps: 4, ends: Ends::Told });
    assert!(rests > 5);
}
