use etherparse::{PacketBuilder, VlanId};

use super::*;
use crate::testing::{MACS, V4, damaged, payload, udp, v6, vxlan, written};

const STAMP: Stamp = Stamp { stream: 3, sequence: 0xfedc_ba98, time: 0x0123_4567_89ab };

fn vni(number: u32) -> Option<Vni> {
    Vni::new(number)
}

#[track_caller]
fn expect(frame: &[u8], overlay: Option<Vni>, check: Check) {
    assert_eq!(find(frame), Found::Test { stamp: STAMP, overlay, check });
}

/// Frames with a stamp, and whether a checksum covers it.
fn stamped() -> Vec<(&'static str, Vec<u8>, Option<Vni>, Check)> {
    let ethernet = || PacketBuilder::ethernet2(MACS[0], MACS[1]);
    let [src6, dst6] = v6();
    let body = payload(STAMP);
    let mut no_checksum = udp(true, 9, &body);
    no_checksum[40..42].fill(0);
    let icmp4 =
        written(|frame| ethernet().ipv4(V4[0], V4[1], 64).icmpv4_echo_request(1, 2).write(frame, &body));
    let icmp6 = written(|frame| ethernet().ipv6(src6, dst6, 64).icmpv6_echo_reply(1, 2).write(frame, &body));
    let tcp4 = written(|frame| ethernet().ipv4(V4[0], V4[1], 64).tcp(1, 2, 3, 4).write(frame, &body));
    let tcp6 = written(|frame| ethernet().ipv6(src6, dst6, 64).tcp(1, 2, 3, 4).write(frame, &body));
    let in_vlan = written(|frame| {
        let tagged = ethernet().single_vlan(VlanId::try_new(7).unwrap());
        tagged.ipv6(src6, dst6, 64).udp(1, 2).write(frame, &body)
    });
    let in_two = written(|frame| {
        let [outer, inner] = [7, 8].map(|id| VlanId::try_new(id).unwrap());
        ethernet().double_vlan(outer, inner).ipv4(V4[0], V4[1], 64).udp(1, 2).write(frame, &body)
    });
    let raw = [&MACS[1][..], &MACS[0], &[0x88, 0xb5], &body].concat();
    let arp = [&[0xff; 6][..], &MACS[0], &[8, 6], &[1; 28], &body].concat();
    let padded = [&udp(true, 9, &body)[..], &[0; 9]].concat();
    let [v4, v6] = [true, false].map(|v4| udp(v4, 9, &body));
    let mut zero_outer = vxlan(false, 5, &v4);
    zero_outer[60..62].fill(0);
    let mut not_vxlan = udp(true, 4789, &[&[0; 8], &body[..]].concat());
    not_vxlan[40..42].fill(0);
    vec![
        ("UDP over IPv4", v4.clone(), None, Check::Right),
        ("UDP over IPv6", v6.clone(), None, Check::Right),
        ("UDP without a checksum", no_checksum.clone(), None, Check::Absent),
        ("ICMP", icmp4, None, Check::Right),
        ("ICMPv6", icmp6, None, Check::Right),
        ("TCP over IPv4", tcp4, None, Check::Right),
        ("TCP over IPv6", tcp6, None, Check::Right),
        ("a VLAN", in_vlan, None, Check::Right),
        ("two VLANs", in_two, None, Check::Right),
        ("no IP", raw, None, Check::Absent),
        ("ARP", arp, None, Check::Absent),
        ("padding", padded, None, Check::Right),
        ("VXLAN over IPv4, IPv6 inside", vxlan(true, 0xff_ffff, &v6), vni(0xff_ffff), Check::Right),
        ("VXLAN over IPv6, IPv4 inside", vxlan(false, 1, &v4), vni(1), Check::Right),
        ("VXLAN over IPv6 without a checksum", zero_outer, vni(5), Check::Right),
        ("VXLAN, no checksum inside", vxlan(true, 9, &no_checksum), vni(9), Check::Absent),
        ("VXLAN in VXLAN", vxlan(true, 1, &vxlan(false, 2, &v4)), vni(2), Check::Right),
        ("port of VXLAN, and no VXLAN", not_vxlan, None, Check::Absent),
    ]
}

#[test]
fn the_stamp_is_found_behind_all_headers() {
    for (name, frame, overlay, check) in stamped() {
        eprintln!("{name}");
        expect(&frame, overlay, check);
    }
}

#[test]
fn a_wrong_checksum_is_seen_wherever_it_is() {
    for (name, frame, overlay, check) in stamped() {
        if check == Check::Absent || name == "padding" {
            continue;
        }
        eprintln!("{name}");
        // Before the stamp.
        expect(&damaged(frame.clone(), 17), overlay, Check::Wrong);
        // In the stamp's time: it is another stamp then.
        let Found::Test { stamp, check, .. } = find(&damaged(frame.clone(), 1)) else { panic!("{name}") };
        assert_ne!(stamp, STAMP);
        assert_eq!(check, Check::Wrong);
        // In its magic.
        assert_eq!(find(&damaged(frame, 16)), Found::Other(Other::Damaged));
    }
    // The header checksum of IPv4 inside, by its TTL: the outer datagram has none.
    let mut frame = vxlan(true, 1, &udp(true, 9, &payload(STAMP)));
    frame[40..42].fill(0);
    expect(&damaged(frame, 12 + 8 + 7 + 16), vni(1), Check::Wrong);
}

#[test]
fn a_quoted_stamp_is_none() {
    let whole = udp(true, 9, &payload(STAMP));
    let quoted = &whole[14..];
    let unreachable =
        etherparse::Icmpv4Type::TimeExceeded(etherparse::icmpv4::TimeExceededCode::TtlExceededInTransit);
    let error = written(|frame| {
        PacketBuilder::ethernet2(MACS[0], MACS[1])
            .ipv4(V4[0], V4[1], 64)
            .icmpv4(unreachable)
            .write(frame, quoted)
    });
    assert!(Stamp::read(&error).is_some(), "it ends with the stamp of the packet that it quotes");
    assert_eq!(find(&error), Found::Other(Other::IcmpError));
    let [src, dst] = v6();
    let too_big = etherparse::Icmpv6Type::PacketTooBig { mtu: 1280 };
    let error = written(|frame| {
        PacketBuilder::ethernet2(MACS[0], MACS[1]).ipv6(src, dst, 64).icmpv6(too_big).write(frame, quoted)
    });
    assert_eq!(find(&error), Found::Other(Other::IcmpError));
    assert_eq!(find(&vxlan(true, 7, &error)), Found::Other(Other::IcmpError));
}

#[test]
fn other_traffic_is_told_apart() {
    let arp = [&[0xff; 6][..], &MACS[0], &[8, 6], &[1; 46]].concat();
    assert_eq!(find(&arp), Found::Other(Other::Arp));
    assert_eq!(find(&vxlan(true, 7, &arp)), Found::Other(Other::Arp));
    assert_eq!(find(&udp(true, 9, &[0; 30])), Found::Other(Other::Unstamped));
    assert_eq!(find(&[0; 13]), Found::Other(Other::Malformed));
    assert_eq!(find(&udp(true, 9, &[])[..30]), Found::Other(Other::Malformed));
}

#[test]
fn tunnels_in_tunnels_end_somewhere() {
    let mut frame = udp(true, 9, &payload(STAMP));
    for _ in 0..5 {
        frame = vxlan(true, 7, &frame);
    }
    // As the payload of the last that was opened.
    expect(&frame, vni(7), Check::Right);
}
