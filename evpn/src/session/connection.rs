//! One TCP connection to a peer: framing, timers and the state machine of `rustbgpd-fsm`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rustbgpd_fsm::{Action, Event, NegotiatedSession, PeerConfig, Session, SessionState, TimerType};
use rustbgpd_wire::notification::{NotificationCode, cease_subcode};
use rustbgpd_wire::{
    Capability, DecodeError, EXTENDED_MAX_MESSAGE_LEN, MAX_MESSAGE_LEN, Message, NotificationMessage,
    decode_message, encode_message, encode_message_with_limit, peek_message_length,
};

use crate::event::DownReason;

/// A connection of a peer; numbers are not used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// What became of an event.
#[derive(Debug)]
pub(super) enum Effect {
    Established,
    /// The connection is over; what is queued goes out before it is closed.
    Over,
}

/// One connection, from the moment it is open.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    /// We connected.
    pub(super) dialled: bool,
    fsm: Session,
    input: BytesMut,
    /// Messages that are not routes, in order; bounded by what timers and the peer's few requests make.
    control: VecDeque<Bytes>,
    /// Since when the first of them waits.
    waiting_since: Option<Instant>,
    send_hold: Duration,
    hold: Option<Instant>,
    keepalive: Option<Instant>,
    /// The agreement, once there is one.
    pub(super) negotiated: Option<Arc<NegotiatedSession>>,
    /// It came up, whatever it is now.
    pub(super) was_established: bool,
    /// Why it is over.
    pub(super) reason: Option<DownReason>,
    /// The process has had no session with the peer yet: R bit set and F bits clear (RFC 4724 §3).
    restarting: bool,
}

impl Connection {
    /// Sends OPEN.
    pub(super) fn open(
        id: ConnectionId,
        dialled: bool,
        config: PeerConfig,
        restarting: bool,
        now: Instant,
    ) -> Self {
        let send_hold = Duration::from_secs(config.send_hold_time.into());
        let mut connection = Self {
            id,
            dialled,
            fsm: Session::new(config),
            input: BytesMut::new(),
            control: VecDeque::new(),
            waiting_since: None,
            send_hold,
            hold: None,
            keepalive: None,
            negotiated: None,
            was_established: false,
            reason: None,
            restarting,
        };
        // Connecting, its retries and back-off are not the connection's business: the machine starts with one that is
        // open.
        connection.fsm.handle_event(Event::ManualStart);
        connection.handle(Event::TcpConnectionConfirmed, now);
        connection
    }

    pub(super) fn state(&self) -> SessionState {
        self.fsm.state()
    }

    /// Longest message that may be sent and received (RFC 8654).
    pub(super) fn max_message(&self) -> u16 {
        match &self.negotiated {
            Some(negotiated) if negotiated.peer_extended_message => EXTENDED_MAX_MESSAGE_LEN,
            _ => MAX_MESSAGE_LEN,
        }
    }

