//! DHCPv4, byte by byte.

use super::*;

const FROM_CLIENT: (u16, u16) = (68, 67);
const RELAY_PORTS: (u16, u16) = (67, 67);

/// What differs between messages.
#[derive(Clone, Debug)]
struct Message {
    operation: u8,
    hops: u8,
    flags: u8,
    your_ip: [u8; 4],
    relay_agent: [u8; 4],
    mac: MacAddr,
    options: Vec<u8>,
}

impl Message {
    /// Message type discover, and a parameter request list.
    fn discover() -> Self {
        let options = vec![53, 1, 1, 55, 2, 1, 3];
        let (your_ip, relay_agent, mac) = ([0; 4], [0; 4], STATION_MAC);
        Self { operation: 1, hops: 0, flags: 0, your_ip, relay_agent, mac, options }
    }

    /// Message type offer and what the relay agent had added.
    fn offer() -> Self {
        let options = [&[53, 1, 2][..], &INFORMATION].concat();
        Self {
            operation: 2,
            your_ip: [10, 0, 1, 77],
            relay_agent: [10, 0, 1, 1],
            options,
            ..Self::discover()
        }
    }

    /// As RFC 2131 §2 has it, with the end option, padded to 300 bytes.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![self.operation, 1, 6, self.hops, 0xde, 0xad, 0xbe, 0xef, 0, 3, self.flags, 0];
        bytes.extend([0; 4]);
        bytes.extend(self.your_ip);
        bytes.extend([0; 4]);
        bytes.extend(self.relay_agent);
        bytes.extend(self.mac.0);
        bytes.resize(236, 0);
        bytes.extend([99, 130, 83, 99]);
        bytes.extend(&self.options);
        bytes.push(255);
        bytes.resize(bytes.len().max(300), 0);
        bytes
    }
}

/// Option 82: circuit identifier 100, remote identifier the station's MAC address.
const INFORMATION: [u8; 16] = [82, 14, 1, 4, 0, 0, 0, 100, 2, 6, 2, 0, 0, 0, 1, 1];

fn broadcast(message: &Message) -> Vec<u8> {
    let macs = (STATION_MAC, MacAddr::BROADCAST);
    vxlan(ENDPOINT_V4, 100, &frame(macs, ("0.0.0.0", "255.255.255.255"), FROM_CLIENT, &message.bytes()))
}

fn unicast(message: &Message) -> Vec<u8> {
    let macs = (STATION_MAC, ROUTER_MAC);
    vxlan(ENDPOINT_V4, 100, &frame(macs, ("10.0.1.10", "10.0.1.1"), FROM_CLIENT, &message.bytes()))
}

fn reply(message: &Message) -> Vec<u8> {
    from_server((SERVER_V4, "10.0.1.1"), RELAY_PORTS, &message.bytes())
}

#[test]
fn a_clients_message_goes_to_every_server() {
    let mut gateway = gateway();
    let discover = Message::discover();
    let options = [&discover.options[..], &INFORMATION].concat();
    let expected = Message { hops: 1, relay_agent: [10, 0, 1, 1], options, ..discover.clone() }.bytes();
    for frame in [broadcast(&discover), unicast(&discover)] {
        let sent = to_servers(&gateway.send(UNDERLAY, &frame));
        let to = |server: &str| Sent {
            source: "10.0.1.1".to_owned(),
            destination: server.to_owned(),
            hop_limit: 64,
            ports: RELAY_PORTS,
            payload: expected.clone(),
        };
        assert_eq!(sent, [to(SERVER_V4), to(OTHER_SERVER_V4)]);
    }
    assert_counted(&gateway, [2, 0, 0, 0]);
}

