//! What the fuzz targets do, in reach of ordinary tests: each target takes any bytes as headers of one
//! family, calls everything there is to call, and asserts what must hold of the answers.

use std::fmt::Debug;
use std::hint::black_box;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::arp::{ArpPacket, ArpRepr};
use crate::ethernet::{EthernetFrame, EthernetRepr};
use crate::icmpv4::{Icmpv4Packet, Icmpv4Repr};
use crate::icmpv6::{Icmpv6Packet, Icmpv6Repr};
use crate::ipv4::{Ipv4Options, Ipv4Packet, Ipv4Repr};
use crate::ipv6::{Ipv6Packet, Ipv6Repr};
use crate::ndp::{NdpOptions, NeighbourAdvertisement, NeighbourSolicitation};
use crate::udp::{UdpPacket, UdpRepr};
use crate::vlan::{VlanRepr, VlanTag};
use crate::vxlan::{VxlanPacket, VxlanRepr};
use crate::{EtherType, IpProtocol, arp, ethernet, icmpv4, icmpv6, ipv4, ipv6, udp, vlan, vxlan};

/// A target: its name, which is also that of its corpus, and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

mod dhcp;
mod ndp;

pub use dhcp::{dhcpv4, dhcpv6};
pub use ndp::ndp;

/// Every target of this crate.
pub const TARGETS: [Target; 9] = [
    ("ethernet_vlan_arp", ethernet_vlan_arp),
    ("ipv4", ipv4),
    ("ipv6", ipv6),
    ("udp", udp),
    ("icmp", icmp),
    ("ndp", ndp),
    ("dhcpv4", dhcpv4),
    ("dhcpv6", dhcpv6),
    ("frame", frame),
];

/// Addresses for checksums where the bytes have none: those of the golden packets.
const SRC_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const DST_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
const SRC_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const DST_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);

/// An Ethernet frame, its tags, and an ARP packet after them whatever the type says.
pub fn ethernet_vlan_arp(data: &[u8]) {
    if let Some((_, payload)) = check_link(data) {
        check_arp(payload);
    }
}

/// An IPv4 packet.
pub fn ipv4(data: &[u8]) {
    check_ipv4(data);
}

/// An IPv6 packet.
pub fn ipv6(data: &[u8]) {
    check_ipv6(data);
}

/// A UDP datagram, over both families.
pub fn udp(data: &[u8]) {
    check_udp(data);
}

/// An ICMPv4 and an ICMPv6 message.
pub fn icmp(data: &[u8]) {
    check_icmpv4(data);
    check_icmpv6(data);
}

/// A frame that carries VXLAN, down to the layer above the inner IP.
pub fn frame(data: &[u8]) {
    check_frame(data).and_then(check_vxlan).and_then(check_frame);
}

/// What `emit` writes: over buffers that differ, so that a byte that it leaves out shows.
fn emitted(len: usize, emit: impl Fn(&mut [u8])) -> Vec<u8> {
    let (mut buffer, mut other) = (vec![0xa5; len], vec![0x5a; len]);
    emit(&mut buffer);
    emit(&mut other);
    assert_eq!(buffer, other, "emit left bytes unwritten");
    buffer
}

/// Asserts that parsing what a value emitted gives the value.
fn assert_same<R: PartialEq + Debug, E: PartialEq + Debug>(parsed: Result<R, E>, value: R) {
    assert_eq!(parsed, Ok(value));
}

/// A frame down to the layer above IP; returns the payload of a UDP datagram.
fn check_frame(data: &[u8]) -> Option<&[u8]> {
    let (ethertype, payload) = check_link(data)?;
    let (protocol, payload) = match ethertype {
        EtherType::Ipv4 => check_ipv4(payload)?,
        EtherType::Ipv6 => check_ipv6(payload)?,
        EtherType::Arp => {
            check_arp(payload);
            return None;
        }
        _ => return None,
    };
    match protocol {
        IpProtocol::Udp => return check_udp(payload),
        IpProtocol::Icmp => check_icmpv4(payload),
        IpProtocol::Icmpv6 => check_icmpv6(payload),
        _ => {}
    }
    None
}

