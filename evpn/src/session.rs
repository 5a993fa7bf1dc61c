//! A session with one peer: connecting, accepting, collisions, retries, and what comes in. Sans-I/O.

mod connection;
mod lifecycle;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustbgpd_fsm::{Event, NegotiatedSession, SessionState as Fsm};
use rustbgpd_wire::notification::{
    NotificationCode, cease_subcode, description, encode_shutdown_communication,
    extract_shutdown_communication,
};
use rustbgpd_wire::{Message, NotificationMessage, OpenMessage, RouteRefreshMessage, RouteRefreshSubtype};

use crate::config::{Local, PeerConfig};
use crate::event::DownReason;
use crate::family::Family;
use crate::update::{self, Context, Part};
use connection::Connection;
pub use connection::ConnectionId;

/// How long TCP may take to connect.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// Refusals in a row double the pause until the next try, up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);

/// State of a session (RFC 4271 §8.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SessionState {
    /// Stopped, or held down.
    Idle,
    /// Waits for the next try, or for the peer to connect.
    Active,
    /// Connects.
    Connect,
    /// Waits for the peer's OPEN.
    OpenSent,
    /// Waits for the peer's first KEEPALIVE.
    OpenConfirm,
    /// Up.
    Established,
}

impl fmt::Display for SessionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What a session wants done, or tells.
#[derive(Debug)]
pub(crate) enum Output {
    /// Connect to the peer.
    Dial(ConnectionId),
    /// Send `last`, then close; or give up connecting.
    Close {
        id: ConnectionId,
        last: Vec<u8>,
    },
    State(SessionState),
    Up(Arc<NegotiatedSession>),
    Parts(Vec<Part>),
    Refresh(Family, RouteRefreshSubtype),
    /// The session is down; routes of `retained` families are kept for a while (RFC 4724 §4.2).
    Down {
        reason: DownReason,
        retained: Vec<Family>,
        keep: Duration,
    },
    /// An attempt came to nothing.
    Failed(DownReason),
    /// Nothing has been heard for long, or something again.
    Silent(bool),
}

/// A session with one peer.
#[derive(Debug)]
pub(crate) struct Session {
    config: PeerConfig,
    local: Local,
    enabled: bool,
    /// Held down for too many routes, or too large ones.
    held: bool,
    was_up: bool,
    connections: Vec<Connection>,
    dialling: Option<(ConnectionId, Instant)>,
    retry: Option<Instant>,
    /// Attempts in a row that got as far as a connection, and no further.
    refusals: u32,
    next_id: u64,
    state: SessionState,
    /// It was told that nothing has been heard for long.
    silent: bool,
    outputs: VecDeque<Output>,
    random: fastrand::Rng,
}

impl Session {
    pub(crate) fn new(config: PeerConfig, local: Local, seed: u64) -> Self {
        Self {
            config,
            local,
            enabled: false,
            held: false,
            was_up: false,
            connections: Vec::new(),
            dialling: None,
            retry: None,
            refusals: 0,
            next_id: 0,
            state: SessionState::Idle,
            silent: false,
            outputs: VecDeque::new(),
            random: fastrand::Rng::with_seed(seed),
        }
    }

    pub(crate) fn config(&self) -> &PeerConfig {
        &self.config
    }

    pub(crate) fn state(&self) -> SessionState {
        self.state
    }

    pub(crate) fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The connection on which routes are sent, and the longest message.
    pub(crate) fn established(&self) -> Option<(ConnectionId, u16)> {
        let connection = self.connections.iter().find(|connection| is_up(connection))?;
        Some((connection.id, connection.max_message()))
    }

    pub(crate) fn negotiated(&self) -> Option<&NegotiatedSession> {
        self.connections.iter().find(|connection| is_up(connection))?.negotiated.as_deref()
    }

    // What happens.

    pub(crate) fn start(&mut self, now: Instant) {
        self.enabled = true;
        self.held = false;
        self.retry = None;
        self.dial(now);
        self.settle(now);
    }

