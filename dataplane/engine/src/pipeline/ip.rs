//! IP headers of packets that are to be forwarded: checked, read, and aged by one hop.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wire::ipv4::Ipv4Packet;
use wire::ipv6::{self, Ipv6Packet};
use wire::{Error, EtherType, IpProtocol};

use crate::counters::Reason;

/// What forwarding needs of an IP header. Many are held at a time, so that they are kept small.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IpHeader {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    /// TTL or hop limit.
    pub(crate) ttl: u8,
    /// Bytes of the packet, header included; what follows in the frame is padding.
    pub(crate) len: u16,
    /// Upper-layer protocol, or the kind of the first extension header.
    pub(crate) protocol: IpProtocol,
    /// Where the upper layer, or the first extension header, starts; `None` in a fragment.
    pub(crate) payload: Option<u16>,
    /// IPv6 flow label; zero in IPv4.
    pub(crate) flow_label: u32,
}

impl From<Error> for Reason {
    fn from(error: Error) -> Self {
        match error {
            Error::Truncated | Error::BadLength => Self::Truncated,
            Error::BadChecksum => Self::BadChecksum,
            _ => Self::Malformed,
        }
    }
}

impl IpHeader {
    /// Reads the header at the start of `packet`.
    #[inline]
    pub(crate) fn parse(ethertype: EtherType, packet: &[u8]) -> Result<Self, Reason> {
        match ethertype {
            EtherType::Ipv4 => Self::parse_v4(packet),
            EtherType::Ipv6 => Self::parse_v6(packet),
            _ => Err(Reason::UnknownEtherType),
        }
    }

    #[inline]
    fn parse_v4(packet: &[u8]) -> Result<Self, Reason> {
        let packet = Ipv4Packet::new_checked(packet)?;
        if !packet.verify_checksum() {
            return Err(Reason::BadChecksum);
        }
        // A source route would let the sender choose a way around our checks.
        if packet.has_source_route() {
            return Err(Reason::SourceRoute);
        }
        Ok(Self {
            source: packet.src().into(),
            destination: packet.dst().into(),
            ttl: packet.ttl(),
            len: packet.total_len() as u16,
            protocol: packet.protocol(),
            payload: (!packet.is_fragment()).then(|| packet.header_len() as u16),
            flow_label: 0,
        })
    }

    #[inline]
    fn parse_v6(packet: &[u8]) -> Result<Self, Reason> {
        let packet = Ipv6Packet::new_checked(packet)?;
        let protocol = packet.next_header();
        Ok(Self {
            source: packet.src().into(),
            destination: packet.dst().into(),
            ttl: packet.hop_limit(),
            // A packet that fits a frame: no more than that is ever in the buffer.
            len: packet.total_len() as u16,
            protocol,
            payload: (protocol != IpProtocol::Fragment).then_some(ipv6::HEADER_LEN as u16),
            flow_label: packet.flow_label(),
        })
    }

    /// The EtherType of the packet.
    #[inline]
    pub(crate) fn ethertype(&self) -> EtherType {
        match self.source {
            IpAddr::V4(_) => EtherType::Ipv4,
            IpAddr::V6(_) => EtherType::Ipv6,
        }
    }

    /// The `len` bytes from `from` on in the upper layer of `packet`, if they are there and it is not a fragment.
    #[inline]
    pub(crate) fn upper_layer<'a>(&self, packet: &'a [u8], from: usize, len: usize) -> Option<&'a [u8]> {
        let at = usize::from(self.payload?) + from;
        packet.get(at..at + len)
    }

    /// Takes one hop off the packet at the start of `packet`, which `parse` has accepted.
    #[inline]
    pub(crate) fn age(&self, packet: &mut [u8]) {
        match self.source {
            IpAddr::V4(_) => {
                if let Ok(mut packet) = Ipv4Packet::new_checked(packet) {
                    packet.decrement_ttl();
                }
            }
            IpAddr::V6(_) => {
                if let Ok(mut packet) = Ipv6Packet::new_checked(packet) {
                    packet.decrement_hop_limit();
                }
            }
        }
    }
}

/// Whether a packet may be forwarded to `address` at all (RFC 1812 §5.3.7 and 4.2.2.11, RFC 4291 §2.5 to 2.7).
#[inline]
pub(crate) fn is_forwardable_destination(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_host_v4(address),
        IpAddr::V6(address) => is_host_v6(address),
    }
}

/// Whether `address` may be the source of a packet that is forwarded.
#[inline]
pub(crate) fn is_forwardable_source(address: IpAddr) -> bool {
    is_forwardable_destination(address) && !is_link_local(address)
}

#[inline]
fn is_host_v4(address: Ipv4Addr) -> bool {
    // 0/8 is "this network", 240/4 is reserved and holds the limited broadcast.
    !matches!(address.octets()[0], 0 | 127 | 224..)
}

#[inline]
fn is_host_v6(address: Ipv6Addr) -> bool {
    // IPv4-mapped addresses never stand in packets (RFC 4291 §2.5.5.2 is for nodes, not wires).
    !(address.is_multicast()
        || address.is_loopback()
        || address.is_unspecified()
        || address.to_ipv4_mapped().is_some())
}

/// Whether `address` is link-local.
#[inline]
pub(crate) fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}
