//! Endpoints: the far ends of VXLAN, and the outer headers toward them, ready made.

use std::net::{IpAddr, Ipv4Addr};

use wire::ethernet::{self, EthernetRepr};
use wire::ipv4::{self, Ipv4Repr};
use wire::ipv6::{self, Ipv6Repr};
use wire::udp::{self, UdpRepr};
use wire::vxlan::{self, VxlanRepr};
use wire::{EtherType, IpProtocol, MacAddr, Vni, checksum};

use super::way::Way;

/// Bytes of the outer headers, Ethernet included, over IPv4.
const OUTER_V4: usize = ethernet::HEADER_LEN + ipv4::HEADER_LEN + udp::HEADER_LEN + vxlan::HEADER_LEN;
/// The same over IPv6.
const OUTER_V6: usize = ethernet::HEADER_LEN + ipv6::HEADER_LEN + udp::HEADER_LEN + vxlan::HEADER_LEN;

/// TTL and hop limit of outer packets.
const OUTER_TTL: u8 = 64;

/// An endpoint: two cache lines, of which packets from it need only the first.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(crate) struct Endpoint {
    pub(crate) address: IpAddr,
    /// The neighbours that frames to it go through; [`Way::Reject`] while there is no route.
    pub(crate) way: Way,
    pub(crate) outer: OuterHeader,
}

impl Endpoint {
    /// One that nothing comes from or goes to.
    pub(super) fn nobody() -> Self {
        let outer = OuterHeader::V4 { header: [0; OUTER_V4], sum: 0 };
        Self { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), way: Way::Reject, outer }
    }
}

/// The outer headers toward an endpoint, Ethernet to VXLAN, as far as they are the same for all packets: without MAC
/// addresses, traffic class, lengths, checksums, source port and VNI, all of which are zero.
#[derive(Clone, Debug)]
pub(crate) enum OuterHeader {
    /// Over IPv4, and the sum of the IPv4 header.
    V4 { header: [u8; OUTER_V4], sum: u32 },
    /// Over IPv6, and the sum of what there is of the pseudo header and of UDP and VXLAN.
    V6 { header: [u8; OUTER_V6], sum: u32 },
}

impl OuterHeader {
    /// The headers from `source`, the VTEP address of that family, to `destination`. `None` if there is none.
    pub(crate) fn new(sources: &[IpAddr], destination: IpAddr) -> Option<Self> {
        sources.iter().find_map(|source| match (*source, destination) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let mut header = [0; OUTER_V4];
                ethernet(EtherType::Ipv4).emit(&mut header);
                let ip = &mut header[ethernet::HEADER_LEN..];
                // An atomic datagram: DF is set, so the identification means nothing (RFC 6864 §4.1).
                let repr = Ipv4Repr {
                    src,
                    dst,
                    protocol: IpProtocol::Udp,
                    ttl: OUTER_TTL,
                    dscp_ecn: 0,
                    ident: 0,
                    dont_fragment: true,
                    payload_len: 0,
                };
                repr.emit(ip);
                ip[2..4].fill(0);
                ip[10..12].fill(0);
                let sum = checksum::ones_sum(&ip[..ipv4::HEADER_LEN], 0);
                udp_and_vxlan(&mut ip[ipv4::HEADER_LEN..]);
                Some(Self::V4 { header, sum })
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let mut header = [0; OUTER_V6];
                ethernet(EtherType::Ipv6).emit(&mut header);
                let ip = &mut header[ethernet::HEADER_LEN..];
                let repr = Ipv6Repr {
                    src,
                    dst,
                    next_header: IpProtocol::Udp,
                    hop_limit: OUTER_TTL,
                    traffic_class: 0,
                    flow_label: 0,
                    payload_len: 0,
                };
                repr.emit(ip);
                let datagram = &mut ip[ipv6::HEADER_LEN..];
                udp_and_vxlan(datagram);
                let pseudo = checksum::pseudo_header_v6(src, dst, IpProtocol::Udp.into(), 0);
                let sum = checksum::ones_sum(datagram, pseudo);
                Some(Self::V6 { header, sum })
            }
            _ => None,
        })
    }

    /// Bytes of IP, UDP and VXLAN headers.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::V4 { .. } => OUTER_V4 - ethernet::HEADER_LEN,
            Self::V6 { .. } => OUTER_V6 - ethernet::HEADER_LEN,
        }
    }
}

/// A VNI where another will be written.
const ANY: Vni = Vni::new(1).unwrap();

fn ethernet(ethertype: EtherType) -> EthernetRepr {
    EthernetRepr { dst: MacAddr::ZERO, src: MacAddr::ZERO, ethertype }
}

/// Both headers, as far as they are the same for all packets.
fn udp_and_vxlan(datagram: &mut [u8]) {
    UdpRepr { src_port: 0, dst_port: vxlan::UDP_PORT }.emit(datagram);
    let vxlan = &mut datagram[udp::HEADER_LEN..];
    VxlanRepr { vni: ANY }.emit(vxlan);
    vxlan[4..].fill(0);
    datagram[4..6].fill(0);
}