    /// Ends the session for good, with words to the peer's operator (RFC 9003).
    pub(crate) fn stop(&mut self, communication: &str, now: Instant) {
        self.enabled = false;
        let reason = (!communication.is_empty()).then(|| encode_shutdown_communication(communication));
        self.end_all(&Event::ManualStop { reason }, &DownReason::Stopped, now);
    }

    /// BFD or the like says that the peer is dead (RFC 9384): ended at once, without graceful restart.
    pub(crate) fn peer_down(&mut self, now: Instant) {
        self.end_all(&Event::BfdDown, &DownReason::PeerDown, now);
    }

    /// The peer has more routes than it may (RFC 4486 §4).
    pub(crate) fn too_many_routes(&mut self, family: Family, now: Instant) {
        let limit = self.config.max_routes;
        let (afi, safi) = family.codes();
        let mut data = Vec::from((afi as u16).to_be_bytes());
        data.push(safi as u8);
        data.extend_from_slice(&u32::try_from(limit).unwrap_or(u32::MAX).to_be_bytes());
        let reason = DownReason::MaxRoutes { family, limit };
        self.hold_down(cease_subcode::MAX_PREFIXES, Bytes::from(data), &reason, now);
    }

    /// The attributes of the peer's routes take more memory than they may (RFC 4486 §4).
    pub(crate) fn too_much_memory(&mut self, limit: usize, now: Instant) {
        let reason = DownReason::MaxAttributes { limit };
        self.hold_down(cease_subcode::OUT_OF_RESOURCES, Bytes::new(), &reason, now);
    }

    fn hold_down(&mut self, subcode: u8, data: Bytes, reason: &DownReason, now: Instant) {
        let cease = NotificationMessage::new(NotificationCode::Cease, subcode, data);
        self.held = true;
        let ids: Vec<_> = self.connections.iter().map(|connection| connection.id).collect();
        for id in ids {
            self.refuse(id, cease.clone(), reason.clone(), now);
        }
        self.retry = self.config.max_routes_restart.map(|pause| now + pause);
        self.settle(now);
    }

    /// TCP is connected.
    pub(crate) fn connected(&mut self, id: ConnectionId, now: Instant) {
        if self.dialling.is_some_and(|(dialling, _)| dialling == id) {
            self.dialling = None;
            self.open(id, true, now);
        } else {
            self.outputs.push_back(Output::Close { id, last: Vec::new() });
        }
        self.settle(now);
    }

    /// TCP could not connect, or what is connected cannot be used.
    pub(crate) fn connect_failed(&mut self, id: ConnectionId, detail: String, now: Instant) {
        let reason = DownReason::Transport { detail };
        if self.dialling.take_if(|(dialling, _)| *dialling == id).is_some() {
            self.outputs.push_back(Output::Failed(reason));
        } else {
            self.drop_connection(id, reason);
        }
        self.settle(now);
    }

    /// The peer has connected: the new connection's number, or `None` if it is to be closed at once.
    pub(crate) fn accept(&mut self, now: Instant) -> Option<ConnectionId> {
        if !self.enabled || self.held {
            return None;
        }
        // A peer that connects again has given up what it had before, unless that came to be a session.
        let stale = self.connections.iter().find(|connection| !connection.dialled && !is_up(connection));
        if let Some(id) = stale.map(|connection| connection.id) {
            self.drop_connection(id, DownReason::Collision);
        }
        let id = self.new_id();
        self.open(id, false, now);
        self.settle(now);
        Some(id)
    }

    /// A connection was closed or reset.
    pub(crate) fn closed(&mut self, id: ConnectionId, now: Instant) {
        self.handle(id, Event::TcpConnectionFails, now);
        // In no state does the machine keep a connection that is gone.
        self.drop_connection(id, DownReason::Closed);
        self.settle(now);
    }

