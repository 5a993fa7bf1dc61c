use std::net::Ipv6Addr;

use super::options::mask;
use super::*;
use crate::domain::MAX_NAME_LEN;
use crate::ndp::ALL_NODES;

/// From fe80::5eff:fe10:1 to ff02::1: a prefix, two name servers, and the domains lab.example and test.
#[rustfmt::skip]
static ADVERTISEMENT: [u8; 136] = [
    0x86, 0x00, 0xb7, 0xad, 0x40, 0xc0, 0x07, 0x08, 0x00, 0x00, 0x75, 0x30, 0x00, 0x00, 0x03, 0xe8,
    0x01, 0x01, 0x02, 0x00, 0x5e, 0x10, 0x00, 0x01, 0x05, 0x01, 0x00, 0x00, 0x00, 0x00, 0x05, 0xaa,
    0x03, 0x04, 0x40, 0xc0, 0x00, 0x01, 0x51, 0x80, 0x00, 0x00, 0x38, 0x40, 0x00, 0x00, 0x00, 0x00,
    0x20, 0x01, 0x0d, 0xb8, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x19, 0x05, 0x00, 0x00, 0x00, 0x00, 0x02, 0x58, 0x20, 0x01, 0x0d, 0xb8, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x53, 0x20, 0x01, 0x0d, 0xb8, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x54, 0x1f, 0x04, 0x00, 0x00, 0x00, 0x00, 0x02, 0x58,
    0x03, 0x6c, 0x61, 0x62, 0x07, 0x65, 0x78, 0x61, 0x6d, 0x70, 0x6c, 0x65, 0x00, 0x04, 0x74, 0x65,
    0x73, 0x74, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
];

/// From fe80::5eff:fe10:2, 02:00:5e:10:00:02, to ff02::2.
#[rustfmt::skip]
static SOLICITATION: [u8; 16] = [
    0x85, 0x00, 0xbf, 0x09, 0x00, 0x00, 0x00, 0x00, 0x01, 0x01, 0x02, 0x00, 0x5e, 0x10, 0x00, 0x02,
];

const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0x5eff, 0xfe10, 1);
const STATION: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0x5eff, 0xfe10, 2);
const ASKED: RouterSolicitation =
    RouterSolicitation { source_mac: Some(MacAddr([0x02, 0x00, 0x5e, 0x10, 0x00, 0x02])) };
const PREFIX: PrefixInformation = PrefixInformation {
    prefix: Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0),
    prefix_len: 64,
    on_link: true,
    autonomous: true,
    valid_lifetime: 86_400,
    preferred_lifetime: 14_400,
};

fn advertised() -> RouterAdvertisement<'static> {
    let server = |last| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last);
    RouterAdvertisement {
        hop_limit: 64,
        managed: true,
        other: true,
        lifetime: 1800,
        reachable_time: 30_000,
        retrans_timer: 1000,
        source_mac: Some(MacAddr([0x02, 0x00, 0x5e, 0x10, 0x00, 0x01])),
        mtu: Some(1450),
        prefixes: (&[PREFIX]).into(),
        dns_servers: vec![server(0x53), server(0x54)].into(),
        search_domains: vec!["lab.example".parse().unwrap(), "test".parse().unwrap()].into(),
        dns_lifetime: 600,
    }
}

fn packet(message: &[u8]) -> Icmpv6Packet<&[u8]> {
    Icmpv6Packet::new_checked(message).unwrap()
}

/// What `value` emits, which must be parsed to the same.
fn emitted(value: &RouterAdvertisement) -> Vec<u8> {
    let mut message = vec![0xa5; value.buffer_len()];
    value.emit(&mut message, ROUTER, ALL_NODES);
    assert_eq!(RouterAdvertisement::parse(&packet(&message)).as_ref(), Ok(value));
    message
}

/// What an advertisement that ends in these options, rather than its own, is parsed to.
fn advertisement_with(options: &[u8]) -> Result<RouterAdvertisement<'static>, Error> {
    let head = &ADVERTISEMENT[..icmpv6::HEADER_LEN + advertisement::OPTIONS.start];
    RouterAdvertisement::parse(&packet(&[head, options].concat()))
}

#[test]
fn parse() {
    assert_eq!(RouterSolicitation::parse(&packet(&SOLICITATION)), Ok(ASKED));
    assert_eq!(RouterAdvertisement::parse(&packet(&ADVERTISEMENT)), Ok(advertised()));
}

