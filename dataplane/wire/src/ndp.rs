//! Neighbour discovery for IPv6 (RFC 4861): solicitations and advertisements of neighbours and of routers,
//! and their options.
//!
//! The values here are made of an [`Icmpv6Packet`], whose check is all that they need: no function panics on
//! what came from the network.

use std::net::Ipv6Addr;

use crate::icmpv6::{self, Icmpv6Packet};
use crate::{Error, MacAddr, bytes};

mod router;

pub use router::{
    ALL_ROUTERS, PrefixInformation, ROUTER_ADVERTISEMENT, ROUTER_SOLICITATION, RouterAdvertisement,
    RouterSolicitation,
};

/// ICMPv6 type of a neighbour solicitation.
pub const NEIGHBOUR_SOLICITATION: u8 = 135;
/// ICMPv6 type of a neighbour advertisement.
pub const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
/// ICMPv6 type of a redirect.
pub const REDIRECT: u8 = 137;
/// The hop limit that neighbour discovery is sent with; less means that a router has forwarded it.
pub const HOP_LIMIT: u8 = 255;

/// Fields after the ICMPv6 header, common to both messages.
mod field {
    use std::ops::{Range, RangeFrom};

    pub(super) const FLAGS: usize = 0;
    pub(super) const RESERVED: Range<usize> = 1..4;
    pub(super) const TARGET: Range<usize> = 4..20;
    pub(super) const OPTIONS: RangeFrom<usize> = 20..;
}

const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;

/// Length in bytes of a message without options, ICMPv6 header included.
const MESSAGE_LEN: usize = icmpv6::HEADER_LEN + field::OPTIONS.start;

/// The multicast group of all nodes on a link, to which unsolicited advertisements and answers to the
/// unspecified address go (RFC 4291 §2.7.1).
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// The multicast group to which solicitations for `address` go (RFC 4291 §2.7.1).
#[inline]
pub const fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::from_octets([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

/// The MAC address to which packets for the multicast group `group` go (RFC 2464 §7).
#[inline]
pub const fn multicast_mac(group: Ipv6Addr) -> MacAddr {
    let [.., a, b, c, d] = group.octets();
    MacAddr([0x33, 0x33, a, b, c, d])
}

/// One option of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NdpOption<'a> {
    /// The type byte.
    pub kind: u8,
    /// What follows type and length: 6 bytes, or 14, 22 and so on.
    pub data: &'a [u8],
}

impl NdpOption<'_> {
    /// Type of the option that holds the sender's MAC address (RFC 4861 §4.6.1).
    pub const SOURCE_LINK_LAYER: u8 = 1;
    /// Type of the option that holds the target's MAC address (RFC 4861 §4.6.1).
    pub const TARGET_LINK_LAYER: u8 = 2;
    /// Type of the option that describes a prefix of the link (RFC 4861 §4.6.2).
    pub const PREFIX_INFORMATION: u8 = 3;
    /// Type of the option that holds the link's MTU (RFC 4861 §4.6.4).
    pub const MTU: u8 = 5;
    /// Type of the option that lists recursive name servers (RDNSS, RFC 8106 §5.1).
    pub const DNS_SERVERS: u8 = 25;
    /// Type of the option that lists domains to search (DNSSL, RFC 8106 §5.2).
    pub const SEARCH_DOMAINS: u8 = 31;
    /// Length in bytes of either option with a MAC address.
    const LINK_LAYER_LEN: usize = 8;
}

/// The options of a message in turn. One whose length is zero or beyond the end gives one
/// [`Error::BadLength`], and then the walk is over.
#[derive(Clone, Debug)]
pub struct NdpOptions<'a> {
    rest: &'a [u8],
}

impl<'a> NdpOptions<'a> {
    /// Walks all from the first option's type to the message's end.
    #[inline]
    pub fn new(options: &'a [u8]) -> Self {
        Self { rest: options }
    }
}

impl<'a> Iterator for NdpOptions<'a> {
    type Item = Result<NdpOption<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = std::mem::take(&mut self.rest);
        match *rest {
            [] => None,
            // The length counts units of 8 bytes, type and length included (RFC 4861 §4.6).
            [kind, units, ..] if units > 0 && usize::from(units) * 8 <= rest.len() => {
                let (option, after) = rest.split_at(usize::from(units) * 8);
                self.rest = after;
                Some(Ok(NdpOption { kind, data: &option[2..] }))
            }
            _ => Some(Err(Error::BadLength)),
        }
    }
}

impl std::iter::FusedIterator for NdpOptions<'_> {}

