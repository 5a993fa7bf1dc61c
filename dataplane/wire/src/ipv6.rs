//! IPv6 (RFC 8200).
//!
//! After [`Ipv6Packet::new_checked`] the version is 6, the fixed header and the whole packet by its payload
//! length are inside the buffer, and no method panics. Extension headers are not looked at by the check:
//! [`Ipv6Packet::upper_layer`] survives any.

use std::net::Ipv6Addr;

use crate::{Error, IpProtocol, bytes};

/// Length of the fixed header, in bytes.
pub const HEADER_LEN: usize = field::DST.end;

/// Extension headers that [`Ipv6Packet::upper_layer`] follows. RFC 8200 §4.1 puts at most six readable ones
/// before the upper layer; a longer chain serves only to wear routers out.
pub const MAX_EXTENSIONS: usize = 8;

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

/// Where the upper-layer header of a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpperLayer {
    /// What is at `offset`: no extension header but perhaps [`IpProtocol::Esp`] (nothing after it can be
    /// read) or [`IpProtocol::NoNext`].
    pub protocol: IpProtocol,
    /// Bytes from the start of the IPv6 header; at most [`Ipv6Packet::total_len`].
    pub offset: usize,
    /// Place in the unfragmented packet in bytes, if there is a fragment header. Unless it is zero, what is
    /// at `offset` is the middle of a payload and `protocol` that of the first fragment's fragment header.
    pub fragment_offset: Option<u16>,
    /// Whether this is a fragment other than the last.
    pub more_fragments: bool,
}

impl UpperLayer {
    /// Whether this is not the whole packet. A fragment header that says offset zero and no more fragments is
    /// that of a whole packet (an "atomic fragment", RFC 6946).
    #[inline]
    pub fn is_fragment(&self) -> bool {
        self.more_fragments || self.fragment_offset.is_some_and(|offset| offset != 0)
    }
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
    /// hop-by-hop options that are not first (RFC 8200 §4.1), [`Error::TooManyExtensions`] beyond
    /// [`MAX_EXTENSIONS`].
    #[inline]
    pub fn upper_layer(&self) -> Result<UpperLayer, Error> {
        let protocol = self.next_header();
        if is_extension(protocol) {
            return self.walk_extensions();
        }
        Ok(UpperLayer { protocol, offset: HEADER_LEN, fragment_offset: None, more_fragments: false })
    }

    fn walk_extensions(&self) -> Result<UpperLayer, Error> {
        let packet = &self.buffer.as_ref()[..self.total_len()];
        let mut upper = UpperLayer {
            protocol: self.next_header(),
            offset: HEADER_LEN,
            fragment_offset: None,
            more_fragments: false,
        };
        for _ in 0..MAX_EXTENSIONS {
            // Every extension header is 8 bytes or more.
            let Some([next, len, high, low, ..]) = packet.get(upper.offset..upper.offset + 8) else {
                return Err(Error::Truncated);
            };
            let len = usize::from(*len);
            let len = match upper.protocol {
                IpProtocol::HopByHop if upper.offset != HEADER_LEN => return Err(Error::BadField),
                IpProtocol::Fragment => {
                    // 13 bits of offset in units of 8 bytes, 2 reserved bits, 1 bit "more" (RFC 8200 §4.5).
                    let word = u16::from_be_bytes([*high, *low]);
                    upper.fragment_offset = Some(word & !7);
                    upper.more_fragments = word & 1 != 0;
                    8
                }
                // In units of 4 bytes, not counting the first 8 (RFC 4302 §2.2).
                IpProtocol::Auth => (len + 2) * 4,
                // In units of 8 bytes, not counting the first 8 (RFC 8200 §4.2).
                _ => (len + 1) * 8,
            };
            upper.protocol = (*next).into();
            upper.offset += len;
            if upper.offset > packet.len() {
                return Err(Error::Truncated);
            }
            if !is_extension(upper.protocol) || upper.fragment_offset.is_some_and(|offset| offset != 0) {
                return Ok(upper);
            }
        }
        Err(Error::TooManyExtensions)
    }
}

