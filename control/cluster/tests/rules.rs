//! The rules of docs/cluster.md, one by one.

use std::time::{Duration, Instant};

use cluster::assign::{GatewayId, ShardCount, Weight};
use cluster::membership::Reflectors;
use cluster::message::{Health, Message, Report};
use cluster::{
    Action, Cause, Event, Group, Heard, Member, Mode, Move, Output, Presence, Refusal, Segment, Settings,
    Stage, Unfit,
};

fn id(at: usize) -> GatewayId {
    GatewayId::new(at as u16 + 1).unwrap()
}

fn announce(overlays: u32) -> Mode {
    Mode::Announce((1..=overlays).collect())
}

fn floating() -> Mode {
    Mode::Floating(ShardCount::new(60).unwrap())
}

/// Gateways whose messages arrive at once.
struct Cluster {
    now: Instant,
    mode: Mode,
    members: Vec<Member>,
    outputs: Vec<(usize, Output)>,
    moves: Vec<(usize, Move)>,
    sessions: Vec<(usize, usize)>,
}

impl Cluster {
    /// All of them are there, and have shared all.
    fn new(gateways: usize, mode: Mode) -> Self {
        let mut cluster = Self::empty(mode);
        (0..gateways).for_each(|at| cluster.add(at, 1));
        cluster.join(gateways);
        cluster
    }

    fn empty(mode: Mode) -> Self {
        let now = Instant::now();
        Self { now, mode, members: Vec::new(), outputs: Vec::new(), moves: Vec::new(), sessions: Vec::new() }
    }

    /// A process of a gateway starts; the others are configured on both sides.
    fn add(&mut self, at: usize, incarnation: u64) {
        let mut member = Member::new(Settings::new(id(at), incarnation, self.mode.clone()), self.now);
        for other in (0..self.members.len().max(at)).filter(|&other| other != at) {
            member.configure(id(other), true, self.now);
            self.members[other].configure(id(at), true, self.now);
        }
        if at < self.members.len() {
            self.members[at] = member;
        } else {
            self.members.push(member);
        }
    }

    fn join(&mut self, gateways: usize) {
        for a in 0..gateways {
            for b in a + 1..gateways {
                self.hear(a, b, Heard::Up);
                self.connect(a, b, 1, 1);
            }
            self.members[a].set_reflectors(Reflectors::Complete, self.now);
        }
        self.talk();
    }

    fn hear(&mut self, a: usize, b: usize, heard: Heard) {
        for (at, of) in [(a, b), (b, a)] {
            self.hear_one(at, of, heard);
        }
    }

    fn hear_one(&mut self, at: usize, of: usize, heard: Heard) {
        for segment in [Segment::Underlay, Segment::Uplink] {
            self.members[at].heard(id(of), segment, heard, self.now);
        }
    }

    fn connect(&mut self, a: usize, b: usize, of_a: u64, of_b: u64) {
        self.sessions.extend([(a, b), (b, a)]);
        for (at, of, incarnation) in [(a, b, of_b), (b, a, of_a)] {
            self.members[at].session_up(id(of), incarnation, Weight::default(), self.now);
            self.members[at].bindings_complete(id(of), incarnation, self.now);
        }
    }

    fn disconnect(&mut self, a: usize, b: usize) {
        for (at, of) in [(a, b), (b, a)] {
            self.sessions.retain(|&session| session != (at, of));
            self.members[at].session_down(id(of), self.now);
        }
    }

    /// Everybody does what there is to do, until all is quiet.
    fn talk(&mut self) {
        loop {
            let mut quiet = true;
            for at in 0..self.members.len() {
                self.act(at);
                for (from, to) in self.sessions.clone().into_iter().filter(|&(from, _)| from == at) {
                    while let Some(message) = self.members[from].poll_message(id(to)) {
                        quiet = false;
                        let message = Message::decode(&message.encode()).unwrap();
                        self.members[to].handle_message(id(from), message, self.now);
                    }
                }
            }
            if quiet {
                return;
            }
        }
    }

    fn act(&mut self, at: usize) {
        while let Some(next) = self.members[at].poll_move(self.now) {
            self.moves.push((at, next));
        }
        while let Some(output) = self.members[at].poll() {
            if let Output::CloseSession(peer) = output {
                self.disconnect(at, usize::from(peer.value()) - 1);
            }
            self.outputs.push((at, output));
        }
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.members.iter().filter_map(Member::deadline).min().filter(|&due| due <= end)
        {
            self.now = self.now.max(due);
            self.members.iter_mut().for_each(|member| member.handle_timeout(self.now));
            self.talk();
        }
        self.now = end;
    }

    fn owned(&self, at: usize) -> u32 {
        self.members[at].owned()
    }

    /// The moves since this was last asked.
    fn moved(&mut self) -> Vec<(usize, Move)> {
        std::mem::take(&mut self.moves)
    }

