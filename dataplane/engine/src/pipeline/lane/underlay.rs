//! Frames from the underlay: decapsulated and routed.

use port::Frame;
use wire::{MacAddr, Vni, ethernet};

use super::plain::{Plain, PlainV4, PlainV6, take};
use super::{IPV4, IPV6, Lane, ethertype};
use crate::api::PortIndex;
use crate::counters::Reason;
use crate::pipeline::decapsulate::{COMMON_V4, COMMON_V6, Expected, Outer};
use crate::pipeline::egress::{self, Arrival, Decision};
use crate::pipeline::encapsulate::{LinkAddresses, mac_bits};
use crate::pipeline::ip::{IpHeader, NOT_ECT};
use crate::pipeline::question::Question;
use crate::pipeline::{Context, Forwarded, Stop, Verdict, ecn, filter};
use crate::tables::OverlayIndex;
use crate::tables::flow::{FlowKey, PackedFlow};

/// What comes from the underlay. Without `SHARDS` the short way takes what was sent to the gateway's own address alone,
/// and asks nothing about shards.
pub(in crate::pipeline) struct FromUnderlay<'a, const SHARDS: bool> {
    context: Context<'a>,
    port: PortIndex,
    expected: Expected<'a>,
    router_mac: u64,
}

impl<'a, const SHARDS: bool> FromUnderlay<'a, SHARDS> {
    pub(in crate::pipeline) fn new(context: Context<'a>, port: PortIndex) -> Self {
        let expected = Expected::new(context.tables, port);
        Self { context, port, router_mac: mac_bits(expected.router_mac), expected }
    }

    pub(super) fn bytes<'f>(&'f self, frame: &'f Frame) -> &'f [u8] {
        self.context.umem.data(frame)
    }

    /// Whether a frame is from the underlay, where a port has both roles.
    pub(super) fn is_vxlan(&self, frame: &[u8]) -> bool {
        !matches!(Outer::parse(&self.expected, frame), Err(Reason::NotVxlan))
    }

    #[inline(always)]
    fn decapsulate(
        &self,
        frame: &mut Frame,
        outer: Outer,
        flow: PackedFlow,
        verdict: &mut Verdict,
    ) -> Option<()> {
        let inner = self.bytes(frame).get(outer.inner.into()..outer.end.into())?;
        match ethertype(inner)? {
            IPV4 => self.route::<PlainV4>(frame, outer, flow, verdict),
            IPV6 => self.route::<PlainV6>(frame, outer, flow, verdict),
            _ => None,
        }
    }

    #[inline(always)]
    fn route<P: Plain>(
        &self,
        frame: &mut Frame,
        outer: Outer,
        flow: PackedFlow,
        verdict: &mut Verdict,
    ) -> Option<()> {
        let Context { tables, umem, .. } = self.context;
        let overlay = OverlayIndex(flow.overlay());
        if !tables.is_vtep_of(overlay, &outer, umem.data(frame)) {
            return None;
        }
        let inner = umem.data_mut(frame).get_mut(outer.inner.into()..outer.end.into())?;
        let packet = P::read(inner)?;
        let is_admitted = packet.is_for(self.router_mac)
            && packet.is_from_station(self.router_mac)
            && tables.endpoints.get(flow.endpoint()).address == outer.endpoint
            && tables.overlays.is_usual_station_source(overlay, packet.source())
            && (outer.ecn == NOT_ECT || ecn::decapsulated(outer.ecn, packet.traffic_class()) == Ok(None))
            && packet.ttl() > 1;
        if !is_admitted {
            return None;
        }
        let way = tables.fib.lookup(packet.destination())?;
        let adjacency = way.router(&tables.fixed, || packet.entropy().path())?;
        let (port, len) = (adjacency.port, packet.len());
        let link = LinkAddresses { destination: adjacency.mac.get()?, source: tables.fixed.port_mac(port) };
        let may_leave =
            tables.rules.is_empty() || self.is_allowed::<P>(overlay, &inner[ethernet::HEADER_LEN..]);
        if len > tables.fixed.port(port).mtu || !may_leave {
            return None;
        }
        P::forward(inner, link);
        let kept = frame.pull(outer.inner.into());
        debug_assert!(kept, "the inner frame was rewritten");
        frame.truncate(ethernet::HEADER_LEN + usize::from(len));
        *verdict = Verdict::Transmit(Forwarded { port, reason: Reason::Egress, overlay, bytes: len });
        Some(())
    }

