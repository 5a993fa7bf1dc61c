//! What a speaker shows.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use wire::{MacAddr, Vni};

use super::Speaker;
use crate::PeerConfig;
use crate::event::{DownReason, PeerId};
use crate::family::Family;
use crate::overlay::StationView;
use crate::rib::show::RouteView;
use crate::session::SessionState;

/// A peer as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerView {
    /// Its number.
    pub id: PeerId,
    /// Its address.
    pub address: IpAddr,
    /// State of the session.
    pub state: SessionState,
    /// Since when; `None`: it was never started.
    pub since: Option<Instant>,
    /// Why its last session, or attempt at one, ended.
    pub last_down: Option<DownReason>,
    /// Its AS number and identifier, once up.
    pub identity: Option<(u32, Ipv4Addr)>,
    /// Agreed hold time in seconds.
    pub hold_time: Option<u16>,
    /// Families that both speak.
    pub families: Vec<Family>,
    /// Its routes by family, those not used among them.
    pub routes: Vec<(Family, usize)>,
    /// How many of our own routes it has sent back in this session, or the last one, as reflectors do (RFC 4456 §8). They
    /// are not kept.
    pub own_routes: u64,
    /// It has been told all that we announce.
    pub told_all: bool,
}

impl Speaker {
    /// The peers, by number.
    pub fn peers(&self) -> impl Iterator<Item = PeerView> + '_ {
        self.ids().map(|id| {
            let peer = &self.peers[usize::from(id.0)];
            let negotiated = peer.session.negotiated();
            let families = if negotiated.is_some() { peer.families.clone() } else { Vec::new() };
            PeerView {
                id,
                address: peer.session.config().address,
                state: peer.session.state(),
                since: peer.since,
                last_down: peer.last_down.clone(),
                identity: negotiated.map(|negotiated| (negotiated.peer_asn, negotiated.peer_router_id)),
                hold_time: negotiated.map(|negotiated| negotiated.hold_time),
                routes: Family::ALL.map(|family| (family, self.rib.routes_of(id, family))).to_vec(),
                own_routes: peer.own_routes,
                told_all: peer.recipient.is_some()
                    && !peer.is_behind(self.out.each_ref().map(crate::out::journal::Journal::last)),
                families,
            }
        })
    }

    /// The configuration of a peer.
    pub fn config(&self, peer: PeerId) -> &PeerConfig {
        self.peers[usize::from(peer.0)].session.config()
    }

    /// All routes of a family that peers told, each with why it is or is not the best; in no order.
    pub fn routes(&self, family: Family) -> impl Iterator<Item = RouteView> + '_ {
        self.rib.routes(family)
    }

    /// Where the network says a station is.
    pub fn station(&self, vni: Vni, mac: MacAddr) -> Option<StationView> {
        self.rib.station(vni, mac)
    }

    /// How many stations the network tells of.
    pub fn stations(&self) -> usize {
        self.rib.stations()
    }
}
