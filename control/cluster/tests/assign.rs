//! What assignment promises: who moves and who doesn't, and how even it is.

use cluster::assign::{GatewayId, Key, Layout, Member, Members, ShardCount, Weight};
use proptest::prelude::*;

fn id(id: u16) -> GatewayId {
    GatewayId::new(id).unwrap()
}

fn member(number: u16, weight: u16) -> Member {
    Member { id: id(number), weight: Weight(weight) }
}

/// Gateways 1 to n of equal weight.
fn equal(n: u16) -> Members {
    Members::new((1..=n).map(|number| member(number, 100))).unwrap()
}

fn arbitrary_members(least: usize, most: usize) -> impl Strategy<Value = Vec<Member>> {
    let weights = prop_oneof![Just(100u16), 1..400u16, Just(1), Just(u16::MAX)];
    proptest::collection::btree_map(1..=u16::MAX, weights, least..=most)
        .prop_map(|all| all.into_iter().map(|(number, weight)| member(number, weight)).collect())
}

fn arbitrary_shards() -> impl Strategy<Value = ShardCount> {
    prop_oneof![3 => 1..300u16, 1 => Just(256), 1 => Just(1000)]
        .prop_map(|shards| ShardCount::new(shards).unwrap())
}

/// Those members that `keep` says.
fn only(members: &Members, keep: impl Fn(GatewayId) -> bool) -> Members {
    Members::new(members.as_slice().iter().copied().filter(|member| keep(member.id))).unwrap()
}

/// The place of one member in the order for a key, 0 for the winner.
fn place(members: &Members, key: Key, id: GatewayId) -> usize {
    members.rank(key).into_iter().position(|ranked| ranked == id).unwrap()
}

fn count(owners: &[GatewayId], id: GatewayId) -> usize {
    owners.iter().filter(|&&owner| owner == id).count()
}

/// Shards that another than `gone` had before, and another yet has after.
fn moved_besides(before: &[GatewayId], after: &[GatewayId], gone: GatewayId) -> usize {
    before.iter().zip(after).filter(|&(&from, &to)| from != to && from != gone).count()
}

fn assert_quotas(owners: &[GatewayId], serving: &Members) {
    for member in serving.as_slice() {
        let share = owners.len() * usize::from(member.weight.0);
        let total = serving.total_weight() as usize;
        let count = count(owners, member.id);
        assert!((share / total..=share.div_ceil(total)).contains(&count), "{member:?}: {count} {serving:?}");
    }
}

