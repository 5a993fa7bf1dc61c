//! One session: its state machine, its timers, and what it has to say (RFC 5880 §6). Sans-I/O.

mod timing;

use std::time::{Duration, Instant};

use crate::auth::{self, Section};
use crate::config::{SessionConfig, Timing};
use crate::discard::{Discard, Discards};
use crate::event::{Cause, Change, Payload, SessionId, Standing};
use crate::packet::{Diagnostic, Packet, State};
use timing::{Intervals, jittered};

/// What the peer said last.
#[derive(Clone, Copy, Debug)]
struct Remote {
    /// 0: not known.
    discriminator: u32,
    state: State,
    diagnostic: Diagnostic,
    detect_multiplier: u8,
    /// Microseconds.
    desired_min_tx: u32,
    required_min_rx: u32,
    demand: bool,
}

impl Remote {
    /// Of whom nothing is known (§6.8.1).
    const UNKNOWN: Self = Self {
        discriminator: 0,
        state: State::Down,
        diagnostic: Diagnostic::None,
        detect_multiplier: 0,
        desired_min_tx: 0,
        required_min_rx: 1,
        demand: false,
    };
}

#[derive(Debug)]
pub(crate) struct Session {
    id: SessionId,
    config: SessionConfig,
    discriminator: u32,
    state: State,
    diagnostic: Diagnostic,
    remote: Remote,
    intervals: Intervals,
    /// It has been up since it was made or released.
    was_up: bool,
    since: Instant,
    ups: u64,
    /// The last periodic packet, and when the next is due.
    transmitted: Instant,
    next_transmit: Instant,
    /// When silence ends the session, or in a state without one to end, what is known of the peer.
    expires: Option<Instant>,
    heard: Option<Instant>,
    /// A packet is due, an answer to a poll is due.
    due: bool,
    answer_due: bool,
    /// Authentication: our last sequence number and the peer's.
    sequence: u32,
    remote_sequence: u32,
    sent: u64,
    received: u64,
    discards: Discards,
    random: fastrand::Rng,
}