    #[inline(never)]
    fn is_allowed<P: Plain>(&self, overlay: OverlayIndex, packet: &[u8]) -> bool {
        IpHeader::parse(P::ETHERTYPE, packet)
            .is_ok_and(|header| filter::outward(self.context.tables, overlay, &header, packet).is_ok())
    }
}

impl<const SHARDS: bool> Lane for FromUnderlay<'_, SHARDS> {
    #[inline(always)]
    fn key(&self, frame: &[u8]) -> FlowKey {
        let Some(headers) = frame.first_chunk::<{ COMMON_V6 + ethernet::HEADER_LEN }>() else {
            return FlowKey::NOBODY;
        };
        // The VNI and a byte; the inner source MAC address and two bytes: words are read at once.
        let (vni, mac) = match u16::from_ne_bytes(take(&headers[12..])) {
            IPV4 => (take(&headers[COMMON_V4 - 4..]), take(&headers[COMMON_V4 + 6..])),
            IPV6 => (take(&headers[COMMON_V6 - 4..]), take(&headers[COMMON_V6 + 6..])),
            _ => return FlowKey::NOBODY,
        };
        let [mac @ .., _, _] = u64::from_ne_bytes(mac).to_ne_bytes();
        let vni = Vni::new(u32::from_be_bytes(vni) >> 8);
        vni.map_or(FlowKey::NOBODY, |vni| FlowKey::mac(vni, MacAddr(mac)))
    }

    #[inline(always)]
    fn expect(&self, flow: PackedFlow) {
        let Context { counters, tables, .. } = self.context;
        counters.prefetch_overlay(OverlayIndex(flow.overlay()));
        tables.overlays.prefetch(OverlayIndex(flow.overlay()));
    }

    #[inline(always)]
    fn forward(&self, frame: &mut Frame, flow: PackedFlow, verdict: &mut Verdict) -> Option<()> {
        let bytes = self.bytes(frame);
        match ethertype(bytes)? {
            IPV4 => {
                let outer = Outer::parse_common_v4::<SHARDS>(&self.expected, bytes)?;
                self.decapsulate(frame, outer, flow, verdict)
            }
            IPV6 => {
                let outer = Outer::parse_common_v6::<SHARDS>(&self.expected, bytes)?;
                self.decapsulate(frame, outer, flow, verdict)
            }
            _ => None,
        }
    }

    #[cold]
    #[inline(never)]
    fn decide(&self, frame: &mut Frame) -> Verdict {
        let Context { umem, flows, .. } = self.context;
        let port = self.port;
        if Question::read(self.context.tables, port, umem.data(frame)).is_some() {
            return Stop::punt(Reason::ShardQuestion, OverlayIndex::NONE).into();
        }
        let mut arrival = Arrival::NONE;
        let decision = match arrival.read(&self.expected, umem.data(frame)) {
            Ok(()) => {
                let station = flows.get(arrival.key);
                egress::decide(&self.context, &arrival, station.as_ref(), umem.data(frame))
            }
            Err(reason) => Err(Stop::Drop(reason)),
        };
        match decision {
            Ok(Decision::Out(egress)) => egress.rewrite(umem, frame),
            Ok(Decision::Across(ingress)) => ingress.rewrite(umem, frame),
            Err(stop) => stop.into(),
        }
    }
}
