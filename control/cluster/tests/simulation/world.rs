//! Gateways, what is between them, and time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use cluster::assign::{GatewayId, Weight};
use cluster::membership::Reflectors;
use cluster::message::{Health, Message};
use cluster::{Action, Group, Heard, Member, Mode, Output, Segment, Settings, Stage};

use crate::neighbours::Neighbours;

pub(crate) const SEGMENTS: [Segment; 2] = [Segment::Underlay, Segment::Uplink];
/// BFD finds a death within this.
pub(crate) const DETECTION: u64 = 45_000;
/// What a stream loses is sent again after this (RFC 6298, with Linux's least).
const RETRANSMISSION: u64 = 200_000;

/// What is to happen. Times are microseconds.
#[derive(Debug)]
pub(crate) enum Event {
    Fault(crate::faults::Fault),
    Bfd {
        at: usize,
        of: usize,
        segment: usize,
    },
    Connect {
        pair: (usize, usize),
    },
    Broken {
        at: usize,
        of: usize,
        epoch: u64,
    },
    Deliver {
        from: usize,
        to: usize,
        epoch: u64,
        bytes: Vec<u8>,
    },
    Wake {
        at: usize,
        generation: u64,
    },
    Pace {
        at: usize,
        generation: u64,
    },
    Health {
        at: usize,
        generation: u64,
    },
    /// A gateway's routes and announcements reach those who believe them.
    Neighbours(crate::neighbours::News),
    Reflector {
        at: usize,
    },
}

#[derive(Debug)]
struct Entry(u64, u64, Event);

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

/// A gateway.
pub(crate) struct Gateway {
    pub(crate) member: Option<Member>,
    /// Counts starts.
    pub(crate) generation: u64,
    /// Counts how often its BFD sessions have begun.
    begun: u64,
    pub(crate) healthy: bool,
    pub(crate) stopped: Option<u64>,
    pub(crate) admin_down: bool,
    /// Whether the fabric carries anything of it, by segment.
    pub(crate) ports: [bool; 2],
    pub(crate) reflector_cut: bool,
    /// Since when it is at its stage.
    pub(crate) since: u64,
    woken: Option<Instant>,
    pacing: bool,
}

/// What one gateway knows of another, and what is between them.
#[derive(Clone, Default)]
pub(crate) struct Link {
    pub(crate) cut: [bool; 2],
    pub(crate) session_cut: bool,
    told: [Heard; 2],
    heard_begun: u64,
    /// Of the session, as this end sees it.
    pub(crate) epoch: Option<u64>,
    in_flight: u32,
    last_arrival: u64,
    /// Until when nothing arrives of what is under way.
    stalled: u64,
}

pub(crate) struct World {
    pub(crate) now: u64,
    start: Instant,
    queue: BinaryHeap<Reverse<Entry>>,
    sequence: u64,
    epochs: u64,
    pub(crate) random: fastrand::Rng,
    pub(crate) mode: Mode,
    pub(crate) gateways: Vec<Gateway>,
    /// `links[a][b]`: what a has of b.
    pub(crate) links: Vec<Vec<Link>>,
    pub(crate) neighbours: Neighbours,
    /// Messages take up to this long.
    pub(crate) delay: u64,
    /// The slowest that messages have been.
    pub(crate) slowest: u64,
    pub(crate) last_fault: u64,
    pub(crate) checks: crate::check::Checks,
    pub(crate) log: Option<Vec<String>>,
    pub(crate) messages: u64,
    events: u64,
    pub(crate) moves: u64,
}

pub(crate) fn id(at: usize) -> GatewayId {
    GatewayId::new(at as u16 + 1).unwrap()
}

pub(crate) fn place(id: GatewayId) -> usize {
    usize::from(id.value()) - 1
}

impl Gateway {
    pub(crate) fn forget_wake(&mut self) {
        self.woken = None;
        self.pacing = false;
    }
}

impl Link {
    pub(crate) fn forget(&mut self, heard: Heard) {
        self.told = [heard; 2];
    }
}

impl World {
    /// Within this time after the last fault everything is served. Two that see the cluster differently may each let go of
    /// a group for the other, as their messages cross: then it is nobody's until these have arrived.
    pub(crate) fn bound(&self) -> u64 {
        match self.mode {
            Mode::Announce(_) => DETECTION + RETRANSMISSION + 150_000 + 6 * self.slowest,
            // Shards that nobody takes wait for each in turn.
            Mode::Floating(_) => {
                DETECTION + RETRANSMISSION + 150_000 + 200_000 * self.gateways.len() as u64 + 6 * self.slowest
            }
        }
    }

