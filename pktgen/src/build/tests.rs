//! Frames are judged by etherparse, which shares no code with the builder.

use etherparse::{LaxPacketHeaders, LinkExtHeader, NetHeaders, TransportHeader};
use proptest::prelude::*;

use super::*;
use crate::profile::Profile;

const ETHERNET: &str =
    "ethernet = { src = \"02:00:00:00:01:00-02:00:00:00:01:ff\", dst = \"02:00:00:00:00:fe\" }\n";
const IPV4: &str = "ipv4 = { src = \"10.0.0.10-10.0.3.9\", dst = { from = \"192.0.2.1\", to = \"192.0.2.9\", order = \
                    \"random\" }, ttl = \"1-9\", dscp = \"0-63\", id = \"0-65535\" }\n";
const IPV6: &str = "ipv6 = { src = \"fd00::10-fd00::ffff\", dst = { from = \"2001:db8::1\", to = \"2001:db8::9\", \
                    order = \"random\" }, hop-limit = \"1-9\", dscp = \"0-63\", flow-label = \"0-1048575\" }\n";
const UDP: &str = "udp = { src = \"1024-65535\", dst = [7, 9] }\n";
const TCP: &str = "tcp = { src = \"1-65535\", sequence = { from = 0, to = 4294967295, step = 65537 }, flags = [\"syn\"] }\n";
const ICMP: &str = "icmp = { id = 7, sequence = \"0-65535\" }\n";
const ARP: &str = "arp = { sender-mac = \"02:00:00:00:01:00\", sender = \"10.0.0.1\", target = \"10.0.0.2-10.0.255.254\" }\n";
const TAG: &str = "vlan = { id = \"1-4094\", priority = \"0-7\" }\n";
const TAGS: &str = "vlan = [{ id = 5 }, { id = \"1-4094\", priority = 3 }]\n";

/// A profile with the headers in `frame`, wrapped into VXLAN behind those of `outer` if there are any.
fn profile(size: &str, frame: &[&str], outer: Option<&[&str]>) -> Profile {
    let mut text = format!("[[stream]]\nsize = {size}\n{}", frame.concat());
    if let Some(outer) = outer {
        text += &format!("[stream.vxlan]\nvni = \"1-16777215\"\n{}", outer.concat());
    }
    Profile::parse("test", &text).unwrap_or_else(|error| panic!("{error}:\n{text}"))
}

/// Checks all that can be checked of a frame, and of the one inside.
pub(super) fn check(frame: &[u8], has_vxlan: bool, has_outer_checksum: bool) {
    let packet = LaxPacketHeaders::from_ethernet(frame).unwrap();
    assert!(packet.stop_err.is_none(), "{:?}", packet.stop_err);
    let payload = packet.payload.slice();
    match (&packet.net, &packet.transport) {
        (Some(NetHeaders::Ipv4(ip, _)), transport) => {
            assert_eq!(ip.header_checksum, ip.calc_header_checksum());
            assert!(ip.dont_fragment);
            match transport {
                Some(TransportHeader::Udp(udp)) if has_vxlan && !has_outer_checksum => {
                    assert_eq!(udp.checksum, 0)
                }
                Some(TransportHeader::Udp(udp)) => {
                    assert_eq!(Ok(udp.checksum), udp.calc_checksum_ipv4(ip, payload))
                }
                Some(TransportHeader::Tcp(tcp)) => {
                    assert_eq!(Ok(tcp.checksum), tcp.calc_checksum_ipv4(ip, payload))
                }
                Some(TransportHeader::Icmpv4(icmp)) => {
                    assert_eq!(icmp.checksum, icmp.icmp_type.calc_checksum(payload));
                }
                Some(other) => panic!("{other:?}"),
                None => assert_eq!(ip.protocol.0, 253),
            }
        }
        (Some(NetHeaders::Ipv6(ip, _)), Some(TransportHeader::Udp(udp)))
            if has_vxlan && !has_outer_checksum =>
        {
            assert_eq!((udp.checksum, ip.next_header.0), (0, 17));
        }
        (Some(NetHeaders::Ipv6(ip, _)), transport) => match transport {
            Some(TransportHeader::Udp(udp)) => {
                assert_eq!(Ok(udp.checksum), udp.calc_checksum_ipv6(ip, payload))
            }
            Some(TransportHeader::Tcp(tcp)) => {
                assert_eq!(Ok(tcp.checksum), tcp.calc_checksum_ipv6(ip, payload))
            }
            Some(TransportHeader::Icmpv6(icmp)) => {
                let checksum = icmp.icmp_type.calc_checksum(ip.source, ip.destination, payload);
                assert_eq!(Ok(icmp.checksum), checksum);
            }
            Some(other) => panic!("{other:?}"),
            None => assert_eq!(ip.next_header.0, 253),
        },
        (Some(NetHeaders::Arp(_)), None) => {}
        other => panic!("{other:?}"),
    }
    if has_vxlan {
        assert_eq!(payload[0], 8);
        check(&payload[8..], false, false);
    }
}

