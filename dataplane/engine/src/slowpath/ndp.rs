//! Neighbour solicitations for the router's addresses (RFC 4861 §7.2.4).

use std::net::{IpAddr, Ipv6Addr};

use wire::icmpv6::Icmpv6Packet;
use wire::ipv6::{self, Ipv6Packet, Ipv6Repr};
use wire::ndp::{self, NeighbourAdvertisement, NeighbourSolicitation};
use wire::{EtherType, IpProtocol};

use super::{Deed, Origin, Output, Received, Tally};
use crate::api::Overlay;
use crate::tables::Snapshot;

/// Hop limit of neighbour discovery: proof that no router has passed it on (RFC 4861 §7.1.1).
const HOP_LIMIT: u8 = 255;

/// The advertisement that answers a solicitation for one of the router's addresses in `overlay`.
pub(super) fn answer(tables: &Snapshot, received: &Received<'_>, tally: &Tally) -> Option<Output> {
    let Origin::Station { overlay: index, endpoint } = received.origin else { return None };
    let (fixed, overlay) = (&tables.fixed, tables.overlays.get(index));
    let packet = Ipv6Packet::new_checked(received.packet).ok()?;
    let message = Icmpv6Packet::new_checked(packet.payload()).ok()?;
    let solicitation = NeighbourSolicitation::parse(&message).ok()?;
    solicitation.validate(&message, packet.hop_limit(), packet.src(), packet.dst()).ok()?;
    if !overlay.is_router(IpAddr::V6(solicitation.target), fixed.router_link_local)
        || !may_ask(overlay, packet.src())
    {
        return None;
    }
    let sender = received.sender;
    // From the unspecified address comes duplicate address detection: all must hear that the address is taken
    // (RFC 4862 §5.4.4).
    let detecting = packet.src().is_unspecified();
    let (destination, mac) =
        if detecting { (ndp::ALL_NODES, ndp::multicast_mac(ndp::ALL_NODES)) } else { (packet.src(), sender) };
    let advertisement = NeighbourAdvertisement {
        router: true,
        solicited: !detecting,
        override_: true,
        target: solicitation.target,
        target_mac: Some(fixed.router_mac),
    };
    let header = Ipv6Repr {
        src: solicitation.target,
        dst: destination,
        next_header: IpProtocol::Icmpv6,
        hop_limit: HOP_LIMIT,
        traffic_class: 0,
        flow_label: 0,
        payload_len: advertisement.buffer_len() as u16,
    };
    let mut payload = vec![0; ipv6::HEADER_LEN + advertisement.buffer_len()];
    header.emit(&mut payload);
    advertisement.emit(&mut payload[ipv6::HEADER_LEN..], header.src, header.dst);
    tally.count(Deed::NdpAnswered);
    Some(Output::Station { overlay: index, endpoint, mac, ethertype: EtherType::Ipv6, payload })
}

/// Whether a station of the overlay can have this source address.
fn may_ask(overlay: &Overlay, source: Ipv6Addr) -> bool {
    source.is_unspecified()
        || source.is_unicast_link_local()
        || overlay.subnet_of(source.into()).is_some_and(|subnet| subnet.router != source)
}
