//! The outer headers of a frame from the underlay: VXLAN for us, from whom, for which overlay.

use std::net::IpAddr;

use wire::ipv4::Ipv4Packet;
use wire::ipv6::Ipv6Packet;
use wire::udp::{self, UdpPacket};
use wire::vxlan::{self, VxlanPacket};
use wire::{EtherType, IpProtocol, MacAddr, Vni};

use super::link::Link;
use crate::counters::Reason;
use crate::tables::Fixed;

/// A VXLAN packet for one of our VTEP addresses.
pub(crate) struct Outer {
    pub(crate) vni: Vni,
    /// The endpoint that says it sent it.
    pub(crate) endpoint: IpAddr,
    /// Where the inner frame starts.
    pub(crate) inner: u16,
    /// Where it ends; what follows is padding.
    pub(crate) end: u16,
}

impl Outer {
    /// Reads the outer headers. The outer UDP checksum is not verified: an endpoint may leave it out (RFC 7348 §5,
    /// RFC 6935), and the inner packets have their own.
    #[inline]
    pub(crate) fn parse(fixed: &Fixed, port_mac: MacAddr, frame: &[u8]) -> Result<Self, Reason> {
        let link = Link::parse(frame, Reason::Vlan)?;
        if link.destination != port_mac {
            return Err(Reason::ForeignMac);
        }
        let packet = link.payload_of(frame);
        let (endpoint, destination, protocol, udp_offset, ip_len) = match link.ethertype {
            EtherType::Ipv4 => {
                let ip = Ipv4Packet::new_checked(packet)?;
                if !ip.verify_checksum() {
                    return Err(Reason::BadChecksum);
                }
                if ip.is_fragment() {
                    return Err(Reason::OuterFragment);
                }
                (ip.src().into(), ip.dst().into(), ip.protocol(), ip.header_len(), ip.total_len())
            }
            EtherType::Ipv6 => {
                let ip = Ipv6Packet::new_checked(packet)?;
                if ip.next_header() == IpProtocol::Fragment {
                    return Err(Reason::OuterFragment);
                }
                let fixed_len = wire::ipv6::HEADER_LEN;
                (ip.src().into(), IpAddr::V6(ip.dst()), ip.next_header(), fixed_len, ip.total_len())
            }
            _ => return Err(Reason::NotVxlan),
        };
        if protocol != IpProtocol::Udp || !fixed.vteps.contains(&destination) {
            return Err(Reason::NotVxlan);
        }
        let udp = UdpPacket::new_checked(&packet[udp_offset..ip_len])?;
        if udp.dst_port() != vxlan::UDP_PORT {
            return Err(Reason::NotVxlan);
        }
        let vni = VxlanPacket::new_checked(udp.payload())?.vni().ok_or(Reason::NoVni)?;
        let udp_start = usize::from(link.payload) + udp_offset;
        Ok(Self {
            vni,
            endpoint,
            // A frame is shorter than 64 KB by far.
            inner: (udp_start + udp::HEADER_LEN + vxlan::HEADER_LEN) as u16,
            end: (udp_start + udp.len()) as u16,
        })
    }
}
