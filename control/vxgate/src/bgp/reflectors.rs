//! Whether what the network announces is all there: a gateway that joins its cluster waits for it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster::membership::Reflectors;
use evpn::{Event, Family, PeerId, SessionState};

use crate::mirror::{Outlook, Routers};

/// After so long a peer is taken to have told all: not every speaker sends End-of-RIB (RFC 4724 §2), and FRR does to those alone
/// that offer graceful restart.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a session that is over may look alive after a stop of this process: control reads what came, and looks at the
/// time, in its next turns.
const PROOF: Duration = Duration::from_secs(1);

/// The peers that EVPN is spoken with; a router of the uplink tells nothing of endpoints.
#[derive(Debug)]
pub(super) struct Tracker {
    peers: HashSet<PeerId>,
    sessions: BTreeMap<PeerId, Session>,
}

#[derive(Debug)]
struct Session {
    since: Instant,
    /// All EVPN routes have been told.
    told: bool,
    /// The peer may have given it up: after links were down about as long as the hold time, it looks alive for a moment and is
    /// not.
    silent: bool,
}

impl Session {
    fn has_told(&self, now: Instant) -> bool {
        !self.silent && (self.told || now.saturating_duration_since(self.since) >= PATIENCE)
    }
}

/// Routers of the uplink that are alive for as long as their sessions are: their places in the outlook.
#[derive(Debug, Default)]
pub(crate) struct WatchedRouters {
    pub(crate) places: HashMap<PeerId, usize>,
    pub(crate) outlook: Arc<Outlook>,
}

impl WatchedRouters {
    pub(super) fn hear(&self, event: &Event) {
        let (Event::Session { peer, .. } | Event::Down { peer, .. }) = event else { return };
        let Some(&place) = self.places.get(peer) else { return };
        match event {
            Event::Session { state: SessionState::Established, .. } => {
                self.outlook.set_router(place, Routers::Alive);
            }
            _ => self.outlook.router_lost(place),
        }
    }
}

impl Tracker {
    pub(super) fn new(peers: HashSet<PeerId>) -> Self {
        Self { peers, sessions: BTreeMap::new() }
    }

    /// Something happened.
    pub(super) fn hear(&mut self, event: &Event, now: Instant) {
        match *event {
            Event::Session { peer, state: SessionState::Established, .. } if self.peers.contains(&peer) => {
                self.sessions.insert(peer, Session { since: now, told: false, silent: false });
            }
            Event::Session { peer, .. } | Event::Down { peer, .. } => {
                self.sessions.remove(&peer);
            }
            Event::EndOfRib { peer, family: Family::Evpn } => {
                if let Some(session) = self.sessions.get_mut(&peer) {
                    session.told = true;
                }
            }
            Event::Silence { peer, silent } => {
                if let Some(session) = self.sessions.get_mut(&peer) {
                    session.silent = silent;
                }
            }
            _ => {}
        }
    }

    /// Nobody ran for a while, and a session that is there may be over already: what was told counts again only when that has
    /// been found out.
    pub(super) fn resumed(&mut self, now: Instant) {
        let since = now.checked_sub(PATIENCE - PROOF).unwrap_or(now);
        for session in self.sessions.values_mut() {
            (session.since, session.told) = (session.since.max(since), false);
        }
    }

    /// One peer that has told all is enough: reflectors of a fabric know the same.
    pub(super) fn state(&self, now: Instant) -> Reflectors {
        match self.sessions.values().any(|session| session.has_told(now)) {
            true => Reflectors::Complete,
            false if self.sessions.is_empty() => Reflectors::Lost,
            false => Reflectors::Reached,
        }
    }
}

#[cfg(test)]
mod tests {
    use evpn::DownReason;

    use super::*;

    #[test]
    fn one_that_has_told_all_is_enough() {
        let [one, other, router] = [0, 1, 2].map(PeerId);
        let (start, mut tracker) = (Instant::now(), Tracker::new([one, other].into()));
        let up = |peer| Event::Session { peer, state: SessionState::Established, router_id: None };
        assert_eq!(tracker.state(start), Reflectors::Lost);
        tracker.hear(&up(one), start);
        tracker.hear(&Event::EndOfRib { peer: one, family: Family::Ipv4 }, start);
        assert_eq!(tracker.state(start), Reflectors::Reached);
        assert_eq!(tracker.state(start + PATIENCE), Reflectors::Complete, "it never says so");
        tracker.hear(&up(other), start);
        tracker.hear(&Event::EndOfRib { peer: other, family: Family::Evpn }, start);
        assert_eq!(tracker.state(start), Reflectors::Complete);
        tracker.hear(&Event::Silence { peer: other, silent: true }, start);
        assert_eq!(tracker.state(start), Reflectors::Reached, "it may be gone");
        tracker.hear(&Event::Silence { peer: other, silent: false }, start);
        assert_eq!(tracker.state(start), Reflectors::Complete);
        tracker.hear(&Event::Down { peer: other, reason: DownReason::HoldTimer }, start);
        assert_eq!(tracker.state(start), Reflectors::Reached);
        tracker.hear(&Event::Down { peer: one, reason: DownReason::HoldTimer }, start);
        assert_eq!(tracker.state(start + PATIENCE), Reflectors::Lost);
        tracker.hear(&up(one), start);
        tracker.hear(&Event::EndOfRib { peer: one, family: Family::Evpn }, start);
        let later = start + 2 * PATIENCE;
        tracker.resumed(later);
        assert_eq!(tracker.state(later), Reflectors::Reached, "it may be over");
        assert_eq!(tracker.state(later + PROOF), Reflectors::Complete);
        tracker.hear(&Event::Down { peer: one, reason: DownReason::HoldTimer }, later);
        tracker.hear(&up(router), start);
        assert_eq!(tracker.state(start + PATIENCE), Reflectors::Lost, "it is no reflector");
    }
}
