//! A BGP speaker: its peers, what they say, and what they are told. Sans-I/O.

mod announce;
mod peer;
mod views;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use rustbgpd_wire::RouteRefreshSubtype;
use wire::{MacAddr, Vni};

use crate::config::{ConfigError, Local, PeerConfig};
use crate::event::{Change, DownReason, Event, PeerId};
use crate::family::Family;
use crate::out::journal::Journal;
use crate::overlay::duplicates::DuplicatePolicy;
use crate::overlay::targets::RouteTargets;
use crate::overlay::{Identity, Told};
use crate::rib::Rib;
use crate::session::{self, ConnectionId, Session};
use crate::update::Part;
use peer::Peer;
pub use views::PeerView;

/// How long stale routes are kept of a peer that is back, until it has told all (RFC 4724 §4.2: the restart time is for
/// its coming back alone), or of one that has begun to tell all again (RFC 7313 §4.2).
const STALE_LIMIT: Duration = Duration::from_secs(360);

/// What a speaker wants done, or tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Connect to a peer; then say [`Speaker::connected`] or [`Speaker::connect_failed`].
    Dial {
        /// The peer.
        peer: PeerId,
        /// What the connection is called from now on.
        connection: ConnectionId,
    },
    /// Send these bytes and close the connection, or stop connecting. Nothing more is to be said of it.
    Close {
        /// The peer.
        peer: PeerId,
        /// Which.
        connection: ConnectionId,
        /// Last words.
        last: Vec<u8>,
    },
    /// For the data plane.
    Change(Change),
    /// For the operator.
    Event(Event),
}

/// A BGP speaker.
///
/// After any call, [`poll`](Self::poll) until there is nothing more, [`transmit`](Self::transmit) on connections that can
/// take bytes, and call [`handle_timeout`](Self::handle_timeout) when [`deadline`](Self::deadline) says so.
#[derive(Debug)]
pub struct Speaker {
    local: Local,
    peers: Vec<Peer>,
    rib: Rib,
    out: [Journal; 3],
    outputs: VecDeque<Output>,
    /// Words to say when all is withdrawn.
    leaving: Option<String>,
    random: fastrand::Rng,
}

