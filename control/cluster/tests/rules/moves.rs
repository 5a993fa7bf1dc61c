//! Which groups move when, in what order, and with which sequences.

use super::*;

#[test]
fn sequences_rise_above_all_that_were_seen_and_never_in_answer() {
    let mut cluster = Cluster::new(2, announce(60));
    let group = cluster.group_of(1);
    cluster.moved();
    for (sequence, group) in [(7, group), (3, group), (9, cluster.group_of(0)), (u32::MAX, Group(60))] {
        cluster.members[0].sequence_seen(group, sequence);
    }
    cluster.talk();
    cluster.pass(Duration::from_secs(1));
    assert_eq!(cluster.moved(), [], "routes of others, stale ones, and our own reflected back");
    cluster.hear_one(0, 1, Heard::Down);
    cluster.talk();
    let moves = cluster.moved();
    let sequence = |group| moves.iter().find(|(_, next)| next.group == group).map(|(_, next)| next.action);
    assert_eq!(sequence(group), Some(Action::Take { sequence: Some(8) }));
    assert_eq!(sequence(cluster.group_of(1)), Some(Action::Take { sequence: Some(8) }));
    // At the end of the numbers there is none above.
    let mut cluster = Cluster::empty(announce(1));
    cluster.add(0, 1);
    cluster.members[0].sequence_seen(Group(0), u32::MAX);
    cluster.members[0].set_reflectors(Reflectors::Complete, cluster.now);
    cluster.talk();
    assert_eq!(cluster.moved()[0].1.action, Action::Take { sequence: Some(u32::MAX) });
}

#[test]
fn an_overlay_that_moved_too_often_is_held_and_then_goes_home() {
    let mut cluster = Cluster::new(2, announce(60));
    let (group, share) = (cluster.group_of(1), cluster.owned(1));
    let mut times = 0;
    for _ in 0..5 {
        cluster.hear(0, 1, Heard::Down);
        cluster.talk();
        cluster.moved();
        cluster.hear(0, 1, Heard::Up);
        cluster.connect(0, 1, 1, 1);
        // It has let go meanwhile, as who starts anew has.
        cluster.talk();
        times += cluster
            .moved()
            .iter()
            .filter(|(_, next)| next.group == group && next.cause == Cause::Won(id(0)))
            .count();
        cluster.add(1, 2);
    }
    assert!(times <= 3);
    // A peer that starts again and again: what it takes is three moves at most, its deaths apart.
    let mut cluster = Cluster::new(2, announce(60));
    let mut taken = 0;
    for start in 2..8 {
        cluster.hear_one(0, 1, Heard::Down);
        cluster.talk();
        cluster.add(1, start);
        cluster.members[1].set_reflectors(Reflectors::Complete, cluster.now);
        cluster.hear(0, 1, Heard::Up);
        cluster.connect(0, 1, 1, start);
        cluster.moved();
        cluster.talk();
        taken += cluster
            .moved()
            .iter()
            .filter(|(at, next)| *at == 1 && matches!(next.action, Action::Take { .. }))
            .count();
    }
    assert!(taken > 0 && taken <= 2 * share as usize, "{taken} of {share}");
    assert_eq!(cluster.owned(0), 60, "held");
    cluster.pass(Duration::from_secs(179));
    assert_eq!(cluster.owned(0), 60, "held");
    cluster.pass(Duration::from_secs(2));
    assert_eq!((cluster.owned(1), cluster.owned(0)), (share, 60 - share));
    cluster.assert_shared(&[0, 1]);
}

#[test]
fn the_death_of_65_536_overlays_is_no_burst_and_the_busiest_come_first() {
    let mut cluster = Cluster::new(2, announce(65_536));
    let busy: Vec<Group> =
        (0..65_536).rev().map(Group).filter(|&group| cluster.members[1].owns(group)).take(8).collect();
    cluster.members[0].set_order(busy.clone());
    cluster.told();
    cluster.hear_one(0, 1, Heard::Down);
    let outputs = std::iter::from_fn(|| cluster.members[0].poll()).count();
    assert!(outputs < 5, "{outputs}");
    for group in busy {
        assert!(!cluster.members[0].owns(group));
        assert_eq!(cluster.members[0].poll_move(cluster.now).map(|next| next.group), Some(group));
        assert!(cluster.members[0].owns(group));
    }
    cluster.talk();
    assert_eq!(cluster.owned(0), 65_536);
    let moved = |output: &(usize, Output)| {
        matches!(output.1, Output::Event(Event::Moved { cause: Cause::Died(_), taken: 8.., .. }))
    };
    assert!(cluster.told().iter().any(moved));
}

