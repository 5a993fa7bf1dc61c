//! DHCP for IPv6 (RFC 8415), as far as a relay agent needs it: the messages of clients and servers, and those
//! between relay agents and servers that carry them.
//!
//! After `new_checked` of a view its fixed fields are there, and no method panics. Options are not looked at
//! by the check: [`Dhcpv6Options`] survives any.

use std::net::Ipv6Addr;

use crate::numbers::open_enum;
use crate::{Error, bytes};

mod relay;

pub use relay::{Dhcpv6RelayPacket, Dhcpv6RelayRepr, HOP_COUNT_LIMIT, RelayType};

/// The UDP port of clients (RFC 8415 §7.2).
pub const CLIENT_PORT: u16 = 546;
/// The UDP port of servers and relay agents (RFC 8415 §7.2).
pub const SERVER_PORT: u16 = 547;
/// The multicast group of relay agents and servers on a link, to which clients send (RFC 8415 §7.1).
pub const ALL_RELAY_AGENTS_AND_SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
/// Length in bytes of a client's or server's message without options.
pub const HEADER_LEN: usize = field::OPTIONS.start;

mod field {
    use std::ops::{Range, RangeFrom};

    pub(super) const TYPE: usize = 0;
    /// The 32-bit word whose low 24 bits are the transaction.
    pub(super) const TYPE_TRANSACTION: Range<usize> = 0..4;
    pub(super) const OPTIONS: RangeFrom<usize> = 4..;
}

open_enum! {
    /// What a message means (RFC 8415 §7.3).
    pub enum MessageType: u8 {
        /// "Which servers are there?"
        Solicit = 1,
        /// "I am one, and would give this."
        Advertise = 2,
        /// "I want this from you."
        Request = 3,
        /// "Are my addresses right for this link?"
        Confirm = 4,
        /// "I want to keep what you gave me."
        Renew = 5,
        /// "I want to keep what somebody gave me."
        Rebind = 6,
        /// "This is yours", or an answer to any other of a client's messages.
        Reply = 7,
        /// "I want it no longer."
        Release = 8,
        /// "Somebody has it already."
        Decline = 9,
        /// "There is news: ask me."
        Reconfigure = 10,
        /// "I have addresses; tell me the rest."
        InformationRequest = 11,
        /// A client's message, or another of these, on its way to a server.
        RelayForward = 12,
        /// A server's message, or another of these, on its way to a client.
        RelayReply = 13,
    }
}

impl MessageType {
    /// The type of `message`, by which it is told which view it needs. [`Error::Truncated`] if it is empty.
    #[inline]
    pub fn of(message: &[u8]) -> Result<Self, Error> {
        message.get(field::TYPE).map(|&type_| type_.into()).ok_or(Error::Truncated)
    }

    /// Whether clients send it.
    #[inline]
    pub const fn is_from_client(self) -> bool {
        matches!(
            self,
            Self::Solicit
                | Self::Request
                | Self::Confirm
                | Self::Renew
                | Self::Rebind
                | Self::Release
                | Self::Decline
                | Self::InformationRequest
        )
    }

    /// Whether servers send it to clients.
    #[inline]
    pub const fn is_from_server(self) -> bool {
        matches!(self, Self::Advertise | Self::Reply | Self::Reconfigure)
    }
}

/// A view of a client's or server's message (RFC 8415 §8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dhcpv6Packet<T: AsRef<[u8]>> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Dhcpv6Packet<T> {
    /// [`Error::Truncated`] unless type and transaction are there, [`Error::BadField`] for a message between
    /// relay agents and servers, which has another form.
    #[inline]
    pub fn new_checked(buffer: T) -> Result<Self, Error> {
        if buffer.as_ref().len() < HEADER_LEN {
            return Err(Error::Truncated);
        }
        let packet = Self { buffer };
        match packet.message_type() {
            MessageType::RelayForward | MessageType::RelayReply => Err(Error::BadField),
            _ => Ok(packet),
        }
    }

    /// Gives the buffer back.
    #[inline]
    pub fn into_inner(self) -> T {
        self.buffer
    }

    /// What the message means.
    #[inline]
    pub fn message_type(&self) -> MessageType {
        self.buffer.as_ref()[field::TYPE].into()
    }

    /// Number that the client chose for request and replies: 24 bits.
    #[inline]
    pub fn transaction(&self) -> u32 {
        bytes::get_u32(self.buffer.as_ref(), field::TYPE_TRANSACTION) & 0x00ff_ffff
    }

    /// The options as bytes.
    #[inline]
    pub fn options(&self) -> &[u8] {
        &self.buffer.as_ref()[field::OPTIONS]
    }
}

/// One option of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dhcpv6Option<'a> {
    /// Its type.
    pub kind: u16,
    /// What follows type and length: up to 65 535 bytes.
    pub data: &'a [u8],
}

impl Dhcpv6Option<'_> {
    /// Type of the option that holds a relayed message (RFC 8415 §21.10).
    pub const RELAY_MESSAGE: u16 = 9;
    /// Type of the option that tells on which of the relay agent's links the client is (RFC 8415 §21.18).
    pub const INTERFACE_ID: u16 = 18;
    /// Length in bytes of type and length.
    const HEADER_LEN: usize = 4;
}

/// The options of a message in turn. One that reaches beyond the end gives one [`Error::BadLength`], and then
/// the walk is over.
#[derive(Clone, Debug)]
pub struct Dhcpv6Options<'a> {
    rest: &'a [u8],
}

impl<'a> Dhcpv6Options<'a> {
    /// Walks the bytes of [`Dhcpv6Packet::options`] or [`Dhcpv6RelayPacket::options`].
    #[inline]
    pub fn new(options: &'a [u8]) -> Self {
        Self { rest: options }
    }
}

impl<'a> Iterator for Dhcpv6Options<'a> {
    type Item = Result<Dhcpv6Option<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = std::mem::take(&mut self.rest);
        if rest.is_empty() {
            return None;
        }
        let [a, b, c, d, after @ ..] = rest else { return Some(Err(Error::BadLength)) };
        let len = u16::from_be_bytes([*c, *d]);
        let Some((data, after)) = after.split_at_checked(len.into()) else {
            return Some(Err(Error::BadLength));
        };
        self.rest = after;
        Some(Ok(Dhcpv6Option { kind: u16::from_be_bytes([*a, *b]), data }))
    }
}

impl std::iter::FusedIterator for Dhcpv6Options<'_> {}

#[cfg(test)]
mod tests;
