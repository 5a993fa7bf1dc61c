use super::*;

/// A client's discovery: message type, a pad, a parameter request list, and padding to 300 bytes. Unlike a
/// real one it has a value in every field but the relay agent's.
fn discover() -> Vec<u8> {
    let mut message = vec![0; MIN_LEN];
    #[rustfmt::skip]
    message[..34].copy_from_slice(&[
        1, 1, 6, 0, 0x12, 0x34, 0x56, 0x78, 0, 3, 0x80, 0, 198, 18, 0, 9, 198, 18, 0, 10, 198, 18, 0, 11,
        0, 0, 0, 0, 0x02, 0x00, 0x5e, 0x10, 0x00, 0x02,
    ]);
    message[236..240].copy_from_slice(&[0x63, 0x82, 0x53, 0x63]);
    message[240..249].copy_from_slice(&[53, 1, 1, 0, 55, 2, 1, 3, 255]);
    message
}

/// What a relay agent adds: circuit 10001 and the name gw-01.
const INFORMATION: [u8; 15] = [82, 13, 1, 4, 0, 0, 0x27, 0x11, 2, 5, b'g', b'w', b'-', b'0', b'1'];
const CIRCUIT_ID: [u8; 4] = [0, 0, 0x27, 0x11];

/// The discovery as the relay agent 198.18.0.1 sends it on.
fn relayed() -> Vec<u8> {
    let mut message = discover();
    message[3] = 1;
    message[24..28].copy_from_slice(&[198, 18, 0, 1]);
    message[248..263].copy_from_slice(&INFORMATION);
    message[263] = END;
    message
}

/// The discovery with these options instead of its own.
fn with_options(options: &[u8]) -> Vec<u8> {
    [&discover()[..HEADER_LEN], options].concat()
}

fn appended(message: &[u8]) -> Result<Vec<u8>, Error> {
    let mut out = vec![0xa5];
    append_relay_agent(message, &CIRCUIT_ID, b"gw-01", &mut out).map(|()| out.split_off(1))
}

fn stripped(message: &[u8]) -> Result<Vec<u8>, Error> {
    let mut out = vec![0xa5];
    strip_relay_agent(message, &mut out).map(|()| out.split_off(1))
}

#[test]
fn deconstruct() {
    let packet = Dhcpv4Packet::new_checked(discover()).unwrap();
    assert_eq!(packet.operation(), Operation::Request);
    assert_eq!((packet.hardware_type(), packet.hardware_len(), packet.hops()), (1, 6, 0));
    assert_eq!((packet.transaction(), packet.seconds()), (0x1234_5678, 3));
    assert!(packet.broadcast());
    assert_eq!(packet.client_ip(), Ipv4Addr::new(198, 18, 0, 9));
    assert_eq!(packet.your_ip(), Ipv4Addr::new(198, 18, 0, 10));
    assert_eq!(packet.next_server(), Ipv4Addr::new(198, 18, 0, 11));
    assert_eq!(packet.relay_agent(), Ipv4Addr::UNSPECIFIED);
    assert_eq!(packet.client_mac(), Some(MacAddr([0x02, 0x00, 0x5e, 0x10, 0x00, 0x02])));
    assert_eq!(packet.message_type(), Ok(Some(MessageType::Discover)));
    assert_eq!(packet.option(55), Ok(Some(&[1, 3][..])));
    assert_eq!(packet.option(Dhcpv4Option::SERVER_IDENTIFIER), Ok(None));
    assert_eq!(packet.relay_agent_information(), Ok(None));
    assert_eq!(packet.options(), &discover()[HEADER_LEN..]);
    assert_eq!(packet.into_inner(), discover());
}

#[test]
fn construct() {
    let mut packet = Dhcpv4Packet::new_checked(appended(&discover()).unwrap()).unwrap();
    packet.set_hops(1);
    packet.set_relay_agent(Ipv4Addr::new(198, 18, 0, 1));
    assert_eq!((packet.hops(), packet.relay_agent()), (1, Ipv4Addr::new(198, 18, 0, 1)));
    assert_eq!(packet.into_inner(), relayed());
}

#[test]
fn other_messages_are_refused() {
    assert_eq!(Dhcpv4Packet::new_checked(&discover()[..239]), Err(Error::Truncated));
    assert!(Dhcpv4Packet::new_checked(&discover()[..240]).is_ok());
    let mut cookie = discover();
    cookie[239] = 0;
    assert_eq!(Dhcpv4Packet::new_checked(&cookie), Err(Error::BadField));
    assert_eq!(appended(&cookie), Err(Error::BadField));
    assert_eq!(stripped(&discover()[..200]), Err(Error::Truncated));
}

#[test]
fn links_other_than_ethernet_have_no_mac() {
    for at in [1, 2] {
        let mut message = discover();
        message[at] = 16;
        assert_eq!(Dhcpv4Packet::new_checked(message).unwrap().client_mac(), None);
    }
}