#[test]
fn a_servers_message_goes_to_its_client() {
    let offer = Message::offer();
    let expected = |message: &Message, destination: &str| Sent {
        source: "10.0.1.1".to_owned(),
        destination: destination.to_owned(),
        hop_limit: 64,
        ports: (67, 68),
        payload: Message { options: vec![53, 1, 2], ..message.clone() }.bytes(),
    };
    let mut gateway = gateway();
    let all = "255.255.255.255";
    for (message, mac, destination) in [
        (offer.clone(), STATION_MAC, "10.0.1.77"),
        (Message { options: vec![53, 1, 2], ..offer.clone() }, STATION_MAC, "10.0.1.77"),
        (Message { flags: 0x80, ..offer.clone() }, MacAddr::BROADCAST, all),
        (Message { your_ip: [0; 4], ..offer.clone() }, MacAddr::BROADCAST, all),
    ] {
        let sent = to_stations(&gateway.send(UPLINK, &reply(&message)));
        assert_eq!(sent, [(mac, expected(&message, destination))]);
    }
    // One that is not known is looked for behind all endpoints.
    let stranger = Message { mac: STRANGER_MAC, ..offer };
    let sent = to_stations(&gateway.send(UPLINK, &reply(&stranger)));
    let expected = || (STRANGER_MAC, expected(&stranger, "10.0.1.77"));
    assert_eq!(sent, [expected(), expected()]);
    assert_counted(&gateway, [0, 5, 0, 0]);
}

#[test]
fn stations_are_clients_only() {
    let mut gateway = gateway();
    let discover = Message::discover();
    let nested = [&INFORMATION[..], &[53, 1, 1]].concat();
    let mut ethernet = discover.bytes();
    ethernet[2] = 16;
    let plain = |payload: &[u8], ports, destination: &str| {
        let macs = (STATION_MAC, ROUTER_MAC);
        vxlan(ENDPOINT_V4, 100, &frame(macs, ("10.0.1.10", destination), ports, payload))
    };
    let bytes = discover.bytes();
    let refused = [
        ("a reply", broadcast(&Message { operation: 2, ..discover.clone() })),
        ("no operation", broadcast(&Message { operation: 3, ..discover.clone() })),
        ("a server's reply to us", unicast(&Message::offer())),
        ("in another's name", broadcast(&Message { mac: OTHER_STATION_MAC, ..discover.clone() })),
        ("no MAC address", plain(&ethernet, FROM_CLIENT, "10.0.1.1")),
        ("too many hops", broadcast(&Message { hops: 16, ..discover.clone() })),
        ("a relay agent", broadcast(&Message { relay_agent: [10, 0, 1, 10], ..discover.clone() })),
        (
            "our address as relay agent's",
            unicast(&Message { relay_agent: [10, 0, 1, 1], ..discover.clone() }),
        ),
        ("relay agent information", broadcast(&Message { options: nested, ..discover.clone() })),
        ("a lying option", broadcast(&Message { options: vec![53, 200, 1], ..discover.clone() })),
        ("to clients", plain(&bytes, (67, 68), "10.0.1.1")),
        ("truncated", plain(&bytes[..239], FROM_CLIENT, "10.0.1.1")),
        ("BOOTP", plain(&[&bytes[..236], &[0; 64]].concat(), FROM_CLIENT, "10.0.1.1")),
        ("empty", plain(&[], FROM_CLIENT, "10.0.1.1")),
    ];
    for (what, frame) in &refused {
        let before = gateway.done(Deed::DhcpRefused);
        assert!(gateway.send(UNDERLAY, frame).is_empty(), "{what}");
        assert_eq!(gateway.done(Deed::DhcpRefused), before + 1, "{what}");
    }
    // From the unspecified address to anybody but all.
    let macs = (STATION_MAC, ROUTER_MAC);
    let astray = vxlan(ENDPOINT_V4, 100, &frame(macs, ("0.0.0.0", SERVER_V4), FROM_CLIENT, &bytes));
    assert!(gateway.send(UNDERLAY, &astray).is_empty());
    assert_counted(&gateway, [0, 0, refused.len() as u64 + 1, 0]);
}

