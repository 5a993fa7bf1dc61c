//! DHCPv6, byte by byte.

use super::*;

const ALL_AGENTS: &str = "ff02::1:2";
const ALL_AGENTS_MAC: MacAddr = MacAddr([0x33, 0x33, 0, 1, 0, 2]);
const CLIENT: &str = "fe80::10";
const FROM_CLIENT: (u16, u16) = (546, 547);
const RELAY_PORTS: (u16, u16) = (547, 547);
const ROUTER: &str = "fd00:0:0:1::1";

/// Solicit, transaction 0xabcdef, an elapsed time of nothing.
const SOLICIT: [u8; 10] = [1, 0xab, 0xcd, 0xef, 0, 8, 0, 2, 0, 0];
/// Advertise of the same transaction, without options.
const ADVERTISE: [u8; 4] = [2, 0xab, 0xcd, 0xef];
/// Interface-Id of the station in overlay 100: VNI and MAC address.
const INTERFACE_ID: [u8; 14] = [0, 18, 0, 10, 0, 0, 0, 100, 2, 0, 0, 0, 1, 1];

/// Type, hop count, link fd00:0:0:1::1, peer fe80::10, options.
fn relayed(type_: u8, options: &[&[u8]]) -> Vec<u8> {
    let link = [0xfd, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1];
    let peer = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10];
    [&[type_, 0][..], &link, &peer, &options.concat()].concat()
}

/// The option that carries a message.
fn carrying(message: &[u8]) -> Vec<u8> {
    [&[0, 9, 0, message.len() as u8], message].concat()
}

fn from_station(source: &str, destination: &str, ports: (u16, u16), message: &[u8]) -> Vec<u8> {
    let mac = if destination == ALL_AGENTS { ALL_AGENTS_MAC } else { ROUTER_MAC };
    vxlan(ENDPOINT_V6, 100, &frame((STATION_MAC, mac), (source, destination), ports, message))
}

fn reply(message: &[u8]) -> Vec<u8> {
    from_server((SERVER_V6, ROUTER), RELAY_PORTS, message)
}

#[test]
fn a_clients_message_goes_to_the_server() {
    let mut gateway = gateway();
    let link_local = ROUTER_MAC.link_local().to_string();
    for destination in [ALL_AGENTS, &link_local, ROUTER] {
        let sent =
            to_servers(&gateway.send(UNDERLAY, &from_station(CLIENT, destination, FROM_CLIENT, &SOLICIT)));
        let expected = Sent {
            source: ROUTER.to_owned(),
            destination: SERVER_V6.to_owned(),
            hop_limit: 64,
            ports: RELAY_PORTS,
            payload: relayed(12, &[&INTERFACE_ID, &[0, 9, 0, 10], &SOLICIT]),
        };
        assert_eq!(sent, [expected]);
    }
    assert_counted(&gateway, [3, 0, 0, 0]);
}

#[test]
fn a_servers_message_goes_to_its_client() {
    let mut gateway = gateway();
    let expected = || Sent {
        source: ROUTER_MAC.link_local().to_string(),
        destination: CLIENT.to_owned(),
        hop_limit: 64,
        ports: (547, 546),
        payload: ADVERTISE.to_vec(),
    };
    // In either order.
    for options in [[&INTERFACE_ID[..], &carrying(&ADVERTISE)], [&carrying(&ADVERTISE), &INTERFACE_ID]] {
        let sent = to_stations(&gateway.send(UPLINK, &reply(&relayed(13, &options))));
        assert_eq!(sent, [(STATION_MAC, expected())]);
    }
    // One that is not known is looked for behind all endpoints.
    let mut interface_id = INTERFACE_ID;
    interface_id[8..].copy_from_slice(&STRANGER_MAC.0);
    let sent =
        to_stations(&gateway.send(UPLINK, &reply(&relayed(13, &[&interface_id, &carrying(&ADVERTISE)]))));
    assert_eq!(sent, [(STRANGER_MAC, expected()), (STRANGER_MAC, expected())]);
    assert_counted(&gateway, [0, 3, 0, 0]);
}

