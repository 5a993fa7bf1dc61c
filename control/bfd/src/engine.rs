//! All sessions of a gateway: whose a packet is, and whose turn it is. Sans-I/O.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::auth::Key;
use crate::config::{ConfigError, MAX_SESSIONS, Path, SessionConfig, Timing};
use crate::discard::{Discard, Discards};
use crate::event::{Change, Output, SessionId, Standing};
use crate::packet::Packet;
use crate::session::{Session, SessionView};

/// A caller that is later than this did not run in between. A sleeping thread of a busy machine is some tens of
/// microseconds late with real-time priority.
pub const TOLERANCE: Duration = Duration::from_millis(1);

/// How a packet came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Its source address.
    pub peer: IpAddr,
    /// Its destination address.
    pub local: IpAddr,
    /// The index of the interface.
    pub interface: u32,
    /// Its TTL or hop limit.
    pub ttl: u8,
    /// Whether it came to the port of multihop sessions.
    pub multihop: bool,
}

/// Time in which the caller did not run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stolen {
    /// How often.
    pub periods: u64,
    /// How long, all together.
    pub total: Duration,
    /// The longest.
    pub longest: Duration,
}

/// By what a packet that does not know our discriminator finds its session (RFC 5881 §3, RFC 5883 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Place {
    Link { peer: IpAddr, interface: u32 },
    Ends { peer: IpAddr, local: IpAddr },
}

impl Place {
    fn of(config: &SessionConfig) -> Self {
        let (peer, local) = (config.peer, config.local);
        match config.path {
            Path::SingleHop { interface } => Self::Link { peer, interface },
            Path::MultiHop { .. } => Self::Ends { peer, local },
        }
    }

    fn from(arrival: &Arrival) -> Self {
        let &Arrival { peer, local, interface, .. } = arrival;
        if arrival.multihop { Self::Ends { peer, local } } else { Self::Link { peer, interface } }
    }
}

/// The sessions.
///
/// The caller's loop: wait until [`deadline`](Self::deadline) or a packet; read the clock; take **all** that the sockets
/// hold by [`received`](Self::received); call [`handle_timeout`](Self::handle_timeout), all with the time that was read;
/// [`poll`](Self::poll) until there is nothing more. So no session expires while a packet of its peer waits in a socket.
///
/// **Time that was stolen.** A caller that comes back later than `deadline` had said did not run: it was stopped, or the
/// machine was. It cannot tell whether packets were lost meanwhile, so silence from the deadline until then is no
/// evidence: it is added to each session's time, except where a packet was found waiting. The deadline is when the
/// caller should have run, not when it stopped running; so if the pause was as long as a packet's interval or longer,
/// a session does not end before the peer had the time of one packet more. Pauses up to [`TOLERANCE`] are ordinary.
#[derive(Debug)]
pub struct Engine {
    sessions: BTreeMap<SessionId, Session>,
    by_discriminator: HashMap<u32, SessionId>,
    by_place: HashMap<Place, SessionId>,
    next_id: u32,
    outputs: VecDeque<Output>,
    /// When the caller was asked to come back.
    asked: Option<Instant>,
    stolen: Stolen,
    discards: Discards,
    random: fastrand::Rng,
}

impl Engine {
    /// No sessions. `seed` makes discriminators, sequence numbers and jitter: it should be hard to guess.
    pub fn new(seed: u64) -> Self {
        Self {
            sessions: BTreeMap::new(),
            by_discriminator: HashMap::new(),
            by_place: HashMap::new(),
            next_id: 0,
            outputs: VecDeque::new(),
            asked: None,
            stolen: Stolen::default(),
            discards: Discards::default(),
            random: fastrand::Rng::with_seed(seed),
        }
    }

    // What the operator wants.

