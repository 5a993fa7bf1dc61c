use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

fn arrive(sequence: &mut Sequence, numbers: &[u32]) -> Vec<Arrival> {
    numbers.iter().map(|number| sequence.arrive(*number).1).collect()
}

/// Ranges of lost numbers: the first, and the one after the last.
fn lost(sequence: &mut Sequence) -> Vec<[u64; 2]> {
    std::iter::from_fn(|| sequence.take_lost(u64::MAX)).map(|lost| [lost.start, lost.end]).collect()
}

fn numbers(sequence: &mut Sequence) -> impl Iterator<Item = u64> {
    lost(sequence).into_iter().flat_map(|[start, end]| start..end)
}

const fn late_by(extent: u64) -> Arrival {
    Arrival::Reordered { extent: Some(extent) }
}

#[test]
fn extents_count_from_the_first_that_overtook() {
    use Arrival::InOrder;
    let mut sequence = Sequence::new(Begin::AtFirst, 128);
    let arrivals = arrive(&mut sequence, &[1, 2, 3, 7, 8, 9, 4, 5, 6]);
    assert_eq!(arrivals[..6], [InOrder; 6]);
    assert_eq!(arrivals[6..], [late_by(3), late_by(4), late_by(5)]);
    sequence.finish(None);
    assert_eq!((sequence.lost(), sequence.unique(), lost(&mut sequence)), (0, 9, vec![]));
}

#[test]
fn losses_at_both_ends_count_where_the_ends_are_known() {
    let mut known = Sequence::new(Begin::AtZero, 128);
    arrive(&mut known, &[2, 3, 5]);
    known.finish(Some(8));
    assert_eq!((known.lost(), lost(&mut known)), (5, vec![[0, 2], [4, 5], [6, 8]]));

    let mut unknown = Sequence::new(Begin::AtFirst, 128);
    arrive(&mut unknown, &[2, 3, 5]);
    unknown.finish(None);
    assert_eq!((unknown.lost(), lost(&mut unknown)), (1, vec![[4, 5]]));

    let mut nothing = Sequence::new(Begin::AtZero, 128);
    nothing.finish(Some(3));
    assert_eq!((nothing.lost(), lost(&mut nothing)), (3, vec![[0, 3]]));
    let mut never = Sequence::new(Begin::AtFirst, 128);
    never.finish(None);
    assert_eq!((never.lost(), lost(&mut never)), (0, vec![]));
}

#[test]
fn numbers_wrap() {
    let mut sequence = Sequence::new(Begin::AtFirst, 128);
    let arrivals = arrive(&mut sequence, &[u32::MAX - 1, 0, u32::MAX, 1, u32::MAX]);
    use Arrival::{Duplicate, InOrder};
    assert_eq!(arrivals, [InOrder, InOrder, late_by(1), InOrder, Duplicate]);
    assert_eq!(sequence.arrive(2).0, Some((1 << 32) + 2));
    assert_eq!(sequence.lost(), 0);
}

#[test]
fn what_is_behind_the_window_is_late_and_stays_lost() {
    let mut sequence = Sequence::new(Begin::AtZero, 128);
    arrive(&mut sequence, &[0, 2]);
    assert_eq!(sequence.arrive(1000).1, Arrival::InOrder);
    assert_eq!(arrive(&mut sequence, &[1, 2, 800]), [Arrival::Late; 3]);
    sequence.finish(None);
    assert_eq!((sequence.lost(), lost(&mut sequence)), (998, vec![[1, 2], [3, 1000]]));
    // Before the first number there is nothing.
    let mut first = Sequence::new(Begin::AtFirst, 128);
    assert_eq!(arrive(&mut first, &[5, 4, u32::MAX]), [Arrival::InOrder, Arrival::Late, Arrival::Late]);
}

#[test]
fn a_leap_costs_no_more_than_the_window() {
    let mut sequence = Sequence::new(Begin::AtZero, 128);
    for leap in 1..=1000_u32 {
        sequence.arrive(leap.wrapping_mul(0x7fff_ffff));
    }
    sequence.finish(None);
    let told: u64 = lost(&mut sequence).iter().map(|[start, end]| end - start).sum();
    assert_eq!(told + sequence.untold(), sequence.lost());
}

/// What happens to the numbers from 0 on.
fn events() -> impl Strategy<Value = Vec<u32>> {
    // Each packet: how often it comes (0 to 2), and how many places each copy is moved back.
    let copy = prop_oneof![4 => Just(0_u32), 1 => 0..20_u32, 1 => 0..400_u32];
    prop::collection::vec(prop::collection::vec(copy, 0..3), 0..600).prop_map(|packets| {
        let mut copies: Vec<(u32, u32)> = Vec::new();
        for (number, places) in (0..).zip(packets) {
            copies.extend(places.iter().map(|places| (number + places, number)));
        }
        copies.sort_by_key(|(place, _)| *place);
        copies.into_iter().map(|(_, number)| number).collect()
    })
}

proptest! {
    /// Everything is as a model says that remembers all.
    #[test]
    fn as_by_the_definitions(order in events(), offset in prop_oneof![Just(0_u32), any::<u32>()]) {
        // Long enough for all that happens here.
        let mut sequence = Sequence::new(if offset == 0 { Begin::AtZero } else { Begin::AtFirst }, 1024);
        let Some(&first) = order.first() else { return Ok(()) };
        let begin = if offset == 0 { 0 } else { first };
        let mut came: Vec<u32> = Vec::new();
        let mut seen = HashSet::new();
        for &number in &order {
            let (_, arrival) = sequence.arrive(number.wrapping_add(offset));
            let expected = if number < begin {
                Arrival::Late
            } else if !seen.insert(number) {
                Arrival::Duplicate
            } else {
                let overtaker = came.iter().position(|other| *other > number);
                let place = came.len();
                came.push(number);
                overtaker.map_or(Arrival::InOrder, |overtaker| late_by((place - overtaker) as u64))
            };
            prop_assert_eq!(arrival, expected);
        }
        let highest = *came.iter().max().unwrap();
        sequence.finish(None);
        let missing: Vec<u64> = (begin..highest).filter(|number| !seen.contains(number)).map(u64::from).collect();
        prop_assert_eq!(sequence.lost(), missing.len() as u64);
        prop_assert_eq!(sequence.unique(), seen.len() as u64);
        let told: Vec<u64> =
            numbers(&mut sequence).map(|number| number - u64::from(offset)).collect();
        prop_assert_eq!(told, missing);
    }

    /// With a small window: nothing is counted twice, and nothing is forgotten.
    #[test]
    fn the_books_balance_behind_the_window(order in events(), sent in 0..1000_u64) {
        let mut sequence = Sequence::new(Begin::AtZero, 128);
        let (mut unique, mut late) = (0, 0);
        for &number in &order {
            match sequence.arrive(number).1 {
                Arrival::InOrder | Arrival::Reordered { .. } => unique += 1,
                Arrival::Late => late += 1,
                Arrival::Duplicate => {}
            }
        }
        sequence.finish(Some(sent));
        let end = order.iter().max().map_or(0, |highest| u64::from(*highest) + 1).max(sent);
        let distinct = order.iter().collect::<HashSet<_>>().len() as u64;
        prop_assert_eq!(sequence.unique(), unique);
        prop_assert_eq!(sequence.lost() + unique, end);
        prop_assert!(distinct <= unique + late);
        let mut told = HashSet::new();
        for number in numbers(&mut sequence) {
            prop_assert!(told.insert(number));
        }
        prop_assert_eq!(told.len() as u64, sequence.lost());
    }
}