#[test]
fn a_thousand_changes_a_minute() {
    for mode in [announce(60), floating()] {
        let mut cluster = Cluster::new(3, mode);
        for start in 0..500 {
            cluster.pass(Duration::from_millis(60));
            cluster.hear(0, 2, Heard::Down);
            cluster.hear(1, 2, Heard::Down);
            cluster.talk();
            cluster.pass(Duration::from_millis(60));
            cluster.add(2, start + 2);
            cluster.members[2].set_reflectors(Reflectors::Complete, cluster.now);
            for other in 0..2 {
                cluster.hear(other, 2, Heard::Up);
                cluster.connect(other, 2, 1, start + 2);
            }
            cluster.talk();
            cluster.assert_shared(&[0, 1, 2]);
        }
        let events = cluster.told().len();
        assert!(events < 500 * 40, "{events}");
        cluster.pass(Duration::from_secs(400));
        cluster.assert_shared(&[0, 1, 2]);
        assert!(cluster.owned(2) > 10);
    }
}

#[test]
fn a_clock_that_jumps_moves_nothing() {
    let mut cluster = Cluster::new(3, floating());
    cluster.moved();
    for jump in [Duration::from_secs(100_000), Duration::ZERO] {
        let now = cluster.now + jump;
        for at in 0..3 {
            cluster.members[at].handle_timeout(now);
            let health = Health {
                reasons: vec![cluster::message::Reason::Worker(jump.as_secs() as u16)],
                ..Health::default()
            };
            cluster.members[at].set_health(health, now);
        }
        cluster.talk();
    }
    assert_eq!(cluster.moved(), []);
    cluster.assert_shared(&[0, 1, 2]);
}

#[test]
fn two_that_lost_sight_of_each_other_heal() {
    let mut cluster = Cluster::new(2, floating());
    let theirs = cluster.group_of(1);
    cluster.hear(0, 1, Heard::Down);
    cluster.talk();
    assert_eq!((cluster.owned(0), cluster.owned(1)), (60, 60));
    cluster.moved();
    cluster.hear(0, 1, Heard::Up);
    cluster.connect(0, 1, 1, 1);
    cluster.talk();
    cluster.assert_shared(&[0, 1]);
    let moves: Vec<_> = cluster.moved().into_iter().filter(|(_, next)| next.group == theirs).collect();
    let done: Vec<_> = moves.iter().map(|(at, next)| (*at, next.action)).collect();
    assert_eq!(done, [(0, Action::Release), (1, Action::AnnounceAgain)], "neighbours believed the first");
    cluster.pass(Duration::from_secs(600));
    assert_eq!(cluster.moved(), []);
}

#[test]
fn what_the_dead_one_took_last_is_announced_again() {
    let mut cluster = Cluster::new(3, floating());
    let before: Vec<Group> = (0..60).map(Group).filter(|&group| cluster.members[0].owns(group)).collect();
    cluster.hear(0, 1, Heard::Down);
    cluster.talk();
    let both: Vec<Group> = before.into_iter().filter(|&group| cluster.members[1].owns(group)).collect();
    assert!(!both.is_empty(), "the second one took what the first one goes on to serve");
    cluster.moved();
    // The first one knows it as dead already. The third one has heard what it took.
    cluster.hear_one(2, 1, Heard::Down);
    cluster.talk();
    let again =
        |(at, next): (usize, Move)| ((at, next.action) == (0, Action::AnnounceAgain)).then_some(next.group);
    let again: Vec<Group> = cluster.moved().into_iter().filter_map(again).collect();
    assert!(both.iter().all(|group| again.contains(group)), "{both:?} {again:?}");
}
