//! Frames for tests, built by an independent encoder.

use std::net::IpAddr;

use etherparse::{EtherType, IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, PacketBuilder};
use wire::MacAddr;

use super::{ENDPOINT_MAC, ROUTER_MAC, STATION_MAC, UNDERLAY_MAC};

/// What a UDP packet is made of.
#[derive(Clone, Debug)]
pub(crate) struct Udp {
    pub(crate) macs: (MacAddr, MacAddr),
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) ports: (u16, u16),
    pub(crate) ttl: u8,
    pub(crate) payload: Vec<u8>,
}

impl Udp {
    /// From the station of overlay 100 through the router.
    pub(crate) fn from_station(source: &str, destination: &str) -> Self {
        Self::new((STATION_MAC, ROUTER_MAC), source, destination)
    }

    pub(crate) fn new(macs: (MacAddr, MacAddr), source: &str, destination: &str) -> Self {
        Self {
            macs,
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            ports: (4000, 5000),
            ttl: 64,
            payload: b"sixteen bytes!!!".to_vec(),
        }
    }

    pub(crate) fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    pub(crate) fn ports(mut self, source: u16, destination: u16) -> Self {
        self.ports = (source, destination);
        self
    }

    pub(crate) fn payload(mut self, bytes: usize) -> Self {
        self.payload = vec![0x55; bytes];
        self
    }

    pub(crate) fn macs(mut self, source: MacAddr, destination: MacAddr) -> Self {
        self.macs = (source, destination);
        self
    }

    /// The Ethernet frame.
    pub(crate) fn frame(&self) -> Vec<u8> {
        let ethernet = PacketBuilder::ethernet2(self.macs.0.0, self.macs.1.0);
        let ip = match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                ethernet.ipv4(source.octets(), destination.octets(), self.ttl)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                ethernet.ipv6(source.octets(), destination.octets(), self.ttl)
            }
            mixed => panic!("one family: {mixed:?}"),
        };
        let mut frame = Vec::new();
        ip.udp(self.ports.0, self.ports.1).write(&mut frame, &self.payload).unwrap();
        frame
    }
}

/// `inner` in VXLAN from an endpoint to the VTEP address of its family.
pub(crate) fn vxlan(endpoint: &str, vni: u32, inner: &[u8]) -> Vec<u8> {
    vxlan_to(if endpoint.contains(':') { "2001:db8:0:1::1" } else { "198.18.0.1" }, endpoint, vni, inner)
}

/// The same to any address of its family.
pub(crate) fn vxlan_to(vtep: &str, endpoint: &str, vni: u32, inner: &[u8]) -> Vec<u8> {
    let mut payload = vec![8, 0, 0, 0];
    payload.extend_from_slice(&(vni << 8).to_be_bytes());
    payload.extend_from_slice(inner);
    let mut udp = Udp::new((ENDPOINT_MAC, UNDERLAY_MAC), endpoint, vtep).ports(50_000, 4789);
    udp.payload = payload;
    udp.frame()
}

/// A whole frame with any upper layer.
pub(crate) fn ip_frame(
    macs: (MacAddr, MacAddr),
    source: &str,
    destination: &str,
    protocol: u8,
    hop_limit: u8,
    payload: &[u8],
) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend_from_slice(&macs.1.0);
    frame.extend_from_slice(&macs.0.0);
    match (source.parse().unwrap(), destination.parse().unwrap()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            frame.extend_from_slice(&EtherType::IPV4.0.to_be_bytes());
            Ipv4Header::new(
                payload.len() as u16,
                hop_limit,
                IpNumber(protocol),
                source.octets(),
                destination.octets(),
            )
            .unwrap()
            .write(&mut frame)
            .unwrap();
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            frame.extend_from_slice(&EtherType::IPV6.0.to_be_bytes());
            Ipv6Header {
                traffic_class: 0,
                flow_label: Ipv6FlowLabel::ZERO,
                payload_length: payload.len() as u16,
                next_header: IpNumber(protocol),
                hop_limit,
                source: source.octets(),
                destination: destination.octets(),
            }
            .write(&mut frame)
            .unwrap();
        }
        mixed => panic!("one family: {mixed:?}"),
    }
    frame.extend_from_slice(payload);
    frame
}
