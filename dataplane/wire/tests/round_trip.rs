//! A value that is emitted and parsed is the same value; an independent decoder agrees on the whole packet.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use wire::arp::{ArpPacket, ArpRepr};
use wire::dhcpv4::{Dhcpv4Packet, RelayAgentInformation};
use wire::dhcpv6::{Dhcpv6RelayPacket, Dhcpv6RelayRepr, RelayType};
use wire::ethernet::{EthernetFrame, EthernetRepr};
use wire::icmpv4::{Icmpv4Packet, Icmpv4Repr};
use wire::icmpv6::{Icmpv6Packet, Icmpv6Repr};
use wire::ipv4::{Ipv4Packet, Ipv4Repr};
use wire::ipv6::{Ipv6Packet, Ipv6Repr};
use wire::ndp::{
    NeighbourAdvertisement, NeighbourSolicitation, PrefixInformation, RouterAdvertisement, RouterSolicitation,
};
use wire::udp::{UdpPacket, UdpRepr};
use wire::vlan::{VlanRepr, VlanTag};
use wire::vxlan::{VxlanPacket, VxlanRepr};
use wire::{
    DomainName, EtherType, IpProtocol, MacAddr, Vni, arp, dhcpv4, ethernet, icmpv4, icmpv6, ipv4, ipv6, udp,
    vlan, vxlan,
};

fn mac() -> impl Strategy<Value = MacAddr> {
    any::<[u8; 6]>().prop_map(MacAddr)
}

fn unicast_v6() -> impl Strategy<Value = Ipv6Addr> {
    any::<Ipv6Addr>().prop_filter("multicast", |address| !address.is_multicast())
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..64)
}

fn ipv4_repr() -> impl Strategy<Value = Ipv4Repr> {
    let addresses = any::<(Ipv4Addr, Ipv4Addr)>();
    let rest = any::<(u8, u8, u8, u16, bool)>();
    (addresses, rest, 0..=65_515u16).prop_map(|((src, dst), rest, payload_len)| {
        let (protocol, ttl, dscp_ecn, ident, dont_fragment) = rest;
        Ipv4Repr { src, dst, protocol: protocol.into(), ttl, dscp_ecn, ident, dont_fragment, payload_len }
    })
}

fn ipv6_repr() -> impl Strategy<Value = Ipv6Repr> {
    let addresses = any::<(Ipv6Addr, Ipv6Addr)>();
    (addresses, any::<(u8, u8, u8, u16)>(), 0..1u32 << 20).prop_map(|((src, dst), rest, flow_label)| {
        let (next_header, hop_limit, traffic_class, payload_len) = rest;
        let next_header = next_header.into();
        Ipv6Repr { src, dst, next_header, hop_limit, traffic_class, flow_label, payload_len }
    })
}

fn prefix_information() -> impl Strategy<Value = PrefixInformation> {
    let rest = any::<(bool, bool, u32, u32)>();
    (any::<u128>(), 0..=128u8, rest).prop_map(|(bits, prefix_len, rest)| {
        let (on_link, autonomous, valid_lifetime, preferred_lifetime) = rest;
        let ones = u128::MAX.checked_shl(128 - u32::from(prefix_len)).unwrap_or(0);
        let prefix = Ipv6Addr::from_bits(bits & ones);
        PrefixInformation { prefix, prefix_len, on_link, autonomous, valid_lifetime, preferred_lifetime }
    })
}

fn domain() -> impl Strategy<Value = DomainName> {
    "[a-z_][a-z0-9]{0,20}([.][a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?){0,2}".prop_map(|name| name.parse().unwrap())
}

fn router_advertisement() -> impl Strategy<Value = RouterAdvertisement<'static>> {
    let fields = any::<(u8, bool, bool, u16, u32, u32)>();
    let options =
        (prop::option::of(mac()), any::<Option<u32>>(), prop::collection::vec(prefix_information(), 0..4));
    let dns = (any::<[Ipv6Addr; 1]>(), prop::collection::vec(domain(), 0..20), any::<u32>());
    (fields, options, dns).prop_map(|(fields, (source_mac, mtu, prefixes), dns)| {
        let (hop_limit, managed, other, lifetime, reachable_time, retrans_timer) = fields;
        let (dns_servers, search_domains, dns_lifetime) = dns;
        RouterAdvertisement {
            hop_limit,
            managed,
            other,
            lifetime,
            reachable_time,
            retrans_timer,
            source_mac,
            mtu,
            prefixes: prefixes.into(),
            dns_servers: dns_servers.to_vec().into(),
            search_domains: search_domains.into(),
            dns_lifetime,
        }
    })
}

