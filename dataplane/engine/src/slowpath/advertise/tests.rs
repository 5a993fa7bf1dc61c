//! What is advertised, to whom and when.

use std::sync::Arc;

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use wire::{MacAddr, Vni};

use super::*;
use crate::api::{Config, Group, OverlayPolicy, Responsibility, Subnet};
use crate::counters::Reason;
use crate::tables::Writer;
use crate::testing::packets::{ip_frame, vxlan};
use crate::testing::*;

const ALL_NODES_MAC: MacAddr = MacAddr([0x33, 0x33, 0, 0, 0, 1]);
const OVERLAY: OverlayIndex = OverlayIndex(0);

fn policy(interval: u64) -> Arc<OverlayPolicy> {
    let seconds = Duration::from_secs;
    let advertisement = RouterAdvertisement {
        managed: true,
        other: true,
        autonomous: true,
        router_lifetime: seconds(1800),
        preferred_lifetime: seconds(14_400),
        valid_lifetime: seconds(86_400),
        interval: seconds(interval),
        dns_servers: vec!["2001:db8::53".parse().unwrap()],
        dns_search: vec!["example.net".to_owned()],
    };
    Arc::new(OverlayPolicy { advertisement: Some(advertisement), ..OverlayPolicy::default() })
}

/// The example gateway, which advertises in its first overlay.
fn advertising() -> Config {
    let mut config = config();
    config.overlays[0].policy = policy(600);
    config
}

fn solicitation(source: &str, mac: Option<MacAddr>) -> Vec<u8> {
    solicitation_with(source, mac, 255)
}

fn solicitation_with(source: &str, mac: Option<MacAddr>, hop_limit: u8) -> Vec<u8> {
    let message = RouterSolicitation { source_mac: mac };
    let mut bytes = vec![0; message.buffer_len()];
    message.emit(&mut bytes, source.parse().unwrap(), ndp::ALL_ROUTERS);
    let macs = (STATION_MAC, ndp::multicast_mac(ndp::ALL_ROUTERS));
    ip_frame(macs, source, "ff02::2", 58, hop_limit, &bytes)
}

/// A frame of the station in the first overlay, as the slow path sees it.
fn received(frame: &[u8]) -> Received<'_> {
    Received {
        origin: Origin::Station { overlay: OVERLAY, endpoint: ENDPOINT_V4.parse().unwrap() },
        port: UNDERLAY,
        overlay: OVERLAY,
        sender: STATION_MAC,
        receiver: ndp::multicast_mac(ndp::ALL_ROUTERS),
        ethertype: EtherType::Ipv6,
        packet: &frame[14..],
    }
}

/// The ICMPv6 message of an advertisement, but for its checksum, which is verified.
#[track_caller]
fn message_of(packet: &[u8], destination: &str) -> Vec<u8> {
    let sliced = SlicedPacket::from_ip(packet).unwrap();
    let Some(NetSlice::Ipv6(ip)) = &sliced.net else { panic!("no IPv6") };
    let header = ip.header();
    assert_eq!(header.source_addr(), ROUTER_MAC.link_local());
    assert_eq!(header.destination_addr().to_string(), destination);
    assert_eq!(header.hop_limit(), 255);
    let Some(TransportSlice::Icmpv6(icmp)) = &sliced.transport else { panic!("no ICMPv6") };
    assert!(icmp.is_checksum_valid(header.source(), header.destination()));
    let mut message = icmp.slice().to_vec();
    message[2..4].fill(0);
    message
}

#[rustfmt::skip]
fn golden() -> Vec<u8> {
    [
        // Type, code, checksum; hop limit, M and O, lifetime; reachable time, retransmission timer.
        &[134, 0, 0, 0, 64, 0xc0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0][..],
        // The router's MAC address.
        &[1, 1, 2, 0, 0x5e, 0, 0, 1],
        // MTU 1500.
        &[5, 1, 0, 0, 0, 0, 0x05, 0xdc],
        // fd00:0:0:1::/64, on-link and autonomous, valid for a day, preferred for four hours.
        &[3, 4, 64, 0xc0, 0, 1, 0x51, 0x80, 0, 0, 0x38, 0x40, 0, 0, 0, 0],
        &[0xfd, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0],
        // A name server for three intervals.
        &[25, 3, 0, 0, 0, 0, 0x07, 0x08, 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x53],
        // A domain, alike.
        &[31, 3, 0, 0, 0, 0, 0x07, 0x08],
        b"\x07example\x03net\0\0\0\0",
    ]
    .concat()
}

