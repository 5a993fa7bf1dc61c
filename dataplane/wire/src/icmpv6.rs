//! ICMP for IPv6 (RFC 4443). Neighbour discovery's messages are in [`ndp`](crate::ndp).
//!
//! After [`Icmpv6Packet::new_checked`] type, code and checksum are there, and no method panics. The whole
//! buffer is the message: give it the payload of an IPv6 packet from its upper layer's offset on.

use std::net::Ipv6Addr;

use crate::{Error, IpProtocol, bytes, checksum};

/// Length in bytes of type, code and checksum, which all messages have.
pub const HEADER_LEN: usize = field::PAYLOAD.start;

mod field {
    use std::ops::{Range, RangeFrom};

    pub(super) const TYPE: usize = 0;
    pub(super) const CODE: usize = 1;
    pub(super) const CHECKSUM: Range<usize> = 2..4;
    pub(super) const PAYLOAD: RangeFrom<usize> = 4..;
    pub(super) const ECHO_IDENT: Range<usize> = 4..6;
    pub(super) const ECHO_SEQUENCE: Range<usize> = 6..8;
    pub(super) const ECHO_DATA: RangeFrom<usize> = 8..;
}

/// Type of an echo reply.
pub const ECHO_REPLY: u8 = 129;
/// Type of an echo request.
pub const ECHO_REQUEST: u8 = 128;

/// A view of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Icmpv6Packet<T: AsRef<[u8]>> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Icmpv6Packet<T> {
    /// [`Error::Truncated`] unless type, code and checksum are there.
    #[inline]
    pub fn new_checked(buffer: T) -> Result<Self, Error> {
        if buffer.as_ref().len() < HEADER_LEN { Err(Error::Truncated) } else { Ok(Self { buffer }) }
    }

    /// Gives the buffer back.
    #[inline]
    pub fn into_inner(self) -> T {
        self.buffer
    }

    /// Type of the message.
    #[inline]
    pub fn type_(&self) -> u8 {
        self.buffer.as_ref()[field::TYPE]
    }

    /// Code: a refinement of the type.
    #[inline]
    pub fn code(&self) -> u8 {
        self.buffer.as_ref()[field::CODE]
    }

    /// Checksum of the message.
    #[inline]
    pub fn checksum(&self) -> u16 {
        bytes::get_u16(self.buffer.as_ref(), field::CHECKSUM)
    }

    /// Whether the checksum, which covers the addresses too, is right.
    #[inline]
    pub fn verify_checksum(&self, src: Ipv6Addr, dst: Ipv6Addr) -> bool {
        checksum::finish(self.sum(src, dst)) == 0
    }

    #[inline]
    fn sum(&self, src: Ipv6Addr, dst: Ipv6Addr) -> u32 {
        let message = self.buffer.as_ref();
        let pseudo = checksum::pseudo_header_v6(src, dst, IpProtocol::Icmpv6.into(), message.len() as u32);
        checksum::ones_sum(message, pseudo)
    }

    /// All after the checksum: what it holds depends on the type.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        &self.buffer.as_ref()[field::PAYLOAD]
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Icmpv6Packet<T> {
    /// Sets the type of the message; the checksum is left as it is.
    #[inline]
    pub fn set_type(&mut self, type_: u8) {
        self.buffer.as_mut()[field::TYPE] = type_;
    }

    /// Sets the code; the checksum is left as it is.
    #[inline]
    pub fn set_code(&mut self, code: u8) {
        self.buffer.as_mut()[field::CODE] = code;
    }

    /// Computes the checksum anew.
    #[inline]
    pub fn fill_checksum(&mut self, src: Ipv6Addr, dst: Ipv6Addr) {
        bytes::put_u16(self.buffer.as_mut(), field::CHECKSUM, 0);
        let check = checksum::finish(self.sum(src, dst));
        bytes::put_u16(self.buffer.as_mut(), field::CHECKSUM, check);
    }

    /// All after the checksum, to be changed.
    #[inline]
    pub fn payload_mut(&mut self) -> &mut [u8] {
        &mut self.buffer.as_mut()[field::PAYLOAD]
    }
}

