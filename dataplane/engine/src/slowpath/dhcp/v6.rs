//! DHCPv6 (RFC 8415 §19).

use std::net::{IpAddr, Ipv6Addr};

use wire::dhcpv6::{
    ALL_RELAY_AGENTS_AND_SERVERS, CLIENT_PORT, Dhcpv6Options, Dhcpv6Packet, Dhcpv6RelayPacket,
    Dhcpv6RelayRepr, RelayType, SERVER_PORT,
};
use wire::ipv6::{self, Ipv6Packet, Ipv6Repr};
use wire::udp::{self, UdpPacket, UdpRepr};
use wire::{EtherType, IpProtocol, MacAddr, Vni};

use super::{Datagram, HOP_LIMIT, Reply, fits_uplinks, require, unreadable};
use crate::api::Overlay;
use crate::slowpath::{Deed, Output, Received};
use crate::tables::Snapshot;

/// What the server sends back of a client: which overlay it is in, and its MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct InterfaceId {
    vni: Vni,
    station: MacAddr,
}

impl InterfaceId {
    /// The VNI, 32 bits big-endian, and the MAC address.
    fn to_bytes(self) -> [u8; 10] {
        let ([a, b, c, d], [m, n, o, p, q, r]) = (self.vni.value().to_be_bytes(), self.station.0);
        [a, b, c, d, m, n, o, p, q, r]
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let &[a, b, c, d, m, n, o, p, q, r] = bytes else { return None };
        let vni = Vni::new(u32::from_be_bytes([a, b, c, d]))?;
        Some(Self { vni, station: MacAddr([m, n, o, p, q, r]) })
    }
}

/// A client's message to the servers, in a Relay-forward each.
pub(super) fn to_servers(
    tables: &Snapshot,
    overlay: &Overlay,
    received: &Received<'_>,
) -> Result<Vec<Output>, Deed> {
    let datagram = read(received.packet).map_err(unreadable)?;
    let Datagram { source: client, destination, destination_port, payload: message } = datagram;
    let link_local = tables.fixed.router_link_local;
    require(destination_port == SERVER_PORT)?;
    require(
        destination == ALL_RELAY_AGENTS_AND_SERVERS || overlay.is_router(destination.into(), link_local),
    )?;
    require(client.is_unicast_link_local() && client != link_local)?;
    let view = Dhcpv6Packet::new_checked(message).map_err(unreadable)?;
    // Stations are clients: a relay agent among them could ask in the name of others.
    require(view.message_type().is_from_client())?;
    require(Dhcpv6Options::new(view.options()).all(|option| option.is_ok()))?;

    let router = first_router(overlay).ok_or(Deed::NotServed)?;
    let interface_id = InterfaceId { vni: overlay.vni, station: received.sender }.to_bytes();
    let forward = Dhcpv6RelayRepr::forward(message, router, client, &interface_id).map_err(unreadable)?;
    let mut request = vec![0; forward.buffer_len()];
    forward.emit(&mut request);
    let mut outputs = Vec::new();
    for server in &overlay.policy.dhcp_servers {
        if let IpAddr::V6(server) = *server {
            let packet = packet(router, server, SERVER_PORT, &request);
            fits_uplinks(tables, &packet)?;
            outputs.push(Output::Outer(packet));
        }
    }
    if outputs.is_empty() { Err(Deed::NotServed) } else { Ok(outputs) }
}

/// A server's message to a station, out of its Relay-reply.
pub(super) fn to_station(tables: &Snapshot, received: &Received<'_>) -> Result<Reply, Deed> {
    let overlay = tables.overlays.get(received.overlay);
    let datagram = read(received.packet).map_err(unreadable)?;
    require(datagram.destination_port == SERVER_PORT)?;
    require(overlay.policy.dhcp_servers.contains(&IpAddr::V6(datagram.source)))?;
    require(overlay.subnets.iter().any(|subnet| subnet.router == datagram.destination))?;
    let relayed = Dhcpv6RelayPacket::new_checked(datagram.payload).map_err(unreadable)?;
    let reply = Dhcpv6RelayRepr::parse(&relayed).map_err(unreadable)?;
    require(reply.type_ == RelayType::Reply && reply.peer.is_unicast_link_local())?;
    let interface_id = reply.interface_id.and_then(InterfaceId::parse).ok_or(Deed::DhcpRefused)?;
    require(interface_id.vni == overlay.vni && interface_id.station.is_unicast())?;
    // No relay agent is behind us, so what is inside is for the client.
    let message = Dhcpv6Packet::new_checked(reply.message).map_err(unreadable)?;
    require(message.message_type().is_from_server())?;

    let packet = packet(tables.fixed.router_link_local, reply.peer, CLIENT_PORT, reply.message);
    require(packet.len() <= overlay.mtu.into())?;
    let station = interface_id.station;
    Ok(Reply { station, mac: station, ethertype: EtherType::Ipv6, packet })
}

/// The address by which servers tell the overlay.
fn first_router(overlay: &Overlay) -> Option<Ipv6Addr> {
    overlay.subnets.iter().find_map(|subnet| match subnet.router {
        IpAddr::V6(router) => Some(router),
        IpAddr::V4(_) => None,
    })
}

fn read(packet: &[u8]) -> Result<Datagram<'_, Ipv6Addr>, wire::Error> {
    let view = Ipv6Packet::new_checked(packet)?;
    let (source, destination) = (view.src(), view.dst());
    let udp = UdpPacket::new_checked(&packet[ipv6::HEADER_LEN..view.total_len()])?;
    if !udp.verify_checksum_v6(source, destination) {
        return Err(wire::Error::BadChecksum);
    }
    let (destination_port, len) = (udp.dst_port(), udp.len());
    Ok(Datagram { source, destination, destination_port, payload: &udp.into_inner()[udp::HEADER_LEN..len] })
}

/// A datagram from the port of relay agents.
fn packet(src: Ipv6Addr, dst: Ipv6Addr, port: u16, payload: &[u8]) -> Vec<u8> {
    let len = udp::HEADER_LEN + payload.len();
    let header = Ipv6Repr {
        src,
        dst,
        next_header: IpProtocol::Udp,
        hop_limit: HOP_LIMIT,
        traffic_class: 0,
        flow_label: 0,
        payload_len: len as u16,
    };
    let mut packet = vec![0; ipv6::HEADER_LEN + len];
    header.emit(&mut packet);
    let datagram = &mut packet[ipv6::HEADER_LEN..];
    datagram[udp::HEADER_LEN..].copy_from_slice(payload);
    UdpRepr { src_port: SERVER_PORT, dst_port: port }.emit_v6(datagram, src, dst);
    packet
}
