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
//! A batch goes through in stages, a group of frames after the other (`lane`). Nearly all frames take a short way
//! there; what this module's other files decide is what the rest is decided by, and what the short way is held against.

pub(crate) mod decapsulate;
pub(crate) mod ecn;
mod egress;
pub(crate) mod encapsulate;
pub(crate) mod filter;
pub(crate) mod flow;
mod ingress;
pub(crate) mod ip;
pub(crate) mod lane;
pub(crate) mod link;
pub(crate) mod question;

use port::{BATCH, Batch, Frame, Umem};
use wire::ethernet::{self, EthernetRepr};

use crate::api::{PortIndex, Role};
use crate::counters::{Counters, Reason};
use crate::tables::flow::View;
use crate::tables::{OverlayIndex, Snapshot};
use egress::Egress;
use encapsulate::{Label, overhead};
use ingress::Ingress;
use ip::IpHeader;
use lane::{FromUnderlay, FromUplink, Stick};

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

impl Verdict {
    /// None yet.
    const NONE: Self = Self::Drop(Reason::Malformed);
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
    /// The overlay that it came from, or from the outer network is for; of what is for the router or an unknown address
    /// of another overlay, that one. Limits are its.
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

    /// What only its sender is told of is limited with the rest of the overlay that it came from, not with that of the
    /// one it is for.
    #[cold]
    fn at_cost_of(self, origin: OverlayIndex) -> Self {
        match self {
            Self::Punt(Punt { reason, mtu, .. })
                if matches!(reason, Reason::TtlExceeded | Reason::TooBig | Reason::Fragmented) =>
            {
                Self::Punt(Punt { reason, overlay: origin, mtu })
            }
            other => other,
        }
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

/// Where a batch's verdicts are left; kept by the caller from one batch to the next.
pub(crate) struct Scratch {
    /// The first are those of the frames of the last batch, in order.
    pub(crate) verdicts: [Verdict; BATCH],
}

impl Scratch {
    pub(crate) fn new() -> Box<Self> {
        Box::new(Self { verdicts: [Verdict::NONE; BATCH] })
    }
}

/// Takes a batch from `port` through the pipeline; the verdicts are in `scratch`.
pub(crate) fn process(context: Context<'_>, scratch: &mut Scratch, port: PortIndex, batch: &mut Batch) {
    let verdicts = &mut scratch.verdicts;
    match context.tables.fixed.port(port).role {
        Role::Underlay if context.tables.overlays.shards.is_empty() => {
            lane::run(context, &FromUnderlay::<false>::new(context, port), batch, verdicts);
        }
        Role::Underlay => lane::run(context, &FromUnderlay::<true>::new(context, port), batch, verdicts),
        Role::Uplink => lane::run(context, &FromUplink::new(context, port), batch, verdicts),
        Role::Both => lane::run(context, &Stick::new(context, port), batch, verdicts),
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
        let Self { vni, source_port, traffic_class, shard, .. } = *self;
        encapsulate::write(bytes, self.outer, self.link, Label { vni, source_port, traffic_class, shard });
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
