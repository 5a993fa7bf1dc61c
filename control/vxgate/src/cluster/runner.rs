//! The rules of the cluster at work: a thread of its own owns the [`Member`], so that taking over waits for nothing of control.
//!
//! ```text
//!  BFD's thread ──── standing ─▶┐                          ┌─▶ engine: which groups are ours
//!  sessions ──────── messages ─▶│                          ├─▶ BGP: where the router is (mode `announce`), and
//!  BGP: reflectors, sequences ─▶│ inbox ─▶ Member ─ turn ──┤   routes on the uplink
//!  the engine's workers, ports ▶│                          ├─▶ sessions: messages
//!  which overlays carry most ──▶┘                          ├─▶ BFD: AdminDown, or no longer
//!                                                          └─▶ events, `vxgate show`
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc as std_mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cluster::assign::{self, GatewayId, Weight};
use cluster::membership::Reflectors;
use cluster::message::Message;
use cluster::session::judge::Refusal as Judged;
use cluster::{Action, Event, Group, Member, Mode, Output, Refusal, Settings, Unfit};
use engine::{Engine, Responsibility, Update};
use sys::scheduling::{own_time, set_realtime};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, info, warn};
use wire::Vni;

use super::EVENTS;
use super::bindings::Complete;
use super::health::Watch;
use super::inbox::Inbox;
use super::moves;
use super::session::{self, Handle, SendError, Why};
use super::tell;
use super::uplink::Publisher;
use super::views::View;
use crate::bfd::Holder;
use crate::bgp::Announcer;
use crate::events::EventRow;
use crate::mirror::Outlook;

/// Below the thread of BFD (40), from which it hears who is dead.
const PRIORITY: i32 = 39;

/// How often health is looked at: a sleeping worker looks at its ports as often.
const TURN: Duration = Duration::from_millis(4);

/// After a stop as long as this sessions with reflectors may be over and not yet seem so.
const LONG_STOP: Duration = Duration::from_secs(1);

/// Events that may wait for being told; of more the oldest are left out.
const ROWS: usize = 1024;

/// Moves that the engine is given together.
const MOVES: usize = 256;

/// What the runner works with.
pub(super) struct Parts {
    pub(super) settings: Settings,
    /// As configured.
    pub(super) peers: Vec<assign::Member>,
    /// They are members when EVPN tells of them or they have a session, not always.
    pub(super) discover: bool,
    pub(super) inbox: Arc<Inbox>,
    pub(super) sessions: mpsc::Receiver<session::Event>,
    /// Whose bindings are here.
    pub(super) bindings: Arc<Complete>,
    pub(super) handle: Handle,
    pub(super) engine: Arc<Engine>,
    pub(super) outlook: Arc<Outlook>,
    /// In mode `announce`, where there is BGP.
    pub(super) announcer: Option<Announcer>,
    pub(super) holder: Option<Holder>,
    /// Somebody else writes the log, which may block.
    pub(super) told: mpsc::Sender<EventRow>,
    /// Who wants to know how it is.
    pub(super) asked: std_mpsc::Receiver<Asker>,
    /// BGP listens to it.
    pub(super) uplink: Publisher,
    /// How long a peer takes to find a gateway dead.
    pub(super) detection: Duration,
}

/// Who wants to know something.
pub(super) enum Asker {
    View(oneshot::Sender<View>),
    Moves(oneshot::Sender<Vec<moves::Entry>>),
}

/// The thread.
pub(super) struct Runner {
    parts: Parts,
    member: Member,
    /// The engine's names of the groups.
    groups: Vec<engine::Group>,
    health: Watch,
    /// Who has a session, and who was found last.
    connected: BTreeSet<GatewayId>,
    found: BTreeSet<GatewayId>,
    /// What a session could not take yet.
    waiting: BTreeMap<GatewayId, Bytes>,
    /// What the operator is not told yet.
    rows: VecDeque<EventRow>,
    moves: moves::Log,
    leaving: bool,
    left: bool,
    /// Why it was unfit last.
    unfit: Option<Unfit>,
}

