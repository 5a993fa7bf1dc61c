//! DHCP between stations and servers in the outer network, relayed.
//!
//! The relay keeps no state. What it must know to deliver a reply comes back with it: the router's address says which
//! overlay it is for, and the message which station. So any gateway can deliver what was asked through another.

mod v4;
mod v6;

use std::net::IpAddr;

use wire::udp;
use wire::{EtherType, IpProtocol, MacAddr, dhcpv4, dhcpv6};

use super::{Deed, Origin, Output, Received, Tally};
use crate::pipeline::ip::IpHeader;
use crate::tables::{OverlayIndex, Snapshot};

/// TTL and hop limit of what is relayed.
const HOP_LIMIT: u8 = 64;

/// A UDP datagram whose checksum is right, and its addresses.
struct Datagram<'a, A> {
    source: A,
    destination: A,
    destination_port: u16,
    payload: &'a [u8],
}

/// A packet for a station that has asked.
struct Reply {
    station: MacAddr,
    /// The frame's destination: the station or all.
    mac: MacAddr,
    ethertype: EtherType,
    packet: Vec<u8>,
}

impl Reply {
    /// To the station's endpoint, or to all of the overlay if that is not known.
    fn deliver(
        self,
        overlay: OverlayIndex,
        locate: impl FnOnce(OverlayIndex, MacAddr) -> Option<IpAddr>,
    ) -> Output {
        let Self { station, mac, ethertype, packet: payload } = self;
        match locate(overlay, station) {
            Some(endpoint) => Output::Station { overlay, endpoint, mac, ethertype, payload },
            None => Output::Flood { overlay, mac, ethertype, payload },
        }
    }
}

/// Whether `received` is UDP to a port of DHCP: that of servers and relay agents, or that of clients.
pub(super) fn is_dhcp(received: &Received<'_>) -> bool {
    let Ok(header) = IpHeader::parse(received.ethertype, received.packet) else { return false };
    let ports = match header.ethertype() {
        EtherType::Ipv4 => [dhcpv4::SERVER_PORT, dhcpv4::CLIENT_PORT],
        _ => [dhcpv6::SERVER_PORT, dhcpv6::CLIENT_PORT],
    };
    header.is(IpProtocol::Udp)
        && header.upper_layer(received.packet, 0, udp::HEADER_LEN).is_some_and(|udp| {
            let port = u16::from_be_bytes([udp[2], udp[3]]);
            ports.contains(&port)
        })
}

/// What becomes of a message for which [`is_dhcp`] holds: a client's goes to the servers, a server's to the client, whose
/// endpoint `locate` knows by its MAC address.
pub(super) fn relay(
    tables: &Snapshot,
    received: &Received<'_>,
    tally: &Tally,
    locate: impl FnOnce(OverlayIndex, MacAddr) -> Option<IpAddr>,
) -> Vec<Output> {
    let is_v4 = received.ethertype == EtherType::Ipv4;
    let relayed = match received.origin {
        Origin::Station { overlay, .. } => {
            let is_owner = tables.overlays.is_owner(overlay);
            let overlay = tables.overlays.get(overlay);
            let outputs = match is_v4 {
                true => v4::to_servers(tables, overlay, received),
                false => v6::to_servers(tables, overlay, received),
            }
            // The owner has the request too.
            .and_then(|outputs| if is_owner { Ok(outputs) } else { Err(Deed::NotServed) });
            outputs.map(|outputs| (Deed::DhcpRelayed, outputs))
        }
        Origin::Outer => {
            let reply = match is_v4 {
                true => v4::to_station(tables, received),
                false => v6::to_station(tables, received),
            };
            reply.map(|reply| (Deed::DhcpReplied, vec![reply.deliver(received.overlay, locate)]))
        }
    };
    match relayed {
        Ok((deed, outputs)) => {
            tally.count(deed);
            outputs
        }
        Err(deed) => {
            tally.count(deed);
            Vec::new()
        }
    }
}

/// A message that is refused unless this `holds`.
fn require(holds: bool) -> Result<(), Deed> {
    if holds { Ok(()) } else { Err(Deed::DhcpRefused) }
}

/// A message that is refused because it cannot be read.
fn unreadable(_: wire::Error) -> Deed {
    Deed::DhcpRefused
}

/// A packet is refused that an uplink could not carry.
fn fits_uplinks(tables: &Snapshot, packet: &[u8]) -> Result<(), Deed> {
    let mut uplinks = tables.fixed.ports.iter().filter(|port| port.role.is_uplink());
    require(uplinks.all(|port| packet.len() <= port.mtu.into()))
}

#[cfg(test)]
mod tests;
