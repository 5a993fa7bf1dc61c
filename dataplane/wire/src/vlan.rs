//! VLAN tags (IEEE 802.1Q §9.6): the four bytes after an EtherType of 0x8100 or 0x88a8, and what they wrap.
//!
//! After [`VlanTag::new_checked`] the tag and the EtherType that follows it are there, and no method panics.

use crate::{Error, EtherType, bytes};

/// Length in bytes of the tag control information and the EtherType that follows it.
pub const HEADER_LEN: usize = field::PAYLOAD.start;

mod field {
    use std::ops::{Range, RangeFrom};

    /// Priority (3 bits), drop eligible (1), VID (12).
    pub(super) const CONTROL: Range<usize> = 0..2;
    pub(super) const ETHERTYPE: Range<usize> = 2..4;
    pub(super) const PAYLOAD: RangeFrom<usize> = 4..;
}

const VID_MASK: u16 = 0x0fff;
const DROP_ELIGIBLE: u16 = 0x1000;
const PRIORITY_SHIFT: u32 = 13;

/// A view of a tag and all that follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VlanTag<T: AsRef<[u8]>> {
    buffer: T,
}

impl<T: AsRef<[u8]>> VlanTag<T> {
    /// [`Error::Truncated`] unless all four bytes are there.
    #[inline]
    pub fn new_checked(buffer: T) -> Result<Self, Error> {
        if buffer.as_ref().len() < HEADER_LEN { Err(Error::Truncated) } else { Ok(Self { buffer }) }
    }

    /// Gives the buffer back.
    #[inline]
    pub fn into_inner(self) -> T {
        self.buffer
    }

    #[inline]
    fn control(&self) -> u16 {
        bytes::get_u16(self.buffer.as_ref(), field::CONTROL)
    }

    /// VLAN identifier, 12 bits. Zero is a frame of no VLAN that only carries a priority.
    #[inline]
    pub fn vid(&self) -> u16 {
        self.control() & VID_MASK
    }

    /// Priority code point, 0 to 7.
    #[inline]
    pub fn priority(&self) -> u8 {
        (self.control() >> PRIORITY_SHIFT) as u8
    }

    /// Whether the frame is to be dropped first under congestion.
    #[inline]
    pub fn drop_eligible(&self) -> bool {
        self.control() & DROP_ELIGIBLE != 0
    }

    /// Protocol of the payload.
    #[inline]
    pub fn ethertype(&self) -> EtherType {
        bytes::get_u16(self.buffer.as_ref(), field::ETHERTYPE).into()
    }

    /// All after the tag.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        &self.buffer.as_ref()[field::PAYLOAD]
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> VlanTag<T> {
    #[inline]
    fn set_control(&mut self, mask: u16, bits: u16) {
        let control = self.control() & !mask | bits & mask;
        bytes::put_u16(self.buffer.as_mut(), field::CONTROL, control);
    }

    /// Sets the VLAN identifier to the low 12 bits of `vid`.
    #[inline]
    pub fn set_vid(&mut self, vid: u16) {
        self.set_control(VID_MASK, vid);
    }

    /// Sets the priority code point to the low 3 bits of `priority`.
    #[inline]
    pub fn set_priority(&mut self, priority: u8) {
        self.set_control(0b111 << PRIORITY_SHIFT, u16::from(priority) << PRIORITY_SHIFT);
    }

    /// Sets whether the frame is to be dropped first.
    #[inline]
    pub fn set_drop_eligible(&mut self, drop_eligible: bool) {
        self.set_control(DROP_ELIGIBLE, if drop_eligible { DROP_ELIGIBLE } else { 0 });
    }

    /// Sets the protocol of the payload.
    #[inline]
    pub fn set_ethertype(&mut self, ethertype: EtherType) {
        bytes::put_u16(self.buffer.as_mut(), field::ETHERTYPE, ethertype.into());
    }

    /// All after the tag, to be changed.
    #[inline]
    pub fn payload_mut(&mut self) -> &mut [u8] {
        &mut self.buffer.as_mut()[field::PAYLOAD]
    }
}

/// The tag as a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VlanRepr {
    /// VLAN identifier; only the low 12 bits are sent.
    pub vid: u16,
    /// Priority code point; only the low 3 bits are sent.
    pub priority: u8,
    /// Whether the frame is to be dropped first.
    pub drop_eligible: bool,
    /// Protocol of the payload.
    pub ethertype: EtherType,
}

