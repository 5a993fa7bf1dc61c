//! The frames that the pipeline is given: made anew in their chunks, outside of what is timed.

use std::fmt;
use std::net::IpAddr;

use port::{Batch, Frame, Umem};
use wire::ethernet::{self, EthernetRepr};
use wire::ipv4::{self, Ipv4Repr};
use wire::ipv6::{self, Ipv6Repr};
use wire::udp::{self, UdpRepr};
use wire::vxlan::{self, VxlanRepr};
use wire::{EtherType, IpProtocol, MacAddr};

use crate::population::{
    Family, Member, OUTER_ROUTER_MAC, Population, ROUTER_MAC, UNDERLAY, UNDERLAY_MAC, UPLINK, UPLINK_MAC,
};

/// Bytes of the frame check sequence, which is never in memory.
const FCS_LEN: usize = 4;
/// Bytes of all outer headers, the link's included, over IPv4.
pub const OVERHEAD_V4: usize = ethernet::HEADER_LEN + ipv4::HEADER_LEN + udp::HEADER_LEN + vxlan::HEADER_LEN;
/// The same over IPv6.
pub const OVERHEAD_V6: usize = ethernet::HEADER_LEN + ipv6::HEADER_LEN + udp::HEADER_LEN + vxlan::HEADER_LEN;

/// Which way frames go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the underlay: decapsulate and route.
    Decapsulate,
    /// From the uplink: route and encapsulate.
    Encapsulate,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Decapsulate => "decapsulate",
            Self::Encapsulate => "encapsulate",
        })
    }
}

/// What frames a measurement is made with.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// The way that the frames go.
    pub direction: Direction,
    /// Of the inner packet; the outer one has that of the endpoints.
    pub family: Family,
    /// Bytes of the inner Ethernet frame in memory: without FCS.
    pub inner_len: usize,
}

impl Shape {
    /// The smallest frames: Ethernet's minimum of 64 bytes with FCS for IPv4; 66 for IPv6 with UDP, which does not fit
    /// into 64.
    pub fn smallest(direction: Direction, family: Family) -> Self {
        let inner_len = match family {
            Family::V4 => 60,
            Family::V6 => ethernet::HEADER_LEN + ipv6::HEADER_LEN + udp::HEADER_LEN,
        };
        Self { direction, family, inner_len }
    }

    /// 1 400 bytes with FCS.
    pub fn large(direction: Direction, family: Family) -> Self {
        Self { direction, family, inner_len: 1400 - FCS_LEN }
    }

    /// Whether these are the smallest frames.
    pub fn is_smallest(&self) -> bool {
        self.inner_len == Self::smallest(self.direction, self.family).inner_len
    }

    /// The port that the frames come in by.
    pub fn port(&self) -> engine::PortIndex {
        match self.direction {
            Direction::Decapsulate => UNDERLAY,
            Direction::Encapsulate => UPLINK,
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} B", self.direction, self.family, self.inner_len + FCS_LEN)
    }
}

/// Bytes of all outer headers toward endpoints of `family`.
pub fn overhead(family: Family) -> usize {
    match family {
        Family::V4 => OVERHEAD_V4,
        Family::V6 => OVERHEAD_V6,
    }
}

/// Makes every frame of the batch one of or for a random station.
pub fn fill(
    umem: &Umem,
    batch: &mut Batch,
    shape: Shape,
    population: &Population,
    random: &mut fastrand::Rng,
) {
    for frame in batch {
        let station = population.station(random.u32(..population.stations));
        match shape.direction {
            Direction::Decapsulate => from_station(umem, frame, shape, &station, random),
            Direction::Encapsulate => to_station(umem, frame, shape, &station, random),
        }
    }
}

/// A packet of a station to a random outer host, in VXLAN from its endpoint.
fn from_station(umem: &Umem, frame: &mut Frame, shape: Shape, station: &Member, random: &mut fastrand::Rng) {
    let underlay = if station.endpoint.is_ipv4() { Family::V4 } else { Family::V6 };
    let overhead = overhead(underlay);
    let bytes = reset(umem, frame, overhead + shape.inner_len);

    let host = shape.family.outer_host(random.u16(..));
    let inner = Packet {
        macs: (station.mac, ROUTER_MAC),
        addresses: (station.address(shape.family), host),
        ports: (random.u16(1024..), 443),
    };
    inner.emit(&mut bytes[overhead..]);
    VxlanRepr { vni: station.vni }.emit(&mut bytes[overhead - vxlan::HEADER_LEN..]);
    let outer = Packet {
        macs: (MacAddr([2, 0, 0, 1, 0, 0]), UNDERLAY_MAC),
        addresses: (station.endpoint, underlay.vtep()),
        ports: (random.u16(0xc000..), vxlan::UDP_PORT),
    };
    outer.emit(bytes);
}

