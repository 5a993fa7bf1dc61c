//! IPv6 (RFC 8200).
//!
//! After [`Ipv6Packet::new_checked`] the version is 6, the fixed header and the whole packet by its payload
//! length are inside the buffer, and no method panics. Extension headers are not looked at by the check:
//! [`Ipv6Packet::upper_layer`] survives any.

use std::net::Ipv6Addr;

use crate::{Error, IpProtocol, bytes};

mod extensions;

pub use extensions::{MAX_EXTENSIONS, UpperLayer};

/// Length of the fixed header, in bytes.
pub const HEADER_LEN: usize = field::DST.end;

mod field {
    use std::ops::Range;

    /// Version (4 bits), traffic class (8), flow label (20).
    pub(super) const VERSION_CLASS_FLOW: Range<usize> = 0..4;
    pub(super) const PAYLOAD_LEN: Range<usize> = 4..6;
    pub(super) const NEXT_HEADER: usize = 6;
    pub(super) const HOP_LIMIT: usize = 7;
    pub(super) const SRC: Range<usize> = 8..24;
    pub(super) const DST: Range<usize> = 24..40;
}

const VERSION_SHIFT: u32 = 28;
const CLASS_SHIFT: u32 = 20;
const CLASS_MASK: u32 = 0xff << CLASS_SHIFT;
const FLOW_MASK: u32 = 0x000f_ffff;

/// A view of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6Packet<T: AsRef<[u8]>> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Ipv6Packet<T> {
    /// [`Error::Truncated`] if the header or the packet does not fit the buffer, or [`Error::BadVersion`].
    /// Bytes after the payload (Ethernet padding) are allowed. Jumbograms (RFC 2675) count as having no
    /// payload.
    #[inline]
    pub fn new_checked(buffer: T) -> Result<Self, Error> {
        let len = buffer.as_ref().len();
        if len < HEADER_LEN {
            return Err(Error::Truncated);
        }
        let packet = Self { buffer };
        if packet.version_class_flow() >> VERSION_SHIFT != 6 {
            return Err(Error::BadVersion);
        }
        if packet.total_len() > len {
            return Err(Error::Truncated);
        }
        Ok(packet)
    }

    /// Gives the buffer back.
    #[inline]
    pub fn into_inner(self) -> T {
        self.buffer
    }

    #[inline]
    fn version_class_flow(&self) -> u32 {
        u32::from_be_bytes(bytes::get(self.buffer.as_ref(), field::VERSION_CLASS_FLOW))
    }

    /// Differentiated services code point (6 bits, RFC 2474) and ECN (2 bits, RFC 3168).
    #[inline]
    pub fn traffic_class(&self) -> u8 {
        ((self.version_class_flow() & CLASS_MASK) >> CLASS_SHIFT) as u8
    }

    /// Flow label, 20 bits (RFC 6437).
    #[inline]
    pub fn flow_label(&self) -> u32 {
        self.version_class_flow() & FLOW_MASK
    }

    /// Length of all after the fixed header, extension headers included, in bytes.
    #[inline]
    pub fn payload_len(&self) -> usize {
        usize::from(bytes::get_u16(self.buffer.as_ref(), field::PAYLOAD_LEN))
    }

    /// Length of fixed header and payload, in bytes.
    #[inline]
    pub fn total_len(&self) -> usize {
        HEADER_LEN + self.payload_len()
    }

    /// What the payload starts with: an extension header or the upper layer.
    #[inline]
    pub fn next_header(&self) -> IpProtocol {
        self.buffer.as_ref()[field::NEXT_HEADER].into()
    }

    /// Hop limit.
    #[inline]
    pub fn hop_limit(&self) -> u8 {
        self.buffer.as_ref()[field::HOP_LIMIT]
    }

    /// Source address.
    #[inline]
    pub fn src(&self) -> Ipv6Addr {
        Ipv6Addr::from_octets(bytes::get(self.buffer.as_ref(), field::SRC))
    }

    /// Destination address.
    #[inline]
    pub fn dst(&self) -> Ipv6Addr {
        Ipv6Addr::from_octets(bytes::get(self.buffer.as_ref(), field::DST))
    }

    /// All between fixed header and total length.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        &self.buffer.as_ref()[HEADER_LEN..self.total_len()]
    }

    /// Walks the extension headers to the upper layer, or to the fragment header of a fragment other than the
    /// first, whose payload cannot be understood.
    ///
    /// [`Error::Truncated`] if an extension header reaches past the packet's end, [`Error::BadField`] for
    /// hop-by-hop options that are not first or a second fragment header (RFC 8200 §4.1),
    /// [`Error::TooManyExtensions`] beyond [`MAX_EXTENSIONS`].
    #[inline]
    pub fn upper_layer(&self) -> Result<UpperLayer, Error> {
        let protocol = self.next_header();
        if extensions::is_extension(protocol) {
            return extensions::walk(&self.buffer.as_ref()[..self.total_len()], protocol);
        }
        Ok(UpperLayer { protocol, offset: HEADER_LEN, fragment_offset: None, more_fragments: false })
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Ipv6Packet<T> {
    #[inline]
    fn set_version_class_flow(&mut self, mask: u32, bits: u32) {
        let word = self.version_class_flow() & !mask | bits & mask;
        self.buffer.as_mut()[field::VERSION_CLASS_FLOW].copy_from_slice(&word.to_be_bytes());
    }

    /// Sets code point and ECN.
    #[inline]
    pub fn set_traffic_class(&mut self, traffic_class: u8) {
        self.set_version_class_flow(CLASS_MASK, u32::from(traffic_class) << CLASS_SHIFT);
    }

    /// Sets the flow label to the low 20 bits of `flow_label`.
    #[inline]
    pub fn set_flow_label(&mut self, flow_label: u32) {
        self.set_version_class_flow(FLOW_MASK, flow_label);
    }

    /// Sets the hop limit.
    #[inline]
    pub fn set_hop_limit(&mut self, hop_limit: u8) {
        self.buffer.as_mut()[field::HOP_LIMIT] = hop_limit;
    }

    /// Takes one off the hop limit; zero stays zero.
    #[inline]
    pub fn decrement_hop_limit(&mut self) {
        self.set_hop_limit(self.hop_limit().saturating_sub(1));
    }

    /// Sets the source address.
    #[inline]
    pub fn set_src(&mut self, src: Ipv6Addr) {
        self.buffer.as_mut()[field::SRC].copy_from_slice(&src.octets());
    }

    /// Sets the destination address.
    #[inline]
    pub fn set_dst(&mut self, dst: Ipv6Addr) {
        self.buffer.as_mut()[field::DST].copy_from_slice(&dst.octets());
    }

    /// All between fixed header and total length, to be changed.
    #[inline]
    pub fn payload_mut(&mut self) -> &mut [u8] {
        let range = HEADER_LEN..self.total_len();
        &mut self.buffer.as_mut()[range]
    }
}

/// The fixed header as a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6Repr {
    /// Source address.
    pub src: Ipv6Addr,
    /// Destination address.
    pub dst: Ipv6Addr,
    /// What the payload starts with.
    pub next_header: IpProtocol,
    /// Hop limit.
    pub hop_limit: u8,
    /// Differentiated services code point (6 bits) and ECN (2 bits).
    pub traffic_class: u8,
    /// Flow label; only the low 20 bits are sent.
    pub flow_label: u32,
    /// Length of what follows the header, in bytes.
    pub payload_len: u16,
}

