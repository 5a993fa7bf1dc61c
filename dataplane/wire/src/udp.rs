//! UDP (RFC 768).
//!
//! After [`UdpPacket::new_checked`] the header and the whole datagram by its length field are inside the
//! buffer, and no method panics.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::{Error, IpProtocol, bytes, checksum};

/// Length of the header in bytes.
pub const HEADER_LEN: usize = field::CHECKSUM.end;

mod field {
    use std::ops::Range;

    pub(super) const SRC_PORT: Range<usize> = 0..2;
    pub(super) const DST_PORT: Range<usize> = 2..4;
    pub(super) const LEN: Range<usize> = 4..6;
    pub(super) const CHECKSUM: Range<usize> = 6..8;
}

/// A view of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpPacket<T: AsRef<[u8]>> {
    buffer: T,
}

impl<T: AsRef<[u8]>> UdpPacket<T> {
    /// [`Error::Truncated`] if the header or the datagram does not fit the buffer, [`Error::BadLength`] if
    /// the length field is below 8 (jumbograms of RFC 2675 included). Bytes after the datagram are allowed.
    #[inline]
    pub fn new_checked(buffer: T) -> Result<Self, Error> {
        let len = buffer.as_ref().len();
        if len < HEADER_LEN {
            return Err(Error::Truncated);
        }
        let packet = Self { buffer };
        if packet.len() < HEADER_LEN {
            return Err(Error::BadLength);
        }
        if packet.len() > len {
            return Err(Error::Truncated);
        }
        Ok(packet)
    }

    /// Gives the buffer back.
    #[inline]
    pub fn into_inner(self) -> T {
        self.buffer
    }

    /// Source port.
    #[inline]
    pub fn src_port(&self) -> u16 {
        bytes::get_u16(self.buffer.as_ref(), field::SRC_PORT)
    }

    /// Destination port.
    #[inline]
    pub fn dst_port(&self) -> u16 {
        bytes::get_u16(self.buffer.as_ref(), field::DST_PORT)
    }

    /// Length of header and payload, in bytes.
    // A datagram holds its header at least, so there is no "is empty".
    #[allow(clippy::len_without_is_empty)]
    #[inline]
    pub fn len(&self) -> usize {
        usize::from(bytes::get_u16(self.buffer.as_ref(), field::LEN))
    }

    /// Checksum; zero if the sender made none.
    #[inline]
    pub fn checksum(&self) -> u16 {
        bytes::get_u16(self.buffer.as_ref(), field::CHECKSUM)
    }

    /// Whether the checksum is right, or absent, as a sender over IPv4 may choose.
    #[inline]
    pub fn verify_checksum_v4(&self, src: Ipv4Addr, dst: Ipv4Addr) -> bool {
        self.checksum() == 0 || checksum::finish(self.sum_v4(src, dst)) == 0
    }

    /// Whether the checksum is right. Absent is wrong (RFC 8200 §8.1); who admits it for a tunnel (RFC 6935)
    /// asks [`checksum`](Self::checksum) first.
    #[inline]
    pub fn verify_checksum_v6(&self, src: Ipv6Addr, dst: Ipv6Addr) -> bool {
        self.checksum() != 0 && checksum::finish(self.sum_v6(src, dst)) == 0
    }

    #[inline]
    fn sum_v4(&self, src: Ipv4Addr, dst: Ipv4Addr) -> u32 {
        let pseudo = checksum::pseudo_header_v4(src, dst, IpProtocol::Udp.into(), self.len() as u16);
        checksum::ones_sum(self.datagram(), pseudo)
    }

    #[inline]
    fn sum_v6(&self, src: Ipv6Addr, dst: Ipv6Addr) -> u32 {
        let pseudo = checksum::pseudo_header_v6(src, dst, IpProtocol::Udp.into(), self.len() as u32);
        checksum::ones_sum(self.datagram(), pseudo)
    }

    #[inline]
    fn datagram(&self) -> &[u8] {
        &self.buffer.as_ref()[..self.len()]
    }