/// Ethernet and all its tags; returns the type and bytes of the payload.
fn check_link(data: &[u8]) -> Option<(EtherType, &[u8])> {
    let (mut ethertype, mut payload) = check_ethernet(data)?;
    while let EtherType::Vlan | EtherType::QinQ = ethertype {
        (ethertype, payload) = check_vlan(payload)?;
    }
    Some((ethertype, payload))
}

fn check_ethernet(data: &[u8]) -> Option<(EtherType, &[u8])> {
    let view = EthernetFrame::new_checked(data).ok()?;
    let payload = &data[ethernet::HEADER_LEN..];
    assert_eq!(view.payload(), payload);

    let value = EthernetRepr::parse(&view);
    let header = emitted(ethernet::HEADER_LEN, |buffer| value.emit(buffer));
    assert_eq!(header, data[..ethernet::HEADER_LEN]);

    let mut copy = EthernetFrame::new_checked(data.to_vec()).ok()?;
    copy.set_dst(view.src());
    copy.set_src(view.dst());
    copy.payload_mut().fill(0);
    assert_eq!((copy.dst(), copy.src(), copy.ethertype()), (value.src, value.dst, value.ethertype));
    Some((value.ethertype, payload))
}

fn check_vlan(data: &[u8]) -> Option<(EtherType, &[u8])> {
    let view = VlanTag::new_checked(data).ok()?;
    let payload = &data[vlan::HEADER_LEN..];
    assert_eq!(view.payload(), payload);
    assert!(view.vid() < 0x1000 && view.priority() < 8);

    let value = VlanRepr::parse(&view);
    let header = emitted(vlan::HEADER_LEN, |buffer| value.emit(buffer));
    assert_eq!(header, data[..vlan::HEADER_LEN]);
    Some((value.ethertype, payload))
}

fn check_arp(data: &[u8]) {
    let Ok(view) = ArpPacket::new_checked(data) else { return };
    let value = ArpRepr::parse(&view);
    assert_eq!(emitted(arp::LEN, |buffer| value.emit(buffer)), data[..arp::LEN]);
}

fn check_ipv4(data: &[u8]) -> Option<(IpProtocol, &[u8])> {
    let view = Ipv4Packet::new_checked(data).ok()?;
    let payload = &data[view.header_len()..view.total_len()];
    assert_eq!(view.payload(), payload);
    assert_eq!(view.options(), &data[ipv4::HEADER_LEN..view.header_len()]);
    assert_eq!(view.is_fragment(), view.more_fragments() || view.fragment_offset() != 0);
    assert!(Ipv4Options::new(view.options()).flatten().count() <= view.options().len() / 2);
    let _ = black_box(view.has_source_route());
    black_box((view.dscp_ecn(), view.ident(), view.dont_fragment()));

    if let Ok(value) = Ipv4Repr::parse(&view) {
        assert!(view.verify_checksum() && !view.is_fragment());
        // Options are not kept, so the packet may become shorter; never longer.
        let packet = emitted(ipv4::HEADER_LEN + payload.len(), |buffer| {
            buffer[ipv4::HEADER_LEN..].copy_from_slice(payload);
            value.emit(buffer);
        });
        assert_same(Ipv4Packet::new_checked(&packet[..]).and_then(|view| Ipv4Repr::parse(&view)), value);
    }

    let mut copy = Ipv4Packet::new_checked(data.to_vec()).ok()?;
    copy.decrement_ttl();
    assert_eq!(copy.ttl(), view.ttl().saturating_sub(1));
    assert_eq!(copy.verify_checksum(), view.verify_checksum());
    copy.change_dscp_ecn(!view.dscp_ecn());
    assert_eq!((copy.dscp_ecn(), copy.verify_checksum()), (!view.dscp_ecn(), view.verify_checksum()));
    copy.set_dscp_ecn(view.dscp_ecn());
    copy.set_ident(!view.ident());
    copy.set_src(view.dst());
    copy.set_dst(view.src());
    copy.payload_mut().fill(0);
    copy.fill_checksum();
    assert!(copy.verify_checksum());
    assert_eq!((copy.src(), copy.dst(), copy.options()), (view.dst(), view.src(), view.options()));
    // With a right checksum, so that more than what fuzzing hits by chance is cut.
    check_fragments(copy);
    (!view.is_fragment()).then_some((view.protocol(), payload))
}