impl Ipv6Repr {
    /// The fixed header of `packet`.
    #[inline]
    pub fn parse<T: AsRef<[u8]>>(packet: &Ipv6Packet<T>) -> Self {
        Self {
            src: packet.src(),
            dst: packet.dst(),
            next_header: packet.next_header(),
            hop_limit: packet.hop_limit(),
            traffic_class: packet.traffic_class(),
            flow_label: packet.flow_label(),
            payload_len: packet.payload_len() as u16,
        }
    }

    /// Writes the header to the first [`HEADER_LEN`] bytes.
    ///
    /// # Panics
    /// If `buffer` is shorter than that.
    #[inline]
    pub fn emit(&self, buffer: &mut [u8]) {
        let data = &mut buffer[..HEADER_LEN];
        data[field::VERSION_CLASS_FLOW].copy_from_slice(&(6u32 << VERSION_SHIFT).to_be_bytes());
        bytes::put_u16(data, field::PAYLOAD_LEN, self.payload_len);
        data[field::NEXT_HEADER] = self.next_header.into();
        let mut packet = Ipv6Packet { buffer: data };
        packet.set_traffic_class(self.traffic_class);
        packet.set_flow_label(self.flow_label);
        packet.set_hop_limit(self.hop_limit);
        packet.set_src(self.src);
        packet.set_dst(self.dst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// UDP from 2001:db8::1 to 2001:db8::2.
    #[rustfmt::skip]
    static GOLDEN: [u8; 53] = [
        0x6b, 0x91, 0x23, 0x45, 0x00, 0x0d, 0x11, 0x40, 0x20, 0x01, 0x0d, 0xb8, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x20, 0x01, 0x0d, 0xb8, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0xc0, 0x01, 0x04, 0xd2, 0x00, 0x0d, 0xd6, 0x85,
        0x01, 0x02, 0x03, 0x04, 0x05,
    ];

    const REPR: Ipv6Repr = Ipv6Repr {
        src: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1),
        dst: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2),
        next_header: IpProtocol::Udp,
        hop_limit: 64,
        traffic_class: 0xb9,
        flow_label: 0x12345,
        payload_len: 13,
    };

