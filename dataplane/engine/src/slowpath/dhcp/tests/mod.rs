//! Relaying as stations and servers see it.

mod hostile;
mod v4;
mod v6;

use std::sync::Arc;

use etherparse::{NetSlice, SlicedPacket, TransportSlice};

use super::*;
use crate::api::{Config, OverlayPolicy, PortIndex, Subnet};
use crate::testing::packets::{Udp, vxlan};
use crate::testing::*;

const SERVER_V4: &str = "203.0.113.67";
const OTHER_SERVER_V4: &str = "203.0.113.68";
const SERVER_V6: &str = "2001:db8:547::1";
const STRANGER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 9, 9]);

/// The example gateway with servers, and a second subnet in its first overlay.
fn relaying() -> Config {
    let dhcp_servers = [SERVER_V4, OTHER_SERVER_V4, SERVER_V6].map(|server| server.parse().unwrap()).to_vec();
    let policy = Arc::new(OverlayPolicy { dhcp_servers, ..OverlayPolicy::default() });
    let mut config = config();
    let (prefix, router) = ("10.0.3.0/24".parse().unwrap(), "10.0.3.1".parse().unwrap());
    config.overlays[0].subnets.push(Subnet { prefix, router });
    config.overlays.iter_mut().for_each(|overlay| overlay.policy = Arc::clone(&policy));
    config
}

fn gateway() -> Harness {
    let mut gateway = Harness::with(relaying());
    gateway.apply(updates());
    gateway
}

fn frame(macs: (MacAddr, MacAddr), addresses: (&str, &str), ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let mut udp = Udp::new(macs, addresses.0, addresses.1).ports(ports.0, ports.1);
    udp.payload = payload.to_vec();
    udp.frame()
}

/// A frame of the servers' network at the uplink.
fn from_server(addresses: (&str, &str), ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    frame((OUTER_ROUTER_MAC, UPLINK_MAC), addresses, ports, payload)
}

/// What a UDP packet says, its checksums verified.
#[derive(Debug, PartialEq, Eq)]
struct Sent {
    source: String,
    destination: String,
    hop_limit: u8,
    ports: (u16, u16),
    payload: Vec<u8>,
}

#[track_caller]
fn decode(packet: &[u8]) -> Sent {
    let sliced = SlicedPacket::from_ip(packet).unwrap();
    let Some(TransportSlice::Udp(udp)) = &sliced.transport else { panic!("no UDP") };
    let (header, payload) = (udp.to_header(), udp.payload().to_vec());
    let ports = (header.source_port, header.destination_port);
    match &sliced.net {
        Some(NetSlice::Ipv4(ip)) => {
            let ip = ip.header();
            assert_eq!(ip.header_checksum(), ip.to_header().calc_header_checksum());
            let checksum = header.calc_checksum_ipv4_raw(ip.source(), ip.destination(), &payload).unwrap();
            assert_eq!(header.checksum, checksum);
            let (source, destination) = (ip.source_addr().to_string(), ip.destination_addr().to_string());
            Sent { source, destination, hop_limit: ip.ttl(), ports, payload }
        }
        Some(NetSlice::Ipv6(ip)) => {
            let ip = ip.header();
            let checksum = header.calc_checksum_ipv6_raw(ip.source(), ip.destination(), &payload).unwrap();
            assert_eq!(header.checksum, checksum);
            let (source, destination) = (ip.source_addr().to_string(), ip.destination_addr().to_string());
            Sent { source, destination, hop_limit: ip.hop_limit(), ports, payload }
        }
        other => panic!("no IP: {other:?}"),
    }
}

/// What goes to servers, by the uplink's router.
#[track_caller]
fn to_servers(out: &[(PortIndex, Vec<u8>)]) -> Vec<Sent> {
    let sent = out.iter().map(|(port, frame)| {
        assert_eq!((*port, &frame[..6]), (UPLINK, &OUTER_ROUTER_MAC.0[..]));
        decode(&frame[14..])
    });
    sent.collect()
}

/// What goes to stations of overlay 100: the frame's destination, and the packet.
#[track_caller]
fn to_stations(out: &[(PortIndex, Vec<u8>)]) -> Vec<(MacAddr, Sent)> {
    let sent = out.iter().map(|(port, frame)| {
        assert_eq!(*port, UNDERLAY);
        let outer = SlicedPacket::from_ethernet(frame).unwrap();
        let Some(TransportSlice::Udp(udp)) = &outer.transport else { panic!("no UDP") };
        let (vxlan, inner) = udp.payload().split_at(8);
        assert_eq!(vxlan, [8, 0, 0, 0, 0, 0, 100, 0]);
        assert_eq!(inner[6..12], ROUTER_MAC.0);
        (MacAddr(inner[..6].try_into().unwrap()), decode(&inner[14..]))
    });
    sent.collect()
}

#[track_caller]
fn assert_counted(gateway: &Harness, expected: [u64; 4]) {
    let deeds = [Deed::DhcpRelayed, Deed::DhcpReplied, Deed::DhcpRefused, Deed::NotServed];
    assert_eq!(deeds.map(|deed| gateway.done(deed)), expected, "relayed, replied, refused, not served");
}
