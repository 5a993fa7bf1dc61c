//! ARP for the router's addresses (RFC 826, RFC 5227).

use std::net::IpAddr;

use wire::EtherType;
use wire::arp::{self, ArpOperation, ArpPacket, ArpRepr};

use super::{Deed, Origin, Output, Received, Tally};
use crate::tables::Snapshot;

/// The reply to a request for the router's address in `overlay`. A probe (sender 0.0.0.0) is answered too: the address
/// is ours, and who asks must not take it (RFC 5227 §2.4).
pub(super) fn answer(tables: &Snapshot, received: &Received<'_>, tally: &Tally) -> Option<Output> {
    let Origin::Station { overlay: index, endpoint } = received.origin else { return None };
    let overlay = tables.overlays.get(index);
    let request = ArpRepr::parse(&ArpPacket::new_checked(received.packet).ok()?);
    let for_router = overlay.subnets.iter().any(|subnet| subnet.router == IpAddr::V4(request.target_ip));
    let from_station = request.sender_mac == received.sender
        && (request.sender_ip.is_unspecified() || overlay.subnet_of(request.sender_ip.into()).is_some());
    // Whoever announces the router's address as its own gets no answer that would make it a neighbour.
    let is_announcement = request.sender_ip == request.target_ip;
    if request.operation != ArpOperation::Request || !for_router || !from_station || is_announcement {
        return None;
    }
    let reply = ArpRepr {
        operation: ArpOperation::Reply,
        sender_mac: tables.fixed.router_mac,
        sender_ip: request.target_ip,
        target_mac: received.sender,
        target_ip: request.sender_ip,
    };
    let mut payload = vec![0; arp::LEN];
    reply.emit(&mut payload);
    tally.count(Deed::ArpAnswered);
    Some(Output::Station {
        overlay: index,
        endpoint,
        mac: received.sender,
        ethertype: EtherType::Arp,
        payload,
    })
}