/// Writes frames of all kinds of sequence numbers over old bytes, and checks each, its stamp and its overlay.
fn check_profile(profile: &Profile, sequences: impl IntoIterator<Item = u64> + Clone) {
    for stream in &profile.streams {
        let mut builder = FrameBuilder::new(stream);
        let has_vxlan = stream.vxlan.is_some();
        let has_outer_checksum = stream.vxlan.as_ref().is_some_and(|vxlan| vxlan.checksum);
        for sequence in sequences.clone() {
            let mut buffer = [0xa5; 4096];
            let len = builder.write(sequence, 0x0102_0304_0506_0708, &mut buffer);
            assert_eq!(len, stream.len(sequence));
            let frame = &buffer[..len];
            check(frame, has_vxlan, has_outer_checksum);
            let stamp =
                Stamp { stream: stream.number, sequence: sequence as u32, time: 0x0102_0304_0506_0708 };
            assert_eq!(Stamp::read(frame), Some(stamp));
            if let Some(vni) = stream.vni(sequence) {
                let at = stream.outer_len() - 4;
                assert_eq!(frame[at..at + 4], (vni.value() << 8).to_be_bytes());
            }
            assert!(buffer[len..].iter().all(|&byte| byte == 0xa5), "nothing behind the frame is touched");
        }
    }
}

const SEQUENCES: [u64; 9] = [0, 1, 2, 3, 100, 101, 65_535, 65_536, u32::MAX as u64 + 5];

#[test]
fn all_layers_alone_and_in_vxlan() {
    let outers: [&[&str]; 6] = [
        &[ETHERNET, IPV4],
        &[ETHERNET, IPV6],
        &[ETHERNET, TAG, IPV4],
        &[ETHERNET, TAGS, IPV6],
        &[ETHERNET, IPV4, "udp = { src = \"49152-65535\", checksum = true }\n"],
        &[ETHERNET, IPV6, "udp = { src = \"49152-65535\", checksum = false }\n"],
    ];
    for network in [IPV4, IPV6] {
        for transport in ["", UDP, TCP, ICMP] {
            for tags in ["", TAG, TAGS] {
                let frame = [ETHERNET, tags, network, transport];
                check_profile(&profile("\"126-131\"", &frame, None), SEQUENCES);
                for outer in outers {
                    check_profile(&profile("\"126-131\"", &frame, Some(outer)), SEQUENCES);
                }
            }
        }
    }
    for outer in outers {
        check_profile(&profile("64", &[ETHERNET, ARP], Some(outer)), SEQUENCES);
    }
    check_profile(&profile("64", &[ETHERNET, ARP], None), SEQUENCES);
}

#[test]
fn the_smallest_frames() {
    check_profile(&profile("62", &[ETHERNET, IPV4, UDP], Some(&[ETHERNET, IPV4])), SEQUENCES);
    check_profile(&profile("82", &[ETHERNET, IPV6, UDP], Some(&[ETHERNET, IPV6])), SEQUENCES);
    check_profile(&profile("82", &[ETHERNET, IPV6, UDP], None), SEQUENCES);
}

