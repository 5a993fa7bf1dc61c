//! Any bytes: nothing panics, and nothing but a right message is relayed.

use proptest::prelude::*;

use super::*;
use crate::tables::Writer;

/// A message, whether it is of IPv6 and whether from a station. Most look like DHCP, so that more than the first check
/// is reached.
fn message() -> impl Strategy<Value = (Vec<u8>, bool, bool)> {
    let noise = || prop::collection::vec(any::<u8>(), 0..300);
    let options = || prop::collection::vec((any::<u8>(), 0..40_u8, 0..8_u8), 0..6);
    let v4 = (any::<bool>(), 0..4_u8, noise(), options()).prop_map(|(up, last, fixed, options)| {
        let (operation, relay_agent) =
            if up { (1, [0, 0, 0, last / 3]) } else { (2, [10, 0, 1, 1 + last / 3]) };
        let mut bytes = [&[operation, 1, 6, 0][..], &[0; 20], &relay_agent, &STATION_MAC.0, &fixed].concat();
        bytes.resize(236, 0);
        bytes.extend([99, 130, 83, 99]);
        for (kind, len, lie) in options {
            bytes.extend([kind, len]);
            bytes.resize(bytes.len() + usize::from(len) + usize::from(lie / 7), 0);
        }
        (bytes, false, up)
    });
    let v6 = (0..=14_u8, options()).prop_map(|(type_, options)| {
        let mut bytes = vec![type_, 1, 2, 3];
        for (kind, len, lie) in options {
            bytes.extend([0, kind, 0, len]);
            bytes.resize(bytes.len() + usize::from(len) + usize::from(lie / 7), 0);
        }
        bytes
    });
    let relayed = (v6.clone(), 0..4_u8, options()).prop_map(|(message, last, options)| {
        let peer = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10];
        let interface_id = [0, 18, 0, 10, 0, 0, 0, 100 + last / 3, 2, 0, 0, 0, 1, 1];
        let mut bytes = [&[13, 0][..], &[0; 16], &peer, &interface_id].concat();
        for (kind, len, lie) in options {
            bytes.extend([1, kind, 0, len]);
            bytes.resize(bytes.len() + usize::from(len) + usize::from(lie / 7), 0);
        }
        bytes.extend([0, 9]);
        bytes.extend((message.len() as u16).to_be_bytes());
        bytes.extend(message);
        (bytes, true, false)
    });
    prop_oneof![
        (noise(), any::<bool>(), any::<bool>()),
        v4,
        v6.prop_map(|message| (message, true, true)),
        relayed
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, ..ProptestConfig::default() })]

    #[test]
    fn what_is_relayed_stays_in_its_overlay((message, v6, up) in message(), cut in 0..80_usize) {
        thread_local!(static WRITER: Writer = Writer::new(relaying(), 1).unwrap().0);
        let (client, server, router, ports) = match v6 {
            false => ("10.0.1.10", SERVER_V4, "10.0.1.1", (68, 67)),
            true => ("fe80::10", SERVER_V6, "fd00:0:0:1::1", (546, 547)),
        };
        let addresses = if up { (client, router) } else { (server, router) };
        let frame = frame((STATION_MAC, ROUTER_MAC), addresses, ports, &message);
        // Most are whole; of some the frame ends too soon.
        let end = if cut < 70 { frame.len() } else { frame.len() - (cut - 70).min(frame.len() - 14) };
        let overlay = OverlayIndex(0);
        let station = Origin::Station { overlay, endpoint: ENDPOINT_V4.parse().unwrap() };
        let received = Received {
            origin: if up { station } else { Origin::Outer },
            port: if up { UNDERLAY } else { UPLINK },
            overlay,
            sender: STATION_MAC,
            receiver: ROUTER_MAC,
            ethertype: if v6 { EtherType::Ipv6 } else { EtherType::Ipv4 },
            packet: &frame[14..end],
        };
        let tally = Tally::new();
        let outputs = WRITER.with(|writer| relay(writer.current(), &received, &tally, |_, _| None));
        let counted: u64 = Deed::ALL.iter().map(|deed| tally.get(*deed)).sum();
        prop_assert_eq!(counted, 1);
        prop_assert_eq!(outputs.is_empty(), tally.get(Deed::DhcpRefused) == 1);
        for output in outputs {
            match output {
                Output::Outer(packet) => {
                    let sent = decode(&packet);
                    prop_assert!(up && sent.source == router);
                    // What the relay agent adds, and padding.
                    prop_assert!(sent.payload.len() <= (message.len() + 52).max(300));
                }
                Output::Flood { overlay: to, payload, .. } => {
                    prop_assert!(!up && to == overlay && decode(&payload).ports.0 == ports.1);
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }

    #[test]
    fn any_packet_is_looked_at(packet in prop::collection::vec(any::<u8>(), 0..120), v6: bool, up: bool) {
        let overlay = OverlayIndex(0);
        let station = Origin::Station { overlay, endpoint: ENDPOINT_V4.parse().unwrap() };
        let received = Received {
            origin: if up { station } else { Origin::Outer },
            port: if up { UNDERLAY } else { UPLINK },
            overlay,
            sender: STATION_MAC,
            receiver: ROUTER_MAC,
            ethertype: if v6 { EtherType::Ipv6 } else { EtherType::Ipv4 },
            packet: &packet,
        };
        thread_local!(static WRITER: Writer = Writer::new(relaying(), 1).unwrap().0);
        is_dhcp(&received);
        let outputs = WRITER.with(|writer| relay(writer.current(), &received, &Tally::new(), |_, _| None));
        prop_assert!(outputs.is_empty());
    }
}