/// A message as a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Icmpv6Repr<'a> {
    /// "Are you there?"
    EchoRequest {
        /// Tells apart those who ask.
        ident: u16,
        /// Tells apart the requests of one.
        sequence: u16,
        /// To be sent back.
        data: &'a [u8],
    },
    /// "Yes."
    EchoReply {
        /// That of the request.
        ident: u16,
        /// That of the request.
        sequence: u16,
        /// That of the request.
        data: &'a [u8],
    },
}

impl<'a> Icmpv6Repr<'a> {
    /// The message in `packet`. [`Error::BadChecksum`], [`Error::BadField`] if it is of another type or its
    /// code is not zero, [`Error::Truncated`] if it is too short for its type.
    pub fn parse<T: AsRef<[u8]>>(
        packet: &'a Icmpv6Packet<T>,
        src: Ipv6Addr,
        dst: Ipv6Addr,
    ) -> Result<Self, Error> {
        if !packet.verify_checksum(src, dst) {
            return Err(Error::BadChecksum);
        }
        let message = packet.buffer.as_ref();
        let echo = matches!(packet.type_(), ECHO_REQUEST | ECHO_REPLY) && packet.code() == 0;
        if !echo {
            return Err(Error::BadField);
        }
        let data = message.get(field::ECHO_DATA).ok_or(Error::Truncated)?;
        let ident = bytes::get_u16(message, field::ECHO_IDENT);
        let sequence = bytes::get_u16(message, field::ECHO_SEQUENCE);
        Ok(if packet.type_() == ECHO_REQUEST {
            Self::EchoRequest { ident, sequence, data }
        } else {
            Self::EchoReply { ident, sequence, data }
        })
    }

    /// Length of the message in bytes.
    #[inline]
    pub fn buffer_len(&self) -> usize {
        let (Self::EchoRequest { data, .. } | Self::EchoReply { data, .. }) = self;
        field::ECHO_DATA.start + data.len()
    }

    /// Writes the message and its checksum to the first [`buffer_len`](Self::buffer_len) bytes.
    ///
    /// # Panics
    /// If `buffer` is shorter than that.
    pub fn emit(&self, buffer: &mut [u8], src: Ipv6Addr, dst: Ipv6Addr) {
        let (type_, ident, sequence, data) = match *self {
            Self::EchoRequest { ident, sequence, data } => (ECHO_REQUEST, ident, sequence, data),
            Self::EchoReply { ident, sequence, data } => (ECHO_REPLY, ident, sequence, data),
        };
        let message = &mut buffer[..self.buffer_len()];
        bytes::put_u16(message, field::ECHO_IDENT, ident);
        bytes::put_u16(message, field::ECHO_SEQUENCE, sequence);
        message[field::ECHO_DATA].copy_from_slice(data);
        emit_header(message, type_, src, dst);
    }
}

