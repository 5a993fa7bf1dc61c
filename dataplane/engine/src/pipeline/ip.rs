//! IP headers of packets that are to be forwarded: checked, read, and aged by one hop.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wire::ipv4::{self, Ipv4Packet};
use wire::ipv6::{self, Ipv6Packet};
use wire::{Error, EtherType, IpProtocol, checksum};

use crate::counters::Reason;

/// First byte of an IPv4 header of 20 bytes.
const VERSION_4_WITHOUT_OPTIONS: u8 = 0x45;
/// The flag and the offset that tell a fragment (RFC 791 §3.1).
const MORE_FRAGMENTS_AND_OFFSET: u16 = 0x3fff;

/// The flow label in the first word of an IPv6 header.
pub(crate) const FLOW_LABEL: u32 = 0x000f_ffff;

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
    pub(crate) protocol: u8,
    /// DSCP and ECN (RFC 2474, RFC 3168).
    pub(crate) traffic_class: u8,
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
    /// None, where one will be.
    pub(crate) const NONE: Self = Self {
        source: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        destination: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        ttl: 0,
        len: 0,
        protocol: 0,
        traffic_class: 0,
        payload: None,
        flow_label: 0,
    };

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
        match packet.first_chunk() {
            Some(header) if header[0] == VERSION_4_WITHOUT_OPTIONS => {
                Self::parse_v4_without_options(header, packet.len())
            }
            _ => Self::parse_v4_with_options(packet),
        }
    }

    /// What nearly all packets are, without a loop or a length that is not a constant.
    #[inline]
    fn parse_v4_without_options(header: &[u8; ipv4::HEADER_LEN], available: usize) -> Result<Self, Reason> {
        let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let address = |at: usize| Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]);
        let len = word(2);
        if usize::from(len) < ipv4::HEADER_LEN || usize::from(len) > available {
            return Err(Reason::Truncated);
        }
        if !checksum::is_valid_header(header) {
            return Err(Reason::BadChecksum);
        }
        let is_fragment = word(6) & MORE_FRAGMENTS_AND_OFFSET != 0;
        Ok(Self {
            source: address(12).into(),
            destination: address(16).into(),
            ttl: header[8],
            len,
            protocol: header[9],
            traffic_class: header[1],
            payload: (!is_fragment).then_some(ipv4::HEADER_LEN as u16),
            flow_label: 0,
        })
    }

    #[cold]
    fn parse_v4_with_options(packet: &[u8]) -> Result<Self, Reason> {
        let packet = Ipv4Packet::new_checked(packet)?;
        if !packet.verify_checksum() {
            return Err(Reason::BadChecksum);
        }
        // A source route would let the sender choose a way around our checks; and where lengths lie, who knows what the
        // next router makes of them.
        if packet.has_source_route().map_err(|_| Reason::Malformed)? {
            return Err(Reason::SourceRoute);
        }
        Ok(Self {
            source: packet.src().into(),
            destination: packet.dst().into(),
            ttl: packet.ttl(),
            len: packet.total_len() as u16,
            protocol: packet.protocol().into(),
            traffic_class: packet.dscp_ecn(),
            payload: (!packet.is_fragment()).then(|| packet.header_len() as u16),
            flow_label: 0,
        })
    }

    #[inline]
    fn parse_v6(packet: &[u8]) -> Result<Self, Reason> {
        let packet = Ipv6Packet::new_checked(packet)?;
        let protocol = packet.next_header().into();
        Ok(Self {
            source: packet.src().into(),
            destination: packet.dst().into(),
            ttl: packet.hop_limit(),
            // A packet that fits a frame: no more than that is ever in the buffer.
            len: packet.total_len() as u16,
            protocol,
            traffic_class: packet.traffic_class(),
            payload: (protocol != u8::from(IpProtocol::Fragment)).then_some(ipv6::HEADER_LEN as u16),
            flow_label: packet.flow_label(),
        })
    }

    /// Whether this is the upper-layer protocol, or the first extension header.
    #[inline]
    pub(crate) fn is(&self, protocol: IpProtocol) -> bool {
        self.protocol == u8::from(protocol)
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

    /// Takes one hop off the packet at the start of `packet`, which `parse` has accepted and whose TTL is above zero.
    #[inline]
    pub(crate) fn age(&self, packet: &mut [u8]) {
        match (self.source, packet.first_chunk_mut::<{ ipv4::HEADER_LEN }>()) {
            (IpAddr::V4(_), Some(header)) => {
                // The TTL is the high byte of its word: one less there is one more in the checksum's complement
                // (RFC 1141), and the carry comes round.
                header[8] = self.ttl - 1;
                let check = u16::from_be_bytes([header[10], header[11]]);
                let (check, carry) = check.overflowing_add(0x0100);
                [header[10], header[11]] = (check + u16::from(carry)).to_be_bytes();
            }
            (IpAddr::V6(_), Some(header)) => header[7] = self.ttl - 1,
            (_, None) => {}
        }
    }
}