    pub(crate) fn new(gateways: usize, mode: Mode, seed: u64) -> Self {
        let groups = mode.groups() as usize;
        let mut world = Self {
            now: 0,
            start: Instant::now(),
            queue: BinaryHeap::new(),
            sequence: 0,
            epochs: 0,
            random: fastrand::Rng::with_seed(seed),
            gateways: (0..gateways)
                .map(|_| Gateway {
                    member: None,
                    generation: 0,
                    begun: 0,
                    healthy: true,
                    stopped: None,
                    admin_down: false,
                    ports: [true; 2],
                    reflector_cut: false,
                    since: 0,
                    woken: None,
                    pacing: false,
                })
                .collect(),
            links: vec![vec![Link::default(); gateways]; gateways],
            neighbours: Neighbours::new(gateways, groups, matches!(mode, Mode::Announce(_))),
            mode,
            delay: 2_000,
            slowest: 2_000,
            last_fault: 0,
            checks: crate::check::Checks::new(gateways, groups),
            log: None,
            messages: 0,
            events: 0,
            moves: 0,
        };
        for at in 0..gateways {
            world.start(at);
        }
        world
    }

    pub(crate) fn time(&self) -> Instant {
        self.start + Duration::from_micros(self.now)
    }

    pub(crate) fn at(&mut self, at: u64, event: Event) {
        self.sequence += 1;
        self.queue.push(Reverse(Entry(at.max(self.now), self.sequence, event)));
    }

    pub(crate) fn after(&mut self, delay: u64, event: Event) {
        self.at(self.now + delay, event);
    }

    pub(crate) fn note(&mut self, text: impl FnOnce() -> String) {
        if let Some(log) = &mut self.log {
            log.push(format!("{:>12.6} {}", self.now as f64 / 1e6, text()));
        }
    }

    fn recent(&self) -> &[String] {
        let log = self.log.as_deref().unwrap_or_default();
        &log[log.len().saturating_sub(40)..]
    }

    pub(crate) fn groups(&self) -> u32 {
        self.mode.groups()
    }

    /// Runs until then.
    pub(crate) fn run(&mut self, until: u64) {
        while self.queue.peek().is_some_and(|Reverse(entry)| entry.0 <= until) {
            let Some(Reverse(Entry(at, _, event))) = self.queue.pop() else { break };
            self.now = at;
            self.happen(event);
            self.events += 1;
            assert!(self.events < 3_000_000, "no end of events: {:#?}", self.recent());
        }
        self.now = until;
        self.check_gaps();
    }

    /// Whether it runs and is not stopped.
    pub(crate) fn runs(&self, at: usize) -> bool {
        self.gateways[at].member.is_some() && self.gateways[at].stopped.is_none()
    }

    pub(crate) fn reaches(&self, a: usize, b: usize, segment: usize) -> bool {
        let port = |at: usize| self.gateways[at].ports[segment];
        port(a) && port(b) && !self.links[a.min(b)][a.max(b)].cut[segment]
    }

    // Gateways.

    pub(crate) fn start(&mut self, at: usize) {
        let time = self.time();
        self.neighbours.begin(at);
        let gateway = &mut self.gateways[at];
        gateway.generation += 1;
        gateway.begun += 1;
        gateway.admin_down = false;
        gateway.woken = None;
        gateway.pacing = false;
        let mut settings = Settings::new(id(at), self.now + 1, self.mode.clone());
        settings.weight = Weight(100);
        let mut member = Member::new(settings, time);
        for peer in (0..self.links.len()).filter(|&peer| peer != at) {
            member.configure(id(peer), true, time);
            self.links[at][peer] = Link {
                cut: self.links[at][peer].cut,
                session_cut: self.links[at][peer].session_cut,
                ..Link::default()
            };
        }
        gateway.member = Some(member);
        let generation = gateway.generation;
        self.after(1_000, Event::Health { at, generation });
        self.recheck(at);
        self.drain(at);
    }

