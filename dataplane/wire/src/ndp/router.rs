//! Router discovery: solicitations and advertisements of routers (RFC 4861 §4.1, §4.2), with the options
//! that tell stations of names (RFC 8106).

use std::borrow::Cow;
use std::net::Ipv6Addr;

use super::{NdpOption, NdpOptions, link_layer_address, validate};
use crate::icmpv6::{self, Icmpv6Packet};
use crate::{DomainName, Error, MacAddr, bytes};

mod options;

pub use options::PrefixInformation;
use options::{OptionWriter, flag};

/// ICMPv6 type of a router solicitation.
pub const ROUTER_SOLICITATION: u8 = 133;
/// ICMPv6 type of a router advertisement.
pub const ROUTER_ADVERTISEMENT: u8 = 134;

/// The multicast group of all routers on a link, to which router solicitations go (RFC 4291 §2.7.1).
pub const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// Fields of a solicitation after the ICMPv6 header.
mod solicitation {
    use std::ops::{Range, RangeFrom};

    pub(super) const RESERVED: Range<usize> = 0..4;
    pub(super) const OPTIONS: RangeFrom<usize> = 4..;
}

/// Fields of an advertisement after the ICMPv6 header.
mod advertisement {
    use std::ops::{Range, RangeFrom};

    pub(super) const HOP_LIMIT: usize = 0;
    pub(super) const FLAGS: usize = 1;
    pub(super) const LIFETIME: Range<usize> = 2..4;
    pub(super) const REACHABLE_TIME: Range<usize> = 4..8;
    pub(super) const RETRANS_TIMER: Range<usize> = 8..12;
    pub(super) const OPTIONS: RangeFrom<usize> = 12..;
}

const MANAGED: u8 = 0x80;
const OTHER: u8 = 0x40;

/// "Which routers are there?" (RFC 4861 §4.1)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouterSolicitation {
    /// MAC address of who asks, from the source link-layer address option; any value of 6 bytes.
    pub source_mac: Option<MacAddr>,
}

impl RouterSolicitation {
    /// The solicitation in `packet`: all checks of RFC 4861 §6.1.1 but those of [`validate`](Self::validate).
    ///
    /// [`Error::BadField`] for another type or a code other than zero; [`Error::Truncated`];
    /// [`Error::BadLength`] for an option whose length is zero, beyond the end, or not that of a MAC address
    /// where there must be one.
    pub fn parse<T: AsRef<[u8]>>(packet: &Icmpv6Packet<T>) -> Result<Self, Error> {
        if packet.type_() != ROUTER_SOLICITATION || packet.code() != 0 {
            return Err(Error::BadField);
        }
        let options = packet.payload().get(solicitation::OPTIONS).ok_or(Error::Truncated)?;
        Ok(Self { source_mac: link_layer_address(options, NdpOption::SOURCE_LINK_LAYER)? })
    }

    /// The checks of RFC 4861 §6.1.1 that need the IPv6 header of the `packet` that this was parsed from: hop
    /// limit, checksum, and that who has no address yet tells no MAC address.
    ///
    /// [`Error::BadField`] or [`Error::BadChecksum`]; the message must then be ignored.
    pub fn validate<T: AsRef<[u8]>>(
        &self,
        packet: &Icmpv6Packet<T>,
        hop_limit: u8,
        src: Ipv6Addr,
        dst: Ipv6Addr,
    ) -> Result<(), Error> {
        if src.is_unspecified() && self.source_mac.is_some() {
            return Err(Error::BadField);
        }
        validate(packet, hop_limit, src, dst)
    }

    /// Length of the message in bytes.
    #[inline]
    pub fn buffer_len(&self) -> usize {
        icmpv6::HEADER_LEN + solicitation::OPTIONS.start + options::source_mac_len(self.source_mac)
    }

    /// Writes the message, ICMPv6 header and checksum included, to the first [`buffer_len`](Self::buffer_len)
    /// bytes.
    ///
    /// # Panics
    /// If `buffer` is shorter than that.
    pub fn emit(&self, buffer: &mut [u8], src: Ipv6Addr, dst: Ipv6Addr) {
        let message = &mut buffer[..self.buffer_len()];
        let body = &mut message[icmpv6::HEADER_LEN..];
        body[solicitation::RESERVED].fill(0);
        OptionWriter::new(&mut body[solicitation::OPTIONS]).source_mac(self.source_mac);
        icmpv6::emit_header(message, ROUTER_SOLICITATION, 0, src, dst);
    }
}

/// "I am a router, and this is the link" (RFC 4861 §4.2). Options are sent in the order of the fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterAdvertisement<'a> {
    /// The hop limit that stations should send with; zero tells none.
    pub hop_limit: u8,
    /// Whether addresses are to be had by DHCPv6 (M).
    pub managed: bool,
    /// Whether anything else is to be had by DHCPv6 (O).
    pub other: bool,
    /// For how long this is a default router, in seconds; zero is not at all.
    pub lifetime: u16,
    /// For how long a neighbour counts as reachable after it has confirmed so, in milliseconds; zero tells
    /// none.
    pub reachable_time: u32,
    /// Time between neighbour solicitations, in milliseconds; zero tells none.
    pub retrans_timer: u32,
    /// The router's MAC address (RFC 4861 §4.6.1).
    pub source_mac: Option<MacAddr>,
    /// The link's MTU in bytes (RFC 4861 §4.6.4).
    pub mtu: Option<u32>,
    /// The link's prefixes.
    pub prefixes: Cow<'a, [PrefixInformation]>,
    /// Name servers (RFC 8106 §5.1).
    pub dns_servers: Cow<'a, [Ipv6Addr]>,
    /// Domains to search names in (RFC 8106 §5.2).
    pub search_domains: Cow<'a, [DomainName]>,
    /// For how long servers and domains may be used, in seconds: zero is no longer, `u32::MAX` for ever.
    pub dns_lifetime: u32,
}