fn check_fragments(packet: Ipv4Packet<Vec<u8>>) {
    const MTU: usize = 68;
    let Ok(pieces) = ipv4::fragment(packet.clone().into_inner().as_slice(), MTU) else { return };
    let mut payload = Vec::new();
    for piece in &pieces {
        let Ok(view) = Ipv4Packet::new_checked(&piece[..]) else { unreachable!("{piece:?} is no packet") };
        assert!(view.verify_checksum() && view.total_len() == piece.len() && piece.len() <= MTU);
        assert_eq!(usize::from(view.fragment_offset() - packet.fragment_offset()), payload.len());
        payload.extend_from_slice(view.payload());
    }
    assert_eq!(payload, packet.payload());
}

fn check_ipv6(data: &[u8]) -> Option<(IpProtocol, &[u8])> {
    let view = Ipv6Packet::new_checked(data).ok()?;
    let payload = &data[ipv6::HEADER_LEN..view.total_len()];
    assert_eq!(view.payload(), payload);

    let value = Ipv6Repr::parse(&view);
    let header = emitted(ipv6::HEADER_LEN, |buffer| value.emit(buffer));
    assert_eq!(header, data[..ipv6::HEADER_LEN]);

    let mut copy = Ipv6Packet::new_checked(data.to_vec()).ok()?;
    copy.decrement_hop_limit();
    copy.set_src(view.dst());
    copy.set_dst(view.src());
    copy.set_traffic_class(!view.traffic_class());
    assert_eq!(copy.flow_label(), view.flow_label());
    copy.set_flow_label(!view.flow_label());
    assert_eq!(copy.traffic_class(), !view.traffic_class());
    copy.payload_mut().fill(0);
    assert_eq!(copy.hop_limit(), view.hop_limit().saturating_sub(1));
    assert_eq!((copy.src(), copy.dst(), copy.payload_len()), (view.dst(), view.src(), view.payload_len()));

    let upper = view.upper_layer().ok()?;
    assert!((ipv6::HEADER_LEN..=view.total_len()).contains(&upper.offset));
    assert!(!upper.more_fragments || upper.fragment_offset.is_some());
    (!upper.is_fragment()).then(|| (upper.protocol, &data[upper.offset..view.total_len()]))
}

fn check_udp(data: &[u8]) -> Option<&[u8]> {
    let view = UdpPacket::new_checked(data).ok()?;
    let payload = &data[udp::HEADER_LEN..view.len()];
    assert_eq!(view.payload(), payload);
    black_box((view.verify_checksum_v4(SRC_V4, DST_V4), view.verify_checksum_v6(SRC_V6, DST_V6)));

    let value = UdpRepr::parse(&view);
    let emit = |checksum: &dyn Fn(&mut [u8])| {
        let datagram = emitted(view.len(), |buffer| {
            buffer[udp::HEADER_LEN..].copy_from_slice(payload);
            checksum(buffer);
        });
        // All but the checksum is as it came.
        assert_eq!(datagram[..6], data[..6]);
        UdpPacket::new_checked(datagram)
    };
    assert!(emit(&|buffer| value.emit(buffer)).is_ok_and(|packet| packet.checksum() == 0));
    let over_v4 = emit(&|buffer| value.emit_v4(buffer, SRC_V4, DST_V4));
    assert!(over_v4.is_ok_and(|packet| packet.checksum() != 0 && packet.verify_checksum_v4(SRC_V4, DST_V4)));
    let over_v6 = emit(&|buffer| value.emit_v6(buffer, SRC_V6, DST_V6));
    assert!(over_v6.is_ok_and(|packet| packet.verify_checksum_v6(SRC_V6, DST_V6)));

    let mut copy = UdpPacket::new_checked(data.to_vec()).ok()?;
    copy.set_src_port(view.dst_port());
    copy.set_dst_port(view.src_port());
    copy.payload_mut().fill(0);
    assert_eq!((copy.src_port(), copy.dst_port(), copy.len()), (value.dst_port, value.src_port, view.len()));
    Some(payload)
}

