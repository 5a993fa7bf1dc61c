//! A peer that says what the test wants: BGP over a TCP socket of a namespace, message by message.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use lab::Namespace;
use rustbgpd_wire::{
    Afi, AsPath, Capability, EthernetSegmentIdentifier, EthernetTagId, EvpnMacIp, EvpnRoute,
    ExtendedCommunity, MacAddress, Message, MpReachNlri, MplsLabel, OpenMessage, Origin, PathAttribute,
    RouteDistinguisher, Safi, UpdateMessage, attribute, decode_message, encode_message, peek_message_length,
};
use rustix::net::{AddressFamily, SocketType, sockopt};
use sys::tcp;
use wire::MacAddr;

use crate::stage::PATIENCE;

/// The AS of all peers.
pub(crate) const ASN: u32 = 65000;

const PORT: u16 = 179;

/// How long one that nobody answers tries to connect: for a refusal two tries of the kernel are enough.
const ATTEMPT: Duration = Duration::from_secs(3);

/// How a connection is made.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Transport<'a> {
    pub(crate) password: Option<&'a str>,
    pub(crate) ttl: Option<u8>,
}

/// One connection with the gateway.
#[derive(Debug)]
pub(crate) struct Liar {
    stream: TcpStream,
    heard: BytesMut,
}

impl Liar {
    /// Connects from one of the namespace's addresses.
    pub(crate) fn connect(
        namespace: &Namespace,
        from: IpAddr,
        to: IpAddr,
        transport: Transport<'_>,
    ) -> io::Result<Self> {
        let dial = || -> io::Result<TcpStream> {
            let socket = socket(from, to, transport)?;
            rustix::net::bind(&socket, &SocketAddr::new(from, 0))?;
            sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(ATTEMPT))?;
            rustix::net::connect(&socket, &SocketAddr::new(to, PORT))?;
            Ok(TcpStream::from(socket))
        };
        Self::over(namespace.enter(dial).unwrap()?)
    }

    pub(crate) fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { stream, heard: BytesMut::new() })
    }

    /// An OPEN that the gateway likes.
    pub(crate) fn open(router_id: Ipv4Addr) -> OpenMessage {
        let capabilities = vec![
            Capability::MultiProtocol { afi: Afi::L2Vpn, safi: Safi::Evpn },
            Capability::FourOctetAs { asn: ASN },
        ];
        OpenMessage { version: 4, my_as: ASN as u16, hold_time: 90, bgp_identifier: router_id, capabilities }
    }

    /// Has a session come up: what a good peer says and hears.
    pub(crate) fn establish(&mut self, router_id: Ipv4Addr) {
        self.say(&Message::Open(Self::open(router_id)));
        self.say(&Message::Keepalive);
        self.hear_until(|message| matches!(message, Message::Keepalive));
    }

    pub(crate) fn say(&mut self, message: &Message) {
        self.say_bytes(&encode_message(message).unwrap()).unwrap();
    }

    pub(crate) fn say_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    pub(crate) fn announce(&mut self, attributes: &[PathAttribute]) {
        self.say_bytes(&update(attributes)).unwrap();
    }

    /// The next message; `None`: the gateway has closed the connection.
    pub(crate) fn hear(&mut self) -> Option<Message> {
        loop {
            if let Some(length) = peek_message_length(&self.heard, u16::MAX).unwrap() {
                let length = usize::from(length);
                if self.heard.len() >= length {
                    let mut message = self.heard.split_to(length).freeze();
                    return Some(decode_message(&mut message, u16::MAX).unwrap());
                }
            }
            let mut piece = [0; 4096];
            match self.stream.read(&mut piece) {
                Ok(0) => return None,
                Ok(length) => self.heard.extend_from_slice(&piece[..length]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("nothing more is heard: {error}"),
            }
        }
    }

    fn hear_until(&mut self, so: impl Fn(&Message) -> bool) {
        loop {
            match self.hear() {
                Some(message) if so(&message) => return,
                Some(Message::Notification(notification)) => panic!("{notification:?}"),
                Some(_) => {}
                None => panic!("closed"),
            }
        }
    }

    /// Codes of the NOTIFICATION with which the gateway ends the connection, if it says one.
    pub(crate) fn hear_end(&mut self) -> Option<(u8, u8)> {
        let mut codes = None;
        while let Some(message) = self.hear() {
            if let Message::Notification(notification) = message {
                codes = Some((notification.code.as_u8(), notification.subcode));
            }
        }
        codes
    }
}

/// Waits for connections, without limits of its own.
pub(crate) fn listen(
    namespace: &Namespace,
    at: IpAddr,
    from: IpAddr,
    transport: Transport<'_>,
) -> TcpListener {
    let open = || -> io::Result<TcpListener> {
        let socket = socket(at, from, transport)?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        rustix::net::bind(&socket, &SocketAddr::new(at, PORT))?;
        rustix::net::listen(&socket, 16)?;
        Ok(TcpListener::from(socket))
    };
    namespace.enter(open).unwrap().unwrap()
}

fn socket(own: IpAddr, other: IpAddr, transport: Transport<'_>) -> io::Result<OwnedFd> {
    let family = if own.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket(family, SocketType::STREAM, None)?;
    if let Some(password) = transport.password {
        tcp::set_md5_key(&socket, other, password.as_bytes())?;
    }
    match transport.ttl {
        Some(ttl) if own.is_ipv4() => sockopt::set_ip_ttl(&socket, ttl.into())?,
        Some(ttl) => sockopt::set_ipv6_unicast_hops(&socket, Some(ttl))?,
        None => {}
    }
    Ok(socket)
}

/// A type 2 route without an IP address.
pub(crate) fn mac_route(vni: u32, mac: MacAddr) -> EvpnRoute {
    EvpnRoute::MacIp(EvpnMacIp {
        rd: RouteDistinguisher([0, 0, 0, 66, 0, 0, 0, 1]),
        esi: EthernetSegmentIdentifier([0; 10]),
        ethernet_tag: EthernetTagId(0),
        mac: MacAddress(mac.0),
        ip: None,
        label1: MplsLabel::new(vni),
        label2: None,
    })
}

/// Attributes of an UPDATE with EVPN routes for the overlay with the route target `ASN:target`, as an internal peer
/// sends it.
pub(crate) fn evpn(next_hop: IpAddr, target: u32, routes: Vec<EvpnRoute>) -> Vec<PathAttribute> {
    let target = ExtendedCommunity::new(0x0002_0000_0000_0000 | u64::from(ASN) << 32 | u64::from(target));
    vec![
        PathAttribute::Origin(Origin::Igp),
        PathAttribute::AsPath(AsPath { segments: Vec::new() }),
        PathAttribute::LocalPref(100),
        PathAttribute::ExtendedCommunities(vec![target, ExtendedCommunity::bgp_encapsulation(8)]),
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

/// The UPDATE with these attributes, as it is sent.
pub(crate) fn update(attributes: &[PathAttribute]) -> Bytes {
    let mut encoded = Vec::new();
    attribute::encode_path_attributes(attributes, &mut encoded, true, false).unwrap();
    let message =
        UpdateMessage { withdrawn_routes: Bytes::new(), path_attributes: encoded.into(), nlri: Bytes::new() };
    encode_message(&Message::Update(message)).unwrap().freeze()
}
