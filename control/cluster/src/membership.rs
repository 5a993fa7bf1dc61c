//! Who is there, and what follows from it.

mod inputs;
mod messages;
mod peer;
mod settle;

use std::collections::{BTreeMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::time::Instant;

use crate::assign::GatewayId;
use crate::event::{Event, Group, Move, Output, Presence, Stage, Unfit};
use crate::message::Health;
use crate::responsibility::Responsibility;
use crate::settings::Settings;
use peer::Peer;

/// What is known of the reflectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Reflectors {
    /// No session with any.
    #[default]
    Lost,
    /// A session, but their routes are not all there.
    Reached,
    /// End-of-RIB has come (RFC 4724 §2): all their routes are there.
    Complete,
}

/// A gateway's view of its cluster, and its part in it.
///
/// After any call, [`poll`](Self::poll) until there is nothing more; [`poll_move`](Self::poll_move) as fast as moves can be
/// carried out; [`poll_message`](Self::poll_message) for each peer whose session can take one; and call
/// [`handle_timeout`](Self::handle_timeout) when [`deadline`](Self::deadline) says so.
#[derive(Clone, Debug)]
pub struct Member {
    settings: Settings,
    peers: BTreeMap<GatewayId, Peer>,
    groups: Responsibility,
    health: Health,
    reflectors: Reflectors,
    stage: Stage,
    /// When joining began, or until when leaving may last.
    stage_time: Instant,
    unfit: Option<Unfit>,
    /// The other one with our id: until when it counts, and its incarnation.
    duplicate: Option<(Instant, u64)>,
    /// What was last said by BFD and to the uplink's routers.
    admin_down: bool,
    uplink_routes: bool,
    outputs: VecDeque<Output>,
    wake: Option<Instant>,
    now: Instant,
}

impl Member {
    /// A gateway that has just started. Tell it of its peers first.
    pub fn new(settings: Settings, now: Instant) -> Self {
        Self {
            groups: Responsibility::new(&settings, now),
            settings,
            peers: BTreeMap::new(),
            health: Health::default(),
            reflectors: Reflectors::default(),
            stage: Stage::Joining,
            stage_time: now,
            unfit: None,
            duplicate: None,
            admin_down: false,
            uplink_routes: false,
            outputs: VecDeque::new(),
            // Not before its peers are known: alone it would serve at once.
            wake: Some(now),
            now,
        }
    }

    /// What to do at once, or what is new.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front().or_else(|| self.groups.round(self.now).map(Output::Event))
    }

    /// The next group to move. A group that is given out here has moved: peers are told. Ask as fast as moves can be carried
    /// out, no faster; those come first that [`set_order`](Self::set_order) says.
    pub fn poll_move(&mut self, now: Instant) -> Option<Move> {
        self.advance(now);
        let next = self.groups.poll_move(self.now);
        self.spread();
        if next.is_none() && self.stage == Stage::Leaving {
            self.settle();
        }
        next
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called. After it `poll_move` may have something.
    pub fn deadline(&self) -> Option<Instant> {
        [self.wake, self.groups.deadline()].into_iter().flatten().min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
        self.groups.handle_timeout(self.now);
        self.spread();
        self.settle();
    }

    /// What this gateway is.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// Whether this gateway serves a group.
    pub fn owns(&self, group: Group) -> bool {
        self.groups.owns(group)
    }

    /// Who serves a group, as far as is known here; the lowest id if several say so, and this gateway first.
    pub fn owner(&self, group: Group) -> Option<GatewayId> {
        self.groups.owner(group)
    }

    /// How many groups this gateway serves.
    pub fn owned(&self) -> u32 {
        self.groups.owned()
    }

    /// What the peers are.
    pub fn peers(&self) -> impl Iterator<Item = (GatewayId, Presence)> + '_ {
        self.peers.iter().map(|(&id, peer)| (id, peer.presence))
    }

    /// Feeds a hasher with all that the rules depend on, so that two states that behave alike are alike: times count as
    /// what is left of them, if anything depends on them still, and an incarnation as known or not.
    pub fn digest(&self, hasher: &mut impl Hasher) {
        let left = |until: Instant| until.saturating_duration_since(self.now);
        let settings = &self.settings;
        self.groups.digest(self.now, hasher);
        (&self.health, self.reflectors, self.stage, self.unfit).hash(hasher);
        (self.admin_down, self.uplink_routes, settings.weight, self.wake.map(left)).hash(hasher);
        match self.stage {
            Stage::Joining => {
                [settings.join_wait, settings.revive_wait]
                    .map(|wait| left(self.stage_time + wait))
                    .hash(hasher);
            }
            Stage::Leaving => left(self.stage_time).hash(hasher),
            Stage::Serving | Stage::Left | Stage::Unfit => {}
        }
        self.duplicate.map(|(until, other)| (left(until), other)).hash(hasher);
        for (id, peer) in &self.peers {
            (id, peer.configured, peer.discovered, peer.expected, peer.said, peer.heard, peer.connected)
                .hash(hasher);
            (peer.refused, peer.incarnation.is_some(), peer.restarted, &peer.report, peer.unsaid)
                .hash(hasher);
            // Not the number of its next message.
            let out = &peer.out;
            (out.serves, out.told_all, out.in_flight, out.report, out.applied.is_some(), out.duplicate)
                .hash(hasher);
            let joining = self.stage == Stage::Joining;
            let unheard = peer.known_since.max(self.stage_time) + settings.join_wait;
            joining.then(|| left(unheard)).hash(hasher);
            let silent = peer.report.is_none() || !peer.bindings_complete;
            peer.alive_since.map(|since| silent.then(|| left(since + settings.session_wait))).hash(hasher);
            (peer.bindings_complete, peer.presence).hash(hasher);
        }
    }

    /// Time does not go back.
    fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }
}
