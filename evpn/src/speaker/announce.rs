//! Announcing, and telling peers of it.

use std::net::IpAddr;
use std::time::Instant;

use ipnet::IpNet;
use rustbgpd_wire::{Message, RouteRefreshMessage, RouteRefreshSubtype, encode_message};
use wire::{MacAddr, Vni};

use super::Speaker;
use super::peer::Peer;
use crate::event::PeerId;
use crate::family::Family;
use crate::out::encode::{end_of_rib, updates};
use crate::out::journal::{Journal, Version};
use crate::out::{Attributes, Key, PrefixAttributes, Reach};
use crate::overlay::targets::RouteTarget;
use crate::segment::EthernetSegment;
use crate::session::ConnectionId;

/// Changes taken at a time: enough to fill messages, few enough to bound what is encoded ahead of the peer.
const BATCH: usize = 512;

/// Bytes beyond which no more changes are encoded.
const FULL: usize = 64 * 1024;

impl Speaker {
    /// Announces a MAC address (and one of its IP addresses) at an endpoint, in place of what was announced of it.
    pub fn reach(&mut self, reach: &Reach) {
        let targets = self.export(reach.vni);
        self.journal(Family::Evpn).announce(reach.key(), reach.attributes(targets));
    }

    /// Withdraws what was announced of a MAC address (and one of its IP addresses).
    pub fn unreach(&mut self, vni: Vni, mac: MacAddr, ip: Option<IpAddr>) {
        self.journal(Family::Evpn).withdraw(Key::Mac { vni, mac, ip });
        self.bury();
    }

    /// Announces that a VTEP takes part in an overlay: it wants what is flooded there (ingress replication).
    pub fn join_flood(&mut self, vni: Vni, vtep: IpAddr) {
        let attributes = Attributes::flood(vni, vtep, self.export(vni));
        self.journal(Family::Evpn).announce(Key::Flood { vni, vtep }, attributes);
    }

    /// Withdraws a VTEP's part in an overlay.
    pub fn leave_flood(&mut self, vni: Vni, vtep: IpAddr) {
        self.journal(Family::Evpn).withdraw(Key::Flood { vni, vtep });
        self.bury();
    }

    /// Announces that a VTEP is of a cluster (RFC 7432 §8.1.1), by a type 4 route. It stays until the speaker
    /// [leaves](Self::shut_down).
    pub fn join_segment(&mut self, segment: EthernetSegment, vtep: IpAddr) {
        let key = Key::Segment { segment, vtep, router_id: self.local.router_id };
        self.journal(Family::Evpn).announce(key, Attributes::segment(segment, vtep));
    }

    /// Announces a unicast prefix. Peers that cannot take its next hop (IPv4 for an IPv6 prefix: none) are not told.
    pub fn announce_prefix(&mut self, prefix: IpNet, attributes: PrefixAttributes) {
        let key = Key::Prefix(prefix.trunc());
        self.journal(key.family()).announce(key, Attributes::prefix(attributes));
    }

    /// Withdraws a unicast prefix.
    pub fn withdraw_prefix(&mut self, prefix: IpNet) {
        let key = Key::Prefix(prefix.trunc());
        self.journal(key.family()).withdraw(key);
        self.bury();
    }

    /// Announces a host route, for peers that are to be told of them
    /// ([`announce_host_routes`](crate::PeerConfig::announce_host_routes)). It must be no announced prefix too.
    pub fn announce_host_route(&mut self, address: IpAddr, attributes: PrefixAttributes) {
        let key = Key::Host(address);
        self.journal(key.family()).announce(key, Attributes::prefix(attributes));
    }

    /// Withdraws a host route.
    pub fn withdraw_host_route(&mut self, address: IpAddr) {
        let key = Key::Host(address);
        self.journal(key.family()).withdraw(key);
        self.bury();
    }

    /// How many routes of a family are announced.
    pub fn announced(&self, family: Family) -> usize {
        self.out[family.index()].len()
    }

    /// How many changes of a family's announcements have been given to no peer's connection yet: of the peer that is furthest
    /// ahead, so that one that takes nothing holds up nobody; 0 where no peer speaks the family.
    pub fn unsent(&self, family: Family) -> u64 {
        let of_family = |peer: &&Peer| peer.recipient.is_some() && peer.families.contains(&family);
        let told = self.peers.iter().filter(of_family).map(|peer| peer.progress[family.index()].told).max();
        told.map_or(0, |told| self.out[family.index()].last() - told)
    }

