//! DHCP for IPv4 (RFC 2131), as far as a relay agent needs it: the fixed fields, the options (RFC 2132), and
//! the relay agent information option (RFC 3046).
//!
//! After [`Dhcpv4Packet::new_checked`] the fixed fields and the magic cookie are there, and no method panics.
//! Options are not looked at by the check: [`Dhcpv4Options`] survives any. Options that another one
//! ("overload") moves into the fields for server and file name are not looked for there.

use std::net::Ipv4Addr;

use crate::numbers::open_enum;
use crate::{Error, MacAddr, bytes};

mod relay;

pub use relay::{RelayAgentInformation, append_relay_agent, strip_relay_agent};

/// The UDP port of servers and relay agents.
pub const SERVER_PORT: u16 = 67;
/// The UDP port of clients.
pub const CLIENT_PORT: u16 = 68;
/// Length in bytes of the fixed fields and the magic cookie.
pub const HEADER_LEN: usize = field::OPTIONS.start;
/// Shorter messages are padded: some agents ignore them (RFC 1542 §2.1).
pub const MIN_LEN: usize = 300;
/// Requests that have passed more relay agents than so many are dropped (RFC 1542 §4.1.1).
pub const MAX_HOPS: u8 = 16;

mod field {
    use std::ops::{Range, RangeFrom};

    pub(super) const OPERATION: usize = 0;
    pub(super) const HARDWARE_TYPE: usize = 1;
    pub(super) const HARDWARE_LEN: usize = 2;
    pub(super) const HOPS: usize = 3;
    pub(super) const TRANSACTION: Range<usize> = 4..8;
    pub(super) const SECONDS: Range<usize> = 8..10;
    pub(super) const FLAGS: Range<usize> = 10..12;
    pub(super) const CLIENT_IP: Range<usize> = 12..16;
    pub(super) const YOUR_IP: Range<usize> = 16..20;
    pub(super) const NEXT_SERVER: Range<usize> = 20..24;
    pub(super) const RELAY_AGENT: Range<usize> = 24..28;
    pub(super) const CLIENT_MAC: Range<usize> = 28..34;
    // The server's name (64 bytes) and the boot file's (128) lie between.
    pub(super) const COOKIE: Range<usize> = 236..240;
    pub(super) const OPTIONS: RangeFrom<usize> = 240..;
}

const MAGIC_COOKIE: [u8; 4] = [99, 130, 83, 99];
const ETHERNET: u8 = 1;
const BROADCAST: u16 = 0x8000;

const PAD: u8 = 0;
const END: u8 = 255;

open_enum! {
    /// Who sends a message.
    pub enum Operation: u8 {
        /// A client (BOOTREQUEST).
        Request = 1,
        /// A server (BOOTREPLY).
        Reply = 2,
    }
}

open_enum! {
    /// What a message means (RFC 2132 §9.6).
    pub enum MessageType: u8 {
        /// "Which servers are there?"
        Discover = 1,
        /// "This address could be yours."
        Offer = 2,
        /// "I want this one."
        Request = 3,
        /// "Somebody has it already."
        Decline = 4,
        /// "It is yours."
        Ack = 5,
        /// "It is not."
        Nak = 6,
        /// "I want it no longer."
        Release = 7,
        /// "I have an address; tell me the rest."
        Inform = 8,
    }
}