impl Speaker {
    /// A speaker without peers; `seed` is for the jitter of its timers.
    pub fn new(local: Local, identity: Identity, duplicates: DuplicatePolicy, seed: u64) -> Self {
        Self {
            local,
            peers: Vec::new(),
            rib: Rib::new(identity, duplicates),
            out: Default::default(),
            outputs: VecDeque::new(),
            leaving: None,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// Adds a peer, to be [started](Self::start_peer).
    ///
    /// # Errors
    /// What is wrong with its configuration.
    pub fn add_peer(&mut self, config: PeerConfig) -> Result<PeerId, ConfigError> {
        config.check()?;
        if self.peers.iter().any(|peer| peer.session.config().address == config.address) {
            return Err(ConfigError::Twice { peer: config.address });
        }
        let id = u16::try_from(self.peers.len()).map_err(|_| ConfigError::TooManyPeers)?;
        self.rib.add_peer(config.address, config.is_internal(&self.local));
        let session = Session::new(config, self.local.clone(), self.random.u64(..));
        self.peers.push(Peer::new(session));
        Ok(PeerId(id))
    }

    /// Replaces the overlays and their route targets. Only what this changes is announced anew, or counts otherwise.
    pub fn set_overlays(&mut self, overlays: impl IntoIterator<Item = (Vni, RouteTargets)>) {
        self.rib.set_overlays(overlays);
        self.revise_targets();
    }

    /// Replaces what is ours.
    pub fn set_identity(&mut self, identity: Identity) {
        self.rib.set_identity(identity);
    }

    // Sessions.

    /// Starts a session, again too after it was stopped or held down.
    pub fn start_peer(&mut self, peer: PeerId, now: Instant) {
        self.session(peer).start(now);
        self.follow(peer, now);
    }

    /// Ends a session with words for the peer's operator: 128 bytes of them are sent, of 255 that RFC 9003 allows.
    pub fn stop_peer(&mut self, peer: PeerId, communication: &str, now: Instant) {
        self.session(peer).stop(communication, now);
        self.follow(peer, now);
    }

    /// BFD or the like says that the peer is dead (RFC 9384): its routes go at once, whatever graceful restart would
    /// keep.
    pub fn peer_down(&mut self, peer: PeerId, now: Instant) {
        self.session(peer).peer_down(now);
        self.follow(peer, now);
    }

    /// Leaves the network: all is withdrawn, and each session ends as soon as its peer has been told.
    /// [`is_idle`](Self::is_idle) says when that is done.
    pub fn shut_down(&mut self, communication: &str, now: Instant) {
        self.leaving = Some(communication.to_owned());
        self.out.iter_mut().for_each(Journal::withdraw_all);
        for peer in self.ids() {
            self.leave_if_told(peer, now);
        }
    }

    /// Goes on with [`shut_down`](Self::shut_down): all sessions end now, whatever their peers have been told.
    pub(crate) fn cut_short(&mut self, now: Instant) {
        let words = self.leaving.clone().unwrap_or_default();
        for peer in self.ids() {
            self.stop_peer(peer, &words, now);
        }
    }

    /// Whether [`shut_down`](Self::shut_down) was called.
    pub fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    /// Whether a peer is in our own AS.
    pub fn is_internal(&self, peer: PeerId) -> bool {
        self.config(peer).is_internal(&self.local)
    }

    /// Whether no session is up or under way.
    pub fn is_idle(&self) -> bool {
        self.peers.iter().all(|peer| peer.session.state() == session::SessionState::Idle)
    }

    // What happens on connections.

    /// TCP is connected.
    pub fn connected(&mut self, peer: PeerId, connection: ConnectionId, now: Instant) {
        self.session(peer).connected(connection, now);
        self.follow(peer, now);
    }

    /// TCP could not connect, or the connection cannot be used: `why`, for the operator.
    pub fn connect_failed(&mut self, peer: PeerId, connection: ConnectionId, why: String, now: Instant) {
        self.session(peer).connect_failed(connection, why, now);
        self.follow(peer, now);
    }

    /// Which peer has this address.
    pub fn peer_at(&self, address: IpAddr) -> Option<PeerId> {
        let address = address.to_canonical();
        self.ids().find(|id| self.config(*id).address == address)
    }

    /// A connection of the peer was turned away unheard: `why`, for the operator.
    pub fn turned_away(&mut self, peer: PeerId, why: String) {
        self.tell_down(peer, DownReason::Transport { detail: why });
    }

    /// Somebody has connected: which peer it is and what the connection is called, or `None` if it is to be closed.
    pub fn accept(&mut self, address: IpAddr, now: Instant) -> Option<(PeerId, ConnectionId)> {
        let peer = self.peer_at(address)?;
        let connection = self.session(peer).accept(now);
        self.follow(peer, now);
        Some((peer, connection?))
    }

    /// A connection was closed by the peer, or broke.
    pub fn closed(&mut self, peer: PeerId, connection: ConnectionId, now: Instant) {
        self.session(peer).closed(connection, now);
        self.follow(peer, now);
    }

    /// Bytes came. At most some 64 KB at a time keep what is to be polled small.
    pub fn received(&mut self, peer: PeerId, connection: ConnectionId, bytes: &[u8], now: Instant) {
        self.session(peer).received(connection, bytes);
        // Each message by itself: what it was made into is gone, and its memory used again, before the next is read.
        while self.session(peer).step(connection, now) {
            self.follow(peer, now);
        }
        self.follow(peer, now);
    }

    // Time.

    /// When [`handle_timeout`](Self::handle_timeout) is to be called.
    pub fn deadline(&self) -> Option<Instant> {
        let peers = self.peers.iter().filter_map(Peer::deadline);
        peers.chain(self.rib.deadline()).min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.rib.handle_timeout(now);
        for id in self.ids() {
            let peer = &mut self.peers[usize::from(id.0)];
            if peer.deadline().is_none_or(|due| due > now) {
                continue;
            }
            for family in Family::ALL {
                if peer.keep_stale[family.index()].is_some_and(|due| due <= now) {
                    peer.keep_stale[family.index()] = None;
                    self.rib.sweep_stale(id, family);
                }
            }
            peer.session.handle_timeout(now);
            self.follow(id, now);
        }
    }

    /// What to do next, or what is new. `None`: nothing for now. Work on all routes, as after the loss of a peer, is done
    /// on the way.
    pub fn poll(&mut self, now: Instant) -> Option<Output> {
        loop {
            let output = self.poll_session().or_else(|| self.poll_routes());
            if output.is_some() || !self.work(now) {
                return output;
            }
        }
    }

    /// As [`poll`](Self::poll), of sessions alone: a step to take or an event of theirs. There are few.
    pub(crate) fn poll_session(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// As [`poll`](Self::poll), of routes alone, without work on all of them.
    pub(crate) fn poll_routes(&mut self) -> Option<Output> {
        self.rib.poll().map(|told| match told {
            Told::Change(change) => Output::Change(change),
            Told::Event(event) => Output::Event(event),
        })
    }

    /// Does a step of the work on all routes, a thousand at most; whether there was any.
    pub(crate) fn work(&mut self, now: Instant) -> bool {
        self.rib.sweep(now)
    }

    /// How much waits to be polled.
    pub(crate) fn backlog(&self) -> usize {
        self.outputs.len() + self.rib.backlog()
    }

    /// Bytes of a peer have come that could not be taken in yet: it is alive, so that its hold time begins anew.
    pub(crate) fn heard(&mut self, peer: PeerId, connection: ConnectionId, now: Instant) {
        self.session(peer).heard(connection, now);
    }

    /// Lets a MAC address that was held as duplicate count again; whether there was one.
    pub fn clear_duplicate(&mut self, vni: Vni, mac: MacAddr, now: Instant) -> bool {
        self.rib.clear_duplicate(vni, mac, now)
    }

    /// Asks a peer for all its routes of a family again (RFC 2918); those that it does not tell again go (RFC 7313).
    pub fn refresh(&mut self, peer: PeerId, family: Family, now: Instant) {
        self.session(peer).request_refresh(family, now);
    }

    fn session(&mut self, peer: PeerId) -> &mut Session {
        &mut self.peers[usize::from(peer.0)].session
    }

    fn ids(&self) -> impl Iterator<Item = PeerId> + use<> {
        (0..self.peers.len()).map(|place| PeerId(place as u16))
    }

    /// Does what a session says.
    fn follow(&mut self, id: PeerId, now: Instant) {
        while let Some(output) = self.session(id).poll() {
            match output {
                session::Output::Dial(connection) => {
                    self.outputs.push_back(Output::Dial { peer: id, connection });
                }
                session::Output::Close { id: connection, last } => {
                    self.outputs.push_back(Output::Close { peer: id, connection, last });
                }
                session::Output::State(state) => {
                    let peer = &mut self.peers[usize::from(id.0)];
                    peer.since = Some(now);
                    let router_id = peer.session.negotiated().map(|n| n.peer_router_id);
                    if peer.is_news(state) {
                        self.tell(Event::Session { peer: id, state, router_id });
                    }
                }
                session::Output::Up(negotiated) => {
                    let internal = negotiated.peer_asn == self.local.asn;
                    self.rib.peer_up(id, negotiated.peer_router_id, internal);
                    let lasts = self.out.each_ref().map(Journal::last);
                    self.peers[usize::from(id.0)].up(&negotiated, internal, &self.local, lasts);
                    self.await_confirmation(id, &negotiated, now);
                }
                session::Output::Parts(parts) => self.take_in(id, parts, now),
                session::Output::Refresh(family, subtype) => self.refresh_asked(id, family, subtype, now),
                session::Output::Down { reason, retained, keep } => {
                    self.down(id, &retained, now + keep);
                    self.tell_down(id, reason);
                }
                session::Output::Silent(silent) => self.tell(Event::Silence { peer: id, silent }),
                session::Output::Failed(reason) => {
                    // Stopped before it came up: nothing that the operator does not know.
                    if reason != DownReason::Stopped {
                        self.tell_down(id, reason);
                    }
                }
            }
        }
    }

    fn tell_down(&mut self, id: PeerId, reason: DownReason) {
        let before = self.peers[usize::from(id.0)].last_down.replace(reason.clone());
        // A peer that is not there is tried for days.
        let again = matches!(reason, DownReason::Transport { .. }) && before.as_ref() == Some(&reason);
        if !again {
            self.tell(Event::Down { peer: id, reason });
        }
    }

    fn tell(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn take_in(&mut self, id: PeerId, parts: Vec<Part>, now: Instant) {
        for part in parts {
            match part {
                Part::Withdraw(nlri) => self.rib.withdraw(id, &nlri, now),
                Part::Own(nlri) => {
                    self.peers[usize::from(id.0)].own_routes += nlri.len() as u64;
                    self.rib.withdraw(id, &nlri, now);
                }
                Part::Refuse(nlri, reason) => self.rib.refuse(id, &nlri, reason, now),
                Part::Announce(nlri, attributes) => {
                    self.rib.announce(id, nlri, *attributes, now);
                    if self.end_if_over_limit(id, now) {
                        return;
                    }
                }
                Part::EndOfRib(family) => {
                    self.peers[usize::from(id.0)].keep_stale[family.index()] = None;
                    self.rib.sweep_stale(id, family);
                    // Behind what it ends.
                    self.rib.tell(Event::EndOfRib { peer: id, family });
                }
                Part::Forgiven(detail) => self.tell(Event::Malformed { peer: id, detail }),
            }
        }
    }

    /// Ends the session of a peer that has told too much; whether it has.
    fn end_if_over_limit(&mut self, id: PeerId, now: Instant) -> bool {
        if self.session(id).established().is_none() {
            return false;
        }
        let config = self.config(id);
        let (most, most_bytes) = (config.max_routes, config.max_attribute_bytes());
        if let Some(family) = Family::ALL.into_iter().find(|&family| self.rib.routes_of(id, family) > most) {
            self.session(id).too_many_routes(family, now);
        } else if self.rib.attribute_bytes(id) > most_bytes {
            self.session(id).too_much_memory(most_bytes, now);
        } else {
            return false;
        }
        true
    }

    /// The peer asks for our routes, or tells that it will tell its own again (RFC 7313 §4).
    fn refresh_asked(&mut self, id: PeerId, family: Family, subtype: RouteRefreshSubtype, now: Instant) {
        let peer = &mut self.peers[usize::from(id.0)];
        match subtype {
            RouteRefreshSubtype::Normal => peer.tell_again(family, self.out[family.index()].last()),
            // Marks that were not agreed on say nothing.
            _ if !peer.enhanced_refresh => {}
            RouteRefreshSubtype::BoRR => {
                peer.keep_stale[family.index()] = Some(now + STALE_LIMIT);
                self.rib.mark_stale(id, family);
            }
            RouteRefreshSubtype::EoRR => {
                peer.keep_stale[family.index()] = None;
                self.rib.sweep_stale(id, family);
            }
            _ => {}
        }
    }

    /// The session is down: routes go, or stay for a while (RFC 4724 §4.2).
    fn down(&mut self, id: PeerId, retained: &[Family], until: Instant) {
        for family in Family::ALL {
            // Stale for the second time: RFC 4724 §4.2 has them go at once.
            self.rib.sweep_stale(id, family);
            self.rib.mark_stale(id, family);
            let keep = retained.contains(&family) && self.rib.is_stale(id, family);
            self.peers[usize::from(id.0)].keep_stale[family.index()] = keep.then_some(until);
            if !keep {
                self.rib.sweep_stale(id, family);
            }
        }
        self.peers[usize::from(id.0)].recipient = None;
        self.bury();
    }

    /// Back from a restart: routes of families for which the peer has lost its forwarding state go; others stay until it
    /// has told all (RFC 4724 §4.2).
    fn await_confirmation(&mut self, id: PeerId, negotiated: &rustbgpd_fsm::NegotiatedSession, now: Instant) {
        for family in Family::ALL {
            let keep_stale = &mut self.peers[usize::from(id.0)].keep_stale[family.index()];
            if keep_stale.is_none() {
                continue;
            }
            let (afi, safi) = family.codes();
            let preserved = negotiated
                .peer_gr_families
                .iter()
                .any(|kept| (kept.afi, kept.safi) == (afi, safi) && kept.forwarding_preserved);
            *keep_stale = preserved.then_some(now + STALE_LIMIT);
            if !preserved {
                self.rib.sweep_stale(id, family);
            }
        }
    }

    /// The router id of the speaker.
    pub fn router_id(&self) -> Ipv4Addr {
        self.local.router_id
    }
}
