//! Endpoints: the far ends of VXLAN, and the outer headers toward them, ready made.

use std::net::IpAddr;
use std::sync::Arc;

use wire::ipv4::{self, Ipv4Repr};
use wire::ipv6::{self, Ipv6Repr};
use wire::udp;
use wire::vxlan;
use wire::{IpProtocol, checksum};

use super::adjacency::Adjacency;

/// Bytes of the outer headers after Ethernet, over IPv4.
const OUTER_V4: usize = ipv4::HEADER_LEN + udp::HEADER_LEN + vxlan::HEADER_LEN;
/// Bytes of the outer headers after Ethernet, over IPv6.
const OUTER_V6: usize = ipv6::HEADER_LEN + udp::HEADER_LEN + vxlan::HEADER_LEN;

/// TTL and hop limit of outer packets.
const OUTER_TTL: u8 = 64;

/// An endpoint.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    pub(crate) address: IpAddr,
    /// The neighbour that frames to it go through; `None` while there is no route.
    pub(crate) adjacency: Option<Arc<Adjacency>>,
    pub(crate) outer: OuterHeader,
}

/// The outer IP header toward an endpoint, as far as it is the same for all packets.
#[derive(Clone, Debug)]
pub(crate) enum OuterHeader {
    /// Over IPv4: the header with length and checksum zero, and its sum.
    V4 { header: [u8; ipv4::HEADER_LEN], sum: u32 },
    /// Over IPv6: the header with length zero, and the sum of the pseudo header without the length.
    V6 { header: [u8; ipv6::HEADER_LEN], pseudo_sum: u32 },
}

impl OuterHeader {
    /// The header from `source`, the VTEP address of that family, to `destination`. `None` if there is none.
    pub(crate) fn new(sources: &[IpAddr], destination: IpAddr) -> Option<Self> {
        sources.iter().find_map(|source| match (*source, destination) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let mut header = [0; ipv4::HEADER_LEN];
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
                repr.emit(&mut header);
                header[2..4].fill(0);
                header[10..12].fill(0);
                Some(Self::V4 { header, sum: checksum::ones_sum(&header, 0) })
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let mut header = [0; ipv6::HEADER_LEN];
                let repr = Ipv6Repr {
                    src,
                    dst,
                    next_header: IpProtocol::Udp,
                    hop_limit: OUTER_TTL,
                    traffic_class: 0,
                    flow_label: 0,
                    payload_len: 0,
                };
                repr.emit(&mut header);
                Some(Self::V6 {
                    header,
                    pseudo_sum: checksum::pseudo_header_v6(src, dst, IpProtocol::Udp.into(), 0),
                })
            }
            _ => None,
        })
    }

    /// Bytes of IP, UDP and VXLAN headers.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::V4 { .. } => OUTER_V4,
            Self::V6 { .. } => OUTER_V6,
        }
    }
}