    /// All between header and length field.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        &self.datagram()[HEADER_LEN..]
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> UdpPacket<T> {
    /// Sets the source port; the checksum is left as it is.
    #[inline]
    pub fn set_src_port(&mut self, port: u16) {
        bytes::put_u16(self.buffer.as_mut(), field::SRC_PORT, port);
    }

    /// Sets the destination port; the checksum is left as it is.
    #[inline]
    pub fn set_dst_port(&mut self, port: u16) {
        bytes::put_u16(self.buffer.as_mut(), field::DST_PORT, port);
    }

    #[inline]
    fn set_checksum(&mut self, check: u16) {
        bytes::put_u16(self.buffer.as_mut(), field::CHECKSUM, check);
    }

    /// Sets the checksum to "none", which over IPv6 only tunnels may do (RFC 6935).
    #[inline]
    pub fn clear_checksum(&mut self) {
        self.set_checksum(0);
    }

    /// Computes the checksum over IPv4 anew.
    #[inline]
    pub fn fill_checksum_v4(&mut self, src: Ipv4Addr, dst: Ipv4Addr) {
        self.clear_checksum();
        self.set_checksum(never_zero(checksum::finish(self.sum_v4(src, dst))));
    }

    /// Computes the checksum over IPv6 anew.
    #[inline]
    pub fn fill_checksum_v6(&mut self, src: Ipv6Addr, dst: Ipv6Addr) {
        self.clear_checksum();
        self.set_checksum(never_zero(checksum::finish(self.sum_v6(src, dst))));
    }

    /// All between header and length field, to be changed.
    #[inline]
    pub fn payload_mut(&mut self) -> &mut [u8] {
        let range = HEADER_LEN..self.len();
        &mut self.buffer.as_mut()[range]
    }
}

/// Zero would say that there is no checksum; its ones' complement equal is sent instead.
#[inline]
fn never_zero(check: u16) -> u16 {
    if check == 0 { 0xffff } else { check }
}

/// The header as a value, but for length and checksum, which come from the datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpRepr {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
}

impl UdpRepr {
    /// The ports of `packet`; its checksum is not verified, as that needs addresses.
    #[inline]
    pub fn parse<T: AsRef<[u8]>>(packet: &UdpPacket<T>) -> Self {
        Self { src_port: packet.src_port(), dst_port: packet.dst_port() }
    }

    /// Writes the header, without a checksum, to the first [`HEADER_LEN`] bytes of `datagram`, all the rest
    /// of which is payload. At most 65 535 bytes can be stated.
    ///
    /// # Panics
    /// If `datagram` is shorter than the header.
    #[inline]
    pub fn emit(&self, datagram: &mut [u8]) {
        self.emit_unsummed(datagram);
    }

    /// As [`emit`](Self::emit), with the checksum over IPv4; the payload must be in place.
    ///
    /// # Panics
    /// If `datagram` is shorter than the header.
    #[inline]
    pub fn emit_v4(&self, datagram: &mut [u8], src: Ipv4Addr, dst: Ipv4Addr) {
        self.emit_unsummed(datagram).fill_checksum_v4(src, dst);
    }

    /// As [`emit`](Self::emit), with the checksum over IPv6; the payload must be in place.
    ///
    /// # Panics
    /// If `datagram` is shorter than the header.
    #[inline]
    pub fn emit_v6(&self, datagram: &mut [u8], src: Ipv6Addr, dst: Ipv6Addr) {
        self.emit_unsummed(datagram).fill_checksum_v6(src, dst);
    }

