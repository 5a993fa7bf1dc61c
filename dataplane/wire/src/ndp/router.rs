//! Router discovery: solicitations and advertisements of routers (RFC 4861 §4.1, §4.2), with the options
//! that tell stations of names (RFC 8106).

use std::borrow::Cow;
use std::net::Ipv6Addr;

use super::{NdpOption, NdpOptions, link_layer_address, validate};
use crate::domain::MAX_NAME_LEN;
use crate::icmpv6::{self, Icmpv6Packet};
use crate::{DomainName, Error, MacAddr, bytes};

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

/// Fields of an option after type and length.
mod option {
    use std::ops::{Range, RangeFrom};

    pub(super) const MTU: Range<usize> = 2..6;
    pub(super) const PREFIX_LEN: usize = 0;
    pub(super) const PREFIX_FLAGS: usize = 1;
    pub(super) const VALID_LIFETIME: Range<usize> = 2..6;
    pub(super) const PREFERRED_LIFETIME: Range<usize> = 6..10;
    pub(super) const PREFIX: Range<usize> = 14..30;
    /// Of both options of RFC 8106.
    pub(super) const LIFETIME: Range<usize> = 2..6;
    pub(super) const LIST: RangeFrom<usize> = 6..;
}

const MANAGED: u8 = 0x80;
const OTHER: u8 = 0x40;
const ON_LINK: u8 = 0x80;
const AUTONOMOUS: u8 = 0x40;

/// Lengths of options in bytes, type and length included.
const MTU_LEN: usize = 8;
const PREFIX_LEN: usize = 32;
/// Of an option of RFC 8106 without its list.
const LIST_OPTION_LEN: usize = 8;
/// The length field counts up to 255 units of 8 bytes, so longer lists go into several options.
const MAX_LIST_LEN: usize = 255 * 8 - LIST_OPTION_LEN;
const SERVERS_PER_OPTION: usize = MAX_LIST_LEN / 16;
/// So many domains fit an option however long they are.
const DOMAINS_PER_OPTION: usize = MAX_LIST_LEN / MAX_NAME_LEN;

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
        let option = if self.source_mac.is_some() { NdpOption::LINK_LAYER_LEN } else { 0 };
        icmpv6::HEADER_LEN + solicitation::OPTIONS.start + option
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
        OptionWriter { rest: &mut body[solicitation::OPTIONS] }.source_mac(self.source_mac);
        icmpv6::emit_header(message, ROUTER_SOLICITATION, 0, src, dst);
    }
}

/// A prefix of the link (RFC 4861 §4.6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixInformation {
    /// The prefix; bits after its length are sent as zero.
    pub prefix: Ipv6Addr,
    /// Length of the prefix in bits: up to 128.
    pub prefix_len: u8,
    /// Whether addresses of the prefix are reached without a router.
    pub on_link: bool,
    /// Whether stations may make addresses of the prefix for themselves (RFC 4862).
    pub autonomous: bool,
    /// For how long addresses are valid, in seconds; `u32::MAX` is for ever.
    pub valid_lifetime: u32,
    /// For how long addresses are used for new connections, in seconds, no longer than they are valid.
    pub preferred_lifetime: u32,
}

impl PrefixInformation {
    /// The option with this `data`, which follows type and length.
    fn parse(data: &[u8]) -> Result<Self, Error> {
        if data.len() != PREFIX_LEN - 2 {
            return Err(Error::BadLength);
        }
        let (prefix_len, flags) = (data[option::PREFIX_LEN], data[option::PREFIX_FLAGS]);
        if prefix_len > 128 {
            return Err(Error::BadField);
        }
        let prefix = Ipv6Addr::from_octets(bytes::get(data, option::PREFIX));
        Ok(Self {
            prefix: mask(prefix, prefix_len),
            prefix_len,
            on_link: flags & ON_LINK != 0,
            autonomous: flags & AUTONOMOUS != 0,
            valid_lifetime: bytes::get_u32(data, option::VALID_LIFETIME),
            preferred_lifetime: bytes::get_u32(data, option::PREFERRED_LIFETIME),
        })
    }
}

