//! What the gateway sends: told apart from what its kernel says, and held against what a case may cause.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use lab::{Family, Nic, PacketSocket, ROUTER_MAC, Scene, Site};
use wire::MacAddr;

use crate::frames::{ARP, ETHERNET_LEN, ICMPV6, IPV4, IPV6, VXLAN_PORT};
use crate::stage::{MARKER, Stage, TOKEN};

const ICMP: u8 = 1;

/// What a sender is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    TimeExceeded,
    TooBig,
    NoRoute,
    NoAddress,
    NoPort,
    Prohibited,
}

impl Fault {
    /// ICMP type and code (RFC 792, RFC 1812 section 5.2.7.1, RFC 4443 section 3).
    fn codes(self, family: Family) -> [u8; 2] {
        match (self, family) {
            (Self::TimeExceeded, Family::V4) => [11, 0],
            (Self::TooBig, Family::V4) => [3, 4],
            (Self::NoRoute, Family::V4) => [3, 0],
            (Self::NoAddress, Family::V4) => [3, 1],
            (Self::NoPort, Family::V4) => [3, 3],
            (Self::Prohibited, Family::V4) => [3, 13],
            (Self::TimeExceeded, Family::V6) => [3, 0],
            (Self::TooBig, Family::V6) => [2, 0],
            (Self::NoRoute, Family::V6) => [1, 0],
            (Self::NoAddress, Family::V6) => [1, 3],
            (Self::NoPort, Family::V6) => [1, 4],
            (Self::Prohibited, Family::V6) => [1, 1],
        }
    }
}

/// Where a frame leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wire {
    Underlay,
    Uplink,
}

/// A frame that left.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sent {
    /// The frame of the case, forwarded.
    Forwarded(Wire),
    /// What its sender is to be told, to that sender.
    Told(Wire),
    /// Who in the overlay has the address that the case is for.
    Asked,
    /// An ICMP error outside of tunnels, which may be the kernel's.
    OfTheHost(Wire),
    /// What nothing is expected to cause.
    Unexpected(Wire, String),
}

/// How often each has left.
pub(crate) type Tally = BTreeMap<Sent, u64>;

/// The far ends of the gateway's links: all that it sends arrives there.
pub(crate) struct Wires([(Wire, MacAddr, PacketSocket); 2]);

impl Wires {
    pub(crate) fn watch(scene: &Scene) -> Self {
        let far = |wire, nic: &Nic| {
            let socket = nic.far_namespace.packet_socket(&nic.far_interface).expect("the far end");
            (wire, nic.mac, socket)
        };
        let topology = &scene.topology;
        Self([far(Wire::Underlay, &topology.underlay0), far(Wire::Uplink, &topology.uplink0)])
    }

    /// What has left since this was last asked, but for what the gateway's kernel says to its neighbours, and the
    /// well-formed datagrams between hosts.
    pub(crate) fn sent(&self, mut recognize: impl FnMut(Wire, &[u8]) -> Option<Sent>) -> Tally {
        let mut tally = Tally::new();
        let mut buffer = vec![0; 1 << 17];
        for (wire, mac, socket) in &self.0 {
            while let Some(length) = socket.receive(&mut buffer, Duration::ZERO).expect("a wire to watch") {
                let frame = &buffer[..length];
                if frame[6..12] != mac.0 || is_between_neighbours(frame) || contains(frame, TOKEN) {
                    continue;
                }
                let sent = recognize(*wire, frame);
                let unexpected = || Sent::Unexpected(*wire, format!("{frame:02x?}"));
                *tally.entry(sent.unwrap_or_else(unexpected)).or_default() += 1;
            }
        }
        tally
    }
}

/// The frame of a case, and who its sender is: what answers to it are held against.
pub(crate) struct Cause<'a> {
    stage: &'a Stage,
    frame: &'a [u8],
    /// What it may be told.
    fault: Option<Fault>,
}

impl<'a> Cause<'a> {
    pub(crate) fn new(stage: &'a Stage, frame: &'a [u8], fault: Option<Fault>) -> Self {
        Self { stage, frame, fault }
    }

