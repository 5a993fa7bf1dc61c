//! IPv4 (RFC 791).
//!
//! After [`Ipv4Packet::new_checked`] the version is 4, the header with its options and the whole packet by
//! its total length are inside the buffer, and no method panics. Options are not looked at by the check:
//! [`Ipv4Options`] survives any.

use std::net::Ipv4Addr;

use crate::{Error, IpProtocol, bytes, checksum};

mod fragment;
mod options;

pub use fragment::fragment;
pub use options::{Ipv4Option, Ipv4Options};
use options::{LSRR, SSRR};

/// Length of a header without options, in bytes.
pub const HEADER_LEN: usize = field::DST.end;

mod field {
    use std::ops::Range;

    /// Version (4 bits) and header length in 32-bit words (4 bits).
    pub(super) const VERSION_IHL: usize = 0;
    pub(super) const DSCP_ECN: usize = 1;
    /// The 16-bit word that the checksum sees code point and ECN in.
    pub(super) const VERSION_IHL_DSCP_ECN: Range<usize> = 0..2;
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
        match self.header().as_array() {
            Some(header) => checksum::is_valid_header(header),
            None => checksum::finish(checksum::ones_sum(self.header(), 0)) == 0,
        }
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
    ///
    /// # Errors
    /// [`Error::BadLength`] if an option before such a one has a length that cannot be.
    #[inline]
    pub fn has_source_route(&self) -> Result<bool, Error> {
        for option in Ipv4Options::new(self.options()) {
            if matches!(option?.kind, LSRR | SSRR) {
                return Ok(true);
            }
        }
        Ok(false)
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

    /// Sets code point and ECN, and changes the checksum by as much (RFC 1624): a wrong one stays wrong.
    #[inline]
    pub fn change_dscp_ecn(&mut self, dscp_ecn: u8) {
        let old = bytes::get_u16(self.buffer.as_ref(), field::VERSION_IHL_DSCP_ECN);
        let check = checksum::update(self.checksum(), old, old & 0xff00 | u16::from(dscp_ecn));
        self.set_dscp_ecn(dscp_ecn);
        bytes::put_u16(self.buffer.as_mut(), field::CHECKSUM, check);
    }

    /// Takes one hop off the time to live, and changes the checksum by as much (RFC 1624): a wrong one stays
    /// wrong. A time to live of zero stays zero.
    #[inline]
    pub fn decrement_ttl(&mut self) {
        let old = bytes::get_u16(self.buffer.as_ref(), field::TTL_PROTOCOL);
        // The TTL is the word's high byte. Not read back after writing: a wide load of a byte just stored
        // stalls.
        let new = if old >> 8 == 0 { old } else { old - 0x0100 };
        let check = checksum::update(self.checksum(), old, new);
        bytes::put_u16(self.buffer.as_mut(), field::TTL_PROTOCOL, new);
        bytes::put_u16(self.buffer.as_mut(), field::CHECKSUM, check);
    }

    /// All between header and total length, to be changed.
    #[inline]
    pub fn payload_mut(&mut self) -> &mut [u8] {
        let range = self.header_len()..self.total_len();
        &mut self.buffer.as_mut()[range]
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    /// UDP from 198.18.0.1 to 198.18.0.2 with DF.
    #[rustfmt::skip]
    static GOLDEN: [u8; 33] = [
        0x45, 0xb9, 0x00, 0x21, 0x12, 0x34, 0x40, 0x00, 0x40, 0x11, 0x9b, 0xb7, 0xc6, 0x12, 0x00, 0x01,
        0xc6, 0x12, 0x00, 0x02, 0xc0, 0x01, 0x04, 0xd2, 0x00, 0x0d, 0xa5, 0xd2, 0x01, 0x02, 0x03, 0x04,
        0x05,
    ];

    /// The same, loosely routed to 198.18.0.3: a no-operation, then an LSRR of 7 bytes.
    #[rustfmt::skip]
    static SOURCE_ROUTED: [u8; 41] = [
        0x47, 0xb9, 0x00, 0x29, 0x12, 0x34, 0x40, 0x00, 0x40, 0x11, 0xcb, 0x12, 0xc6, 0x12, 0x00, 0x01,
        0xc6, 0x12, 0x00, 0x02, 0x01, 0x83, 0x07, 0x04, 0xc6, 0x12, 0x00, 0x03, 0xc0, 0x01, 0x04, 0xd2,
        0x00, 0x0d, 0xa5, 0xd1, 0x01, 0x02, 0x03, 0x04, 0x05,
    ];

    const REPR: Ipv4Repr = Ipv4Repr {
        src: Ipv4Addr::new(198, 18, 0, 1),
        dst: Ipv4Addr::new(198, 18, 0, 2),
        protocol: IpProtocol::Udp,
        ttl: 64,
        dscp_ecn: 0xb9,
        ident: 0x1234,
        dont_fragment: true,
        payload_len: 13,
    };

    /// The golden packet after a change, with a right checksum.
    fn golden_with(change: impl FnOnce(&mut [u8; GOLDEN.len()])) -> Ipv4Packet<[u8; GOLDEN.len()]> {
        let mut bytes = GOLDEN;
        change(&mut bytes);
        let mut packet = Ipv4Packet::new_checked(bytes).unwrap();
        packet.fill_checksum();
        packet
    }

    #[test]
    fn deconstruct() {
        let packet = Ipv4Packet::new_checked(&GOLDEN[..]).unwrap();
        assert_eq!(packet.header_len(), 20);
        assert_eq!(packet.total_len(), 33);
        assert_eq!(packet.dscp_ecn(), 0xb9);
        assert_eq!(packet.ident(), 0x1234);
        assert!(packet.dont_fragment());
        assert!(!packet.more_fragments());
        assert_eq!(packet.fragment_offset(), 0);
        assert!(!packet.is_fragment());
        assert_eq!(packet.ttl(), 64);
        assert_eq!(packet.protocol(), IpProtocol::Udp);
        assert_eq!(packet.checksum(), 0x9bb7);
        assert!(packet.verify_checksum());
        assert_eq!(packet.src(), REPR.src);
        assert_eq!(packet.dst(), REPR.dst);
        assert!(packet.options().is_empty());
        assert_eq!(packet.has_source_route(), Ok(false));
        assert_eq!(packet.payload(), &GOLDEN[20..]);
        assert_eq!(packet.into_inner(), GOLDEN);
    }

    #[test]
    fn construct() {
        let mut packet = Ipv4Packet::new_checked(GOLDEN).unwrap();
        packet.set_dscp_ecn(0xa5);
        packet.set_ident(0xa5a5);
        packet.set_ttl(0xa5);
        packet.set_src(Ipv4Addr::from_octets([0xa5; 4]));
        packet.set_dst(Ipv4Addr::from_octets([0xa5; 4]));
        packet.payload_mut().fill(0xa5);
        packet.fill_checksum();
        let filled = packet.into_inner();
        let kept = [0, 2, 3, 6, 7, 9, 10, 11];
        assert!((0..filled.len()).all(|at| kept.contains(&at) || filled[at] == 0xa5));

        let mut packet = Ipv4Packet::new_checked(filled).unwrap();
        packet.set_dscp_ecn(REPR.dscp_ecn);
        packet.set_ident(REPR.ident);
        packet.set_ttl(REPR.ttl);
        packet.set_src(REPR.src);
        packet.set_dst(REPR.dst);
        packet.payload_mut().copy_from_slice(&GOLDEN[20..]);
        packet.fill_checksum();
        assert_eq!(packet.into_inner(), GOLDEN);
    }

    #[test]
    fn parse() {
        assert_eq!(Ipv4Repr::parse(&Ipv4Packet::new_checked(GOLDEN).unwrap()), Ok(REPR));
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
        for golden in [&GOLDEN[..], &SOURCE_ROUTED] {
            let header = etherparse::Ipv4HeaderSlice::from_slice(golden).unwrap().to_header();
            let packet = Ipv4Packet::new_checked(golden).unwrap();
            assert_eq!(header.header_len(), packet.header_len());
            assert_eq!(header.total_len, golden.len() as u16);
            assert_eq!(header.dscp.value() << 2 | header.ecn.value(), REPR.dscp_ecn);
            assert_eq!(header.identification, REPR.ident);
            assert!(header.dont_fragment && !header.is_fragmenting_payload());
            assert_eq!(header.time_to_live, REPR.ttl);
            assert_eq!(header.protocol, etherparse::IpNumber::UDP);
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            assert_eq!(header.source, REPR.src.octets());
            assert_eq!(header.destination, REPR.dst.octets());
            assert_eq!(header.options.as_slice(), packet.options());
        }
    }

    #[test]
    fn lying_lengths_are_refused() {
        let with = |change: fn(&mut [u8])| {
            let mut bytes = GOLDEN;
            change(&mut bytes);
            Ipv4Packet::new_checked(bytes).map(Ipv4Packet::into_inner)
        };
        assert_eq!(Ipv4Packet::new_checked(&GOLDEN[..19]), Err(Error::Truncated));
        assert_eq!(Ipv4Packet::new_checked(&GOLDEN[..32]), Err(Error::Truncated));
        assert_eq!(with(|bytes| bytes[0] = 0x65), Err(Error::BadVersion));
        assert_eq!(with(|bytes| bytes[0] = 0x44), Err(Error::BadLength));
        assert_eq!(with(|bytes| bytes[0] = 0x4f), Err(Error::BadLength));
        assert_eq!(with(|bytes| bytes[3] = 19), Err(Error::BadLength));
        assert_eq!(with(|bytes| bytes[3] = 34), Err(Error::Truncated));
    }

    #[test]
    fn padding_is_no_payload() {
        let padded = [&GOLDEN[..], &[0; 13]].concat();
        assert_eq!(Ipv4Packet::new_checked(&padded).unwrap().payload(), &GOLDEN[20..]);
    }

    #[test]
    fn fragments_and_wrong_checksums_are_no_value() {
        let more = golden_with(|bytes| bytes[6] = 0x20);
        assert!(more.more_fragments() && more.is_fragment() && more.fragment_offset() == 0);
        assert_eq!(Ipv4Repr::parse(&more), Err(Error::Fragment));
        let last = golden_with(|bytes| bytes[6..8].copy_from_slice(&[0x1f, 0xff]));
        assert!(!last.more_fragments() && last.is_fragment() && last.fragment_offset() == 65_528);
        assert_eq!(Ipv4Repr::parse(&last), Err(Error::Fragment));
        let mut wrong = GOLDEN;
        wrong[8] = 63;
        let wrong = Ipv4Packet::new_checked(wrong).unwrap();
        assert!(!wrong.verify_checksum());
        assert_eq!(Ipv4Repr::parse(&wrong), Err(Error::BadChecksum));
    }

    #[test]
    fn a_hop_less_keeps_the_checksum_right() {
        // With every identification all checksums occur.
        for ttl in [1, 2, 64, 128, 255] {
            for ident in 0..=u16::MAX {
                let mut packet = Ipv4Packet { buffer: GOLDEN };
                packet.set_ttl(ttl);
                packet.set_ident(ident);
                packet.fill_checksum();
                packet.decrement_ttl();
                let updated = packet.checksum();
                packet.fill_checksum();
                assert_eq!((packet.ttl(), packet.checksum()), (ttl - 1, updated), "TTL {ttl}, {ident:#x}");
            }
        }
    }

    #[test]
    fn a_changed_code_point_keeps_the_checksum_right_and_a_wrong_one_wrong() {
        for old in 0..=u8::MAX {
            for new in 0..=u8::MAX {
                let mut packet = golden_with(|bytes| bytes[1] = old);
                packet.change_dscp_ecn(new);
                assert_eq!((packet.dscp_ecn(), packet.header_len()), (new, 20));
                assert!(packet.verify_checksum(), "{old:#x} to {new:#x}");
            }
        }
        let mut wrong = golden_with(|_| ());
        wrong.set_ttl(32);
        wrong.change_dscp_ecn(0);
        assert!(!wrong.verify_checksum());
    }

    #[test]
    fn a_hop_less_keeps_a_wrong_checksum_wrong_and_zero_zero() {
        let mut packet = Ipv4Packet::new_checked(GOLDEN).unwrap();
        packet.set_ttl(32);
        packet.decrement_ttl();
        assert!(!packet.verify_checksum());
        let mut packet = golden_with(|bytes| bytes[8] = 0);
        packet.decrement_ttl();
        assert_eq!(packet.ttl(), 0);
        assert!(packet.verify_checksum());
    }

    #[test]
    fn a_checksum_of_all_ones_is_as_good_as_zero() {
        // A sender may write the other zero of ones' complement (RFC 1624 §3).
        let mut packet = golden_with(|_| ());
        let ident = packet.ident();
        packet.set_ident(ident.wrapping_add(packet.checksum()));
        packet.fill_checksum();
        assert_eq!(packet.checksum(), 0);
        bytes::put_u16(&mut packet.buffer, field::CHECKSUM, 0xffff);
        assert!(packet.verify_checksum());
        packet.decrement_ttl();
        assert!(packet.verify_checksum());
    }

    #[test]
    fn source_routes_are_seen() {
        let packet = Ipv4Packet::new_checked(&SOURCE_ROUTED[..]).unwrap();
        assert_eq!(packet.header_len(), 28);
        assert_eq!(packet.payload(), &SOURCE_ROUTED[28..]);
        assert!(packet.verify_checksum());
        assert_eq!(packet.has_source_route(), Ok(true));
        let lsrr = Ipv4Option { kind: LSRR, data: &[4, 198, 18, 0, 3] };
        assert_eq!(Ipv4Options::new(packet.options()).collect::<Vec<_>>(), [Ok(lsrr)]);

        let mut strict = SOURCE_ROUTED;
        strict[21] = SSRR;
        assert_eq!(Ipv4Packet::new_checked(strict).unwrap().has_source_route(), Ok(true));
        let mut recorded = SOURCE_ROUTED;
        recorded[21] = 7;
        assert_eq!(Ipv4Packet::new_checked(recorded).unwrap().has_source_route(), Ok(false));
    }
}