/// The MAC address in the first option of type `kind`. All options must have possible lengths, and this one
/// that of a MAC address.
fn link_layer_address(options: &[u8], kind: u8) -> Result<Option<MacAddr>, Error> {
    let mut found = None;
    for option in NdpOptions::new(options) {
        let option = option?;
        if option.kind == kind && found.is_none() {
            found = Some(MacAddr(option.data.try_into().map_err(|_| Error::BadLength)?));
        }
    }
    Ok(found)
}

/// What both messages share.
struct Message {
    flags: u8,
    target: Ipv6Addr,
    mac: Option<MacAddr>,
}

impl Message {
    /// The checks of RFC 4861 §7.1.1 and §7.1.2 that need no more than the message.
    fn parse<T: AsRef<[u8]>>(packet: &Icmpv6Packet<T>, type_: u8, option: u8) -> Result<Self, Error> {
        if packet.type_() != type_ || packet.code() != 0 {
            return Err(Error::BadField);
        }
        let body = packet.payload();
        let options = body.get(field::OPTIONS).ok_or(Error::Truncated)?;
        let target = Ipv6Addr::from_octets(bytes::get(body, field::TARGET));
        if target.is_multicast() {
            return Err(Error::BadField);
        }
        Ok(Self { flags: body[field::FLAGS], target, mac: link_layer_address(options, option)? })
    }

    fn buffer_len(mac: Option<MacAddr>) -> usize {
        MESSAGE_LEN + if mac.is_some() { NdpOption::LINK_LAYER_LEN } else { 0 }
    }

    fn emit(&self, type_: u8, option: u8, buffer: &mut [u8], src: Ipv6Addr, dst: Ipv6Addr) {
        let message = &mut buffer[..Self::buffer_len(self.mac)];
        let body = &mut message[icmpv6::HEADER_LEN..];
        body[field::FLAGS] = self.flags;
        body[field::RESERVED].fill(0);
        body[field::TARGET].copy_from_slice(&self.target.octets());
        if let Some(mac) = self.mac {
            let option_field = &mut body[field::OPTIONS];
            option_field[0] = option;
            option_field[1] = 1;
            option_field[2..].copy_from_slice(&mac.0);
        }
        icmpv6::emit_header(message, type_, 0, src, dst);
    }
}

/// The checks that all messages share and that need the IPv6 header (RFC 4861 §6.1 and §7.1).
fn validate<T: AsRef<[u8]>>(
    packet: &Icmpv6Packet<T>,
    hop_limit: u8,
    src: Ipv6Addr,
    dst: Ipv6Addr,
) -> Result<(), Error> {
    if hop_limit != HOP_LIMIT {
        return Err(Error::BadField);
    }
    if packet.verify_checksum(src, dst) { Ok(()) } else { Err(Error::BadChecksum) }
}

/// "Which MAC address has the target?" (RFC 4861 §4.3)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighbourSolicitation {
    /// The address that is asked for: no multicast address.
    pub target: Ipv6Addr,
    /// MAC address of who asks, from the source link-layer address option; any value of 6 bytes.
    pub source_mac: Option<MacAddr>,
}

impl NeighbourSolicitation {
    /// The solicitation in `packet`: all checks of RFC 4861 §7.1.1 but those of [`validate`](Self::validate).
    ///
    /// [`Error::BadField`] for another type, a code other than zero or a multicast target;
    /// [`Error::Truncated`]; [`Error::BadLength`] for an option whose length is zero, beyond the end, or not
    /// that of a MAC address where there must be one.
    pub fn parse<T: AsRef<[u8]>>(packet: &Icmpv6Packet<T>) -> Result<Self, Error> {
        let message = Message::parse(packet, NEIGHBOUR_SOLICITATION, NdpOption::SOURCE_LINK_LAYER)?;
        Ok(Self { target: message.target, source_mac: message.mac })
    }

    /// The checks of RFC 4861 §7.1.1 that need the IPv6 header of the `packet` that this was parsed from: hop
    /// limit, checksum, and what duplicate address detection (from the unspecified address) may send.
    ///
    /// [`Error::BadField`] or [`Error::BadChecksum`]; the message must then be ignored.
    pub fn validate<T: AsRef<[u8]>>(
        &self,
        packet: &Icmpv6Packet<T>,
        hop_limit: u8,
        src: Ipv6Addr,
        dst: Ipv6Addr,
    ) -> Result<(), Error> {
        if src.is_unspecified() && (dst != solicited_node(dst) || self.source_mac.is_some()) {
            return Err(Error::BadField);
        }
        validate(packet, hop_limit, src, dst)
    }

    /// Length of the message in bytes.
    #[inline]
    pub fn buffer_len(&self) -> usize {
        Message::buffer_len(self.source_mac)
    }

