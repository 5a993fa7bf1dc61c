//! Frames, byte by byte, so that the tests do not rest on the code that they test.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wire::MacAddr;

pub(crate) const MAC: MacAddr = MacAddr([0x02, 0, 0, 0, 0, 0x01]);
pub(crate) const NEIGHBOUR: MacAddr = MacAddr([0x02, 0, 0, 0, 0, 0x02]);
pub(crate) const VTEP4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
pub(crate) const VTEP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// An address of the host that is no VTEP.
pub(crate) const HOST4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
pub(crate) const HOST6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
/// Addresses in the blocks.
pub(crate) const STATION4: Ipv4Addr = Ipv4Addr::new(10, 3, 2, 1);
pub(crate) const STATION6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 3, 0, 0, 0, 1);

pub(crate) const IPV4: u16 = 0x0800;
pub(crate) const ARP: u16 = 0x0806;
pub(crate) const CUSTOMER_TAG: u16 = 0x8100;
pub(crate) const IPV6: u16 = 0x86dd;
pub(crate) const SERVICE_TAG: u16 = 0x88a8;
pub(crate) const HOP_BY_HOP: u8 = 0;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const ROUTING: u8 = 43;
pub(crate) const FRAGMENT: u8 = 44;
pub(crate) const ICMPV6: u8 = 58;
pub(crate) const DESTINATION_OPTIONS: u8 = 60;
pub(crate) const MORE_FRAGMENTS: u16 = 0x2000;

pub(crate) fn ethernet(destination: MacAddr, ether_type: u16, payload: &[u8]) -> Vec<u8> {
    [&destination.0[..], &NEIGHBOUR.0, &ether_type.to_be_bytes(), payload].concat()
}

/// What follows an EtherType that announces a tag.
pub(crate) fn tag(vid: u16, ether_type: u16, payload: &[u8]) -> Vec<u8> {
    // Priority 5, which is no part of the VID.
    [&(0xa000 | vid).to_be_bytes()[..], &ether_type.to_be_bytes(), payload].concat()
}

pub(crate) fn ipv4_with(
    protocol: u8,
    destination: Ipv4Addr,
    fragment: u16,
    options: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    assert!(options.len() <= 40 && options.len().is_multiple_of(4));
    let header = 20 + options.len();
    let mut packet = vec![0x40 | (header / 4) as u8, 0];
    packet.extend(((header + payload.len()) as u16).to_be_bytes());
    packet.extend([0x12, 0x34]);
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, protocol, 0, 0, 198, 18, 0, 9]);
    packet.extend(destination.octets());
    packet.extend(options);
    packet.extend(payload);
    packet
}

pub(crate) fn ipv4(protocol: u8, destination: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    ipv4_with(protocol, destination, 0, &[], payload)
}

pub(crate) fn ipv6(next: u8, destination: Ipv6Addr, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next, 64]);
    packet.extend(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9).octets());
    packet.extend(destination.octets());
    packet.extend(payload);
    packet
}

/// An IPv6 fragment header and what follows; `offset` in units of 8 bytes.
pub(crate) fn fragment6(next: u8, offset: u16, more: bool, payload: &[u8]) -> Vec<u8> {
    [&[next, 0][..], &(offset << 3 | u16::from(more)).to_be_bytes(), &[0, 0, 0, 1], payload].concat()
}

/// An IPv6 header of options, of `units` times 8 bytes, all padding.
pub(crate) fn options6(next: u8, units: u8, payload: &[u8]) -> Vec<u8> {
    let padding = usize::from(units) * 8 - 4;
    [&[next, units - 1, 1, padding as u8][..], &vec![0; padding], payload].concat()
}

pub(crate) fn udp(destination: u16, payload: &[u8]) -> Vec<u8> {
    let length = (8 + payload.len()) as u16;
    [&49152_u16.to_be_bytes()[..], &destination.to_be_bytes(), &length.to_be_bytes(), &[0, 0], payload]
        .concat()
}

/// UDP with VXLAN, VNI 7, and an empty inner frame.
pub(crate) fn vxlan() -> Vec<u8> {
    let inner = ethernet(MacAddr::BROADCAST, ARP, &[0; 46]);
    udp(4789, &[&[0x08, 0, 0, 0, 0, 0, 7, 0][..], &inner].concat())
}

/// An untagged frame to the port.
pub(crate) fn to_port(ip_packet: &[u8]) -> Vec<u8> {
    let ether_type = if ip_packet[0] >> 4 == 4 { IPV4 } else { IPV6 };
    ethernet(MAC, ether_type, ip_packet)
}

pub(crate) fn udp_to(destination: impl Into<IpAddr>, datagram: &[u8]) -> Vec<u8> {
    to_port(&match destination.into() {
        IpAddr::V4(address) => ipv4(UDP, address, datagram),
        IpAddr::V6(address) => ipv6(UDP, address, datagram),
    })
}