/// Writes the ECN field of the packet at the start of `packet`, whose header was parsed.
pub(crate) fn set_ecn(packet: &mut [u8], ecn: u8) {
    match packet.first().map(|first| first >> 4) {
        Some(4) => {
            if let Some(header) = packet.first_chunk_mut::<{ ipv4::HEADER_LEN }>() {
                let before = u16::from_be_bytes([header[0], header[1]]);
                header[1] = header[1] & !ECN | ecn;
                let after = u16::from_be_bytes([header[0], header[1]]);
                let check = u16::from_be_bytes([header[10], header[11]]);
                [header[10], header[11]] = checksum::update(check, before, after).to_be_bytes();
            }
        }
        _ => {
            if let Some(byte) = packet.get_mut(1) {
                *byte = *byte & !(ECN << 4) | ecn << 4;
            }
        }
    }
}

/// The ECN bits of a traffic class (RFC 3168 §5).
pub(crate) const ECN: u8 = 0b11;
/// Congestion was met.
pub(crate) const CE: u8 = 0b11;
/// One of the two that say that the sender understands.
pub(crate) const ECT_1: u8 = 0b01;
/// The sender does not understand.
pub(crate) const NOT_ECT: u8 = 0b00;

/// Whether a packet may be forwarded to `address` at all (RFC 1812 §5.3.7 and 4.2.2.11, RFC 4291 §2.5 to 2.7).
#[inline]
pub(crate) fn is_forwardable_destination(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_host_v4(address),
        IpAddr::V6(address) => is_host_v6(address),
    }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The short way and the long one read alike, whatever the bytes.
        #[test]
        fn headers_without_options_are_read_alike(
            mut packet in proptest::collection::vec(any::<u8>(), 0..80),
            repair in any::<bool>(),
        ) {
            if let [first, _, high, low, ..] = packet.as_mut_slice() {
                *first = VERSION_4_WITHOUT_OPTIONS;
                *high = 0;
                *low &= 0x7f;
            }
            if repair && packet.len() >= 20 {
                packet[10..12].fill(0);
                let check = checksum::finish(checksum::ones_sum(&packet[..20], 0));
                packet[10..12].copy_from_slice(&check.to_be_bytes());
            }
            let short = IpHeader::parse(EtherType::Ipv4, &packet);
            let long = IpHeader::parse_v4_with_options(&packet);
            prop_assert_eq!(format!("{short:?}"), format!("{long:?}"));
        }

        #[test]
        fn aging_keeps_the_checksum_right(mut header in proptest::array::uniform20(any::<u8>()), ttl in 1..=255_u8) {
            header[0] = VERSION_4_WITHOUT_OPTIONS;
            header[2..4].copy_from_slice(&20_u16.to_be_bytes());
            header[8] = ttl;
            header[10..12].fill(0);
            let check = checksum::finish(checksum::ones_sum(&header, 0));
            header[10..12].copy_from_slice(&check.to_be_bytes());
            let parsed = IpHeader::parse(EtherType::Ipv4, &header).unwrap();
            parsed.age(&mut header);
            prop_assert_eq!(header[8], ttl - 1);
            prop_assert!(checksum::is_valid_header(&header));
        }
    }
}