/// `address` with all bits after the first `len` zero.
fn mask(address: Ipv6Addr, len: u8) -> Ipv6Addr {
    let ones = u128::MAX.checked_shl(128 - u32::from(len.min(128))).unwrap_or(0);
    Ipv6Addr::from_bits(address.to_bits() & ones)
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
        let options = body.get(advertisement::OPTIONS).ok_or(Error::Truncated)?;
        let (mut mtu, mut dns_lifetime) = (None, None);
        let (mut prefixes, mut dns_servers, mut search_domains) = (Vec::new(), Vec::new(), Vec::new());
        for item in NdpOptions::new(options) {
            let NdpOption { kind, data } = item?;
            match kind {
                NdpOption::MTU if data.len() != MTU_LEN - 2 => return Err(Error::BadLength),
                NdpOption::MTU => mtu = mtu.or(Some(bytes::get_u32(data, option::MTU))),
                NdpOption::PREFIX_INFORMATION => prefixes.push(PrefixInformation::parse(data)?),
                NdpOption::DNS_SERVERS | NdpOption::SEARCH_DOMAINS => {
                    // At least one unit is there, which holds the lifetime.
                    let lifetime = bytes::get_u32(data, option::LIFETIME);
                    if *dns_lifetime.get_or_insert(lifetime) != lifetime {
                        return Err(Error::BadField);
                    }
                    let list = &data[option::LIST];
                    if kind == NdpOption::DNS_SERVERS {
                        parse_servers(list, &mut dns_servers)?;
                    } else {
                        parse_domains(list, &mut search_domains)?;
                    }
                }
                _ => {}
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
            source_mac: link_layer_address(options, NdpOption::SOURCE_LINK_LAYER)?,
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
            + if self.source_mac.is_some() { NdpOption::LINK_LAYER_LEN } else { 0 }
            + if self.mtu.is_some() { MTU_LEN } else { 0 }
            + self.prefixes.len() * PREFIX_LEN
            + self.dns_servers.chunks(SERVERS_PER_OPTION).map(servers_len).sum::<usize>()
            + self.search_domains.chunks(DOMAINS_PER_OPTION).map(domains_len).sum::<usize>()
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

        let mut options = OptionWriter { rest: &mut body[advertisement::OPTIONS] };
        options.source_mac(self.source_mac);
        if let Some(mtu) = self.mtu {
            bytes::put_u32(options.next(NdpOption::MTU, MTU_LEN), option::MTU, mtu);
        }
        self.prefixes.iter().for_each(|prefix| options.prefix(prefix));
        for servers in self.dns_servers.chunks(SERVERS_PER_OPTION) {
            options.servers(servers, self.dns_lifetime);
        }
        for domains in self.search_domains.chunks(DOMAINS_PER_OPTION) {
            options.domains(domains, self.dns_lifetime);
        }
        icmpv6::emit_header(message, ROUTER_ADVERTISEMENT, 0, src, dst);
    }
}

fn flag(set: bool, flag: u8) -> u8 {
    if set { flag } else { 0 }
}

/// Length in bytes of an option with these servers.
fn servers_len(servers: &[Ipv6Addr]) -> usize {
    LIST_OPTION_LEN + servers.len() * 16
}

/// Length in bytes of an option with these domains, padding included.
fn domains_len(domains: &[DomainName]) -> usize {
    let list: usize = domains.iter().map(|domain| domain.wire().len()).sum();
    LIST_OPTION_LEN + list.next_multiple_of(8)
}

/// Adds the servers of an option's list.
fn parse_servers(list: &[u8], servers: &mut Vec<Ipv6Addr>) -> Result<(), Error> {
    let (addresses, rest) = list.as_chunks::<16>();
    if addresses.is_empty() || !rest.is_empty() {
        return Err(Error::BadLength);
    }
    servers.extend(addresses.iter().copied().map(Ipv6Addr::from_octets));
    Ok(())
}

/// Adds the domains of an option's list, which ends at padding.
fn parse_domains(mut list: &[u8], domains: &mut Vec<DomainName>) -> Result<(), Error> {
    if matches!(list, [] | [0, ..]) {
        return Err(Error::BadField);
    }
    while !matches!(list, [] | [0, ..]) {
        let (domain, rest) = DomainName::parse(list)?;
        domains.push(domain);
        list = rest;
    }
    Ok(())
}

/// Writes options one after the other.
struct OptionWriter<'a> {
    rest: &'a mut [u8],
}

impl OptionWriter<'_> {
    /// Starts the next option, `len` bytes long, and returns all after its type and length, filled with zero.
    fn next(&mut self, kind: u8, len: usize) -> &mut [u8] {
        let (option, after) = std::mem::take(&mut self.rest).split_at_mut(len);
        self.rest = after;
        option.fill(0);
        option[0] = kind;
        option[1] = (len / 8) as u8;
        &mut option[2..]
    }

    fn source_mac(&mut self, mac: Option<MacAddr>) {
        if let Some(mac) = mac {
            self.next(NdpOption::SOURCE_LINK_LAYER, NdpOption::LINK_LAYER_LEN).copy_from_slice(&mac.0);
        }
    }

    fn prefix(&mut self, information: &PrefixInformation) {
        let data = self.next(NdpOption::PREFIX_INFORMATION, PREFIX_LEN);
        data[option::PREFIX_LEN] = information.prefix_len;
        data[option::PREFIX_FLAGS] =
            flag(information.on_link, ON_LINK) | flag(information.autonomous, AUTONOMOUS);
        bytes::put_u32(data, option::VALID_LIFETIME, information.valid_lifetime);
        bytes::put_u32(data, option::PREFERRED_LIFETIME, information.preferred_lifetime);
        let prefix = mask(information.prefix, information.prefix_len);
        data[option::PREFIX].copy_from_slice(&prefix.octets());
    }

    fn servers(&mut self, servers: &[Ipv6Addr], lifetime: u32) {
        let data = self.next(NdpOption::DNS_SERVERS, servers_len(servers));
        bytes::put_u32(data, option::LIFETIME, lifetime);
        for (field, server) in data[option::LIST].chunks_exact_mut(16).zip(servers) {
            field.copy_from_slice(&server.octets());
        }
    }

    fn domains(&mut self, domains: &[DomainName], lifetime: u32) {
        let data = self.next(NdpOption::SEARCH_DOMAINS, domains_len(domains));
        bytes::put_u32(data, option::LIFETIME, lifetime);
        let mut at = option::LIST.start;
        for domain in domains {
            let wire = domain.wire();
            data[at..at + wire.len()].copy_from_slice(wire);
            at += wire.len();
        }
    }
}

#[cfg(test)]
mod tests;