    #[inline]
    fn emit_unsummed<'a>(&self, datagram: &'a mut [u8]) -> UdpPacket<&'a mut [u8]> {
        let len = datagram.len().min(usize::from(u16::MAX));
        bytes::put_u16(datagram, field::LEN, len as u16);
        let mut packet = UdpPacket { buffer: datagram };
        packet.set_src_port(self.src_port);
        packet.set_dst_port(self.dst_port);
        packet.clear_checksum();
        packet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From 198.18.0.1 to 198.18.0.2.
    #[rustfmt::skip]
    static GOLDEN_V4: [u8; 13] = [
        0xc0, 0x01, 0x04, 0xd2, 0x00, 0x0d, 0xa5, 0xd2, 0x01, 0x02, 0x03, 0x04, 0x05,
    ];

    /// The same from 2001:db8::1 to 2001:db8::2.
    #[rustfmt::skip]
    static GOLDEN_V6: [u8; 13] = [
        0xc0, 0x01, 0x04, 0xd2, 0x00, 0x0d, 0xd6, 0x85, 0x01, 0x02, 0x03, 0x04, 0x05,
    ];

    const REPR: UdpRepr = UdpRepr { src_port: 49_153, dst_port: 1_234 };
    const SRC_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
    const DST_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
    const SRC_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    const DST_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);

    #[test]
    fn deconstruct() {
        let packet = UdpPacket::new_checked(&GOLDEN_V4[..]).unwrap();
        assert_eq!(packet.src_port(), REPR.src_port);
        assert_eq!(packet.dst_port(), REPR.dst_port);
        assert_eq!(packet.len(), 13);
        assert_eq!(packet.checksum(), 0xa5d2);
        assert_eq!(packet.payload(), &GOLDEN_V4[8..]);
        assert!(packet.verify_checksum_v4(SRC_V4, DST_V4));
        assert!(!packet.verify_checksum_v4(SRC_V4, SRC_V4));
        assert_eq!(packet.into_inner(), GOLDEN_V4);

        let packet = UdpPacket::new_checked(&GOLDEN_V6[..]).unwrap();
        assert!(packet.verify_checksum_v6(SRC_V6, DST_V6));
        assert!(!packet.verify_checksum_v6(SRC_V6, SRC_V6));
    }

    #[test]
    fn construct() {
        let mut bytes = [0xa5; GOLDEN_V4.len()];
        bytes[4..6].copy_from_slice(&[0, 13]);
        let mut packet = UdpPacket::new_checked(bytes).unwrap();
        packet.set_src_port(REPR.src_port);
        packet.set_dst_port(REPR.dst_port);
        packet.payload_mut().copy_from_slice(&GOLDEN_V4[8..]);
        packet.fill_checksum_v4(SRC_V4, DST_V4);
        assert_eq!(packet.buffer, GOLDEN_V4);
        packet.fill_checksum_v6(SRC_V6, DST_V6);
        assert_eq!(packet.buffer, GOLDEN_V6);
    }

    #[test]
    fn parse() {
        assert_eq!(UdpRepr::parse(&UdpPacket::new_checked(GOLDEN_V4).unwrap()), REPR);
    }

    #[test]
    fn emit() {
        let mut buffer = [0xa5; GOLDEN_V4.len()];
        buffer[HEADER_LEN..].copy_from_slice(&GOLDEN_V4[HEADER_LEN..]);
        REPR.emit_v4(&mut buffer, SRC_V4, DST_V4);
        assert_eq!(buffer, GOLDEN_V4);
        REPR.emit_v6(&mut buffer, SRC_V6, DST_V6);
        assert_eq!(buffer, GOLDEN_V6);
        REPR.emit(&mut buffer);
        assert_eq!(buffer[..6], GOLDEN_V4[..6]);
        assert_eq!(buffer[6..8], [0, 0]);
    }

    #[test]
    fn etherparse_agrees() {
        let udp = etherparse::UdpSlice::from_slice(&GOLDEN_V4).unwrap();
        let header = udp.to_header();
        assert_eq!((header.source_port, header.destination_port), (REPR.src_port, REPR.dst_port));
        assert_eq!(header.length, 13);
        let (src, dst) = (SRC_V4.octets(), DST_V4.octets());
        assert_eq!(Ok(header.checksum), header.calc_checksum_ipv4_raw(src, dst, udp.payload()));

        let udp = etherparse::UdpSlice::from_slice(&GOLDEN_V6).unwrap();
        let header = udp.to_header();
        let (src, dst) = (SRC_V6.octets(), DST_V6.octets());
        assert_eq!(Ok(header.checksum), header.calc_checksum_ipv6_raw(src, dst, udp.payload()));
    }

    #[test]
    fn absent_checksums_are_right_over_ipv4_alone() {
        let mut packet = UdpPacket::new_checked(GOLDEN_V4).unwrap();
        packet.clear_checksum();
        assert!(packet.verify_checksum_v4(SRC_V4, DST_V4));
        assert!(!packet.verify_checksum_v6(SRC_V6, DST_V6));
    }

    #[test]
    fn a_checksum_of_zero_is_sent_as_all_ones() {
        // A payload of the checksum of the datagram without it makes the sum come out as all ones.
        let mut buffer = [0; HEADER_LEN + 2];
        REPR.emit_v4(&mut buffer, SRC_V4, DST_V4);
        buffer.copy_within(6..8, HEADER_LEN);
        REPR.emit_v4(&mut buffer, SRC_V4, DST_V4);
        assert_eq!(buffer[6..8], [0xff, 0xff]);
        assert!(UdpPacket::new_checked(buffer).unwrap().verify_checksum_v4(SRC_V4, DST_V4));

        buffer[HEADER_LEN..].fill(0);
        REPR.emit_v6(&mut buffer, SRC_V6, DST_V6);
        buffer.copy_within(6..8, HEADER_LEN);
        REPR.emit_v6(&mut buffer, SRC_V6, DST_V6);
        assert_eq!(buffer[6..8], [0xff, 0xff]);
        assert!(UdpPacket::new_checked(buffer).unwrap().verify_checksum_v6(SRC_V6, DST_V6));
    }

    #[test]
    fn lying_lengths_are_refused() {
        let with_len = |len: u8| {
            let mut bytes = GOLDEN_V4;
            bytes[5] = len;
            UdpPacket::new_checked(bytes).map(|packet| packet.payload().len())
        };
        assert_eq!(UdpPacket::new_checked(&GOLDEN_V4[..7]), Err(Error::Truncated));
        assert_eq!(with_len(7), Err(Error::BadLength));
        assert_eq!(with_len(8), Ok(0));
        assert_eq!(with_len(12), Ok(4));
        assert_eq!(with_len(14), Err(Error::Truncated));
    }
}
