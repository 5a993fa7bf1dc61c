//! The outer headers of a frame from the underlay: VXLAN for us, from whom, for which overlay.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wire::ethernet;
use wire::ipv4::{self, Ipv4Packet};
use wire::ipv6::{self, Ipv6Packet};
use wire::udp::{self, UdpPacket};
use wire::vxlan::{self, VxlanPacket};
use wire::{EtherType, IpProtocol, MacAddr, Vni, checksum};

use super::encapsulate::mac_bits;
use super::ip::{ECN, NOT_ECT};
use super::lane::take;
use super::link::Link;
use crate::api::PortIndex;
use crate::counters::Reason;
use crate::tables::{ShardTable, Snapshot};

/// A VXLAN packet for one of our VTEP addresses.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outer {
    pub(crate) vni: Vni,
    /// The endpoint that says it sent it.
    pub(crate) endpoint: IpAddr,
    /// Whether the address that it was sent to is not the gateway's own, but a shard's.
    pub(crate) is_to_shard: bool,
    /// Where that address is: read only if it is a shard's.
    vtep_at: u16,
    /// What the underlay says about congestion (RFC 6040).
    pub(crate) ecn: u8,
    /// Where the inner frame starts.
    pub(crate) inner: u16,
    /// Where it ends; what follows is padding.
    pub(crate) end: u16,
}

/// What VXLAN at a port must be for.
pub(crate) struct Expected<'a> {
    port_mac: MacAddr,
    /// The same as [bits](mac_bits).
    port_mac_bits: u64,
    pub(crate) router_mac: MacAddr,
    vtep_v4: Option<Ipv4Addr>,
    vtep_v6: Option<Ipv6Addr>,
    shards: &'a ShardTable,
}

impl<'a> Expected<'a> {
    pub(crate) fn new(tables: &'a Snapshot, port: PortIndex) -> Self {
        let fixed = &tables.fixed;
        let v4 = |address: &IpAddr| if let IpAddr::V4(address) = address { Some(*address) } else { None };
        let v6 = |address: &IpAddr| if let IpAddr::V6(address) = address { Some(*address) } else { None };
        let port_mac = fixed.port_mac(port);
        Self {
            port_mac,
            port_mac_bits: mac_bits(port_mac),
            router_mac: fixed.router_mac,
            vtep_v4: fixed.vteps.iter().find_map(v4),
            vtep_v6: fixed.vteps.iter().find_map(v6),
            shards: &tables.overlays.shards,
        }
    }

    /// Whether this is the gateway's own VTEP address.
    #[inline(always)]
    fn is_own(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.vtep_v4 == Some(address),
            IpAddr::V6(address) => self.vtep_v6 == Some(address),
        }
    }

    /// Whether this is a VTEP address of the gateway's or of any shard.
    fn is_vtep(&self, address: IpAddr) -> bool {
        self.is_own(address) || self.shards.is_vtep(address)
    }
}

/// Bytes of the headers before the inner frame where there are no tags, options or extension headers.
pub(super) const COMMON_V4: usize =
    ethernet::HEADER_LEN + ipv4::HEADER_LEN + udp::HEADER_LEN + vxlan::HEADER_LEN;
pub(super) const COMMON_V6: usize =
    ethernet::HEADER_LEN + ipv6::HEADER_LEN + udp::HEADER_LEN + vxlan::HEADER_LEN;

/// Where destinations are in the common frames.
const VTEP_V4: u16 = 30;
const VTEP_V6: u16 = 38;

impl Outer {
    /// None, where one will be.
    pub(crate) const NONE: Self = Self {
        vni: Vni::new(1).unwrap(),
        endpoint: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        is_to_shard: false,
        vtep_at: 0,
        ecn: NOT_ECT,
        inner: 0,
        end: 0,
    };

    /// The address that it was sent to, in the frame that this was read from.
    pub(crate) fn vtep(&self, frame: &[u8]) -> IpAddr {
        let bytes = frame.get(usize::from(self.vtep_at)..).unwrap_or_default();
        match self.endpoint {
            IpAddr::V4(_) => Ipv4Addr::from_octets(take(bytes)).into(),
            IpAddr::V6(_) => Ipv6Addr::from_octets(take(bytes)).into(),
        }
    }

    /// Reads the outer headers. The outer UDP checksum is not verified: an endpoint may leave it out (RFC 7348 §5,
    /// RFC 6935), and the inner packets have their own.
    #[inline]
    pub(crate) fn parse(expected: &Expected<'_>, frame: &[u8]) -> Result<Self, Reason> {
        let common = match frame.get(ethernet::HEADER_LEN).map(|first| first >> 4) {
            Some(4) => Self::parse_common_v4::<true>(expected, frame),
            Some(6) => Self::parse_common_v6::<true>(expected, frame),
            _ => None,
        };
        let common = common.filter(|outer| !outer.is_to_shard || expected.shards.is_vtep(outer.vtep(frame)));
        common.map_or_else(|| Self::parse_any(expected, frame), Ok)
    }