/// A view of a message: the payload of a UDP datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dhcpv4Packet<T: AsRef<[u8]>> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Dhcpv4Packet<T> {
    /// [`Error::Truncated`] unless fixed fields and magic cookie are there, [`Error::BadField`] for another
    /// cookie, as in BOOTP without options of DHCP's form.
    #[inline]
    pub fn new_checked(buffer: T) -> Result<Self, Error> {
        match buffer.as_ref().get(field::COOKIE) {
            None => Err(Error::Truncated),
            Some(cookie) if *cookie == MAGIC_COOKIE => Ok(Self { buffer }),
            Some(_) => Err(Error::BadField),
        }
    }

    /// Gives the buffer back.
    #[inline]
    pub fn into_inner(self) -> T {
        self.buffer
    }

    /// Whether a client or a server sends this (`op`).
    #[inline]
    pub fn operation(&self) -> Operation {
        self.buffer.as_ref()[field::OPERATION].into()
    }

    /// Kind of the client's link (`htype`); 1 is Ethernet.
    #[inline]
    pub fn hardware_type(&self) -> u8 {
        self.buffer.as_ref()[field::HARDWARE_TYPE]
    }

    /// Length of the client's link-layer address in bytes (`hlen`), as the sender states it.
    #[inline]
    pub fn hardware_len(&self) -> u8 {
        self.buffer.as_ref()[field::HARDWARE_LEN]
    }

    /// Number of relay agents that the message has passed (`hops`).
    #[inline]
    pub fn hops(&self) -> u8 {
        self.buffer.as_ref()[field::HOPS]
    }

    /// Number that the client chose for request and replies (`xid`).
    #[inline]
    pub fn transaction(&self) -> u32 {
        bytes::get_u32(self.buffer.as_ref(), field::TRANSACTION)
    }

    /// Since when the client is asking, in seconds (`secs`).
    #[inline]
    pub fn seconds(&self) -> u16 {
        bytes::get_u16(self.buffer.as_ref(), field::SECONDS)
    }

    /// Whether the client cannot yet receive unicast, so that replies must be broadcast (the B of `flags`).
    #[inline]
    pub fn broadcast(&self) -> bool {
        bytes::get_u16(self.buffer.as_ref(), field::FLAGS) & BROADCAST != 0
    }

    #[inline]
    fn address(&self, at: std::ops::Range<usize>) -> Ipv4Addr {
        Ipv4Addr::from_octets(bytes::get(self.buffer.as_ref(), at))
    }

    /// The address that the client has already and answers ARP for (`ciaddr`).
    #[inline]
    pub fn client_ip(&self) -> Ipv4Addr {
        self.address(field::CLIENT_IP)
    }

    /// The address that the server gives (`yiaddr`).
    #[inline]
    pub fn your_ip(&self) -> Ipv4Addr {
        self.address(field::YOUR_IP)
    }

    /// The server to boot from (`siaddr`).
    #[inline]
    pub fn next_server(&self) -> Ipv4Addr {
        self.address(field::NEXT_SERVER)
    }

    /// The first relay agent, to which the server replies; unspecified without one (`giaddr`).
    #[inline]
    pub fn relay_agent(&self) -> Ipv4Addr {
        self.address(field::RELAY_AGENT)
    }

    /// The client's MAC address (`chaddr`); `None` if its link is no Ethernet.
    #[inline]
    pub fn client_mac(&self) -> Option<MacAddr> {
        let ethernet = self.hardware_type() == ETHERNET && self.hardware_len() == 6;
        ethernet.then(|| MacAddr(bytes::get(self.buffer.as_ref(), field::CLIENT_MAC)))
    }

    /// The options as bytes, padding included.
    #[inline]
    pub fn options(&self) -> &[u8] {
        &self.buffer.as_ref()[field::OPTIONS]
    }

    /// What the first option of type `kind` holds.
    ///
    /// # Errors
    /// [`Error::BadLength`] if an option before it has a length that cannot be.
    pub fn option(&self, kind: u8) -> Result<Option<&[u8]>, Error> {
        for option in Dhcpv4Options::new(self.options()) {
            let option = option?;
            if option.kind == kind {
                return Ok(Some(option.data));
            }
        }
        Ok(None)
    }

    /// What the message means; `None` if it is of BOOTP.
    ///
    /// # Errors
    /// [`Error::BadLength`] if the option, or one before it, has a length that cannot be.
    pub fn message_type(&self) -> Result<Option<MessageType>, Error> {
        match self.option(Dhcpv4Option::MESSAGE_TYPE)? {
            None => Ok(None),
            Some(&[type_]) => Ok(Some(type_.into())),
            Some(_) => Err(Error::BadLength),
        }
    }

    /// What a relay agent has said of where the client is; `None` if none has.
    ///
    /// # Errors
    /// [`Error::BadLength`] if the option, one before it, or one in it has a length that cannot be.
    pub fn relay_agent_information(&self) -> Result<Option<RelayAgentInformation<'_>>, Error> {
        self.option(Dhcpv4Option::RELAY_AGENT_INFORMATION)?.map(RelayAgentInformation::parse).transpose()
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Dhcpv4Packet<T> {
    /// Sets the number of relay agents that the message has passed.
    #[inline]
    pub fn set_hops(&mut self, hops: u8) {
        self.buffer.as_mut()[field::HOPS] = hops;
    }

    /// Sets the relay agent's address.
    #[inline]
    pub fn set_relay_agent(&mut self, address: Ipv4Addr) {
        self.buffer.as_mut()[field::RELAY_AGENT].copy_from_slice(&address.octets());
    }
}

/// One option of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dhcpv4Option<'a> {
    /// The type byte.
    pub kind: u8,
    /// What follows type and length: up to 255 bytes.
    pub data: &'a [u8],
}

impl Dhcpv4Option<'_> {
    /// Type of the option that says what a message means (RFC 2132 §9.6).
    pub const MESSAGE_TYPE: u8 = 53;
    /// Type of the option that tells servers apart (RFC 2132 §9.7).
    pub const SERVER_IDENTIFIER: u8 = 54;
    /// Type of the option that relay agents add (RFC 3046 §2.0).
    pub const RELAY_AGENT_INFORMATION: u8 = 82;
}

/// The options of a message in turn, without padding, to the end option or the message's end. One whose
/// length is beyond the end gives one [`Error::BadLength`], and then the walk is over.
#[derive(Clone, Debug)]
pub struct Dhcpv4Options<'a> {
    /// When the walk is over: nothing, or all from the end option on.
    rest: &'a [u8],
}

impl<'a> Dhcpv4Options<'a> {
    /// Walks the bytes of [`Dhcpv4Packet::options`].
    #[inline]
    pub fn new(options: &'a [u8]) -> Self {
        Self { rest: options }
    }
}

impl<'a> Iterator for Dhcpv4Options<'a> {
    type Item = Result<Dhcpv4Option<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while let [PAD, after @ ..] = self.rest {
            self.rest = after;
        }
        match *self.rest {
            [] | [END, ..] => None,
            [kind, len, ref after @ ..] if usize::from(len) <= after.len() => {
                let (data, after) = after.split_at(len.into());
                self.rest = after;
                Some(Ok(Dhcpv4Option { kind, data }))
            }
            _ => {
                self.rest = &[];
                Some(Err(Error::BadLength))
            }
        }
    }
}

impl std::iter::FusedIterator for Dhcpv4Options<'_> {}

#[cfg(test)]
mod tests;
