//! The way of a batch of frames: decided about on what they are, then rewritten in place.
//!
//! ```text
//! underlay: link ▸ decapsulate ▸ station ▸ admit ▸ classify ─▸ route ▸ rewrite ▸ uplink
//!                                                     └▸ slow path
//! uplink:   link ▸ station ▸ rewrite ▸ encapsulate ▸ underlay
//! ```
//!
//! Deciding reads the frame and the tables and changes nothing; a frame is rewritten only when it is sure to leave.
//!
//! A batch goes through in stages, all its frames through one before any through the next, because the tables are much
//! larger than the caches: what a later stage reads is asked for in an earlier one, so that misses overlap.

mod decapsulate;
mod egress;
pub(crate) mod encapsulate;
mod flow;
mod ingress;
pub(crate) mod ip;
pub(crate) mod link;

use std::net::IpAddr;

use arrayvec::ArrayVec;
use port::{BATCH, Batch, Frame, Umem};
use wire::ethernet::{self, EthernetRepr};
use wire::{MacAddr, Vni};

use crate::api::{NextHop, PortIndex, Role};
use crate::counters::{Counters, Reason};
use crate::tables::flow::{Flow, FlowKey, View};
use crate::tables::{OverlayIndex, Snapshot};
use egress::Egress;
use encapsulate::overhead;
use ingress::Ingress;

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

/// What the slow path is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Punt {
    /// An inner frame from an admitted station: the bytes from `inner` to `end` of the frame.
    FromStation { reason: Reason, vni: Vni, endpoint: IpAddr, inner: u16, end: u16 },
    /// A neighbour whose MAC address is not known, and the packet for it: the bytes from `packet` to `end` of the frame.
    Resolve { next_hop: NextHop, packet: u16, end: u16 },
}

impl Punt {
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::FromStation { reason, .. } => *reason,
            Self::Resolve { .. } => Reason::Resolving,
        }
    }
}

/// Why a frame is not forwarded.
pub(crate) enum Stop {
    Punt(Punt),
    Drop(Reason),
}

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
    }
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
            None => egress::decide(tables, &arrivals[index], stations[index].as_ref(), umem.data(frame)),
            Some(reason) => Err(Stop::Drop(reason)),
        };
        verdicts.push(match decision {
            Ok(egress) => egress.rewrite(umem, frame),
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
            Some(reason) => Err(reason),
        };
        verdicts.push(match decision {
            Ok(ingress) => ingress.rewrite(tables.fixed.router_mac, umem, frame),
            Err(reason) => Verdict::Drop(reason),
        });
    }
}

/// Leaves only the packet at `start` of the frame, one hop older.
#[inline]
fn strip(umem: &Umem, frame: &mut Frame, start: u16, header: &ip::IpHeader) -> bool {
    let kept = frame.pull(start.into());
    frame.truncate(header.len.into());
    header.age(umem.data_mut(frame));
    kept
}

impl Egress<'_> {
    #[inline]
    fn rewrite(&self, umem: &Umem, frame: &mut Frame) -> Verdict {
        // What was there before the packet is longer than what comes before it now.
        let room = strip(umem, frame, self.packet, self.header) && frame.push(ethernet::HEADER_LEN);
        debug_assert!(room, "decided on this very frame");
        EthernetRepr {
            dst: self.link.destination,
            src: self.link.source,
            ethertype: self.header.ethertype(),
        }
        .emit(umem.data_mut(frame));
        Verdict::Transmit(Forwarded {
            port: self.port,
            reason: Reason::Egress,
            overlay: self.overlay,
            bytes: self.header.len,
        })
    }
}

impl Ingress<'_> {
    #[inline]
    fn rewrite(&self, router_mac: MacAddr, umem: &Umem, frame: &mut Frame) -> Verdict {
        let overhead = overhead(self.outer);
        // A frame starts at the headroom or above it, which is more than any encapsulation takes.
        let room = strip(umem, frame, self.packet, self.header)
            && frame.push(ethernet::HEADER_LEN)
            && frame.push(overhead);
        assert!(room, "received frames have headroom");
        let bytes = umem.data_mut(frame);
        EthernetRepr { dst: self.station, src: router_mac, ethertype: self.header.ethertype() }
            .emit(&mut bytes[overhead..]);
        encapsulate::write(bytes, self.outer, self.link, self.vni, self.source_port);
        Verdict::Transmit(Forwarded {
            port: self.port,
            reason: Reason::Ingress,
            overlay: self.overlay,
            bytes: self.header.len,
        })
    }
}

#[cfg(test)]
mod tests;