    fn told(&mut self) -> Vec<(usize, Output)> {
        std::mem::take(&mut self.outputs)
    }

    /// Each group has one owner among these.
    fn assert_shared(&self, among: &[usize]) {
        for group in (0..self.mode.groups()).map(Group) {
            let owners: Vec<_> = (0..self.members.len()).filter(|&at| self.members[at].owns(group)).collect();
            assert!(owners.len() == 1 && among.contains(&owners[0]), "{group:?} {owners:?}");
        }
    }

    fn group_of(&self, at: usize) -> Group {
        (0..self.mode.groups()).map(Group).find(|&group| self.members[at].owns(group)).unwrap()
    }
}

#[test]
fn groups_are_shared_and_an_idle_cluster_says_nothing() {
    for mode in [announce(60), floating()] {
        let mut cluster = Cluster::new(3, mode);
        cluster.assert_shared(&[0, 1, 2]);
        assert!((0..3).all(|at| cluster.owned(at) > 10));
        cluster.moved();
        cluster.pass(Duration::from_secs(3600));
        let moves = cluster.moved();
        assert!(moves.iter().all(|(_, next)| next.action == Action::ForwardingEnds), "{moves:?}");
        assert_eq!(cluster.members[0].poll_message(id(1)), None);
    }
}

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
fn an_unhealthy_gateway_lets_go_of_all_and_comes_back() {
    let mut cluster = Cluster::new(3, floating());
    cluster.told();
    let healthy = |healthy| Health { healthy, ..Health::default() };
    cluster.members[1].set_health(healthy(false), cluster.now);
    cluster.talk();
    let told: Vec<_> = cluster
        .told()
        .into_iter()
        .filter(|(at, output)| *at == 1 && !matches!(output, Output::Event(_)))
        .collect();
    let unfit = Cause::Unfit(Unfit::Unhealthy);
    assert_eq!(
        told,
        [
            (1, Output::AdminDown(true)),
            (1, Output::ReleaseAll { cause: unfit }),
            (1, Output::UplinkRoutes(false))
        ]
    );
    cluster.assert_shared(&[0, 2]);
    for other in [0, 2] {
        cluster.hear_one(other, 1, Heard::AdminDown);
    }
    cluster.members[1].set_health(healthy(true), cluster.now);
    cluster.talk();
    assert!(cluster.told().contains(&(1, Output::AdminDown(false))));
    assert_eq!(cluster.owned(1), 0, "its peers are to be heard first");
    cluster.hear(1, 0, Heard::Up);
    cluster.hear(1, 2, Heard::Up);
    cluster.talk();
    cluster.assert_shared(&[0, 1, 2]);
    assert_eq!(cluster.owned(1), 20);
}

#[test]
fn cut_off_is_who_hears_neither_peers_nor_reflectors() {
    let mut cluster = Cluster::new(3, floating());
    cluster.hear_one(0, 1, Heard::Down);
    cluster.hear_one(0, 2, Heard::Down);
    cluster.talk();
    assert_eq!(cluster.owned(0), 60, "the others may be dead");
    cluster.told();
    cluster.members[0].set_reflectors(Reflectors::Lost, cluster.now);
    cluster.talk();
    let told = cluster.told();
    assert!(told.contains(&(0, Output::UplinkRoutes(false))), "{told:?}");
    assert!(told.contains(&(0, Output::ReleaseAll { cause: Cause::Unfit(Unfit::CutOff) })), "{told:?}");
    cluster.members[0].set_reflectors(Reflectors::Complete, cluster.now);
    cluster.talk();
    assert_eq!(cluster.owned(0), 0, "its peers may be heard again in a moment");
    cluster.pass(Duration::from_secs(1));
    assert_eq!(cluster.owned(0), 60);
}

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
fn a_leaving_gateway_serves_until_all_is_taken() {
    let mut cluster = Cluster::new(3, announce(60));
    cluster.told();
    cluster.members[0].leave(cluster.now);
    cluster.talk();
    cluster.assert_shared(&[1, 2]);
    let told = cluster.told();
    assert!(
        told.contains(&(0, Output::Left))
            && !told.iter().any(|(_, output)| matches!(output, Output::ReleaseAll { .. }))
    );
    // The last one has nobody to leave it to.
    cluster.hear(1, 2, Heard::Down);
    cluster.members[1].leave(cluster.now);
    cluster.talk();
    assert!(cluster.told().contains(&(1, Output::ReleaseAll { cause: Cause::Operator })));
}

#[test]
fn a_leaving_gateway_waits_for_nobody_who_does_not_hear_of_it() {
    let mut cluster = Cluster::new(2, floating());
    cluster.disconnect(0, 1);
    cluster.told();
    cluster.members[0].leave(cluster.now);
    cluster.talk();
    let told = cluster.told();
    assert!(told.contains(&(0, Output::AdminDown(true))) && told.contains(&(0, Output::Left)), "{told:?}");
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
