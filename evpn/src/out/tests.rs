//! Whatever is announced and withdrawn, and however far each peer reads: in the end it knows what there is.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::journal::{Journal, Version};
use super::*;

fn key(number: u8) -> Key {
    Key::Flood { vni: Vni::new(u32::from(number) + 1).unwrap(), vtep: Ipv4Addr::LOCALHOST.into() }
}

fn attributes(med: u32) -> Attributes {
    let prefix = PrefixAttributes {
        next_hop: Ipv4Addr::LOCALHOST.into(),
        med: Some(med),
        local_pref: None,
        communities: vec![],
    };
    Attributes::prefix(prefix)
}

#[derive(Clone, Debug)]
enum Step {
    Announce(u8, u32),
    Withdraw(u8),
    Read { peer: usize, count: usize },
    Restart(usize),
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0u8..12, 0u32..3).prop_map(|(number, med)| Step::Announce(number, med)),
        (0u8..12).prop_map(Step::Withdraw),
        (0usize..3, 1usize..5).prop_map(|(peer, count)| Step::Read { peer, count }),
        (0usize..3).prop_map(Step::Restart),
    ]
}

proptest! {
    #[test]
    fn every_peer_comes_to_know_what_there_is(steps in prop::collection::vec(steps(), 0..200)) {
        let mut journal = Journal::default();
        let mut there = BTreeMap::new();
        let mut peers: [(Version, BTreeMap<Key, u32>); 3] = Default::default();
        let read = |journal: &mut Journal, peers: &mut [(Version, BTreeMap<Key, u32>)], peer: usize, count| {
            let (told, known) = &mut peers[peer];
            let (changes, reached) = journal.after(*told, count);
            for (key, attributes) in changes {
                match attributes.and_then(|attributes| attributes.med) {
                    Some(med) => drop(known.insert(key, med)),
                    None => drop(known.remove(&key)),
                }
            }
            *told = reached;
            let all = peers.iter().map(|(told, _)| *told).min().unwrap_or(0);
            journal.bury(all);
        };
        for step in steps {
            match step {
                Step::Announce(number, med) => {
                    journal.announce(key(number), attributes(med));
                    there.insert(key(number), med);
                }
                Step::Withdraw(number) => {
                    journal.withdraw(key(number));
                    there.remove(&key(number));
                }
                Step::Read { peer, count } => read(&mut journal, &mut peers, peer, count),
                Step::Restart(peer) => peers[peer] = Default::default(),
            }
            prop_assert_eq!(journal.len(), there.len());
        }
        for peer in 0..3 {
            while peers[peer].0 < journal.last() {
                read(&mut journal, &mut peers, peer, 3);
            }
            prop_assert_eq!(&peers[peer].1, &there);
        }
        prop_assert_eq!(journal.graves(), 0, "what all know to be gone is forgotten");
    }
}