    #[test]
    fn deconstruct() {
        let packet = Ipv6Packet::new_checked(&GOLDEN[..]).unwrap();
        assert_eq!(packet.traffic_class(), 0xb9);
        assert_eq!(packet.flow_label(), 0x12345);
        assert_eq!(packet.payload_len(), 13);
        assert_eq!(packet.total_len(), 53);
        assert_eq!(packet.next_header(), IpProtocol::Udp);
        assert_eq!(packet.hop_limit(), 64);
        assert_eq!(packet.src(), REPR.src);
        assert_eq!(packet.dst(), REPR.dst);
        assert_eq!(packet.payload(), &GOLDEN[40..]);
        let upper = UpperLayer {
            protocol: IpProtocol::Udp,
            offset: 40,
            fragment_offset: None,
            more_fragments: false,
        };
        assert_eq!(packet.upper_layer(), Ok(upper));
        assert_eq!(packet.into_inner(), GOLDEN);
    }

    #[test]
    fn construct() {
        let mut bytes = [0xa5; GOLDEN.len()];
        bytes[..7].copy_from_slice(&[0x6a, 0x5a, 0x5a, 0x5a, 0, 13, 17]);
        let mut packet = Ipv6Packet::new_checked(bytes).unwrap();
        packet.set_traffic_class(0xb9);
        packet.set_flow_label(0xfff1_2345);
        packet.set_hop_limit(64);
        packet.set_src(REPR.src);
        packet.set_dst(REPR.dst);
        packet.payload_mut().copy_from_slice(&GOLDEN[40..]);
        assert_eq!(packet.into_inner(), GOLDEN);
    }

    #[test]
    fn parse() {
        assert_eq!(Ipv6Repr::parse(&Ipv6Packet::new_checked(GOLDEN).unwrap()), REPR);
    }

    #[test]
    fn emit() {
        let mut buffer = [0xa5; HEADER_LEN + 1];
        REPR.emit(&mut buffer);
        assert_eq!(buffer[..HEADER_LEN], GOLDEN[..HEADER_LEN]);
        assert_eq!(buffer[HEADER_LEN], 0xa5);
    }

    #[test]
    fn etherparse_agrees() {
        let (header, payload) = etherparse::Ipv6Header::from_slice(&GOLDEN).unwrap();
        assert_eq!(header.traffic_class, REPR.traffic_class);
        assert_eq!(header.flow_label.value(), REPR.flow_label);
        assert_eq!(header.payload_length, REPR.payload_len);
        assert_eq!(header.next_header, etherparse::IpNumber::UDP);
        assert_eq!(header.hop_limit, REPR.hop_limit);
        assert_eq!(header.source_addr(), REPR.src);
        assert_eq!(header.destination_addr(), REPR.dst);
        assert_eq!(payload.len(), 13);
    }

    #[test]
    fn lying_lengths_are_refused() {
        assert_eq!(Ipv6Packet::new_checked(&GOLDEN[..39]), Err(Error::Truncated));
        assert_eq!(Ipv6Packet::new_checked(&GOLDEN[..52]), Err(Error::Truncated));
        let mut version = GOLDEN;
        version[0] = 0x4b;
        assert_eq!(Ipv6Packet::new_checked(version), Err(Error::BadVersion));
        let mut jumbo = GOLDEN;
        jumbo[5] = 0;
        assert!(Ipv6Packet::new_checked(jumbo).unwrap().payload().is_empty());
    }

    #[test]
    fn padding_is_no_payload() {
        let padded = [&GOLDEN[..], &[0; 13]].concat();
        assert_eq!(Ipv6Packet::new_checked(&padded).unwrap().payload(), &GOLDEN[40..]);
    }

    #[test]
    fn hop_limit_stops_at_zero() {
        let mut packet = Ipv6Packet::new_checked(GOLDEN).unwrap();
        packet.decrement_hop_limit();
        assert_eq!(packet.hop_limit(), 63);
        packet.set_hop_limit(0);
        packet.decrement_hop_limit();
        assert_eq!(packet.hop_limit(), 0);
    }
}
