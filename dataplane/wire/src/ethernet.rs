//! Ethernet II frames without preamble and FCS (IEEE 802.3 §3).
//!
//! After [`EthernetFrame::new_checked`] the 14 bytes of the header are there, and no method panics.

use crate::{Error, EtherType, MacAddr, bytes};

/// Length of the header in bytes.
pub const HEADER_LEN: usize = field::PAYLOAD.start;

mod field {
    use std::ops::{Range, RangeFrom};

    pub(super) const DST: Range<usize> = 0..6;
    pub(super) const SRC: Range<usize> = 6..12;
    pub(super) const ETHERTYPE: Range<usize> = 12..14;
    pub(super) const PAYLOAD: RangeFrom<usize> = 14..;
}

/// A view of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EthernetFrame<T: AsRef<[u8]>> {
    buffer: T,
}

impl<T: AsRef<[u8]>> EthernetFrame<T> {
    /// [`Error::Truncated`] unless the whole header is there.
    #[inline]
    pub fn new_checked(buffer: T) -> Result<Self, Error> {
        if buffer.as_ref().len() < HEADER_LEN { Err(Error::Truncated) } else { Ok(Self { buffer }) }
    }

    /// Gives the buffer back.
    #[inline]
    pub fn into_inner(self) -> T {
        self.buffer
    }

    /// Destination address.
    #[inline]
    pub fn dst(&self) -> MacAddr {
        MacAddr(bytes::get(self.buffer.as_ref(), field::DST))
    }

    /// Source address.
    #[inline]
    pub fn src(&self) -> MacAddr {
        MacAddr(bytes::get(self.buffer.as_ref(), field::SRC))
    }

    /// Protocol of the payload. Numbers below 0x0600 are lengths of IEEE 802.3 frames and come as
    /// [`EtherType::Unknown`].
    #[inline]
    pub fn ethertype(&self) -> EtherType {
        bytes::get_u16(self.buffer.as_ref(), field::ETHERTYPE).into()
    }

    /// All after the header, padding included.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        &self.buffer.as_ref()[field::PAYLOAD]
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> EthernetFrame<T> {
    /// Sets the destination address.
    #[inline]
    pub fn set_dst(&mut self, mac: MacAddr) {
        self.buffer.as_mut()[field::DST].copy_from_slice(&mac.0);
    }

    /// Sets the source address.
    #[inline]
    pub fn set_src(&mut self, mac: MacAddr) {
        self.buffer.as_mut()[field::SRC].copy_from_slice(&mac.0);
    }

    /// Sets the protocol of the payload.
    #[inline]
    pub fn set_ethertype(&mut self, ethertype: EtherType) {
        bytes::put_u16(self.buffer.as_mut(), field::ETHERTYPE, ethertype.into());
    }

    /// All after the header, to be changed.
    #[inline]
    pub fn payload_mut(&mut self) -> &mut [u8] {
        &mut self.buffer.as_mut()[field::PAYLOAD]
    }
}

/// The header as a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EthernetRepr {
    /// Destination address.
    pub dst: MacAddr,
    /// Source address.
    pub src: MacAddr,
    /// Protocol of the payload.
    pub ethertype: EtherType,
}

impl EthernetRepr {
    /// The header of `frame`.
    #[inline]
    pub fn parse<T: AsRef<[u8]>>(frame: &EthernetFrame<T>) -> Self {
        Self { dst: frame.dst(), src: frame.src(), ethertype: frame.ethertype() }
    }

    /// Writes the header to the first [`HEADER_LEN`] bytes.
    ///
    /// # Panics
    /// If `buffer` is shorter than that.
    #[inline]
    pub fn emit(&self, buffer: &mut [u8]) {
        let mut frame = EthernetFrame { buffer: &mut buffer[..HEADER_LEN] };
        frame.set_dst(self.dst);
        frame.set_src(self.src);
        frame.set_ethertype(self.ethertype);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// UDP over IPv4 from 02:00:5e:10:00:02 to 02:00:5e:10:00:01.
    #[rustfmt::skip]
    static GOLDEN: [u8; 47] = [
        0x02, 0x00, 0x5e, 0x10, 0x00, 0x01, 0x02, 0x00, 0x5e, 0x10, 0x00, 0x02, 0x08, 0x00, 0x45, 0xb9,
        0x00, 0x21, 0x12, 0x34, 0x40, 0x00, 0x40, 0x11, 0x9b, 0xb7, 0xc6, 0x12, 0x00, 0x01, 0xc6, 0x12,
        0x00, 0x02, 0xc0, 0x01, 0x04, 0xd2, 0x00, 0x0d, 0xa5, 0xd2, 0x01, 0x02, 0x03, 0x04, 0x05,
    ];

    const REPR: EthernetRepr = EthernetRepr {
        dst: MacAddr([0x02, 0x00, 0x5e, 0x10, 0x00, 0x01]),
        src: MacAddr([0x02, 0x00, 0x5e, 0x10, 0x00, 0x02]),
        ethertype: EtherType::Ipv4,
    };

    #[test]
    fn deconstruct() {
        let frame = EthernetFrame::new_checked(&GOLDEN[..]).unwrap();
        assert_eq!(frame.dst(), REPR.dst);
        assert_eq!(frame.src(), REPR.src);
        assert_eq!(frame.ethertype(), EtherType::Ipv4);
        assert_eq!(frame.payload(), &GOLDEN[14..]);
        assert_eq!(frame.into_inner(), GOLDEN);
    }

    #[test]
    fn construct() {
        let mut frame = EthernetFrame::new_checked([0xa5; GOLDEN.len()]).unwrap();
        frame.set_dst(REPR.dst);
        frame.set_src(REPR.src);
        frame.set_ethertype(EtherType::Ipv4);
        frame.payload_mut().copy_from_slice(&GOLDEN[14..]);
        assert_eq!(frame.into_inner(), GOLDEN);
    }

    #[test]
    fn parse() {
        assert_eq!(EthernetRepr::parse(&EthernetFrame::new_checked(GOLDEN).unwrap()), REPR);
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
        let header = etherparse::Ethernet2Slice::from_slice_without_fcs(&GOLDEN).unwrap().to_header();
        assert_eq!(header.destination, REPR.dst.0);
        assert_eq!(header.source, REPR.src.0);
        assert_eq!(header.ether_type, etherparse::EtherType::IPV4);
    }

    #[test]
    fn short_is_truncated() {
        assert_eq!(EthernetFrame::new_checked(&GOLDEN[..13]), Err(Error::Truncated));
        assert!(EthernetFrame::new_checked(&GOLDEN[..14]).unwrap().payload().is_empty());
    }
}