    /// More bytes of the stream. What is not yet a whole message stays: at most one.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
    }

    /// The next whole message.
    pub(super) fn next_message(&mut self) -> Option<Result<Message, DecodeError>> {
        let limit = self.max_message();
        let length = match peek_message_length(&self.input, limit) {
            Ok(length) => usize::from(length?),
            Err(error) => return Some(Err(error)),
        };
        if self.input.len() < length {
            return None;
        }
        Some(decode_message(&mut self.input.split_to(length).freeze(), limit))
    }

    /// Gives an event to the state machine and does what it says.
    pub(super) fn handle(&mut self, event: Event, now: Instant) -> Option<Effect> {
        let mut effect = None;
        for action in self.fsm.handle_event(event) {
            match action {
                Action::SendOpen(mut open) => {
                    for capability in &mut open.capabilities {
                        if let Capability::GracefulRestart { restart_state, families, .. } = capability {
                            // The data plane outlives a session, but not the process.
                            *restart_state = self.restarting;
                            let preserved = !self.restarting;
                            families.iter_mut().for_each(|family| family.forwarding_preserved = preserved);
                        }
                    }
                    self.queue(&Message::Open(open), now);
                }
                Action::SendKeepalive => self.queue(&Message::Keepalive, now),
                Action::SendNotification(notification) => {
                    let notification = self.for_good(notification);
                    self.reason.get_or_insert_with(|| sent(&notification));
                    self.queue(&Message::Notification(notification), now);
                }
                Action::StartTimer(timer, seconds) => {
                    self.set_timer(timer, Some(now + Duration::from_secs(seconds.into())));
                }
                Action::StopTimer(timer) => self.set_timer(timer, None),
                Action::SessionEstablished(_) => effect = Some(Effect::Established),
                Action::StateChanged { new: SessionState::OpenConfirm, .. } => {
                    self.negotiated = self.fsm.negotiated_shared();
                }
                Action::CloseTcpConnection | Action::StateChanged { new: SessionState::Idle, .. } => {
                    effect = Some(Effect::Over);
                }
                // Retries are the session's; the rest is said otherwise.
                _ => {}
            }
        }
        effect
    }

    /// Ends it with a NOTIFICATION of our choice.
    pub(super) fn refuse(&mut self, notification: NotificationMessage, reason: DownReason, now: Instant) {
        self.reason = Some(reason);
        let notification = self.for_good(notification);
        self.queue(&Message::Notification(notification), now);
    }

    /// A Cease that ends a session for good as a Hard Reset, where the peer would else keep our routes (RFC 8538 §3.1, §4);
    /// any other as it is.
    fn for_good(&self, notification: NotificationMessage) -> NotificationMessage {
        let keeps = self.was_established
            && self.negotiated.as_ref().is_some_and(|agreed| agreed.peer_notification_gr);
        let is_final = notification.code == NotificationCode::Cease
            && matches!(
                notification.subcode,
                cease_subcode::ADMINISTRATIVE_SHUTDOWN
                    | cease_subcode::MAX_PREFIXES
                    | cease_subcode::OUT_OF_RESOURCES
            );
        if !(keeps && is_final) {
            return notification;
        }
        let data = [&[notification.code.as_u8(), notification.subcode], &*notification.data].concat();
        NotificationMessage::new(NotificationCode::Cease, cease_subcode::HARD_RESET, data.into())
    }

    /// Queues a message that is not a route.
    pub(super) fn queue(&mut self, message: &Message, now: Instant) {
        let encoded = match message {
            Message::Open(_) | Message::Keepalive => encode_message(message),
            _ => encode_message_with_limit(message, self.max_message()),
        };
        // All that is ours to say fits: OPEN has at most the capabilities of three families.
        if let Ok(encoded) = encoded {
            self.waiting_since.get_or_insert(now);
            self.control.push_back(encoded.freeze());
        }
    }

    /// Moves queued messages to `buffer`; whether there were any.
    pub(super) fn transmit(&mut self, buffer: &mut Vec<u8>) -> bool {
        self.waiting_since = None;
        let any = !self.control.is_empty();
        self.control.drain(..).for_each(|message| buffer.extend_from_slice(&message));
        any
    }

    pub(super) fn has_control(&self) -> bool {
        !self.control.is_empty()
    }

    /// The hold time begins anew, if it runs.
    pub(super) fn heard(&mut self, now: Instant) {
        if let (Some(hold), Some(negotiated)) = (&mut self.hold, &self.negotiated) {
            *hold = now + Duration::from_secs(negotiated.hold_time.into());
        }
    }

    /// When nothing will have been heard for two thirds of the hold time, twice as long as between two KEEPALIVEs (RFC 4271
    /// §4.4): by then the peer, if it has heard nothing either, may have given the session up.
    pub(super) fn silence_due(&self) -> Option<Instant> {
        let hold_time = Duration::from_secs(self.negotiated.as_ref()?.hold_time.into());
        self.hold.filter(|_| self.state() == SessionState::Established)?.checked_sub(hold_time / 3)
    }

    /// When [`timeout`](Self::expire) is to be called.
    pub(super) fn deadline(&self) -> Option<Instant> {
        [self.hold, self.keepalive, self.send_hold_deadline()].into_iter().flatten().min()
    }

    /// Timers that are due.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Effect> {
        if self.send_hold_deadline().is_some_and(|due| due <= now) {
            self.reason = Some(DownReason::SendHoldTimer);
            return self.handle(Event::TcpConnectionFails, now).or(Some(Effect::Over));
        }
        if self.hold.is_some_and(|due| due <= now) {
            self.hold = None;
            self.reason = Some(DownReason::HoldTimer);
            return self.handle(Event::HoldTimerExpires, now);
        }
        if self.keepalive.is_some_and(|due| due <= now) {
            self.keepalive = None;
            return self.handle(Event::KeepaliveTimerExpires, now);
        }
        None
    }

    fn send_hold_deadline(&self) -> Option<Instant> {
        self.waiting_since.filter(|_| !self.send_hold.is_zero()).map(|since| since + self.send_hold)
    }

    fn set_timer(&mut self, timer: TimerType, due: Option<Instant>) {
        match timer {
            TimerType::Hold => self.hold = due,
            TimerType::Keepalive => self.keepalive = due,
            // Retries are the session's.
            _ => {}
        }
    }
}

fn sent(notification: &NotificationMessage) -> DownReason {
    use rustbgpd_wire::notification::description;
    DownReason::Sent {
        code: (notification.code.as_u8(), notification.subcode),
        meaning: description(notification.code, notification.subcode),
        detail: if notification.data.is_empty() {
            "no data".to_owned()
        } else {
            format!("data {:02x?}", &notification.data[..notification.data.len().min(16)])
        },
    }
}
