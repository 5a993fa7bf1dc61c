//! ARP for IPv4 over Ethernet (RFC 826).
//!
//! After [`ArpPacket::new_checked`] all 28 bytes are there and speak of Ethernet and IPv4, and no method
//! panics.

use std::net::Ipv4Addr;

use crate::numbers::open_enum;
use crate::{Error, EtherType, MacAddr, bytes};

/// Length of a packet in bytes; padding may follow.
pub const LEN: usize = field::TARGET_IP.end;

mod field {
    use std::ops::Range;

    pub(super) const HARDWARE_TYPE: Range<usize> = 0..2;
    pub(super) const PROTOCOL_TYPE: Range<usize> = 2..4;
    pub(super) const HARDWARE_LEN: usize = 4;
    pub(super) const PROTOCOL_LEN: usize = 5;
    pub(super) const OPERATION: Range<usize> = 6..8;
    pub(super) const SENDER_MAC: Range<usize> = 8..14;
    pub(super) const SENDER_IP: Range<usize> = 14..18;
    pub(super) const TARGET_MAC: Range<usize> = 18..24;
    pub(super) const TARGET_IP: Range<usize> = 24..28;
}

/// Hardware type of Ethernet (IANA, "ARP Parameters").
const ETHERNET: u16 = 1;
const MAC_LEN: u8 = 6;
const IPV4_LEN: u8 = 4;

open_enum! {
    /// What an ARP packet is for.
    pub enum ArpOperation: u16 {
        /// Who has the target address?
        Request = 1,
        /// The sender has it.
        Reply = 2,
    }
}

/// A view of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArpPacket<T: AsRef<[u8]>> {
    buffer: T,
}

impl<T: AsRef<[u8]>> ArpPacket<T> {
    /// [`Error::Truncated`] unless all of the packet is there, [`Error::BadField`] if it is not for IPv4 over
    /// Ethernet.
    #[inline]
    pub fn new_checked(buffer: T) -> Result<Self, Error> {
        let data = buffer.as_ref();
        if data.len() < LEN {
            return Err(Error::Truncated);
        }
        if bytes::get_u16(data, field::HARDWARE_TYPE) != ETHERNET
            || bytes::get_u16(data, field::PROTOCOL_TYPE) != u16::from(EtherType::Ipv4)
            || data[field::HARDWARE_LEN] != MAC_LEN
            || data[field::PROTOCOL_LEN] != IPV4_LEN
        {
            return Err(Error::BadField);
        }
        Ok(Self { buffer })
    }

    /// Gives the buffer back.
    #[inline]
    pub fn into_inner(self) -> T {
        self.buffer
    }

    /// What the packet is for.
    #[inline]
    pub fn operation(&self) -> ArpOperation {
        bytes::get_u16(self.buffer.as_ref(), field::OPERATION).into()
    }

    /// MAC address of the sender.
    #[inline]
    pub fn sender_mac(&self) -> MacAddr {
        MacAddr(bytes::get(self.buffer.as_ref(), field::SENDER_MAC))
    }

    /// IPv4 address of the sender; unspecified in a probe (RFC 5227 §2.1.1).
    #[inline]
    pub fn sender_ip(&self) -> Ipv4Addr {
        Ipv4Addr::from_octets(bytes::get(self.buffer.as_ref(), field::SENDER_IP))
    }

    /// MAC address of the target; of no meaning in a request.
    #[inline]
    pub fn target_mac(&self) -> MacAddr {
        MacAddr(bytes::get(self.buffer.as_ref(), field::TARGET_MAC))
    }

    /// IPv4 address of the target.
    #[inline]
    pub fn target_ip(&self) -> Ipv4Addr {
        Ipv4Addr::from_octets(bytes::get(self.buffer.as_ref(), field::TARGET_IP))
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> ArpPacket<T> {
    /// Sets what the packet is for.
    #[inline]
    pub fn set_operation(&mut self, operation: ArpOperation) {
        bytes::put_u16(self.buffer.as_mut(), field::OPERATION, operation.into());
    }

    /// Sets the MAC address of the sender.
    #[inline]
    pub fn set_sender_mac(&mut self, mac: MacAddr) {
        self.buffer.as_mut()[field::SENDER_MAC].copy_from_slice(&mac.0);
    }

    /// Sets the IPv4 address of the sender.
    #[inline]
    pub fn set_sender_ip(&mut self, ip: Ipv4Addr) {
        self.buffer.as_mut()[field::SENDER_IP].copy_from_slice(&ip.octets());
    }

    /// Sets the MAC address of the target.
    #[inline]
    pub fn set_target_mac(&mut self, mac: MacAddr) {
        self.buffer.as_mut()[field::TARGET_MAC].copy_from_slice(&mac.0);
    }

    /// Sets the IPv4 address of the target.
    #[inline]
    pub fn set_target_ip(&mut self, ip: Ipv4Addr) {
        self.buffer.as_mut()[field::TARGET_IP].copy_from_slice(&ip.octets());
    }
}

/// A packet as a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArpRepr {
    /// What the packet is for.
    pub operation: ArpOperation,
    /// MAC address of the sender.
    pub sender_mac: MacAddr,
    /// IPv4 address of the sender.
    pub sender_ip: Ipv4Addr,
    /// MAC address of the target.
    pub target_mac: MacAddr,
    /// IPv4 address of the target.
    pub target_ip: Ipv4Addr,
}

impl ArpRepr {
    /// The fields of `packet`.
    #[inline]
    pub fn parse<T: AsRef<[u8]>>(packet: &ArpPacket<T>) -> Self {
        Self {
            operation: packet.operation(),
            sender_mac: packet.sender_mac(),
            sender_ip: packet.sender_ip(),
            target_mac: packet.target_mac(),
            target_ip: packet.target_ip(),
        }
    }

