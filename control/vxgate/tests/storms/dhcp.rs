//! DHCP that lies: clients, and servers that are none.

use std::net::Ipv4Addr;

use lab::{Family, ROUTER_MAC, Scene, Topology};
use wire::{MacAddr, dhcpv4, dhcpv6, ndp};

use crate::effect::Effect;
use crate::frames::{Flow, ethernet};
use crate::stage::{Attack, From, RATE, Stage, v4, v6};

/// DHCPv4: a request (`operation` 1) or reply (2) of a client, with options.
pub(crate) fn message_v4(operation: u8, client: MacAddr, options: &[u8]) -> Vec<u8> {
    let mut message = vec![0; dhcpv4::HEADER_LEN];
    message[..3].copy_from_slice(&[operation, 1, 6]);
    message[28..34].copy_from_slice(&client.0);
    message[236..240].copy_from_slice(&[99, 130, 83, 99]);
    message.extend_from_slice(options);
    message.resize(message.len().max(dhcpv4::MIN_LEN), 0);
    message
}

/// The same without the padding after which lies about length would be true.
fn short(client: MacAddr, options: &[u8]) -> Vec<u8> {
    let mut message = message_v4(1, client, options);
    message.truncate(dhcpv4::HEADER_LEN + options.len());
    message
}

/// DHCPv6: a message of a client or server, with options.
pub(crate) fn message_v6(kind: u8, options: &[u8]) -> Vec<u8> {
    [&[kind, 1, 2, 3], options].concat()
}

/// An option of DHCPv6.
fn option_v6(kind: u16, data: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &(data.len() as u16).to_be_bytes(), data].concat()
}

/// A message of relay agents (RFC 8415 §9): type, hops, two addresses, and what it carries.
fn relayed(kind: u8, hops: u8, peer: std::net::Ipv6Addr, options: &[u8]) -> Vec<u8> {
    [&[kind, hops][..], &[0; 16], &peer.octets(), options].concat()
}

/// Options that lie about their length, what only relay agents add, and relayed messages in one another.
pub(crate) fn lying_clients(stage: &mut Stage) -> Effect {
    const DISCOVER: [u8; 3] = [53, 1, 1];
    const SOLICIT: u8 = 1;
    const RELAY_FORWARD: u8 = 12;
    const RELAY_MESSAGE: u16 = 9;
    let hostile = stage.hostile[1];
    let with = |options: &[u8]| [&DISCOVER, options].concat();
    let good = message_v4(1, hostile.mac, &with(&[255]));
    let patched = |at: usize, bytes: &[u8]| {
        let mut message = good.clone();
        message[at..at + bytes.len()].copy_from_slice(bytes);
        message
    };
    let v4_messages = [
        short(hostile.mac, &with(&[61, 200, 1, 2])),
        short(hostile.mac, &with(&[61, 255])),
        short(hostile.mac, &with(&[61])),
        message_v4(1, hostile.mac, &with(&[82, 4, 1, 2, 0, 0, 255])),
        message_v4(1, hostile.mac, &with(&[82, 255, 1, 255, 255])),
        // Hops, the relay agent's address, somebody else's MAC address, and its length.
        patched(3, &[255]),
        patched(24, &[10, 1, 0, 1]),
        patched(28, &[2, 0, 0, 0, 0, 1]),
        patched(2, &[255]),
        good[..200].to_vec(),
    ];
    let own = hostile.mac.link_local();
    let solicit = message_v6(SOLICIT, &[]);
    let nested = (0..100).fold(solicit.clone(), |inner, hops| {
        // What would not fit a packet any more lies about its length.
        let whole = relayed(RELAY_FORWARD, hops, own, &option_v6(RELAY_MESSAGE, &inner));
        whole[..whole.len().min(1200)].to_vec()
    });
    let v6_messages = [
        nested,
        relayed(RELAY_FORWARD, 0, own, &option_v6(RELAY_MESSAGE, &solicit)),
        message_v6(SOLICIT, &[0, 1, 255, 255, 1, 2]),
        message_v6(SOLICIT, &[0, 1, 0]),
        message_v6(SOLICIT, &[&option_v6(1, &[1; 10])[..], &[0, 9, 0, 1]].concat()),
        solicit[..3].to_vec(),
    ];
    let (client_v4, server_v4) = (dhcpv4::CLIENT_PORT, dhcpv4::SERVER_PORT);
    let from_nobody = Flow::new(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST);
    let to_router = Flow::new(hostile.ipv4(), hostile.site.address(Family::V4, 1));
    let v4_frames = v4_messages.iter().flat_map(|message| {
        [(MacAddr::BROADCAST, from_nobody), (ROUTER_MAC, to_router)]
            .map(|(to, flow)| hostile.send(to, &flow.udp(client_v4, server_v4, message)))
    });
    let group = dhcpv6::ALL_RELAY_AGENTS_AND_SERVERS;
    let v6_frames = v6_messages.iter().map(|message| {
        let packet = Flow::new(own, group).udp(dhcpv6::CLIENT_PORT, dhcpv6::SERVER_PORT, message);
        hostile.send(ndp::multicast_mac(group), &packet)
    });
    let frames = v4_frames.chain(v6_frames).collect();
    let name = "DHCP of lying clients";
    refused(stage.play(Attack { name, from: From::Endpoint(Family::V6), rate: RATE, frames }))
}

