//! The slow path of the in-memory gateway. What it sends is read by an independent decoder.

mod announced;
mod announced_model;
mod carried;
mod claims;
mod flooding;
mod learning;
mod non_owner;
mod proxy;
mod resolution;
mod router;
mod storms;
mod strangers;
mod takeover;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use etherparse::{
    ArpPacketSlice, Icmpv4Slice, Icmpv6Slice, Ipv4HeaderSlice, Ipv6HeaderSlice, NetSlice, SlicedPacket,
    TransportSlice,
};
use wire::MacAddr;
use wire::arp::{self, ArpOperation, ArpRepr};
use wire::ndp::{self, NeighbourAdvertisement, NeighbourSolicitation};

use super::{Command, Deed};
use crate::api::*;
use crate::counters::Reason;
use crate::testing::packets::{Udp, ip_frame, vxlan};
use crate::testing::*;

const ROUTER: [&str; 2] = ["10.0.1.1", "fd00:0:0:1::1"];
const STATION: [&str; 2] = ["10.0.1.10", "fd00:0:0:1::10"];
const OUTSIDE: [&str; 2] = ["203.0.113.5", "2001:db8:ff::5"];
/// A station of overlay 100, behind [`ENDPOINT_V6`], whose addresses have to be found out.
const NEWCOMER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 1, 0x77]);
const NEWCOMER: [&str; 2] = ["10.0.1.77", "fd00:0:0:1::77"];
/// No address: the sender of a probe.
const NOBODY: [&str; 2] = ["0.0.0.0", "::"];
const FROM_OUTSIDE: (MacAddr, MacAddr) = (OUTER_ROUTER_MAC, UPLINK_MAC);
/// Longer than a question waits for its answer.
const RETRANSMISSION: Duration = Duration::from_millis(1100);
const BOTH: [usize; 2] = [0, 1];

/// The example gateway with the newcomer, and with limits of punts that are never met.
fn gateway() -> Harness {
    gateway_with(|_| {})
}

fn gateway_with(change: impl FnOnce(&mut Config)) -> Harness {
    let mut config = config();
    let vni = config.overlays[0].vni;
    let endpoint = address(ENDPOINT_V6);
    config.stations.push(Station { vni, mac: NEWCOMER_MAC, endpoint, addresses: Vec::new() });
    let unlimited = [PacketRate { rate: 1_000_000_000, burst: 1_000_000_000 }; PuntClass::ALL.len()];
    config.punt_limits = PuntLimits { overlay: unlimited, total: unlimited };
    change(&mut config);
    let mut gateway = Harness::with(config);
    gateway.apply(updates());
    gateway
}