#[test]
fn who_asks_is_answered_alone() {
    let mut gateway = Harness::with(advertising());
    gateway.apply(updates());
    for (source, mac) in [("fe80::10", Some(STATION_MAC)), ("fe80::10", None), ("fd00:0:0:1::10", None)] {
        let out = gateway.send(UNDERLAY, &vxlan(ENDPOINT_V6, 100, &solicitation(source, mac)));
        let [(UNDERLAY, frame)] = &out[..] else { panic!("one answer: {out:?}") };
        // Outer Ethernet, IPv6, UDP and VXLAN.
        let inner = &frame[14 + 40 + 8 + 8..];
        assert_eq!((&inner[..6], &inner[6..12]), (&STATION_MAC.0[..], &ROUTER_MAC.0[..]));
        assert_eq!(message_of(&inner[14..], source), golden());
    }
    assert_eq!(gateway.done(Deed::AdvertisementSent), 3);
}

#[test]
fn all_endpoints_hear_what_nobody_asked_for() {
    let mut gateway = Harness::with(advertising());
    gateway.apply(updates());
    let due = gateway.slow_path.advertiser.deadline().unwrap();
    assert_eq!(gateway.slow_path.time_to_sleep(due), Duration::ZERO);
    gateway.slow_path.poll(due);
    let out = gateway.sent();
    // Outer Ethernet, IP, UDP and VXLAN.
    for (nth, outer) in [14 + 20 + 8 + 8, 14 + 40 + 8 + 8].into_iter().enumerate() {
        let (UNDERLAY, frame) = &out[nth] else { panic!("{out:?}") };
        let inner = &frame[outer..];
        assert_eq!((&inner[..6], &inner[6..12]), (&ALL_NODES_MAC.0[..], &ROUTER_MAC.0[..]));
        assert_eq!(message_of(&inner[14..], "ff02::1"), golden());
    }
    assert_eq!((out.len(), gateway.done(Deed::AdvertisementSent)), (2, 1));
}

#[test]
fn who_may_not_ask_gets_no_answer() {
    let mut gateway = Harness::with(advertising());
    gateway.apply(updates());
    let mut checksum = solicitation("fe80::10", None);
    checksum[14 + 40 + 2] ^= 1;
    let refused = [
        ("through a router", solicitation_with("fe80::10", None, 254)),
        ("the checksum", checksum),
        ("a MAC without an address", solicitation("::", Some(STATION_MAC))),
        ("another's MAC", solicitation("fe80::10", Some(OTHER_STATION_MAC))),
        ("another overlay's address", solicitation("fd00:0:0:2::10", None)),
        (
            "truncated",
            ip_frame((STATION_MAC, ALL_NODES_MAC), "fe80::10", "ff02::2", 58, 255, &[133, 0, 0, 0, 0]),
        ),
    ];
    for (what, frame) in &refused {
        assert!(gateway.send(UNDERLAY, &vxlan(ENDPOINT_V4, 100, frame)).is_empty(), "{what}");
    }
    assert_eq!(gateway.done(Deed::BadNeighbour), refused.len() as u64);
    let router = ROUTER_MAC.link_local().to_string();
    for source in [&router[..], "fd00:0:0:1::1"] {
        assert!(gateway.send(UNDERLAY, &vxlan(ENDPOINT_V4, 100, &solicitation(source, None))).is_empty());
    }
    assert_eq!(gateway.done(Deed::RouterAddressClaimed), 2);
    assert_eq!(gateway.count(Reason::Ndp), refused.len() as u64 + 2);
    assert_eq!(gateway.done(Deed::AdvertisementSent), 0);
}

#[test]
fn stations_are_no_routers() {
    let mut gateway = Harness::with(advertising());
    gateway.apply(updates());
    let deeds = [(134, Deed::RogueAdvertisement), (137, Deed::Redirect)];
    for (type_, deed) in deeds {
        let message = [[type_, 0, 0, 0], [0; 4], [0; 4], [0; 4]].concat();
        let frame = ip_frame((STATION_MAC, ALL_NODES_MAC), "fe80::10", "ff02::1", 58, 255, &message);
        assert!(gateway.send(UNDERLAY, &vxlan(ENDPOINT_V4, 100, &frame)).is_empty());
        assert_eq!(gateway.done(deed), 1);
    }
}

