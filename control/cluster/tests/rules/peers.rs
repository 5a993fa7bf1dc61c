//! What a gateway makes of what it hears of others.

use super::*;

#[test]
fn bfd_alone_decides_about_death() {
    for mode in [announce(60), floating()] {
        let mut cluster = Cluster::new(3, mode);
        let share = cluster.owned(2);
        cluster.moved();
        cluster.disconnect(0, 2);
        cluster.disconnect(1, 2);
        for at in [0, 1] {
            cluster.members[at].heard(id(2), Segment::Uplink, Heard::Down, cluster.now);
            cluster.members[at].set_reflectors(Reflectors::Lost, cluster.now);
        }
        cluster.talk();
        assert_eq!(cluster.moved(), [], "the session, a segment, the reflectors: nothing moves");
        for at in [0, 1] {
            cluster.members[at].heard(id(2), Segment::Underlay, Heard::Down, cluster.now);
        }
        cluster.talk();
        let moves = cluster.moved();
        assert_eq!((moves.len(), cluster.owned(0) + cluster.owned(1)), (share as usize, 60));
        assert!(moves.iter().all(|(_, next)| next.cause == Cause::Died(id(2))), "{moves:?}");
        // AdminDown of one session is enough.
        cluster.members[0].set_reflectors(Reflectors::Complete, cluster.now);
        cluster.members[0].heard(id(1), Segment::Underlay, Heard::AdminDown, cluster.now);
        cluster.talk();
        assert_eq!(cluster.owned(0), 60);
    }
}

#[test]
fn a_member_is_removed_when_it_is_withdrawn_and_dead() {
    let mut cluster = Cluster::new(2, floating());
    let now = cluster.now;
    cluster.members[0].discover(id(1), true, now);
    cluster.members[0].configure(id(1), false, now);
    cluster.members[0].discover(id(1), false, now);
    cluster.talk();
    assert_eq!(cluster.members[0].peers().count(), 1, "it lives");
    cluster.members[0].discover(id(1), true, now);
    cluster.hear(0, 1, Heard::Down);
    cluster.talk();
    assert_eq!(cluster.members[0].peers().collect::<Vec<_>>(), [(id(1), Presence::Dead)], "it is announced");
    cluster.told();
    cluster.members[0].discover(id(1), false, now);
    cluster.talk();
    assert_eq!(cluster.told(), [(0, Output::Event(Event::MemberRemoved(id(1))))]);
    assert_eq!((cluster.members[0].peers().count(), cluster.owned(0)), (0, 60));
}

#[test]
fn a_member_has_its_configured_weight_until_it_says_another() {
    // Half of the groups would have the second as their first choice, and it is not there.
    let alone = |weight: Option<u16>| {
        let mut cluster = Cluster::new(2, floating());
        cluster.members[0].configure(id(2), true, cluster.now);
        cluster.members[1].configure(id(2), true, cluster.now);
        for at in 0..2 {
            if let Some(weight) = weight {
                cluster.members[at].expect_weight(id(2), Weight(weight), cluster.now);
            }
        }
        cluster.talk();
        cluster.assert_shared(&[0, 1]);
        (0..60).map(|group| cluster.members[0].owns(Group(group))).collect::<Vec<_>>()
    };
    assert_eq!(alone(None), alone(Some(Weight::default().0)));
    assert_ne!(alone(None), alone(Some(1000)), "the layout is that of all members");
    // What it has said counts.
    let mut cluster = Cluster::new(2, floating());
    cluster.moved();
    cluster.members[0].expect_weight(id(1), Weight(1000), cluster.now);
    cluster.talk();
    assert_eq!(cluster.owned(0), 30);
    assert!(cluster.moved().is_empty());
}

#[test]
fn a_weight_that_one_alone_has_heard_does_not_outlive_who_said_it() {
    for heard in [Heard::Up, Heard::Down] {
        let mut cluster = Cluster::new(3, floating());
        cluster.add(2, 2);
        cluster.hear_one(0, 2, Heard::Down);
        cluster.hear_one(1, 2, Heard::Down);
        cluster.talk();
        cluster.assert_shared(&[0, 1]);
        // It comes back with another weight, for a moment, or somebody has its key.
        cluster.hear_one(0, 2, heard);
        cluster.members[0].session_up(id(2), 2, Weight(1000), cluster.now);
        let report = Report { joined: true, leaving: false, weight: 1000, health: Health::default() };
        cluster.members[0].handle_message(id(2), Message::Report(report), cluster.now);
        cluster.talk();
        cluster.hear_one(0, 2, Heard::Down);
        cluster.talk();
        cluster.pass(Duration::from_secs(100));
        cluster.assert_shared(&[0, 1]);
    }
}

#[test]
fn members_are_bounded() {
    let mut cluster = Cluster::empty(floating());
    cluster.add(0, 1);
    (0..1000).for_each(|at| cluster.members[0].discover(id(at), true, cluster.now));
    assert_eq!(cluster.members[0].peers().count() + 1, cluster::assign::Members::MAX);
}

