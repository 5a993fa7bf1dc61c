//! Neighbour discovery in the overlays (RFC 4861): what stations ask of the router, and what they say of themselves.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Instant;

use wire::icmpv6::Icmpv6Packet;
use wire::ipv6::{self, Ipv6Packet, Ipv6Repr};
use wire::ndp::{self, NeighbourAdvertisement, NeighbourSolicitation};
use wire::{EtherType, IpProtocol};

use super::neighbours::{Evidence, NeighbourKey};
use super::received::Origin;
use super::resolve::Claim;
use super::{Deed, Output, Received, SlowPath};
use crate::tables::OverlayIndex;

/// A message and the packet that it came in.
struct Message<'a> {
    packet: Ipv6Packet<&'a [u8]>,
    icmp: Icmpv6Packet<&'a [u8]>,
}

impl SlowPath {
    /// Learns from neighbour discovery, and answers it.
    pub(super) fn handle_ndp(&mut self, received: &Received<'_>, now: Instant) {
        if self.understand_ndp(received, now).is_none() {
            self.tally.count(Deed::BadNeighbour);
        }
    }

    /// `None`: it is malformed, or lies.
    fn understand_ndp(&mut self, received: &Received<'_>, now: Instant) -> Option<()> {
        let packet = Ipv6Packet::new_checked(received.packet).ok()?;
        // Neighbour discovery has no extension headers (RFC 6980).
        let icmp = Icmpv6Packet::new_checked(&received.packet[ipv6::HEADER_LEN..packet.total_len()]).ok()?;
        let message = Message { packet, icmp };
        match message.icmp.type_() {
            ndp::NEIGHBOUR_SOLICITATION => return self.handle_solicitation(received, &message, now),
            ndp::NEIGHBOUR_ADVERTISEMENT => return self.handle_advertisement(received, &message, now),
            ndp::ROUTER_SOLICITATION => {
                let answer = self.advertiser.answer(self.writer.current(), received, &self.tally, now);
                self.send(answer, now);
            }
            ndp::ROUTER_ADVERTISEMENT => self.tally.count(Deed::RogueAdvertisement),
            ndp::REDIRECT => self.tally.count(Deed::Redirect),
            _ => {}
        }
        Some(())
    }

    fn handle_solicitation(
        &mut self,
        received: &Received<'_>,
        Message { packet, icmp }: &Message<'_>,
        now: Instant,
    ) -> Option<()> {
        let Origin::Station { overlay, endpoint } = received.origin else { return None };
        let solicitation = NeighbourSolicitation::parse(icmp).ok()?;
        solicitation.validate(icmp, packet.hop_limit(), packet.src(), packet.dst()).ok()?;
        if solicitation.source_mac.is_some_and(|mac| mac != received.sender) {
            return None;
        }
        if let Err(deed) = self.check_source(overlay, packet.src()) {
            self.tally.count(deed);
            return Some(());
        }
        // From the unspecified address comes duplicate address detection: all must hear that the address is taken
        // (RFC 4862 §5.4.4).
        let asker = Some(IpAddr::V6(packet.src())).filter(|source| !source.is_unspecified());
        if let (Some(address), Some(_)) = (asker, solicitation.source_mac) {
            self.learn(received, Claim { address, evidence: Evidence::Request }, now);
        }
        let target = IpAddr::V6(solicitation.target);
        let Some(mac) = self.answer_for(overlay, target, asker, received.sender, now) else {
            return Some(());
        };
        let (tables, destination) = (self.writer.current(), asker.map_or(ndp::ALL_NODES, |_| packet.src()));
        let is_router = tables.overlays.get(overlay).is_router(target, tables.fixed.router_link_local);
        let advertisement = NeighbourAdvertisement {
            router: is_router,
            solicited: asker.is_some(),
            // What is said on behalf of another must not displace what that one says (RFC 4861 §7.2.4).
            override_: is_router,
            target: solicitation.target,
            target_mac: Some(mac),
        };
        let payload = advertise(&advertisement, destination);
        let mac = if asker.is_some() { received.sender } else { ndp::multicast_mac(destination) };
        self.tally.count(Deed::NdpAnswered);
        self.send([Output::Station { overlay, endpoint, mac, ethertype: EtherType::Ipv6, payload }], now);
        Some(())
    }

    fn handle_advertisement(
        &mut self,
        received: &Received<'_>,
        Message { packet, icmp }: &Message<'_>,
        now: Instant,
    ) -> Option<()> {
        let Origin::Station { overlay, .. } = received.origin else { return None };
        let advertisement = NeighbourAdvertisement::parse(icmp).ok()?;
        advertisement.validate(icmp, packet.hop_limit(), packet.src(), packet.dst()).ok()?;
        if advertisement.target_mac.is_some_and(|mac| mac != received.sender) {
            return None;
        }
        if let Err(deed) = self.check_source(overlay, packet.src()) {
            self.tally.count(deed);
            return Some(());
        }
        let address = IpAddr::V6(advertisement.target);
        // Without a MAC address it cannot tell one: it confirms what is known, or says nothing (RFC 4861 §7.2.5).
        let is_bound = || self.neighbours.bound(NeighbourKey { overlay, address }) == Some(received.sender);
        if advertisement.target_mac.is_none() && !is_bound() {
            if let Err(deed) = self.check_station_address(overlay, address) {
                self.tally.count(deed);
            }
            return Some(());
        }
        let override_ = advertisement.override_;
        let evidence = match advertisement.solicited {
            true => Evidence::Reply { override_ },
            false => Evidence::Announcement { override_ },
        };
        self.learn(received, Claim { address, evidence }, now);
        Some(())
    }

    /// Whether a station may speak from this address; none is that of a station that has none yet.
    fn check_source(&self, overlay: OverlayIndex, source: Ipv6Addr) -> Result<(), Deed> {
        if source.is_unspecified() { Ok(()) } else { self.check_station_address(overlay, source.into()) }
    }
}

/// An advertisement as an IPv6 packet.
pub(super) fn advertise(advertisement: &NeighbourAdvertisement, destination: Ipv6Addr) -> Vec<u8> {
    let header = Ipv6Repr {
        src: advertisement.target,
        dst: destination,
        next_header: IpProtocol::Icmpv6,
        hop_limit: ndp::HOP_LIMIT,
        traffic_class: 0,
        flow_label: 0,
        payload_len: advertisement.buffer_len() as u16,
    };
    let mut payload = vec![0; ipv6::HEADER_LEN + advertisement.buffer_len()];
    header.emit(&mut payload);
    advertisement.emit(&mut payload[ipv6::HEADER_LEN..], header.src, header.dst);
    payload
}
