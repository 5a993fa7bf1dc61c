//! Messages between relay agents and servers (RFC 8415 §9).

use std::net::Ipv6Addr;

use super::{CLIENT_PORT, Dhcpv6Option, Dhcpv6Options, Dhcpv6Packet, MessageType, SERVER_PORT};
use crate::{Error, bytes};

/// A message that has passed so many relay agents is not relayed further (RFC 8415 §7.6).
pub const HOP_COUNT_LIMIT: u8 = 8;

mod field {
    use std::ops::{Range, RangeFrom};

    pub(super) const TYPE: usize = 0;
    pub(super) const HOP_COUNT: usize = 1;
    pub(super) const LINK: Range<usize> = 2..18;
    pub(super) const PEER: Range<usize> = 18..34;
    pub(super) const OPTIONS: RangeFrom<usize> = 34..;
}

/// Which way a relayed message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayType {
    /// To the server (Relay-forward).
    Forward,
    /// To the client (Relay-reply).
    Reply,
}

/// A view of a message between relay agents and servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dhcpv6RelayPacket<T: AsRef<[u8]>> {
    buffer: T,
    type_: RelayType,
}

impl<T: AsRef<[u8]>> Dhcpv6RelayPacket<T> {
    /// [`Error::Truncated`] unless the fixed fields are there, [`Error::BadField`] for a client's or server's
    /// message, which has another form.
    #[inline]
    pub fn new_checked(buffer: T) -> Result<Self, Error> {
        let type_ = match MessageType::of(buffer.as_ref())? {
            MessageType::RelayForward => RelayType::Forward,
            MessageType::RelayReply => RelayType::Reply,
            _ => return Err(Error::BadField),
        };
        if buffer.as_ref().len() < field::OPTIONS.start {
            return Err(Error::Truncated);
        }
        Ok(Self { buffer, type_ })
    }

    /// Gives the buffer back.
    #[inline]
    pub fn into_inner(self) -> T {
        self.buffer
    }

    /// Which way the message goes.
    #[inline]
    pub fn type_(&self) -> RelayType {
        self.type_
    }

    /// Number of relay agents that the message inside had passed before this one.
    #[inline]
    pub fn hop_count(&self) -> u8 {
        self.buffer.as_ref()[field::HOP_COUNT]
    }

    /// An address by which the server may tell the client's link; unspecified if it cannot.
    #[inline]
    pub fn link(&self) -> Ipv6Addr {
        Ipv6Addr::from_octets(bytes::get(self.buffer.as_ref(), field::LINK))
    }

    /// From whom the relay agent got the message inside, or to whom it goes.
    #[inline]
    pub fn peer(&self) -> Ipv6Addr {
        Ipv6Addr::from_octets(bytes::get(self.buffer.as_ref(), field::PEER))
    }

    /// The options as bytes.
    #[inline]
    pub fn options(&self) -> &[u8] {
        &self.buffer.as_ref()[field::OPTIONS]
    }
}

/// A message between relay agents and servers, as a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dhcpv6RelayRepr<'a> {
    /// Which way the message goes.
    pub type_: RelayType,
    /// Number of relay agents that the message inside has passed before this one.
    pub hop_count: u8,
    /// An address by which the server may tell the client's link; unspecified if it cannot.
    pub link: Ipv6Addr,
    /// From whom the relay agent got the message inside, or to whom it goes.
    pub peer: Ipv6Addr,
    /// On which of the relay agent's links the client is: at most 65 535 bytes that the server sends back.
    pub interface_id: Option<&'a [u8]>,
    /// The message inside: at most 65 535 bytes.
    pub message: &'a [u8],
}

