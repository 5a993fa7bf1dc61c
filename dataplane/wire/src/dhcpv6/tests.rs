use super::*;

/// A client's solicitation: its identifier, elapsed time, and a wish for name servers.
#[rustfmt::skip]
static SOLICIT: [u8; 30] = [
    0x01, 0xab, 0xcd, 0xef, 0x00, 0x01, 0x00, 0x0a, 0x00, 0x03, 0x00, 0x01, 0x02, 0x00, 0x5e, 0x10,
    0x00, 0x02, 0x00, 0x08, 0x00, 0x02, 0x00, 0x00, 0x00, 0x06, 0x00, 0x02, 0x00, 0x17,
];

/// The same from fe80::5eff:fe10:2 on interface 10001, relayed for the link 2001:db8:1::1.
#[rustfmt::skip]
static FORWARD: [u8; 76] = [
    0x0c, 0x00, 0x20, 0x01, 0x0d, 0xb8, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x01, 0xfe, 0x80, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x5e, 0xff, 0xfe, 0x10,
    0x00, 0x02, 0x00, 0x12, 0x00, 0x04, 0x00, 0x00, 0x27, 0x11, 0x00, 0x09, 0x00, 0x1e, 0x01, 0xab,
    0xcd, 0xef, 0x00, 0x01, 0x00, 0x0a, 0x00, 0x03, 0x00, 0x01, 0x02, 0x00, 0x5e, 0x10, 0x00, 0x02,
    0x00, 0x08, 0x00, 0x02, 0x00, 0x00, 0x00, 0x06, 0x00, 0x02, 0x00, 0x17,
];

const LINK: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1);
const CLIENT: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0x5eff, 0xfe10, 2);
const INTERFACE: [u8; 4] = [0, 0, 0x27, 0x11];
const RELAYED: Dhcpv6RelayRepr = Dhcpv6RelayRepr {
    type_: RelayType::Forward,
    hop_count: 0,
    link: LINK,
    peer: CLIENT,
    interface_id: Some(&INTERFACE),
    message: &SOLICIT,
};

fn emitted(repr: &Dhcpv6RelayRepr) -> Vec<u8> {
    let mut buffer = vec![0xa5; repr.buffer_len() + 1];
    repr.emit(&mut buffer);
    assert_eq!(buffer.pop(), Some(0xa5));
    buffer
}

/// What `message` is parsed to, as type, interface and the message inside.
type Parsed = (RelayType, Option<Vec<u8>>, Vec<u8>);

fn parse(message: &[u8]) -> Result<Parsed, Error> {
    let packet = Dhcpv6RelayPacket::new_checked(message)?;
    let repr = Dhcpv6RelayRepr::parse(&packet)?;
    Ok((repr.type_, repr.interface_id.map(<[u8]>::to_vec), repr.message.to_vec()))
}

/// A Relay-reply with these options.
fn reply_with(options: &[u8]) -> Vec<u8> {
    [&[13], &FORWARD[1..34], options].concat()
}

#[test]
fn deconstruct() {
    let packet = Dhcpv6Packet::new_checked(SOLICIT).unwrap();
    assert_eq!(packet.message_type(), MessageType::Solicit);
    assert_eq!(packet.transaction(), 0xab_cdef);
    let kinds = Dhcpv6Options::new(packet.options()).map(|option| option.unwrap().kind).collect::<Vec<_>>();
    assert_eq!(kinds, [1, 8, 6]);
    assert_eq!(packet.into_inner(), SOLICIT);

    let packet = Dhcpv6RelayPacket::new_checked(&FORWARD[..]).unwrap();
    assert_eq!((packet.type_(), packet.hop_count()), (RelayType::Forward, 0));
    assert_eq!((packet.link(), packet.peer()), (LINK, CLIENT));
    let options = Dhcpv6Options::new(packet.options()).collect::<Result<Vec<_>, _>>().unwrap();
    let interface = Dhcpv6Option { kind: Dhcpv6Option::INTERFACE_ID, data: &INTERFACE };
    assert_eq!(options, [interface, Dhcpv6Option { kind: Dhcpv6Option::RELAY_MESSAGE, data: &SOLICIT }]);
    assert_eq!(packet.into_inner(), FORWARD);
}

#[test]
fn relay_agents_wrap_messages() {
    assert_eq!(Dhcpv6RelayRepr::forward(&SOLICIT, LINK, CLIENT, &INTERFACE), Ok(RELAYED));
    assert_eq!(emitted(&RELAYED), FORWARD);
    let packet = Dhcpv6RelayPacket::new_checked(FORWARD).unwrap();
    assert_eq!(Dhcpv6RelayRepr::parse(&packet), Ok(RELAYED));
}