impl RouterAdvertisement<'_> {
    /// The advertisement in `packet`: all checks of RFC 4861 §6.1.2 but those of
    /// [`validate`](Self::validate). Of several MAC addresses or MTUs the first counts; options of other
    /// types are passed over.
    ///
    /// [`Error::BadField`] for another type, a code other than zero, a prefix of more than 128 bits, no
    /// domain in a list or one that [`DomainName`] does not admit, or options of RFC 8106 with different
    /// lifetimes; [`Error::Truncated`]; [`Error::BadLength`] for an option whose length is zero, beyond the
    /// end, or not one of its type.
    pub fn parse<T: AsRef<[u8]>>(packet: &Icmpv6Packet<T>) -> Result<Self, Error> {
        if packet.type_() != ROUTER_ADVERTISEMENT || packet.code() != 0 {
            return Err(Error::BadField);
        }
        let body = packet.payload();
        let list = body.get(advertisement::OPTIONS).ok_or(Error::Truncated)?;
        let (mut mtu, mut dns_lifetime) = (None, None);
        let (mut prefixes, mut dns_servers, mut search_domains) = (Vec::new(), Vec::new(), Vec::new());
        for item in NdpOptions::new(list) {
            let NdpOption { kind, data } = item?;
            let lifetime = match kind {
                NdpOption::MTU => {
                    let parsed = options::parse_mtu(data)?;
                    mtu.get_or_insert(parsed);
                    continue;
                }
                NdpOption::PREFIX_INFORMATION => {
                    prefixes.push(PrefixInformation::parse(data)?);
                    continue;
                }
                NdpOption::DNS_SERVERS => options::parse_servers(data, &mut dns_servers)?,
                NdpOption::SEARCH_DOMAINS => options::parse_domains(data, &mut search_domains)?,
                _ => continue,
            };
            if *dns_lifetime.get_or_insert(lifetime) != lifetime {
                return Err(Error::BadField);
            }
        }
        let flags = body[advertisement::FLAGS];
        Ok(Self {
            hop_limit: body[advertisement::HOP_LIMIT],
            managed: flags & MANAGED != 0,
            other: flags & OTHER != 0,
            lifetime: bytes::get_u16(body, advertisement::LIFETIME),
            reachable_time: bytes::get_u32(body, advertisement::REACHABLE_TIME),
            retrans_timer: bytes::get_u32(body, advertisement::RETRANS_TIMER),
            source_mac: link_layer_address(list, NdpOption::SOURCE_LINK_LAYER)?,
            mtu,
            prefixes: prefixes.into(),
            dns_servers: dns_servers.into(),
            search_domains: search_domains.into(),
            dns_lifetime: dns_lifetime.unwrap_or(0),
        })
    }

    /// The checks of RFC 4861 §6.1.2 that need the IPv6 header of the `packet` that this was parsed from: a
    /// link-local source, hop limit and checksum.
    ///
    /// [`Error::BadField`] or [`Error::BadChecksum`]; the message must then be ignored.
    pub fn validate<T: AsRef<[u8]>>(
        &self,
        packet: &Icmpv6Packet<T>,
        hop_limit: u8,
        src: Ipv6Addr,
        dst: Ipv6Addr,
    ) -> Result<(), Error> {
        if !src.is_unicast_link_local() {
            return Err(Error::BadField);
        }
        validate(packet, hop_limit, src, dst)
    }

    /// Length of the message in bytes. With its IPv6 header it must not exceed the link's MTU.
    pub fn buffer_len(&self) -> usize {
        icmpv6::HEADER_LEN
            + advertisement::OPTIONS.start
            + options::source_mac_len(self.source_mac)
            + options::mtu_len(self.mtu)
            + options::prefixes_len(&self.prefixes)
            + options::servers_len(&self.dns_servers)
            + options::domains_len(&self.search_domains)
    }

    /// Writes the message, ICMPv6 header and checksum included, to the first [`buffer_len`](Self::buffer_len)
    /// bytes.
    ///
    /// # Panics
    /// If `buffer` is shorter than that.
    pub fn emit(&self, buffer: &mut [u8], src: Ipv6Addr, dst: Ipv6Addr) {
        let message = &mut buffer[..self.buffer_len()];
        let body = &mut message[icmpv6::HEADER_LEN..];
        body[advertisement::HOP_LIMIT] = self.hop_limit;
        body[advertisement::FLAGS] = flag(self.managed, MANAGED) | flag(self.other, OTHER);
        bytes::put_u16(body, advertisement::LIFETIME, self.lifetime);
        bytes::put_u32(body, advertisement::REACHABLE_TIME, self.reachable_time);
        bytes::put_u32(body, advertisement::RETRANS_TIMER, self.retrans_timer);

        let mut options = OptionWriter::new(&mut body[advertisement::OPTIONS]);
        options.source_mac(self.source_mac);
        options.mtu(self.mtu);
        options.prefixes(&self.prefixes);
        options.servers(&self.dns_servers, self.dns_lifetime);
        options.domains(&self.search_domains, self.dns_lifetime);
        icmpv6::emit_header(message, ROUTER_ADVERTISEMENT, 0, src, dst);
    }
}

#[cfg(test)]
mod tests;
