//! What the slow path sends: frames of the router's own, and frames that it kept for a while.

use std::net::IpAddr;
use std::time::Instant;

use wire::ethernet::{self, EthernetRepr};
use wire::{EtherType, MacAddr};

use super::waiting::WaitingPackets;
use super::{Answer, Deed, FrameCopy, Tally, WorkerLink};
use crate::api::{Event, PortIndex};
use crate::pipeline::encapsulate::{self, Label, LinkAddresses, overhead};
use crate::pipeline::ip::IpHeader;
use crate::pipeline::{ecn, flow};
use crate::tables::{Onward, OverlayIndex, Snapshot};

/// Shortest Ethernet frame without FCS (IEEE 802.3 §4.2.3.3): what is shorter is padded, because a bridge behind the
/// endpoint may send it as it is.
const MIN_FRAME: usize = 60;

/// A whole frame.
pub(super) fn frame(src: MacAddr, dst: MacAddr, ethertype: EtherType, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; (ethernet::HEADER_LEN + payload.len()).max(MIN_FRAME)];
    EthernetRepr { dst, src, ethertype }.emit(&mut frame);
    frame[ethernet::HEADER_LEN..][..payload.len()].copy_from_slice(payload);
    frame
}

/// What a packet's Ethernet header says of it.
fn ethertype(packet: &[u8]) -> EtherType {
    if packet.first().is_some_and(|first| first >> 4 == 4) { EtherType::Ipv4 } else { EtherType::Ipv6 }
}

/// What is to be sent. Protocols only say what; whether and how it leaves is decided in one place.
#[derive(Debug)]
pub(super) enum Output {
    /// From the router to one station.
    Station { overlay: OverlayIndex, endpoint: IpAddr, mac: MacAddr, ethertype: EtherType, payload: Vec<u8> },
    /// From the router to a group, or to a station whose endpoint is not known: to all endpoints of the overlay.
    Flood { overlay: OverlayIndex, mac: MacAddr, ethertype: EtherType, payload: Vec<u8> },
    /// An IP packet of the router's own, to the outer network.
    Outer(Vec<u8>),
    /// A frame of the gateway's own, on the link of a port.
    Link { port: PortIndex, frame: Vec<u8> },
    /// A frame through the pipeline once more, as if it had just arrived.
    Again { port: PortIndex, frame: Box<FrameCopy> },
}

/// Sends to the workers.
pub(super) struct Outbox<'a> {
    pub(super) tables: &'a Snapshot,
    /// The worker that sends.
    pub(super) worker: &'a mut WorkerLink,
    pub(super) waiting: &'a mut WaitingPackets,
    pub(super) events: &'a dyn Fn(Event),
    pub(super) tally: &'a Tally,
    pub(super) now: Instant,
}

