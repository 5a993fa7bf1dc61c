//! The rules of docs/cluster.md, one by one.

mod fitness;
mod joining;
mod moves;
mod peers;

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
