//! What may leave because of a frame that arrived, in the eyes of an independent decoder: that frame itself, if it goes
//! on, or one of the router's own about it. Neither ever reaches an overlay that it is not about.

use std::net::IpAddr;

use etherparse::{
    ArpPacketSlice, Icmpv4Slice, Icmpv4Type, Icmpv6Slice, Icmpv6Type, Ipv4HeaderSlice, Ipv6HeaderSlice,
    LaxSlicedPacket, TransportSlice,
};

use crate::api::PortIndex;
use crate::testing::*;

const ROUTERS: [(u32, [&str; 2]); 2] =
    [(100, ["10.0.1.1", "fd00:0:0:1::1"]), (200, ["10.0.2.1", "fd00:0:0:2::1"])];
const UPLINK_ADDRESSES: [&str; 2] = ["198.18.1.1", "2001:db8:0:2::1"];
const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// What a frame is that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Sent {
    /// A packet on its way.
    Forwarded,
    /// ARP or neighbour discovery of the router.
    Neighbour,
    /// An ICMP error of the router.
    Error,
    /// Other ICMP of the router.
    Echo,
}

/// The network layer of a frame, and its protocol's number.
fn network(frame: &[u8]) -> (u16, &[u8]) {
    let mut at = 12;
    let number = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    while matches!(number(at), 0x8100 | 0x88a8) {
        at += 4;
    }
    (number(at), &frame[at + 2..])
}

/// VNI and inner frame of VXLAN.
fn overlay(frame: &[u8]) -> (u32, Vec<u8>) {
    let sliced = LaxSlicedPacket::from_ethernet(frame).unwrap();
    let Some(TransportSlice::Udp(udp)) = sliced.transport else { panic!("no UDP") };
    let vni = u32::from_be_bytes(udp.payload()[4..8].try_into().unwrap()) >> 8;
    (vni, udp.payload()[8..].to_vec())
}

/// Source, destination, protocol and payload.
fn packet(packet: &[u8]) -> (IpAddr, IpAddr, u8, &[u8]) {
    if packet[0] >> 4 == 4 {
        let header = Ipv4HeaderSlice::from_slice(packet).unwrap();
        let payload = &packet[header.slice().len()..header.total_len().into()];
        (header.source_addr().into(), header.destination_addr().into(), header.protocol().0, payload)
    } else {
        let header = Ipv6HeaderSlice::from_slice(packet).unwrap();
        let payload = &packet[40..][..header.payload_length().into()];
        (header.source_addr().into(), header.destination_addr().into(), header.next_header().0, payload)
    }
}

fn in_blocks(address: IpAddr) -> bool {
    config().blocks.iter().any(|block| block.contains(&address))
}

/// The overlay that an address lies in.
fn overlay_of(address: IpAddr) -> Option<u32> {
    let has = |subnet: &crate::api::Subnet| subnet.prefix.contains(&address);
    config()
        .overlays
        .iter()
        .find(|overlay| overlay.subnets.iter().any(has))
        .map(|overlay| overlay.vni.value())
}

/// Whether the address is the router's in the overlay.
fn is_router(vni: u32, address: IpAddr) -> bool {
    let is_listed = |(of, addresses): &(u32, [&str; 2])| {
        *of == vni && addresses.iter().any(|text| text.parse::<IpAddr>().unwrap() == address)
    };
    address == IpAddr::from(ROUTER_MAC.link_local()) || ROUTERS.iter().any(is_listed)
}

