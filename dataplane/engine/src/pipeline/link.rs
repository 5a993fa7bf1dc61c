//! The link layer of frames at a port, and of inner frames.

use wire::ethernet::{self, EthernetFrame};
use wire::vlan::VlanTag;
use wire::{EtherType, MacAddr};

use crate::counters::Reason;

/// Bytes of an 802.1Q tag.
const TAG_LEN: usize = 4;

/// An Ethernet header with at most one priority tag.
pub(crate) struct Link {
    pub(crate) destination: MacAddr,
    pub(crate) source: MacAddr,
    pub(crate) ethertype: EtherType,
    /// Where the network layer starts.
    pub(crate) payload: u16,
}

impl Link {
    /// Reads the header at the start of `frame`. A tag with VID 0 carries only a priority (IEEE 802.1Q §6.9) and is
    /// skipped; any other is a reason to drop, named `tagged`.
    #[inline]
    pub(crate) fn parse(frame: &[u8], tagged: Reason) -> Result<Self, Reason> {
        let frame = EthernetFrame::new_checked(frame)?;
        let (destination, source) = (frame.dst(), frame.src());
        match frame.ethertype() {
            EtherType::Vlan => {
                let tag = VlanTag::new_checked(frame.payload())?;
                if tag.vid() != 0 || matches!(tag.ethertype(), EtherType::Vlan | EtherType::QinQ) {
                    return Err(tagged);
                }
                let payload = (ethernet::HEADER_LEN + TAG_LEN) as u16;
                Ok(Self { destination, source, ethertype: tag.ethertype(), payload })
            }
            EtherType::QinQ => Err(tagged),
            ethertype => Ok(Self { destination, source, ethertype, payload: ethernet::HEADER_LEN as u16 }),
        }
    }

    /// What follows the header in `frame`.
    #[inline]
    pub(crate) fn payload_of<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        &frame[self.payload.into()..]
    }
}
