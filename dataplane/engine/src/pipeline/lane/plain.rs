//! IP packets as nearly all are, read where they lie in a frame: no tags, no options, no extension headers, no
//! fragments, so that every field is at a constant place and nothing is carried from stage to stage.
//!
//! [`IpHeader`](crate::pipeline::ip::IpHeader) reads all the others.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use wire::checksum::{self, Sum};
use wire::{EtherType, IpProtocol, MacAddr, ethernet, ipv4, ipv6};

use crate::pipeline::encapsulate::LinkAddresses;
use crate::pipeline::flow::{self, Entropy};
use crate::pipeline::ip::FLOW_LABEL;

/// Bytes of ports.
const PORTS_LEN: usize = 4;
/// The start of a frame: Ethernet, IPv4 and ports.
pub(super) type PlainV4 = [u8; ethernet::HEADER_LEN + ipv4::HEADER_LEN + PORTS_LEN];
/// The same of IPv6. Some of its ICMP is for the router, and so none is plain.
pub(super) type PlainV6 = [u8; ethernet::HEADER_LEN + ipv6::HEADER_LEN + PORTS_LEN];

/// The start of a frame with a plain packet.
pub(super) trait Plain: AsRef<[u8]> {
    const ETHERTYPE: EtherType;
    /// What a hop adds to the sum of a packet, as a little-endian number.
    const HOP: u64;

    /// The packet in `frame`, whose EtherType says that it is of this family. `None`: not plain, or something is wrong
    /// with it.
    fn read(frame: &[u8]) -> Option<&Self>;
    /// Gives the frame, at whose start `read` has found a packet with a TTL above zero, other MAC addresses, and takes
    /// a hop off the packet.
    fn forward(frame: &mut [u8], link: LinkAddresses);

    /// The sum that the frame will have for a checksum when [`forward`](Self::forward) has given it `link`: of all its
    /// bytes, read before any of them is written, since what was just written in pieces cannot be read as a whole until
    /// it is in the cache. `frame` ends where the packet does.
    #[inline(always)]
    fn sum_when_forwarded(frame: &[u8], link: LinkAddresses) -> Sum {
        let unchanged = frame.get(2 * size_of::<MacAddr>()..).unwrap_or_default();
        link.sum().word(Self::HOP).bytes(unchanged)
    }

    fn source(&self) -> IpAddr;
    fn destination(&self) -> IpAddr;
    /// TTL or hop limit.
    fn ttl(&self) -> u8;
    /// Bytes of the packet, header included: no more than there are in the frame.
    fn len(&self) -> u16;
    /// DSCP and ECN.
    fn traffic_class(&self) -> u8;
    /// What paths are chosen by.
    fn entropy(&self) -> Entropy;

    /// Whether it is for this MAC address, given as its [bits](crate::pipeline::encapsulate::mac_bits).
    #[inline(always)]
    fn is_for(&self, mac: u64) -> bool {
        // Two bytes more than that are read, since a word is read at once.
        u64::from_le_bytes(take(self.as_ref())) << 16 == mac << 16
    }

    /// Whether it can be from a station that has the `router` on its link: neither group, nor zero, nor that.
    #[inline(always)]
    fn is_from_station(&self, router: u64) -> bool {
        let source = u64::from_le_bytes(take(&self.as_ref()[4..])) >> 16;
        source & 1 == 0 && source != 0 && source != router
    }
}

impl Plain for PlainV4 {
    const ETHERTYPE: EtherType = EtherType::Ipv4;
    /// The header's checksum makes up for the TTL.
    const HOP: u64 = 0;

    #[inline(always)]
    fn read(frame: &[u8]) -> Option<&Self> {
        let this: &Self = frame.first_chunk()?;
        let ip: [u8; ipv4::HEADER_LEN] = take(&this[14..]);
        let is_plain = ip[0] == 0x45 && ip[6] & 0x3f | ip[7] == 0 && checksum::is_valid_header(&ip);
        let len = usize::from(this.len());
        let is_whole = len >= ipv4::HEADER_LEN && ethernet::HEADER_LEN + len <= frame.len();
        (is_plain && is_whole).then_some(this)
    }