impl Outbox<'_> {
    pub(super) fn send(&mut self, output: Output) {
        match output {
            Output::Station { overlay, endpoint, mac, ethertype, payload } => {
                let inner = self.inner_frame(overlay, mac, ethertype, &payload);
                self.encapsulate(
                    overlay,
                    endpoint,
                    mac,
                    &inner,
                    self.traffic_class(overlay, ethertype, &payload),
                );
            }
            Output::Flood { overlay, mac, ethertype, payload } => {
                let inner = self.inner_frame(overlay, mac, ethertype, &payload);
                let traffic_class = self.traffic_class(overlay, ethertype, &payload);
                for endpoint in self.tables.members_of(overlay) {
                    self.encapsulate(overlay, endpoint, mac, &inner, traffic_class);
                }
            }
            Output::Outer(packet) => self.forward(&packet),
            Output::Link { port, frame } => self.hand(Answer::Send { port, frame: FrameCopy::of(&frame) }),
            Output::Again { port, frame } => self.hand(Answer::Again { port, frame: *frame }),
        }
    }

    /// An inner frame with `payload` from the router.
    fn inner_frame(
        &self,
        overlay: OverlayIndex,
        destination: MacAddr,
        ethertype: EtherType,
        payload: &[u8],
    ) -> Vec<u8> {
        frame(self.tables.sender(overlay), destination, ethertype, payload)
    }

    /// The outer traffic class of a frame with `payload`, as of those that are forwarded; ARP has none inside.
    fn traffic_class(&self, overlay: OverlayIndex, ethertype: EtherType, payload: &[u8]) -> u8 {
        let inside = IpHeader::parse(ethertype, payload).map_or(0, |header| header.traffic_class);
        ecn::encapsulated(self.tables.overlays.treatment(overlay).dscp(), inside)
    }

    /// The inner frame on its way to an endpoint. One that cannot be reached now hears nothing.
    fn encapsulate(
        &mut self,
        overlay: OverlayIndex,
        endpoint: IpAddr,
        station: MacAddr,
        inner: &[u8],
        traffic_class: u8,
    ) {
        let tables = self.tables;
        let Some(endpoint) = tables.endpoints.index_of(endpoint).map(|index| tables.endpoints.get(index))
        else {
            return;
        };
        // Any value spreads well enough: the station's own keeps its answers in order.
        let [.., a, b] = station.0;
        let flow = u16::from_be_bytes([a, b]);
        let Onward::To(port, destination) = tables.onward(&endpoint.way, endpoint.address, || flow) else {
            return;
        };
        let link = LinkAddresses { destination, source: tables.fixed.port_mac(port) };
        let overhead = overhead(&endpoint.outer);
        let mut frame = vec![0; overhead + inner.len()];
        frame[overhead..].copy_from_slice(inner);
        let source_port = 0xc000 | flow & 0x3fff;
        // As itself the gateway sends from its own address, so that the answer comes back to it.
        let shard = tables.overlays.shard_of(overlay).filter(|shard| shard.state.is_owner());
        let label = Label { vni: tables.overlays.get(overlay).vni, source_port, traffic_class, shard };
        encapsulate::write(&mut frame, &endpoint.outer, link, label);
        self.hand(Answer::Send { port, frame: FrameCopy::of(&frame) });
    }

    /// An IP packet to the outer network. If it is for a neighbour on the uplink whose MAC address is not known, that is
    /// asked for.
    pub(super) fn forward(&mut self, packet: &[u8]) {
        let Ok(header) = IpHeader::parse(ethertype(packet), packet) else { return };
        let Some(way) = self.tables.fib.lookup(header.destination) else { return };
        let flow = || flow::of_packet(&header, packet).path();
        match self.tables.onward(way, header.destination, flow) {
            Onward::To(port, mac) => self.route_out(port, mac, packet),
            Onward::Ask(next_hop) => {
                self.waiting.keep(next_hop, FrameCopy::of(packet), self.now);
                (self.events)(Event::Resolve(next_hop));
            }
            Onward::NoNeighbour | Onward::Nowhere => {}
        }
    }

    /// Sends the packets whose neighbours on the uplink have become known.
    pub(super) fn release(&mut self) {
        let tables = self.tables;
        let known = |next_hop| tables.on_link.get(&next_hop)?.mac.get();
        for (next_hop, mac, packet) in self.waiting.release(self.now, known) {
            self.route_out(next_hop.port, mac, packet.bytes());
        }
    }

    fn route_out(&mut self, port: PortIndex, mac: MacAddr, packet: &[u8]) {
        let mut frame = vec![0; ethernet::HEADER_LEN + packet.len()];
        let (src, ethertype) = (self.tables.fixed.port_mac(port), ethertype(packet));
        EthernetRepr { dst: mac, src, ethertype }.emit(&mut frame);
        frame[ethernet::HEADER_LEN..].copy_from_slice(packet);
        self.hand(Answer::Send { port, frame: FrameCopy::of(&frame) });
    }

    /// What cannot even wait is lost, and who wants something asks again.
    fn hand(&mut self, answer: Answer) {
        if !self.worker.hand(answer) {
            self.tally.count(Deed::AnswerFull);
        }
    }
}