proptest! {
    #[test]
    fn who_goes_moves_its_own_keys_alone(all in arbitrary_members(2, 12), gone: prop::sample::Index, vnis: [u32; 64]) {
        let members = Members::new(all.clone()).unwrap();
        let gone = all[gone.index(all.len())].id;
        let rest = only(&members, |id| id != gone);
        for key in vnis.map(Key::overlay) {
            let order = members.rank(key);
            let without: Vec<_> = order.iter().copied().filter(|&id| id != gone).collect();
            prop_assert_eq!(rest.rank(key), without);
            prop_assert_eq!(rest.place(key, gone), rest.as_slice().len());
            for (place, &id) in order.iter().enumerate() {
                prop_assert_eq!(members.place(key, id), place);
            }
            prop_assert_eq!(members.winner(key), Some(order[0]));
        }
    }

    #[test]
    fn more_weight_only_attracts(all in arbitrary_members(2, 12), which: prop::sample::Index, more in 1..1000u16, vnis: [u32; 64]) {
        let members = Members::new(all.clone()).unwrap();
        let mut heavier = all;
        let which = which.index(heavier.len());
        let id = heavier[which].id;
        heavier[which].weight = Weight(heavier[which].weight.0.saturating_add(more));
        let heavier = Members::new(heavier).unwrap();
        for key in vnis.map(Key::overlay) {
            let (before, after) = (members.winner(key), heavier.winner(key));
            prop_assert!(after == before || after == Some(id));
            prop_assert!(place(&heavier, key, id) <= place(&members, key, id));
        }
    }

    #[test]
    fn the_order_of_members_changes_nothing(all in arbitrary_members(1, 8).prop_shuffle(), shards in arbitrary_shards(), vni: u32) {
        let members = Members::new(all.clone()).unwrap();
        let reversed = Members::new(all.into_iter().rev()).unwrap();
        prop_assert_eq!(members.rank(Key::overlay(vni)), reversed.rank(Key::overlay(vni)));
        let owners = |members| Layout::new(members, shards).owners(|_| true);
        prop_assert_eq!(owners(members), owners(reversed));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn quotas_hold_whoever_serves(all in arbitrary_members(1, 10), shards in arbitrary_shards(), serves: [bool; 10]) {
        let members = Members::new(all.clone()).unwrap();
        let up: Vec<_> = all.iter().zip(serves).filter(|(_, serves)| *serves).map(|(member, _)| member.id).collect();
        let owners = Layout::new(members.clone(), shards).owners(|id| up.contains(&id));
        prop_assert_eq!(owners.is_none(), up.is_empty());
        let Some(owners) = owners else { return Ok(()) };
        prop_assert_eq!(owners.len(), usize::from(shards.value()));
        prop_assert!(owners.iter().all(|id| up.contains(id)));
        assert_quotas(&owners, &only(&members, |id| up.contains(&id)));
    }

    /// The bound that the book proves for the first failure; read backwards, for a return.
    #[test]
    fn one_death_moves_its_shards_and_fewer_than_n_more(all in arbitrary_members(2, 12), shards in arbitrary_shards()) {
        let layout = Layout::new(Members::new(all.clone()).unwrap(), shards);
        let before = layout.owners(|_| true).unwrap();
        for gone in &all {
            let after = layout.owners(|id| id != gone.id).unwrap();
            prop_assert!(moved_besides(&before, &after, gone.id) < all.len());
        }
    }

    /// Measured, not proven: at most about n more while half of the members live.
    #[test]
    fn more_deaths_move_little_more(all in arbitrary_members(3, 12).prop_shuffle()) {
        let layout = Layout::new(Members::new(all.clone()).unwrap(), ShardCount::default());
        let serving = |dead: usize| layout.owners(|id| all[dead..].iter().any(|member| member.id == id)).unwrap();
        for dead in 0..all.len() / 2 {
            let more = moved_besides(&serving(dead), &serving(dead + 1), all[dead].id);
            prop_assert!(more <= 2 * all.len(), "{} of {}: {}", dead + 1, all.len(), more);
        }
    }

    /// A new list of members is a new layout. Measured, not proven: it moves √(S·n) more or so.
    #[test]
    fn a_new_member_moves_few_besides_its_own(all in arbitrary_members(2, 12), shards in arbitrary_shards()) {
        let members = Members::new(all.clone()).unwrap();
        let new = all[0].id;
        let after = Layout::new(members.clone(), shards).owners(|_| true).unwrap();
        let before = Layout::new(only(&members, |id| id != new), shards).owners(|_| true).unwrap();
        let more = moved_besides(&after, &before, new);
        prop_assert!(more as f64 <= 2.0 * (f64::from(shards.value()) * all.len() as f64).sqrt(), "{}", more);
    }

    #[test]
    fn consecutive_vnis_are_even_over_shards(shards in arbitrary_shards(), first in 1u32..16_000_000) {
        let n = u32::from(shards.value());
        let mut counts = vec![0i64; usize::from(shards.value())];
        (first..first + 16 * n).for_each(|vni| counts[usize::from(shards.shard_of(vni))] += 1);
        // Whole rounds give 15 or 16 to each, the parts at both ends 0 or 1 each.
        prop_assert!(counts.iter().all(|count| (15..=17).contains(count)), "{:?}", counts);
    }
}

#[test]
fn drained_gateways_take_nothing() {
    let all = [member(1, 0), member(2, 100), member(3, 0)];
    let members = Members::new(all).unwrap();
    for key in (1..1000).map(Key::overlay) {
        assert_eq!(members.winner(key), Some(id(2)));
        assert_eq!((place(&members, key, id(2)), members.rank(key).len()), (0, 3));
    }
    let layout = Layout::new(members.clone(), ShardCount::default());
    assert_eq!(layout.owners(|_| true), Some(vec![id(2); 256]));
    assert_eq!(layout.owners(|gateway| gateway != id(2)), None);
    let nobody = only(&members, |gateway| gateway != id(2));
    assert_eq!(nobody.winner(Key::overlay(1)), None);
}

/// Of 65 536 consecutive overlays, the part that each gateway has, over its part of the weight.
fn evenness(members: &Members) -> Vec<f64> {
    let winners: Vec<_> = (1..=65_536).map(|vni| members.winner(Key::overlay(vni)).unwrap()).collect();
    let share = |member: &Member| f64::from(member.weight.0) / f64::from(members.total_weight());
    members.as_slice().iter().map(|m| count(&winners, m.id) as f64 / 65_536.0 / share(m)).collect()
}

#[test]
fn overlays_are_even() {
    for (gateways, within) in [(2, 0.02), (3, 0.02), (10, 0.04), (20, 0.08)] {
        let parts = evenness(&equal(gateways));
        assert!(parts.iter().all(|part| (part - 1.0).abs() < within), "{gateways}: {parts:?}");
    }
}

#[test]
fn overlays_follow_weights() {
    let weights = [(1, 100), (2, 200), (3, 700), (4, 50)];
    let members = Members::new(weights.map(|(number, weight)| member(number, weight))).unwrap();
    for (member, part) in members.as_slice().iter().zip(evenness(&members)) {
        let share = f64::from(member.weight.0) / 1050.0;
        // Four standard deviations of a binomial distribution, over its mean.
        let within = 4.0 * ((1.0 - share) / share / 65_536.0).sqrt();
        assert!((part - 1.0).abs() < within, "{member:?}: {part}, within {within}");
    }
}

#[test]
fn vnis_in_strides_are_even_over_shards() {
    for shards in [256, 300] {
        let shards = ShardCount::new(shards).unwrap();
        for stride in [2, 10, 16, 100, 256, 300, 1000, 1024, 4096] {
            let mut counts = vec![0u32; usize::from(shards.value())];
            let vnis = 16_777_215 / stride;
            (1..=vnis).for_each(|n| counts[usize::from(shards.shard_of(n * stride))] += 1);
            let mean = f64::from(vnis) / f64::from(shards.value());
            let worst = counts.iter().map(|&n| (f64::from(n) - mean).abs()).fold(0.0, f64::max);
            assert!(worst < 6.0 * mean.sqrt(), "{stride} over {shards:?}: {worst} beside {mean}");
        }
    }
}