/// Writes type, code zero and checksum before the rest of `message`, which must be in place.
pub(crate) fn emit_header(message: &mut [u8], type_: u8, src: Ipv6Addr, dst: Ipv6Addr) {
    let mut packet = Icmpv6Packet { buffer: message };
    packet.set_type(type_);
    packet.set_code(0);
    packet.fill_checksum(src, dst);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An echo request from 2001:db8::1 to 2001:db8::2 with five bytes of data.
    #[rustfmt::skip]
    static GOLDEN: [u8; 13] = [
        0x80, 0x00, 0x99, 0x74, 0x12, 0x34, 0x00, 0x01, 0xaa, 0xbb, 0xcc, 0xdd, 0x01,
    ];

    const SRC: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    const DST: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
    const REPR: Icmpv6Repr =
        Icmpv6Repr::EchoRequest { ident: 0x1234, sequence: 1, data: &[0xaa, 0xbb, 0xcc, 0xdd, 0x01] };

    #[test]
    fn deconstruct() {
        let packet = Icmpv6Packet::new_checked(&GOLDEN[..]).unwrap();
        assert_eq!(packet.type_(), ECHO_REQUEST);
        assert_eq!(packet.code(), 0);
        assert_eq!(packet.checksum(), 0x9974);
        assert!(packet.verify_checksum(SRC, DST));
        assert_eq!(packet.payload(), &GOLDEN[4..]);
        assert_eq!(packet.into_inner(), GOLDEN);
    }

    #[test]
    fn construct() {
        let mut packet = Icmpv6Packet::new_checked([0xa5; GOLDEN.len()]).unwrap();
        packet.set_type(ECHO_REQUEST);
        packet.set_code(0);
        packet.payload_mut().copy_from_slice(&GOLDEN[4..]);
        packet.fill_checksum(SRC, DST);
        assert_eq!(packet.into_inner(), GOLDEN);
    }

    #[test]
    fn parse() {
        assert_eq!(Icmpv6Repr::parse(&Icmpv6Packet::new_checked(GOLDEN).unwrap(), SRC, DST), Ok(REPR));
    }

    #[test]
    fn emit() {
        assert_eq!(REPR.buffer_len(), GOLDEN.len());
        let mut buffer = [0xa5; GOLDEN.len() + 1];
        REPR.emit(&mut buffer, SRC, DST);
        assert_eq!(buffer[..GOLDEN.len()], GOLDEN);
        assert_eq!(buffer[GOLDEN.len()], 0xa5);
    }

    #[test]
    fn replies_differ_from_requests() {
        let reply = Icmpv6Repr::EchoReply { ident: 0x1234, sequence: 1, data: &[] };
        let mut buffer = [0xa5; 8];
        reply.emit(&mut buffer, SRC, DST);
        assert_eq!(buffer[0], ECHO_REPLY);
        assert_eq!(Icmpv6Repr::parse(&Icmpv6Packet::new_checked(buffer).unwrap(), SRC, DST), Ok(reply));
    }

    #[test]
    fn etherparse_agrees() {
        let message = etherparse::Icmpv6Slice::from_slice(&GOLDEN).unwrap();
        assert!(message.is_checksum_valid(SRC.octets(), DST.octets()));
        let echo = etherparse::IcmpEchoHeader { id: 0x1234, seq: 1 };
        assert_eq!(message.icmp_type(), etherparse::Icmpv6Type::EchoRequest(echo));
        assert_eq!(message.payload(), &GOLDEN[8..]);
    }

    #[test]
    fn bad_messages_are_refused() {
        /// Parses a message after making its checksum right.
        fn parse(message: &[u8]) -> Result<usize, Error> {
            let mut packet = Icmpv6Packet::new_checked(message.to_vec())?;
            packet.fill_checksum(SRC, DST);
            Icmpv6Repr::parse(&packet, SRC, DST).map(|repr| repr.buffer_len())
        }
        assert_eq!(parse(&GOLDEN), Ok(13));
        assert_eq!(parse(&GOLDEN[..8]), Ok(8));
        assert_eq!(parse(&GOLDEN[..7]), Err(Error::Truncated));
        assert_eq!(parse(&GOLDEN[..3]), Err(Error::Truncated));
        let mut code = GOLDEN;
        code[1] = 1;
        assert_eq!(parse(&code), Err(Error::BadField));
        let mut type_ = GOLDEN;
        type_[0] = 3;
        assert_eq!(parse(&type_), Err(Error::BadField));
        let wrong = Icmpv6Packet::new_checked(&GOLDEN[..12]).unwrap();
        assert_eq!(Icmpv6Repr::parse(&wrong, SRC, DST), Err(Error::BadChecksum));
    }
}
