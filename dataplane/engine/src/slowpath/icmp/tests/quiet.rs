//! What nothing is said about, whatever the bytes.

use super::*;

#[test]
fn nothing_is_said_about_errors() {
    let bench = Bench::new();
    let about = |family: usize, kind: u8, rest: &[u8]| {
        let message = icmp(family, STATION[family], OUTSIDE[family], kind, 0, rest);
        let frame = ip_frame(FROM_STATION, STATION[family], OUTSIDE[family], [1, 58][family], 1, &message);
        bench.time_exceeded(&frame).is_some()
    };
    for kind in [3, 4, 5, 11, 12] {
        assert!(!about(0, kind, &[0; 40]) && !about(0, kind, &[]), "ICMP type {kind}");
    }
    for kind in [0, 1, 2, 3, 4, 100, 127, 137] {
        assert!(!about(1, kind, &[0; 60]) && !about(1, kind, &[]), "ICMPv6 type {kind}");
    }
    assert_eq!(bench.suppressed(), 26);
    for (family, kind) in [(0, 0), (0, 8), (0, 13), (1, 128), (1, 129), (1, 135)] {
        assert!(about(family, kind, &[0; 4]), "type {kind} is no error");
    }
    // Cut before the type; hidden behind extension headers; and what cannot be known.
    let chain = |first, payload: &[u8]| ip_frame(FROM_STATION, STATION[1], OUTSIDE[1], first, 1, payload);
    let quiet = [
        ip_frame(FROM_STATION, STATION[0], OUTSIDE[0], 1, 1, &[]),
        chain(58, &[]),
        chain(60, &[58, 0, 1, 4, 0, 0, 0, 0, 1, 0, 0, 0]),
        chain(60, &[44, 0, 1, 4, 0, 0, 0, 0, 58, 0, 0, 1, 0, 0, 0, 9, 137, 0, 0, 0]),
        chain(44, &[58, 0, 1, 0, 0, 0, 0, 9, 128, 0, 0, 0]),
        chain(60, &[58, 9, 1, 4, 0, 0, 0, 0]),
        chain(60, &[60, 0, 1, 4, 0, 0, 0, 0].repeat(9)),
    ];
    for frame in quiet {
        assert!(bench.time_exceeded(&frame).is_none(), "{frame:x?}");
    }
    let heard = [
        chain(60, &[58, 0, 1, 4, 0, 0, 0, 0, 128, 0, 0, 0]),
        chain(44, &[17, 0, 1, 0, 0, 0, 0, 9, 1, 2, 3, 4]),
        chain(59, &[]),
        chain(50, &[0; 8]),
    ];
    for frame in heard {
        assert!(bench.time_exceeded(&frame).is_some(), "{frame:x?}");
    }
}

#[test]
fn nothing_is_said_about_later_fragments_of_ipv4() {
    let bench = Bench::new();
    let about = |flags_offset: u16| {
        let mut frame = Udp::from_station(STATION[0], OUTSIDE[0]).ttl(1).frame();
        frame[20..22].copy_from_slice(&flags_offset.to_be_bytes());
        repair(&mut frame);
        bench.time_exceeded(&frame).is_some()
    };
    assert!(about(0) && about(0x4000) && about(0x2000));
    assert!(!about(1) && !about(0x2001) && !about(0x1fff));
    assert_eq!(bench.suppressed(), 3);
}

#[test]
fn nothing_is_said_to_many_or_about_what_was_for_many() {
    let bench = Bench::new();
    let about = |source: &str, destination: &str| {
        bench.time_exceeded(&Udp::from_station(source, destination).ttl(1).frame()).is_some()
    };
    let sources = [
        vec![
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "10.0.1.0",
            "10.0.1.255",
        ],
        vec!["::", "::1", "ff02::1", "ff0e::1", "::ffff:10.0.1.10", "fd00:0:0:1::"],
    ];
    let destinations = [
        vec!["255.255.255.255", "224.0.0.251", "239.1.1.1", "10.0.1.255", "10.0.2.255", "10.0.2.0"],
        vec!["ff02::1", "ff0e::1", "ff05::2"],
    ];
    for family in 0..2 {
        assert!(about(STATION[family], OUTSIDE[family]));
        for source in &sources[family] {
            assert!(!about(source, OUTSIDE[family]), "from {source}");
        }
        for destination in &destinations[family] {
            assert!(!about(STATION[family], destination), "to {destination}");
        }
        for mac in [MacAddr::BROADCAST, MacAddr([1, 0, 0x5e, 0, 0, 1])] {
            let udp = Udp::new((STATION_MAC, mac), STATION[family], OUTSIDE[family]).ttl(1);
            assert!(bench.time_exceeded(&udp.frame()).is_none(), "to {mac:?}");
        }
    }
    assert_eq!(bench.suppressed(), 8 + 6 + 6 + 3 + 4);
    assert_eq!(bench.tally.get(Deed::ErrorSent), 2);
}