impl Session {
    pub(crate) fn new(
        id: SessionId,
        config: SessionConfig,
        discriminator: u32,
        seed: u64,
        now: Instant,
    ) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        Self {
            id,
            intervals: Intervals::new(config.timing),
            config,
            discriminator,
            state: State::Down,
            diagnostic: Diagnostic::None,
            remote: Remote::UNKNOWN,
            was_up: false,
            since: now,
            ups: 0,
            transmitted: now,
            next_transmit: now,
            expires: None,
            heard: None,
            due: false,
            answer_due: false,
            sequence: random.u32(..),
            remote_sequence: 0,
            sent: 0,
            received: 0,
            discards: Discards::default(),
            random,
        }
    }

    pub(crate) fn config(&self) -> &SessionConfig {
        &self.config
    }

    pub(crate) fn discriminator(&self) -> u32 {
        self.discriminator
    }

    /// Another discriminator, which the peer learns by the next packet (§6.3).
    pub(crate) fn rename(&mut self, discriminator: u32) {
        self.discriminator = discriminator;
    }

    pub(crate) fn standing(&self) -> Standing {
        match (self.state, self.remote.state) {
            (State::AdminDown, _) => Standing::NotYetUp,
            (_, State::AdminDown) => Standing::PeerAdminDown,
            (State::Up, _) => Standing::Up,
            _ if self.was_up => Standing::Down,
            _ => Standing::NotYetUp,
        }
    }

    // What the operator wants.

    pub(crate) fn change(&mut self, timing: Timing, keys: Vec<auth::Key>, now: Instant) {
        let before = self.transmit_interval();
        self.config.timing = timing;
        self.config.keys = keys;
        self.intervals.change(timing);
        self.due |= self.intervals.is_polling();
        self.reschedule(before, now);
    }

    pub(crate) fn set_admin_down(&mut self, down: bool, now: Instant) -> Option<Change> {
        if down == (self.state == State::AdminDown) {
            return None;
        }
        let before = self.snapshot();
        if down {
            self.was_up = false;
            self.diagnostic = Diagnostic::AdministrativelyDown;
            self.enter(State::AdminDown, now);
            self.news(before, Cause::HeldDown, self.silence(now), now)
        } else {
            self.diagnostic = Diagnostic::None;
            self.enter(State::Down, now);
            self.news(before, Cause::Released, self.silence(now), now)
        }
    }

    // What the peer says.

    pub(crate) fn discard(&mut self, reason: Discard) {
        self.discards.count(reason);
    }

    /// A packet for this session, over the right path (§6.8.6).
    pub(crate) fn received(
        &mut self,
        packet: &Packet,
        section: Option<Section<'_>>,
        now: Instant,
    ) -> Result<Option<Change>, Discard> {
        self.authenticate(packet, section, now)?;
        let before = self.snapshot();
        let interval = self.transmit_interval();
        let silence = self.silence(now);
        self.remote = Remote {
            discriminator: packet.my_discriminator,
            state: packet.state,
            diagnostic: packet.diagnostic,
            detect_multiplier: packet.detect_multiplier,
            desired_min_tx: packet.desired_min_tx,
            required_min_rx: packet.required_min_rx,
            demand: packet.demand,
        };
        self.heard = Some(now);
        if packet.is_final {
            self.intervals.answered();
        }
        if self.state == State::AdminDown {
            self.reschedule(interval, now);
            return Err(Discard::AdminDown);
        }
        self.received += 1;
        let next = match (self.state, packet.state) {
            (State::Down, State::Down) => State::Init,
            (State::Down, State::Init) | (State::Init, State::Init | State::Up) => State::Up,
            (State::Up, State::Down) | (State::Init | State::Up, State::AdminDown) => State::Down,
            (state, _) => state,
        };
        if next != self.state {
            self.diagnostic = match next {
                State::Down => Diagnostic::NeighborSignaledDown,
                State::Up => Diagnostic::None,
                _ => self.diagnostic,
            };
            self.enter(next, now);
        }
        self.expires = Some(now + self.detection_time());
        self.answer_due |= packet.poll;
        self.reschedule(interval, now);
        Ok(self.news(before, Cause::PeerSaid(packet.state), silence, now))
    }

    /// §6.7.1, §6.7.4.
    fn authenticate(
        &mut self,
        packet: &Packet,
        section: Option<Section<'_>>,
        now: Instant,
    ) -> Result<(), Discard> {
        let section = match (section, self.config.keys.is_empty()) {
            (None, true) => return Ok(()),
            (None, false) => return Err(Discard::AuthMissing),
            (Some(_), true) => return Err(Discard::AuthUnexpected),
            (Some(section), false) => section,
        };
        let sequence = section.check(&self.config.keys)?;
        // After silence the peer may have started anew (§6.8.1, bfd.AuthSeqKnown).
        let known = self.silence(now).is_some_and(|silence| silence < 2 * self.detection_time());
        if known && !auth::may_follow(self.remote_sequence, sequence, packet.detect_multiplier) {
            return Err(Discard::AuthSequence);
        }
        self.remote_sequence = sequence;
        Ok(())
    }

    // Time.

    /// When [`handle_timeout`](Self::handle_timeout) is to be called; now, if something is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.is_periodic().then_some(self.next_transmit).into_iter().chain(self.expires).min()
    }

    /// The caller did not run for `stolen` until `now`. What had been heard meanwhile was heard before this is called.
    pub(crate) fn stolen(&mut self, stolen: Duration, now: Instant) {
        if self.heard == Some(now) {
            return;
        }
        let Some(expires) = &mut self.expires else { return };
        let interval = self.intervals.receive(self.remote.desired_min_tx);
        *expires += stolen;
        if stolen >= interval {
            // It is not known when in the pause before this began: the peer gets the time of one packet.
            *expires = (*expires).max(now + interval);
        }
    }

    /// Does what is due. Whether the peer was forgotten comes with the news.
    pub(crate) fn handle_timeout(&mut self, now: Instant) -> (bool, Option<Change>) {
        let expired = self.expires.is_some_and(|due| due <= now);
        let mut news = None;
        if expired {
            let before = self.snapshot();
            self.expires = None;
            self.remote = Remote { diagnostic: self.remote.diagnostic, ..Remote::UNKNOWN };
            if matches!(self.state, State::Init | State::Up) {
                self.diagnostic = Diagnostic::DetectionTimeExpired;
                self.enter(State::Down, now);
            }
            news = self.news(before, Cause::Expired, self.silence(now), now);
        }
        if self.is_periodic() && self.next_transmit <= now {
            self.due = true;
            self.transmitted = now;
            self.next_transmit = now + self.jittered_interval();
        }
        (expired, news)
    }

    /// The next packet that is due (§6.8.7).
    pub(crate) fn transmit(&mut self) -> Option<Payload> {
        if !self.due && !self.answer_due {
            return None;
        }
        let is_final = std::mem::take(&mut self.answer_due);
        if !is_final {
            self.due = false;
        }
        let packet = Packet {
            diagnostic: self.diagnostic,
            state: self.state,
            poll: !is_final && self.intervals.is_polling(),
            is_final,
            control_plane_independent: false,
            demand: false,
            detect_multiplier: self.intervals.detect_multiplier(),
            my_discriminator: self.discriminator,
            your_discriminator: self.remote.discriminator,
            desired_min_tx: self.intervals.desired_min_tx,
            required_min_rx: self.intervals.required_min_rx,
            required_min_echo_rx: 0,
        };
        if !is_final {
            self.intervals.sent();
        }
        self.sent += 1;
        let payload = match self.config.keys.first() {
            Some(key) => {
                self.sequence = self.sequence.wrapping_add(1);
                auth::sign(packet.emit(), key, self.sequence)
            }
            None => packet.emit().into_iter().collect(),
        };
        Some(payload)
    }

    // How it is.

    pub(crate) fn view(&self) -> SessionView<'_> {
        SessionView {
            id: self.id,
            config: &self.config,
            state: self.state,
            standing: self.standing(),
            diagnostic: self.diagnostic,
            remote_state: self.remote.state,
            remote_diagnostic: self.remote.diagnostic,
            discriminator: self.discriminator,
            remote_discriminator: self.remote.discriminator,
            transmit_interval: self.transmit_interval(),
            receive_interval: self.intervals.receive(self.remote.desired_min_tx),
            detection_time: (self.remote.detect_multiplier > 0).then(|| self.detection_time()),
            since: self.since,
            heard: self.heard,
            ups: self.ups,
            sent: self.sent,
            received: self.received,
            discards: &self.discards,
        }
    }

    fn enter(&mut self, state: State, now: Instant) {
        self.state = state;
        self.since = now;
        self.was_up |= state == State::Up;
        self.ups += u64::from(state == State::Up);
        let before = self.transmit_interval();
        self.intervals.set_up(state == State::Up);
        self.reschedule(before, now);
        // The peer learns it at once.
        self.due = true;
    }

    /// The interval may be another than `before`: the next packet is due by it.
    fn reschedule(&mut self, before: Duration, now: Instant) {
        if self.transmit_interval() != before {
            self.next_transmit = now.max(self.transmitted + self.jittered_interval());
        }
    }

    fn transmit_interval(&self) -> Duration {
        self.intervals.transmit(self.remote.required_min_rx)
    }

    fn jittered_interval(&mut self) -> Duration {
        jittered(self.transmit_interval(), self.intervals.detect_multiplier(), &mut self.random)
    }

    /// §6.8.4.
    fn detection_time(&self) -> Duration {
        self.intervals.receive(self.remote.desired_min_tx) * self.remote.detect_multiplier.into()
    }

    /// Whether the peer wants periodic packets (§6.6, §6.8.7).
    fn is_periodic(&self) -> bool {
        let both_up = self.state == State::Up && self.remote.state == State::Up;
        let demanded = self.remote.demand && both_up && !self.intervals.is_polling();
        self.remote.required_min_rx > 0 && !demanded
    }

    fn silence(&self, now: Instant) -> Option<Duration> {
        self.heard.map(|heard| now.saturating_duration_since(heard))
    }

    fn snapshot(&self) -> (State, Standing) {
        (self.state, self.standing())
    }

    fn news(
        &self,
        before: (State, Standing),
        cause: Cause,
        silence: Option<Duration>,
        at: Instant,
    ) -> Option<Change> {
        (before != self.snapshot()).then(|| Change {
            session: self.id,
            from: before.0,
            to: self.state,
            standing: self.standing(),
            diagnostic: self.diagnostic,
            cause,
            silence,
            at,
        })
    }
}