/// Changes how the stations of overlay 100 are treated.
fn with_policy(change: impl FnOnce(&mut OverlayPolicy)) -> Harness {
    gateway_with(|config| {
        let mut policy = OverlayPolicy::default();
        change(&mut policy);
        config.overlays[0].policy = policy.into();
    })
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A frame of the router's in an overlay.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Heard {
    endpoint: IpAddr,
    vni: u32,
    macs: (MacAddr, MacAddr),
    message: Message,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Message {
    /// Who has `target`? Tell `asker`, who has `mac`.
    Question { target: IpAddr, asker: IpAddr, mac: MacAddr },
    /// `mac` has `target`, told to `to`; the flags of a neighbour advertisement.
    Answer { target: IpAddr, mac: MacAddr, to: IpAddr, flags: u8 },
    /// An ICMP error about the packet that begins like this.
    Error { to: IpAddr, kind: (u8, u8), about: Vec<u8> },
    /// Any other packet.
    Packet { source: IpAddr, destination: IpAddr, ttl: u8, payload: Vec<u8> },
}

const ROUTER_FLAG: u8 = 0x80;
const SOLICITED_FLAG: u8 = 0x40;
const OVERRIDE_FLAG: u8 = 0x20;

/// What went into overlays, after the outer headers were checked.
#[track_caller]
fn heard(out: &[(PortIndex, Vec<u8>)]) -> Vec<Heard> {
    let into_overlay = |(port, frame): &(PortIndex, Vec<u8>)| {
        assert_eq!(*port, UNDERLAY);
        assert_eq!((&frame[..6], &frame[6..12]), (&ENDPOINT_MAC.0[..], &UNDERLAY_MAC.0[..]));
        let outer = SlicedPacket::from_ethernet(frame).unwrap();
        let endpoint = match outer.net.as_ref().unwrap() {
            NetSlice::Ipv4(ip) => ip.header().destination_addr().into(),
            NetSlice::Ipv6(ip) => ip.header().destination_addr().into(),
            NetSlice::Arp(_) => panic!("no IP"),
        };
        let Some(TransportSlice::Udp(udp)) = outer.transport else { panic!("no UDP") };
        assert_eq!(udp.destination_port(), 4789);
        let (vxlan, inner) = udp.payload().split_at(8);
        assert_eq!(vxlan[0], 8);
        let vni = u32::from_be_bytes(vxlan[4..].try_into().unwrap()) >> 8;
        let mac = |at: usize| MacAddr(inner[at..at + 6].try_into().unwrap());
        let is_ipv6 = inner[12..14] == [0x86, 0xdd];
        assert!(!is_ipv6 || (inner[38] == 0xff) == mac(0).is_multicast(), "a group's MAC for a group");
        let message = message(&inner[12..]);
        assert!(inner.len() >= 60 || matches!(message, Message::Packet { .. }), "its own are padded");
        Heard { endpoint, vni, macs: (mac(6), mac(0)), message }
    };
    out.iter().map(into_overlay).collect()
}

/// What went to the outer network, by its router.
#[track_caller]
fn outside(out: &[(PortIndex, Vec<u8>)]) -> Vec<Message> {
    let to_router = |(port, frame): &(PortIndex, Vec<u8>)| {
        assert_eq!(*port, UPLINK);
        assert_eq!((&frame[..6], &frame[6..12]), (&OUTER_ROUTER_MAC.0[..], &UPLINK_MAC.0[..]));
        message(&frame[12..])
    };
    out.iter().map(to_router).collect()
}

/// Reads what follows the MAC addresses of a frame.
fn message(from_type: &[u8]) -> Message {
    let (ethertype, bytes) = from_type.split_at(2);
    if ethertype == [8, 6] {
        return arp_message(&ArpPacketSlice::from_slice(bytes).unwrap());
    }
    let (source, destination, ttl, protocol, payload) = if bytes[0] >> 4 == 4 {
        assert_eq!(ethertype, [8, 0]);
        let ip = Ipv4HeaderSlice::from_slice(bytes).unwrap();
        assert_eq!(ip.header_checksum(), ip.to_header().calc_header_checksum());
        let payload = &bytes[ip.slice().len()..ip.total_len().into()];
        (ip.source_addr().into(), ip.destination_addr().into(), ip.ttl(), ip.protocol().0, payload)
    } else {
        assert_eq!(ethertype, [0x86, 0xdd]);
        let ip = Ipv6HeaderSlice::from_slice(bytes).unwrap();
        let payload = &bytes[40..][..ip.payload_length().into()];
        (ip.source_addr().into(), ip.destination_addr().into(), ip.hop_limit(), ip.next_header().0, payload)
    };
    match (source, destination, protocol) {
        (IpAddr::V4(_), _, 1) => {
            let icmp = Icmpv4Slice::from_slice(payload).unwrap();
            assert_eq!(icmp.icmp_type().calc_checksum(icmp.payload()), icmp.checksum());
            let kind = (icmp.type_u8(), icmp.code_u8());
            Message::Error { to: destination, kind, about: icmp.payload().to_vec() }
        }
        (IpAddr::V6(from), IpAddr::V6(to), 58) => icmpv6_message(from, to, ttl, payload),
        _ => Message::Packet { source, destination, ttl, payload: payload[8..].to_vec() },
    }
}

fn arp_message(arp: &ArpPacketSlice<'_>) -> Message {
    let ip = |bytes: &[u8]| IpAddr::from(<[u8; 4]>::try_from(bytes).unwrap());
    let mac = MacAddr(arp.sender_hw_addr().try_into().unwrap());
    let (sender, target) = (ip(arp.sender_protocol_addr()), ip(arp.target_protocol_addr()));
    match arp.operation().0 {
        1 => Message::Question { target, asker: sender, mac },
        2 => Message::Answer { target: sender, mac, to: target, flags: 0 },
        other => panic!("operation {other}"),
    }
}

fn icmpv6_message(from: Ipv6Addr, to: Ipv6Addr, hop_limit: u8, payload: &[u8]) -> Message {
    let icmp = Icmpv6Slice::from_slice(payload).unwrap();
    assert!(icmp.is_checksum_valid(from.octets(), to.octets()));
    let (target, option) = (payload.get(8..24), payload.get(24..32));
    let target = || Ipv6Addr::from(<[u8; 16]>::try_from(target.unwrap()).unwrap());
    let mac = |kind| {
        let option = option.unwrap();
        assert_eq!(option[..2], [kind, 1], "a link-layer address option");
        MacAddr(option[2..].try_into().unwrap())
    };
    match (icmp.type_u8(), icmp.code_u8()) {
        (135, 0) => {
            assert_eq!(hop_limit, 255);
            let target = target();
            assert!(to == target || to == ndp::solicited_node(target));
            Message::Question { target: target.into(), asker: from.into(), mac: mac(1) }
        }
        (136, 0) => {
            assert_eq!(hop_limit, 255);
            Message::Answer { target: target().into(), mac: mac(2), to: to.into(), flags: payload[4] }
        }
        kind => Message::Error { to: to.into(), kind, about: icmp.payload().to_vec() },
    }
}

/// An ARP packet in a frame from `mac`.
fn arp_frame(mac: MacAddr, receiver: MacAddr, arp: &ArpRepr) -> Vec<u8> {
    let mut frame = [&receiver.0[..], &mac.0, &[8, 6]].concat();
    frame.resize(60, 0);
    arp.emit(&mut frame[14..14 + arp::LEN]);
    frame
}

/// A station's question for `target`, to all; from nobody it is duplicate address detection.
fn asks(mac: MacAddr, source: &str, target: &str) -> Vec<u8> {
    match (address(source), address(target)) {
        (IpAddr::V4(sender_ip), IpAddr::V4(target_ip)) => {
            let operation = ArpOperation::Request;
            let arp = ArpRepr { operation, sender_mac: mac, sender_ip, target_mac: MacAddr::ZERO, target_ip };
            arp_frame(mac, MacAddr::BROADCAST, &arp)
        }
        (IpAddr::V6(from), IpAddr::V6(target)) => {
            let group = ndp::solicited_node(target);
            let source_mac = (!from.is_unspecified()).then_some(mac);
            let message = NeighbourSolicitation { target, source_mac };
            let mut bytes = vec![0; message.buffer_len()];
            message.emit(&mut bytes, from, group);
            ip_frame((mac, ndp::multicast_mac(group)), source, &group.to_string(), 58, 255, &bytes)
        }
        mixed => panic!("one family: {mixed:?}"),
    }
}

/// A station's answer that it has `address`, to who asked.
fn answers(mac: MacAddr, own: &str, to: (MacAddr, &str)) -> Vec<u8> {
    match (address(own), address(to.1)) {
        (IpAddr::V4(sender_ip), IpAddr::V4(target_ip)) => {
            let operation = ArpOperation::Reply;
            let arp = ArpRepr { operation, sender_mac: mac, sender_ip, target_mac: to.0, target_ip };
            arp_frame(mac, to.0, &arp)
        }
        (IpAddr::V6(target), IpAddr::V6(_)) => advertisement(mac, target, to.0, to.1, true),
        mixed => panic!("one family: {mixed:?}"),
    }
}

/// A station's announcement that it has `address`, to all.
fn announces(mac: MacAddr, own: &str) -> Vec<u8> {
    match address(own) {
        IpAddr::V4(ip) => {
            let operation = ArpOperation::Request;
            let (sender_ip, target_ip) = (ip, ip);
            let arp = ArpRepr { operation, sender_mac: mac, sender_ip, target_mac: MacAddr::ZERO, target_ip };
            arp_frame(mac, MacAddr::BROADCAST, &arp)
        }
        IpAddr::V6(target) => {
            advertisement(mac, target, ndp::multicast_mac(ndp::ALL_NODES), "ff02::1", false)
        }
    }
}

fn advertisement(mac: MacAddr, target: Ipv6Addr, receiver: MacAddr, to: &str, solicited: bool) -> Vec<u8> {
    let message =
        NeighbourAdvertisement { router: false, solicited, override_: true, target, target_mac: Some(mac) };
    let mut bytes = vec![0; message.buffer_len()];
    // From its link-local address, so that only what it claims can be wrong.
    let source = mac.link_local();
    message.emit(&mut bytes, source, to.parse().unwrap());
    ip_frame((mac, receiver), &source.to_string(), to, 58, 255, &bytes)
}

/// All that follows from what has arrived.
fn settle(gateway: &mut Harness) -> Vec<(PortIndex, Vec<u8>)> {
    let mut out = Vec::new();
    for _ in 0..10_000 {
        let punted = gateway.slow_path.take_punts();
        let sent = gateway.sent();
        if !punted && sent.is_empty() {
            return out;
        }
        out.extend(sent);
    }
    panic!("frames go back and forth for ever")
}

/// What follows from a frame in overlay 100.
fn say(gateway: &mut Harness, endpoint: &str, frame: &[u8]) -> Vec<(PortIndex, Vec<u8>)> {
    let mut out = gateway.send(UNDERLAY, &vxlan(endpoint, 100, frame));
    out.extend(settle(gateway));
    out
}

/// What follows from a packet from outside to `destination`, whose payload is `number`.
fn call(gateway: &mut Harness, destination: &str, number: u8) -> Vec<(PortIndex, Vec<u8>)> {
    let mut udp = Udp::new(FROM_OUTSIDE, OUTSIDE[usize::from(destination.contains(':'))], destination);
    udp.payload = vec![number; 20];
    let mut out = gateway.send(UPLINK, &udp.frame());
    out.extend(settle(gateway));
    out
}

/// What the gateway does when this time has come.
fn at(gateway: &mut Harness, now: Instant) -> Vec<(PortIndex, Vec<u8>)> {
    gateway.slow_path.poll(now);
    settle(gateway)
}

/// What is known of addresses, in their order.
fn known(gateway: &mut Harness, vni: Option<wire::Vni>) -> Vec<NeighbourStatus> {
    let (answer, answered) = crossbeam_channel::bounded(1);
    gateway.control.send(Command::Neighbours(vni, answer)).unwrap();
    gateway.slow_path.obey();
    let mut known = answered.try_recv().unwrap();
    known.sort_unstable_by_key(|neighbour| neighbour.address);
    known
}

/// Who has the address, and how sure that is.
fn state(gateway: &mut Harness, of: &str) -> Option<(NeighbourState, Option<MacAddr>)> {
    let of = address(of);
    let neighbour = known(gateway, None).into_iter().find(|neighbour| neighbour.address == of)?;
    Some((neighbour.state, neighbour.mac))
}

fn statistics(gateway: &mut Harness) -> NeighbourStatistics {
    let (answer, answered) = crossbeam_channel::bounded(1);
    gateway.control.send(Command::NeighbourStatistics(answer)).unwrap();
    gateway.slow_path.obey();
    answered.try_recv().unwrap()
}

/// The router's question for an address of overlay 100, to all of it.
fn question(target: &str) -> Vec<Heard> {
    let target = address(target);
    let (asker, receiver) = match target {
        IpAddr::V4(_) => (address(ROUTER[0]), MacAddr::BROADCAST),
        IpAddr::V6(target) => {
            (ROUTER_MAC.link_local().into(), ndp::multicast_mac(ndp::solicited_node(target)))
        }
    };
    let message = Message::Question { target, asker, mac: ROUTER_MAC };
    let to = |endpoint| Heard {
        endpoint: address(endpoint),
        vni: 100,
        macs: (ROUTER_MAC, receiver),
        message: message.clone(),
    };
    [ENDPOINT_V4, ENDPOINT_V6].map(to).to_vec()
}

/// The newcomer's answer to the router.
fn newcomer_answers(family: usize) -> Vec<u8> {
    let asker = [ROUTER[0].to_owned(), ROUTER_MAC.link_local().to_string()];
    answers(NEWCOMER_MAC, NEWCOMER[family], (ROUTER_MAC, &asker[family]))
}

/// Payloads of what came to the newcomer, from the router.
#[track_caller]
fn to_newcomer(out: &[(PortIndex, Vec<u8>)], family: usize) -> Vec<u8> {
    let payload = |heard: Heard| {
        assert_eq!((heard.endpoint, heard.vni), (address(ENDPOINT_V6), 100));
        assert_eq!(heard.macs, (ROUTER_MAC, NEWCOMER_MAC));
        let Message::Packet { destination, ttl, payload, .. } = heard.message else { panic!("{heard:?}") };
        assert_eq!((destination, ttl), (address(NEWCOMER[family]), 63));
        payload[0]
    };
    heard(out).into_iter().map(payload).collect()
}
