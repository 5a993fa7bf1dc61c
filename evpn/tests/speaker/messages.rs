//! The codec: real UPDATEs, and ours, as another implementation reads them.

use std::net::IpAddr;

use crate::support::scripted::{OWN, Scripted};
use crate::support::{mac, vni};
use bytes::{Bytes, BytesMut};
use evpn::{PrefixAttributes, Reach};
use netgauze_bgp_pkt::BgpMessage;
use netgauze_bgp_pkt::wire::deserializer::BgpParsingContext;
use netgauze_parse_utils::WritablePdu;
use netgauze_parse_utils::reader::SliceReader;
use netgauze_parse_utils::traits::ParseFromWithOneInput;
use proptest::prelude::*;
use rustbgpd_wire::{
    Ipv4UnicastMode, MAX_MESSAGE_LEN, Message, UpdateMessage, decode_message, encode_message,
    encode_message_with_limit,
};

/// Types 1 to 5, as FRR 8.4.4 and GoBGP 3.10 sent them.
fn real_updates() -> Vec<Vec<u8>> {
    let lines = include_str!("../data/evpn-updates.hex").lines().filter(|line| !line.starts_with('#'));
    let byte = |text: &str| u8::from_str_radix(text, 16).unwrap();
    let bytes = |line: &str| (0..line.len() / 2).map(|n| byte(&line[2 * n..2 * n + 2])).collect();
    lines.map(bytes).collect()
}

/// The same message, taken apart and put together by the other implementation.
fn by_the_other(bytes: &[u8]) -> (BgpMessage, Vec<u8>) {
    let message = BgpMessage::parse(&mut SliceReader::new(bytes), &mut BgpParsingContext::default()).unwrap();
    let mut written = Vec::new();
    message.write(&mut written).unwrap();
    (message, written)
}

#[test]
fn real_updates_survive_both_codecs() {
    let updates = real_updates();
    assert_eq!(updates.len(), 10);
    for bytes in updates {
        let decoded = decode_message(&mut Bytes::from(bytes.clone()), MAX_MESSAGE_LEN).unwrap();
        let Message::Update(update) = decoded else { panic!("no UPDATE") };
        let parsed = update.parse_revised(true, true, false, &[]).unwrap();
        assert!(parsed.malformed.is_empty(), "{:?}", parsed.malformed);
        let attributes = &parsed.update.attributes;
        let rebuilt =
            UpdateMessage::try_build(&[], &[], attributes, true, false, Ipv4UnicastMode::Body).unwrap();
        assert_eq!(encode_message(&Message::Update(rebuilt)).unwrap(), bytes);
        assert_eq!(by_the_other(&bytes).1, bytes);
    }
}

#[test]
fn real_updates_are_kept_as_routes() {
    let mut scripted = Scripted::up(|_| {}, |_| {});
    for bytes in real_updates() {
        scripted.say_bytes(&bytes);
    }
    let mut routes: Vec<_> = scripted.speaker.routes(evpn::Family::Evpn).map(|route| route.route).collect();
    routes.sort();
    let types: Vec<_> = routes.iter().map(|route| route[1..2].parse::<u8>().unwrap()).collect();
    assert_eq!(types, [1, 2, 2, 2, 2, 3, 3, 4, 5, 5], "{routes:#?}");
    assert_eq!(scripted.heard_notification(), None);
}

fn addresses() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (1u8..=223, any::<[u8; 3]>()).prop_map(|(a, [b, c, d])| IpAddr::from([a, b, c, d])),
        any::<[u8; 15]>().prop_map(|rest| {
            let mut octets = [0x20; 16];
            octets[1..].copy_from_slice(&rest);
            IpAddr::from(octets)
        })
    ]
    .prop_filter("no loopback", |address| !address.is_loopback())
}

prop_compose! {
    fn reaches()(
        number in any::<u32>(), overlay in 1u32..=8, ip in prop::option::of(addresses()), endpoint in addresses(),
        sequence in 0u32..3, flags in any::<[bool; 3]>(), local_pref in prop::option::of(any::<u32>()),
    ) -> Reach {
        let [sticky, default_gateway, router] = flags;
        Reach { vni: vni(overlay), mac: mac(number), ip, endpoint, sequence, sticky, default_gateway, router, local_pref }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_announced_is_read_alike_by_the_other(
        reaches in prop::collection::vec(reaches(), 1..200),
        floods in prop::collection::vec(addresses(), 0..20),
        prefixes in prop::collection::vec((addresses(), 0u8..=32, addresses(), any::<Option<u32>>()), 0..50),
        withdrawn in any::<prop::sample::Index>(),
    ) {
        let mut scripted = Scripted::up(
            |config| {
                config.announce_ipv6_vtep = true;
                config.families = evpn::Family::ALL.to_vec();
            },
            |_| {},
        );
        reaches.iter().for_each(|reach| scripted.speaker.reach(reach));
        floods.iter().for_each(|vtep| scripted.speaker.join_flood(vni(1), *vtep));
        for (address, length, next_hop, med) in prefixes {
            let prefix = ipnet::IpNet::new(address, length).unwrap();
            let attributes = PrefixAttributes { next_hop, med, local_pref: None, communities: vec![1, 2] };
            scripted.speaker.announce_prefix(prefix, attributes);
        }
        let mut messages = scripted.heard();
        let reach = withdrawn.get(&reaches);
        scripted.speaker.unreach(reach.vni, reach.mac, reach.ip);
        messages.extend(scripted.heard());
        let mut updates = 0;
        for message in messages {
            let bytes = encode_message_with_limit(&message, MAX_MESSAGE_LEN).unwrap();
            let (other, written) = by_the_other(&bytes);
            updates += usize::from(matches!(other, BgpMessage::Update(_)));
            if matches!(other, BgpMessage::Update(_)) {
                prop_assert_eq!(&written, &bytes);
            }
        }
        prop_assert!(updates > 1);
    }
}

#[test]
fn updates_are_full_and_never_too_long() {
    for extended in [false, true] {
        let mut scripted = Scripted::up(
            |_| {},
            |open| {
                if extended {
                    open.capabilities.push(rustbgpd_wire::Capability::ExtendedMessage);
                }
            },
        );
        scripted.heard();
        for number in 0..512 {
            scripted.speaker.reach(&Reach {
                vni: vni(1),
                mac: mac(number),
                ip: Some(IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, 1])),
                endpoint: OWN.into(),
                sequence: 0,
                sticky: false,
                default_gateway: false,
                router: false,
                local_pref: None,
            });
        }
        let mut whole = BytesMut::new();
        let lengths: Vec<_> = scripted
            .heard()
            .iter()
            .map(|message| {
                let bytes = encode_message_with_limit(message, u16::MAX).unwrap();
                whole.extend_from_slice(&bytes);
                bytes.len()
            })
            .collect();
        let limit = if extended { 65_535 } else { 4_096 };
        // 512 routes of 51 bytes with equal attributes.
        assert_eq!(lengths.len(), 512_usize.div_ceil((limit - 100) / 51), "{lengths:?}");
        assert!(lengths.iter().all(|length| *length <= limit));
        if !extended {
            assert!(lengths[..lengths.len() - 1].iter().all(|length| *length > limit - 52), "{lengths:?}");
        }
    }
}