    #[inline(always)]
    fn forward(frame: &mut [u8], link: LinkAddresses) {
        let Some(frame) = frame.first_chunk_mut::<{ size_of::<Self>() }>() else { return };
        link.write(frame);
        // The TTL is the high byte of its word: one less there is one more in the checksum's complement (RFC 1141), and
        // the carry comes round, whatever the order of the bytes.
        frame[22] = frame[22].wrapping_sub(1);
        let (check, carry) = u16::from_le_bytes([frame[24], frame[25]]).overflowing_add(1);
        [frame[24], frame[25]] = (check + u16::from(carry)).to_le_bytes();
    }

    #[inline(always)]
    fn source(&self) -> IpAddr {
        Ipv4Addr::from_octets(take(&self[26..])).into()
    }

    #[inline(always)]
    fn destination(&self) -> IpAddr {
        Ipv4Addr::from_octets(take(&self[30..])).into()
    }

    #[inline(always)]
    fn ttl(&self) -> u8 {
        self[22]
    }

    #[inline(always)]
    fn len(&self) -> u16 {
        u16::from_be_bytes(take(&self[16..]))
    }

    #[inline(always)]
    fn traffic_class(&self) -> u8 {
        self[15]
    }

    #[inline(always)]
    fn entropy(&self) -> Entropy {
        let [source, destination] = [26, 30].map(|at| u32::from_be_bytes(take(&self[at..])));
        flow::entropy(source.into(), destination.into(), self[23], take(&self[34..]), 0)
    }
}

impl Plain for PlainV6 {
    const ETHERTYPE: EtherType = EtherType::Ipv6;
    /// The hop limit is the second byte of a word: one less there.
    const HOP: u64 = 0xffff - 0x0100;

    #[inline(always)]
    fn read(frame: &[u8]) -> Option<&Self> {
        let this: &Self = frame.first_chunk()?;
        let payload_len = u16::from_be_bytes(take(&this[18..]));
        let is_plain = this[14] >> 4 == 6 && this[20] != u8::from(IpProtocol::Icmpv6);
        let is_whole = ethernet::HEADER_LEN + ipv6::HEADER_LEN + usize::from(payload_len) <= frame.len();
        (is_plain && is_whole).then_some(this)
    }

    #[inline(always)]
    fn forward(frame: &mut [u8], link: LinkAddresses) {
        let Some(frame) = frame.first_chunk_mut::<{ size_of::<Self>() }>() else { return };
        link.write(frame);
        frame[21] = frame[21].wrapping_sub(1);
    }

    #[inline(always)]
    fn source(&self) -> IpAddr {
        Ipv6Addr::from_octets(take(&self[22..])).into()
    }

    #[inline(always)]
    fn destination(&self) -> IpAddr {
        Ipv6Addr::from_octets(take(&self[38..])).into()
    }

    #[inline(always)]
    fn ttl(&self) -> u8 {
        self[21]
    }

    #[inline(always)]
    fn len(&self) -> u16 {
        // A packet that lies in a frame: far below 64 KB.
        u16::from_be_bytes(take(&self[18..])).wrapping_add(ipv6::HEADER_LEN as u16)
    }

    #[inline(always)]
    fn traffic_class(&self) -> u8 {
        (u16::from_be_bytes(take(&self[14..])) >> 4) as u8
    }

    #[inline(always)]
    fn entropy(&self) -> Entropy {
        let [source, destination] = [22, 38].map(|at| flow::fold(u128::from_be_bytes(take(&self[at..]))));
        let label = u32::from_be_bytes(take(&self[14..])) & FLOW_LABEL;
        flow::entropy(source, destination, self[20], take(&self[54..]), label)
    }
}

/// The first bytes, of which there are enough.
#[inline(always)]
pub(in crate::pipeline) fn take<const LEN: usize>(bytes: &[u8]) -> [u8; LEN] {
    bytes.first_chunk().copied().unwrap_or([0; LEN])
}
