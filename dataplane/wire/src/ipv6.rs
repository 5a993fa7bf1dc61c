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