/// Whether another header's kind follows in a readable place.
#[inline]
fn is_extension(protocol: IpProtocol) -> bool {
    matches!(
        protocol,
        IpProtocol::HopByHop
            | IpProtocol::Routing
            | IpProtocol::Fragment
            | IpProtocol::Auth
            | IpProtocol::DestOpts
    )
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

    /// The same behind hop-by-hop options and an atomic fragment header.
    #[rustfmt::skip]
    static EXTENDED: [u8; 69] = [
        0x6b, 0x91, 0x23, 0x45, 0x00, 0x1d, 0x00, 0x40, 0x20, 0x01, 0x0d, 0xb8, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x20, 0x01, 0x0d, 0xb8, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x2c, 0x00, 0x01, 0x04, 0x00, 0x00, 0x00, 0x00,
        0x11, 0x00, 0x00, 0x00, 0x11, 0x22, 0x33, 0x44, 0xc0, 0x01, 0x04, 0xd2, 0x00, 0x0d, 0xd6, 0x85,
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

    /// What the upper layer of a packet with this payload is found to be.
    fn upper_layer(next_header: IpProtocol, payload: &[u8]) -> Result<UpperLayer, Error> {
        let mut bytes = vec![0xa5; HEADER_LEN];
        Ipv6Repr { next_header, payload_len: payload.len() as u16, ..REPR }.emit(&mut bytes);
        bytes.extend_from_slice(payload);
        Ipv6Packet::new_checked(bytes).unwrap().upper_layer()
    }

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

        let extended = etherparse::Ipv6Slice::from_slice(&EXTENDED).unwrap();
        assert_eq!(extended.payload().ip_number, etherparse::IpNumber::UDP);
        assert_eq!(extended.payload().payload, &EXTENDED[56..]);
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

    #[test]
    fn extension_headers_are_followed() {
        let upper = Ipv6Packet::new_checked(&EXTENDED[..]).unwrap().upper_layer().unwrap();
        assert_eq!((upper.protocol, upper.offset), (IpProtocol::Udp, 56));
        assert_eq!((upper.fragment_offset, upper.more_fragments), (Some(0), false));
        assert!(!upper.is_fragment());

        // Routing header of 24 bytes, authentication header of 12, then destination options of 8.
        let mut chain = [0; 24 + 12 + 8];
        chain[..2].copy_from_slice(&[51, 2]);
        chain[24..26].copy_from_slice(&[60, 1]);
        chain[36..38].copy_from_slice(&[50, 0]);
        let upper = upper_layer(IpProtocol::Routing, &chain).unwrap();
        assert_eq!((upper.protocol, upper.offset), (IpProtocol::Esp, 84));
        assert_eq!(upper.fragment_offset, None);
    }

    #[test]
    fn later_fragments_end_the_walk() {
        // The first fragment's payload starts with destination options; this one's with anything.
        let upper = upper_layer(IpProtocol::Fragment, &[60, 0, 0x00, 0x09, 0, 0, 0, 1, 0xff]).unwrap();
        assert_eq!((upper.protocol, upper.offset), (IpProtocol::DestOpts, 48));
        assert_eq!((upper.fragment_offset, upper.more_fragments), (Some(8), true));
        assert!(upper.is_fragment());
        let first = upper_layer(IpProtocol::Fragment, &[17, 0, 0, 1, 0, 0, 0, 1]).unwrap();
        assert_eq!((first.fragment_offset, first.is_fragment()), (Some(0), true));
    }

    #[test]
    fn bad_chains_are_refused() {
        assert_eq!(upper_layer(IpProtocol::DestOpts, &[17, 0, 0, 0, 0, 0, 0]), Err(Error::Truncated));
        assert_eq!(upper_layer(IpProtocol::DestOpts, &[17, 1, 0, 0, 0, 0, 0, 0]), Err(Error::Truncated));
        assert_eq!(upper_layer(IpProtocol::DestOpts, &[0; 16]), Err(Error::BadField));
        let options = [60, 0, 0, 0, 0, 0, 0, 0].repeat(MAX_EXTENSIONS + 1);
        assert_eq!(upper_layer(IpProtocol::DestOpts, &options), Err(Error::TooManyExtensions));
        let mut longest = options[..MAX_EXTENSIONS * 8].to_vec();
        longest[(MAX_EXTENSIONS - 1) * 8] = 59;
        let upper = upper_layer(IpProtocol::DestOpts, &longest).unwrap();
        assert_eq!((upper.protocol, upper.offset), (IpProtocol::NoNext, 40 + longest.len()));
    }
}
