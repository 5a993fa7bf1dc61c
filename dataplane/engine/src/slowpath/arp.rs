//! ARP for the router's addresses (RFC 826, RFC 5227).

use std::net::IpAddr;

use wire::EtherType;
use wire::arp::{self, ArpOperation, ArpPacket, ArpRepr};
use wire::ethernet::EthernetFrame;

use super::answer::inner_frame;
use crate::api::Overlay;
use crate::counters::Reason;
use crate::pipeline::link::Link;
use crate::tables::Fixed;

/// The reply to a request for the router's address in `overlay`. A probe (sender 0.0.0.0) is answered too: the address
/// is ours, and who asks must not take it (RFC 5227 §2.4).
pub(super) fn answer(fixed: &Fixed, overlay: &Overlay, frame: &[u8]) -> Option<Vec<u8>> {
    let link = Link::parse(frame, Reason::InnerVlan).ok()?;
    let request = ArpRepr::parse(&ArpPacket::new_checked(link.payload_of(frame)).ok()?);
    let sender = EthernetFrame::new_checked(frame).ok()?.src();
    let for_router = overlay.subnets.iter().any(|subnet| subnet.router == IpAddr::V4(request.target_ip));
    let from_station = request.sender_mac == sender
        && (request.sender_ip.is_unspecified() || overlay.subnet_of(request.sender_ip.into()).is_some());
    // Whoever announces the router's address as its own gets no answer that would make it a neighbour.
    let is_announcement = request.sender_ip == request.target_ip;
    if request.operation != ArpOperation::Request || !for_router || !from_station || is_announcement {
        return None;
    }
    let reply = ArpRepr {
        operation: ArpOperation::Reply,
        sender_mac: fixed.router_mac,
        sender_ip: request.target_ip,
        target_mac: sender,
        target_ip: request.sender_ip,
    };
    let mut payload = [0; arp::LEN];
    reply.emit(&mut payload);
    Some(inner_frame(fixed.router_mac, sender, EtherType::Arp, &payload))
}
