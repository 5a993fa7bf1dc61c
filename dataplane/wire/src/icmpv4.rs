//! ICMP for IPv4 (RFC 792).
//!
//! After [`Icmpv4Packet::new_checked`] type, code and checksum are there, and no method panics. The whole
//! buffer is the message: give it [`Ipv4Packet::payload`](crate::ipv4::Ipv4Packet::payload).

use crate::{Error, bytes, checksum, ipv4};

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
    pub(super) const MTU: Range<usize> = 6..8;
    pub(super) const INVOKING: RangeFrom<usize> = 8..;
}

/// Type of an echo reply.
pub const ECHO_REPLY: u8 = 0;
/// Type of "destination unreachable"; the codes start with `UNREACHABLE_`.
pub const DESTINATION_UNREACHABLE: u8 = 3;
/// Type of a source quench, which nobody should send any more (RFC 6633).
pub const SOURCE_QUENCH: u8 = 4;
/// Type of a redirect.
pub const REDIRECT: u8 = 5;
/// Type of an echo request.
pub const ECHO_REQUEST: u8 = 8;
/// Type of "time exceeded": code 0 for the time to live, 1 for reassembly.
pub const TIME_EXCEEDED: u8 = 11;
/// Type of "parameter problem".
pub const PARAMETER_PROBLEM: u8 = 12;

/// There is no route to the network.
pub const UNREACHABLE_NET: u8 = 0;
/// The network is reached, but the host does not answer.
pub const UNREACHABLE_HOST: u8 = 1;
/// The host does not speak the protocol.
pub const UNREACHABLE_PROTOCOL: u8 = 2;
/// Nobody listens at the port.
pub const UNREACHABLE_PORT: u8 = 3;
/// The packet is longer than the next link's MTU, and must not be fragmented (RFC 1191 §4).
pub const UNREACHABLE_FRAGMENTATION_NEEDED: u8 = 4;
/// A filter forbids it (RFC 1812 §5.2.7.1).
pub const UNREACHABLE_PROHIBITED: u8 = 13;

/// Most that an error message is long with its IPv4 header of 20 bytes (RFC 1812 §4.3.2.3).
pub const MAX_ERROR_LEN: usize = 576;

/// Whether messages of this type tell of errors, and so must not be answered by another (RFC 1122 §3.2.2).
#[inline]
pub const fn is_error(type_: u8) -> bool {
    matches!(type_, DESTINATION_UNREACHABLE | SOURCE_QUENCH | REDIRECT | TIME_EXCEEDED | PARAMETER_PROBLEM)
}

/// As much of `packet`, from its IPv4 header on, as an error about it may quote (RFC 1812 §4.3.2.3).
#[inline]
pub fn invoking(packet: &[u8]) -> &[u8] {
    &packet[..packet.len().min(MAX_ERROR_LEN - ipv4::HEADER_LEN - field::INVOKING.start)]
}