    pub(crate) fn kill(&mut self, at: usize) {
        let owned: Vec<u32> = (0..self.groups()).filter(|&group| self.checks.owns(at, group)).collect();
        for group in owned {
            self.checks.lost(at, group, self.now);
        }
        self.gateways[at].member = None;
        self.gateways[at].stopped = None;
        self.recheck(at);
    }

    /// Looks anew at all that is between this gateway and the others.
    pub(crate) fn recheck(&mut self, at: usize) {
        for other in (0..self.gateways.len()).filter(|&other| other != at) {
            self.recheck_pair(at, other);
        }
        let delay = self.random.u64(50_000..200_000);
        self.after(delay, Event::Reflector { at });
    }

    pub(crate) fn recheck_pair(&mut self, a: usize, b: usize) {
        for segment in 0..2 {
            for (at, of) in [(a, b), (b, a)] {
                let delay = self.random.u64(30_000..DETECTION);
                self.after(delay, Event::Bfd { at, of, segment });
            }
        }
        let delay = self.random.u64(1_000..300_000);
        self.after(delay, Event::Connect { pair: (a.min(b), a.max(b)) });
        if !self.can_talk(a, b) {
            for (at, of) in [(a, b), (b, a)] {
                if let Some(epoch) = self.links[at][of].epoch {
                    let delay = self.random.u64(1_000..3_000_000);
                    self.after(delay, Event::Broken { at, of, epoch });
                }
            }
        }
    }