#[test]
fn a_packet_cut_anywhere_is_survived() {
    let bench = Bench::new();
    for family in 0..2 {
        let frame = echo(FROM_STATION, STATION[family], OUTSIDE[family], 1);
        for len in 14..frame.len() {
            assert!(bench.time_exceeded(&frame[..len]).is_none(), "{len} bytes");
        }
    }
}

/// A whole packet with a few bytes changed and its checksum repaired, or noise.
fn any_packet() -> impl Strategy<Value = Vec<u8>> {
    let seeds = (0..2_usize, 0..2_usize, 0..4_u8, any::<u8>()).prop_map(|(family, outside, upper, kind)| {
        let destination = if outside == 1 { OUTSIDE[family] } else { ROUTER[family] };
        let source = STATION[family];
        let message = icmp(family, source, destination, kind, 0, &[kind; 40]);
        match upper {
            0 => Udp::from_station(source, destination).ttl(1).frame(),
            1 if family == 1 => {
                let chain = [&[58, 0, 1, 4, 0, 0, 0, 0], &message[..]].concat();
                ip_frame(FROM_STATION, source, destination, 60, 1, &chain)
            }
            2 => echo(FROM_STATION, source, destination, 1),
            _ => ip_frame(FROM_STATION, source, destination, [1, 58][family], 1, &message),
        }
    });
    let changes = proptest::collection::vec((14..80_usize, any::<u8>()), 0..4);
    let changed = (seeds, changes, any::<bool>()).prop_map(|(mut frame, changes, right)| {
        for (at, byte) in changes {
            if let Some(place) = frame.get_mut(at) {
                *place = byte;
            }
        }
        if right {
            repair(&mut frame);
        }
        frame.split_off(14)
    });
    prop_oneof![4 => changed, 1 => proptest::collection::vec(any::<u8>(), 0..200)]
}

/// Whether an independent decoder sees an error or a redirect in this packet.
fn tells_of_an_error(packet: &[u8]) -> bool {
    let Ok(sliced) = etherparse::SlicedPacket::from_ip(packet) else { return false };
    // Each protocol in its own family: in the other it is not understood.
    match (packet[0] >> 4, sliced.transport) {
        (4, Some(etherparse::TransportSlice::Icmpv4(icmp))) => matches!(icmp.type_u8(), 3 | 4 | 5 | 11 | 12),
        (6, Some(etherparse::TransportSlice::Icmpv6(icmp))) => matches!(icmp.type_u8(), 0..=127 | 137),
        _ => false,
    }
}

thread_local! {
    // Made once: the tables take longer than the question.
    static BENCH: Bench = Bench::new();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    /// Any bytes: no panic, one answer at most, sound, small and back where they came from; and never about an error.
    #[test]
    fn any_packet_is_survived(
        packet in any_packet(),
        v6 in any::<bool>(),
        from_station in any::<bool>(),
        by_packet in any::<bool>(),
        reason in proptest::sample::select(Reason::ALL),
        mtu in any::<u16>(),
    ) {
        let is_v6 = if by_packet { packet.first().is_some_and(|first| first >> 4 == 6) } else { v6 };
        let origin = if from_station {
            Origin::Station { overlay: OverlayIndex(1), endpoint: address(ENDPOINT_V6) }
        } else {
            Origin::Outer
        };
        let received = Received {
            origin,
            port: if from_station { UNDERLAY } else { UPLINK },
            overlay: OverlayIndex(0),
            sender: STATION_MAC,
            receiver: ROUTER_MAC,
            ethertype: if is_v6 { EtherType::Ipv6 } else { EtherType::Ipv4 },
            packet: &packet,
        };
        let answers = BENCH.with(|bench| {
            let tables = bench.writer.current();
            [
                answer(tables, &received, &bench.tally),
                error(tables, &received, reason, mtu, &bench.tally),
                address_unreachable(tables, &received, &bench.tally),
            ]
        });
        for answer in answers.into_iter().flatten() {
            prop_assert!(!tells_of_an_error(&packet));
            let payload = match answer {
                Output::Station { overlay: OverlayIndex(1), endpoint, mac: STATION_MAC, payload, .. } => {
                    prop_assert!(from_station && endpoint == address(ENDPOINT_V6));
                    payload
                }
                Output::Outer(payload) => {
                    prop_assert!(!from_station);
                    payload
                }
                other => panic!("somewhere else: {other:?}"),
            };
            decode(&payload);
            prop_assert!(payload.len() <= packet.len() + 48 && payload.len() <= 1280);
        }
    }
}
