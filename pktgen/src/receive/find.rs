//! Finds the stamp in a frame, behind whatever headers it lies, and tells whether the packet around it is whole.
//!
//! All reading is by checked views: bytes are hostile, and at worst no test packet.

use wire::checksum;
use wire::ethernet::EthernetFrame;
use wire::icmpv4::{self, Icmpv4Packet};
use wire::icmpv6::{self, Icmpv6Packet};
use wire::ipv4::Ipv4Packet;
use wire::ipv6::Ipv6Packet;
use wire::udp::UdpPacket;
use wire::vlan::VlanTag;
use wire::vxlan::{self, VxlanPacket};
use wire::{EtherType, IpProtocol, Vni};

use crate::stamp::Stamp;

/// Tags that are followed in one frame.
const TAGS: usize = 4;
/// VXLAN headers that are followed: one gateway's packet in another's tunnel is enough.
const TUNNELS: usize = 2;
/// Bytes of the shortest TCP header (RFC 9293 §3.1).
const TCP_HEADER: usize = 20;

/// What a received frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A test packet.
    Test {
        /// What it says of itself.
        stamp: Stamp,
        /// The overlay that it came in, of the innermost VXLAN header.
        overlay: Option<Vni>,
        /// What its checksums say.
        check: Check,
    },
    /// Anything else.
    Other(Other),
}

/// What the checksums of a packet say: those of the IPv4 headers, and of UDP, TCP and ICMP, of all layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// All are right.
    Right,
    /// One is wrong.
    Wrong,
    /// None covers the payload: no IP, another protocol, UDP without a checksum, a fragment.
    Absent,
}

/// What a frame that is no test packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    /// ARP without a stamp.
    Arp,
    /// An ICMP error, which may quote a test packet to its last byte, stamp and all.
    IcmpError,
    /// A packet without a stamp whose checksum is wrong: maybe a test packet whose stamp was hit.
    Damaged,
    /// A packet without a stamp.
    Unstamped,
    /// No frame that could be read.
    Malformed,
}

/// Looks through a frame, from its Ethernet header on, without FCS.
#[inline]
pub fn find(frame: &[u8]) -> Found {
    let mut walk = Walk { overlay: None, wrong: false };
    match walk.frame(frame, TUNNELS) {
        Ok(End { packet, covered }) => {
            let check = match (walk.wrong, covered) {
                (true, _) => Check::Wrong,
                (false, true) => Check::Right,
                (false, false) => Check::Absent,
            };
            match Stamp::read(packet) {
                Some(stamp) => Found::Test { stamp, overlay: walk.overlay, check },
                None if walk.wrong => Found::Other(Other::Damaged),
                None => Found::Other(Other::Unstamped),
            }
        }
        Err(other) => Found::Other(other),
    }
}

/// Where the walk ended: the innermost packet, at whose end the stamp is.
struct End<'a> {
    packet: &'a [u8],
    /// Whether a checksum covers the payload.
    covered: bool,
}

/// What was met on the way in.
struct Walk {
    overlay: Option<Vni>,
    wrong: bool,
}