#[test]
fn options_survive_lying_lengths() {
    let walk = |options: &'static [u8]| Dhcpv4Options::new(options).collect::<Vec<_>>();
    let ack = Ok(Dhcpv4Option { kind: 53, data: &[5] });
    assert_eq!(walk(&[]), []);
    assert_eq!(walk(&[0, 0, 0]), []);
    assert_eq!(walk(&[255, 53, 1, 5]), []);
    assert_eq!(walk(&[0, 53, 1, 5, 0, 255, 1]), [ack]);
    assert_eq!(walk(&[53, 1, 5]), [ack], "no end option");
    assert_eq!(walk(&[53, 1, 5, 54]), [ack, Err(Error::BadLength)]);
    assert_eq!(walk(&[53, 1, 5, 54, 4, 1, 1, 1]), [ack, Err(Error::BadLength)]);
    assert_eq!(walk(&[54, 0, 53, 1, 5]), [Ok(Dhcpv4Option { kind: 54, data: &[] }), ack]);

    let type_of = |options| Dhcpv4Packet::new_checked(with_options(options)).unwrap().message_type();
    assert_eq!(type_of(&[255]), Ok(None));
    assert_eq!(type_of(&[53, 1, 99]), Ok(Some(MessageType::Unknown(99))));
    assert_eq!(type_of(&[53, 2, 1, 1]), Err(Error::BadLength));
    assert_eq!(type_of(&[50, 9, 53, 1, 5]), Err(Error::BadLength));
}

#[test]
fn relay_agent_information_is_read() {
    let information = RelayAgentInformation { circuit_id: Some(&CIRCUIT_ID), remote_id: Some(b"gw-01") };
    let packet = Dhcpv4Packet::new_checked(relayed()).unwrap();
    assert_eq!(packet.relay_agent_information(), Ok(Some(information)));

    let parse = |data| RelayAgentInformation::parse(data).map(|found| (found.circuit_id, found.remote_id));
    assert_eq!(parse(&[]), Ok((None, None)));
    assert_eq!(parse(&[9, 1, 1, 2, 0, 1, 1, 7, 1, 1, 8]), Ok((Some(&[7][..]), Some(&[][..]))));
    assert_eq!(parse(&[1]), Err(Error::BadLength));
    assert_eq!(parse(&[1, 2, 3]), Err(Error::BadLength));
    assert_eq!(parse(&[0, 1, 1, 7]), Err(Error::BadLength), "sub-options know no padding");
    let lying = Dhcpv4Packet::new_checked(with_options(&[82, 2, 1, 9])).unwrap();
    assert_eq!(lying.relay_agent_information(), Err(Error::BadLength));
}

#[test]
fn appending_refuses_what_must_not_be() {
    assert_eq!(appended(&relayed()), Err(Error::BadField), "there is one already");
    assert_eq!(appended(&with_options(&[53, 9, 1])), Err(Error::BadLength));
    let mut out = vec![0xa5];
    let mut append = |circuit: usize, remote: usize| {
        let result = append_relay_agent(&discover(), &vec![1; circuit], &vec![2; remote], &mut out);
        assert!(result.is_ok() || out.len() == 1, "left as it was");
        out.truncate(1);
        result
    };
    assert_eq!(append(0, 0), Err(Error::BadField));
    assert_eq!(append(253, 0), Ok(()));
    assert_eq!(append(254, 0), Err(Error::BadLength));
    assert_eq!(append(151, 100), Ok(()));
    assert_eq!(append(151, 101), Err(Error::BadLength));
}

#[test]
fn an_empty_identifier_is_left_out() {
    let mut out = Vec::new();
    append_relay_agent(&discover(), &[], &[7], &mut out).unwrap();
    assert_eq!(out[248..252], [82, 3, 2, 1]);
    let packet = Dhcpv4Packet::new_checked(out).unwrap();
    let information = RelayAgentInformation { circuit_id: None, remote_id: Some(&[7]) };
    assert_eq!(packet.relay_agent_information(), Ok(Some(information)));
}

#[test]
fn stripping_gives_the_message_before() {
    assert_eq!(stripped(&discover()), Ok(discover()));
    let back = stripped(&relayed()).unwrap();
    assert_eq!(back[HEADER_LEN..], discover()[HEADER_LEN..]);
    assert_eq!(back[..HEADER_LEN], relayed()[..HEADER_LEN], "fields are left as they are");

    let twice = with_options(&[&INFORMATION[..], &[53, 1, 2, 0], &INFORMATION, &[1, 1, 9, 255]].concat());
    let once = with_options(&[53, 1, 2, 0, 1, 1, 9, 255]);
    assert_eq!(stripped(&twice).unwrap()[..once.len()], once);
    assert_eq!(stripped(&with_options(&[82, 9])), Err(Error::BadLength));
}

#[test]
fn short_messages_are_padded_and_ended() {
    let short = with_options(&[53, 1, 1]);
    let padded = stripped(&short).unwrap();
    assert_eq!((padded.len(), padded[243]), (MIN_LEN, END));
    assert!(padded[244..].iter().all(|&byte| byte == PAD));
    assert_eq!(appended(&short).unwrap().len(), MIN_LEN);
    // One that is long enough is not.
    let long = with_options(&[&[60, 100][..], &[b'x'; 100], &[255]].concat());
    assert_eq!(stripped(&long), Ok(long.clone()));
    assert_eq!(appended(&long).unwrap().len(), long.len() + INFORMATION.len());
}
