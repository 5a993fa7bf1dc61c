//! Who joins, for the first time or after a stop: whom it waits for, and from when on it serves.

use super::*;

#[test]
fn not_yet_up_is_not_dead() {
    let mut cluster = Cluster::empty(floating());
    (0..2).for_each(|at| cluster.add(at, 1));
    cluster.members[0].set_reflectors(Reflectors::Complete, cluster.now);
    cluster.pass(Duration::from_millis(2999));
    assert_eq!((cluster.members[0].stage(), cluster.owned(0)), (Stage::Joining, 0));
    cluster.pass(Duration::from_millis(1));
    assert_eq!((cluster.members[0].stage(), cluster.owned(0)), (Stage::Serving, 60));
    // Heard without a session, it is left its share after a longer while.
    let mut cluster = Cluster::empty(floating());
    (0..2).for_each(|at| cluster.add(at, 1));
    cluster.members[0].set_reflectors(Reflectors::Complete, cluster.now);
    cluster.hear_one(0, 1, Heard::Up);
    cluster.pass(Duration::from_millis(29_999));
    assert_eq!(cluster.members[0].stage(), Stage::Joining);
    cluster.pass(Duration::from_millis(1));
    assert_eq!((cluster.members[0].stage(), cluster.owned(0)), (Stage::Serving, 30));
}

#[test]
fn nothing_is_taken_before_routes_and_bindings_are_there() {
    let mut cluster = Cluster::empty(announce(60));
    (0..2).for_each(|at| cluster.add(at, 1));
    cluster.hear(0, 1, Heard::Up);
    cluster.sessions.extend([(0, 1), (1, 0)]);
    for (at, of) in [(0, 1), (1, 0)] {
        cluster.members[at].session_up(id(of), 1, Weight::default(), cluster.now);
    }
    cluster.members[0].set_reflectors(Reflectors::Reached, cluster.now);
    cluster.members[0].bindings_complete(id(1), 1, cluster.now);
    cluster.members[1].set_reflectors(Reflectors::Complete, cluster.now);
    cluster.talk();
    cluster.pass(Duration::from_secs(29));
    assert_eq!(cluster.moved(), []);
    cluster.members[0].set_reflectors(Reflectors::Complete, cluster.now);
    cluster.talk();
    assert_eq!((cluster.owned(0), cluster.owned(1)), (60, 0), "one has no bindings yet");
    cluster.members[1].bindings_complete(id(0), 0, cluster.now);
    cluster.talk();
    assert_eq!((cluster.owned(0), cluster.owned(1)), (60, 0), "those of another incarnation are none");
    cluster.members[1].bindings_complete(id(0), 1, cluster.now);
    cluster.talk();
    cluster.assert_shared(&[0, 1]);
    assert!(cluster.owned(1) > 10);
}

#[test]
fn who_joins_announces_and_then_the_old_owner_lets_go() {
    let mut cluster = Cluster::new(2, announce(60));
    cluster.pass(Duration::from_secs(10));
    cluster.moved();
    cluster.add(2, 1);
    for other in 0..2 {
        cluster.hear(other, 2, Heard::Up);
        cluster.connect(other, 2, 1, 1);
    }
    cluster.talk();
    assert_eq!(cluster.moved(), []);
    cluster.members[2].set_reflectors(Reflectors::Complete, cluster.now);
    cluster.talk();
    cluster.assert_shared(&[0, 1, 2]);
    let moves = cluster.moved();
    let (taken, released): (Vec<_>, Vec<_>) = moves.iter().partition(|(at, _)| *at == 2);
    assert_eq!((taken.len(), released.len()), (cluster.owned(2) as usize, taken.len()));
    for (at, next) in released {
        assert_eq!((next.action, next.cause), (Action::Release, Cause::Taken(id(2))));
        let place = |group, at| moves.iter().position(|(by, next)| (*by, next.group) == (at, group));
        assert!(place(next.group, 2) < place(next.group, at));
    }
    // The former owners forward for a while.
    cluster.pass(Duration::from_millis(1999));
    assert_eq!(cluster.moved(), []);
    cluster.pass(Duration::from_millis(1));
    let ends = cluster.moved();
    assert!(
        ends.len() == cluster.owned(2) as usize
            && ends.iter().all(|(at, next)| *at != 2 && next.action == Action::ForwardingEnds)
    );
}

