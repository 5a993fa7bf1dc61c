//! Gateways that are peers, or were to be.

use super::*;

#[test]
fn a_session_carries_messages_both_ways_and_comes_back_after_a_death() {
    run(async {
        let (one, mut two) = Gateway::pair();
        let (mut a, mut b) = (one.start(), two.start());
        assert_eq!(a.up(2).await, two.own);
        assert_eq!(b.up(1).await, one.own);
        // One session is there and stays: the second connection disturbs nobody.
        let longest = Bytes::from(vec![7; MAX_MESSAGE]);
        for n in 0..100_u32 {
            a.handle.send(2, Bytes::copy_from_slice(&n.to_be_bytes())).unwrap();
            assert_eq!(*b.message(1).await, n.to_be_bytes());
            b.handle.send(1, longest.clone()).unwrap();
            assert_eq!(a.message(2).await, longest);
        }
        assert_eq!(a.handle.send(2, vec![0; MAX_MESSAGE + 1].into()), Err(SendError::TooLong));
        assert_eq!(a.handle.send(3, longest.clone()), Err(SendError::Down));
        let status = &a.handle.statuses()[0];
        assert_eq!((status.sent, status.received), (100, 100));
        assert_eq!(status.state, State::Up(two.own.clone()));

        b.end().await;
        a.down(2).await;
        assert_eq!(a.handle.send(2, longest), Err(SendError::Down));
        two.own.incarnation += 1;
        let mut b = two.start();
        assert_eq!(a.up(2).await.incarnation, two.own.incarnation);
        b.up(1).await;
    });
}

#[test]
fn three_gateways_have_three_sessions() {
    run(async {
        let mut gateways = [1, 2, 3].map(Gateway::new);
        Gateway::introduce(&mut gateways.each_mut());
        let mut running = gateways.each_ref().map(Gateway::start);
        let all = async {
            for (n, gateway) in running.iter_mut().enumerate() {
                // In any order.
                let mut missing: Vec<u16> =
                    [1, 2, 3].into_iter().filter(|id| usize::from(*id) != n + 1).collect();
                while !missing.is_empty() {
                    let id = gateway.wait("up", |event| match event {
                        Event::Up { peer, .. } => Some(*peer),
                        Event::Down { peer, why } => panic!("{peer}: {why}"),
                        _ => None,
                    });
                    let id = id.await;
                    missing.retain(|missing| *missing != id);
                }
            }
        };
        all.await;
    });
}

#[test]
fn dates_in_certificates_mean_nothing() {
    run(async {
        let (one, mut two) = Gateway::pair();
        two.keys.dates = || Dates::Past;
        let (mut a, mut b) = (one.start(), two.start());
        a.up(2).await;
        b.up(1).await;
    });
}

#[test]
fn a_wrong_pin_is_refused_and_both_say_so() {
    run(async {
        let (mut one, two) = Gateway::pair();
        one.peers[0].pin = Keys::new().pin();
        let (mut a, mut b) = (one.start(), two.start());
        let pin = two.keys.pin();
        a.refused(2, |why| *why == Why::Unpinned(Unpinned::Unknown(pin))).await;
        b.refused(1, |why| *why == Why::NotAccepted).await;
    });
}

#[test]
fn a_gateway_with_the_certificate_of_another_is_refused() {
    run(async {
        let mut gateways = [1, 2, 3].map(Gateway::new);
        Gateway::introduce(&mut gateways.each_mut());
        let [one, two, three] = &mut gateways;
        let pins = (one.peers[1].pin, one.peers[0].pin);
        (one.peers[0].pin, one.peers[1].pin) = pins;
        // Only this one's connections are judged here, and only those that come.
        let (mut a, mut b, _c) = (one.start(), two.start(), three.start());
        a.refused(3, |why| {
            matches!(why, Why::Unpinned(_) | Why::Refused(Refusal::WrongId { expected: 3, said: 2 }))
        })
        .await;
        b.refused(1, |why| *why == Why::NotAccepted || theirs("says that it is 2")(why)).await;
    });
}