#[test]
fn replies_are_unwrapped() {
    let mut answer = SOLICIT;
    answer[0] = MessageType::Advertise.into();
    let repr = Dhcpv6RelayRepr { type_: RelayType::Reply, message: &answer, ..RELAYED };
    let message = emitted(&repr);
    assert_eq!(message[0], 13);
    let packet = Dhcpv6RelayPacket::new_checked(&message[..]).unwrap();
    assert_eq!(Dhcpv6RelayRepr::parse(&packet), Ok(repr));
    assert_eq!(repr.peer_port(), CLIENT_PORT);
    // Around a reply for another relay agent.
    let outer = Dhcpv6RelayRepr { message: &message, interface_id: None, ..repr };
    assert_eq!(outer.peer_port(), SERVER_PORT);
    assert_eq!(parse(&emitted(&outer)), Ok((RelayType::Reply, None, message.clone())));
}

#[test]
fn hops_are_counted_and_limited() {
    let mut message = FORWARD.to_vec();
    for hops in 0..HOP_COUNT_LIMIT {
        assert_eq!(message[1], hops);
        let repr = Dhcpv6RelayRepr::forward(&message, LINK, CLIENT, &INTERFACE).unwrap();
        assert_eq!(repr.hop_count, hops + 1);
        message = emitted(&repr);
    }
    assert_eq!(Dhcpv6RelayRepr::forward(&message, LINK, CLIENT, &INTERFACE), Err(Error::BadField));
    message[1] = 255;
    assert_eq!(Dhcpv6RelayRepr::forward(&message, LINK, CLIENT, &INTERFACE), Err(Error::BadField));
}

#[test]
fn what_goes_to_clients_is_not_forwarded() {
    let forward = |type_: u8, message: &[u8]| {
        let mut message = message.to_vec();
        message[0] = type_;
        Dhcpv6RelayRepr::forward(&message, LINK, CLIENT, &INTERFACE).map(|repr| repr.hop_count)
    };
    for from_client in [1, 3, 4, 5, 6, 8, 9, 11, 200] {
        assert_eq!(forward(from_client, &SOLICIT), Ok(0), "{from_client}");
    }
    for from_server in [2, 7, 10] {
        assert_eq!(forward(from_server, &SOLICIT), Err(Error::BadField), "{from_server}");
    }
    assert_eq!(forward(13, &FORWARD), Err(Error::BadField));
    assert_eq!(forward(12, &SOLICIT), Err(Error::Truncated), "no relay agent's message is so short");
}

#[test]
fn what_fits_no_option_is_not_forwarded() {
    let mut message = vec![0; 65_536];
    message[..30].copy_from_slice(&SOLICIT);
    let forward = |message, interface| Dhcpv6RelayRepr::forward(message, LINK, CLIENT, interface).err();
    assert_eq!(forward(&message, &INTERFACE), Some(Error::BadLength));
    assert_eq!(forward(&message[..65_535], &INTERFACE), None);
    assert_eq!(forward(&SOLICIT, &message), Some(Error::BadLength));
}

#[test]
fn directions() {
    let types = (0..=u8::MAX).map(MessageType::from);
    let from_client = types.clone().filter(|type_| type_.is_from_client()).map(u8::from);
    assert_eq!(from_client.collect::<Vec<_>>(), [1, 3, 4, 5, 6, 8, 9, 11]);
    let from_server = types.filter(|type_| type_.is_from_server()).map(u8::from);
    assert_eq!(from_server.collect::<Vec<_>>(), [2, 7, 10]);
}

#[test]
fn malformed_messages_are_refused() {
    assert_eq!(MessageType::of(&[]), Err(Error::Truncated));
    assert_eq!(Dhcpv6Packet::new_checked(&SOLICIT[..3]), Err(Error::Truncated));
    assert_eq!(Dhcpv6Packet::new_checked(&FORWARD[..]), Err(Error::BadField));
    assert_eq!(Dhcpv6RelayPacket::new_checked(&FORWARD[..33]), Err(Error::Truncated));
    assert_eq!(Dhcpv6RelayPacket::new_checked(&[1; 40]), Err(Error::BadField));
    assert_eq!(parse(&reply_with(&[])), Err(Error::BadField), "no message inside");
    assert_eq!(parse(&FORWARD[..75]), Err(Error::BadLength));
}

#[test]
fn options_survive_lying_lengths() {
    let message = Ok((RelayType::Reply, None, vec![7]));
    assert_eq!(parse(&reply_with(&[0, 9, 0, 1, 7])), message);
    assert_eq!(parse(&reply_with(&[0, 99, 0, 0, 0, 9, 0, 1, 7])), message, "others are passed over");
    assert_eq!(parse(&reply_with(&[0, 9, 0, 1, 7, 0, 9, 0, 1, 8])), message, "the first counts");
    assert_eq!(parse(&reply_with(&[0, 9, 0, 1])), Err(Error::BadLength));
    assert_eq!(parse(&reply_with(&[0, 9, 0, 1, 7, 0, 18, 0])), Err(Error::BadLength));
    assert_eq!(Dhcpv6Options::new(&[0, 9, 255, 255, 1]).collect::<Vec<_>>(), [Err(Error::BadLength)]);
}