    /// What nearly all frames are, with every field at a place known beforehand. `None`: not that, or something is wrong
    /// with it, and [`parse_any`](Self::parse_any) finds out what. With `SHARDS` it may have been sent to any address, and
    /// whether that is a shard's is left to be asked.
    #[inline(always)]
    pub(super) fn parse_common_v4<const SHARDS: bool>(expected: &Expected<'_>, frame: &[u8]) -> Option<Self> {
        let headers: &[u8; COMMON_V4] = frame.first_chunk()?;
        let ip: [u8; ipv4::HEADER_LEN] = take(&headers[14..]);
        let is_own = || expected.vtep_v4 == Some(Ipv4Addr::from_octets(take(&headers[30..])));
        // Several fields at a time: EtherType, version and header length; fragment and protocol.
        let is_plain = is_for(expected.port_mac_bits, headers)
            && masked(headers, 12, [0xff, 0xff, 0xff, 0]) == u32::from_ne_bytes([0x08, 0x00, 0x45, 0])
            && masked(headers, 20, [0x3f, 0xff, 0, 0xff]) == u32::from_ne_bytes([0, 0, 0, 17])
            && (SHARDS || is_own());
        if !is_plain || !checksum::is_valid_header(&ip) {
            return None;
        }
        let udp_len = word(headers, 16).wrapping_sub(ipv4::HEADER_LEN as u16);
        Some(Self {
            vni: vni_of(&take(&headers[34..]), udp_len)?,
            endpoint: Ipv4Addr::from_octets(take(&headers[26..])).into(),
            is_to_shard: SHARDS && !is_own(),
            vtep_at: VTEP_V4,
            ecn: headers[15] & ECN,
            inner: COMMON_V4 as u16,
            end: end_of(frame, (ethernet::HEADER_LEN + ipv4::HEADER_LEN) as u16, udp_len)?,
        })
    }

    #[inline(always)]
    pub(super) fn parse_common_v6<const SHARDS: bool>(expected: &Expected<'_>, frame: &[u8]) -> Option<Self> {
        let headers: &[u8; COMMON_V6] = frame.first_chunk()?;
        let is_own = || expected.vtep_v6 == Some(Ipv6Addr::from_octets(take(&headers[38..])));
        let is_plain = is_for(expected.port_mac_bits, headers)
            && masked(headers, 12, [0xff, 0xff, 0xf0, 0]) == u32::from_ne_bytes([0x86, 0xdd, 0x60, 0])
            && headers[20] == u8::from(IpProtocol::Udp)
            && (SHARDS || is_own());
        if !is_plain {
            return None;
        }
        let udp_len = word(headers, 18);
        Some(Self {
            vni: vni_of(&take(&headers[54..]), udp_len)?,
            endpoint: Ipv6Addr::from_octets(take(&headers[22..])).into(),
            is_to_shard: SHARDS && !is_own(),
            vtep_at: VTEP_V6,
            ecn: headers[15] >> 4 & ECN,
            inner: COMMON_V6 as u16,
            end: end_of(frame, (ethernet::HEADER_LEN + ipv6::HEADER_LEN) as u16, udp_len)?,
        })
    }

    /// Header by header, whatever there is.
    #[cold]
    fn parse_any(expected: &Expected<'_>, frame: &[u8]) -> Result<Self, Reason> {
        let link = Link::parse(frame, Reason::Vlan)?;
        if link.destination != expected.port_mac {
            return Err(Reason::ForeignMac);
        }
        let packet = link.payload_of(frame);
        let (endpoint, destination, traffic_class, protocol, udp_offset, ip_len) = match link.ethertype {
            EtherType::Ipv4 => {
                let ip = Ipv4Packet::new_checked(packet)?;
                if !ip.verify_checksum() {
                    return Err(Reason::BadChecksum);
                }
                if ip.is_fragment() {
                    return Err(Reason::OuterFragment);
                }
                (
                    ip.src().into(),
                    ip.dst().into(),
                    ip.dscp_ecn(),
                    ip.protocol(),
                    ip.header_len(),
                    ip.total_len(),
                )
            }
            EtherType::Ipv6 => {
                let ip = Ipv6Packet::new_checked(packet)?;
                if ip.next_header() == IpProtocol::Fragment {
                    return Err(Reason::OuterFragment);
                }
                (
                    ip.src().into(),
                    IpAddr::V6(ip.dst()),
                    ip.traffic_class(),
                    ip.next_header(),
                    ipv6::HEADER_LEN,
                    ip.total_len(),
                )
            }
            _ => return Err(Reason::NotVxlan),
        };
        if protocol != IpProtocol::Udp || !expected.is_vtep(destination) {
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
            is_to_shard: !expected.is_own(destination),
            // Destinations are the last fields of both headers.
            vtep_at: if endpoint.is_ipv4() { VTEP_V4 } else { VTEP_V6 } - ethernet::HEADER_LEN as u16
                + link.payload,
            ecn: traffic_class & ECN,
            // A frame is shorter than 64 KB by far.
            inner: (udp_start + udp::HEADER_LEN + vxlan::HEADER_LEN) as u16,
            end: (udp_start + udp.len()) as u16,
        })
    }
}