#[test]
fn a_certificate_says_which_id_its_owner_has() {
    run(async {
        let (mut one, two) = Gateway::pair();
        one.peers[0].id = 3;
        let (mut a, mut b) = (one.start(), two.start());
        a.refused(3, is(Refusal::WrongId { expected: 3, said: 2 })).await;
        b.refused(1, theirs("says that it is 2")).await;
    });
}

#[test]
fn settings_that_differ_are_named_on_both_sides() {
    run(async {
        let (one, mut two) = Gateway::pair();
        two.own.sections.insert(Section::OVERLAYS, [9; 32]);
        let (mut a, mut b) = (one.start(), two.start());
        // And which of the two started first.
        let differ = |of: &Gateway| Refusal::Settings {
            sections: vec![Section::OVERLAYS],
            incarnation: of.own.incarnation,
        };
        a.refused(2, is(differ(&two))).await;
        b.refused(1, is(differ(&one))).await;
        // Corrected there, they are peers.
        b.end().await;
        two.own.sections = one.own.sections.clone();
        let mut b = two.start();
        b.up(1).await;
        a.up(2).await;
    });
}

#[test]
fn other_clusters_and_versions_are_refused() {
    run(async {
        let (one, mut two) = Gateway::pair();
        two.own.cluster = 8;
        let (mut a, mut b) = (one.start(), two.start());
        a.refused(2, is(Refusal::Cluster { theirs: 8, ours: 7 })).await;
        b.refused(1, is(Refusal::Cluster { theirs: 7, ours: 8 })).await;
        b.end().await;
        two.own.versions = 2..=3;
        let _b = two.start();
        a.refused(2, is(Refusal::Version { first: 2, last: 3 })).await;
    });
}

#[test]
fn two_gateways_with_one_id_both_say_so() {
    run(async {
        let (mut one, mut two) = Gateway::pair();
        two.own.id = 1;
        two.peers[0].id = 9;
        one.own.incarnation = 5;
        let (mut a, mut b) = (one.start(), two.start());
        a.refused(2, is(Refusal::DuplicateId { id: 1, incarnation: two.own.incarnation })).await;
        b.refused(9, is(Refusal::DuplicateId { id: 1, incarnation: 5 })).await;
    });
}

/// A copy of a gateway's disk was started elsewhere, with `ids` of the one that watches and of the two that are one.
fn copied([watcher, copied]: [u16; 2]) {
    run(async move {
        let (mut one, mut two) = (Gateway::new(watcher), Gateway::new(copied));
        Gateway::introduce(&mut [&mut one, &mut two]);
        let (mut a, mut b) = (one.start(), two.start());
        a.up(copied).await;
        b.up(watcher).await;
        // The later one takes the session over, and the earlier one is told, and told again.
        two.own.incarnation += 1;
        two.address = address();
        let mut copy = two.start();
        assert_eq!(a.down(copied).await, Why::Restarted);
        assert_eq!(a.up(copied).await.incarnation, two.own.incarnation);
        copy.up(watcher).await;
        let why = b.down(watcher).await;
        assert!(theirs("started later")(&why), "{why}");
        let later = two.own.incarnation;
        for _ in 0..3 {
            b.refused(watcher, |why| match why {
                Why::Refused(refusal) => {
                    refusal.evidence() == cluster::Refusal::DuplicateId { incarnation: later }
                }
                _ => false,
            })
            .await;
            // Beside the session with the other.
            a.refused_beside(copied, is(Refusal::Copy { id: copied, earlier: later - 1, later })).await;
        }
        assert!(matches!(copy.handle.statuses()[0].state, State::Up(_)));
    });
}

#[test]
fn a_copy_of_a_gateway_is_noticed() {
    copied([1, 2]);
}

#[test]
fn a_copy_of_a_gateway_with_the_lower_id_is_noticed_too() {
    copied([2, 1]);
}

#[test]
fn a_gateway_that_finds_itself_says_so() {
    run(async {
        let (mut one, _) = Gateway::pair();
        one.peers[0].address = one.address;
        let mut a = one.start();
        a.refused(2, |why| *why == Why::Unpinned(Unpinned::Own)).await;
    });
}