#[test]
fn emit() {
    assert_eq!(ASKED.buffer_len(), SOLICITATION.len());
    let mut buffer = [0xa5; SOLICITATION.len() + 1];
    ASKED.emit(&mut buffer, STATION, ALL_ROUTERS);
    assert_eq!(buffer[..SOLICITATION.len()], SOLICITATION);
    assert_eq!(buffer[SOLICITATION.len()], 0xa5);

    assert_eq!(advertised().buffer_len(), ADVERTISEMENT.len());
    let mut buffer = [0xa5; ADVERTISEMENT.len() + 1];
    advertised().emit(&mut buffer, ROUTER, ALL_NODES);
    assert_eq!(buffer[..ADVERTISEMENT.len()], ADVERTISEMENT);
    assert_eq!(buffer[ADVERTISEMENT.len()], 0xa5);
}

#[test]
fn emit_without_options() {
    let bare = RouterSolicitation { source_mac: None };
    let mut buffer = [0xa5; 8];
    assert_eq!(bare.buffer_len(), buffer.len());
    bare.emit(&mut buffer, Ipv6Addr::UNSPECIFIED, ALL_ROUTERS);
    assert_eq!(RouterSolicitation::parse(&packet(&buffer)), Ok(bare));
    let bare = RouterAdvertisement {
        managed: false,
        source_mac: None,
        mtu: None,
        prefixes: (&[]).into(),
        dns_servers: (&[]).into(),
        search_domains: (&[]).into(),
        dns_lifetime: 0,
        ..advertised()
    };
    assert_eq!(emitted(&bare)[4..], [64, OTHER, 0x07, 0x08, 0, 0, 0x75, 0x30, 0, 0, 0x03, 0xe8]);
}

#[test]
fn etherparse_agrees() {
    use etherparse::icmpv6::{Icmpv6PayloadSlice, NdpOptionSlice};
    let message = etherparse::Icmpv6Slice::from_slice(&ADVERTISEMENT).unwrap();
    assert!(message.is_checksum_valid(ROUTER.octets(), ALL_NODES.octets()));
    let etherparse::Icmpv6Type::RouterAdvertisement(header) = message.icmp_type() else {
        panic!("{message:?}");
    };
    assert!(header.managed_address_config && header.other_config);
    assert_eq!((header.cur_hop_limit, header.router_lifetime), (64, 1800));
    let Ok(Icmpv6PayloadSlice::RouterAdvertisement(payload)) = message.payload_slice() else {
        panic!("{message:?}");
    };
    assert_eq!((payload.reachable_time(), payload.retrans_timer()), (30_000, 1000));
    let (mut macs, mut mtus, mut prefixes, mut others) = (vec![], vec![], vec![], vec![]);
    for option in payload.options_iterator() {
        match option.unwrap() {
            NdpOptionSlice::SourceLinkLayerAddress(option) => macs.push(option.link_layer_address()),
            NdpOptionSlice::Mtu(option) => mtus.push(option.mtu()),
            NdpOptionSlice::PrefixInformation(option) => prefixes.push(option.prefix_information()),
            NdpOptionSlice::Unknown(option) => others.push(option.option_type().0),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((macs, mtus), (vec![&[0x02, 0x00, 0x5e, 0x10, 0x00, 0x01][..]], vec![1450]));
    assert_eq!(others, [NdpOption::DNS_SERVERS, NdpOption::SEARCH_DOMAINS]);
    let [prefix] = prefixes[..] else { panic!("{prefixes:?}") };
    assert_eq!((prefix.prefix, prefix.prefix_length), (PREFIX.prefix.octets(), 64));
    assert!(prefix.on_link && prefix.autonomous_address_configuration);
    assert_eq!((prefix.valid_lifetime, prefix.preferred_lifetime), (86_400, 14_400));

    let message = etherparse::Icmpv6Slice::from_slice(&SOLICITATION).unwrap();
    assert!(message.is_checksum_valid(STATION.octets(), ALL_ROUTERS.octets()));
    assert_eq!(message.icmp_type(), etherparse::Icmpv6Type::RouterSolicitation);
}

#[test]
fn malformed_messages_are_refused() {
    let with = |at: usize, value: u8| {
        let mut message = ADVERTISEMENT;
        message[at] = value;
        RouterAdvertisement::parse(&packet(&message)).err()
    };
    assert_eq!(with(0, ROUTER_SOLICITATION), Some(Error::BadField));
    assert_eq!(with(1, 1), Some(Error::BadField));
    assert_eq!(with(34, 129), Some(Error::BadField), "prefix length");
    assert_eq!(with(71, 1), Some(Error::BadField), "a lifetime unlike the domains'");
    assert_eq!(with(112, 0), Some(Error::BadField), "no domain");
    assert_eq!(with(112, 64), Some(Error::BadLength), "a label's length");
    assert_eq!(with(113, b'.'), Some(Error::BadField), "a dot in a label");
    assert_eq!(RouterAdvertisement::parse(&packet(&ADVERTISEMENT[..15])), Err(Error::Truncated));

    assert_eq!(RouterSolicitation::parse(&packet(&ADVERTISEMENT)), Err(Error::BadField));
    assert_eq!(RouterSolicitation::parse(&packet(&SOLICITATION[..7])), Err(Error::Truncated));
    assert_eq!(RouterSolicitation::parse(&packet(&SOLICITATION[..15])), Err(Error::BadLength));
    let mut zero = SOLICITATION;
    zero[9] = 0;
    assert_eq!(RouterSolicitation::parse(&packet(&zero)), Err(Error::BadLength));
}

#[test]
fn options_must_have_the_lengths_of_their_types() {
    let two_units = |kind| {
        let mut option = [0; 16];
        option[..2].copy_from_slice(&[kind, 2]);
        advertisement_with(&option).map(|_| ())
    };
    assert_eq!(two_units(NdpOption::SOURCE_LINK_LAYER), Err(Error::BadLength));
    assert_eq!(two_units(NdpOption::MTU), Err(Error::BadLength));
    assert_eq!(two_units(NdpOption::PREFIX_INFORMATION), Err(Error::BadLength));
    assert_eq!(two_units(NdpOption::DNS_SERVERS), Err(Error::BadLength));
    assert_eq!(two_units(14), Ok(()));
    for list in [NdpOption::DNS_SERVERS, NdpOption::SEARCH_DOMAINS] {
        assert!(advertisement_with(&[list, 1, 0, 0, 0, 0, 0, 9]).is_err(), "an empty list");
    }
    assert_eq!(advertisement_with(&[14, 0]).err(), Some(Error::BadLength));
    let first_counts = [5, 1, 0, 0, 0, 0, 5, 0xdc, 5, 1, 0, 0, 0, 0, 0, 9];
    assert_eq!(advertisement_with(&first_counts).map(|value| value.mtu), Ok(Some(1500)));
}

#[test]
fn bits_after_a_prefix_are_not_sent() {
    let prefix = PrefixInformation { prefix: STATION, prefix_len: 10, on_link: false, ..PREFIX };
    let value = RouterAdvertisement { prefixes: vec![prefix].into(), ..advertised() };
    let mut message = vec![0xa5; value.buffer_len()];
    value.emit(&mut message, ROUTER, ALL_NODES);
    let found = RouterAdvertisement::parse(&packet(&message)).unwrap().prefixes[0];
    assert_eq!(found, PrefixInformation { prefix: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), ..prefix });
    assert_eq!(mask(STATION, 0), Ipv6Addr::UNSPECIFIED);
    assert_eq!(mask(STATION, 127), STATION);
    assert_eq!(mask(ROUTER, 127), Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0x5eff, 0xfe10, 0));
    assert_eq!(mask(STATION, 128), STATION);
}