#[test]
fn nothing_is_advertised_where_it_is_not_wanted() {
    let mut config = advertising();
    // Another's, one without IPv6, and one whose policy has none.
    let mut another = config.overlays[0].clone();
    another.vni = Vni::new(300).unwrap();
    another.owner = false;
    another.own_mac = Some(MacAddr([2, 0, 0, 0, 3, 3]));
    let mut without_v6 = config.overlays[0].clone();
    without_v6.vni = Vni::new(400).unwrap();
    without_v6.subnets.retain(|subnet| subnet.router.is_ipv4());
    config.overlays.extend([another, without_v6]);
    let overlays = config.overlays.clone();
    let (writer, _) = Writer::new(config, 1).unwrap();
    let mut advertiser = Advertiser::new(&writer.current().overlays, 1, Instant::now());
    assert!(!advertiser.overlays.contains_key(&OverlayIndex(3)), "one without IPv6");
    assert!(!advertiser.overlays.contains_key(&OverlayIndex(1)), "nor one without the wish");
    let (tally, frame) = (Tally::new(), solicitation("fe80::10", None));
    for index in 0..overlays.len() as u32 {
        let mut received = received(&frame);
        let (overlay, endpoint) = (OverlayIndex(index), ENDPOINT_V4.parse().unwrap());
        received.origin = Origin::Station { overlay, endpoint };
        let answer = advertiser.answer(writer.current(), &received, &tally, Instant::now());
        assert_eq!(answer.is_some(), overlay == OVERLAY);
    }
}

/// An overlay is advertised in by its owner of the moment, and nothing is said on a change: the router lives on.
#[test]
fn the_owner_advertises() {
    let mut config = advertising();
    config.overlays[0].own_mac = Some(MacAddr([2, 0, 0, 0, 3, 3]));
    let vni = config.overlays[0].vni;
    let (mut writer, _) = Writer::new(config, 1).unwrap();
    let (tally, start) = (Tally::new(), Instant::now());
    let mut advertiser = Advertiser::new(&writer.current().overlays, 1, start);
    let mut now = start;
    for responsibility in
        [Responsibility::Former, Responsibility::Owner, Responsibility::Other, Responsibility::Owner]
    {
        writer.set_responsibility(Group::Overlay(vni), responsibility);
        let is_owner = responsibility == Responsibility::Owner;
        let frame = solicitation("fe80::10", None);
        let answer = advertiser.answer(writer.current(), &received(&frame), &tally, now);
        assert_eq!(answer.is_some(), is_owner);
        let mut sent = 0;
        // Long enough for three at least.
        for _ in 0..1800 {
            sent += advertiser.poll(writer.current(), &tally, now).len();
            now += Duration::from_secs(1);
        }
        assert_eq!(sent >= 3, is_owner, "{sent}");
        assert!(is_owner || sent == 0);
    }
}

#[test]
fn answers_to_all_nodes_are_few_and_go_where_the_question_came_from() {
    let (writer, _) = Writer::new(advertising(), 1).unwrap();
    let (tables, tally, start) = (writer.current(), Tally::new(), Instant::now());
    let mut advertiser = Advertiser::new(&tables.overlays, 1, start);
    let frame = solicitation("::", None);
    let mut last: Option<Instant> = None;
    let (mut answers, mut floods) = (0, 0);
    // A station asks eight times a second for a minute.
    for step in 0..8 * 60 {
        let now = start + Duration::from_millis(125) * step;
        let answer = advertiser.answer(tables, &received(&frame), &tally, now);
        if let Some(Output::Station { endpoint, mac, payload, .. }) = &answer {
            assert_eq!((*endpoint, *mac), (ENDPOINT_V4.parse().unwrap(), ALL_NODES_MAC));
            assert_eq!(message_of(payload, "ff02::1"), golden());
        }
        let polled = advertiser.poll(tables, &tally, now);
        answers += usize::from(answer.is_some());
        floods += polled.len();
        if answer.is_some() || !polled.is_empty() {
            assert!(last.is_none_or(|last| now >= last + MIN_DELAY) && polled.len() <= 1);
            last = Some(now);
        }
        assert_eq!(advertiser.queue.len(), 1);
    }
    // The others get theirs in between.
    assert!(answers + floods <= 21 && floods >= 19, "{answers} answers, {floods} to all");
    // Answers to addresses are not held back.
    let alone = solicitation("fe80::10", None);
    let now = start + Duration::from_secs(60);
    assert!((0..100).all(|_| advertiser.answer(tables, &received(&alone), &tally, now).is_some()));
}