impl Runner {
    pub(super) fn new(parts: Parts) -> Self {
        let now = Instant::now();
        let mut member = Member::new(parts.settings.clone(), now);
        for peer in parts.peers.iter().filter(|_| !parts.discover) {
            member.configure(peer.id, true, now);
            // Its place among the shards is its own while it is away too.
            member.expect_weight(peer.id, peer.weight, now);
        }
        Self {
            member,
            groups: groups(&parts.settings.mode),
            health: Watch::new(parts.detection),
            connected: BTreeSet::new(),
            found: BTreeSet::new(),
            waiting: BTreeMap::new(),
            rows: VecDeque::new(),
            moves: moves::Log::default(),
            leaving: false,
            left: false,
            unfit: None,
            parts,
        }
    }

    /// Runs until this gateway has left.
    pub(super) fn run(mut self) {
        self.parts.inbox.settle_in();
        match set_realtime(PRIORITY) {
            Ok(()) => info!("cluster: real-time priority {PRIORITY} (SCHED_FIFO)"),
            Err(error) => {
                warn!(
                    "cluster: no real-time priority ({error}): taking over may be late; allow it by CAP_SYS_NICE"
                );
            }
        }
        let (mut last, mut worked) = (Instant::now(), own_time());
        while !self.left {
            let due = self.member.deadline().map_or(last + TURN, |due| due.min(last + TURN));
            std::thread::park_timeout(due.saturating_duration_since(Instant::now()));
            let now = Instant::now();
            // A long turn is no stop.
            let work = own_time().saturating_sub(worked);
            let late = now.saturating_duration_since(last + TURN).saturating_sub(work);
            if late > TURN {
                self.health.excuse(now);
            }
            if Member::is_stop(late, self.parts.detection) {
                debug!("cluster: the thread did not run for {} ms", late.as_millis());
                self.member.resumed(now);
                if late >= LONG_STOP {
                    // Who tells of them has to look first.
                    self.parts.inbox.set_reflectors(Reflectors::Lost);
                }
            }
            (last, worked) = (now, own_time());
            self.turn(now);
        }
    }

    fn turn(&mut self, now: Instant) {
        self.hear(now);
        if self.member.deadline().is_some_and(|due| due <= now) {
            self.member.handle_timeout(now);
        }
        // In this order: what is let go of, what is taken over, who is told; the operator last.
        self.act();
        self.carry_moves();
        self.act();
        self.send();
        self.parts.uplink.publish(&self.member);
        self.tell();
        self.show();
    }

    // What comes in.

    /// Members that are found come and go. A session counts as EVPN does: so losing all reflectors costs no member.
    fn discover(&mut self, now: Instant) {
        if !self.parts.discover {
            return;
        }
        let inbox = Arc::clone(&self.parts.inbox);
        for (id, announced) in inbox.discovered() {
            let is_there = announced || self.connected.contains(&id);
            if is_there == self.found.contains(&id) {
                continue;
            }
            self.member.discover(id, is_there, now);
            if is_there {
                self.found.insert(id);
                if let Some(peer) = self.parts.peers.iter().find(|peer| peer.id == id) {
                    self.member.expect_weight(id, peer.weight, now);
                }
            } else {
                self.found.remove(&id);
            }
        }
    }

    fn hear(&mut self, now: Instant) {
        self.discover(now);
        // What the member knows already costs nothing.
        for ((peer, segment), heard) in self.parts.inbox.heard() {
            self.member.heard(peer, segment, heard, now);
        }
        // No more than wait: whoever sends without end holds up no takeover. Who fills the queue wakes this thread again.
        for _ in 0..EVENTS {
            let Ok(event) = self.parts.sessions.try_recv() else { break };
            self.hear_session(event, now);
        }
        for (peer, incarnation) in self.parts.bindings.all() {
            self.member.bindings_complete(peer, incarnation, now);
        }
        let reflectors = self.parts.inbox.reflectors();
        for (vni, sequence) in self.parts.inbox.take_sequences() {
            if let Ok(place) = self.groups.binary_search(&engine::Group::Overlay(vni)) {
                self.member.sequence_seen(Group(place as u32), sequence);
            }
        }
        if let Some(order) = self.parts.inbox.take_order() {
            self.member.set_order(order);
        }
        self.member.set_reflectors(reflectors, now);
        let engine = &self.parts.engine;
        let health = self.health.look(&engine.rounds(), &engine.ports_up(), &self.parts.outlook, now);
        self.member.set_health(health, now);
        if !self.leaving && self.parts.inbox.leave.load(Ordering::Acquire) {
            self.leaving = true;
            self.member.leave(now);
        }
    }

