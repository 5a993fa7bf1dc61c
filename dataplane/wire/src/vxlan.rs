//! VXLAN (RFC 7348).
//!
//! After [`VxlanPacket::new_checked`] the 8 bytes of the header are there, and no method panics. The I flag
//! is not looked at by the check: a packet without it has no VNI.

use crate::{Error, Vni, bytes};

/// Length of the header in bytes.
pub const HEADER_LEN: usize = field::PAYLOAD.start;

/// The UDP port that VXLAN is sent to (RFC 7348 §5).
pub const UDP_PORT: u16 = 4789;

mod field {
    use std::ops::{Range, RangeFrom};

    pub(super) const FLAGS: usize = 0;
    pub(super) const RESERVED: Range<usize> = 1..4;
    /// VNI (24 bits) and reserved bits (8).
    pub(super) const VNI_RESERVED: Range<usize> = 4..8;
    pub(super) const PAYLOAD: RangeFrom<usize> = 8..;
}

/// The I flag: the VNI is valid.
const HAS_VNI: u8 = 0x08;

/// A view of a header and the inner frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VxlanPacket<T: AsRef<[u8]>> {
    buffer: T,
}

impl<T: AsRef<[u8]>> VxlanPacket<T> {
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

    /// Whether the I flag is set, as it must be. All other flags are reserved, and ignored.
    #[inline]
    pub fn has_vni(&self) -> bool {
        self.buffer.as_ref()[field::FLAGS] & HAS_VNI != 0
    }

    /// The network identifier; `None` if the I flag is not set or the identifier is zero. Reserved bits are
    /// ignored.
    #[inline]
    pub fn vni(&self) -> Option<Vni> {
        let word = u32::from_be_bytes(bytes::get(self.buffer.as_ref(), field::VNI_RESERVED));
        Vni::new(word >> 8).filter(|_| self.has_vni())
    }

    /// The inner Ethernet frame.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        &self.buffer.as_ref()[field::PAYLOAD]
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> VxlanPacket<T> {
    /// Sets the I flag and the network identifier, and all reserved bits to zero.
    #[inline]
    pub fn set_vni(&mut self, vni: Vni) {
        let data = self.buffer.as_mut();
        data[field::FLAGS] = HAS_VNI;
        data[field::RESERVED].fill(0);
        data[field::VNI_RESERVED].copy_from_slice(&(vni.value() << 8).to_be_bytes());
    }

    /// The inner Ethernet frame, to be changed.
    #[inline]
    pub fn payload_mut(&mut self) -> &mut [u8] {
        &mut self.buffer.as_mut()[field::PAYLOAD]
    }
}

/// The header as a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VxlanRepr {
    /// The network identifier.
    pub vni: Vni,
}

impl VxlanRepr {
    /// The header of `packet`. [`Error::BadField`] if the I flag is not set or the identifier is zero.
    #[inline]
    pub fn parse<T: AsRef<[u8]>>(packet: &VxlanPacket<T>) -> Result<Self, Error> {
        packet.vni().map(|vni| Self { vni }).ok_or(Error::BadField)
    }

    /// Writes the header to the first [`HEADER_LEN`] bytes.
    ///
    /// # Panics
    /// If `buffer` is shorter than that.
    #[inline]
    pub fn emit(&self, buffer: &mut [u8]) {
        VxlanPacket { buffer: &mut buffer[..HEADER_LEN] }.set_vni(self.vni);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An IPv4 frame in VNI 0x123456.
    #[rustfmt::skip]
    static GOLDEN: [u8; 55] = [
        0x08, 0x00, 0x00, 0x00, 0x12, 0x34, 0x56, 0x00, 0x02, 0x00, 0x5e, 0x10, 0x00, 0x01, 0x02, 0x00,
        0x5e, 0x10, 0x00, 0x02, 0x08, 0x00, 0x45, 0xb9, 0x00, 0x21, 0x12, 0x34, 0x40, 0x00, 0x40, 0x11,
        0x57, 0xc1, 0x0a, 0x00, 0x00, 0x02, 0xc6, 0x13, 0x00, 0x09, 0x13, 0x88, 0x13, 0x89, 0x00, 0x0d,
        0xb8, 0xbc, 0x71, 0x75, 0x65, 0x72, 0x79,
    ];

    fn vni(value: u32) -> Vni {
        Vni::new(value).unwrap()
    }

    #[test]
    fn deconstruct() {
        let packet = VxlanPacket::new_checked(&GOLDEN[..]).unwrap();
        assert!(packet.has_vni());
        assert_eq!(packet.vni(), Some(vni(0x12_3456)));
        assert_eq!(packet.payload(), &GOLDEN[8..]);
        assert_eq!(packet.into_inner(), GOLDEN);
    }

    #[test]
    fn construct() {
        let mut packet = VxlanPacket::new_checked([0xa5; GOLDEN.len()]).unwrap();
        packet.set_vni(vni(0x12_3456));
        packet.payload_mut().copy_from_slice(&GOLDEN[8..]);
        assert_eq!(packet.into_inner(), GOLDEN);
    }

    #[test]
    fn parse() {
        let repr = VxlanRepr { vni: vni(0x12_3456) };
        assert_eq!(VxlanRepr::parse(&VxlanPacket::new_checked(GOLDEN).unwrap()), Ok(repr));
    }

    #[test]
    fn emit() {
        let mut buffer = [0xa5; HEADER_LEN + 1];
        VxlanRepr { vni: vni(0x12_3456) }.emit(&mut buffer);
        assert_eq!(buffer[..HEADER_LEN], GOLDEN[..HEADER_LEN]);
        assert_eq!(buffer[HEADER_LEN], 0xa5);
    }

    #[test]
    fn etherparse_agrees_on_the_inner_frame() {
        let inner = etherparse::SlicedPacket::from_ethernet(&GOLDEN[HEADER_LEN..]).unwrap();
        let Some(etherparse::TransportSlice::Udp(udp)) = inner.transport else { panic!("{inner:?}") };
        assert_eq!(udp.payload(), b"query");
    }

    #[test]
    fn reserved_bits_are_ignored() {
        let mut bytes = [0xff; HEADER_LEN];
        bytes[4..7].copy_from_slice(&[0, 0, 1]);
        assert_eq!(VxlanPacket::new_checked(bytes).unwrap().vni(), Some(vni(1)));
    }

    #[test]
    fn no_vni_without_the_flag_nor_zero() {
        let mut bytes = GOLDEN;
        bytes[0] = !HAS_VNI;
        let packet = VxlanPacket::new_checked(bytes).unwrap();
        assert!(!packet.has_vni());
        assert_eq!(packet.vni(), None);
        assert_eq!(VxlanRepr::parse(&packet), Err(Error::BadField));
        let zero = VxlanPacket::new_checked([8, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        assert!(zero.has_vni());
        assert_eq!(zero.vni(), None);
        assert_eq!(VxlanPacket::new_checked(&GOLDEN[..7]), Err(Error::Truncated));
    }
}