/// ICMP of the router; an error quotes the packet that arrived, and goes to its sender.
fn icmp(message: (IpAddr, IpAddr, u8, &[u8]), arrived: &[u8]) -> Sent {
    let (source, destination, protocol, bytes) = message;
    let quoted = match (source, protocol) {
        (IpAddr::V4(_), ICMP) => {
            let icmp = Icmpv4Slice::from_slice(bytes).unwrap();
            assert_eq!(icmp.icmp_type().calc_checksum(icmp.payload()), icmp.checksum());
            match icmp.icmp_type() {
                Icmpv4Type::DestinationUnreachable(_) | Icmpv4Type::TimeExceeded(_) => icmp.payload(),
                Icmpv4Type::EchoReply(_) => return Sent::Echo,
                other => panic!("{other:?}"),
            }
        }
        (IpAddr::V6(from), ICMPV6) => {
            let IpAddr::V6(to) = destination else { panic!("{destination}") };
            let icmp = Icmpv6Slice::from_slice(bytes).unwrap();
            assert!(icmp.is_checksum_valid(from.octets(), to.octets()));
            match icmp.icmp_type() {
                Icmpv6Type::DestinationUnreachable(_)
                | Icmpv6Type::TimeExceeded(_)
                | Icmpv6Type::PacketTooBig { .. } => icmp.payload(),
                Icmpv6Type::EchoReply(_) => return Sent::Echo,
                Icmpv6Type::NeighborAdvertisement(_) | Icmpv6Type::NeighborSolicitation => {
                    return Sent::Neighbour;
                }
                other => panic!("{other:?}"),
            }
        }
        _ => panic!("the router sends ICMP alone: {source} to {destination}, protocol {protocol}"),
    };
    assert!(arrived.starts_with(quoted), "an error about another packet");
    assert_eq!(packet(arrived).0, destination, "not to its sender");
    Sent::Error
}

/// That `sent` may leave by `to` because `arrived` came in by `from`, and as what.
pub(super) fn check(from: PortIndex, arrived: &[u8], to: PortIndex, sent: &[u8]) -> Sent {
    if to == UPLINK {
        let packet = packet(network(sent).1);
        let (source, destination, ..) = packet;
        assert!(!in_blocks(destination), "{source} to {destination}");
        if from == UNDERLAY {
            // No packet of the router's own takes a station's way.
            let (vni, _) = overlay(arrived);
            assert!(overlay_of(source) == Some(vni) && !is_router(vni, source), "{source} in {vni}");
            return Sent::Forwarded;
        }
        let arrived = network(arrived).1;
        let is_uplink = UPLINK_ADDRESSES.iter().any(|text| text.parse::<IpAddr>().unwrap() == source);
        let asked = self::packet(arrived).1;
        let is_asked = overlay_of(asked).is_some_and(|vni| is_router(vni, source)) && source == asked;
        assert!(is_uplink || is_asked, "from {source}");
        return icmp(packet, arrived);
    }
    let (vni, inner) = overlay(sent);
    assert_eq!(inner[6..12], ROUTER_MAC.0);
    // There are no rules that would let overlays reach each other.
    let (about, arrived) = match from {
        UNDERLAY => {
            let (vni, inner) = overlay(arrived);
            (Some(vni), network(&inner).1.to_vec())
        }
        _ => {
            let packet = network(arrived).1;
            (overlay_of(self::packet(packet).1), packet.to_vec())
        }
    };
    assert_eq!(Some(vni), about, "another overlay");
    let (ethertype, bytes) = network(&inner);
    if ethertype == ARP {
        let arp = ArpPacketSlice::from_slice(bytes).unwrap();
        assert_eq!(arp.sender_hw_addr(), ROUTER_MAC.0);
        let sender = IpAddr::from(<[u8; 4]>::try_from(arp.sender_protocol_addr()).unwrap());
        let target = IpAddr::from(<[u8; 4]>::try_from(arp.target_protocol_addr()).unwrap());
        assert!(is_router(vni, sender), "{sender}");
        assert!(target.is_ipv4() && (overlay_of(target) == Some(vni) || target == IpAddr::from([0; 4])));
        return Sent::Neighbour;
    }
    let message = packet(bytes);
    assert_eq!(ethertype == IPV4, message.0.is_ipv4());
    if is_router(vni, message.0) {
        let own = icmp(message, &arrived);
        // Who is outside is told outside.
        assert!(from == UNDERLAY || own == Sent::Neighbour);
        return own;
    }
    assert_eq!(overlay_of(message.1), Some(vni), "to {}", message.1);
    assert!(!in_blocks(message.0) || overlay_of(message.0) == Some(vni), "from {}", message.0);
    Sent::Forwarded
}
