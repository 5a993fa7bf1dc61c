//! Options of router discovery: those of RFC 4861 §4.6, and the lists of name servers and domains of RFC 8106.

use std::net::Ipv6Addr;

use crate::domain::MAX_NAME_LEN;
use crate::ndp::NdpOption;
use crate::{DomainName, Error, MacAddr, bytes};

/// Fields of an option after type and length.
mod field {
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
    pub(super) fn parse(data: &[u8]) -> Result<Self, Error> {
        if data.len() != PREFIX_LEN - 2 {
            return Err(Error::BadLength);
        }
        let (prefix_len, flags) = (data[field::PREFIX_LEN], data[field::PREFIX_FLAGS]);
        if prefix_len > 128 {
            return Err(Error::BadField);
        }
        let prefix = Ipv6Addr::from_octets(bytes::get(data, field::PREFIX));
        Ok(Self {
            prefix: mask(prefix, prefix_len),
            prefix_len,
            on_link: flags & ON_LINK != 0,
            autonomous: flags & AUTONOMOUS != 0,
            valid_lifetime: bytes::get_u32(data, field::VALID_LIFETIME),
            preferred_lifetime: bytes::get_u32(data, field::PREFERRED_LIFETIME),
        })
    }
}

/// `address` with all bits after the first `len` zero.
pub(super) fn mask(address: Ipv6Addr, len: u8) -> Ipv6Addr {
    let ones = u128::MAX.checked_shl(128 - u32::from(len.min(128))).unwrap_or(0);
    Ipv6Addr::from_bits(address.to_bits() & ones)
}

/// `flag` if it is to be `set`.
pub(super) fn flag(set: bool, flag: u8) -> u8 {
    if set { flag } else { 0 }
}

/// Lengths in bytes of the options that [`OptionWriter`] makes of the same arguments.
pub(super) fn source_mac_len(mac: Option<MacAddr>) -> usize {
    if mac.is_some() { NdpOption::LINK_LAYER_LEN } else { 0 }
}

pub(super) fn mtu_len(mtu: Option<u32>) -> usize {
    if mtu.is_some() { MTU_LEN } else { 0 }
}

pub(super) fn prefixes_len(prefixes: &[PrefixInformation]) -> usize {
    prefixes.len() * PREFIX_LEN
}

pub(super) fn servers_len(servers: &[Ipv6Addr]) -> usize {
    servers.chunks(SERVERS_PER_OPTION).map(server_option_len).sum()
}

pub(super) fn domains_len(domains: &[DomainName]) -> usize {
    domains.chunks(DOMAINS_PER_OPTION).map(domain_option_len).sum()
}

/// Length in bytes of one option with these servers.
fn server_option_len(servers: &[Ipv6Addr]) -> usize {
    LIST_OPTION_LEN + servers.len() * 16
}

/// Length in bytes of one option with these domains, padding included.
fn domain_option_len(domains: &[DomainName]) -> usize {
    let list: usize = domains.iter().map(|domain| domain.wire().len()).sum();
    LIST_OPTION_LEN + list.next_multiple_of(8)
}

/// The MTU in an option's `data`, which follows type and length.
pub(super) fn parse_mtu(data: &[u8]) -> Result<u32, Error> {
    if data.len() != MTU_LEN - 2 {
        return Err(Error::BadLength);
    }
    Ok(bytes::get_u32(data, field::MTU))
}

/// Adds the servers in an option's `data`, and returns their lifetime in seconds.
pub(super) fn parse_servers(data: &[u8], servers: &mut Vec<Ipv6Addr>) -> Result<u32, Error> {
    // All options have a unit of 8 bytes, which holds the lifetime.
    let (addresses, rest) = data[field::LIST].as_chunks::<16>();
    if addresses.is_empty() || !rest.is_empty() {
        return Err(Error::BadLength);
    }
    servers.extend(addresses.iter().copied().map(Ipv6Addr::from_octets));
    Ok(bytes::get_u32(data, field::LIFETIME))
}

/// Adds the domains in an option's `data`, which end at padding, and returns their lifetime in seconds.
pub(super) fn parse_domains(data: &[u8], domains: &mut Vec<DomainName>) -> Result<u32, Error> {
    let mut list = &data[field::LIST];
    if matches!(list, [] | [0, ..]) {
        return Err(Error::BadField);
    }
    while !matches!(list, [] | [0, ..]) {
        let (domain, rest) = DomainName::parse(list)?;
        domains.push(domain);
        list = rest;
    }
    Ok(bytes::get_u32(data, field::LIFETIME))
}

/// Writes options one after the other.
pub(super) struct OptionWriter<'a> {
    rest: &'a mut [u8],
}

impl<'a> OptionWriter<'a> {
    /// Starts at the first byte of `options`.
    pub(super) fn new(options: &'a mut [u8]) -> Self {
        Self { rest: options }
    }

    /// Starts the next option, `len` bytes long, and returns all after its type and length, filled with zero.
    fn next(&mut self, kind: u8, len: usize) -> &mut [u8] {
        let (option, after) = std::mem::take(&mut self.rest).split_at_mut(len);
        self.rest = after;
        option.fill(0);
        option[0] = kind;
        option[1] = (len / 8) as u8;
        &mut option[2..]
    }

    pub(super) fn source_mac(&mut self, mac: Option<MacAddr>) {
        if let Some(mac) = mac {
            self.next(NdpOption::SOURCE_LINK_LAYER, NdpOption::LINK_LAYER_LEN).copy_from_slice(&mac.0);
        }
    }

    pub(super) fn mtu(&mut self, mtu: Option<u32>) {
        if let Some(mtu) = mtu {
            bytes::put_u32(self.next(NdpOption::MTU, MTU_LEN), field::MTU, mtu);
        }
    }

    pub(super) fn prefixes(&mut self, prefixes: &[PrefixInformation]) {
        for information in prefixes {
            let data = self.next(NdpOption::PREFIX_INFORMATION, PREFIX_LEN);
            data[field::PREFIX_LEN] = information.prefix_len;
            data[field::PREFIX_FLAGS] =
                flag(information.on_link, ON_LINK) | flag(information.autonomous, AUTONOMOUS);
            bytes::put_u32(data, field::VALID_LIFETIME, information.valid_lifetime);
            bytes::put_u32(data, field::PREFERRED_LIFETIME, information.preferred_lifetime);
            let prefix = mask(information.prefix, information.prefix_len);
            data[field::PREFIX].copy_from_slice(&prefix.octets());
        }
    }

    pub(super) fn servers(&mut self, servers: &[Ipv6Addr], lifetime: u32) {
        for servers in servers.chunks(SERVERS_PER_OPTION) {
            let data = self.next(NdpOption::DNS_SERVERS, server_option_len(servers));
            bytes::put_u32(data, field::LIFETIME, lifetime);
            for (field, server) in data[field::LIST].chunks_exact_mut(16).zip(servers) {
                field.copy_from_slice(&server.octets());
            }
        }
    }

    pub(super) fn domains(&mut self, domains: &[DomainName], lifetime: u32) {
        for domains in domains.chunks(DOMAINS_PER_OPTION) {
            let data = self.next(NdpOption::SEARCH_DOMAINS, domain_option_len(domains));
            bytes::put_u32(data, field::LIFETIME, lifetime);
            let mut at = field::LIST.start;
            for domain in domains {
                let wire = domain.wire();
                data[at..at + wire.len()].copy_from_slice(wire);
                at += wire.len();
            }
        }
    }
}