/// A packet of a random outer host to a station.
fn to_station(umem: &Umem, frame: &mut Frame, shape: Shape, station: &Member, random: &mut fastrand::Rng) {
    let host = shape.family.outer_host(random.u16(..));
    let packet = Packet {
        macs: (OUTER_ROUTER_MAC, UPLINK_MAC),
        addresses: (host, station.address(shape.family)),
        ports: (443, random.u16(1024..)),
    };
    packet.emit(reset(umem, frame, shape.inner_len));
}

/// The frame's bytes, `len` of them.
fn reset<'a>(umem: &'a Umem, frame: &'a mut Frame, len: usize) -> &'a mut [u8] {
    assert!(frame.reset(len), "no frame here is longer than a chunk holds");
    umem.data_mut(frame)
}

/// Ethernet, IP and UDP headers, each source first.
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    /// MAC addresses.
    pub macs: (MacAddr, MacAddr),
    /// IP addresses, of one family.
    pub addresses: (IpAddr, IpAddr),
    /// UDP ports.
    pub ports: (u16, u16),
}

impl Packet {
    /// Writes the headers at the start of `frame`; what follows is the payload and stays as it is. Over IPv4 there is no
    /// UDP checksum.
    ///
    /// # Panics
    /// If the addresses are of two families, or the frame is shorter than the headers.
    pub fn emit(&self, frame: &mut [u8]) {
        let udp = UdpRepr { src_port: self.ports.0, dst_port: self.ports.1 };
        let packet_len = frame.len() - ethernet::HEADER_LEN;
        let (link, packet) = frame.split_at_mut(ethernet::HEADER_LEN);
        let ethertype = match self.addresses {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                // No checksum: the gateway's own packets have none over IPv4 either.
                udp.emit(&mut packet[ipv4::HEADER_LEN..]);
                let payload_len = (packet_len - ipv4::HEADER_LEN) as u16;
                let header = Ipv4Repr {
                    src,
                    dst,
                    protocol: IpProtocol::Udp,
                    ttl: 64,
                    dscp_ecn: 0,
                    ident: 0,
                    dont_fragment: true,
                    payload_len,
                };
                header.emit(packet);
                EtherType::Ipv4
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                udp.emit_v6(&mut packet[ipv6::HEADER_LEN..], src, dst);
                let payload_len = (packet_len - ipv6::HEADER_LEN) as u16;
                let header = Ipv6Repr {
                    src,
                    dst,
                    next_header: IpProtocol::Udp,
                    hop_limit: 64,
                    traffic_class: 0,
                    flow_label: 0,
                    payload_len,
                };
                header.emit(packet);
                EtherType::Ipv6
            }
            mixed => unreachable!("addresses of one family: {mixed:?}"),
        };
        EthernetRepr { dst: self.macs.1, src: self.macs.0, ethertype }.emit(link);
    }
}

#[cfg(test)]
mod tests {
    use engine::offline::Pipeline;
    use port::BATCH;

    use super::*;

    /// A bench of frames that are dropped would measure nothing.
    #[test]
    fn every_frame_is_forwarded_with_the_length_that_it_should_have() {
        let mut random = fastrand::Rng::with_seed(1);
        for (overlays, stations) in [(1, 1), (3, 1000)] {
            for family in [Family::V4, Family::V6] {
                let population = Population { overlays, stations, underlay: family };
                let mut gateway = population.gateway();
                let mut batch: Batch = std::iter::from_fn(|| gateway.pool().take()).take(BATCH).collect();
                let umem = std::sync::Arc::clone(gateway.umem());
                let (smallest, outside) = match family {
                    Family::V4 => (60, 110),
                    Family::V6 => (62, 132),
                };
                for make in [Shape::smallest, Shape::large] {
                    let shape = make(Direction::Decapsulate, family);
                    fill(&umem, &mut batch, shape, &population, &mut random);
                    if shape.inner_len < 100 {
                        assert!(batch.iter().all(|frame| frame.len() == outside));
                    }
                    assert_eq!(forward(&mut gateway, shape, &mut batch), BATCH);
                    assert!(batch.iter().all(|frame| frame.len() == shape.inner_len));
                    assert!([smallest, 1396].contains(&shape.inner_len));

                    let shape = make(Direction::Encapsulate, family);
                    fill(&umem, &mut batch, shape, &population, &mut random);
                    assert_eq!(forward(&mut gateway, shape, &mut batch), BATCH);
                    assert!(batch.iter().all(|frame| frame.len() == shape.inner_len + overhead(family)));
                }
            }
        }
    }

    fn forward(gateway: &mut Pipeline, shape: Shape, batch: &mut Batch) -> usize {
        gateway.process(shape.port(), batch)
    }
}