impl<'a> Dhcpv6RelayRepr<'a> {
    /// What a relay agent makes of `message`, which it got from `peer` (RFC 8415 §19.1). Messages of types that
    /// are not known are relayed too (RFC 7283, now part of RFC 8415).
    ///
    /// # Errors
    /// [`Error::BadField`] if it goes to clients rather than to servers, or has passed [`HOP_COUNT_LIMIT`]
    /// relay agents; [`Error::Truncated`] if its fixed fields are not there; [`Error::BadLength`] if it or
    /// `interface_id` is too long for an option.
    pub fn forward(
        message: &'a [u8],
        link: Ipv6Addr,
        peer: Ipv6Addr,
        interface_id: &'a [u8],
    ) -> Result<Self, Error> {
        let hop_count = match MessageType::of(message)? {
            MessageType::RelayForward => {
                let hops = Dhcpv6RelayPacket::new_checked(message)?.hop_count();
                if hops >= HOP_COUNT_LIMIT {
                    return Err(Error::BadField);
                }
                hops + 1
            }
            _ if Dhcpv6Packet::new_checked(message)?.message_type().is_from_server() => {
                return Err(Error::BadField);
            }
            _ => 0,
        };
        if message.len() > u16::MAX.into() || interface_id.len() > u16::MAX.into() {
            return Err(Error::BadLength);
        }
        let interface_id = Some(interface_id);
        Ok(Self { type_: RelayType::Forward, hop_count, link, peer, interface_id, message })
    }

    /// The message in `packet`. Of several options alike the first counts; those of other types are passed
    /// over.
    ///
    /// [`Error::BadLength`] if an option reaches beyond the end, [`Error::BadField`] if there is no message
    /// inside.
    pub fn parse<T: AsRef<[u8]>>(packet: &'a Dhcpv6RelayPacket<T>) -> Result<Self, Error> {
        let (mut interface_id, mut message) = (None, None);
        for option in Dhcpv6Options::new(packet.options()) {
            let Dhcpv6Option { kind, data } = option?;
            match kind {
                Dhcpv6Option::INTERFACE_ID => interface_id = interface_id.or(Some(data)),
                Dhcpv6Option::RELAY_MESSAGE => message = message.or(Some(data)),
                _ => {}
            }
        }
        Ok(Self {
            type_: packet.type_(),
            hop_count: packet.hop_count(),
            link: packet.link(),
            peer: packet.peer(),
            interface_id,
            message: message.ok_or(Error::BadField)?,
        })
    }

    /// The UDP port of who gets the message inside a Relay-reply: another relay agent or the client
    /// (RFC 8415 §19.2).
    #[inline]
    pub fn peer_port(&self) -> u16 {
        match MessageType::of(self.message) {
            Ok(MessageType::RelayReply) => SERVER_PORT,
            _ => CLIENT_PORT,
        }
    }

    fn options(&self) -> impl Iterator<Item = Dhcpv6Option<'a>> {
        let interface_id =
            self.interface_id.map(|data| Dhcpv6Option { kind: Dhcpv6Option::INTERFACE_ID, data });
        let message = Dhcpv6Option { kind: Dhcpv6Option::RELAY_MESSAGE, data: self.message };
        interface_id.into_iter().chain([message])
    }

    /// Length of the message in bytes.
    #[inline]
    pub fn buffer_len(&self) -> usize {
        let options = self.options().map(|option| Dhcpv6Option::HEADER_LEN + option.data.len());
        field::OPTIONS.start + options.sum::<usize>()
    }

    /// Writes the message to the first [`buffer_len`](Self::buffer_len) bytes.
    ///
    /// # Panics
    /// If `buffer` is shorter than that.
    pub fn emit(&self, buffer: &mut [u8]) {
        let type_ = match self.type_ {
            RelayType::Forward => MessageType::RelayForward,
            RelayType::Reply => MessageType::RelayReply,
        };
        buffer[field::TYPE] = type_.into();
        buffer[field::HOP_COUNT] = self.hop_count;
        buffer[field::LINK].copy_from_slice(&self.link.octets());
        buffer[field::PEER].copy_from_slice(&self.peer.octets());
        let mut rest = &mut buffer[field::OPTIONS];
        for Dhcpv6Option { kind, data } in self.options() {
            bytes::put_u16(rest, 0..2, kind);
            bytes::put_u16(rest, 2..4, data.len() as u16);
            let (field, after) = rest[Dhcpv6Option::HEADER_LEN..].split_at_mut(data.len());
            field.copy_from_slice(data);
            rest = after;
        }
    }
}
