//! Frames that the slow path sends: the router's own into an overlay, and packets that waited on their way out.

use std::net::IpAddr;

use wire::ethernet::{self, EthernetRepr};
use wire::{EtherType, MacAddr, Vni};

use super::{Answer, FrameCopy};
use crate::api::PortIndex;
use crate::pipeline::encapsulate::{self, LinkAddresses, overhead};
use crate::pipeline::ip::IpHeader;
use crate::tables::Snapshot;

/// Shortest Ethernet frame without FCS (IEEE 802.3 §4.2.3.3): what is shorter is padded, because a bridge behind the
/// endpoint may send it as it is.
const MIN_FRAME: usize = 60;

/// An inner frame: `payload` from the router to `destination`.
pub(super) fn inner_frame(
    router: MacAddr,
    destination: MacAddr,
    ethertype: EtherType,
    payload: &[u8],
) -> Vec<u8> {
    let len = (ethernet::HEADER_LEN + payload.len()).max(MIN_FRAME);
    let mut frame = vec![0; len];
    EthernetRepr { dst: destination, src: router, ethertype }.emit(&mut frame);
    frame[ethernet::HEADER_LEN..][..payload.len()].copy_from_slice(payload);
    frame
}

/// The inner frame on its way to the endpoint that `station` was heard behind.
pub(super) fn encapsulate(
    tables: &Snapshot,
    vni: Vni,
    endpoint: IpAddr,
    station: MacAddr,
    inner: &[u8],
) -> Option<Answer> {
    let endpoint = tables.endpoints.get(tables.endpoints.index_of(endpoint)?);
    let adjacency = endpoint.adjacency.as_ref()?;
    let link =
        LinkAddresses { destination: adjacency.mac.get()?, source: tables.fixed.port_mac(adjacency.port) };
    let overhead = overhead(&endpoint.outer);
    let mut frame = vec![0; overhead + inner.len()];
    frame[overhead..].copy_from_slice(inner);
    // Any value spreads well enough: the station's own keeps its answers in order.
    let [.., a, b] = station.0;
    let source_port = 0xc000 | u16::from_be_bytes([a, b]) & 0x3fff;
    encapsulate::write(&mut frame, &endpoint.outer, link, vni, source_port);
    Some(Answer { port: adjacency.port, frame: FrameCopy::of(&frame) })
}

/// A packet that waited for its neighbour, as the pipeline would have sent it.
pub(super) fn route_out(tables: &Snapshot, port: PortIndex, mac: MacAddr, packet: &[u8]) -> Option<Answer> {
    let ethertype = if packet.first()? >> 4 == 4 { EtherType::Ipv4 } else { EtherType::Ipv6 };
    let header = IpHeader::parse(ethertype, packet).ok()?;
    let mut frame = vec![0; ethernet::HEADER_LEN + packet.len()];
    EthernetRepr { dst: mac, src: tables.fixed.port_mac(port), ethertype }.emit(&mut frame);
    frame[ethernet::HEADER_LEN..].copy_from_slice(packet);
    header.age(&mut frame[ethernet::HEADER_LEN..]);
    Some(Answer { port, frame: FrameCopy::of(&frame) })
}