    /// Writes the message, ICMPv6 header and checksum included, to the first [`buffer_len`](Self::buffer_len)
    /// bytes.
    ///
    /// # Panics
    /// If `buffer` is shorter than that.
    pub fn emit(&self, buffer: &mut [u8], src: Ipv6Addr, dst: Ipv6Addr) {
        Message { flags: 0, target: self.target, mac: self.source_mac }.emit(
            NEIGHBOUR_SOLICITATION,
            NdpOption::SOURCE_LINK_LAYER,
            buffer,
            src,
            dst,
        );
    }
}

/// "The target has this MAC address." (RFC 4861 §4.4)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighbourAdvertisement {
    /// Whether the sender is a router.
    pub router: bool,
    /// Whether this answers a solicitation from a known address.
    pub solicited: bool,
    /// Whether this replaces what was known.
    pub override_: bool,
    /// The address that this speaks of: no multicast address.
    pub target: Ipv6Addr,
    /// Its MAC address, from the target link-layer address option; any value of 6 bytes.
    pub target_mac: Option<MacAddr>,
}

impl NeighbourAdvertisement {
    /// The advertisement in `packet`: all checks of RFC 4861 §7.1.2 but those of
    /// [`validate`](Self::validate).
    ///
    /// [`Error::BadField`] for another type, a code other than zero or a multicast target;
    /// [`Error::Truncated`]; [`Error::BadLength`] for an option whose length is zero, beyond the end, or not
    /// that of a MAC address where there must be one.
    pub fn parse<T: AsRef<[u8]>>(packet: &Icmpv6Packet<T>) -> Result<Self, Error> {
        let message = Message::parse(packet, NEIGHBOUR_ADVERTISEMENT, NdpOption::TARGET_LINK_LAYER)?;
        Ok(Self {
            router: message.flags & ROUTER != 0,
            solicited: message.flags & SOLICITED != 0,
            override_: message.flags & OVERRIDE != 0,
            target: message.target,
            target_mac: message.mac,
        })
    }

    /// The checks of RFC 4861 §7.1.2 that need the IPv6 header of the `packet` that this was parsed from: hop
    /// limit, checksum, and that an answer is not multicast.
    ///
    /// [`Error::BadField`] or [`Error::BadChecksum`]; the message must then be ignored.
    pub fn validate<T: AsRef<[u8]>>(
        &self,
        packet: &Icmpv6Packet<T>,
        hop_limit: u8,
        src: Ipv6Addr,
        dst: Ipv6Addr,
    ) -> Result<(), Error> {
        if dst.is_multicast() && self.solicited {
            return Err(Error::BadField);
        }
        validate(packet, hop_limit, src, dst)
    }

    /// Length of the message in bytes.
    #[inline]
    pub fn buffer_len(&self) -> usize {
        Message::buffer_len(self.target_mac)
    }

    /// Writes the message, ICMPv6 header and checksum included, to the first [`buffer_len`](Self::buffer_len)
    /// bytes.
    ///
    /// # Panics
    /// If `buffer` is shorter than that.
    pub fn emit(&self, buffer: &mut [u8], src: Ipv6Addr, dst: Ipv6Addr) {
        let flag = |set, flag| if set { flag } else { 0 };
        let flags =
            flag(self.router, ROUTER) | flag(self.solicited, SOLICITED) | flag(self.override_, OVERRIDE);
        Message { flags, target: self.target, mac: self.target_mac }.emit(
            NEIGHBOUR_ADVERTISEMENT,
            NdpOption::TARGET_LINK_LAYER,
            buffer,
            src,
            dst,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "Who has 2001:db8::1?", from fe80::5eff:fe10:2, 02:00:5e:10:00:02, to ff02::1:ff00:1.
    #[rustfmt::skip]
    static SOLICITATION: [u8; 32] = [
        0x87, 0x00, 0x90, 0x3e, 0x00, 0x00, 0x00, 0x00, 0x20, 0x01, 0x0d, 0xb8, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x01, 0x01, 0x02, 0x00, 0x5e, 0x10, 0x00, 0x02,
    ];

    /// "I, 02:00:5e:10:00:01, do": the answer from 2001:db8::1 with all three flags.
    #[rustfmt::skip]
    static ADVERTISEMENT: [u8; 32] = [
        0x88, 0x00, 0x7e, 0x8a, 0xe0, 0x00, 0x00, 0x00, 0x20, 0x01, 0x0d, 0xb8, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x02, 0x01, 0x02, 0x00, 0x5e, 0x10, 0x00, 0x01,
    ];

    const ROUTER_IP: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    const STATION_IP: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0x5eff, 0xfe10, 2);
    const GROUP: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 1);
    const ASKED: NeighbourSolicitation = NeighbourSolicitation {
        target: ROUTER_IP,
        source_mac: Some(MacAddr([0x02, 0x00, 0x5e, 0x10, 0x00, 0x02])),
    };
    const ANSWER: NeighbourAdvertisement = NeighbourAdvertisement {
        router: true,
        solicited: true,
        override_: true,
        target: ROUTER_IP,
        target_mac: Some(MacAddr([0x02, 0x00, 0x5e, 0x10, 0x00, 0x01])),
    };