    fn hear_session(&mut self, event: session::Event, now: Instant) {
        match event {
            session::Event::Up { peer, hello } => {
                let Some(id) = GatewayId::new(peer) else { return };
                self.waiting.remove(&id);
                self.connected.insert(id);
                self.discover(now);
                let weight = Weight(hello.weight.try_into().unwrap_or(u16::MAX));
                if let Some(member) =
                    self.parts.peers.iter().find(|member| member.id == id && member.weight != weight)
                {
                    warn!(
                        "cluster: gateway {peer} has weight {}, and its [[cluster.gateway]] here says {}, which counts while it is \
                         dead: make them alike on all gateways",
                        weight.0, member.weight.0
                    );
                }
                match self.member.admit(id, hello.incarnation, now) {
                    Ok(()) => self.member.session_up(id, hello.incarnation, weight, now),
                    Err(_) => self.parts.handle.close(peer),
                }
            }
            session::Event::Down { peer, .. } => {
                let Some(id) = GatewayId::new(peer) else { return };
                self.waiting.remove(&id);
                self.connected.remove(&id);
                self.member.session_down(id, now);
            }
            session::Event::Refused { peer, why, .. } => {
                let Some(id) = GatewayId::new(peer) else { return };
                match why {
                    // The session is with the later one, which is to hear of it.
                    Why::Refused(Judged::Copy { earlier, .. }) => _ = self.member.admit(id, earlier, now),
                    Why::Refused(judged) => self.member.session_refused(id, judged.evidence(), now),
                    _ => self.member.session_refused(id, Refusal::Other, now),
                }
            }
            session::Event::Message { peer, bytes } => {
                let Some(id) = GatewayId::new(peer) else { return };
                match Message::decode(&bytes) {
                    Ok(message) => self.member.handle_message(id, message, now),
                    Err(error) => {
                        debug!("cluster: gateway {peer}: {error}");
                        self.note(&Event::BadMessage(id));
                    }
                }
            }
            session::Event::Stranger { .. } => {}
        }
    }

    // What goes out.

    /// What is to be done at once.
    fn act(&mut self) {
        while let Some(output) = self.member.poll() {
            match output {
                Output::ReleaseAll { cause } => {
                    self.queue(tell::released(cause));
                    self.parts.engine.update(nothing(&self.groups));
                    self.moves.note_release_of_all(cause, Instant::now());
                    if let Some(announcer) = &self.parts.announcer {
                        announcer.withdraw_all();
                    }
                }
                Output::AdminDown(down) => {
                    if let Some(holder) = &self.parts.holder {
                        holder.hold(down);
                    }
                }
                Output::UplinkRoutes(routes) => self.parts.uplink.set_routes(routes),
                Output::CloseSession(peer) => self.parts.handle.close(peer.value()),
                Output::Left => self.left = true,
                Output::Event(event) => self.note(&event),
            }
        }
    }

