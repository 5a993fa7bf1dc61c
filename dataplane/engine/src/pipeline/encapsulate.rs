//! Outer headers, written before an inner frame.

use wire::checksum::{self, Sum};
use wire::{MacAddr, Vni, ethernet, udp, vxlan};

use crate::tables::{OuterHeader, ShardRecord};

/// MAC addresses of a frame that goes out of a port.
#[derive(Clone, Copy)]
pub(crate) struct LinkAddresses {
    pub(crate) destination: MacAddr,
    pub(crate) source: MacAddr,
}

impl LinkAddresses {
    /// Writes them at the start of a frame.
    #[inline(always)]
    pub(crate) fn write<const N: usize>(self, frame: &mut [u8; N]) {
        let (first, rest) = self.words();
        frame[..8].copy_from_slice(&first.to_le_bytes());
        frame[8..12].copy_from_slice(&rest.to_le_bytes());
    }

    /// The sum of both for a checksum.
    #[inline(always)]
    pub(super) fn sum(self) -> Sum {
        let (first, rest) = self.words();
        Sum::default().word(first).word(rest.into())
    }

    /// Both as they lie in a frame, as little-endian numbers.
    #[inline(always)]
    fn words(self) -> (u64, u32) {
        let [destination, source] = [self.destination, self.source].map(mac_bits);
        (destination | source << 48, (source >> 16) as u32)
    }
}

/// A MAC address as it lies in a frame, the first byte lowest.
#[inline(always)]
pub(super) fn mac_bits(MacAddr([a, b, c, d, e, f]): MacAddr) -> u64 {
    u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
}

/// Bytes from the start of the outer Ethernet header to the inner frame.
#[inline]
pub(crate) fn overhead(outer: &OuterHeader) -> usize {
    ethernet::HEADER_LEN + outer.len()
}

/// What outer headers say that differs from packet to packet.
#[derive(Clone, Copy)]
pub(crate) struct Label<'a> {
    pub(crate) vni: Vni,
    /// Entropy.
    pub(crate) source_port: u16,
    /// DSCP and ECN.
    pub(crate) traffic_class: u8,
    /// The shard whose address it is sent from; `None`: the gateway's own.
    pub(crate) shard: Option<&'a ShardRecord>,
}

/// Writes Ethernet, IP, UDP and VXLAN headers at the start of `frame`, which is [`overhead`] bytes of room and then the
/// inner frame.
pub(crate) fn write(frame: &mut [u8], outer: &OuterHeader, link: LinkAddresses, label: Label<'_>) {
    let inner = match outer {
        OuterHeader::V4 { .. } => Sum::default(),
        OuterHeader::V6 { .. } => Sum::default().bytes(frame.get(overhead(outer)..).unwrap_or_default()),
    };
    write_before(frame, outer, link, label, inner);
}

/// The same, with the sum of the inner frame, which over IPv4 may be anything.
#[inline(always)]
pub(super) fn write_before(
    frame: &mut [u8],
    outer: &OuterHeader,
    link: LinkAddresses,
    label: Label<'_>,
    inner_sum: Sum,
) {
    let Label { source_port, traffic_class, shard, .. } = label;
    match outer {
        OuterHeader::V4 { header, sum } => {
            let Some((room, inner)) = frame.split_first_chunk_mut() else { return };
            *room = *header;
            link.write(room);
            let mut sum = *sum;
            if let Some(shard) = shard {
                sum += write_shard_v4(room, shard);
            }
            let total_len = (room.len() - ethernet::HEADER_LEN + inner.len()) as u16;
            let sum = sum + u32::from(total_len) + u32::from(traffic_class);
            room[15] = traffic_class;
            room[16..18].copy_from_slice(&total_len.to_be_bytes());
            room[24..26].copy_from_slice(&checksum::finish(sum).to_be_bytes());
            // The UDP checksum is zero: none (RFC 7348 §5).
            write_udp_and_vxlan(room, inner.len(), label);
        }
        OuterHeader::V6 { header, sum } => {
            let Some((room, inner)) = frame.split_first_chunk_mut() else { return };
            *room = *header;
            link.write(room);
            let mut sum = *sum;
            if let Some(shard) = shard {
                sum += write_shard_v6(room, shard);
            }
            room[14] |= traffic_class >> 4;
            room[15] |= traffic_class << 4;
            let udp_len = write_udp_and_vxlan(room, inner.len(), label);
            room[18..20].copy_from_slice(&udp_len.to_be_bytes());
            // The length counts twice, in the header and in the pseudo header. All as it lies in the frame.
            let headers = 2 * u64::from(udp_len.swap_bytes())
                + u64::from(source_port.swap_bytes())
                + u64::from((label.vni.value() << 8).swap_bytes())
                + u64::from(sum.swap_bytes());
            // Zero is not allowed over IPv6 unless both ends agreed (RFC 6935), and means all ones (RFC 768).
            let udp_checksum = match inner_sum.word(headers).finish() {
                0 => 0xffff,
                sum => sum,
            };
            room[60..62].copy_from_slice(&udp_checksum.to_be_bytes());
        }
    }
}

/// Writes a shard's address in place of the gateway's own; what is to be added to the sum.
#[inline(never)]
fn write_shard_v4<const N: usize>(headers: &mut [u8; N], shard: &ShardRecord) -> u32 {
    let Some(source) = shard.v4 else { return 0 };
    headers[26..30].copy_from_slice(&source.address.octets());
    source.change
}

/// The same over IPv6.
#[inline(never)]
fn write_shard_v6<const N: usize>(headers: &mut [u8; N], shard: &ShardRecord) -> u32 {
    let Some(source) = shard.v6 else { return 0 };
    headers[22..38].copy_from_slice(&source.address.octets());
    source.change
}

/// Writes what differs from packet to packet in the last two of the headers; the length of the datagram.
#[inline(always)]
fn write_udp_and_vxlan<const N: usize>(headers: &mut [u8; N], inner_len: usize, label: Label<'_>) -> u16 {
    let (udp, vxlan) = (N - vxlan::HEADER_LEN - udp::HEADER_LEN, N - vxlan::HEADER_LEN);
    let udp_len = (udp::HEADER_LEN + vxlan::HEADER_LEN + inner_len) as u16;
    headers[udp..udp + 2].copy_from_slice(&label.source_port.to_be_bytes());
    headers[udp + 4..udp + 6].copy_from_slice(&udp_len.to_be_bytes());
    headers[vxlan + 4..].copy_from_slice(&(label.vni.value() << 8).to_be_bytes());
    udp_len
}