#[test]
fn stations_are_clients_only() {
    let mut gateway = gateway();
    let to_all = |message: &[u8]| from_station(CLIENT, ALL_AGENTS, FROM_CLIENT, message);
    let link_local = ROUTER_MAC.link_local().to_string();
    let mut refused = vec![
        ("a relay agent", to_all(&relayed(12, &[&carrying(&SOLICIT)]))),
        ("a server's relay", to_all(&relayed(13, &[&INTERFACE_ID, &carrying(&ADVERTISE)]))),
        ("from a global address", from_station("fd00:0:0:1::10", ALL_AGENTS, FROM_CLIENT, &SOLICIT)),
        ("to clients", from_station(CLIENT, &link_local, (547, 546), &ADVERTISE)),
        ("an unknown type", to_all(&[99, 1, 2, 3])),
        ("a lying option", to_all(&[1, 1, 2, 3, 0, 8, 0, 200, 0, 0])),
        ("half an option", to_all(&[1, 1, 2, 3, 0, 8])),
        ("truncated", to_all(&SOLICIT[..3])),
        ("empty", to_all(&[])),
        ("to another group", from_station(CLIENT, "ff05::1:3", FROM_CLIENT, &SOLICIT)),
    ];
    for type_ in [2, 7, 10] {
        refused.push(("a server", to_all(&[type_, 0xab, 0xcd, 0xef])));
    }
    let macs = (STATION_MAC, ALL_AGENTS_MAC);
    let mut no_checksum = frame(macs, (CLIENT, ALL_AGENTS), FROM_CLIENT, &SOLICIT);
    no_checksum[14 + 40 + 6..][..2].fill(0);
    refused.push(("no checksum", vxlan(ENDPOINT_V6, 100, &no_checksum)));
    for (what, frame) in &refused {
        let before = gateway.done(Deed::DhcpRefused);
        assert!(gateway.send(UNDERLAY, frame).is_empty(), "{what}");
        assert_eq!(gateway.done(Deed::DhcpRefused), before + 1, "{what}");
    }
    assert_counted(&gateway, [0, 0, refused.len() as u64, 0]);
}

#[test]
fn replies_come_from_the_server_for_their_overlay() {
    let mut gateway = gateway();
    let carried = carrying(&ADVERTISE);
    let good = relayed(13, &[&INTERFACE_ID, &carried]);
    let with = |interface_id: &[u8]| relayed(13, &[interface_id, &carried]);
    let changed = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let mut refused = vec![
        ("from a stranger", from_server(("2001:db8:547::2", ROUTER), RELAY_PORTS, &good)),
        ("for another overlay", from_server((SERVER_V6, "fd00:0:0:2::1"), RELAY_PORTS, &good)),
        ("to clients", from_server((SERVER_V6, ROUTER), (547, 546), &ADVERTISE)),
    ];
    for (what, message) in [
        ("of another overlay", with(&[0, 18, 0, 10, 0, 0, 0, 200, 2, 0, 0, 0, 1, 1])),
        ("of no overlay", with(&[0, 18, 0, 10, 0, 0, 0, 0, 2, 0, 0, 0, 1, 1])),
        ("of an overlay that cannot be", with(&[0, 18, 0, 10, 1, 0, 0, 100, 2, 0, 0, 0, 1, 1])),
        ("to a group", with(&[0, 18, 0, 10, 0, 0, 0, 100, 0x33, 0x33, 0, 0, 0, 1])),
        ("another's Interface-Id", with(&[0, 18, 0, 4, 0, 0, 0, 100])),
        ("no Interface-Id", relayed(13, &[&carried])),
        ("nothing inside", relayed(13, &[&INTERFACE_ID])),
        ("a global peer", changed(18, 0xfd)),
        ("a group as peer", changed(18, 0xff)),
        ("a request", changed(0, 12)),
        ("a plain message", ADVERTISE.to_vec()),
        ("a client's message inside", relayed(13, &[&INTERFACE_ID, &carrying(&SOLICIT)])),
        ("a relay agent's inside", relayed(13, &[&INTERFACE_ID, &carrying(&good)])),
        ("a lying option", relayed(13, &[&INTERFACE_ID, &[0, 9, 0, 200], &ADVERTISE])),
        ("truncated", good[..33].to_vec()),
        ("empty", Vec::new()),
    ] {
        refused.push((what, reply(&message)));
    }
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
        let frame = from_station(CLIENT, ALL_AGENTS, FROM_CLIENT, &SOLICIT);
        assert!(gateway.send(UNDERLAY, &frame).is_empty());
        assert_counted(&gateway, [0, 0, 0, 1]);
    }
}
