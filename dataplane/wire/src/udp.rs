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
