//! A speaker whose only peer is the test itself: message by message.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use evpn::{
    Change, ConnectionId, DownReason, DuplicatePolicy, Event, Family, Identity, Local, Output, PeerConfig,
    PeerId, Rejection, RouteTargets, SessionState, Speaker,
};
use rustbgpd_wire::{
    Afi, AsPath, Capability, EthernetSegmentIdentifier, EthernetTagId, EvpnMacIp, EvpnRoute,
    ExtendedCommunity, MacAddress, Message, MpReachNlri, MpUnreachNlri, MplsLabel, OpenMessage, Origin,
    PathAttribute, RouteDistinguisher, Safi, UpdateMessage, attribute, decode_message, encode_message,
    peek_message_length,
};

use super::{ASN, vni};

/// The speaker's own address, identifier and VTEP.
pub(crate) const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// The scripted peer's.
pub(crate) const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

pub(crate) struct Scripted {
    pub(crate) speaker: Speaker,
    pub(crate) peer: PeerId,
    pub(crate) connection: ConnectionId,
    pub(crate) now: Instant,
    pub(crate) changes: Vec<Change>,
    pub(crate) events: Vec<Event>,
    /// What the speaker said and nobody has read yet.
    said: BytesMut,
    pub(crate) closed: bool,
    /// The last connection that the speaker wanted to make.
    pub(crate) dialled: Option<ConnectionId>,
}

impl Scripted {
    /// A speaker in overlays 1 to 8 that has just been connected to by its peer.
    pub(crate) fn connected(config: impl FnOnce(&mut PeerConfig)) -> Self {
        let now = Instant::now();
        let local = Local { asn: ASN, router_id: OWN, cluster: 1 };
        let identity = Identity { vteps: [IpAddr::from(OWN)].into(), ..Identity::default() };
        let mut speaker = Speaker::new(local, identity, DuplicatePolicy::default(), 1);
        speaker.set_overlays((1..=8).map(|number| (vni(number), RouteTargets::Frr)));
        let mut peer_config = PeerConfig::new(PEER.into(), ASN);
        peer_config.passive = true;
        config(&mut peer_config);
        let peer = speaker.add_peer(peer_config).unwrap();
        speaker.start_peer(peer, now);
        let (peer, connection) = speaker.accept(PEER.into(), now).unwrap();
        let (changes, events) = (Vec::new(), Vec::new());
        let said = BytesMut::new();
        let mut scripted =
            Self { speaker, peer, connection, now, changes, events, said, closed: false, dialled: None };
        scripted.follow();
        scripted
    }

    /// The same with a session that is up.
    pub(crate) fn up(config: impl FnOnce(&mut PeerConfig), open: impl FnOnce(&mut OpenMessage)) -> Self {
        let mut scripted = Self::connected(config);
        let mut message = Self::open();
        open(&mut message);
        scripted.say(&Message::Open(message));
        scripted.say(&Message::Keepalive);
        assert_eq!(scripted.state(), SessionState::Established);
        scripted
    }

    /// The peer comes again after its connection was lost.
    pub(crate) fn again(&mut self, open: impl FnOnce(&mut OpenMessage)) {
        (_, self.connection) = self.speaker.accept(PEER.into(), self.now).unwrap();
        self.closed = false;
        self.said.clear();
        let mut message = Self::open();
        open(&mut message);
        self.say(&Message::Open(message));
        self.say(&Message::Keepalive);
    }

    pub(crate) fn open() -> OpenMessage {
        let families = [(Afi::L2Vpn, Safi::Evpn), (Afi::Ipv4, Safi::Unicast), (Afi::Ipv6, Safi::Unicast)];
        let mut capabilities: Vec<_> =
            families.into_iter().map(|(afi, safi)| Capability::MultiProtocol { afi, safi }).collect();
        capabilities.push(Capability::FourOctetAs { asn: ASN });
        OpenMessage { version: 4, my_as: ASN as u16, hold_time: 90, bgp_identifier: PEER, capabilities }
    }

    pub(crate) fn state(&self) -> SessionState {
        self.speaker.peers().next().unwrap().state
    }

    pub(crate) fn say(&mut self, message: &Message) {
        let bytes = encode_message(message).unwrap();
        self.say_bytes(&bytes);
    }

    pub(crate) fn say_bytes(&mut self, bytes: &[u8]) {
        self.speaker.received(self.peer, self.connection, bytes, self.now);
        self.follow();
    }

    pub(crate) fn update(&mut self, attributes: &[PathAttribute]) {
        let mut encoded = Vec::new();
        attribute::encode_path_attributes(attributes, &mut encoded, true, false).unwrap();
        self.say(&Message::Update(UpdateMessage {
            withdrawn_routes: Bytes::new(),
            path_attributes: encoded.into(),
            nlri: Bytes::new(),
        }));
    }

    pub(crate) fn lose_connection(&mut self) {
        self.speaker.closed(self.peer, self.connection, self.now);
        self.follow();
    }