    /// Writes the packet to the first [`LEN`] bytes.
    ///
    /// # Panics
    /// If `buffer` is shorter than that.
    #[inline]
    pub fn emit(&self, buffer: &mut [u8]) {
        let data = &mut buffer[..LEN];
        bytes::put_u16(data, field::HARDWARE_TYPE, ETHERNET);
        bytes::put_u16(data, field::PROTOCOL_TYPE, EtherType::Ipv4.into());
        data[field::HARDWARE_LEN] = MAC_LEN;
        data[field::PROTOCOL_LEN] = IPV4_LEN;
        let mut packet = ArpPacket { buffer: data };
        packet.set_operation(self.operation);
        packet.set_sender_mac(self.sender_mac);
        packet.set_sender_ip(self.sender_ip);
        packet.set_target_mac(self.target_mac);
        packet.set_target_ip(self.target_ip);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "Who has 198.18.0.2? Tell 198.18.0.1", from 02:00:5e:10:00:02.
    #[rustfmt::skip]
    static GOLDEN: [u8; 28] = [
        0x00, 0x01, 0x08, 0x00, 0x06, 0x04, 0x00, 0x01, 0x02, 0x00, 0x5e, 0x10, 0x00, 0x02, 0xc6, 0x12,
        0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xc6, 0x12, 0x00, 0x02,
    ];

    const REPR: ArpRepr = ArpRepr {
        operation: ArpOperation::Request,
        sender_mac: MacAddr([0x02, 0x00, 0x5e, 0x10, 0x00, 0x02]),
        sender_ip: Ipv4Addr::new(198, 18, 0, 1),
        target_mac: MacAddr::ZERO,
        target_ip: Ipv4Addr::new(198, 18, 0, 2),
    };

    #[test]
    fn deconstruct() {
        let packet = ArpPacket::new_checked(&GOLDEN[..]).unwrap();
        assert_eq!(packet.operation(), ArpOperation::Request);
        assert_eq!(packet.sender_mac(), REPR.sender_mac);
        assert_eq!(packet.sender_ip(), REPR.sender_ip);
        assert_eq!(packet.target_mac(), REPR.target_mac);
        assert_eq!(packet.target_ip(), REPR.target_ip);
        assert_eq!(packet.into_inner(), GOLDEN);
    }

    #[test]
    fn construct() {
        let mut bytes = [0xa5; LEN];
        bytes[..6].copy_from_slice(&GOLDEN[..6]);
        let mut packet = ArpPacket::new_checked(bytes).unwrap();
        packet.set_operation(ArpOperation::Request);
        packet.set_sender_mac(REPR.sender_mac);
        packet.set_sender_ip(REPR.sender_ip);
        packet.set_target_mac(REPR.target_mac);
        packet.set_target_ip(REPR.target_ip);
        assert_eq!(packet.into_inner(), GOLDEN);
    }

    #[test]
    fn parse() {
        assert_eq!(ArpRepr::parse(&ArpPacket::new_checked(GOLDEN).unwrap()), REPR);
    }

    #[test]
    fn emit() {
        let mut buffer = [0xa5; LEN + 1];
        REPR.emit(&mut buffer);
        assert_eq!(buffer[..LEN], GOLDEN);
        assert_eq!(buffer[LEN], 0xa5);
    }

    #[test]
    fn etherparse_agrees() {
        let packet = etherparse::ArpPacketSlice::from_slice(&GOLDEN).unwrap().to_packet();
        let packet = packet.try_eth_ipv4().unwrap();
        assert_eq!(packet.operation, etherparse::ArpOperation::REQUEST);
        assert_eq!(packet.sender_mac, REPR.sender_mac.0);
        assert_eq!(packet.sender_ipv4_addr(), REPR.sender_ip);
        assert_eq!(packet.target_mac, REPR.target_mac.0);
        assert_eq!(packet.target_ipv4_addr(), REPR.target_ip);
    }

    #[test]
    fn only_ipv4_over_ethernet_is_spoken() {
        assert_eq!(ArpPacket::new_checked(&GOLDEN[..LEN - 1]), Err(Error::Truncated));
        for byte in 0..6 {
            let mut other = GOLDEN;
            other[byte] ^= 1;
            assert_eq!(ArpPacket::new_checked(other), Err(Error::BadField), "byte {byte}");
        }
    }
}