#[test]
fn what_was_said_before_admin_down_counts_no_more() {
    for mode in [announce(60), floating()] {
        let mut cluster = Cluster::new(2, mode);
        // Nothing arrives any longer, and neither end has noticed.
        cluster.sessions.clear();
        let ill = Health { healthy: false, ..Health::default() };
        cluster.members[1].set_health(ill, cluster.now);
        cluster.hear_one(0, 1, Heard::AdminDown);
        cluster.talk();
        cluster.assert_shared(&[0]);
        cluster.members[1].set_health(Health::default(), cluster.now);
        cluster.hear_one(0, 1, Heard::Up);
        cluster.talk();
        cluster.assert_shared(&[0]);
        cluster.hear_one(1, 0, Heard::Up);
        cluster.disconnect(0, 1);
        cluster.connect(0, 1, 1, 1);
        cluster.talk();
        cluster.assert_shared(&[0, 1]);
        assert!(cluster.owned(1) > 10);
    }
}

/// Somebody else said it, or it was heard of a session that was moved: the peer knows nothing of it.
#[test]
fn who_never_said_admin_down_is_asked_for_all_again() {
    for mode in [announce(60), floating()] {
        let mut cluster = Cluster::new(2, mode);
        cluster.hear_one(0, 1, Heard::AdminDown);
        cluster.talk();
        assert_eq!((cluster.owned(0), cluster.owned(1) > 10), (60, true));
        cluster.told();
        cluster.hear_one(0, 1, Heard::Up);
        cluster.talk();
        assert!(cluster.told().contains(&(0, Output::CloseSession(id(1)))));
        cluster.connect(0, 1, 1, 1);
        cluster.talk();
        cluster.assert_shared(&[0, 1]);
    }
}

#[test]
fn of_two_with_one_id_the_later_serves_and_both_say_so() {
    let mut cluster = Cluster::new(2, floating());
    let now = cluster.now;
    // A second gateway 2 has started later: the peer takes it, and refuses the earlier one from then on.
    assert_eq!(cluster.members[0].admit(id(1), 5, now), Ok(()));
    cluster.disconnect(0, 1);
    cluster.members[0].session_up(id(1), 5, Weight::default(), now);
    let refusal = Refusal::DuplicateId { incarnation: 5 };
    assert_eq!(cluster.members[0].admit(id(1), 1, now), Err(refusal));
    let earlier = Event::DuplicateId { id: id(1), incarnation: 1 };
    cluster.talk();
    assert!(cluster.told().contains(&(0, Output::Event(earlier.clone()))));
    // Again and again, and it is told of once.
    assert_eq!(cluster.members[0].admit(id(1), 1, now), Err(refusal));
    cluster.talk();
    assert!(!cluster.told().contains(&(0, Output::Event(earlier.clone()))));
    let messages: Vec<_> = std::iter::from_fn(|| cluster.members[0].poll_message(id(1))).collect();
    assert!(messages.contains(&Message::Duplicate { incarnation: 1 }), "{messages:?}");
    // The earlier one is told, and serves no more.
    cluster.members[1].session_refused(id(0), refusal, now);
    cluster.talk();
    let told = cluster.told();
    assert!(told.contains(&(1, Output::Event(Event::DuplicateId { id: id(1), incarnation: 5 }))), "{told:?}");
    assert_eq!((cluster.members[1].stage(), cluster.owned(1)), (Stage::Unfit, 0));
    // The later one only says so.
    let mut later = Cluster::empty(floating());
    later.add(0, 5);
    later.members[0].set_reflectors(Reflectors::Complete, now);
    assert_eq!(later.members[0].admit(id(0), 1, now), Err(refusal));
    later.talk();
    assert_eq!((later.members[0].stage(), later.owned(0)), (Stage::Serving, 60));
    assert!(later.told().contains(&(0, Output::Event(Event::DuplicateId { id: id(0), incarnation: 1 }))));
    // With one incarnation neither may.
    assert!(later.members[0].admit(id(0), 5, now).is_err());
    assert_eq!(later.members[0].stage(), Stage::Unfit);
}

#[test]
fn with_other_settings_the_later_one_waits() {
    let mut cluster = Cluster::empty(floating());
    (0..2).for_each(|at| cluster.add(at, at as u64 + 1));
    cluster.hear(0, 1, Heard::Up);
    for (at, of) in [(0, 1), (1, 0)] {
        let refusal = Refusal::Settings { incarnation: of as u64 + 1 };
        cluster.members[at].set_reflectors(Reflectors::Complete, cluster.now);
        cluster.members[at].session_refused(id(of), refusal, cluster.now);
    }
    cluster.talk();
    cluster.pass(Duration::from_secs(3600));
    assert_eq!((cluster.owned(0), cluster.members[1].stage()), (60, Stage::Joining));
    let refused = |at: usize| {
        move |output: &(usize, Output)| {
            output.0 == at && matches!(output.1, Output::Event(Event::Refused { .. }))
        }
    };
    let told = cluster.told();
    assert!((0..2).all(|at| told.iter().any(refused(at))), "both say so: {told:?}");
    cluster.hear_one(1, 0, Heard::Down);
    cluster.talk();
    assert_eq!(cluster.owned(1), 60);
}
