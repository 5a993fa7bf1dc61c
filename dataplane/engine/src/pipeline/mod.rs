//! The way of a frame: decided about on what it is, then rewritten in place.
//!
//! ```text
//! underlay: link ▸ decapsulate ▸ admit ▸ classify ─▸ route ▸ rewrite ▸ uplink
//!                                          └▸ slow path
//! uplink:   link ▸ overlay by LPM ▸ station ▸ rewrite ▸ encapsulate ▸ underlay
//! ```
//!
//! Deciding reads the frame and the tables and changes nothing; a frame is rewritten only when it is sure to leave.

mod decapsulate;
mod egress;
pub(crate) mod encapsulate;
mod flow;
mod ingress;
pub(crate) mod ip;
pub(crate) mod link;

use std::net::IpAddr;

use port::{Frame, Umem};
use wire::Vni;
use wire::ethernet::{self, EthernetRepr};

use crate::api::{NextHop, PortIndex, Role};
use crate::counters::Reason;
use crate::tables::Snapshot;
use egress::Egress;
use encapsulate::overhead;
use ingress::Ingress;

/// What is to be done with a frame.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It was rewritten; send it.
    Transmit(PortIndex, Reason),
    /// The slow path must see it, or something of it.
    Punt(Punt),
    /// Drop it.
    Drop(Reason),
}

/// What the slow path is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Punt {
    /// An inner frame from an admitted station: the bytes from `inner` to `end` of the frame.
    FromStation { reason: Reason, vni: Vni, endpoint: IpAddr, inner: usize, end: usize },
    /// A neighbour whose MAC address is not known, and the packet for it: the bytes from `packet` to `end` of the frame.
    Resolve { next_hop: NextHop, packet: usize, end: usize },
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

/// Takes a frame from `port` through the pipeline.
#[inline]
pub(crate) fn process(tables: &Snapshot, umem: &Umem, port: PortIndex, frame: &mut Frame) -> Verdict {
    let decision = match tables.fixed.port(port).role {
        Role::Underlay => {
            egress::decide(tables, port, umem.data(frame)).map(|egress| egress.rewrite(umem, frame))
        }
        Role::Uplink => ingress::decide(tables, port, umem.data(frame))
            .map(|ingress| ingress.rewrite(tables, umem, frame)),
    };
    match decision {
        Ok(verdict) => verdict,
        Err(Stop::Punt(punt)) => Verdict::Punt(punt),
        Err(Stop::Drop(reason)) => Verdict::Drop(reason),
    }
}

/// Leaves only the packet at `start` of the frame, one hop older.
#[inline]
fn strip(umem: &Umem, frame: &mut Frame, start: usize, header: &ip::IpHeader) -> bool {
    let kept = frame.pull(start);
    frame.truncate(header.len);
    header.age(umem.data_mut(frame));
    kept
}

impl Egress {
    #[inline]
    fn rewrite(&self, umem: &Umem, frame: &mut Frame) -> Verdict {
        // What was there before the packet is longer than what comes before it now.
        let room = strip(umem, frame, self.packet, &self.header) && frame.push(ethernet::HEADER_LEN);
        assert!(room, "decided on this very frame");
        EthernetRepr {
            dst: self.link.destination,
            src: self.link.source,
            ethertype: self.header.ethertype(),
        }
        .emit(umem.data_mut(frame));
        Verdict::Transmit(self.port, Reason::Egress)
    }
}

impl Ingress<'_> {
    #[inline]
    fn rewrite(&self, tables: &Snapshot, umem: &Umem, frame: &mut Frame) -> Verdict {
        let overhead = overhead(self.outer);
        // A frame starts at the headroom or above it, which is more than any encapsulation takes.
        let room = strip(umem, frame, self.packet, &self.header)
            && frame.push(ethernet::HEADER_LEN)
            && frame.push(overhead);
        assert!(room, "received frames have headroom");
        let bytes = umem.data_mut(frame);
        EthernetRepr { dst: self.station, src: tables.fixed.router_mac, ethertype: self.header.ethertype() }
            .emit(&mut bytes[overhead..]);
        encapsulate::write(bytes, self.outer, self.link, self.vni, self.source_port);
        Verdict::Transmit(self.port, Reason::Ingress)
    }
}

#[cfg(test)]
mod tests;