/// Peers that had found it dead say Down until their sessions are up again.
#[test]
fn who_was_stopped_for_a_moment_takes_nothing_from_those_that_took_over() {
    let mut cluster = Cluster::new(3, floating());
    cluster.hear_one(1, 0, Heard::Down);
    cluster.hear_one(2, 0, Heard::Down);
    cluster.talk();
    cluster.members[0].resumed(cluster.now);
    cluster.hear_one(0, 1, Heard::Down);
    cluster.hear_one(0, 2, Heard::Down);
    cluster.members[0].set_reflectors(Reflectors::Complete, cluster.now);
    cluster.talk();
    cluster.pass(Duration::from_millis(999));
    assert_eq!(cluster.owned(0), 0);
    cluster.pass(Duration::from_millis(1));
    assert_eq!(cluster.owned(0), 60, "both may be dead");
}

#[test]
fn who_was_stopped_reads_all_anew_first() {
    let mut cluster = Cluster::new(3, announce(60));
    cluster.told();
    cluster.moved();
    cluster.now += Duration::from_secs(5);
    cluster.members[0].resumed(cluster.now);
    cluster.act(0);
    let told = cluster.told();
    assert!(told.contains(&(0, Output::ReleaseAll { cause: Cause::Resumed })), "{told:?}");
    assert_eq!(told.iter().filter(|(_, output)| matches!(output, Output::CloseSession(_))).count(), 2);
    cluster.pass(Duration::from_secs(60));
    assert_eq!((cluster.members[0].stage(), cluster.owned(0)), (Stage::Joining, 0), "no End-of-RIB");
    cluster.hear_one(0, 1, Heard::Up);
    cluster.hear_one(0, 2, Heard::Up);
    cluster.members[0].set_reflectors(Reflectors::Complete, cluster.now);
    cluster.talk();
    assert_eq!(cluster.owned(0), 0, "no word from peers");
    cluster.connect(0, 1, 1, 1);
    cluster.connect(0, 2, 1, 1);
    cluster.talk();
    cluster.assert_shared(&[0, 1, 2]);
    assert!(cluster.owned(0) > 10);
}

#[test]
fn who_starts_serves_nothing_before_its_peers_are_known() {
    let now = Instant::now();
    let mut settings = Settings::new(id(0), 1, floating());
    settings.reflectors = false;
    let mut member = Member::new(settings.clone(), now);
    member.configure(id(1), true, now);
    assert_eq!((member.stage(), member.poll_move(now)), (Stage::Joining, None));
    let mut alone = Member::new(settings, now);
    assert_eq!(alone.deadline(), Some(now));
    alone.handle_timeout(now);
    assert_eq!(alone.stage(), Stage::Serving);
}

#[test]
fn a_new_process_is_waited_for_from_its_session_on() {
    let mut cluster = Cluster::empty(floating());
    (0..2).for_each(|at| cluster.add(at, 1));
    cluster.members[0].set_reflectors(Reflectors::Complete, cluster.now);
    cluster.hear_one(0, 1, Heard::Up);
    cluster.pass(Duration::from_secs(20));
    // It says nothing in its session.
    cluster.members[0].session_up(id(1), 1, Weight::default(), cluster.now);
    cluster.pass(Duration::from_secs(29));
    assert_eq!(cluster.members[0].stage(), Stage::Joining);
    cluster.pass(Duration::from_secs(2));
    assert_eq!(cluster.members[0].stage(), Stage::Serving);
}