    /// Bytes of a connection, to be worked off by [`step`](Self::step).
    pub(crate) fn received(&mut self, id: ConnectionId, bytes: &[u8]) {
        if let Some(connection) = self.connection(id) {
            connection.feed(bytes);
        }
    }

    /// Takes in the next whole message that was received; whether there was one.
    pub(crate) fn step(&mut self, id: ConnectionId, now: Instant) -> bool {
        let next = self.connection(id).and_then(Connection::next_message);
        let any = next.is_some();
        match next {
            Some(Ok(message)) => self.message(id, message, now),
            Some(Err(error)) => self.handle(id, Event::DecodeError(error), now),
            None => self.settle(now),
        }
        any
    }

    /// Bytes wait that nobody has had time for.
    pub(crate) fn heard(&mut self, id: ConnectionId, now: Instant) {
        if let Some(connection) = self.connection(id) {
            connection.heard(now);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let connections = self.connections.iter().filter_map(Connection::deadline);
        let dialling = self.dialling.map(|(_, due)| due);
        let silence = self.silence_due().filter(|_| !self.silent);
        connections.chain(dialling).chain(self.retry).chain(silence).min()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let due: Vec<_> = self.connections.iter().map(|connection| connection.id).collect();
        for id in due {
            if let Some(effect) = self.connection(id).and_then(|connection| connection.expire(now)) {
                self.effect(id, &effect, now);
            }
        }
        if let Some((id, due)) = self.dialling
            && due <= now
        {
            self.dialling = None;
            self.outputs.push_back(Output::Close { id, last: Vec::new() });
            let detail = format!(
                "no answer to TCP in {} s: the peer is not there, too far for its or our ttl-security, has another \
                 password, or a filter is in between",
                DIAL_TIMEOUT.as_secs()
            );
            self.outputs.push_back(Output::Failed(DownReason::Transport { detail }));
        }
        if self.retry.is_some_and(|due| due <= now) {
            self.retry = None;
            self.held = false;
            self.dial(now);
        }
        self.settle(now);
    }

    /// Messages that wait on a connection, moved to `buffer`; whether there were any.
    pub(crate) fn transmit(&mut self, id: ConnectionId, buffer: &mut Vec<u8>) -> bool {
        self.connection(id).is_some_and(|connection| connection.transmit(buffer))
    }

    pub(crate) fn has_control(&self, id: ConnectionId) -> bool {
        self.connections.iter().any(|connection| connection.id == id && connection.has_control())
    }

    /// Asks for all routes of a family again (RFC 2918).
    pub(crate) fn request_refresh(&mut self, family: Family, now: Instant) {
        let (afi, safi) = family.codes();
        if let Some(connection) = self.connections.iter_mut().find(|connection| is_up(connection)) {
            connection.queue(&Message::RouteRefresh(RouteRefreshMessage::new(afi, safi)), now);
        }
    }

    // How it goes on.

    fn message(&mut self, id: ConnectionId, message: Message, now: Instant) {
        match message {
            Message::Open(open) if self.survives_collision(id, &open, now) => {
                let before = self.established().map(|(before, _)| before).filter(|&before| before != id);
                self.handle(id, Event::OpenReceived(open), now);
                // RFC 4724 §5: the OPEN of a peer that has restarted ends the session from before; one that does not fit
                // ends its own connection alone.
                let fits = self.connection(id).is_some_and(|new| new.state() == Fsm::OpenConfirm);
                if let Some(before) = before.filter(|_| fits) {
                    self.drop_connection(before, DownReason::Closed);
                }
            }
            Message::Keepalive => self.handle(id, Event::KeepaliveReceived, now),
            Message::Notification(notification) => {
                if let Some(connection) = self.connection(id) {
                    connection.reason = Some(received(&notification));
                }
                self.handle(id, Event::NotificationReceived(notification), now);
            }
            Message::Update(update) => match self.parse(id, &update) {
                Some(Err(notification)) => {
                    self.handle(id, Event::UpdateValidationError(notification), now);
                }
                Some(Ok(parts)) => {
                    self.handle(id, Event::UpdateReceived, now);
                    self.outputs.push_back(Output::Parts(parts));
                }
                // Before its time: the machine knows what to say.
                None => self.handle(id, Event::UpdateReceived, now),
            },
            Message::RouteRefresh(refresh) => {
                let codes = refresh.afi().zip(refresh.safi());
                let event = match codes {
                    Some((afi, safi)) => Event::RouteRefreshReceived { afi, safi },
                    // An unknown family is ignored, but was heard (RFC 2918 §4).
                    None => Event::UpdateReceived,
                };
                self.handle(id, event, now);
                let up = self.connection(id).is_some_and(|connection| is_up(connection));
                if let Some(family) = codes.and_then(|(afi, safi)| Family::of(afi, safi))
                    && up
                {
                    self.outputs.push_back(Output::Refresh(family, refresh.subtype()));
                }
            }
            // The OPEN of a connection that lost; messages that the codec may learn.
            _ => {}
        }
    }

    fn parse(
        &mut self,
        id: ConnectionId,
        update: &rustbgpd_wire::UpdateMessage,
    ) -> Option<Result<Vec<Part>, NotificationMessage>> {
        let connection =
            self.connections.iter().find(|connection| connection.id == id && is_up(connection))?;
        let negotiated = connection.negotiated.as_deref()?;
        Some(update::parse(
            update,
            &Context {
                families: &negotiated.negotiated_families,
                four_octet_as: negotiated.four_octet_as,
                internal: negotiated.peer_asn == self.local.asn,
                local_asn: self.local.asn,
                router_id: self.local.router_id,
                peer_asn: negotiated.peer_asn,
            },
        ))
    }

    /// RFC 4271 §6.8, at an OPEN: of two connections, that of the speaker with the higher identifier stays.
    fn survives_collision(&mut self, id: ConnectionId, open: &OpenMessage, now: Instant) -> bool {
        let other = self
            .connections
            .iter()
            .find(|other| other.id != id && matches!(other.state(), Fsm::OpenConfirm | Fsm::Established));
        let Some(other) = other else { return true };
        let dialled = self.connections.iter().any(|connection| connection.id == id && connection.dialled);
        let ours_wins = u32::from(self.local.router_id) > u32::from(open.bgp_identifier);
        let wins = if is_up(other) {
            // RFC 4724 §5: a peer that restarts comes again before we have noticed.
            other.negotiated.as_ref().is_some_and(|negotiated| negotiated.peer_gr_capable)
                && self.config.graceful_restart.is_some()
        } else if dialled == other.dialled {
            true
        } else {
            dialled == ours_wins
        };
        let (loser, keep) = if wins { (other.id, true) } else { (id, false) };
        // A session is given up when the OPEN has been looked at.
        if !(is_up(other) && wins) {
            let cease = NotificationMessage::new(
                NotificationCode::Cease,
                cease_subcode::CONNECTION_COLLISION_RESOLUTION,
                Bytes::new(),
            );
            self.refuse(loser, cease, DownReason::Collision, now);
        }
        keep
    }

    fn connection(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.connections.iter_mut().find(|connection| connection.id == id)
    }

    fn new_id(&mut self) -> ConnectionId {
        self.next_id += 1;
        ConnectionId(self.next_id)
    }
}

fn is_up(connection: &Connection) -> bool {
    connection.state() == Fsm::Established
}

/// The families that both speak.
pub(crate) fn families(negotiated: &NegotiatedSession) -> Vec<Family> {
    negotiated.negotiated_families.iter().filter_map(|&(afi, safi)| Family::of(afi, safi)).collect()
}

fn received(notification: &NotificationMessage) -> DownReason {
    DownReason::Received {
        code: (notification.code.as_u8(), notification.subcode),
        meaning: description(notification.code, notification.subcode),
        communication: extract_shutdown_communication(notification).ok().flatten().map(str::to_owned),
    }
}
