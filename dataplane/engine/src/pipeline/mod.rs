//! The way of a batch of frames: decided about on what they are, then rewritten in place.
//!
//! ```text
//! underlay: link ▸ decapsulate ▸ station ▸ admit ▸ classify ▸ route ┬▸ filter ▸ limit ▸ rewrite ▸ uplink
//!                                                   │               └▸ filter ▸ station ▸ (as below)
//!                                                   └▸ slow path
//! uplink:   link ▸ station ▸ limit ▸ rewrite ▸ encapsulate ▸ underlay
//! ```
//!
//! Deciding reads the frame and the tables and changes nothing; a frame is rewritten only when it is sure to leave.
//!
//! A batch goes through in stages, all its frames through one before any through the next, because the tables are much
//! larger than the caches: what a later stage reads is asked for in an earlier one, so that misses overlap.

pub(crate) mod decapsulate;
mod ecn;
mod egress;
pub(crate) mod encapsulate;
pub(crate) mod filter;
mod flow;
mod ingress;
pub(crate) mod ip;
pub(crate) mod link;

use arrayvec::ArrayVec;
use port::{BATCH, Batch, Frame, Umem};
use wire::ethernet::{self, EthernetRepr};

use crate::api::{PortIndex, Role};
use crate::counters::{Counters, Reason};
use crate::tables::flow::{Flow, FlowKey, View};
use crate::tables::{OverlayIndex, Snapshot};
use egress::{Decision, Egress};
use encapsulate::{Label, overhead};
use ingress::Ingress;
use ip::IpHeader;

/// What a batch is decided about with.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) tables: &'a Snapshot,
    pub(crate) flows: &'a View<'a>,
    pub(crate) umem: &'a Umem,
    pub(crate) counters: &'a Counters,
}

/// What is to be done with a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Verdict {
    /// It was rewritten; send it.
    Transmit(Forwarded),
    /// The slow path must see it, or something of it.
    Punt(Punt),
    /// Drop it.
    Drop(Reason),
}

/// A frame that is ready to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Forwarded {
    pub(crate) port: PortIndex,
    pub(crate) reason: Reason,
    pub(crate) overlay: OverlayIndex,
    /// Bytes of the IP packet inside.
    pub(crate) bytes: u16,
}

/// What the slow path is to be given, with the frame as it arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Punt {
    /// What for. If the frame is dropped, its sender may be told.
    pub(crate) reason: Reason,
    /// The overlay that it came from, or from the outer network is for.
    pub(crate) overlay: OverlayIndex,
    /// Of what is too long: the longest that could have passed.
    pub(crate) mtu: u16,
}

/// Why a frame is not forwarded.
pub(crate) enum Stop {
    Punt(Punt),
    Drop(Reason),
}

impl Stop {
    fn punt(reason: Reason, overlay: OverlayIndex) -> Self {
        Self::Punt(Punt { reason, overlay, mtu: 0 })
    }

    /// A packet that is longer than `mtu`: routers cut IPv4 unless DF is set (RFC 1812 §4.2.2.7), and nothing else.
    #[cold]
    fn too_big(header: &IpHeader, packet: &[u8], overlay: OverlayIndex, mtu: u16) -> Self {
        let may_cut =
            header.source.is_ipv4() && packet.get(6).is_some_and(|flags| flags & DONT_FRAGMENT == 0);
        let reason = if may_cut { Reason::Fragmented } else { Reason::TooBig };
        Self::Punt(Punt { reason, overlay, mtu })
    }
}

/// In the byte of the flags of an IPv4 header.
const DONT_FRAGMENT: u8 = 0x40;

impl<R: Into<Reason>> From<R> for Stop {
    fn from(reason: R) -> Self {
        Self::Drop(reason.into())
    }
}

impl From<Stop> for Verdict {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Punt(punt) => Self::Punt(punt),
            Stop::Drop(reason) => Self::Drop(reason),
        }
    }
}

/// What is held of a batch between the stages; kept by the caller from one batch to the next, so that it is neither
/// allocated nor cleared.
pub(crate) struct Scratch {
    from_underlay: [egress::Arrival; BATCH],
    from_uplink: [ingress::Arrival; BATCH],
    /// Why a frame is dropped without a look at the tables.
    refused: [Option<Reason>; BATCH],
    keys: [FlowKey; BATCH],
    stations: [Option<Flow>; BATCH],
    /// One for each frame of the last batch, in order.
    pub(crate) verdicts: ArrayVec<Verdict, BATCH>,
}

impl Scratch {
    pub(crate) fn new() -> Box<Self> {
        Box::new(Self {
            from_underlay: [const { egress::Arrival::NONE }; BATCH],
            from_uplink: [const { ingress::Arrival::NONE }; BATCH],
            refused: [None; BATCH],
            keys: [FlowKey::NOBODY; BATCH],
            stations: [None; BATCH],
            verdicts: ArrayVec::new(),
        })
    }
}

/// Takes a batch from `port` through the pipeline; the verdicts are in `scratch`.
pub(crate) fn process(context: Context<'_>, scratch: &mut Scratch, port: PortIndex, batch: &mut Batch) {
    for frame in batch.iter() {
        // The lines after it are fetched by the hardware, which sees where this goes.
        sys::prefetch::read_at(context.umem.data(frame), 0);
    }
    scratch.verdicts.clear();
    match context.tables.fixed.port(port).role {
        Role::Underlay => from_underlay(context, scratch, port, batch),
        Role::Uplink => from_uplink(context, scratch, port, batch),
        Role::Both => from_stick(context, scratch, port, batch),
    }
}