#[test]
fn values_are_where_they_belong() {
    let profile = profile("66", &[ETHERNET, TAG, IPV4, UDP], Some(&[ETHERNET, IPV6]));
    let stream = &profile.streams[0];
    let mut buffer = [0; 256];
    let len = FrameBuilder::new(stream).write(70_000, 0, &mut buffer);
    let outer = LaxPacketHeaders::from_ethernet(&buffer[..len]).unwrap();
    let Some(NetHeaders::Ipv6(ip, _)) = &outer.net else { panic!() };
    assert_eq!((ip.hop_limit, u32::from(ip.flow_label)), ((70_000 % 9 + 1) as u8, 70_000));
    assert_eq!(ip.traffic_class >> 2, (70_000 % 64) as u8);
    assert_eq!(outer.payload.slice()[4..8], (70_001_u32 << 8).to_be_bytes());
    let inner = LaxPacketHeaders::from_ethernet(&outer.payload.slice()[8..]).unwrap();
    assert_eq!(inner.link.unwrap().ethernet2().unwrap().source, [2, 0, 0, 0, 1, (70_000 % 256) as u8]);
    let LinkExtHeader::Vlan(vlan) = &inner.link_exts[0] else { panic!() };
    assert_eq!(vlan.vlan_id.value(), (70_000 % 4094 + 1) as u16);
    assert_eq!(vlan.pcp.value(), (70_000 % 8) as u8);
    let Some(NetHeaders::Ipv4(ip, _)) = &inner.net else { panic!() };
    assert_eq!(ip.source, std::net::Ipv4Addr::from_bits(0x0a00_000a + 70_000 % 768).octets());
    assert_eq!((ip.time_to_live, ip.identification), ((70_000 % 9 + 1) as u8, (70_000 % 65_536) as u16));
    assert_eq!(ip.dscp.value(), (70_000 % 64) as u8);
    let Some(TransportHeader::Udp(udp)) = &inner.transport else { panic!() };
    assert_eq!((udp.source_port, udp.destination_port), ((1024 + 70_000 % 64_512) as u16, 7));
}

#[test]
fn fields_of_the_payload_at_any_place() {
    for at in 0..3 {
        for (bytes, to) in [(1, 255_u64), (2, 65_535), (3, 16_777_215), (4, 4_294_967_295)] {
            let payload = format!(
                "payload = {{ fill = 0x5a, field = [{{ at = {at}, bytes = {bytes}, value = {{ from = 1, to = {to}, step = 77 }} \
                 }}, {{ at = {}, bytes = 1, value = \"3-4\" }}] }}\n",
                at + bytes
            );
            for outer in [None, Some(&[ETHERNET, IPV6][..])] {
                let profile = profile("\"80-81\"", &[ETHERNET, IPV4, UDP, &payload], outer);
                check_profile(&profile, SEQUENCES);
                let stream = &profile.streams[0];
                let mut buffer = [0; 256];
                let len = FrameBuilder::new(stream).write(1, 0, &mut buffer);
                let payload = &buffer[stream.outer_len() + 42..len - stamp::LEN];
                let (at, bytes) = (at as usize, bytes as usize);
                assert_eq!(payload[at..at + bytes], 78_u32.to_be_bytes()[4 - bytes..]);
                assert_eq!(payload[at + bytes], 4);
                assert!(payload[..at].iter().chain(&payload[at + bytes + 1..]).all(|&byte| byte == 0x5a));
            }
        }
    }
}

proptest! {
    #[test]
    fn any_profile_is_right_at_any_sequence(
        start: u64, sizes in (100_u16..1400, 0_u16..100), v6: bool, transport in 0..4_usize, tags in 0..3_usize,
        outer in 0..4_usize, fill: u8, lanes in 1_u16..4,
    ) {
        let fill = format!("payload = {{ fill = {fill} }}\n");
        let frame = [
            ETHERNET, ["", TAG, TAGS][tags], if v6 { IPV6 } else { IPV4 }, ["", UDP, TCP, ICMP][transport], &fill,
        ];
        let outers: [Option<&[&str]>; 4] =
            [None, Some(&[ETHERNET, IPV4]), Some(&[ETHERNET, IPV6]), Some(&[ETHERNET, TAG, IPV6])];
        let sizes = format!("\"{}-{}\"", sizes.0, sizes.0 + sizes.1);
        let start = start >> 8;
        check_profile(&profile(&sizes, &frame, outers[outer]).split(lanes).unwrap(), start..start + 20);
    }
}
