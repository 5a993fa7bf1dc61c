//! What the fuzz target does, in reach of ordinary tests: a peer that may send anything.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use rustbgpd_wire::{Afi, Capability, Message, OpenMessage, Safi, encode_message};
use wire::Vni;

use crate::{
    Change, ConnectionId, DuplicatePolicy, EthernetSegment, Family, Identity, Local, Output, PeerConfig,
    PeerId, RouteTargets, SessionState, Speaker,
};

const OWN: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const PEER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
const ASN: u32 = 65000;

/// Gives a speaker the bytes of a peer. Bits of the first byte: 1, the session is up before; 2, what follows are bodies
/// of messages (type, two bytes of length, body) that get their headers here; 4, the peer is external.
///
/// # Panics
/// If what the speaker tells does not follow from what it told before, or something is left when the peer is gone.
pub fn bgp_session(data: &[u8]) {
    let Some((&mode, data)) = data.split_first() else { return };
    let now = Instant::now();
    let mut test = Test::new(mode & 4 != 0, now);
    if mode & 1 != 0 {
        test.establish(now);
    }
    if mode & 2 == 0 {
        data.chunks(1000).for_each(|piece| test.receive(piece, now));
    } else {
        let mut rest = data;
        while let [kind, a, b, body @ ..] = rest {
            let length = usize::from(u16::from_be_bytes([*a, *b])).min(body.len()).min(4096 - 19);
            let mut message = vec![0xff; 16];
            message.extend(((length + 19) as u16).to_be_bytes());
            message.push(*kind);
            message.extend(&body[..length]);
            test.receive(&message, now);
            rest = &body[length..];
        }
    }
    // Some timers, and then the peer is gone for good.
    for seconds in [1, 100, 1000] {
        test.speaker.handle_timeout(now + Duration::from_secs(seconds));
        test.follow(now);
    }
    test.speaker.stop_peer(test.peer, "", now);
    test.speaker.handle_timeout(now + Duration::from_secs(10_000));
    test.follow(now);
    assert!(test.speaker.is_idle());
    assert_eq!((test.stations, test.speaker.stations(), test.floods, test.prefixes), (0, 0, 0, 0));
    assert!(Family::ALL.into_iter().all(|family| test.speaker.routes(family).next().is_none()));
}

struct Test {
    speaker: Speaker,
    peer: PeerId,
    connection: ConnectionId,
    asn: u32,
    stations: usize,
    floods: usize,
    prefixes: usize,
    known: std::collections::HashSet<String>,
}

impl Test {
    fn new(external: bool, now: Instant) -> Self {
        let local = Local { asn: ASN, router_id: OWN, cluster: 1 };
        let segment = Some(EthernetSegment::of_cluster(1));
        let identity = Identity { vteps: [IpAddr::from(OWN)].into(), segment, ..Identity::default() };
        let mut speaker = Speaker::new(local, identity, DuplicatePolicy::default(), 1);
        let overlays = (1..=300).filter_map(Vni::new).map(|vni| (vni, RouteTargets::Frr));
        speaker.set_overlays(overlays);
        let asn = if external { 65001 } else { ASN };
        let mut config = PeerConfig::new(PEER.into(), asn);
        config.families = Family::ALL.to_vec();
        config.passive = true;
        config.max_routes = 1000;
        config.graceful_restart = Some(120);
        let added = speaker.add_peer(config);
        speaker.start_peer(PeerId(0), now);
        let accepted = speaker.accept(PEER.into(), now);
        let (Ok(peer), Some((_, connection))) = (added, accepted) else {
            unreachable!("the peer is configured")
        };
        if let Some(vni) = Vni::new(1) {
            speaker.join_flood(vni, OWN.into());
        }
        let known = std::collections::HashSet::new();
        Self { speaker, peer, connection, asn, stations: 0, floods: 0, prefixes: 0, known }
    }

    fn establish(&mut self, now: Instant) {
        let mut capabilities: Vec<_> = Family::ALL
            .map(|family| {
                let (afi, safi) = family.codes();
                Capability::MultiProtocol { afi, safi }
            })
            .to_vec();
        capabilities.extend([
            Capability::FourOctetAs { asn: self.asn },
            Capability::EnhancedRouteRefresh,
            Capability::GracefulRestart {
                restart_state: false,
                notification: true,
                restart_time: 100,
                families: vec![rustbgpd_wire::GracefulRestartFamily {
                    afi: Afi::L2Vpn,
                    safi: Safi::Evpn,
                    forwarding_preserved: true,
                }],
            },
        ]);
        let my_as = self.asn as u16;
        let open = OpenMessage { version: 4, my_as, hold_time: 90, bgp_identifier: PEER, capabilities };
        for message in [Message::Open(open), Message::Keepalive] {
            if let Ok(bytes) = encode_message(&message) {
                self.receive(&bytes, now);
            }
        }
        assert!(self.speaker.peers().all(|peer| peer.state == SessionState::Established));
    }

    fn receive(&mut self, bytes: &[u8], now: Instant) {
        self.speaker.received(self.peer, self.connection, bytes, now);
        self.follow(now);
    }

    /// What is told must follow from what was told before.
    fn follow(&mut self, now: Instant) {
        let mut buffer = Vec::new();
        while self.speaker.transmit(self.peer, self.connection, &mut buffer, now) {}
        while let Some(output) = self.speaker.poll(now) {
            let Output::Change(change) = output else { continue };
            match change {
                Change::Station { vni, mac, .. } => {
                    self.stations += usize::from(self.known.insert(format!("{vni} {mac}")));
                }
                Change::StationGone { vni, mac } => {
                    assert!(self.known.remove(&format!("{vni} {mac}")));
                    self.stations -= 1;
                }
                Change::Address { vni, mac, ip, .. } => {
                    assert!(self.known.contains(&format!("{vni} {mac}")));
                    self.known.insert(format!("{vni} {mac} {ip}"));
                }
                Change::AddressGone { vni, mac, ip } => {
                    assert!(self.known.remove(&format!("{vni} {mac} {ip}")));
                }
                Change::Flood { vni, endpoint } => {
                    assert!(self.known.insert(format!("flood {vni} {endpoint}")));
                    self.floods += 1;
                }
                Change::FloodGone { vni, endpoint } => {
                    assert!(self.known.remove(&format!("flood {vni} {endpoint}")));
                    self.floods -= 1;
                }
                Change::SharedMac { .. } => {}
                Change::Member { vtep } => assert!(self.known.insert(format!("member {vtep}"))),
                Change::MemberGone { vtep } => assert!(self.known.remove(&format!("member {vtep}"))),
                Change::Prefix { prefix, .. } => {
                    self.prefixes += usize::from(self.known.insert(prefix.to_string()));
                }
                Change::PrefixGone { prefix } => {
                    assert!(self.known.remove(&prefix.to_string()));
                    self.prefixes -= 1;
                }
            }
        }
    }
}
