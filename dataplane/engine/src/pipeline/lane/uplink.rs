//! Frames from the outer network: routed and encapsulated.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use port::Frame;
use wire::checksum::Sum;
use wire::{MacAddr, ethernet};

use super::plain::{Plain, PlainV4, PlainV6, take};
use super::{IPV4, IPV6, Lane, ethertype};
use crate::api::PortIndex;
use crate::counters::Reason;
use crate::pipeline::encapsulate::{self, Label, LinkAddresses, mac_bits, overhead};
use crate::pipeline::ingress::{self, Arrival, fits};
use crate::pipeline::question::Question;
use crate::pipeline::{Context, Forwarded, Stop, Verdict, ecn};
use crate::tables::flow::{FlowKey, PackedFlow};
use crate::tables::{Endpoint, OuterHeader, OverlayIndex, Way};

/// What comes from the outer network.
pub(in crate::pipeline) struct FromUplink<'a> {
    context: Context<'a>,
    port: PortIndex,
    port_mac: MacAddr,
    port_mac_bits: u64,
}

impl<'a> FromUplink<'a> {
    pub(in crate::pipeline) fn new(context: Context<'a>, port: PortIndex) -> Self {
        let port_mac = context.tables.fixed.port_mac(port);
        Self { context, port, port_mac, port_mac_bits: mac_bits(port_mac) }
    }

    #[inline(always)]
    fn route<P: Plain>(&self, frame: &mut Frame, flow: PackedFlow, verdict: &mut Verdict) -> Option<()> {
        let Context { tables, umem, .. } = self.context;
        let bytes = umem.data_mut(frame);
        let packet = P::read(bytes)?;
        let overlay = OverlayIndex(flow.overlay());
        let treatment = tables.overlays.treatment(overlay);
        let is_admitted = packet.is_for(self.port_mac_bits)
            && packet.ttl() > 1
            && treatment.is_usual()
            && !matches!(tables.fib.lookup(packet.source()), Some(Way::Local));
        if !is_admitted {
            return None;
        }
        let Endpoint { way, outer, .. } = tables.endpoints.get(flow.endpoint());
        let adjacency = way.router(&tables.fixed, || packet.entropy().path())?;
        let (port, len) = (adjacency.port, packet.len());
        let link = LinkAddresses { destination: adjacency.mac.get()?, source: tables.fixed.port_mac(port) };
        if len > flow.mtu() || len > fits(tables.fixed.port(port).mtu, outer) {
            return None;
        }
        let label = Label {
            vni: flow.vni(),
            source_port: packet.entropy().source_port(),
            traffic_class: ecn::encapsulated(treatment.dscp(), packet.traffic_class()),
            shard: treatment.shard,
        };
        let inner_link = LinkAddresses { destination: flow.mac(), source: tables.fixed.router_mac };
        let inner_sum = match outer {
            OuterHeader::V4 { .. } => Sum::default(),
            OuterHeader::V6 { .. } => {
                P::sum_when_forwarded(bytes.get(..ethernet::HEADER_LEN + usize::from(len))?, inner_link)
            }
        };
        P::forward(bytes, inner_link);
        frame.truncate(ethernet::HEADER_LEN + usize::from(len));
        let room = frame.push(overhead(outer));
        assert!(room, "received frames have headroom");
        encapsulate::write_before(umem.data_mut(frame), outer, link, label, inner_sum);
        *verdict = Verdict::Transmit(Forwarded { port, reason: Reason::Ingress, overlay, bytes: len });
        Some(())
    }
}

impl Lane for FromUplink<'_> {
    #[inline(always)]
    fn key(&self, frame: &[u8]) -> FlowKey {
        let destination: IpAddr = match (ethertype(frame), frame.first_chunk::<{ size_of::<PlainV4>() }>()) {
            (Some(IPV4), Some(headers)) => Ipv4Addr::from_octets(take(&headers[30..])).into(),
            (Some(IPV6), _) => match frame.first_chunk::<{ size_of::<PlainV6>() }>() {
                Some(headers) => Ipv6Addr::from_octets(take(&headers[38..])).into(),
                None => return FlowKey::NOBODY,
            },
            _ => return FlowKey::NOBODY,
        };
        FlowKey::global(destination).unwrap_or(FlowKey::NOBODY)
    }

    #[inline(always)]
    fn expect(&self, flow: PackedFlow) {
        let Context { counters, tables, .. } = self.context;
        counters.prefetch_overlay(OverlayIndex(flow.overlay()));
        tables.overlays.prefetch_treatment(OverlayIndex(flow.overlay()));
        tables.endpoints.prefetch(flow.endpoint());
    }

    #[inline(always)]
    fn forward(&self, frame: &mut Frame, flow: PackedFlow, verdict: &mut Verdict) -> Option<()> {
        match ethertype(self.context.umem.data(frame))? {
            IPV4 => self.route::<PlainV4>(frame, flow, verdict),
            IPV6 => self.route::<PlainV6>(frame, flow, verdict),
            _ => None,
        }
    }

    #[cold]
    #[inline(never)]
    fn decide(&self, frame: &mut Frame) -> Verdict {
        let Context { tables, umem, flows, .. } = self.context;
        if Question::read(tables, self.port, umem.data(frame)).is_some() {
            return Stop::punt(Reason::ShardQuestion, OverlayIndex::NONE).into();
        }
        let mut arrival = Arrival::NONE;
        let decision = match arrival.read(self.port_mac, umem.data(frame)) {
            Ok(()) => {
                let station = flows.get(arrival.key);
                ingress::decide(tables, &arrival, station.as_ref(), umem.data(frame))
            }
            Err(reason) => Err(Stop::Drop(reason)),
        };
        match decision {
            Ok(ingress) => ingress.rewrite(umem, frame),
            Err(stop) => stop.into(),
        }
    }
}
