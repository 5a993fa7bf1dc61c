//! IPv4 (RFC 791).
//!
//! After [`Ipv4Packet::new_checked`] the version is 4, the header with its options and the whole packet by
//! its total length are inside the buffer, and no method panics. Options are not looked at by the check:
//! [`Ipv4Options`] survives any.

use std::net::Ipv4Addr;

use crate::{Error, IpProtocol, bytes, checksum};

/// Length of a header without options, in bytes.
pub const HEADER_LEN: usize = field::DST.end;

mod field {
    use std::ops::Range;

    /// Version (4 bits) and header length in 32-bit words (4 bits).
    pub(super) const VERSION_IHL: usize = 0;
    pub(super) const DSCP_ECN: usize = 1;
    pub(super) const TOTAL_LEN: Range<usize> = 2..4;
    pub(super) const IDENT: Range<usize> = 4..6;
    /// Flags (3 bits) and fragment offset in units of 8 bytes (13 bits).
    pub(super) const FLAGS_OFFSET: Range<usize> = 6..8;
    pub(super) const TTL: usize = 8;
    pub(super) const PROTOCOL: usize = 9;
    /// The 16-bit word that the checksum sees the TTL in.
    pub(super) const TTL_PROTOCOL: Range<usize> = 8..10;
    pub(super) const CHECKSUM: Range<usize> = 10..12;
    pub(super) const SRC: Range<usize> = 12..16;
    pub(super) const DST: Range<usize> = 16..20;
}

const VERSION_IHL_PLAIN: u8 = 0x45;
const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET_MASK: u16 = 0x1fff;

