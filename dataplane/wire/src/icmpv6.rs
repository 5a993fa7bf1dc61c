//! ICMP for IPv6 (RFC 4443). Neighbour discovery's messages are in [`ndp`](crate::ndp).
//!
//! After [`Icmpv6Packet::new_checked`] type, code and checksum are there, and no method panics. The whole
//! buffer is the message: give it the payload of an IPv6 packet from its upper layer's offset on.

use std::net::Ipv6Addr;

use crate::{Error, IpProtocol, bytes, checksum, ipv6};

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
    pub(super) const UNUSED: Range<usize> = 4..8;
    pub(super) const MTU: Range<usize> = 4..8;
    pub(super) const INVOKING: RangeFrom<usize> = 8..;
}

/// Type of "destination unreachable"; the codes start with `UNREACHABLE_`.
pub const DESTINATION_UNREACHABLE: u8 = 1;
/// Type of "packet too big".
pub const PACKET_TOO_BIG: u8 = 2;
/// Type of "time exceeded": code 0 for the hop limit, 1 for reassembly.
pub const TIME_EXCEEDED: u8 = 3;
/// Type of "parameter problem".
pub const PARAMETER_PROBLEM: u8 = 4;
/// Type of an echo request.
pub const ECHO_REQUEST: u8 = 128;
/// Type of an echo reply.
pub const ECHO_REPLY: u8 = 129;

/// There is no route to the destination.
pub const UNREACHABLE_NO_ROUTE: u8 = 0;
/// A filter forbids it.
pub const UNREACHABLE_PROHIBITED: u8 = 1;
/// The link is reached, but the address cannot be resolved.
pub const UNREACHABLE_ADDRESS: u8 = 3;
/// Nobody listens at the port.
pub const UNREACHABLE_PORT: u8 = 4;
/// The source address is refused by a policy.
pub const UNREACHABLE_SOURCE_POLICY: u8 = 5;

/// Most that an error message is long with its IPv6 header: the least MTU of IPv6 (RFC 4443 §2.4 c).
pub const MAX_ERROR_LEN: usize = 1280;

/// Whether messages of this type tell of errors, and so must not be answered by another (RFC 4443 §2.1 and
/// §2.4 e).
#[inline]
pub const fn is_error(type_: u8) -> bool {
    type_ < 128
}

/// As much of `packet`, from its IPv6 header on, as an error about it may quote (RFC 4443 §2.4 c).
#[inline]
pub fn invoking(packet: &[u8]) -> &[u8] {
    &packet[..packet.len().min(MAX_ERROR_LEN - ipv6::HEADER_LEN - field::INVOKING.start)]
}

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
    /// The packet cannot be delivered (RFC 4443 §3.1).
    DestinationUnreachable {
        /// Why: one of the `UNREACHABLE_` codes.
        code: u8,
        /// Start of the packet, cut by [`invoking`].
        invoking: &'a [u8],
    },
    /// The packet is too long for the next link (RFC 4443 §3.2).
    PacketTooBig {
        /// The link's MTU in bytes.
        mtu: u32,
        /// Start of the packet, cut by [`invoking`].
        invoking: &'a [u8],
    },
    /// The packet was on its way for too long (RFC 4443 §3.3).
    TimeExceeded {
        /// Zero: the hop limit ran out.
        code: u8,
        /// Start of the packet, cut by [`invoking`].
        invoking: &'a [u8],
    },
}

impl<'a> Icmpv6Repr<'a> {
    /// The message in `packet`. [`Error::BadChecksum`], [`Error::BadField`] if it is of another type or an
    /// echo's code is not zero, [`Error::Truncated`] if it is too short for its type.
    pub fn parse<T: AsRef<[u8]>>(
        packet: &'a Icmpv6Packet<T>,
        src: Ipv6Addr,
        dst: Ipv6Addr,
    ) -> Result<Self, Error> {
        if !packet.verify_checksum(src, dst) {
            return Err(Error::BadChecksum);
        }
        let message = packet.buffer.as_ref();
        let (type_, code) = (packet.type_(), packet.code());
        // All these messages have four bytes of their own, then data or the start of a packet.
        let data = message.get(field::ECHO_DATA).ok_or(Error::Truncated);
        let ident = || bytes::get_u16(message, field::ECHO_IDENT);
        let sequence = || bytes::get_u16(message, field::ECHO_SEQUENCE);
        Ok(match (type_, code) {
            (ECHO_REQUEST, 0) => Self::EchoRequest { data: data?, ident: ident(), sequence: sequence() },
            (ECHO_REPLY, 0) => Self::EchoReply { data: data?, ident: ident(), sequence: sequence() },
            (DESTINATION_UNREACHABLE, _) => Self::DestinationUnreachable { code, invoking: data? },
            // The code is to be ignored (RFC 4443 §3.2).
            (PACKET_TOO_BIG, _) => {
                Self::PacketTooBig { invoking: data?, mtu: bytes::get_u32(message, field::MTU) }
            }
            (TIME_EXCEEDED, _) => Self::TimeExceeded { code, invoking: data? },
            _ => return Err(Error::BadField),
        })
    }

