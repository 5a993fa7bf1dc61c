//! The table against a map that is obviously right.

use std::collections::HashMap;

use proptest::prelude::*;

use super::limits::BROKEN;
use super::*;

/// Under this secret, all keys have the same hash.
const CONSTANT: Secret = Secret::fixed([1, 2, 3, 0]);

#[derive(Clone, Debug)]
enum Step {
    Insert(u16, u32),
    Remove(u16),
    Get(u16),
    Maintain,
    Quiesce,
    Offline,
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..400_u16;
    prop_oneof![
        6 => (key.clone(), any::<u32>()).prop_map(|(key, seed)| Step::Insert(key, seed)),
        3 => key.clone().prop_map(Step::Remove),
        2 => key.prop_map(Step::Get),
        1 => Just(Step::Maintain),
        1 => Just(Step::Quiesce),
        1 => Just(Step::Offline),
    ]
}

/// Keys of all kinds.
fn key(n: u16) -> FlowKey {
    let vni = Vni::new(u32::from(n % 3) + 1).unwrap();
    match n % 4 {
        0 => FlowKey::mac(vni, MacAddr([2, 0, 0, 0, (n >> 8) as u8, n as u8])),
        1 | 2 => FlowKey::address(vni, std::net::Ipv4Addr::from_bits(0x0a00_0000 + u32::from(n)).into()),
        _ => FlowKey::address(vni, std::net::Ipv6Addr::from_bits(0xfe80 << 112 | u128::from(n)).into()),
    }
}

fn entries(each: impl FnOnce(&mut dyn FnMut(FlowKey, Flow))) -> HashMap<FlowKey, Flow> {
    let mut all = HashMap::new();
    each(&mut |key, flow| assert_eq!(all.insert(key, flow), None, "{key:?} twice"));
    all
}

proptest! {
    #[test]
    fn agrees_with_a_map(
        steps in proptest::collection::vec(step(), 1..600),
        max_flows in prop_oneof![0..20_usize, 200..400_usize],
        max_buckets in 0..8_u32,
        (secret, collide) in prop_oneof![3 => Just((SECRET, false)), 1 => Just((BROKEN, true)), 1 => Just((CONSTANT, true))],
    ) {
        let (mut writer, readers) = with_limits(max_flows, 2, secret, 1, 1 << max_buckets).unwrap();
        let mut reader = readers.reader().unwrap();
        let mut map: HashMap<FlowKey, Flow> = HashMap::new();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Insert(n, seed) => match writer.insert(key(n), flow(seed)) {
                    Ok(before) => prop_assert_eq!(before, map.insert(key(n), flow(seed))),
                    Err(TableFull) => {
                        // A refusal must have a reason, and change nothing.
                        let statistics = writer.statistics();
                        let full = map.len() == max_flows || map.len() * 2 >= SLOTS << max_buckets;
                        let stalled = statistics.retired >= 64;
                        prop_assert!(full || stalled || collide, "{statistics:?}");
                    }
                },
                Step::Remove(n) => prop_assert_eq!(writer.remove(key(n)), map.remove(&key(n))),
                Step::Get(n) => prop_assert_eq!(writer.get(key(n)), map.get(&key(n)).copied()),
                Step::Maintain => _ = writer.maintain(),
                Step::Quiesce => reader.quiesce(),
                Step::Offline => reader.offline(),
            }
            prop_assert_eq!(writer.len(), map.len());
            let view = reader.view();
            // Some keys after each step, all after some.
            for n in (number % 20..400).step_by(20) {
                let n = n as u16;
                prop_assert_eq!(view.get(key(n)), map.get(&key(n)).copied());
            }
        }
        prop_assert_eq!(&entries(|each| writer.for_each(each)), &map);
        prop_assert_eq!(&entries(|each| reader.view().for_each(each)), &map);
        drop(reader);
        while writer.maintain() {}
        prop_assert_eq!(&entries(|each| writer.for_each(each)), &map);
        for key in map.keys() {
            prop_assert!(writer.remove(*key).is_some());
        }
        prop_assert!(entries(|each| writer.for_each(each)).is_empty());
        prop_assert_eq!(writer.statistics().overflowed, 0);
    }
}