    /// Adds a session, which starts at once.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn add(&mut self, config: SessionConfig, now: Instant) -> Result<SessionId, ConfigError> {
        config.check()?;
        let place = Place::of(&config);
        if self.by_place.contains_key(&place) {
            return Err(ConfigError::Twice { peer: config.peer });
        }
        if self.sessions.len() == MAX_SESSIONS {
            return Err(ConfigError::TooMany);
        }
        let id = SessionId(self.next_id);
        self.next_id = self.next_id.checked_add(1).ok_or(ConfigError::TooMany)?;
        let discriminator = self.free_discriminator();
        self.by_discriminator.insert(discriminator, id);
        self.by_place.insert(place, id);
        self.sessions.insert(id, Session::new(id, config, discriminator, self.random.u64(..), now));
        Ok(id)
    }

    /// Removes a session without a word; a peer that should know is told by
    /// [`set_admin_down`](Self::set_admin_down) before. Whether there was one.
    pub fn remove(&mut self, id: SessionId) -> bool {
        let Some(session) = self.sessions.remove(&id) else { return false };
        self.by_discriminator.remove(&session.discriminator());
        self.by_place.remove(&Place::of(session.config()));
        true
    }

    /// Changes intervals and keys of a session, which stays up: a poll sequence tells the peer.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn change(
        &mut self,
        id: SessionId,
        timing: Timing,
        keys: Vec<Key>,
        now: Instant,
    ) -> Result<(), ConfigError> {
        timing.check()?;
        let session = self.sessions.get_mut(&id).ok_or(ConfigError::NoSuchSession)?;
        session.change(timing, keys, now);
        Ok(())
    }

    /// Holds a session down and tells the peer so, or lets it go again (RFC 5880 §6.8.16).
    ///
    /// # Errors
    /// There is no such session.
    pub fn set_admin_down(&mut self, id: SessionId, down: bool, now: Instant) -> Result<(), ConfigError> {
        let session = self.sessions.get_mut(&id).ok_or(ConfigError::NoSuchSession)?;
        self.outputs.extend(session.set_admin_down(down, now).map(Output::Change));
        Ok(())
    }

    /// The same for all sessions that there are.
    pub fn set_all_admin_down(&mut self, down: bool, now: Instant) {
        for session in self.sessions.values_mut() {
            self.outputs.extend(session.set_admin_down(down, now).map(Output::Change));
        }
    }

    // What peers say.

    /// The payload of a datagram to one of the ports of BFD.
    pub fn received(&mut self, payload: &[u8], arrival: &Arrival, now: Instant) {
        match self.take(payload, arrival, now) {
            Ok(news) => self.outputs.extend(news.map(Output::Change)),
            Err((session, reason)) => match session.and_then(|id| self.sessions.get_mut(&id)) {
                Some(session) => session.discard(reason),
                None => self.discards.count(reason),
            },
        }
    }

    /// RFC 5880 §6.8.6. If it is not taken: of which session, and why.
    fn take(
        &mut self,
        payload: &[u8],
        arrival: &Arrival,
        now: Instant,
    ) -> Result<Option<Change>, (Option<SessionId>, Discard)> {
        let (packet, section) = Packet::parse(payload).map_err(|reason| (None, reason))?;
        let place = Place::from(arrival);
        let id = match packet.your_discriminator {
            0 => *self.by_place.get(&place).ok_or((None, Discard::UnknownPeer))?,
            ours => *self.by_discriminator.get(&ours).ok_or((None, Discard::UnknownDiscriminator))?,
        };
        let session = self.sessions.get_mut(&id).ok_or((None, Discard::UnknownDiscriminator))?;
        let config = session.config();
        if Place::of(config) != place {
            return Err((Some(id), Discard::OtherPath));
        }
        let min_ttl = match config.path {
            Path::SingleHop { .. } => 255,
            Path::MultiHop { min_ttl } => min_ttl,
        };
        if arrival.ttl < min_ttl {
            return Err((Some(id), Discard::Ttl));
        }
        // Both ends have one key: without this our own packets, sent back, would pass for those of a peer that is dead. A peer
        // that has one of our numbers by chance is heard as soon as one of the two has taken another.
        let is_ours = !config.keys.is_empty() && self.by_discriminator.contains_key(&packet.my_discriminator);
        if is_ours {
            return Err((Some(id), Discard::Reflected));
        }
        session.received(&packet, section, now).map_err(|reason| (Some(id), reason))
    }

    // Time.

    /// When [`handle_timeout`](Self::handle_timeout) is to be called.
    pub fn deadline(&self) -> Option<Instant> {
        self.sessions.values().filter_map(Session::deadline).min()
    }

    /// Does what is due. To be called in each turn of the caller's loop, also when a packet ended the wait.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some(late) = self.asked.map(|asked| now.saturating_duration_since(asked))
            && late > TOLERANCE
        {
            self.stolen.periods += 1;
            self.stolen.total += late;
            self.stolen.longest = self.stolen.longest.max(late);
            self.outputs.push_back(Output::Stolen(late));
            self.sessions.values_mut().for_each(|session| session.stolen(late, now));
        }
        let mut renamed = Vec::new();
        for (&id, session) in &mut self.sessions {
            let (forgotten, news) = session.handle_timeout(now);
            self.outputs.extend(news.map(Output::Change));
            // What was recorded of a session that is over must not bring up the next.
            if forgotten && !session.config().keys.is_empty() {
                renamed.push(id);
            }
        }
        for id in renamed {
            let discriminator = self.free_discriminator();
            if let Some(session) = self.sessions.get_mut(&id) {
                self.by_discriminator.remove(&session.discriminator());
                self.by_discriminator.insert(discriminator, id);
                session.rename(discriminator);
            }
        }
        self.asked = self.deadline();
    }

    /// What to do next, or what is new. `None`: nothing for now.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front().or_else(|| {
            self.sessions.iter_mut().find_map(|(&session, state)| {
                state.transmit().map(|payload| Output::Send { session, payload })
            })
        })
    }

    // How it is.

    /// All sessions, in the order in which they were added.
    pub fn sessions(&self) -> impl Iterator<Item = SessionView<'_>> {
        self.sessions.values().map(Session::view)
    }

    /// One.
    pub fn session(&self, id: SessionId) -> Option<SessionView<'_>> {
        self.sessions.get(&id).map(Session::view)
    }

    /// What a session says about its peer.
    pub fn standing(&self, id: SessionId) -> Option<Standing> {
        self.sessions.get(&id).map(Session::standing)
    }

    /// Packets that were no session's.
    pub fn discards(&self) -> &Discards {
        &self.discards
    }

    /// Time in which the caller did not run.
    pub fn stolen(&self) -> Stolen {
        self.stolen
    }

    fn free_discriminator(&mut self) -> u32 {
        loop {
            let discriminator = self.random.u32(1..);
            if !self.by_discriminator.contains_key(&discriminator) {
                return discriminator;
            }
        }
    }
}