/// Whether an Ethernet header is for this address.
#[inline(always)]
fn is_for<const N: usize>(mac: u64, headers: &[u8; N]) -> bool {
    u64::from_le_bytes(take(headers)) << 16 == mac << 16
}

/// Four bytes at `at`, as far as `mask` has ones.
#[inline(always)]
fn masked<const N: usize>(headers: &[u8; N], at: usize, mask: [u8; 4]) -> u32 {
    u32::from_ne_bytes(take(&headers[at..])) & u32::from_ne_bytes(mask)
}

/// The VNI in UDP and VXLAN headers whose datagram is all there is in the packet.
#[inline(always)]
fn vni_of(headers: &[u8; udp::HEADER_LEN + vxlan::HEADER_LEN], udp_len: u16) -> Option<Vni> {
    let is_vxlan = word(headers, 2) == vxlan::UDP_PORT
        && word(headers, 4) == udp_len
        && usize::from(udp_len) >= headers.len()
        && headers[8] & 0x08 != 0;
    if !is_vxlan {
        return None;
    }
    Vni::new(u32::from_be_bytes(take(&headers[12..])) >> 8)
}

/// Where a datagram that starts at `start` ends, if that is in the frame.
#[inline(always)]
fn end_of(frame: &[u8], start: u16, udp_len: u16) -> Option<u16> {
    let end = u32::from(start) + u32::from(udp_len);
    (end as usize <= frame.len()).then_some(end as u16)
}

#[inline(always)]
fn word<const N: usize>(bytes: &[u8; N], at: usize) -> u16 {
    u16::from_be_bytes(take(&bytes[at..]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::packets::{Udp, vxlan};
    use crate::testing::{ENDPOINT_V4, ENDPOINT_V6, ROUTER_MAC, UNDERLAY_MAC};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        /// The short way finds what the long way finds, or leaves it to it.
        #[test]
        fn both_ways_read_alike(
            v6 in any::<bool>(),
            changes in proptest::collection::vec((0..90_usize, any::<u8>()), 0..3),
            len in 0..140_usize,
            repair in any::<bool>(),
        ) {
            let endpoint = if v6 { ENDPOINT_V6 } else { ENDPOINT_V4 };
            let mut frame = vxlan(endpoint, 100, &Udp::from_station("10.0.1.10", "203.0.113.5").frame());
            for (at, byte) in changes {
                frame[at] = byte;
            }
            if repair && !v6 {
                frame[24..26].fill(0);
                let check = checksum::finish(checksum::ones_sum(&frame[14..34], 0));
                frame[24..26].copy_from_slice(&check.to_be_bytes());
            }
            frame.truncate(len.max(40));
            let shards = ShardTable::default();
            let expected = Expected {
                shards: &shards,
                port_mac: UNDERLAY_MAC,
                port_mac_bits: mac_bits(UNDERLAY_MAC),
                router_mac: ROUTER_MAC,
                vtep_v4: Some([198, 18, 0, 1].into()),
                vtep_v6: Some("2001:db8:0:1::1".parse().unwrap()),
            };
            let short = Outer::parse_common_v4::<false>(&expected, &frame).or(Outer::parse_common_v6::<false>(&expected, &frame));
            if let Some(short) = short {
                let long = Outer::parse_any(&expected, &frame);
                prop_assert_eq!(Ok(short), long);
            }
        }
    }

    #[test]
    fn plain_frames_go_the_short_way() {
        let inner = Udp::from_station("10.0.1.10", "203.0.113.5").frame();
        let shards = ShardTable::default();
        let expected = Expected {
            shards: &shards,
            port_mac: UNDERLAY_MAC,
            port_mac_bits: mac_bits(UNDERLAY_MAC),
            router_mac: ROUTER_MAC,
            vtep_v4: Some([198, 18, 0, 1].into()),
            vtep_v6: Some("2001:db8:0:1::1".parse().unwrap()),
        };
        assert!(Outer::parse_common_v4::<false>(&expected, &vxlan(ENDPOINT_V4, 100, &inner)).is_some());
        assert!(Outer::parse_common_v6::<false>(&expected, &vxlan(ENDPOINT_V6, 100, &inner)).is_some());
    }
}
