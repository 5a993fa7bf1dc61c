//! How a session comes up, ends and is tried again.

use std::time::{Duration, Instant};

use bytes::Bytes;
use rustbgpd_fsm::{Event, PeerConfig as FsmConfig, SessionState as Fsm, default_send_hold_time};
use rustbgpd_wire::NotificationMessage;
use rustbgpd_wire::notification::{NotificationCode, cease_subcode};

use super::connection::{Connection, Effect};
use super::{ConnectionId, DIAL_TIMEOUT, LONGEST_PAUSE, Output, Session, SessionState};
use crate::event::DownReason;
use crate::family::Family;

impl Session {
    pub(super) fn dial(&mut self, now: Instant) {
        if self.enabled && !self.held && !self.config.passive && self.dialling.is_none() {
            let id = self.new_id();
            self.dialling = Some((id, now + DIAL_TIMEOUT));
            self.outputs.push_back(Output::Dial(id));
        }
    }

    pub(super) fn open(&mut self, id: ConnectionId, dialled: bool, now: Instant) {
        let config = self.fsm_config();
        self.connections.push(Connection::open(id, dialled, config, !self.was_up, now));
    }

    pub(super) fn end_all(&mut self, event: &Event, reason: &DownReason, now: Instant) {
        if let Some((id, _)) = self.dialling.take() {
            self.outputs.push_back(Output::Close { id, last: Vec::new() });
        }
        self.retry = None;
        let ids: Vec<_> = self.connections.iter().map(|connection| connection.id).collect();
        for id in ids {
            if let Some(connection) = self.connection(id) {
                connection.reason = Some(reason.clone());
            }
            self.handle(id, event.clone(), now);
        }
        self.settle(now);
    }

    /// A NOTIFICATION of our choice, then the end.
    pub(super) fn refuse(
        &mut self,
        id: ConnectionId,
        cease: NotificationMessage,
        reason: DownReason,
        now: Instant,
    ) {
        if let Some(connection) = self.connection(id) {
            connection.refuse(cease, reason.clone(), now);
        }
        self.drop_connection(id, reason);
    }

    pub(super) fn handle(&mut self, id: ConnectionId, event: Event, now: Instant) {
        if let Some(effect) = self.connection(id).and_then(|connection| connection.handle(event, now)) {
            self.effect(id, &effect, now);
        }
    }

    pub(super) fn effect(&mut self, id: ConnectionId, effect: &Effect, now: Instant) {
        match effect {
            Effect::Established => self.up(id, now),
            Effect::Over => self.drop_connection(id, DownReason::Closed),
        }
    }

    pub(super) fn up(&mut self, id: ConnectionId, now: Instant) {
        self.refusals = 0;
        self.was_up = true;
        if let Some(connection) = self.connection(id) {
            connection.was_established = true;
        }
        self.retry = None;
        if let Some((dialling, _)) = self.dialling.take() {
            self.outputs.push_back(Output::Close { id: dialling, last: Vec::new() });
        }
        let others: Vec<_> =
            self.connections.iter().map(|other| other.id).filter(|&other| other != id).collect();
        for other in others {
            let subcode = cease_subcode::CONNECTION_COLLISION_RESOLUTION;
            let cease = NotificationMessage::new(NotificationCode::Cease, subcode, Bytes::new());
            self.refuse(other, cease, DownReason::Collision, now);
        }
        if let Some(negotiated) = self.connection(id).and_then(|connection| connection.negotiated.clone()) {
            self.note_state();
            self.outputs.push_back(Output::Up(negotiated));
        }
    }

    /// `reason` counts where the connection knows no better.
    pub(super) fn drop_connection(&mut self, id: ConnectionId, reason: DownReason) {
        let Some(place) = self.connections.iter().position(|connection| connection.id == id) else { return };
        let mut connection = self.connections.swap_remove(place);
        let reason = connection.reason.take().unwrap_or(reason);
        let mut last = Vec::new();
        connection.transmit(&mut last);
        self.outputs.push_back(Output::Close { id, last });
        if connection.was_established {
            let (retained, keep) = self.retained(&connection, &reason);
            self.outputs.push_back(Output::Down { reason, retained, keep });
        } else if reason != DownReason::Collision {
            self.refusals = self.refusals.saturating_add(1);
            self.outputs.push_back(Output::Failed(reason));
        }
    }