#[test]
fn long_lists_take_several_options() {
    let longest = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "a".repeat(61)).parse::<DomainName>().unwrap();
    assert_eq!(longest.wire().len(), MAX_NAME_LEN);
    let servers = (0..128).map(|n| Ipv6Addr::from_bits(n + 1)).collect::<Vec<_>>();
    let value = RouterAdvertisement {
        prefixes: vec![PREFIX; 40].into(),
        dns_servers: servers.into(),
        search_domains: vec![longest; 8].into(),
        ..advertised()
    };
    let message = emitted(&value);
    let options = NdpOptions::new(&message[16..]).map(|option| option.unwrap().kind).collect::<Vec<_>>();
    assert_eq!(options.iter().filter(|&&kind| kind == NdpOption::PREFIX_INFORMATION).count(), 40);
    assert_eq!(options[42..], [25, 25, 31, 31]);
}

#[test]
fn messages_are_validated_with_their_ip_header() {
    let valid = |hop_limit, src| ASKED.validate(&packet(&SOLICITATION), hop_limit, src, ALL_ROUTERS);
    assert_eq!(valid(255, STATION), Ok(()));
    assert_eq!(valid(254, STATION), Err(Error::BadField));
    assert_eq!(valid(255, ROUTER), Err(Error::BadChecksum));
    assert_eq!(valid(255, Ipv6Addr::UNSPECIFIED), Err(Error::BadField), "a MAC without an address");

    let valid = |hop_limit, src| advertised().validate(&packet(&ADVERTISEMENT), hop_limit, src, ALL_NODES);
    assert_eq!(valid(255, ROUTER), Ok(()));
    assert_eq!(valid(254, ROUTER), Err(Error::BadField));
    assert_eq!(valid(255, STATION), Err(Error::BadChecksum));
    assert_eq!(valid(255, PREFIX.prefix), Err(Error::BadField), "not link-local");
}
