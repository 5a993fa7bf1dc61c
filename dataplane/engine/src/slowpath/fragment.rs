//! IPv4 packets that are longer than the way out, cut (RFC 791 §3.2, RFC 1812 §4.2.2.7).

use std::net::IpAddr;

use wire::ethernet::{self, EthernetRepr};
use wire::{EtherType, ipv4, vxlan};

use super::{Deed, FrameCopy, Origin, Output, Punted, Received, Tally};
use crate::pipeline::decapsulate::{Expected, Outer};
use crate::pipeline::encapsulate::{self, Label, LinkAddresses, overhead};
use crate::tables::{OuterHeader, Snapshot};

/// Every link takes packets of this many bytes (RFC 791 §3.2); a smaller MTU would make pieces without end.
const LEAST_MTU: u16 = 68;

/// The packet in pieces that are to be looked at once more, each in a frame like the one that it came in. None if it
/// cannot be cut.
pub(super) fn pieces(
    tables: &Snapshot,
    punted: &Punted,
    received: &Received<'_>,
    tally: &Tally,
) -> Vec<Output> {
    if punted.mtu < LEAST_MTU || received.ethertype != EtherType::Ipv4 {
        return Vec::new();
    }
    let pieces = ipv4::fragment(received.packet, punted.mtu.into()).unwrap_or_default();
    let frames = pieces.iter().filter_map(|piece| frame(tables, punted, received, piece));
    frames
        .map(|frame| {
            tally.count(Deed::FragmentSent);
            Output::Again { port: punted.port, frame: Box::new(frame) }
        })
        .collect()
}

/// `piece` as if it had arrived where the packet did.
fn frame(tables: &Snapshot, punted: &Punted, received: &Received<'_>, piece: &[u8]) -> Option<FrameCopy> {
    let link = EthernetRepr { dst: received.receiver, src: received.sender, ethertype: EtherType::Ipv4 };
    let mut inner = vec![0; ethernet::HEADER_LEN + piece.len()];
    link.emit(&mut inner);
    inner[ethernet::HEADER_LEN..].copy_from_slice(piece);
    match received.origin {
        Origin::Outer => Some(FrameCopy::of(&inner)),
        Origin::Station { endpoint, .. } => encapsulated(tables, punted, endpoint, &inner),
    }
}

/// `inner` in VXLAN from the endpoint, with what the underlay had said about congestion.
fn encapsulated(tables: &Snapshot, punted: &Punted, endpoint: IpAddr, inner: &[u8]) -> Option<FrameCopy> {
    let arrived = Outer::parse(&Expected::new(tables, punted.port), punted.frame.bytes()).ok()?;
    let vtep = tables.fixed.vteps.iter().find(|vtep| vtep.is_ipv4() == endpoint.is_ipv4())?;
    let header = OuterHeader::new(&[endpoint], *vtep)?;
    let mac = tables.fixed.port_mac(punted.port);
    let link = LinkAddresses { destination: mac, source: mac };
    // What the port says means nothing here.
    let (vni, traffic_class) = (arrived.vni, arrived.ecn);
    let label = Label { vni, source_port: vxlan::UDP_PORT, traffic_class, shard: None };
    let overhead = overhead(&header);
    let mut frame = vec![0; overhead + inner.len()];
    frame[overhead..].copy_from_slice(inner);
    encapsulate::write(&mut frame, &header, link, label);
    Some(FrameCopy::of(&frame))
}

#[cfg(test)]
mod tests;