fn check_vxlan(data: &[u8]) -> Option<&[u8]> {
    let view = VxlanPacket::new_checked(data).ok()?;
    let payload = &data[vxlan::HEADER_LEN..];
    assert_eq!(view.payload(), payload);
    let parsed = VxlanRepr::parse(&view);
    assert_eq!(parsed.ok().map(|value| value.vni), view.vni());
    if let Ok(value) = parsed {
        assert!(view.has_vni());
        let header = emitted(vxlan::HEADER_LEN, |buffer| value.emit(buffer));
        assert_same(VxlanPacket::new_checked(header).and_then(|view| VxlanRepr::parse(&view)), value);
    }
    Some(payload)
}

fn check_icmpv4(data: &[u8]) {
    let Ok(view) = Icmpv4Packet::new_checked(data) else { return };
    black_box((view.type_(), view.code(), view.checksum(), view.payload(), view.verify_checksum()));
    let mut copy = data.to_vec();
    if let Ok(mut packet) = Icmpv4Packet::new_checked(&mut copy) {
        packet.fill_checksum();
        assert!(packet.verify_checksum());
    }
    // With its checksum made right, so that the parser sees more than what fuzzing hits by chance.
    let Ok(view) = Icmpv4Packet::new_checked(&copy) else { return };
    if let Ok(value) = Icmpv4Repr::parse(&view) {
        // An error's unused bytes are not kept.
        let message = emitted(value.buffer_len(), |buffer| value.emit(buffer));
        assert!(message == copy || icmpv4::is_error(view.type_()));
        assert_eq!(Icmpv4Packet::new_checked(&message[..]).as_ref().map(Icmpv4Repr::parse), Ok(Ok(value)));
    }
    assert!(icmpv4::invoking(data).len() <= data.len().min(548));
}

fn check_icmpv6(data: &[u8]) {
    let Ok(view) = Icmpv6Packet::new_checked(data) else { return };
    black_box((view.type_(), view.code(), view.checksum(), view.verify_checksum(SRC_V6, DST_V6)));
    let options = NdpOptions::new(view.payload());
    assert!(options.flatten().all(|option| option.data.len() % 8 == 6));

    let mut copy = data.to_vec();
    if let Ok(mut packet) = Icmpv6Packet::new_checked(&mut copy) {
        packet.fill_checksum(SRC_V6, DST_V6);
        assert!(packet.verify_checksum(SRC_V6, DST_V6));
    }
    let Ok(view) = Icmpv6Packet::new_checked(&copy) else { return };
    if let Ok(value) = Icmpv6Repr::parse(&view, SRC_V6, DST_V6) {
        let message = emitted(value.buffer_len(), |buffer| value.emit(buffer, SRC_V6, DST_V6));
        assert!(message == copy || icmpv6::is_error(view.type_()));
        let again = Icmpv6Packet::new_checked(&message[..]);
        assert_eq!(again.as_ref().map(|view| Icmpv6Repr::parse(view, SRC_V6, DST_V6)), Ok(Ok(value)));
    }
    assert!(icmpv6::invoking(data).len() <= data.len().min(1232));
    if let Ok(value) = NeighbourSolicitation::parse(&view) {
        assert!(!value.target.is_multicast());
        assert_eq!(value.validate(&view, 255, SRC_V6, DST_V6), Ok(()));
        assert!(value.validate(&view, 64, SRC_V6, DST_V6).is_err());
        let message = emitted(value.buffer_len(), |buffer| value.emit(buffer, SRC_V6, DST_V6));
        let emitted = Icmpv6Packet::new_checked(message);
        assert_same(emitted.and_then(|view| NeighbourSolicitation::parse(&view)), value);
    }
    if let Ok(value) = NeighbourAdvertisement::parse(&view) {
        assert!(!value.target.is_multicast());
        assert_eq!(value.validate(&view, 255, SRC_V6, DST_V6), Ok(()));
        let message = emitted(value.buffer_len(), |buffer| value.emit(buffer, SRC_V6, DST_V6));
        let emitted = Icmpv6Packet::new_checked(message);
        assert_same(emitted.and_then(|view| NeighbourAdvertisement::parse(&view)), value);
    }
}