/// A port with both roles: what is VXLAN for us is from the underlay, the rest from the outer network.
fn from_stick(context: Context<'_>, scratch: &mut Scratch, port: PortIndex, batch: &mut Batch) {
    let expected = decapsulate::Expected::new(&context.tables.fixed, port);
    let mut verdicts = ArrayVec::new();
    let mut done = Batch::new();
    for frame in batch.drain(..) {
        let mut one = Batch::from_iter([frame]);
        scratch.verdicts.clear();
        match decapsulate::Outer::parse(&expected, context.umem.data(&one[0])) {
            Err(Reason::NotVxlan) => from_uplink(context, scratch, port, &mut one),
            _ => from_underlay(context, scratch, port, &mut one),
        }
        verdicts.extend(scratch.verdicts.drain(..));
        done.extend(one);
    }
    *batch = done;
    scratch.verdicts = verdicts;
}

fn from_underlay(context: Context<'_>, scratch: &mut Scratch, port: PortIndex, batch: &mut Batch) {
    let Context { tables, umem, flows, counters } = context;
    let Scratch { from_underlay: arrivals, refused, keys, stations, verdicts, .. } = scratch;
    let count = batch.len();
    let expected = decapsulate::Expected::new(&tables.fixed, port);
    for (index, frame) in batch.iter().enumerate() {
        let arrival = &mut arrivals[index];
        refused[index] = arrival.read(&expected, umem.data(frame)).err();
        keys[index] = arrival.key;
    }
    flows.get_all(&keys[..count], |index, station| {
        stations[index] = station;
        if let Some(Flow { overlay, .. }) = station {
            counters.prefetch_overlay(OverlayIndex(overlay));
            tables.overlays.prefetch(OverlayIndex(overlay));
        }
    });
    for (index, frame) in batch.iter_mut().enumerate() {
        let decision = match refused[index] {
            None => egress::decide(&context, &arrivals[index], stations[index].as_ref(), umem.data(frame)),
            Some(reason) => Err(Stop::Drop(reason)),
        };
        verdicts.push(match decision {
            Ok(Decision::Out(egress)) => egress.rewrite(umem, frame),
            Ok(Decision::Across(ingress)) => ingress.rewrite(umem, frame),
            Err(stop) => stop.into(),
        });
    }
}

fn from_uplink(context: Context<'_>, scratch: &mut Scratch, port: PortIndex, batch: &mut Batch) {
    let Context { tables, umem, flows, counters } = context;
    let Scratch { from_uplink: arrivals, refused, keys, stations, verdicts, .. } = scratch;
    let count = batch.len();
    let port_mac = tables.fixed.port_mac(port);
    for (index, frame) in batch.iter().enumerate() {
        let arrival = &mut arrivals[index];
        refused[index] = arrival.read(port_mac, umem.data(frame)).err();
        keys[index] = arrival.key;
    }
    flows.get_all(&keys[..count], |index, station| {
        stations[index] = station;
        if let Some(Flow { overlay, .. }) = station {
            counters.prefetch_overlay(OverlayIndex(overlay));
        }
    });
    for (index, frame) in batch.iter_mut().enumerate() {
        let decision = match refused[index] {
            None => ingress::decide(tables, &arrivals[index], stations[index].as_ref(), umem.data(frame)),
            Some(reason) => Err(Stop::Drop(reason)),
        };
        verdicts.push(match decision {
            Ok(ingress) => ingress.rewrite(umem, frame),
            Err(stop) => stop.into(),
        });
    }
}

/// Leaves only the packet at `start` of the frame, one hop older.
#[inline]
fn strip(umem: &Umem, frame: &mut Frame, start: u16, header: &IpHeader, ecn: Option<u8>) -> bool {
    let kept = frame.pull(start.into());
    frame.truncate(header.len.into());
    let packet = umem.data_mut(frame);
    header.age(packet);
    if let Some(ecn) = ecn {
        ip::set_ecn(packet, ecn);
    }
    kept
}

impl Egress<'_> {
    #[inline]
    fn rewrite(&self, umem: &Umem, frame: &mut Frame) -> Verdict {
        // What was there before the packet is longer than what comes before it now.
        let room = strip(umem, frame, self.packet, self.header, self.ecn) && frame.push(ethernet::HEADER_LEN);
        debug_assert!(room, "decided on this very frame");
        EthernetRepr {
            dst: self.link.destination,
            src: self.link.source,
            ethertype: self.header.ethertype(),
        }
        .emit(umem.data_mut(frame));
        Verdict::Transmit(Forwarded {
            port: self.port,
            reason: self.reason,
            overlay: self.overlay,
            bytes: self.header.len,
        })
    }
}

impl Ingress<'_> {
    #[inline]
    fn rewrite(&self, umem: &Umem, frame: &mut Frame) -> Verdict {
        let overhead = overhead(self.outer);
        // A frame starts at the headroom or above it, which is more than any encapsulation takes.
        let room = strip(umem, frame, self.packet, self.header, self.ecn)
            && frame.push(ethernet::HEADER_LEN)
            && frame.push(overhead);
        assert!(room, "received frames have headroom");
        let bytes = umem.data_mut(frame);
        EthernetRepr { dst: self.station, src: self.source, ethertype: self.header.ethertype() }
            .emit(&mut bytes[overhead..]);
        let Self { vni, source_port, traffic_class, .. } = *self;
        encapsulate::write(bytes, self.outer, self.link, Label { vni, source_port, traffic_class });
        Verdict::Transmit(Forwarded {
            port: self.port,
            reason: self.reason,
            overlay: self.overlay,
            bytes: self.header.len,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests;
