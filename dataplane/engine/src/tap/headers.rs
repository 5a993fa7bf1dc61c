//! What filters look at in a frame, read leniently: a frame that is dropped because it is malformed is to be found too.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use arrayvec::ArrayVec;
use wire::ipv4;
use wire::ipv6::{self, Ipv6Packet};
use wire::vxlan::{self, VxlanPacket};
use wire::{EtherType, IpProtocol, MacAddr, Vni, arp, ethernet, udp};

/// Bytes of an 802.1Q tag.
const TAG_LEN: usize = 4;
/// Tags that are looked behind.
const MAX_TAGS: usize = 2;
/// Protocols that have ports where TCP has them (RFC 9260, RFC 3828).
const WITH_PORTS: [IpProtocol; 4] =
    [IpProtocol::Tcp, IpProtocol::Udp, IpProtocol::Unknown(132), IpProtocol::Unknown(136)];

/// The headers of a frame: its own, and those inside its VXLAN.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Headers {
    pub(super) outer: Layer,
    pub(super) vni: Option<Vni>,
    pub(super) inner: Option<Layer>,
}

/// Ethernet, IP and upper layer, as far as they are there.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Layer {
    /// Where it starts in the frame.
    pub(super) start: usize,
    /// Destination and source.
    pub(super) macs: ArrayVec<MacAddr, 2>,
    /// Source and destination of IP, or those of ARP.
    pub(super) addresses: ArrayVec<IpAddr, 2>,
    pub(super) protocol: Option<u8>,
    /// Source and destination; none in later fragments.
    pub(super) ports: Option<[u16; 2]>,
    /// Where TTL or hop limit is in the frame.
    pub(super) hops_at: usize,
    /// Where the upper layer starts in the frame.
    upper: usize,
}

impl Headers {
    pub(super) fn read(frame: &[u8]) -> Self {
        let outer = Layer::read(frame, 0);
        let is_vxlan = outer.protocol == Some(IpProtocol::Udp.into())
            && outer.ports.is_some_and(|[_, destination]| destination == vxlan::UDP_PORT);
        let vxlan = frame.get(outer.upper + udp::HEADER_LEN..).filter(|_| is_vxlan);
        let vxlan = vxlan.and_then(|bytes| VxlanPacket::new_checked(bytes).ok());
        let vni = vxlan.and_then(|vxlan| vxlan.vni());
        let start = outer.upper + udp::HEADER_LEN + vxlan::HEADER_LEN;
        let inner = vxlan.map(|_| Layer::read(frame, start));
        Self { outer, vni, inner }
    }

    /// The headers that say what the packet is: inside, if there is an inside.
    pub(super) fn innermost(&self) -> &Layer {
        self.inner.as_ref().unwrap_or(&self.outer)
    }

    /// All layers.
    pub(super) fn layers(&self) -> impl Iterator<Item = &Layer> {
        std::iter::once(&self.outer).chain(&self.inner)
    }
}

impl Layer {
    /// Of what starts at `at`.
    fn read(frame: &[u8], at: usize) -> Self {
        let mut layer = Self { start: at, ..Self::default() };
        let mac = |at: usize| frame.get(at..at + 6)?.try_into().ok().map(MacAddr);
        layer.macs.extend([at, at + 6].into_iter().filter_map(mac));
        let mut ethertype_at = at + ethernet::HEADER_LEN - 2;
        for _ in 0..MAX_TAGS {
            if let Some(EtherType::Vlan | EtherType::QinQ) = word(frame, ethertype_at).map(EtherType::from) {
                ethertype_at += TAG_LEN;
            }
        }
        let start = ethertype_at + 2;
        let packet = frame.get(start..).unwrap_or(&[]);
        match word(frame, ethertype_at).map(EtherType::from) {
            Some(EtherType::Ipv4) => layer.read_v4(start, packet),
            Some(EtherType::Ipv6) => layer.read_v6(start, packet),
            // Sender and target of an Ethernet/IPv4 body (RFC 826).
            Some(EtherType::Arp) if packet.len() >= arp::LEN => {
                layer.addresses.extend([14, 24].into_iter().filter_map(|at| v4(packet, at)));
            }
            _ => {}
        }
        layer
    }

    fn read_v4(&mut self, start: usize, packet: &[u8]) {
        self.addresses.extend([12, 16].into_iter().filter_map(|at| v4(packet, at)));
        self.hops_at = start + 8;
        let Some(header) = packet.first_chunk::<{ ipv4::HEADER_LEN }>() else { return };
        let is_later = word(header, 6).is_some_and(|flags| flags & 0x1fff != 0);
        let len = usize::from(header[0] & 0x0f) * 4;
        self.read_upper(start + len.max(ipv4::HEADER_LEN), header[9], packet.get(len..), is_later);
    }

    fn read_v6(&mut self, start: usize, packet: &[u8]) {
        self.addresses.extend([8, 24].into_iter().filter_map(|at| v6(packet, at)));
        self.hops_at = start + 7;
        let Some(header) = packet.first_chunk::<{ ipv6::HEADER_LEN }>() else { return };
        let upper = Ipv6Packet::new_checked(packet).and_then(|packet| packet.upper_layer());
        let (protocol, offset, is_later) = match upper {
            Ok(upper) => {
                let is_later = upper.fragment_offset.is_some_and(|offset| offset != 0);
                (upper.protocol.into(), upper.offset, is_later)
            }
            // Cut off, or a chain that lies: the first header is all that can be known.
            Err(_) => (header[6], ipv6::HEADER_LEN, false),
        };
        self.read_upper(start + offset, protocol, packet.get(offset..), is_later);
    }

    fn read_upper(&mut self, at: usize, protocol: u8, upper: Option<&[u8]>, is_later: bool) {
        self.upper = at;
        self.protocol = Some(protocol);
        let upper = upper.filter(|_| !is_later && WITH_PORTS.contains(&protocol.into())).unwrap_or(&[]);
        self.ports = word(upper, 0).zip(word(upper, 2)).map(|(source, destination)| [source, destination]);
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn v4(bytes: &[u8], at: usize) -> Option<IpAddr> {
    let octets: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(Ipv4Addr::from_octets(octets).into())
}

fn v6(bytes: &[u8], at: usize) -> Option<IpAddr> {
    let octets: [u8; 16] = bytes.get(at..at + 16)?.try_into().ok()?;
    Some(Ipv6Addr::from_octets(octets).into())
}