#[test]
fn what_does_not_fit_the_mtu_is_left_out() {
    let mut config = advertising();
    let mut advertisement = policy(600).advertisement.clone().unwrap();
    advertisement.dns_servers = (0..100).map(|n| Ipv6Addr::from_bits(0x2001 << 112 | n)).collect();
    advertisement.dns_search = (0..100).map(|n| format!("domain-{n}.example.net")).collect();
    config.overlays[0].policy =
        Arc::new(OverlayPolicy { advertisement: Some(advertisement.clone()), ..OverlayPolicy::default() });
    let (writer, _) = Writer::new(config, 1).unwrap();
    let tables = writer.current();
    let packet = packet(&tables.fixed, tables.overlays.get(OVERLAY), &advertisement, ndp::ALL_NODES);
    assert!((1480..=1500).contains(&packet.len()), "{}", packet.len());
    let message = message_of(&packet, "ff02::1");
    let sent = ndp::RouterAdvertisement::parse(&Icmpv6Packet::new_checked(&message).unwrap()).unwrap();
    assert_eq!(sent.prefixes.len(), 1);
    assert!(advertisement.dns_servers.starts_with(&sent.dns_servers) && sent.dns_servers.len() > 50);
}

/// A gateway with so many overlays, an IPv6 subnet each.
fn many(overlays: u32, interval: u64) -> Writer {
    let (mut config, policy) = (config(), policy(interval));
    config.stations.clear();
    let example = config.overlays[0].clone();
    let overlay = |n: u32| {
        let prefix = format!("fd00:1:{:x}:{:x}::/64", n >> 16, n & 0xffff).parse().unwrap();
        let ipnet::IpNet::V6(net) = prefix else { unreachable!() };
        let router = IpAddr::V6(Ipv6Addr::from_bits(net.network().to_bits() + 1));
        let (vni, policy) = (Vni::new(n + 1).unwrap(), Arc::clone(&policy));
        Overlay { vni, subnets: vec![Subnet { prefix, router }], policy, ..example.clone() }
    };
    config.overlays = (0..overlays).map(overlay).collect();
    Writer::new(config, 1).unwrap().0
}

#[test]
fn an_hour_of_65_536_overlays() {
    const OVERLAYS: usize = 65_536;
    /// Others are sent first.
    const LATE: Duration = Duration::from_millis(50);
    let writer = many(OVERLAYS as u32, 600);
    let (tables, tally, start) = (writer.current(), Tally::new(), Instant::now());
    let mut advertiser = Advertiser::new(&tables.overlays, 7, start);
    let mut sent: Vec<(u32, Instant)> = vec![(0, start); OVERLAYS];
    let mut seconds = [0_u32; 3600];
    while let Some(now) = advertiser.deadline().filter(|now| *now < start + Duration::from_secs(3600)) {
        let outputs = advertiser.poll(tables, &tally, now);
        // Each overlay has two endpoints.
        assert!((1..=GROUP / 2).contains(&outputs.len()));
        seconds[(now - start).as_secs() as usize] += outputs.len() as u32;
        for output in outputs {
            let Output::Flood { overlay, mac: ALL_NODES_MAC, .. } = output else { panic!("{output:?}") };
            let (count, last) = &mut sent[overlay.0 as usize];
            let bounds = match *count {
                0 => (0, 16),
                1 | 2 => (16, 16),
                _ => (200, 600),
            };
            let (shortest, longest) = (Duration::from_secs(bounds.0), Duration::from_secs(bounds.1));
            assert!((shortest..=longest + LATE).contains(&(now - *last)), "{count}: {:?}", now - *last);
            (*count, *last) = (*count + 1, now);
        }
    }
    // Three in the first 48 s, and then one in 200 to 600 s.
    assert!(sent.iter().all(|(count, _)| (3 + 5..=3 + 17).contains(count)));
    assert!(seconds.iter().all(|count| *count <= 5_000), "{:?}", seconds.iter().max());
    assert!(seconds[60..].iter().all(|count| *count <= 300), "{:?}", seconds[60..].iter().max());
}

#[test]
fn more_than_can_be_sent_is_late_not_lost() {
    let writer = many(65_536, 4);
    let (tables, tally, start) = (writer.current(), Tally::new(), Instant::now());
    let mut advertiser = Advertiser::new(&tables.overlays, 7, start);
    let (mut sent, mut seconds) = (vec![false; 65_536], [0_u32; 10]);
    while let Some(now) = advertiser.deadline().filter(|now| *now < start + Duration::from_secs(10)) {
        for output in advertiser.poll(tables, &tally, now) {
            let Output::Flood { overlay, .. } = output else { panic!("{output:?}") };
            sent[overlay.0 as usize] = true;
            seconds[(now - start).as_secs() as usize] += 1;
        }
    }
    assert!(seconds.iter().all(|count| *count <= 16_000) && seconds[9] == 16_000, "{seconds:?}");
    assert!(sent.iter().all(|sent| *sent));
}