/// A view of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Packet<T: AsRef<[u8]>> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Ipv4Packet<T> {
    /// [`Error::Truncated`] if the header or the packet does not fit the buffer, [`Error::BadVersion`],
    /// [`Error::BadLength`] if the header length is below 20 bytes or above the total length. The checksum is
    /// not verified. Bytes after the total length (Ethernet padding) are allowed.
    #[inline]
    pub fn new_checked(buffer: T) -> Result<Self, Error> {
        let len = buffer.as_ref().len();
        if len < HEADER_LEN {
            return Err(Error::Truncated);
        }
        let packet = Self { buffer };
        if packet.buffer.as_ref()[field::VERSION_IHL] >> 4 != 4 {
            return Err(Error::BadVersion);
        }
        if packet.header_len() < HEADER_LEN || packet.total_len() < packet.header_len() {
            return Err(Error::BadLength);
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

    /// Length of the header with its options, in bytes: 20 to 60.
    #[inline]
    pub fn header_len(&self) -> usize {
        usize::from(self.buffer.as_ref()[field::VERSION_IHL] & 0x0f) * 4
    }

    /// Length of header and payload, in bytes.
    #[inline]
    pub fn total_len(&self) -> usize {
        usize::from(bytes::get_u16(self.buffer.as_ref(), field::TOTAL_LEN))
    }

    /// Differentiated services code point (6 bits, RFC 2474) and ECN (2 bits, RFC 3168).
    #[inline]
    pub fn dscp_ecn(&self) -> u8 {
        self.buffer.as_ref()[field::DSCP_ECN]
    }

    /// Identification, the same in all fragments of a packet.
    #[inline]
    pub fn ident(&self) -> u16 {
        bytes::get_u16(self.buffer.as_ref(), field::IDENT)
    }

    #[inline]
    fn flags_offset(&self) -> u16 {
        bytes::get_u16(self.buffer.as_ref(), field::FLAGS_OFFSET)
    }

    /// Whether routers must not fragment the packet.
    #[inline]
    pub fn dont_fragment(&self) -> bool {
        self.flags_offset() & DONT_FRAGMENT != 0
    }

    /// Whether this is a fragment other than the last.
    #[inline]
    pub fn more_fragments(&self) -> bool {
        self.flags_offset() & MORE_FRAGMENTS != 0
    }

    /// Place of the payload in the unfragmented packet's payload, in bytes: a multiple of 8 up to 65 528.
    #[inline]
    pub fn fragment_offset(&self) -> u16 {
        (self.flags_offset() & OFFSET_MASK) * 8
    }

    /// Whether this is not the whole packet.
    #[inline]
    pub fn is_fragment(&self) -> bool {
        self.flags_offset() & (MORE_FRAGMENTS | OFFSET_MASK) != 0
    }

    /// Time to live, in hops.
    #[inline]
    pub fn ttl(&self) -> u8 {
        self.buffer.as_ref()[field::TTL]
    }

    /// Protocol of the payload.
    #[inline]
    pub fn protocol(&self) -> IpProtocol {
        self.buffer.as_ref()[field::PROTOCOL].into()
    }

    /// Checksum of the header.
    #[inline]
    pub fn checksum(&self) -> u16 {
        bytes::get_u16(self.buffer.as_ref(), field::CHECKSUM)
    }

    /// Whether the checksum of the header, options included, is right.
    #[inline]
    pub fn verify_checksum(&self) -> bool {
        checksum::finish(checksum::ones_sum(self.header(), 0)) == 0
    }

    /// Source address.
    #[inline]
    pub fn src(&self) -> Ipv4Addr {
        Ipv4Addr::from_octets(bytes::get(self.buffer.as_ref(), field::SRC))
    }

    /// Destination address.
    #[inline]
    pub fn dst(&self) -> Ipv4Addr {
        Ipv4Addr::from_octets(bytes::get(self.buffer.as_ref(), field::DST))
    }

    #[inline]
    fn header(&self) -> &[u8] {
        &self.buffer.as_ref()[..self.header_len()]
    }

    /// The options as bytes, padding included: 0 to 40 bytes.
    #[inline]
    pub fn options(&self) -> &[u8] {
        &self.header()[HEADER_LEN..]
    }

    /// Whether an option lets the sender choose the route: loose or strict source and record route. Routers
    /// should drop such packets (RFC 7126 §4.3, §4.4).
    #[inline]
    pub fn has_source_route(&self) -> bool {
        self.header_len() > HEADER_LEN
            && Ipv4Options::new(self.options())
                .any(|option| option.is_ok_and(|option| matches!(option.kind, LSRR | SSRR)))
    }

    /// All between header and total length.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        &self.buffer.as_ref()[self.header_len()..self.total_len()]
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Ipv4Packet<T> {
    /// Sets code point and ECN; the checksum is left as it is.
    #[inline]
    pub fn set_dscp_ecn(&mut self, dscp_ecn: u8) {
        self.buffer.as_mut()[field::DSCP_ECN] = dscp_ecn;
    }

    /// Sets the identification; the checksum is left as it is.
    #[inline]
    pub fn set_ident(&mut self, ident: u16) {
        bytes::put_u16(self.buffer.as_mut(), field::IDENT, ident);
    }

    /// Sets the time to live; the checksum is left as it is.
    #[inline]
    pub fn set_ttl(&mut self, ttl: u8) {
        self.buffer.as_mut()[field::TTL] = ttl;
    }

    /// Sets the source address; the checksum is left as it is.
    #[inline]
    pub fn set_src(&mut self, src: Ipv4Addr) {
        self.buffer.as_mut()[field::SRC].copy_from_slice(&src.octets());
    }

    /// Sets the destination address; the checksum is left as it is.
    #[inline]
    pub fn set_dst(&mut self, dst: Ipv4Addr) {
        self.buffer.as_mut()[field::DST].copy_from_slice(&dst.octets());
    }

    /// Computes the checksum of the header anew.
    #[inline]
    pub fn fill_checksum(&mut self) {
        bytes::put_u16(self.buffer.as_mut(), field::CHECKSUM, 0);
        let check = checksum::finish(checksum::ones_sum(self.header(), 0));
        bytes::put_u16(self.buffer.as_mut(), field::CHECKSUM, check);
    }

    /// Takes one hop off the time to live, and changes the checksum by as much (RFC 1624): a wrong one stays
    /// wrong. A time to live of zero stays zero.
    #[inline]
    pub fn decrement_ttl(&mut self) {
        let old = bytes::get_u16(self.buffer.as_ref(), field::TTL_PROTOCOL);
        self.set_ttl(self.ttl().saturating_sub(1));
        let new = bytes::get_u16(self.buffer.as_ref(), field::TTL_PROTOCOL);
        let check = checksum::update(self.checksum(), old, new);
        bytes::put_u16(self.buffer.as_mut(), field::CHECKSUM, check);
    }

    /// All between header and total length, to be changed.
    #[inline]
    pub fn payload_mut(&mut self) -> &mut [u8] {
        let range = self.header_len()..self.total_len();
        &mut self.buffer.as_mut()[range]
    }
}

/// Option that ends the list (RFC 791 §3.1).
const END_OF_OPTIONS: u8 = 0;
/// Option of one byte without meaning.
const NO_OPERATION: u8 = 1;
/// Loose source and record route.
const LSRR: u8 = 0x83;
/// Strict source and record route.
const SSRR: u8 = 0x89;

/// One option of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Option<'a> {
    /// The type byte: copied flag, class and number.
    pub kind: u8,
    /// What follows type and length.
    pub data: &'a [u8],
}

/// The options of a header in turn, without padding. An option whose length is impossible gives one
/// [`Error::BadLength`], and then the walk is over.
#[derive(Clone, Debug)]
pub struct Ipv4Options<'a> {
    rest: &'a [u8],
}