    /// What a frame of the gateway's has to do with it, if anything.
    pub(crate) fn recognize(&self, wire: Wire, frame: &[u8]) -> Option<Sent> {
        let is_quoted = contains(frame, MARKER);
        match (self.fault, Tunnelled::read(frame), wire) {
            (Some(fault), inner, _) if is_quoted => {
                self.is_told(fault, frame, inner).then_some(Sent::Told(wire))
            }
            (Some(_), Some(inner), Wire::Underlay) => self.is_question(&inner).then_some(Sent::Asked),
            (None, inner, _) if is_quoted => {
                let packet = Packet::read(inner.map_or(frame, |inner| inner.frame));
                match (packet.is_some_and(|packet| packet.is_error()), inner, wire) {
                    (false, Some(_), Wire::Underlay) | (false, None, Wire::Uplink) => {
                        Some(Sent::Forwarded(wire))
                    }
                    (true, None, _) => Some(Sent::OfTheHost(wire)),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// Whether this tells the sender of the case, and quotes what that has sent.
    fn is_told(&self, fault: Fault, frame: &[u8], inner: Option<Tunnelled<'_>>) -> bool {
        let cause = Tunnelled::read(self.frame);
        let (asked, said) = match (&cause, &inner) {
            (Some(cause), Some(said)) => {
                let is_back = said.to == cause.from && said.vni == cause.vni;
                let is_to_sender = said.frame[..6] == cause.frame[6..12] && said.frame[6..12] == ROUTER_MAC.0;
                if !is_back || !is_to_sender {
                    return false;
                }
                (cause.frame, said.frame)
            }
            (None, None) => (self.frame, frame),
            _ => return false,
        };
        let (Some(asked), Some(said)) = (Packet::read(asked), Packet::read(said)) else { return false };
        let router = self.router(cause.map(|cause| cause.vni), &asked);
        said.source == router
            && said.destination == asked.source
            && said.icmp() == Some(fault.codes(asked.family()))
            && said.quotes(&asked)
    }

    /// The router's address that speaks to the sender: the one that was asked, or one on the sender's side.
    fn router(&self, vni: Option<u32>, asked: &Packet<'_>) -> IpAddr {
        let stations = self.stage.scene.stations.iter().map(|station| station.site);
        let mut sites = stations.filter(|site| vni.is_none_or(|vni| site.vni.value() == vni));
        let is_router = |site: Site| site.routers().contains(&asked.destination);
        if asked.destination == ROUTER_MAC.link_local() || sites.clone().any(is_router) {
            return asked.destination;
        }
        let own = vni.and_then(|_| sites.next()).map(|site| site.address(asked.family(), 1));
        own.unwrap_or_else(|| Stage::uplink_address(asked.family()))
    }

    /// Whether the overlay of the address that the case is for is asked for it, by its router.
    fn is_question(&self, inner: &Tunnelled<'_>) -> bool {
        let frame = Tunnelled::read(self.frame).map_or(self.frame, |cause| cause.frame);
        let Some(asked) = Packet::read(frame) else { return false };
        let Some(station) =
            self.stage.scene.stations.iter().find(|station| station.site.vni.value() == inner.vni)
        else {
            return false;
        };
        let router = match asked.destination {
            IpAddr::V4(_) => station.site.address(Family::V4, 1),
            IpAddr::V6(_) => ROUTER_MAC.link_local().into(),
        };
        inner.to == self.stage.vteps(station.site.endpoint).1
            && inner.frame[6..12] == ROUTER_MAC.0
            && question(inner.frame) == Some((router, asked.destination))
    }
}

/// A VXLAN frame.
#[derive(Clone, Copy)]
struct Tunnelled<'a> {
    from: IpAddr,
    to: IpAddr,
    vni: u32,
    frame: &'a [u8],
}

impl<'a> Tunnelled<'a> {
    fn read(frame: &'a [u8]) -> Option<Self> {
        let Packet { source: from, destination: to, protocol: 17, payload, .. } = Packet::read(frame)? else {
            return None;
        };
        let port = u16::from_be_bytes(payload.get(2..4)?.try_into().ok()?);
        let vni = u32::from_be_bytes(payload.get(12..16)?.try_into().ok()?) >> 8;
        let frame = payload.get(16..).filter(|frame| port == VXLAN_PORT && frame.len() >= ETHERNET_LEN)?;
        Some(Self { from, to, vni, frame })
    }
}

/// An IP packet without options in a frame without tags.
struct Packet<'a> {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    payload: &'a [u8],
}

impl<'a> Packet<'a> {
    fn read(frame: &'a [u8]) -> Option<Self> {
        let packet = frame.get(ETHERNET_LEN..)?;
        match u16::from_be_bytes(frame[12..14].try_into().ok()?) {
            IPV4 => {
                let address = |at: usize| Some(Ipv4Addr::from(*packet.get(at..)?.first_chunk()?).into());
                let (source, destination) = (address(12)?, address(16)?);
                Some(Self { source, destination, protocol: packet[9], payload: &packet[20..] })
            }
            IPV6 => {
                let address =
                    |at: usize| Some(Ipv6Addr::from(*packet.get(at..)?.first_chunk::<16>()?).into());
                let (source, destination) = (address(8)?, address(24)?);
                Some(Self { source, destination, protocol: packet[6], payload: &packet[40..] })
            }
            _ => None,
        }
    }

    fn family(&self) -> Family {
        if self.source.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// ICMP type and code.
    fn icmp(&self) -> Option<[u8; 2]> {
        let protocol = if self.source.is_ipv4() { ICMP } else { ICMPV6 };
        self.payload.first_chunk().copied().filter(|_| self.protocol == protocol)
    }

    /// Destination unreachable, time exceeded, or parameter problem, of either family.
    fn is_error(&self) -> bool {
        self.icmp().is_some_and(|[kind, _]| match self.source {
            IpAddr::V4(_) => matches!(kind, 3 | 11 | 12),
            IpAddr::V6(_) => matches!(kind, 1..=4),
        })
    }

    /// Whether the packet that this ICMP error is about is the other, as far as its addresses and its payload go.
    fn quotes(&self, other: &Packet<'_>) -> bool {
        let Some(quoted) = self.payload.get(8..) else { return false };
        let ethertype = if other.source.is_ipv4() { IPV4 } else { IPV6 };
        let frame = [&[0; 12][..], &ethertype.to_be_bytes(), quoted].concat();
        Packet::read(&frame).is_some_and(|quoted| {
            (quoted.source, quoted.destination, quoted.protocol)
                == (other.source, other.destination, other.protocol)
                && other.payload.starts_with(&quoted.payload[..quoted.payload.len().min(other.payload.len())])
        })
    }
}

/// Who asks, and for what: an ARP request, or a neighbour solicitation.
fn question(frame: &[u8]) -> Option<(IpAddr, IpAddr)> {
    if frame[12..14] == ARP.to_be_bytes() {
        let [0, 1, 8, 0, 6, 4, 0, 1, rest @ ..] = frame.get(ETHERNET_LEN..)? else { return None };
        let address = |at: usize| Some(Ipv4Addr::from(*rest.get(at..)?.first_chunk()?).into());
        return Some((address(6)?, address(16)?));
    }
    let packet = Packet::read(frame).filter(|packet| packet.icmp() == Some([135, 0]))?;
    Some((packet.source, Ipv6Addr::from(*packet.payload.get(8..)?.first_chunk::<16>()?).into()))
}

/// ARP, neighbour discovery and MLD outside of tunnels: the kernel's.
fn is_between_neighbours(frame: &[u8]) -> bool {
    match frame[12..14] {
        [0x08, 0x06] => true,
        // MLD has a hop-by-hop option before it.
        [0x86, 0xdd] => match frame[20] {
            0 => true,
            ICMPV6 => matches!(frame[54], 130..=137 | 143),
            _ => false,
        },
        _ => false,
    }
}

fn contains(frame: &[u8], bytes: &[u8]) -> bool {
    frame.windows(bytes.len()).any(|window| window == bytes)
}
