//! Orders of events of a small cluster, breadth first: three gateways, two shards, two faults at most, one message under
//! way at most from each to each. States are told apart by what the rules depend on. There are more of them than are looked
//! at: all orders of the first events, and none of those that take longer.

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::time::Instant;

use cluster::assign::{GatewayId, ShardCount, Weight};
use cluster::message::{Health, Message};
use cluster::{Group, Heard, Member, Mode, Output, Segment, Settings, Stage};

const GATEWAYS: usize = 3;
const SHARDS: u16 = 2;
const PAIRS: [(usize, usize); 3] = [(0, 1), (0, 2), (1, 2)];
const EACH: [(usize, usize); 6] = [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)];

/// What may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Kill(usize),
    Start(usize),
    Cut(usize, usize),
    Mend(usize, usize),
    Sicken(usize),
    Heal(usize),
    Detect(usize, usize),
    Connect(usize, usize),
    Break(usize, usize),
    Deliver(usize, usize),
    Time,
}

#[derive(Clone)]
struct State {
    now: Instant,
    /// How many more there may be.
    faults: u8,
    members: [Option<Member>; GATEWAYS],
    generations: [u64; GATEWAYS],
    healthy: [bool; GATEWAYS],
    admin_down: [bool; GATEWAYS],
    cut: [[bool; GATEWAYS]; GATEWAYS],
    told: [[Heard; GATEWAYS]; GATEWAYS],
    heard_generation: [[u64; GATEWAYS]; GATEWAYS],
    session: [[bool; GATEWAYS]; GATEWAYS],
    slots: [[Option<Message>; GATEWAYS]; GATEWAYS],
}

fn id(at: usize) -> GatewayId {
    GatewayId::new(at as u16 + 1).unwrap()
}

impl State {
    fn new(now: Instant, faults: u8) -> Self {
        let mut state = Self {
            now,
            faults,
            members: Default::default(),
            generations: [0; GATEWAYS],
            healthy: [true; GATEWAYS],
            admin_down: [false; GATEWAYS],
            cut: Default::default(),
            told: Default::default(),
            heard_generation: Default::default(),
            session: Default::default(),
            slots: Default::default(),
        };
        (0..GATEWAYS).for_each(|at| state.start(at));
        while let Some(&step) = state.steps().first() {
            state.take(step);
        }
        state
    }

    fn start(&mut self, at: usize) {
        self.generations[at] += 1;
        let mut settings =
            Settings::new(id(at), self.generations[at], Mode::Floating(ShardCount::new(SHARDS).unwrap()));
        settings.reflectors = false;
        let mut member = Member::new(settings, self.now);
        for peer in (0..GATEWAYS).filter(|&peer| peer != at) {
            member.configure(id(peer), true, self.now);
            self.told[at][peer] = Heard::NotYet;
            self.session[at][peer] = false;
        }
        member.set_health(Health { healthy: self.healthy[at], ..Health::default() }, self.now);
        self.members[at] = Some(member);
        self.admin_down[at] = false;
        self.settle(at);
    }

    fn path(&self, a: usize, b: usize) -> bool {
        !self.cut[a.min(b)][a.max(b)] && self.members[a].is_some() && self.members[b].is_some()
    }

    /// What BFD is going to tell.
    fn truth(&self, at: usize, of: usize) -> Heard {
        let told = self.told[at][of];
        if self.members[at].is_none() || self.admin_down[at] {
            return told;
        }
        let another = self.heard_generation[at][of] != self.generations[of];
        match (self.path(at, of), self.admin_down[of]) {
            (true, true) if told != Heard::NotYet => Heard::AdminDown,
            (true, false) if another && told == Heard::Up => Heard::Down,
            (true, false) => Heard::Up,
            (_, _) if told == Heard::NotYet => Heard::NotYet,
            (_, _) => Heard::Down,
        }
    }

