//! What a speaker keeps of a peer.

use std::time::Instant;

use rustbgpd_fsm::NegotiatedSession;
use rustbgpd_wire::{Afi, Safi};

use crate::config::Local;
use crate::event::DownReason;
use crate::family::Family;
use crate::out::encode::Recipient;
use crate::out::journal::Version;
use crate::session::{ConnectionId, Session, SessionState, families};

/// How far a peer has been told of a family.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    /// The last change told.
    pub(super) told: Version,
    /// End-of-RIB is due when this has been told.
    pub(super) end_of_rib: Option<Version>,
    /// A refresh begins now (RFC 7313 BoRR).
    pub(super) begin_refresh: bool,
    /// A refresh ends when this has been told (RFC 7313 EoRR).
    pub(super) end_refresh: Option<Version>,
}

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) session: Session,
    /// What it takes; `None`: the session is down.
    pub(super) recipient: Option<Recipient>,
    /// The families that both speak.
    pub(super) families: Vec<Family>,
    pub(super) progress: [Progress; 3],
    /// When stale routes of a family go, if the peer does not confirm them.
    pub(super) keep_stale: [Option<Instant>; 3],
    /// When its session came to the state that it is in.
    pub(super) since: Option<Instant>,
    /// Why its last session, or attempt at one, ended.
    pub(super) last_down: Option<DownReason>,
    /// How many of our own routes it has sent back in this session.
    pub(super) own_routes: u64,
    /// States without a connection that it went through in a row.
    tries: u32,
    /// Marks of a refresh were agreed on (RFC 7313).
    pub(super) enhanced_refresh: bool,
}

impl Peer {
    pub(super) fn new(session: Session) -> Self {
        Self {
            session,
            recipient: None,
            families: Vec::new(),
            progress: Default::default(),
            keep_stale: [None; 3],
            since: None,
            last_down: None,
            own_routes: 0,
            tries: 0,
            enhanced_refresh: false,
        }
    }

    /// Whether a new state is to be told. That a peer which is not there is tried once more is not.
    pub(super) fn is_news(&mut self, state: SessionState) -> bool {
        let is_try = matches!(state, SessionState::Active | SessionState::Connect);
        self.tries = if is_try { self.tries.saturating_add(1) } else { 0 };
        self.tries <= 2
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.session.deadline().into_iter().chain(self.keep_stale.into_iter().flatten()).min()
    }

    /// The session is up: all is to be told.
    pub(super) fn up(
        &mut self,
        negotiated: &NegotiatedSession,
        internal: bool,
        local: &Local,
        lasts: [Version; 3],
    ) {
        let config = self.session.config();
        let max_message = self.session.established().map_or(4096, |(_, max_message)| max_message);
        self.recipient = Some(Recipient {
            internal,
            four_octet_as: negotiated.four_octet_as,
            max_message,
            ipv6_vtep: config.announce_ipv6_vtep,
            router_flag: config.announce_router_flag,
            prefixes: config.announce_prefixes,
            host_routes: config.announce_host_routes,
            extended_next_hop: negotiated.extended_nexthop_families.get(&(Afi::Ipv4, Safi::Unicast))
                == Some(&Afi::Ipv6),
            asn: local.asn,
            cluster: local.cluster,
        });
        self.own_routes = 0;
        self.families = families(negotiated);
        self.enhanced_refresh = negotiated.peer_enhanced_route_refresh;
        self.progress = lasts.map(|last| Progress { end_of_rib: Some(last), ..Progress::default() });
    }

    /// All of a family is to be told again.
    pub(super) fn tell_again(&mut self, family: Family, last: Version) {
        let progress = &mut self.progress[family.index()];
        progress.told = 0;
        if self.enhanced_refresh {
            progress.begin_refresh = true;
            progress.end_refresh = Some(last);
        }
    }

    /// Whether something is to be told on its session, `lasts` being the last changes.
    pub(super) fn is_behind(&self, lasts: [Version; 3]) -> bool {
        self.recipient.is_some()
            && self.families.iter().any(|family| {
                let progress = &self.progress[family.index()];
                progress.told < lasts[family.index()]
                    || progress.end_of_rib.is_some()
                    || progress.begin_refresh
                    || progress.end_refresh.is_some()
            })
    }

    /// Whether bytes may be sent on this connection for routes.
    pub(super) fn is_established(&self, connection: ConnectionId) -> bool {
        self.session.established().is_some_and(|(established, _)| established == connection)
    }
}