impl Walk {
    fn frame<'a>(&mut self, bytes: &'a [u8], tunnels: usize) -> Result<End<'a>, Other> {
        let frame = EthernetFrame::new_checked(bytes).map_err(|_| Other::Malformed)?;
        let (mut ether_type, mut at) = (frame.ethertype(), wire::ethernet::HEADER_LEN);
        for _ in 0..TAGS {
            if !matches!(ether_type, EtherType::Vlan | EtherType::QinQ) {
                break;
            }
            let tag = VlanTag::new_checked(&bytes[at..]).map_err(|_| Other::Malformed)?;
            ether_type = tag.ethertype();
            at += wire::vlan::HEADER_LEN;
        }
        let payload = &bytes[at..];
        match ether_type {
            EtherType::Ipv4 => self.ipv4(payload, tunnels),
            EtherType::Ipv6 => self.ipv6(payload, tunnels),
            // Storms of ARP bear stamps too, behind the packet.
            EtherType::Arp if Stamp::read(payload).is_none() => Err(Other::Arp),
            _ => Ok(End { packet: payload, covered: false }),
        }
    }

    fn ipv4<'a>(&mut self, bytes: &'a [u8], tunnels: usize) -> Result<End<'a>, Other> {
        let packet = Ipv4Packet::new_checked(bytes).map_err(|_| Other::Malformed)?;
        self.wrong |= !packet.verify_checksum();
        let payload = &bytes[packet.header_len()..packet.total_len()];
        let whole = End { packet: &bytes[..packet.total_len()], covered: false };
        if packet.is_fragment() {
            return Ok(whole);
        }
        let pseudo = |protocol: IpProtocol| {
            checksum::pseudo_header_v4(packet.src(), packet.dst(), protocol.into(), payload.len() as u16)
        };
        match packet.protocol() {
            IpProtocol::Udp => self.udp(payload, whole, tunnels, |udp| {
                (udp.checksum() != 0).then(|| udp.verify_checksum_v4(packet.src(), packet.dst()))
            }),
            IpProtocol::Tcp => Ok(self.tcp(payload, whole, || pseudo(IpProtocol::Tcp))),
            IpProtocol::Icmp => {
                let Ok(icmp) = Icmpv4Packet::new_checked(payload) else { return Ok(whole) };
                if icmpv4::is_error(icmp.type_()) {
                    return Err(Other::IcmpError);
                }
                Ok(self.checked(whole, icmp.verify_checksum()))
            }
            _ => Ok(whole),
        }
    }

    fn ipv6<'a>(&mut self, bytes: &'a [u8], tunnels: usize) -> Result<End<'a>, Other> {
        let packet = Ipv6Packet::new_checked(bytes).map_err(|_| Other::Malformed)?;
        let upper = packet.upper_layer().map_err(|_| Other::Malformed)?;
        let payload = &bytes[upper.offset..packet.total_len()];
        let whole = End { packet: &bytes[..packet.total_len()], covered: false };
        if upper.is_fragment() {
            return Ok(whole);
        }
        let (src, dst) = (packet.src(), packet.dst());
        match upper.protocol {
            // Without a checksum only as a tunnel (RFC 6935 §5): `udp` asks for the inner one then.
            IpProtocol::Udp => self.udp(payload, whole, tunnels, |udp| {
                (udp.checksum() != 0 || udp.dst_port() != vxlan::UDP_PORT)
                    .then(|| udp.verify_checksum_v6(src, dst))
            }),
            IpProtocol::Tcp => Ok(self.tcp(payload, whole, || {
                checksum::pseudo_header_v6(src, dst, IpProtocol::Tcp.into(), payload.len() as u32)
            })),
            IpProtocol::Icmpv6 => {
                let Ok(icmp) = Icmpv6Packet::new_checked(payload) else { return Ok(whole) };
                if icmpv6::is_error(icmp.type_()) {
                    return Err(Other::IcmpError);
                }
                Ok(self.checked(whole, icmp.verify_checksum(src, dst)))
            }
            _ => Ok(whole),
        }
    }

    /// `verify` says whether the checksum is right, if there is one.
    fn udp<'a>(
        &mut self,
        payload: &'a [u8],
        whole: End<'a>,
        tunnels: usize,
        verify: impl FnOnce(&UdpPacket<&[u8]>) -> Option<bool>,
    ) -> Result<End<'a>, Other> {
        let Ok(udp) = UdpPacket::new_checked(payload) else { return Ok(whole) };
        let verified = verify(&udp);
        self.wrong |= verified == Some(false);
        let body = &payload[wire::udp::HEADER_LEN..udp.len()];
        if udp.dst_port() == vxlan::UDP_PORT
            && tunnels > 0
            && let Ok(vxlan) = VxlanPacket::new_checked(body)
            && let Some(vni) = vxlan.vni()
        {
            self.overlay = Some(vni);
            return self.frame(&body[vxlan::HEADER_LEN..], tunnels - 1);
        }
        Ok(End { covered: verified.is_some(), ..whole })
    }

    fn tcp<'a>(&mut self, segment: &[u8], whole: End<'a>, pseudo: impl FnOnce() -> u32) -> End<'a> {
        if segment.len() < TCP_HEADER {
            return whole;
        }
        self.checked(whole, checksum::finish(checksum::ones_sum(segment, pseudo())) == 0)
    }

    fn checked<'a>(&mut self, whole: End<'a>, right: bool) -> End<'a> {
        self.wrong |= !right;
        End { covered: true, ..whole }
    }
}

#[cfg(test)]
mod tests;