    /// Carries out what is to move, in mode `announce` as much as can be announced: the announcer wakes this thread when there is
    /// room for more.
    fn carry_moves(&mut self) {
        loop {
            let (mut changes, mut announced) = (Vec::new(), Vec::new());
            let most = self.parts.announcer.as_ref().map_or(MOVES, |announcer| announcer.room().min(MOVES));
            while changes.len() < MOVES
                && announced.len() < most
                && let Some(next) = self.member.poll_move(Instant::now())
            {
                let Some(&group) = self.groups.get(next.group.0 as usize) else { continue };
                self.moves.note(name(group), &next);
                match next.action {
                    Action::Take { sequence } => {
                        changes.push((group, Responsibility::Owner));
                        announced.extend(sequence.map(|sequence| (next.group.0, Some(sequence))));
                    }
                    // An owner announces when it becomes one.
                    Action::AnnounceAgain => {
                        changes.extend([(group, Responsibility::Former), (group, Responsibility::Owner)]);
                    }
                    Action::Release => {
                        changes.push((group, Responsibility::Former));
                        announced.push((next.group.0, None));
                    }
                    Action::ForwardingEnds => changes.push((group, Responsibility::Other)),
                }
            }
            if changes.is_empty() {
                return;
            }
            // Who is believed to have it has it.
            self.parts.engine.update(Update::Responsibility(changes));
            self.moves.done(Instant::now());
            if let Some(announcer) = &self.parts.announcer {
                announced.into_iter().for_each(|(group, sequence)| announcer.announce(group, sequence));
            }
            self.parts.uplink.note_moves();
        }
    }

    fn send(&mut self) {
        for peer in self.parts.peers.iter().map(|peer| peer.id) {
            loop {
                let bytes = match self.waiting.remove(&peer) {
                    Some(bytes) => bytes,
                    None => match self.member.poll_message(peer) {
                        Some(message) => Bytes::from(message.encode()),
                        None => break,
                    },
                };
                match self.parts.handle.send(peer.value(), bytes.clone()) {
                    Ok(()) => {}
                    Err(SendError::Full) => {
                        self.waiting.insert(peer, bytes);
                        break;
                    }
                    // Its end is on the way here, and all is told anew.
                    Err(SendError::Down | SendError::TooLong) => break,
                }
            }
        }
    }

    fn note(&mut self, event: &Event) {
        if let Event::Stage { unfit, .. } = event {
            self.unfit = *unfit;
        }
        self.queue(tell::row(event));
    }

    fn queue(&mut self, row: EventRow) {
        self.rows.push_back(row);
        // Whoever writes them is far behind.
        if self.rows.len() > ROWS {
            self.rows.pop_front();
        }
    }

    fn tell(&mut self) {
        while let Some(row) = self.rows.pop_front() {
            if let Err(mpsc::error::TrySendError::Full(row)) = self.parts.told.try_send(row) {
                self.rows.push_front(row);
                break;
            }
        }
    }

    /// Answers whoever asks, for `vxgate show`.
    fn show(&self) {
        for asker in self.parts.asked.try_iter() {
            let asker = match asker {
                Asker::View(asker) => asker,
                Asker::Moves(asker) => {
                    // It may have gone meanwhile, as below.
                    let _ = asker.send(self.moves.entries());
                    continue;
                }
            };
            let view = View {
                stage: self.member.stage(),
                unfit: self.unfit,
                peers: self.member.peers().collect(),
                owners: (0..).zip(&self.groups).map(|(number, _)| self.member.owner(Group(number))).collect(),
            };
            // It may have gone meanwhile.
            let _ = asker.send(view);
        }
    }
}

/// What the operator calls a group: its VNI, or the shard's number.
fn name(group: engine::Group) -> u32 {
    match group {
        engine::Group::Overlay(vni) => vni.value(),
        engine::Group::Shard(number) => number.into(),
    }
}

/// The engine's names of the groups, in their order.
pub(super) fn groups(mode: &Mode) -> Vec<engine::Group> {
    match mode {
        Mode::Announce(vnis) => {
            vnis.iter().filter_map(|&vni| Vni::new(vni)).map(engine::Group::Overlay).collect()
        }
        Mode::Floating(shards) => (0..shards.value()).map(engine::Group::Shard).collect(),
    }
}

/// This gateway is no group's owner.
pub(super) fn nothing(groups: &[engine::Group]) -> Update {
    Update::Responsibility(groups.iter().map(|&group| (group, Responsibility::Other)).collect())
}