impl VlanRepr {
    /// The fields of `tag`.
    #[inline]
    pub fn parse<T: AsRef<[u8]>>(tag: &VlanTag<T>) -> Self {
        Self {
            vid: tag.vid(),
            priority: tag.priority(),
            drop_eligible: tag.drop_eligible(),
            ethertype: tag.ethertype(),
        }
    }

    /// Writes the tag to the first [`HEADER_LEN`] bytes.
    ///
    /// # Panics
    /// If `buffer` is shorter than that.
    #[inline]
    pub fn emit(&self, buffer: &mut [u8]) {
        let mut tag = VlanTag { buffer: &mut buffer[..HEADER_LEN] };
        tag.set_vid(self.vid);
        tag.set_priority(self.priority);
        tag.set_drop_eligible(self.drop_eligible);
        tag.set_ethertype(self.ethertype);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// VLAN 100, priority 3, drop eligible, and the start of an IPv6 packet.
    #[rustfmt::skip]
    static GOLDEN: [u8; 12] = [
        0x70, 0x64, 0x86, 0xdd, 0x6b, 0x91, 0x23, 0x45, 0x00, 0x0d, 0x11, 0x40,
    ];

    const REPR: VlanRepr =
        VlanRepr { vid: 100, priority: 3, drop_eligible: true, ethertype: EtherType::Ipv6 };

    #[test]
    fn deconstruct() {
        let tag = VlanTag::new_checked(&GOLDEN[..]).unwrap();
        assert_eq!(tag.vid(), 100);
        assert_eq!(tag.priority(), 3);
        assert!(tag.drop_eligible());
        assert_eq!(tag.ethertype(), EtherType::Ipv6);
        assert_eq!(tag.payload(), &GOLDEN[4..]);
        assert_eq!(tag.into_inner(), GOLDEN);
    }

    #[test]
    fn construct() {
        let mut tag = VlanTag::new_checked([0xa5; GOLDEN.len()]).unwrap();
        tag.set_vid(100);
        tag.set_priority(3);
        tag.set_drop_eligible(true);
        tag.set_ethertype(EtherType::Ipv6);
        tag.payload_mut().copy_from_slice(&GOLDEN[4..]);
        assert_eq!(tag.into_inner(), GOLDEN);
    }

    #[test]
    fn setters_keep_to_their_bits() {
        let mut tag = VlanTag::new_checked([0; HEADER_LEN]).unwrap();
        tag.set_vid(0xffff);
        assert_eq!((tag.vid(), tag.priority(), tag.drop_eligible()), (0xfff, 0, false));
        tag.set_priority(0xff);
        assert_eq!((tag.vid(), tag.priority(), tag.drop_eligible()), (0xfff, 7, false));
    }

    #[test]
    fn parse() {
        assert_eq!(VlanRepr::parse(&VlanTag::new_checked(GOLDEN).unwrap()), REPR);
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
        let tag = etherparse::SingleVlanSlice::from_slice(&GOLDEN).unwrap();
        assert_eq!(tag.vlan_identifier().value(), REPR.vid);
        assert_eq!(tag.priority_code_point().value(), REPR.priority);
        assert_eq!(tag.drop_eligible_indicator(), REPR.drop_eligible);
        assert_eq!(tag.ether_type(), etherparse::EtherType::IPV6);
    }

    #[test]
    fn short_is_truncated() {
        assert_eq!(VlanTag::new_checked(&GOLDEN[..3]), Err(Error::Truncated));
    }
}