    /// Families whose routes outlive the session, and for how long (RFC 4724 §4.2, RFC 8538 §4).
    pub(super) fn retained(&self, connection: &Connection, reason: &DownReason) -> (Vec<Family>, Duration) {
        let none = (Vec::new(), Duration::ZERO);
        let Some(negotiated) = &connection.negotiated else { return none };
        let by_notification = negotiated.peer_notification_gr;
        let kept = match reason {
            DownReason::Closed => true,
            DownReason::HoldTimer => by_notification,
            DownReason::Received { code, .. } => {
                by_notification && *code != (NotificationCode::Cease.as_u8(), cease_subcode::HARD_RESET)
            }
            _ => false,
        };
        if !kept || self.config.graceful_restart.is_none() || !negotiated.peer_gr_capable {
            return none;
        }
        let families = negotiated.peer_gr_families.iter();
        let families = families.filter_map(|family| Family::of(family.afi, family.safi)).collect();
        (families, Duration::from_secs(negotiated.peer_restart_time.into()))
    }

    /// Tells a new state, and plans the next try where none is under way.
    pub(super) fn settle(&mut self, now: Instant) {
        let idle = self.connections.is_empty() && self.dialling.is_none() && self.retry.is_none();
        if idle && self.enabled && !self.held && !self.config.passive {
            let doubled = self.config.connect_retry.saturating_mul(1 << self.refusals.min(5));
            let pause = doubled.min(LONGEST_PAUSE.max(self.config.connect_retry));
            // RFC 4271 §10: up to a quarter less, so that two that collide do not do so for ever.
            self.retry = Some(now + pause.mul_f64(self.random.f64().mul_add(0.25, 0.75)));
        }
        self.note_state();
        self.note_silence(now);
    }

    pub(super) fn silence_due(&self) -> Option<Instant> {
        self.connections.iter().find_map(Connection::silence_due)
    }

    /// That of a session which is over is no news.
    fn note_silence(&mut self, now: Instant) {
        let due = self.silence_due();
        let silent = due.is_some_and(|due| due <= now);
        if std::mem::replace(&mut self.silent, silent) != silent && due.is_some() {
            self.outputs.push_back(Output::Silent(silent));
        }
    }

    pub(super) fn note_state(&mut self) {
        let state = self.current_state();
        if std::mem::replace(&mut self.state, state) != state {
            self.outputs.push_back(Output::State(state));
        }
    }

    pub(super) fn current_state(&self) -> SessionState {
        let connections = self.connections.iter().map(|connection| match connection.state() {
            Fsm::Established => SessionState::Established,
            Fsm::OpenConfirm => SessionState::OpenConfirm,
            _ => SessionState::OpenSent,
        });
        connections.max().unwrap_or(if self.dialling.is_some() {
            SessionState::Connect
        } else if self.enabled && !self.held {
            SessionState::Active
        } else {
            SessionState::Idle
        })
    }

    fn fsm_config(&self) -> FsmConfig {
        let config = &self.config;
        let mut fsm = FsmConfig::new(self.local.asn, config.asn.unwrap_or(0), self.local.router_id);
        fsm.remote_asn_external = config.asn.is_none();
        fsm.hold_time = config.hold_time;
        // Without a hold time a dead peer's routes would stay for ever: only if we ask for that ourselves.
        fsm.min_hold_time = (config.hold_time != 0).then_some(3);
        fsm.send_hold_time = default_send_hold_time(config.hold_time);
        fsm.families = config.families.iter().map(|family| family.codes()).collect();
        fsm.disable_ipv4_unicast = !config.families.contains(&Family::Ipv4);
        fsm.graceful_restart = config.graceful_restart.is_some();
        fsm.gr_restart_time = config.graceful_restart.unwrap_or(0);
        fsm
    }
}
