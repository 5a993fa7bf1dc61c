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