    /// Length of the message in bytes.
    #[inline]
    pub fn buffer_len(&self) -> usize {
        let (Self::EchoRequest { data, .. }
        | Self::EchoReply { data, .. }
        | Self::DestinationUnreachable { invoking: data, .. }
        | Self::PacketTooBig { invoking: data, .. }
        | Self::TimeExceeded { invoking: data, .. }) = self;
        field::ECHO_DATA.start + data.len()
    }

    /// Writes the message and its checksum to the first [`buffer_len`](Self::buffer_len) bytes.
    ///
    /// # Panics
    /// If `buffer` is shorter than that.
    pub fn emit(&self, buffer: &mut [u8], src: Ipv6Addr, dst: Ipv6Addr) {
        let message = &mut buffer[..self.buffer_len()];
        message[field::UNUSED].fill(0);
        let (type_, code, data) = match *self {
            Self::EchoRequest { ident, sequence, data } | Self::EchoReply { ident, sequence, data } => {
                bytes::put_u16(message, field::ECHO_IDENT, ident);
                bytes::put_u16(message, field::ECHO_SEQUENCE, sequence);
                let request = matches!(self, Self::EchoRequest { .. });
                (if request { ECHO_REQUEST } else { ECHO_REPLY }, 0, data)
            }
            Self::DestinationUnreachable { code, invoking } => (DESTINATION_UNREACHABLE, code, invoking),
            Self::PacketTooBig { mtu, invoking } => {
                bytes::put_u32(message, field::MTU, mtu);
                (PACKET_TOO_BIG, 0, invoking)
            }
            Self::TimeExceeded { code, invoking } => (TIME_EXCEEDED, code, invoking),
        };
        message[field::ECHO_DATA].copy_from_slice(data);
        emit_header(message, type_, code, src, dst);
    }
}

/// Writes type, code and checksum before the rest of `message`, which must be in place.
pub(crate) fn emit_header(message: &mut [u8], type_: u8, code: u8, src: Ipv6Addr, dst: Ipv6Addr) {
    let mut packet = Icmpv6Packet { buffer: message };
    packet.set_type(type_);
    packet.set_code(code);
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

    /// What three errors about the first eight bytes of `GOLDEN` look like, and their values.
    fn errors() -> [([u8; 16], Icmpv6Repr<'static>); 3] {
        let invoking = &GOLDEN[..8];
        let message = |head: [u8; 8]| {
            let mut message = [0; 16];
            message[..8].copy_from_slice(&head);
            message[8..].copy_from_slice(invoking);
            message
        };
        [
            (
                message([1, 5, 0x77, 0x91, 0, 0, 0, 0]),
                Icmpv6Repr::DestinationUnreachable { code: UNREACHABLE_SOURCE_POLICY, invoking },
            ),
            (message([2, 0, 0x70, 0xf8, 0, 0, 5, 0x9e]), Icmpv6Repr::PacketTooBig { mtu: 1438, invoking }),
            (message([3, 0, 0x75, 0x96, 0, 0, 0, 0]), Icmpv6Repr::TimeExceeded { code: 0, invoking }),
        ]
    }

    #[test]
    fn errors_parse_and_emit() {
        for (golden, repr) in errors() {
            let packet = Icmpv6Packet::new_checked(golden).unwrap();
            assert_eq!(Icmpv6Repr::parse(&packet, SRC, DST), Ok(repr));
            let mut buffer = [0xa5; 16];
            repr.emit(&mut buffer, SRC, DST);
            assert_eq!(buffer, golden);
            assert!(is_error(golden[0]));
        }
    }

    #[test]
    fn etherparse_agrees_on_errors() {
        use etherparse::Icmpv6Type::{DestinationUnreachable, PacketTooBig, TimeExceeded};
        use etherparse::icmpv6::{DestUnreachableCode, TimeExceededCode};
        let expected = [
            DestinationUnreachable(DestUnreachableCode::SourceAddressFailedPolicy),
            PacketTooBig { mtu: 1438 },
            TimeExceeded(TimeExceededCode::HopLimitExceeded),
        ];
        for ((golden, _), expected) in errors().into_iter().zip(expected) {
            let message = etherparse::Icmpv6Slice::from_slice(&golden).unwrap();
            assert_eq!(message.icmp_type(), expected);
            assert!(message.is_checksum_valid(SRC.octets(), DST.octets()));
        }
    }

    #[test]
    fn errors_are_below_128() {
        assert!(is_error(0) && is_error(PARAMETER_PROBLEM) && is_error(127));
        assert!(!is_error(ECHO_REQUEST) && !is_error(ECHO_REPLY) && !is_error(255));
    }

    #[test]
    fn errors_quote_no_more_than_fits_1280_bytes() {
        let packet = [0xa5; 1500];
        let repr = Icmpv6Repr::TimeExceeded { code: 0, invoking: invoking(&packet) };
        assert_eq!(ipv6::HEADER_LEN + repr.buffer_len(), MAX_ERROR_LEN);
        assert_eq!(invoking(&packet[..1232]).len(), 1232);
        assert_eq!(invoking(&packet[..1233]).len(), 1232);
        assert!(invoking(&[]).is_empty());
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
        type_[0] = 4;
        assert_eq!(parse(&type_), Err(Error::BadField));
        let wrong = Icmpv6Packet::new_checked(&GOLDEN[..12]).unwrap();
        assert_eq!(Icmpv6Repr::parse(&wrong, SRC, DST), Err(Error::BadChecksum));
    }
}