    fn can_talk(&self, a: usize, b: usize) -> bool {
        let path = self.reaches(a, b, 0) || self.reaches(a, b, 1);
        path && !self.links[a.min(b)][a.max(b)].session_cut && self.runs(a) && self.runs(b)
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Fault(fault) => self.fault(fault),
            Event::Bfd { at, of, segment } => self.bfd(at, of, segment),
            Event::Connect { pair: (a, b) } => self.connect(a, b),
            Event::Broken { at, of, epoch } => {
                if self.links[at][of].epoch == Some(epoch) && self.runs(at) {
                    self.close(at, of);
                }
            }
            Event::Deliver { from, to, epoch, bytes } => self.deliver(from, to, epoch, &bytes),
            Event::Wake { at, generation } => {
                self.gateways[at].woken = None;
                self.with(at, generation, |member, now| member.handle_timeout(now));
            }
            Event::Pace { at, generation } => {
                self.gateways[at].pacing = false;
                self.with(at, generation, |_, _| {});
            }
            Event::Health { at, generation } => {
                let health = Health { healthy: self.gateways[at].healthy, ..Health::default() };
                self.with(at, generation, |member, now| member.set_health(health, now));
            }
            Event::Neighbours(news) => self.spread_news(news),
            Event::Reflector { at } => self.reflector_session(at),
        }
    }

    /// Does something to a gateway that is still the same process, and sees to what follows.
    pub(crate) fn with(&mut self, at: usize, generation: u64, act: impl FnOnce(&mut Member, Instant)) {
        let time = self.time();
        if !self.runs(at) || self.gateways[at].generation != generation {
            return;
        }
        if let Some(member) = &mut self.gateways[at].member {
            act(member, time);
        }
        self.drain(at);
    }

    fn bfd(&mut self, at: usize, of: usize, segment: usize) {
        if !self.runs(at) || self.gateways[at].admin_down {
            return;
        }
        let up = self.reaches(at, of, segment) && self.runs(of);
        let told = self.links[at][of].told[segment];
        let begun = self.gateways[of].begun;
        let another = self.links[at][of].heard_begun != begun;
        let heard = match (up, self.gateways[of].admin_down) {
            (true, true) if told != Heard::NotYet => Heard::AdminDown,
            (true, true) => Heard::NotYet,
            // Whoever begins anew, a new process or one that has said AdminDown, begins with Down.
            (true, false) if another && told == Heard::Up => Heard::Down,
            (true, false) => Heard::Up,
            (false, _) if told == Heard::NotYet => Heard::NotYet,
            (false, _) => Heard::Down,
        };
        if heard == told {
            return;
        }
        if up && another && matches!(heard, Heard::Up | Heard::Down) {
            // Its sessions on both ways hear that, and come up again.
            let other = 1 - segment;
            if self.links[at][of].told[other] == Heard::Up {
                self.links[at][of].told[other] = Heard::Down;
                let generation = self.gateways[at].generation;
                self.with(at, generation, |member, now| {
                    member.heard(id(of), SEGMENTS[other], Heard::Down, now)
                });
                for segment in 0..2 {
                    self.after(20_000, Event::Bfd { at, of, segment });
                }
            } else if heard == Heard::Down {
                self.after(20_000, Event::Bfd { at, of, segment });
            }
        }
        if heard == Heard::Up {
            self.links[at][of].heard_begun = begun;
        }
        self.links[at][of].told[segment] = heard;
        self.note(|| format!("{at} hears {of} {:?}: {heard:?}", SEGMENTS[segment]));
        let generation = self.gateways[at].generation;
        self.with(at, generation, |member, now| member.heard(id(of), SEGMENTS[segment], heard, now));
    }

    pub(crate) fn hears(&self, at: usize, of: usize) -> bool {
        self.links[at][of].told.contains(&Heard::Up) && !self.links[at][of].told.contains(&Heard::AdminDown)
    }

    // Sessions.

    fn connect(&mut self, a: usize, b: usize) {
        if !self.can_talk(a, b) {
            return;
        }
        let (ours, theirs) = (self.links[a][b].epoch, self.links[b][a].epoch);
        if ours.is_some() && ours == theirs {
            return;
        }
        let time = self.time();
        let incarnation = |world: &Self, at: usize| world.gateways[at].generation;
        for (at, of) in [(a, b), (b, a)] {
            if self.links[at][of].epoch.is_some() {
                self.close(at, of);
            }
            let said = incarnation(self, of);
            let Some(member) = &mut self.gateways[at].member else { return };
            if let Err(refusal) = member.admit(id(of), said, time) {
                self.note(|| format!("{at} refuses {of}: {refusal:?}"));
                self.after(1_000_000, Event::Connect { pair: (a, b) });
                return;
            }
        }
        self.epochs += 1;
        for (at, of) in [(a, b), (b, a)] {
            self.links[at][of].epoch = Some(self.epochs);
            self.links[at][of].in_flight = 0;
            self.links[at][of].stalled = 0;
        }
        self.note(|| format!("{a} and {b} connect"));
        for (at, of) in [(a, b), (b, a)] {
            let (said, generation) = (incarnation(self, of), self.gateways[at].generation);
            self.with(at, generation, |member, now| {
                member.session_up(id(of), said, Weight(100), now);
                member.bindings_complete(id(of), said, now);
            });
        }
    }

    fn close(&mut self, at: usize, of: usize) {
        let epoch = self.links[at][of].epoch.take();
        self.note(|| format!("{at} has no session with {of}"));
        // The other end finds out, if it is there.
        if let Some(epoch) = epoch.filter(|_| self.links[of][at].epoch == epoch) {
            let delay = self.random.u64(500..5_000);
            self.after(delay, Event::Broken { at: of, of: at, epoch });
        }
        let delay = self.random.u64(100_000..1_000_000);
        self.after(delay, Event::Connect { pair: (at.min(of), at.max(of)) });
        let generation = self.gateways[at].generation;
        self.with(at, generation, |member, now| member.session_down(id(of), now));
    }

    fn deliver(&mut self, from: usize, to: usize, epoch: u64, bytes: &[u8]) {
        if self.links[from][to].epoch == Some(epoch) {
            // A stream loses nothing: it is sent again, and what follows waits for it.
            if !self.can_talk(from, to) {
                self.links[from][to].stalled = self.now + RETRANSMISSION;
            }
            let stalled = self.links[from][to].stalled;
            if stalled > self.now {
                let bytes = bytes.to_vec();
                return self.at(stalled, Event::Deliver { from, to, epoch, bytes });
            }
            self.links[from][to].in_flight -= 1;
        }
        if self.links[to][from].epoch == Some(epoch) && self.can_talk(from, to) {
            let message = Message::decode(bytes).unwrap();
            let generation = self.gateways[to].generation;
            self.with(to, generation, |member, now| member.handle_message(id(from), message, now));
        }
        if self.runs(from) {
            self.send(from, to);
        }
    }

    /// Four messages may be under way.
    fn send(&mut self, from: usize, to: usize) {
        while let Some(epoch) = self.links[from][to].epoch.filter(|_| self.links[from][to].in_flight < 4) {
            let Some(message) =
                self.gateways[from].member.as_mut().and_then(|member| member.poll_message(id(to)))
            else {
                break;
            };
            self.messages += 1;
            let delay = self.random.u64(50..self.delay.max(51));
            let link = &mut self.links[from][to];
            link.in_flight += 1;
            // In order.
            link.last_arrival = link.last_arrival.max(self.now + delay).max(link.stalled);
            let arrival = link.last_arrival;
            self.at(arrival, Event::Deliver { from, to, epoch, bytes: message.encode() });
        }
    }

    // What a gateway wants.

    fn drain(&mut self, at: usize) {
        loop {
            let Some(member) = &mut self.gateways[at].member else { return };
            let Some(output) = member.poll() else { break };
            self.note(|| format!("{at}: {output:?}"));
            match output {
                Output::ReleaseAll { .. } => self.release_all(at),
                Output::AdminDown(down) => {
                    self.gateways[at].admin_down = down;
                    self.gateways[at].begun += 1;
                    for other in (0..self.gateways.len()).filter(|&other| other != at) {
                        self.links[at][other].told = [Heard::NotYet; 2];
                        self.recheck_pair(at, other);
                    }
                }
                Output::CloseSession(peer) => {
                    if self.links[at][place(peer)].epoch.is_some() {
                        self.close(at, place(peer));
                    }
                }
                Output::Left => {
                    self.note(|| format!("{at} has left"));
                    self.gateways[at].member = None;
                    self.recheck(at);
                    return;
                }
                Output::Event(cluster::Event::Stage { .. }) => self.gateways[at].since = self.now,
                Output::UplinkRoutes(_) | Output::Event(_) => {}
            }
        }
        self.pull_moves(at);
        for other in 0..self.gateways.len() {
            if other != at {
                self.send(at, other);
            }
        }
        let deadline = self.gateways[at].member.as_ref().and_then(Member::deadline);
        let woken = self.gateways[at].woken;
        if let Some(deadline) = deadline.filter(|&deadline| woken.is_none_or(|woken| deadline < woken)) {
            self.gateways[at].woken = Some(deadline);
            let generation = self.gateways[at].generation;
            let when = deadline.saturating_duration_since(self.start).as_micros() as u64 + 1;
            self.at(when, Event::Wake { at, generation });
        }
    }

    /// As many moves as the way out takes at once, and the rest a little later.
    fn pull_moves(&mut self, at: usize) {
        if self.gateways[at].pacing {
            return;
        }
        let time = self.time();
        let mut news = Vec::new();
        for _ in 0..1 + self.groups() / 16 {
            let Some(next) = self.gateways[at].member.as_mut().and_then(|member| member.poll_move(time))
            else {
                break;
            };
            let group = next.group.0;
            self.moves += 1;
            if self.groups() <= 256 {
                self.note(|| format!("{at}: {next:?}"));
            }
            self.check_cause(at, &next);
            match next.action {
                Action::Take { sequence } => {
                    self.checks.took(at, group, self.now);
                    news.push((group, Some(sequence.unwrap_or(0))));
                }
                Action::Release => {
                    self.checks.lost(at, group, self.now);
                    news.push((group, None));
                }
                Action::AnnounceAgain => news.push((group, Some(0))),
                Action::ForwardingEnds => {}
            }
        }
        if !news.is_empty() {
            self.announce(at, news);
            self.gateways[at].pacing = true;
            let generation = self.gateways[at].generation;
            self.after(1_000, Event::Pace { at, generation });
        }
    }

    fn release_all(&mut self, at: usize) {
        let owned: Vec<u32> = (0..self.groups()).filter(|&group| self.checks.owns(at, group)).collect();
        for &group in &owned {
            self.checks.lost(at, group, self.now);
        }
        self.announce(at, owned.into_iter().map(|group| (group, None)).collect());
    }

    pub(crate) fn stage(&self, at: usize) -> Option<Stage> {
        self.gateways[at].member.as_ref().map(Member::stage)
    }

    pub(crate) fn set_reflectors(&mut self, at: usize, reflectors: Reflectors, seen: Vec<(u32, u32)>) {
        let generation = self.gateways[at].generation;
        self.with(at, generation, |member, now| {
            seen.into_iter().for_each(|(group, sequence)| member.sequence_seen(Group(group), sequence));
            member.set_reflectors(reflectors, now);
        });
    }
}