proptest! {
    #[test]
    fn ethernet(dst in mac(), src in mac(), ethertype: u16) {
        let repr = EthernetRepr { dst, src, ethertype: ethertype.into() };
        let mut buffer = [0xa5; ethernet::HEADER_LEN];
        repr.emit(&mut buffer);
        prop_assert_eq!(EthernetFrame::new_checked(buffer).map(|frame| EthernetRepr::parse(&frame)), Ok(repr));
    }

    #[test]
    fn vlan(vid in 0..0x1000u16, priority in 0..8u8, drop_eligible: bool, ethertype: u16) {
        let repr = VlanRepr { vid, priority, drop_eligible, ethertype: ethertype.into() };
        let mut buffer = [0xa5; vlan::HEADER_LEN];
        repr.emit(&mut buffer);
        prop_assert_eq!(VlanTag::new_checked(buffer).map(|tag| VlanRepr::parse(&tag)), Ok(repr));
    }

    #[test]
    fn arp(operation: u16, macs in (mac(), mac()), sender_ip: Ipv4Addr, target_ip: Ipv4Addr) {
        let (sender_mac, target_mac) = macs;
        let operation = operation.into();
        let repr = ArpRepr { operation, sender_mac, sender_ip, target_mac, target_ip };
        let mut buffer = [0xa5; arp::LEN];
        repr.emit(&mut buffer);
        prop_assert_eq!(ArpPacket::new_checked(buffer).map(|packet| ArpRepr::parse(&packet)), Ok(repr));
    }

    #[test]
    fn ipv4(repr in ipv4_repr()) {
        let mut buffer = vec![0xa5; ipv4::HEADER_LEN + usize::from(repr.payload_len)];
        repr.emit(&mut buffer);
        prop_assert_eq!(Ipv4Packet::new_checked(&buffer).and_then(|packet| Ipv4Repr::parse(&packet)), Ok(repr));
    }

    #[test]
    fn ipv6(repr in ipv6_repr()) {
        let mut buffer = vec![0xa5; ipv6::HEADER_LEN + usize::from(repr.payload_len)];
        repr.emit(&mut buffer);
        prop_assert_eq!(Ipv6Packet::new_checked(&buffer).map(|packet| Ipv6Repr::parse(&packet)), Ok(repr));
    }

    #[test]
    fn icmpv4(ident: u16, sequence: u16, data in payload(), reply: bool) {
        let data = &data[..];
        let repr = if reply {
            Icmpv4Repr::EchoReply { ident, sequence, data }
        } else {
            Icmpv4Repr::EchoRequest { ident, sequence, data }
        };
        let mut buffer = vec![0xa5; repr.buffer_len()];
        repr.emit(&mut buffer);
        let packet = Icmpv4Packet::new_checked(&buffer).unwrap();
        prop_assert_eq!(Icmpv4Repr::parse(&packet), Ok(repr));
    }

    #[test]
    fn icmpv6(src: Ipv6Addr, dst: Ipv6Addr, ident: u16, sequence: u16, data in payload(), reply: bool) {
        let data = &data[..];
        let repr = if reply {
            Icmpv6Repr::EchoReply { ident, sequence, data }
        } else {
            Icmpv6Repr::EchoRequest { ident, sequence, data }
        };
        let mut buffer = vec![0xa5; repr.buffer_len()];
        repr.emit(&mut buffer, src, dst);
        let packet = Icmpv6Packet::new_checked(&buffer).unwrap();
        prop_assert_eq!(Icmpv6Repr::parse(&packet, src, dst), Ok(repr));
    }

    #[test]
    fn icmpv4_errors(code in (0..=255u8).prop_filter("needs an MTU", |&code| code != 4), mtu: u16, packet in payload()) {
        let invoking = icmpv4::invoking(&packet);
        for repr in [
            Icmpv4Repr::DestinationUnreachable { code, invoking },
            Icmpv4Repr::FragmentationNeeded { mtu, invoking },
            Icmpv4Repr::TimeExceeded { code, invoking },
        ] {
            let mut buffer = vec![0xa5; repr.buffer_len()];
            repr.emit(&mut buffer);
            let packet = Icmpv4Packet::new_checked(&buffer).unwrap();
            prop_assert_eq!(Icmpv4Repr::parse(&packet), Ok(repr));
        }
    }

    #[test]
    fn icmpv6_errors(src: Ipv6Addr, dst: Ipv6Addr, code: u8, mtu: u32, packet in payload()) {
        let invoking = icmpv6::invoking(&packet);
        for repr in [
            Icmpv6Repr::DestinationUnreachable { code, invoking },
            Icmpv6Repr::PacketTooBig { mtu, invoking },
            Icmpv6Repr::TimeExceeded { code, invoking },
        ] {
            let mut buffer = vec![0xa5; repr.buffer_len()];
            repr.emit(&mut buffer, src, dst);
            let packet = Icmpv6Packet::new_checked(&buffer).unwrap();
            prop_assert_eq!(Icmpv6Repr::parse(&packet, src, dst), Ok(repr));
        }
    }

    #[test]
    fn router_discovery(
        src in unicast_v6(),
        dst: Ipv6Addr,
        source_mac in prop::option::of(mac()),
        advertisement in router_advertisement(),
    ) {
        let solicitation = RouterSolicitation { source_mac };
        let mut buffer = vec![0xa5; solicitation.buffer_len()];
        solicitation.emit(&mut buffer, src, dst);
        let packet = Icmpv6Packet::new_checked(&buffer).unwrap();
        prop_assert_eq!(RouterSolicitation::parse(&packet), Ok(solicitation));
        prop_assert_eq!(solicitation.validate(&packet, 255, src, dst), Ok(()));

        let mut buffer = vec![0xa5; advertisement.buffer_len()];
        advertisement.emit(&mut buffer, src, dst);
        let packet = Icmpv6Packet::new_checked(&buffer).unwrap();
        prop_assert!(packet.verify_checksum(src, dst));
        prop_assert_eq!(RouterAdvertisement::parse(&packet), Ok(advertisement));
    }

    #[test]
    fn domain_names(name in domain()) {
        prop_assert_eq!(name.to_string().parse(), Ok(name.clone()));
        prop_assert_eq!(DomainName::parse(name.wire()), Ok((name.clone(), &[][..])));
    }

    #[test]
    fn dhcpv4_relay_agent(
        circuit_id in prop::collection::vec(any::<u8>(), 1..120),
        remote_id in prop::collection::vec(any::<u8>(), 1..120),
        options in prop::collection::vec((1..=81u8, prop::collection::vec(any::<u8>(), 0..99)), 0..9),
    ) {
        let mut message = vec![0; dhcpv4::HEADER_LEN];
        message[236..].copy_from_slice(&[99, 130, 83, 99]);
        for (kind, data) in options {
            message.extend([kind, data.len() as u8]);
            message.extend(data);
        }
        message.push(255);
        let mut relayed = Vec::new();
        dhcpv4::append_relay_agent(&message, &circuit_id, &remote_id, &mut relayed).unwrap();
        let information = RelayAgentInformation { circuit_id: Some(&circuit_id), remote_id: Some(&remote_id) };
        let packet = Dhcpv4Packet::new_checked(&relayed).unwrap();
        prop_assert_eq!(packet.relay_agent_information(), Ok(Some(information)));

        let mut back = Vec::new();
        dhcpv4::strip_relay_agent(&relayed, &mut back).unwrap();
        message.resize(message.len().max(dhcpv4::MIN_LEN), 0);
        prop_assert_eq!(back, message);
    }

    #[test]
    fn dhcpv6_relay(
        reply: bool,
        hop_count: u8,
        addresses: (Ipv6Addr, Ipv6Addr),
        interface_id: Option<[u8; 5]>,
        message in payload(),
    ) {
        let type_ = if reply { RelayType::Reply } else { RelayType::Forward };
        let (link, peer) = addresses;
        let interface_id = interface_id.as_ref().map(|id| &id[..]);
        let repr = Dhcpv6RelayRepr { type_, hop_count, link, peer, interface_id, message: &message };
        let mut buffer = vec![0xa5; repr.buffer_len()];
        repr.emit(&mut buffer);
        let packet = Dhcpv6RelayPacket::new_checked(&buffer).unwrap();
        prop_assert_eq!(Dhcpv6RelayRepr::parse(&packet), Ok(repr));
    }

    #[test]
    fn ndp(
        src in unicast_v6(),
        dst in unicast_v6(),
        target in unicast_v6(),
        mac in prop::option::of(mac()),
        flags: (bool, bool, bool),
    ) {
        let solicitation = NeighbourSolicitation { target, source_mac: mac };
        let mut buffer = vec![0xa5; solicitation.buffer_len()];
        solicitation.emit(&mut buffer, src, dst);
        let packet = Icmpv6Packet::new_checked(&buffer).unwrap();
        prop_assert_eq!(NeighbourSolicitation::parse(&packet), Ok(solicitation));
        prop_assert!(packet.verify_checksum(src, dst));

        let (router, solicited, override_) = flags;
        let advertisement = NeighbourAdvertisement { router, solicited, override_, target, target_mac: mac };
        advertisement.emit(&mut buffer, src, dst);
        let packet = Icmpv6Packet::new_checked(&buffer).unwrap();
        prop_assert_eq!(NeighbourAdvertisement::parse(&packet), Ok(advertisement));
        prop_assert_eq!(advertisement.validate(&packet, 255, src, dst), Ok(()));
    }

    /// The gateway's own packets, outer IPv4: etherparse finds in them what was put in.
    #[test]
    fn vxlan_over_ipv4(
        link in (mac(), mac()),
        outer in ipv4_repr(),
        src_port: u16,
        vni in 1..=Vni::MAX,
        inner in payload(),
    ) {
        let vni = Vni::new(vni).unwrap();
        let datagram = vxlan_datagram(vni, &inner);
        let ip = Ipv4Repr { protocol: IpProtocol::Udp, payload_len: datagram.len() as u16, ..outer };
        let mut frame = vec![0xa5; ethernet::HEADER_LEN + ipv4::HEADER_LEN];
        EthernetRepr { dst: link.0, src: link.1, ethertype: EtherType::Ipv4 }.emit(&mut frame);
        ip.emit(&mut frame[ethernet::HEADER_LEN..]);
        frame.extend(datagram);
        let repr = UdpRepr { src_port, dst_port: vxlan::UDP_PORT };
        repr.emit_v4(&mut frame[ethernet::HEADER_LEN + ipv4::HEADER_LEN..], ip.src, ip.dst);

        let found = etherparse::PacketHeaders::from_ethernet_slice(&frame).unwrap();
        let Some(etherparse::NetHeaders::Ipv4(header, _)) = found.net else { panic!("{found:?}") };
        prop_assert_eq!(header.header_checksum, header.calc_header_checksum());
        prop_assert_eq!((header.source, header.destination), (ip.src.octets(), ip.dst.octets()));
        let Some(etherparse::TransportHeader::Udp(header_udp)) = found.transport else { panic!("no UDP") };
        prop_assert_eq!((header_udp.source_port, header_udp.destination_port), (src_port, vxlan::UDP_PORT));
        let payload = found.payload.slice();
        prop_assert_eq!(Ok(header_udp.checksum), header_udp.calc_checksum_ipv4(&header, payload));
        assert_vxlan(payload, vni, &inner)?;
    }

    /// The same over IPv6.
    #[test]
    fn vxlan_over_ipv6(
        link in (mac(), mac()),
        outer in ipv6_repr(),
        src_port: u16,
        vni in 1..=Vni::MAX,
        inner in payload(),
    ) {
        let vni = Vni::new(vni).unwrap();
        let datagram = vxlan_datagram(vni, &inner);
        let ip = Ipv6Repr { next_header: IpProtocol::Udp, payload_len: datagram.len() as u16, ..outer };
        let mut frame = vec![0xa5; ethernet::HEADER_LEN + ipv6::HEADER_LEN];
        EthernetRepr { dst: link.0, src: link.1, ethertype: EtherType::Ipv6 }.emit(&mut frame);
        ip.emit(&mut frame[ethernet::HEADER_LEN..]);
        frame.extend(datagram);
        let repr = UdpRepr { src_port, dst_port: vxlan::UDP_PORT };
        repr.emit_v6(&mut frame[ethernet::HEADER_LEN + ipv6::HEADER_LEN..], ip.src, ip.dst);

        let found = etherparse::PacketHeaders::from_ethernet_slice(&frame).unwrap();
        let Some(etherparse::NetHeaders::Ipv6(header, _)) = found.net else { panic!("{found:?}") };
        prop_assert_eq!((header.source_addr(), header.destination_addr()), (ip.src, ip.dst));
        prop_assert_eq!(header.flow_label.value(), ip.flow_label);
        let Some(etherparse::TransportHeader::Udp(header_udp)) = found.transport else { panic!("no UDP") };
        let payload = found.payload.slice();
        prop_assert_eq!(Ok(header_udp.checksum), header_udp.calc_checksum_ipv6(&header, payload));
        assert_vxlan(payload, vni, &inner)?;
        let parsed = UdpPacket::new_checked(&frame[ethernet::HEADER_LEN + ipv6::HEADER_LEN..]);
        prop_assert_eq!(parsed.map(|packet| UdpRepr::parse(&packet)), Ok(repr));
    }
}

/// Room for a UDP header, a VXLAN header, and `inner`.
fn vxlan_datagram(vni: Vni, inner: &[u8]) -> Vec<u8> {
    let mut datagram = vec![0xa5; udp::HEADER_LEN + vxlan::HEADER_LEN];
    VxlanRepr { vni }.emit(&mut datagram[udp::HEADER_LEN..]);
    datagram.extend_from_slice(inner);
    datagram
}

fn assert_vxlan(payload: &[u8], vni: Vni, inner: &[u8]) -> Result<(), TestCaseError> {
    let packet = VxlanPacket::new_checked(payload).unwrap();
    prop_assert_eq!(VxlanRepr::parse(&packet), Ok(VxlanRepr { vni }));
    prop_assert_eq!(packet.payload(), inner);
    prop_assert_eq!(&payload[..8], &[&[8, 0, 0, 0][..], &(vni.value() << 8).to_be_bytes()].concat()[..]);
    Ok(())
}