impl<'a> Ipv4Options<'a> {
    /// Walks the bytes of [`Ipv4Packet::options`].
    #[inline]
    pub fn new(options: &'a [u8]) -> Self {
        Self { rest: options }
    }
}

impl<'a> Iterator for Ipv4Options<'a> {
    type Item = Result<Ipv4Option<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut rest = std::mem::take(&mut self.rest);
        while let [NO_OPERATION, after @ ..] = rest {
            rest = after;
        }
        match *rest {
            [] | [END_OF_OPTIONS, ..] => None,
            [kind, len, ..] if len >= 2 && usize::from(len) <= rest.len() => {
                let (option, after) = rest.split_at(usize::from(len));
                self.rest = after;
                Some(Ok(Ipv4Option { kind, data: &option[2..] }))
            }
            _ => Some(Err(Error::BadLength)),
        }
    }
}

impl std::iter::FusedIterator for Ipv4Options<'_> {}

/// The header of a whole packet without options, as a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Repr {
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// Protocol of the payload.
    pub protocol: IpProtocol,
    /// Time to live, in hops.
    pub ttl: u8,
    /// Differentiated services code point (6 bits) and ECN (2 bits).
    pub dscp_ecn: u8,
    /// Identification.
    pub ident: u16,
    /// Whether routers must not fragment the packet.
    pub dont_fragment: bool,
    /// Length of what follows the header, in bytes; at most 65 515.
    pub payload_len: u16,
}

impl Ipv4Repr {
    /// The header of `packet`; its options are left out. [`Error::BadChecksum`] or, as a value has no place
    /// for it, [`Error::Fragment`].
    #[inline]
    pub fn parse<T: AsRef<[u8]>>(packet: &Ipv4Packet<T>) -> Result<Self, Error> {
        if !packet.verify_checksum() {
            return Err(Error::BadChecksum);
        }
        if packet.is_fragment() {
            return Err(Error::Fragment);
        }
        Ok(Self {
            src: packet.src(),
            dst: packet.dst(),
            protocol: packet.protocol(),
            ttl: packet.ttl(),
            dscp_ecn: packet.dscp_ecn(),
            ident: packet.ident(),
            dont_fragment: packet.dont_fragment(),
            payload_len: packet.payload().len() as u16,
        })
    }

    /// Writes the header and its checksum to the first [`HEADER_LEN`] bytes.
    ///
    /// # Panics
    /// If `buffer` is shorter than that.
    #[inline]
    pub fn emit(&self, buffer: &mut [u8]) {
        let data = &mut buffer[..HEADER_LEN];
        data[field::VERSION_IHL] = VERSION_IHL_PLAIN;
        bytes::put_u16(data, field::TOTAL_LEN, self.payload_len.saturating_add(HEADER_LEN as u16));
        bytes::put_u16(data, field::FLAGS_OFFSET, if self.dont_fragment { DONT_FRAGMENT } else { 0 });
        data[field::PROTOCOL] = self.protocol.into();
        let mut packet = Ipv4Packet { buffer: data };
        packet.set_dscp_ecn(self.dscp_ecn);
        packet.set_ident(self.ident);
        packet.set_ttl(self.ttl);
        packet.set_src(self.src);
        packet.set_dst(self.dst);
        packet.fill_checksum();
    }
}