    fn packet(message: &[u8]) -> Icmpv6Packet<&[u8]> {
        Icmpv6Packet::new_checked(message).unwrap()
    }

    /// What a solicitation that ends in these options, rather than its own, is parsed to.
    fn solicitation_with(options: &[u8]) -> Result<Option<MacAddr>, Error> {
        let message = [&SOLICITATION[..MESSAGE_LEN], options].concat();
        NeighbourSolicitation::parse(&packet(&message)).map(|asked| asked.source_mac)
    }

    #[test]
    fn parse() {
        assert_eq!(NeighbourSolicitation::parse(&packet(&SOLICITATION)), Ok(ASKED));
        assert_eq!(NeighbourAdvertisement::parse(&packet(&ADVERTISEMENT)), Ok(ANSWER));
    }

    #[test]
    fn emit() {
        assert_eq!(ASKED.buffer_len(), SOLICITATION.len());
        let mut buffer = [0xa5; SOLICITATION.len() + 1];
        ASKED.emit(&mut buffer, STATION_IP, GROUP);
        assert_eq!(buffer[..SOLICITATION.len()], SOLICITATION);
        assert_eq!(buffer[SOLICITATION.len()], 0xa5);

        assert_eq!(ANSWER.buffer_len(), ADVERTISEMENT.len());
        let mut buffer = [0xa5; ADVERTISEMENT.len() + 1];
        ANSWER.emit(&mut buffer, ROUTER_IP, STATION_IP);
        assert_eq!(buffer[..ADVERTISEMENT.len()], ADVERTISEMENT);
        assert_eq!(buffer[ADVERTISEMENT.len()], 0xa5);
    }

    #[test]
    fn each_flag_is_its_own() {
        for flags in 0..8 {
            let answer = NeighbourAdvertisement {
                router: flags & 4 != 0,
                solicited: flags & 2 != 0,
                override_: flags & 1 != 0,
                target_mac: None,
                ..ANSWER
            };
            let mut buffer = [0xa5; MESSAGE_LEN];
            answer.emit(&mut buffer, ROUTER_IP, STATION_IP);
            assert_eq!(buffer[4], flags << 5);
            assert_eq!(NeighbourAdvertisement::parse(&packet(&buffer)), Ok(answer));
        }
    }

