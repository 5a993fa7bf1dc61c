//! What the router asks stations: who has an address, and whether it still has it.
//!
//! The owner of an overlay asks as the router that stations know. A gateway that is not must leave their entries of the
//! router alone: it asks from its own MAC address, in IPv6 from that one's link-local address, in IPv4 by a probe
//! without a sender (RFC 5227 §1.1).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wire::arp::{self, ArpOperation, ArpRepr};
use wire::ipv6::{self, Ipv6Repr};
use wire::ndp::{self, NeighbourSolicitation};
use wire::{EtherType, IpProtocol, MacAddr};

use super::Output;
use super::neighbours::NeighbourKey;
use crate::tables::Snapshot;

/// To all of the overlay: a broadcast ARP request, or a solicitation to the solicited-node group.
pub(super) fn all(tables: &Snapshot, key: NeighbourKey) -> Output {
    let NeighbourKey { overlay, address } = key;
    let (ethertype, payload) = question(tables, key, None);
    let mac = match address {
        IpAddr::V4(_) => MacAddr::BROADCAST,
        IpAddr::V6(address) => ndp::multicast_mac(ndp::solicited_node(address)),
    };
    Output::Flood { overlay, mac, ethertype, payload }
}

/// To one station alone, behind `endpoint` (RFC 4861 §7.3.3, RFC 1122 §2.3.2.1).
pub(super) fn one(tables: &Snapshot, key: NeighbourKey, mac: MacAddr, endpoint: IpAddr) -> Output {
    let (ethertype, payload) = question(tables, key, Some(mac));
    Output::Station { overlay: key.overlay, endpoint, mac, ethertype, payload }
}

fn question(tables: &Snapshot, key: NeighbourKey, station: Option<MacAddr>) -> (EtherType, Vec<u8>) {
    let overlay = tables.overlays.get(key.overlay);
    let sender = tables.sender(key.overlay);
    match key.address {
        IpAddr::V4(target_ip) => {
            let router = match overlay.router_for(key.address) {
                Some(IpAddr::V4(router)) if tables.overlays.is_owner(key.overlay) => router,
                _ => Ipv4Addr::UNSPECIFIED,
            };
            let request = ArpRepr {
                operation: ArpOperation::Request,
                sender_mac: sender,
                sender_ip: router,
                target_mac: MacAddr::ZERO,
                target_ip,
            };
            let mut payload = vec![0; arp::LEN];
            request.emit(&mut payload);
            (EtherType::Arp, payload)
        }
        IpAddr::V6(target) => {
            let destination = if station.is_some() { target } else { ndp::solicited_node(target) };
            (EtherType::Ipv6, solicitation(sender, target, destination))
        }
    }
}

fn solicitation(sender: MacAddr, target: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
    let message = NeighbourSolicitation { target, source_mac: Some(sender) };
    let header = Ipv6Repr {
        src: sender.link_local(),
        dst: destination,
        next_header: IpProtocol::Icmpv6,
        hop_limit: ndp::HOP_LIMIT,
        traffic_class: 0,
        flow_label: 0,
        payload_len: message.buffer_len() as u16,
    };
    let mut payload = vec![0; ipv6::HEADER_LEN + message.buffer_len()];
    header.emit(&mut payload);
    message.emit(&mut payload[ipv6::HEADER_LEN..], header.src, header.dst);
    payload
}