/// How a session is.
#[derive(Clone, Debug)]
pub struct SessionView<'a> {
    /// It.
    pub id: SessionId,
    /// What it was asked to be.
    pub config: &'a SessionConfig,
    /// Its state.
    pub state: State,
    /// What it says about the peer.
    pub standing: Standing,
    /// Why it was last left.
    pub diagnostic: Diagnostic,
    /// The peer's state, as it last said.
    pub remote_state: State,
    /// Why the peer last left its own.
    pub remote_diagnostic: Diagnostic,
    /// Ours.
    pub discriminator: u32,
    /// The peer's; 0: not known.
    pub remote_discriminator: u32,
    /// Between packets to the peer, before jitter.
    pub transmit_interval: Duration,
    /// Between packets of the peer, as agreed.
    pub receive_interval: Duration,
    /// How long silence lasts before the session ends; `None`: the peer was not heard yet.
    pub detection_time: Option<Duration>,
    /// When it came to its state.
    pub since: Instant,
    /// When a packet last came that was taken.
    pub heard: Option<Instant>,
    /// How often it came up.
    pub ups: u64,
    /// Packets sent.
    pub sent: u64,
    /// Packets taken.
    pub received: u64,
    /// Packets that were for it and were not taken.
    pub discards: &'a Discards,
}