    #[test]
    fn etherparse_agrees() {
        use etherparse::icmpv6::{Icmpv6PayloadSlice, NdpOptionSlice};
        let message = etherparse::Icmpv6Slice::from_slice(&SOLICITATION).unwrap();
        assert!(message.is_checksum_valid(STATION_IP.octets(), GROUP.octets()));
        let Ok(Icmpv6PayloadSlice::NeighborSolicitation(asked)) = message.payload_slice() else {
            panic!("{message:?}");
        };
        assert_eq!(asked.target_address(), ROUTER_IP);
        let Some(Ok(NdpOptionSlice::SourceLinkLayerAddress(option))) = asked.options_iterator().next() else {
            panic!("{asked:?}");
        };
        assert_eq!(Some(option.link_layer_address()), ASKED.source_mac.as_ref().map(|mac| &mac.0[..]));

        let message = etherparse::Icmpv6Slice::from_slice(&ADVERTISEMENT).unwrap();
        assert!(message.is_checksum_valid(ROUTER_IP.octets(), STATION_IP.octets()));
        let etherparse::Icmpv6Type::NeighborAdvertisement(flags) = message.icmp_type() else {
            panic!("{message:?}");
        };
        assert!(flags.router && flags.solicited && flags.r#override);
        let Ok(Icmpv6PayloadSlice::NeighborAdvertisement(answer)) = message.payload_slice() else {
            panic!("{message:?}");
        };
        assert_eq!(answer.target_address(), ROUTER_IP);
        let Some(Ok(NdpOptionSlice::TargetLinkLayerAddress(option))) = answer.options_iterator().next()
        else {
            panic!("{answer:?}");
        };
        assert_eq!(Some(option.link_layer_address()), ANSWER.target_mac.as_ref().map(|mac| &mac.0[..]));
    }

    #[test]
    fn malformed_messages_are_refused() {
        let with = |at: usize, value: u8| {
            let mut message = SOLICITATION;
            message[at] = value;
            NeighbourSolicitation::parse(&packet(&message))
        };
        assert_eq!(with(0, NEIGHBOUR_ADVERTISEMENT), Err(Error::BadField));
        assert_eq!(with(1, 1), Err(Error::BadField));
        assert_eq!(with(8, 0xff), Err(Error::BadField), "a multicast target");
        assert_eq!(NeighbourAdvertisement::parse(&packet(&SOLICITATION)), Err(Error::BadField));
        let short = NeighbourSolicitation::parse(&packet(&SOLICITATION[..MESSAGE_LEN - 1]));
        assert_eq!(short, Err(Error::Truncated));
    }

    #[test]
    fn options_must_have_possible_lengths() {
        assert_eq!(solicitation_with(&[]), Ok(None));
        assert_eq!(solicitation_with(&[1, 0, 2, 2, 2, 2, 2, 2]), Err(Error::BadLength));
        assert_eq!(solicitation_with(&[1]), Err(Error::BadLength));
        assert_eq!(solicitation_with(&[1, 1, 2, 2, 2, 2, 2]), Err(Error::BadLength));
        // Two units are no MAC address; of an unknown option they are passed over.
        let mut two_units = [2; 16];
        two_units[0] = 1;
        assert_eq!(solicitation_with(&two_units), Err(Error::BadLength));
        two_units[0] = 14;
        let nonce_then_mac = [&two_units[..], &[1, 1, 6, 5, 4, 3, 2, 1]].concat();
        assert_eq!(solicitation_with(&nonce_then_mac), Ok(Some(MacAddr([6, 5, 4, 3, 2, 1]))));
        // A bad option after a good one spoils the message.
        let then_bad = [&SOLICITATION[MESSAGE_LEN..], &[14, 0]].concat();
        assert_eq!(solicitation_with(&then_bad), Err(Error::BadLength));
        let first_counts = [1, 1, 6, 5, 4, 3, 2, 1, 1, 1, 0, 0, 0, 0, 0, 9];
        assert_eq!(solicitation_with(&first_counts), Ok(Some(MacAddr([6, 5, 4, 3, 2, 1]))));
    }

    #[test]
    fn solicitations_are_validated_with_their_ip_header() {
        let valid = |hop_limit, src, dst| ASKED.validate(&packet(&SOLICITATION), hop_limit, src, dst);
        assert_eq!(valid(255, STATION_IP, GROUP), Ok(()));
        assert_eq!(valid(254, STATION_IP, GROUP), Err(Error::BadField));
        assert_eq!(valid(255, ROUTER_IP, GROUP), Err(Error::BadChecksum));

        let probe = |source_mac, dst| {
            let asked = NeighbourSolicitation { source_mac, ..ASKED };
            let mut message = vec![0xa5; asked.buffer_len()];
            asked.emit(&mut message, Ipv6Addr::UNSPECIFIED, dst);
            asked.validate(&packet(&message), 255, Ipv6Addr::UNSPECIFIED, dst)
        };
        assert_eq!(probe(None, GROUP), Ok(()));
        assert_eq!(probe(ASKED.source_mac, GROUP), Err(Error::BadField));
        assert_eq!(probe(None, ROUTER_IP), Err(Error::BadField));
        assert_eq!(probe(None, ALL_NODES), Err(Error::BadField));
    }

    #[test]
    fn advertisements_are_validated_with_their_ip_header() {
        let valid = |hop_limit, src, dst| ANSWER.validate(&packet(&ADVERTISEMENT), hop_limit, src, dst);
        assert_eq!(valid(255, ROUTER_IP, STATION_IP), Ok(()));
        assert_eq!(valid(254, ROUTER_IP, STATION_IP), Err(Error::BadField));
        assert_eq!(valid(255, STATION_IP, STATION_IP), Err(Error::BadChecksum));
        assert_eq!(valid(255, ROUTER_IP, ALL_NODES), Err(Error::BadField));
    }

    #[test]
    fn groups() {
        assert_eq!(solicited_node(ROUTER_IP), GROUP);
        assert_eq!(solicited_node(STATION_IP), Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff10, 2));
        assert_eq!(multicast_mac(GROUP), MacAddr([0x33, 0x33, 0xff, 0, 0, 1]));
        assert_eq!(multicast_mac(ALL_NODES), MacAddr([0x33, 0x33, 0, 0, 0, 1]));
    }
}
