//! DHCPv4 (RFC 2131 §4.1, RFC 1542 §4.1, RFC 3046).

use std::net::{IpAddr, Ipv4Addr};

use wire::dhcpv4::{self, CLIENT_PORT, Dhcpv4Packet, MAX_HOPS, Operation, SERVER_PORT};
use wire::ipv4::{self, Ipv4Packet, Ipv4Repr};
use wire::udp::{self, UdpPacket, UdpRepr};
use wire::{EtherType, IpProtocol, MacAddr, Vni};

use super::{Datagram, HOP_LIMIT, Reply, fits_uplinks, require, unreadable};
use crate::api::Overlay;
use crate::slowpath::{Deed, Output, Received};
use crate::tables::Snapshot;

/// The circuit identifier: the VNI, 32 bits big-endian. The remote identifier is the station's MAC address.
fn circuit_id(vni: Vni) -> [u8; 4] {
    vni.value().to_be_bytes()
}

/// A client's message to the servers.
pub(super) fn to_servers(
    tables: &Snapshot,
    overlay: &Overlay,
    received: &Received<'_>,
) -> Result<Vec<Output>, Deed> {
    let datagram = read(received.packet).map_err(unreadable)?;
    require(datagram.destination_port == SERVER_PORT)?;
    require(datagram.destination.is_broadcast() || is_router(overlay, datagram.destination))?;
    let message = Dhcpv4Packet::new_checked(datagram.payload).map_err(unreadable)?;
    require(message.operation() == Operation::Request)?;
    require(message.client_mac() == Some(received.sender))?;
    // Stations are clients: a relay agent among them could ask in the name of others.
    require(message.relay_agent().is_unspecified() && message.hops() < MAX_HOPS)?;
    let hops = message.hops() + 1;
    let mut request = Vec::with_capacity(datagram.payload.len() + 32);
    dhcpv4::append_relay_agent(datagram.payload, &circuit_id(overlay.vni), &received.sender.0, &mut request)
        .map_err(unreadable)?;

    let router = first_router(overlay).ok_or(Deed::NotServed)?;
    let mut request = Dhcpv4Packet::new_checked(request).map_err(unreadable)?;
    request.set_hops(hops);
    request.set_relay_agent(router);
    let request = request.into_inner();
    let mut outputs = Vec::new();
    for server in &overlay.policy.dhcp_servers {
        if let IpAddr::V4(server) = *server {
            let packet = packet(router, server, SERVER_PORT, &request);
            fits_uplinks(tables, &packet)?;
            outputs.push(Output::Outer(packet));
        }
    }
    if outputs.is_empty() { Err(Deed::NotServed) } else { Ok(outputs) }
}

/// A server's message to a station.
pub(super) fn to_station(tables: &Snapshot, received: &Received<'_>) -> Result<Reply, Deed> {
    let overlay = tables.overlays.get(received.overlay);
    let datagram = read(received.packet).map_err(unreadable)?;
    require(datagram.destination_port == SERVER_PORT)?;
    require(overlay.policy.dhcp_servers.contains(&IpAddr::V4(datagram.source)))?;
    let message = Dhcpv4Packet::new_checked(datagram.payload).map_err(unreadable)?;
    require(message.operation() == Operation::Reply)?;
    let router = message.relay_agent();
    require(router == datagram.destination && is_router(overlay, router))?;
    let information = message.relay_agent_information().map_err(unreadable)?;
    // A server need not send it back (RFC 3046 §2.2); if it does, it must be what this overlay's requests say.
    let circuit = information.and_then(|information| information.circuit_id);
    require(circuit.is_none_or(|circuit| circuit == circuit_id(overlay.vni)))?;
    let station = message.client_mac().filter(|mac| mac.is_unicast()).ok_or(Deed::DhcpRefused)?;
    let mut reply = Vec::with_capacity(datagram.payload.len());
    dhcpv4::strip_relay_agent(datagram.payload, &mut reply).map_err(unreadable)?;

    // RFC 1542 §4.1.2, RFC 2131 §4.1: the station does not have the address yet, so nobody is asked for its MAC address.
    let (destination, mac) = if message.broadcast() || message.your_ip().is_unspecified() {
        (Ipv4Addr::BROADCAST, MacAddr::BROADCAST)
    } else {
        (message.your_ip(), station)
    };
    let packet = packet(router, destination, CLIENT_PORT, &reply);
    require(packet.len() <= overlay.mtu.into())?;
    Ok(Reply { station, mac, ethertype: EtherType::Ipv4, packet })
}

fn is_router(overlay: &Overlay, address: Ipv4Addr) -> bool {
    overlay.subnets.iter().any(|subnet| subnet.router == address)
}

/// The address by which servers tell the overlay.
fn first_router(overlay: &Overlay) -> Option<Ipv4Addr> {
    overlay.subnets.iter().find_map(|subnet| match subnet.router {
        IpAddr::V4(router) => Some(router),
        IpAddr::V6(_) => None,
    })
}

fn read(packet: &[u8]) -> Result<Datagram<'_, Ipv4Addr>, wire::Error> {
    let view = Ipv4Packet::new_checked(packet)?;
    let header = Ipv4Repr::parse(&view)?;
    let udp = UdpPacket::new_checked(&packet[view.header_len()..view.total_len()])?;
    if !udp.verify_checksum_v4(header.src, header.dst) {
        return Err(wire::Error::BadChecksum);
    }
    let (destination_port, len) = (udp.dst_port(), udp.len());
    let payload = &udp.into_inner()[udp::HEADER_LEN..len];
    Ok(Datagram { source: header.src, destination: header.dst, destination_port, payload })
}

/// A datagram from the port of relay agents.
fn packet(src: Ipv4Addr, dst: Ipv4Addr, port: u16, payload: &[u8]) -> Vec<u8> {
    let len = udp::HEADER_LEN + payload.len();
    let header = Ipv4Repr {
        src,
        dst,
        protocol: IpProtocol::Udp,
        ttl: HOP_LIMIT,
        dscp_ecn: 0,
        ident: 0,
        // What is never fragmented needs no identification (RFC 6864 §4.1).
        dont_fragment: true,
        payload_len: len as u16,
    };
    let mut packet = vec![0; ipv4::HEADER_LEN + len];
    header.emit(&mut packet);
    let datagram = &mut packet[ipv4::HEADER_LEN..];
    datagram[udp::HEADER_LEN..].copy_from_slice(payload);
    UdpRepr { src_port: SERVER_PORT, dst_port: port }.emit_v4(datagram, src, dst);
    packet
}
