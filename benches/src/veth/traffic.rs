//! The frames that a contender gets, and those that must come out of it.

use std::net::{IpAddr, Ipv4Addr};

use port::xdp::{Expected, LiveFrames, Order, VariedField, Width};
use vxgate_bench::frames::{Direction, OVERHEAD_V4, Packet, Shape, overhead};
use vxgate_bench::population::{Family, ROUTER_MAC};
use wire::vxlan::{self, VxlanRepr};
use wire::{MacAddr, Vni, ethernet, ipv4, ipv6, udp};

use super::stage::{self, Stage};
use crate::Error;

/// VNI of the first overlay; the others have the next ones.
pub(crate) const FIRST_VNI: u32 = 1;
/// Stations of an overlay: the first behind the endpoint over IPv4, the second behind that over IPv6. Packets of a
/// family are of the station behind the endpoint of that family.
pub(crate) const STATIONS: u32 = 2;
/// Number of the first station in its overlay's subnets.
pub(crate) const FIRST_STATION: u32 = 10;
/// The first station's MAC address; the others have the next ones.
pub(crate) const FIRST_MAC: MacAddr = MacAddr([2, 0x10, 0, 0, 0, 0]);

/// Bytes of a time of sending.
const STAMP: usize = 8;

/// TTL, or hop limit, of what is sent.
const TTL: u8 = 64;

/// Station `number` (0 or 1) of an overlay: its MAC address.
pub(crate) fn station_mac(overlay: u32, number: u32) -> MacAddr {
    let [a, b, c, d] = (STATIONS * overlay + number).to_be_bytes();
    let MacAddr([first, second, ..]) = FIRST_MAC;
    MacAddr([first, second, a, b, c, d])
}

/// Address `number` of overlay `index`: the index-th /24 of 10.0.0.0/8, or /64 of fd00::/48.
pub(crate) fn address(of: Family, index: u32, number: u32) -> IpAddr {
    match of {
        Family::V4 => Ipv4Addr::from_bits(10 << 24 | index << 8 | number).into(),
        Family::V6 => std::net::Ipv6Addr::new(0xfd00, 0, 0, index as u16, 0, 0, 0, number as u16).into(),
    }
}

fn station_number(of: Family) -> u32 {
    match of {
        Family::V4 => 0,
        Family::V6 => 1,
    }
}

/// Bytes of an IP header, and where in it the TTL is.
fn ip_header(of: Family) -> (usize, usize) {
    match of {
        Family::V4 => (ipv4::HEADER_LEN, 8),
        Family::V6 => (ipv6::HEADER_LEN, 7),
    }
}

/// Frames of a shape for all of so many overlays in turn: those of one station after those of another, so that nothing
/// about the next is in a cache but by chance.
pub(crate) fn frames(shape: Shape, stage: &Stage, overlays: u32) -> LiveFrames {
    let Shape { direction, family, inner_len } = shape;
    let number = station_number(family);
    let station = address(family, 0, FIRST_STATION + number);
    let host = family.outer_host(1);
    let (incoming, _) = stage.way(direction);
    let outside = match direction {
        Direction::Decapsulate => overhead(family),
        Direction::Encapsulate => 0,
    };
    let mut template = vec![0; outside + inner_len];
    let packet = outside + ethernet::HEADER_LEN;
    let mut fields = vec![];
    let field = |offset, width, base, step| VariedField { offset, width, base, step };
    let varied_address = |offset| match (family, station) {
        (Family::V4, IpAddr::V4(first)) => field(offset, Width::Four, first.to_bits(), 1 << 8),
        _ => field(offset + 6, Width::Two, 0, 1),
    };
    match direction {
        Direction::Decapsulate => {
            let inner = Packet {
                macs: (station_mac(0, number), ROUTER_MAC),
                addresses: (station, host),
                ports: (1024, 443),
            };
            inner.emit(&mut template[outside..]);
            let vni = Vni::new(FIRST_VNI).expect("a VNI");
            VxlanRepr { vni }.emit(&mut template[outside - vxlan::HEADER_LEN..]);
            let outer = Packet {
                macs: (incoming.far_mac, incoming.near_mac),
                addresses: (stage::endpoint(family), stage::vtep(family)),
                ports: (0xc000, vxlan::UDP_PORT),
            };
            outer.emit(&mut template);
            // It would cover what varies: as of an endpoint that leaves it out (RFC 6935).
            let checksum = outside - vxlan::HEADER_LEN - 2;
            template[checksum..checksum + 2].fill(0);
            fields.push(field(outside - 4, Width::Three, FIRST_VNI, 1));
            fields.push(field(outside + 6 + 2, Width::Four, number, STATIONS));
            fields.push(varied_address(packet + source_offset(family)));
        }
        Direction::Encapsulate => {
            let packet_to = Packet {
                macs: (incoming.far_mac, incoming.near_mac),
                addresses: (host, station),
                ports: (443, 1024),
            };
            packet_to.emit(&mut template);
            fields.push(varied_address(packet + source_offset(family) + address_len(family)));
        }
    }
    LiveFrames {
        rewritten: outside + ethernet::HEADER_LEN + ip_header(family).0 + udp::HEADER_LEN,
        variants: overlays,
        order: Order::Counting,
        fields,
        ipv4_headers: if family == Family::V4 { vec![packet] } else { vec![] },
        stamp: None,
        interval: 0,
        batch: 64,
        template,
    }
}