#[test]
fn replies_come_from_servers_for_their_overlay() {
    let mut gateway = gateway();
    let offer = Message::offer();
    let elsewhere = [&[53, 1, 2][..], &[82, 6, 1, 4, 0, 0, 0, 200]].concat();
    let mut checksum = reply(&offer);
    *checksum.last_mut().unwrap() ^= 1;
    let from = |source, destination, message: &Message| {
        from_server((source, destination), RELAY_PORTS, &message.bytes())
    };
    let refused = [
        ("from a stranger", from("203.0.113.99", "10.0.1.1", &offer)),
        ("to another of our addresses", from(SERVER_V4, "10.0.3.1", &offer)),
        ("for another overlay", from(SERVER_V4, "10.0.2.1", &offer)),
        (
            "of another overlay",
            from(SERVER_V4, "10.0.1.1", &Message { relay_agent: [10, 0, 2, 1], ..offer.clone() }),
        ),
        ("of no relay agent", from(SERVER_V4, "10.0.1.1", &Message { relay_agent: [0; 4], ..offer.clone() })),
        ("another overlay's circuit", reply(&Message { options: elsewhere, ..offer.clone() })),
        ("lying information", reply(&Message { options: vec![82, 3, 1, 9, 0], ..offer.clone() })),
        ("a lying option", reply(&Message { options: vec![53, 200, 2], ..offer.clone() })),
        ("a request", reply(&Message { operation: 1, ..offer.clone() })),
        ("to all stations", reply(&Message { mac: MacAddr::BROADCAST, ..offer.clone() })),
        ("to clients", from_server((SERVER_V4, "10.0.1.1"), (67, 68), &offer.bytes())),
        ("the checksum", checksum),
    ];
    for (what, frame) in &refused {
        let before = gateway.done(Deed::DhcpRefused);
        assert!(gateway.send(UPLINK, frame).is_empty(), "{what}");
        assert_eq!(gateway.done(Deed::DhcpRefused), before + 1, "{what}");
    }
    assert_counted(&gateway, [0, 0, refused.len() as u64, 0]);
}

#[test]
fn what_cannot_be_asked_is_counted() {
    for change in [
        |config: &mut Config| config.overlays[0].policy = Arc::default(),
        |config: &mut Config| config.overlays[0].owner = false,
    ] {
        let mut config = relaying();
        config.overlays[0].own_mac = Some(MacAddr([2, 0, 0, 0, 3, 3]));
        change(&mut config);
        let mut gateway = Harness::with(config);
        gateway.apply(updates());
        assert!(gateway.send(UNDERLAY, &broadcast(&Message::discover())).is_empty());
        assert_counted(&gateway, [0, 0, 0, 1]);
    }
}

#[test]
fn what_is_too_long_is_refused() {
    let mut config = relaying();
    config.overlays[0].mtu = 600;
    let mut gateway = Harness::with(config);
    gateway.apply(updates());
    // An uplink carries 1500 bytes, and the relay agent adds 16; the overlay carries 600.
    let padding = |len: usize| {
        [vec![250, 200], vec![0; 200]].concat().into_iter().cycle().take(len).collect::<Vec<u8>>()
    };
    for (fits, request, reply_len) in
        [(true, 1500 - 28 - 241 - 16, 600 - 28 - 241), (false, 1500 - 28 - 241 - 15, 600 - 28 - 240)]
    {
        let with = |message: Message, len: usize| {
            // Options of 202 bytes, and the last shorter.
            let mut options = padding(len);
            let last = len / 202 * 202;
            options[last + 1] = (len - last - 2) as u8;
            Message { options, ..message }
        };
        let sent = gateway.send(UNDERLAY, &broadcast(&with(Message::discover(), request)));
        assert_eq!(sent.len(), if fits { 2 } else { 0 });
        let sent = gateway.send(UPLINK, &reply(&with(Message::offer(), reply_len)));
        assert_eq!(sent.len(), usize::from(fits));
    }
    assert_counted(&gateway, [1, 1, 2, 0]);
}