    /// What the network does by itself, then what time does, if that is all that is left.
    fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for (at, of) in EACH {
            if self.slots[at][of].is_some() && self.path(at, of) {
                steps.push(Step::Deliver(at, of));
            }
            if self.truth(at, of) != self.told[at][of] {
                steps.push(Step::Detect(at, of));
            }
            if self.session[at][of] && (!self.session[of][at] || !self.path(at, of)) {
                steps.push(Step::Break(at, of));
            }
        }
        for (a, b) in PAIRS {
            if self.path(a, b) && !self.session[a][b] && !self.session[b][a] {
                steps.push(Step::Connect(a, b));
            }
        }
        if steps.is_empty() && self.deadline().is_some() {
            steps.push(Step::Time);
        }
        steps
    }

    fn faults(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for at in 0..GATEWAYS {
            match (&self.members[at], self.healthy[at]) {
                (None, _) => steps.push(Step::Start(at)),
                (Some(_), false) => steps.push(Step::Heal(at)),
                (Some(_), true) if self.faults > 0 => steps.extend([Step::Kill(at), Step::Sicken(at)]),
                _ => {}
            }
        }
        for (a, b) in PAIRS {
            match self.cut[a][b] {
                true => steps.push(Step::Mend(a, b)),
                false if self.faults > 0 => steps.push(Step::Cut(a, b)),
                false => {}
            }
        }
        steps
    }

    fn deadline(&self) -> Option<Instant> {
        self.members.iter().flatten().filter_map(Member::deadline).min()
    }

    fn take(&mut self, step: Step) {
        let now = self.now;
        match step {
            Step::Kill(at) => {
                self.faults -= 1;
                self.members[at] = None;
                for peer in 0..GATEWAYS {
                    self.session[at][peer] = false;
                    self.slots[at][peer] = None;
                    self.slots[peer][at] = None;
                }
            }
            Step::Start(at) => self.start(at),
            Step::Cut(a, b) => {
                self.faults -= 1;
                self.cut[a][b] = true;
            }
            Step::Mend(a, b) => self.cut[a][b] = false,
            Step::Sicken(at) | Step::Heal(at) => {
                let healthy = matches!(step, Step::Heal(_));
                self.faults -= u8::from(!healthy);
                self.healthy[at] = healthy;
                self.with(at, |member| member.set_health(Health { healthy, ..Health::default() }, now));
            }
            Step::Detect(at, of) => {
                let heard = self.truth(at, of);
                self.told[at][of] = heard;
                if heard == Heard::Up {
                    self.heard_generation[at][of] = self.generations[of];
                }
                self.with(at, |member| member.heard(id(of), Segment::Underlay, heard, now));
            }
            Step::Connect(a, b) => {
                (self.session[a][b], self.session[b][a]) = (true, true);
                for (at, of) in [(a, b), (b, a)] {
                    let incarnation = self.generations[of];
                    self.with(at, |member| {
                        member.session_up(id(of), incarnation, Weight::default(), now);
                        member.bindings_complete(id(of), incarnation, now);
                    });
                }
            }
            Step::Break(at, of) => self.close(at, of),
            Step::Deliver(from, to) => {
                let message = self.slots[from][to].take().unwrap();
                let applied = matches!(message, Message::Serves(_));
                if let Some(member) = self.members[to].as_mut().filter(|_| self.session[to][from]) {
                    member.handle_message(id(from), message, now);
                    // That it was applied is known at once: fewer orders, none of which matter to what is served.
                    if let Some(answer) = applied.then(|| member.poll_message(id(from))).flatten() {
                        self.with(from, |member| member.handle_message(id(to), answer, now));
                    }
                }
                self.settle(to);
                self.settle(from);
            }
            Step::Time => {
                self.now = self.deadline().unwrap();
                let now = self.now;
                (0..GATEWAYS).for_each(|at| self.with(at, |member| member.handle_timeout(now)));
            }
        }
    }

    fn close(&mut self, at: usize, of: usize) {
        self.session[at][of] = false;
        self.slots[at][of] = None;
        self.slots[of][at] = None;
        let now = self.now;
        self.with(at, |member| member.session_down(id(of), now));
    }

    fn with(&mut self, at: usize, act: impl FnOnce(&mut Member)) {
        if let Some(member) = &mut self.members[at] {
            act(member);
            self.settle(at);
        }
    }

    /// Does at once what a gateway wants done.
    fn settle(&mut self, at: usize) {
        while let Some(output) = self.members[at].as_mut().and_then(Member::poll) {
            match output {
                Output::AdminDown(down) => {
                    self.admin_down[at] = down;
                    self.told[at] = Default::default();
                }
                Output::CloseSession(peer) => self.close(at, usize::from(peer.value()) - 1),
                _ => {}
            }
        }
        let Some(member) = &mut self.members[at] else { return };
        while member.poll_move(self.now).is_some() {}
        while member.poll().is_some() {}
        for to in (0..GATEWAYS).filter(|&to| to != at) {
            if self.session[at][to] && self.slots[at][to].is_none() {
                self.slots[at][to] = member.poll_message(id(to));
            }
        }
    }

    fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for member in &self.members {
            member.is_some().hash(&mut hasher);
            if let Some(member) = member {
                member.digest(&mut hasher);
            }
        }
        (self.faults, self.healthy, self.admin_down, self.cut, self.told, self.session).hash(&mut hasher);
        for (at, of) in EACH {
            (self.heard_generation[at][of] == self.generations[of]).hash(&mut hasher);
        }
        for (from, to) in EACH {
            match &self.slots[from][to] {
                Some(Message::Serves(serves)) => {
                    (serves.place, &serves.words, &serves.announced).hash(&mut hasher)
                }
                other => other.hash(&mut hasher),
            }
        }
        hasher.finish()
    }

    /// Nothing more happens by itself: what must hold then.
    fn check_rest(&self) -> Result<(), String> {
        let there: Vec<usize> =
            (0..GATEWAYS).filter(|&at| self.members[at].is_some() && self.healthy[at]).collect();
        for &at in &there {
            let stage = self.members[at].as_ref().map(Member::stage);
            if stage != Some(Stage::Serving) {
                return Err(format!("{at} is {stage:?}"));
            }
        }
        let whole = there.iter().all(|&a| there.iter().all(|&b| !self.cut[a.min(b)][a.max(b)]));
        for shard in 0..u32::from(SHARDS) {
            let owns =
                |at: &usize| self.members[*at].as_ref().is_some_and(|member| member.owns(Group(shard)));
            let owners: Vec<usize> = (0..GATEWAYS).filter(owns).collect();
            let right = if whole { owners.len() == 1 } else { !owners.is_empty() };
            if !there.is_empty() && !right || owners.iter().any(|at| !there.contains(at)) {
                return Err(format!("shard {shard} is served by {owners:?} of {there:?}"));
            }
        }
        Ok(())
    }
}

