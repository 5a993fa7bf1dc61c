//! ARP in the overlays (RFC 826, RFC 5227): what stations ask of the router, and what they say of themselves.

use std::net::IpAddr;
use std::time::Instant;

use wire::EtherType;
use wire::arp::{self, ArpOperation, ArpPacket, ArpRepr};

use super::neighbours::Evidence;
use super::received::Origin;
use super::resolve::Claim;
use super::{Deed, Output, Received, SlowPath};

impl SlowPath {
    /// Learns from ARP, and answers it.
    pub(super) fn handle_arp(&mut self, received: &Received<'_>, now: Instant) {
        let Origin::Station { overlay, endpoint } = received.origin else { return };
        let message = ArpPacket::new_checked(received.packet).ok().map(|packet| ArpRepr::parse(&packet));
        // Whoever speaks for another MAC address than the one that it sends from lies.
        let Some(message) = message.filter(|message| message.sender_mac == received.sender) else {
            return self.tally.count(Deed::BadNeighbour);
        };
        if let Some(claim) = claim(&message, received) {
            self.learn(received, claim, now);
        }
        let Some(target) = question(&message) else { return };
        let asker = Some(IpAddr::V4(message.sender_ip)).filter(|_| !message.sender_ip.is_unspecified());
        let Some(mac) = self.answer_for(overlay, target, asker, received.sender, now) else { return };
        let reply = ArpRepr {
            operation: ArpOperation::Reply,
            sender_mac: mac,
            sender_ip: message.target_ip,
            target_mac: received.sender,
            target_ip: message.sender_ip,
        };
        let mut payload = vec![0; arp::LEN];
        reply.emit(&mut payload);
        self.tally.count(Deed::ArpAnswered);
        let (mac, ethertype) = (received.sender, EtherType::Arp);
        self.send([Output::Station { overlay, endpoint, mac, ethertype, payload }], now);
    }
}

/// What the sender says about its address. A probe has none (RFC 5227 §1.1).
fn claim(message: &ArpRepr, received: &Received<'_>) -> Option<Claim> {
    let is_announcement = message.sender_ip == message.target_ip || received.receiver.is_multicast();
    let evidence = match message.operation {
        _ if message.sender_ip.is_unspecified() => return None,
        ArpOperation::Request if message.sender_ip == message.target_ip => {
            Evidence::Announcement { override_: true }
        }
        ArpOperation::Request => Evidence::Request,
        ArpOperation::Reply if is_announcement => Evidence::Announcement { override_: true },
        ArpOperation::Reply => Evidence::Reply { override_: true },
        _ => return None,
    };
    Some(Claim { address: message.sender_ip.into(), evidence })
}

/// Whose MAC address is asked for. Whoever announces an address asks for nothing, and is not answered.
fn question(message: &ArpRepr) -> Option<IpAddr> {
    let asks = message.operation == ArpOperation::Request && message.sender_ip != message.target_ip;
    asks.then_some(message.target_ip.into())
}