    /// Whether [`transmit`](Self::transmit) would give bytes.
    pub fn has_bytes(&self, peer: PeerId, connection: ConnectionId) -> bool {
        let peer = &self.peers[usize::from(peer.0)];
        peer.session.has_control(connection)
            || (peer.is_established(connection) && peer.is_behind(self.out.each_ref().map(Journal::last)))
    }

    /// The next bytes for a connection, appended to `buffer`: some 64 KB and a batch at most. Routes are encoded only
    /// now, from the latest state, so that a slow peer costs no memory. Whether there were any.
    pub fn transmit(
        &mut self,
        id: PeerId,
        connection: ConnectionId,
        buffer: &mut Vec<u8>,
        now: Instant,
    ) -> bool {
        if !self.has_bytes(id, connection) {
            return false;
        }
        let start = buffer.len();
        let peer = &mut self.peers[usize::from(id.0)];
        peer.session.transmit(connection, buffer);
        if !peer.is_established(connection) {
            return buffer.len() > start;
        }
        let Some(recipient) = peer.recipient else { return buffer.len() > start };
        for family in peer.families.clone() {
            let journal = &self.out[family.index()];
            let progress = &mut peer.progress[family.index()];
            if std::mem::take(&mut progress.begin_refresh) {
                refresh(family, RouteRefreshSubtype::BoRR, buffer);
            }
            while progress.told < journal.last() && buffer.len() - start < FULL {
                let (changes, reached) = journal.after(progress.told, BATCH);
                updates(changes, family, &recipient, buffer);
                progress.told = reached;
            }
            let due = |target: &mut Option<Version>, told: Version| {
                target.take_if(|target| *target <= told).is_some()
            };
            if due(&mut progress.end_of_rib, progress.told) {
                end_of_rib(family, &recipient, buffer);
            }
            if due(&mut progress.end_refresh, progress.told) {
                refresh(family, RouteRefreshSubtype::EoRR, buffer);
            }
        }
        self.bury();
        self.leave_if_told(id, now);
        buffer.len() > start
    }

    /// Ends a session once its peer has been told that all is withdrawn.
    pub(super) fn leave_if_told(&mut self, id: PeerId, now: Instant) {
        let lasts = self.out.each_ref().map(Journal::last);
        let peer = &mut self.peers[usize::from(id.0)];
        if let Some(words) = &self.leaving
            && !peer.is_behind(lasts)
        {
            peer.session.stop(words, now);
            self.follow(id, now);
        }
    }

    /// Forgets withdrawals that all peers know.
    pub(super) fn bury(&mut self) {
        for family in Family::ALL {
            let index = family.index();
            if !self.out[index].has_graves() {
                continue;
            }
            let told = self
                .peers
                .iter()
                .filter(|peer| peer.recipient.is_some() && peer.families.contains(&family))
                .map(|peer| peer.progress[index].told)
                .min();
            let journal = &mut self.out[index];
            let told = told.unwrap_or(journal.last());
            journal.bury(told);
        }
    }

    /// Announcements get the route targets of their overlays as they are now.
    pub(super) fn revise_targets(&mut self) {
        let (rib, asn) = (&self.rib, self.local.asn);
        self.out[Family::Evpn.index()].revise(|key, attributes| {
            let vni = key.vni()?;
            let targets = rib.targets(vni).map_or_else(Vec::new, |targets| targets.export(vni, asn));
            (targets != attributes.targets).then(|| Attributes { targets, ..attributes.clone() })
        });
    }

    /// Route targets of an overlay; none for one that is not known, whose routes nobody will import.
    fn export(&self, vni: Vni) -> Vec<RouteTarget> {
        self.rib.targets(vni).map_or_else(Vec::new, |targets| targets.export(vni, self.local.asn))
    }

    fn journal(&mut self, family: Family) -> &mut Journal {
        &mut self.out[family.index()]
    }
}

fn refresh(family: Family, subtype: RouteRefreshSubtype, buffer: &mut Vec<u8>) {
    let (afi, safi) = family.codes();
    let message = Message::RouteRefresh(RouteRefreshMessage::new_with_subtype(afi, safi, subtype));
    // Four octets of body always fit.
    if let Ok(bytes) = encode_message(&message) {
        buffer.extend_from_slice(&bytes);
    }
}