/// Replies from a host that is no server, and in a server's name what that one cannot have said.
pub(crate) fn false_servers(stage: &mut Stage) -> Effect {
    const ACK: [u8; 3] = [53, 1, 5];
    const REPLY: u8 = 7;
    const RELAY_REPLY: u8 = 13;
    const RELAY_MESSAGE: u16 = 9;
    const INTERFACE_ID: u16 = 18;
    let hostile = stage.hostile[0];
    let station = stage.scene.stations[0].host.nic.mac;
    let [router_v4, router_v6] = hostile.site.routers();
    let reply_v4 = |options: &[u8]| {
        let mut message = message_v4(2, station, &[&ACK, options, &[255]].concat());
        message[16..20].copy_from_slice(&v4(hostile.site.address(Family::V4, 77)).octets());
        message[24..28].copy_from_slice(&v4(router_v4).octets());
        message
    };
    let interface_id = |vni: u32| option_v6(INTERFACE_ID, &[&vni.to_be_bytes()[..], &station.0].concat());
    let own_id = interface_id(hostile.site.vni.value());
    let message = option_v6(RELAY_MESSAGE, &message_v6(REPLY, &[]));
    let reply_v6 = |options: &[&[u8]]| relayed(RELAY_REPLY, 0, station.link_local(), &options.concat());
    let nested = option_v6(RELAY_MESSAGE, &reply_v6(&[&own_id, &message]));

    let other = stage.hostile[1].site.vni.value();
    let [a, b, c, d] = other.to_be_bytes();
    let (no_server, server) = (
        Family::BOTH.map(|family| Topology::UPLINK.address(family, Scene::NEIGHBOUR)),
        Family::BOTH.map(|family| stage.scene.outer_address(family)),
    );
    let v4_replies = [
        (no_server[0], reply_v4(&[])),
        (server[0], reply_v4(&[82, 6, 1, 4, a, b, c, d])),
        (server[0], reply_v4(&[82, 6, 1, 200, a, b, c, d])),
        (server[0], reply_v4(&[])[..230].to_vec()),
    ];
    let v6_replies = [
        (no_server[1], reply_v6(&[&own_id, &message])),
        (server[1], reply_v6(&[&interface_id(other), &message])),
        (server[1], reply_v6(&[&message])),
        (server[1], reply_v6(&[&own_id, &nested])),
        (server[1], reply_v6(&[&own_id, &message[..5]])),
    ];
    let (to, from) = (stage.scene.topology.uplink0.mac, stage.scene.neighbour.nic.mac);
    let (port_v4, port_v6) = (dhcpv4::SERVER_PORT, dhcpv6::SERVER_PORT);
    let v4_packets = v4_replies.map(|(from, reply)| Flow::new(from, router_v4).udp(port_v4, port_v4, &reply));
    let v6_packets =
        v6_replies.map(|(from, reply)| Flow::new(from, v6(router_v6)).udp(port_v6, port_v6, &reply));
    let frames = v4_packets.iter().chain(&v6_packets).map(|packet| ethernet(to, from, packet)).collect();
    refused(stage.play(Attack { name: "DHCP of false servers", from: From::Uplink, rate: RATE, frames }))
}

/// Whatever the limits let the slow path know of was refused.
fn refused(effect: Effect) -> Effect {
    let all = effect.rise("host handed over");
    effect
        .limited("host")
        .counted("dhcp_refused", all..=all)
        .counted_none(&["dhcp_relayed", "dhcp_replied", "learned"])
        .unanswered()
}