    /// Lets time pass, timers being seen to.
    pub(crate) fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.speaker.deadline().filter(|due| *due <= end) {
            self.now = due.max(self.now);
            self.speaker.handle_timeout(self.now);
            self.follow();
        }
        self.now = end;
    }

    /// What the speaker has said since the last call.
    pub(crate) fn heard(&mut self) -> Vec<Message> {
        self.follow();
        let mut messages = Vec::new();
        while let Some(length) = peek_message_length(&self.said, u16::MAX).unwrap() {
            let mut message = self.said.split_to(length.into()).freeze();
            messages.push(decode_message(&mut message, u16::MAX).unwrap());
        }
        assert!(self.said.is_empty(), "half a message");
        messages
    }

    /// Codes of the last NOTIFICATION among what was heard.
    pub(crate) fn heard_notification(&mut self) -> Option<(u8, u8)> {
        let messages = self.heard();
        messages.iter().rev().find_map(|message| match message {
            Message::Notification(notification) => Some((notification.code.as_u8(), notification.subcode)),
            _ => None,
        })
    }

    pub(crate) fn down(&self) -> Option<&DownReason> {
        self.events.iter().rev().find_map(|event| match event {
            Event::Down { reason, .. } => Some(reason),
            _ => None,
        })
    }

    pub(crate) fn rejections(&self) -> Vec<Rejection> {
        let rejection = |event: &Event| match event {
            Event::Rejected { reason, .. } => Some(*reason),
            _ => None,
        };
        self.events.iter().filter_map(rejection).collect()
    }

    pub(crate) fn routes(&self) -> usize {
        Family::ALL.into_iter().map(|family| self.speaker.routes(family).count()).sum()
    }

    /// Takes what the speaker tells.
    pub(crate) fn follow(&mut self) {
        self.poll();
        let mut buffer = Vec::new();
        while self.speaker.transmit(self.peer, self.connection, &mut buffer, self.now) {}
        self.said.extend_from_slice(&buffer);
        self.poll();
    }

    fn poll(&mut self) {
        while let Some(output) = self.speaker.poll(self.now) {
            match output {
                Output::Change(change) => self.changes.push(change),
                Output::Event(event) => self.events.push(event),
                Output::Dial { connection, .. } => self.dialled = Some(connection),
                Output::Close { connection, last, .. } => {
                    if connection == self.connection {
                        self.said.extend_from_slice(&last);
                        self.closed = true;
                    }
                }
            }
        }
    }
}

/// Attributes of an UPDATE with one type 2 route of the overlay `vni`, as an internal peer would send it.
pub(crate) fn mac_route(vni: u32, mac: [u8; 6], ip: Option<IpAddr>, next_hop: IpAddr) -> Vec<PathAttribute> {
    let route = EvpnRoute::MacIp(EvpnMacIp {
        rd: RouteDistinguisher([0, 0, 0, 9, 0, 0, 0, 1]),
        esi: EthernetSegmentIdentifier([0; 10]),
        ethernet_tag: EthernetTagId(0),
        mac: MacAddress(mac),
        ip,
        label1: MplsLabel::new(vni),
        label2: None,
    });
    let target = ExtendedCommunity::new(0x0002_0000_0000_0000 | u64::from(ASN) << 32 | u64::from(vni));
    let communities = vec![target, ExtendedCommunity::bgp_encapsulation(8)];
    evpn_update(next_hop, vec![route], communities)
}

pub(crate) fn evpn_update(
    next_hop: IpAddr,
    routes: Vec<EvpnRoute>,
    communities: Vec<ExtendedCommunity>,
) -> Vec<PathAttribute> {
    vec![
        PathAttribute::Origin(Origin::Igp),
        PathAttribute::AsPath(AsPath { segments: Vec::new() }),
        PathAttribute::LocalPref(100),
        PathAttribute::ExtendedCommunities(communities),
        PathAttribute::MpReachNlri(Box::new(MpReachNlri {
            afi: Afi::L2Vpn,
            safi: Safi::Evpn,
            next_hop,
            link_local_next_hop: None,
            announced: Vec::new(),
            flowspec_announced: Vec::new(),
            evpn_announced: routes,
            bgpls_announced: Vec::new(),
            vpn_announced: Vec::new(),
            labeled_announced: Vec::new(),
            rtc_announced: Vec::new(),
        })),
    ]
}

/// Attributes of an UPDATE that withdraws routes.
pub(crate) fn withdraw(routes: Vec<EvpnRoute>) -> Vec<PathAttribute> {
    vec![PathAttribute::MpUnreachNlri(Box::new(MpUnreachNlri {
        afi: Afi::L2Vpn,
        safi: Safi::Evpn,
        withdrawn: Vec::new(),
        flowspec_withdrawn: Vec::new(),
        evpn_withdrawn: routes,
        bgpls_withdrawn: Vec::new(),
        vpn_withdrawn: Vec::new(),
        labeled_withdrawn: Vec::new(),
        rtc_withdrawn: Vec::new(),
    }))]
}