/// The events by which a state was reached, given for each state the one before it and the event between.
fn path(ways: &[(usize, Option<Step>)], way: usize) -> Vec<Step> {
    let from = std::iter::successors(Some(way), |&way| ways[way].1.map(|_| ways[way].0));
    let mut path: Vec<_> = from.filter_map(|way| ways[way].1).collect();
    path.reverse();
    path
}

/// Looks at `most` states. How many there were, how many of them at rest, and of how many events all orders were among
/// them; `None`: of any number.
fn explore(faults: u8, most: usize) -> (usize, usize, Option<usize>) {
    let start = State::new(Instant::now(), faults);
    start.check_rest().unwrap();
    let mut seen = HashSet::from([start.digest()]);
    // Where each came from, so that a failure tells its way.
    let mut ways: Vec<(usize, Option<Step>)> = vec![(0, None)];
    let mut queue = VecDeque::from([(start, 0)]);
    let (mut rests, mut events) = (0, None);
    while let Some((state, way)) = queue.pop_front() {
        let steps = state.steps();
        if steps.is_empty() {
            rests += 1;
            if let Err(error) = state.check_rest() {
                panic!("{error} after {:?}", path(&ways, way));
            }
        }
        for step in steps.into_iter().chain(state.faults()) {
            if seen.len() >= most {
                events.get_or_insert_with(|| path(&ways, way).len());
                break;
            }
            let mut next = state.clone();
            next.take(step);
            if seen.insert(next.digest()) {
                ways.push((way, Some(step)));
                queue.push_back((next, ways.len() - 1));
            }
        }
    }
    (seen.len(), rests, events)
}

/// `VXGATE_STATES` says how many states are looked at.
#[test]
fn the_first_events_end_well_in_any_order() {
    let most = std::env::var("VXGATE_STATES").ok().and_then(|most| most.parse().ok()).unwrap_or(50_000);
    let (states, rests, events) = explore(2, most);
    match events {
        Some(events) => println!("{states} states, {rests} at rest: all orders of {events} events"),
        None => println!("{states} states, {rests} at rest: there are no more"),
    }
    assert!(rests > 5);
}