/// A view of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Icmpv4Packet<T: AsRef<[u8]>> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Icmpv4Packet<T> {
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

    /// Whether the checksum is right.
    #[inline]
    pub fn verify_checksum(&self) -> bool {
        checksum::finish(checksum::ones_sum(self.buffer.as_ref(), 0)) == 0
    }

    /// All after the checksum: what it holds depends on the type.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        &self.buffer.as_ref()[field::PAYLOAD]
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Icmpv4Packet<T> {
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
    pub fn fill_checksum(&mut self) {
        bytes::put_u16(self.buffer.as_mut(), field::CHECKSUM, 0);
        let check = checksum::finish(checksum::ones_sum(self.buffer.as_ref(), 0));
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
pub enum Icmpv4Repr<'a> {
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
    /// The packet cannot be delivered.
    DestinationUnreachable {
        /// Why: one of the `UNREACHABLE_` codes but fragmentation needed, which is a variant of its own.
        code: u8,
        /// Start of the packet, cut by [`invoking`].
        invoking: &'a [u8],
    },
    /// The packet is too long for the next link and must not be fragmented (RFC 1191 §4).
    FragmentationNeeded {
        /// The link's MTU in bytes; zero from a router that does not tell.
        mtu: u16,
        /// Start of the packet, cut by [`invoking`].
        invoking: &'a [u8],
    },
    /// The packet was on its way for too long.
    TimeExceeded {
        /// Zero: the time to live ran out.
        code: u8,
        /// Start of the packet, cut by [`invoking`].
        invoking: &'a [u8],
    },
}

impl<'a> Icmpv4Repr<'a> {
    /// The message in `packet`. [`Error::BadChecksum`], [`Error::BadField`] if it is of another type or an
    /// echo's code is not zero, [`Error::Truncated`] if it is too short for its type.
    pub fn parse<T: AsRef<[u8]>>(packet: &'a Icmpv4Packet<T>) -> Result<Self, Error> {
        if !packet.verify_checksum() {
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
            (DESTINATION_UNREACHABLE, UNREACHABLE_FRAGMENTATION_NEEDED) => {
                Self::FragmentationNeeded { invoking: data?, mtu: bytes::get_u16(message, field::MTU) }
            }
            (DESTINATION_UNREACHABLE, _) => Self::DestinationUnreachable { code, invoking: data? },
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
        | Self::FragmentationNeeded { invoking: data, .. }
        | Self::TimeExceeded { invoking: data, .. }) = self;
        field::ECHO_DATA.start + data.len()
    }

    /// Writes the message and its checksum to the first [`buffer_len`](Self::buffer_len) bytes.
    ///
    /// # Panics
    /// If `buffer` is shorter than that.
    pub fn emit(&self, buffer: &mut [u8]) {
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
            Self::FragmentationNeeded { mtu, invoking } => {
                bytes::put_u16(message, field::MTU, mtu);
                (DESTINATION_UNREACHABLE, UNREACHABLE_FRAGMENTATION_NEEDED, invoking)
            }
            Self::TimeExceeded { code, invoking } => (TIME_EXCEEDED, code, invoking),
        };
        message[field::ECHO_DATA].copy_from_slice(data);
        let mut packet = Icmpv4Packet { buffer: message };
        packet.set_type(type_);
        packet.set_code(code);
        packet.fill_checksum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An echo request with five bytes of data.
    #[rustfmt::skip]
    static GOLDEN: [u8; 13] = [
        0x08, 0x00, 0x6d, 0x31, 0x12, 0x34, 0x00, 0x01, 0xaa, 0xbb, 0xcc, 0xdd, 0x01,
    ];

    const REPR: Icmpv4Repr =
        Icmpv4Repr::EchoRequest { ident: 0x1234, sequence: 1, data: &[0xaa, 0xbb, 0xcc, 0xdd, 0x01] };

    #[test]
    fn deconstruct() {
        let packet = Icmpv4Packet::new_checked(&GOLDEN[..]).unwrap();
        assert_eq!(packet.type_(), ECHO_REQUEST);
        assert_eq!(packet.code(), 0);
        assert_eq!(packet.checksum(), 0x6d31);
        assert!(packet.verify_checksum());
        assert_eq!(packet.payload(), &GOLDEN[4..]);
        assert_eq!(packet.into_inner(), GOLDEN);
    }

    #[test]
    fn construct() {
        let mut packet = Icmpv4Packet::new_checked([0xa5; GOLDEN.len()]).unwrap();
        packet.set_type(ECHO_REQUEST);
        packet.set_code(0);
        packet.payload_mut().copy_from_slice(&GOLDEN[4..]);
        packet.fill_checksum();
        assert_eq!(packet.into_inner(), GOLDEN);
    }

    #[test]
    fn parse() {
        assert_eq!(Icmpv4Repr::parse(&Icmpv4Packet::new_checked(GOLDEN).unwrap()), Ok(REPR));
    }

    #[test]
    fn emit() {
        assert_eq!(REPR.buffer_len(), GOLDEN.len());
        let mut buffer = [0xa5; GOLDEN.len() + 1];
        REPR.emit(&mut buffer);
        assert_eq!(buffer[..GOLDEN.len()], GOLDEN);
        assert_eq!(buffer[GOLDEN.len()], 0xa5);
    }

    #[test]
    fn replies_differ_from_requests() {
        let reply = Icmpv4Repr::EchoReply { ident: 0x1234, sequence: 1, data: &[] };
        let mut buffer = [0xa5; 8];
        reply.emit(&mut buffer);
        assert_eq!(buffer[0], ECHO_REPLY);
        assert_eq!(Icmpv4Repr::parse(&Icmpv4Packet::new_checked(buffer).unwrap()), Ok(reply));
    }

    #[test]
    fn etherparse_agrees() {
        let message = etherparse::Icmpv4Slice::from_slice(&GOLDEN).unwrap();
        assert_eq!(message.header().icmp_type.calc_checksum(message.payload()), message.checksum());
        let echo = etherparse::IcmpEchoHeader { id: 0x1234, seq: 1 };
        assert_eq!(message.icmp_type(), etherparse::Icmpv4Type::EchoRequest(echo));
        assert_eq!(message.payload(), &GOLDEN[8..]);
    }

    /// What three errors about the first eight bytes of `GOLDEN` look like, and their values.
    fn errors() -> [([u8; 16], Icmpv4Repr<'static>); 3] {
        let invoking = &GOLDEN[..8];
        let message = |head: [u8; 8]| {
            let mut message = [0; 16];
            message[..8].copy_from_slice(&head);
            message[8..].copy_from_slice(invoking);
            message
        };
        [
            (
                message([3, 13, 0x75, 0x8c, 0, 0, 0, 0]),
                Icmpv4Repr::DestinationUnreachable { code: UNREACHABLE_PROHIBITED, invoking },
            ),
            (
                message([3, 4, 0x6f, 0xf7, 0, 0, 5, 0x9e]),
                Icmpv4Repr::FragmentationNeeded { mtu: 1438, invoking },
            ),
            (message([11, 0, 0x6d, 0x99, 0, 0, 0, 0]), Icmpv4Repr::TimeExceeded { code: 0, invoking }),
        ]
    }

    #[test]
    fn errors_parse_and_emit() {
        for (golden, repr) in errors() {
            let packet = Icmpv4Packet::new_checked(golden).unwrap();
            assert_eq!(Icmpv4Repr::parse(&packet), Ok(repr));
            let mut buffer = [0xa5; 16];
            repr.emit(&mut buffer);
            assert_eq!(buffer, golden);
            assert!(is_error(golden[0]));
        }
    }

    #[test]
    fn etherparse_agrees_on_errors() {
        use etherparse::Icmpv4Type::{DestinationUnreachable, TimeExceeded};
        use etherparse::icmpv4::{DestUnreachableHeader, TimeExceededCode};
        let expected = [
            DestinationUnreachable(DestUnreachableHeader::FilterProhibited),
            DestinationUnreachable(DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 1438 }),
            TimeExceeded(TimeExceededCode::TtlExceededInTransit),
        ];
        for ((golden, _), expected) in errors().into_iter().zip(expected) {
            let message = etherparse::Icmpv4Slice::from_slice(&golden).unwrap();
            assert_eq!(message.icmp_type(), expected);
            assert_eq!(expected.calc_checksum(message.payload()), message.checksum());
        }
    }

    #[test]
    fn queries_are_no_errors() {
        let errors = (0..=u8::MAX).filter(|&type_| is_error(type_)).collect::<Vec<_>>();
        assert_eq!(errors, [3, 4, 5, 11, 12]);
    }

    #[test]
    fn errors_quote_no_more_than_fits_576_bytes() {
        let packet = [0xa5; 600];
        let repr = Icmpv4Repr::TimeExceeded { code: 0, invoking: invoking(&packet) };
        assert_eq!(ipv4::HEADER_LEN + repr.buffer_len(), MAX_ERROR_LEN);
        assert_eq!(invoking(&packet[..548]).len(), 548);
        assert_eq!(invoking(&packet[..549]).len(), 548);
        assert!(invoking(&[]).is_empty());
    }

    #[test]
    fn bad_messages_are_refused() {
        /// Parses a message after making its checksum right.
        fn parse(message: &[u8]) -> Result<usize, Error> {
            let mut packet = Icmpv4Packet::new_checked(message.to_vec())?;
            packet.fill_checksum();
            Icmpv4Repr::parse(&packet).map(|repr| repr.buffer_len())
        }
        assert_eq!(parse(&GOLDEN), Ok(13));
        assert_eq!(parse(&GOLDEN[..8]), Ok(8));
        assert_eq!(parse(&GOLDEN[..7]), Err(Error::Truncated));
        assert_eq!(parse(&GOLDEN[..3]), Err(Error::Truncated));
        let mut code = GOLDEN;
        code[1] = 1;
        assert_eq!(parse(&code), Err(Error::BadField));
        let mut type_ = GOLDEN;
        type_[0] = 12;
        assert_eq!(parse(&type_), Err(Error::BadField));
        let wrong = Icmpv4Packet::new_checked(&GOLDEN[..12]).unwrap();
        assert_eq!(Icmpv4Repr::parse(&wrong), Err(Error::BadChecksum));
    }
}