fn source_offset(of: Family) -> usize {
    match of {
        Family::V4 => 12,
        Family::V6 => 8,
    }
}

fn address_len(of: Family) -> usize {
    match of {
        Family::V4 => 4,
        Family::V6 => 16,
    }
}

/// What a gateway makes of frames of a shape.
pub(crate) fn forwarded(shape: Shape, stage: &Stage) -> Expected {
    let Shape { direction, family, inner_len } = shape;
    let (_, out) = stage.way(direction);
    let mut expected = known(0, &out.far_mac.0);
    expected.extend(known(6, &out.near_mac.0));
    let before = match direction {
        Direction::Decapsulate => 0,
        Direction::Encapsulate => {
            let outside = overhead(family);
            let addresses = ethernet::HEADER_LEN + source_offset(family);
            expected.extend(known(addresses, &octets(stage::vtep(family))));
            expected.extend(known(addresses + address_len(family), &octets(stage::endpoint(family))));
            expected.extend(known(outside - vxlan::HEADER_LEN - 6, &vxlan::UDP_PORT.to_be_bytes()));
            expected.extend(known(outside - vxlan::HEADER_LEN, &[0x08]));
            expected.extend(known(outside, &FIRST_MAC.0[..2]));
            expected.extend(known(outside + 6, &ROUTER_MAC.0));
            outside
        }
    };
    let packet = before + ethernet::HEADER_LEN;
    expected.extend(known(packet + ip_header(family).1, &[TTL - 1]));
    Expected { length: (before + inner_len) as u16, bytes: expected, stamp: None }
}

/// What a reflector makes of them: the same, with the MAC addresses swapped.
pub(crate) fn reflected(shape: Shape, stage: &Stage) -> Expected {
    let (incoming, _) = stage.way(shape.direction);
    let outside = match shape.direction {
        Direction::Decapsulate => overhead(shape.family),
        Direction::Encapsulate => 0,
    };
    let mut expected = known(0, &incoming.far_mac.0);
    expected.extend(known(6, &incoming.near_mac.0));
    Expected { length: (outside + shape.inner_len) as u16, bytes: expected, stamp: None }
}

/// Lets the frames be `interval` nanoseconds apart and carry the time of sending in the last bytes of a payload that is
/// long enough; the sink reads it there.
pub(crate) fn time(frames: &mut LiveFrames, expected: &mut Expected, interval: u32) {
    frames.stamp = Some(frames.template.len() - STAMP);
    frames.interval = interval;
    // What is sent together waits for the last.
    frames.batch = 4;
    expected.stamp = Some(expected.length - STAMP as u16);
}

fn known(offset: usize, bytes: &[u8]) -> Vec<(u16, u8)> {
    (offset as u16..).zip(bytes.iter().copied()).collect()
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// Checks a forwarded frame byte by byte against what a gateway must have made of variant `overlay`: what the sink, which
/// sees every frame, does not look at.
pub(crate) fn check(frame: &[u8], shape: Shape, overlay: u32) -> Result<(), Error> {
    let Shape { direction, family, .. } = shape;
    let number = station_number(family);
    let before = match direction {
        Direction::Decapsulate => 0,
        Direction::Encapsulate => overhead(family),
    };
    let packet = before + ethernet::HEADER_LEN;
    let station = octets(address(family, overlay, FIRST_STATION + number));
    let host = octets(family.outer_host(1));
    let (source, destination) = match direction {
        Direction::Decapsulate => (&station, &host),
        Direction::Encapsulate => (&host, &station),
    };
    let at = packet + source_offset(family);
    let len = address_len(family);
    let mut right = frame[at..at + len] == source[..] && frame[at + len..at + 2 * len] == destination[..];
    if direction == Direction::Encapsulate {
        right &= frame[before..before + 6] == station_mac(overlay, number).0;
        right &= frame[before - 4..before - 1] == (FIRST_VNI + overlay).to_be_bytes()[1..];
    }
    if family == Family::V4 {
        right &= wire::checksum::is_valid_header(frame[packet..packet + 20].first_chunk().expect("20 bytes"));
        if before == OVERHEAD_V4 {
            right &= wire::checksum::is_valid_header(frame[14..34].first_chunk().expect("20 bytes"));
        }
    }
    if right { Ok(()) } else { Err(format!("{shape}, overlay {overlay}: a wrong frame {frame:02x?}").into()) }
}
