//! The way of a batch through the stages.
//!
//! Nearly all frames are *plain*: no tags, options, extension headers or fragments outside, none inside, from a station
//! to the outer network or the other way, and nothing is to be said about them. They have a short way, on which every
//! field is at a constant place of the frame, and nothing is carried from stage to stage but the flow.
//!
//! The short way says "forwarded like this" or "not sure". What it is not sure about goes the general way, which alone
//! knows why something is not forwarded. Whatever the short way forwards, the general way would forward alike.

mod plain;
mod underlay;
mod uplink;

use port::{BATCH, Frame};

use super::{Context, Verdict};
use crate::api::{PortIndex, Role};
use crate::tables::flow::{FlowKey, Lookup, PackedFlow};

pub(super) use plain::take;
pub(super) use underlay::FromUnderlay;
pub(super) use uplink::FromUplink;

/// Frames that go through a stage together. What is asked for in one stage must arrive before the next; but a core has
/// only some two dozen cache lines on their way at a time, and frames begin at the same places of their chunks, so that few
/// of them fit into the first-level cache side by side.
const GROUP: usize = 8;
/// Stages that frames go through.
const STAGES: usize = 4;

/// What is done with the frames of a port by its role.
pub(super) trait Lane {
    /// The key of the station that a plain frame is from or for; of any other frame, any key.
    fn key(&self, frame: &[u8]) -> FlowKey;
    /// Asks for what will be read because of the flow.
    fn expect(&self, flow: PackedFlow);
    /// The short way: rewrites a plain frame, the flow of whose key is `flow`, and writes the verdict. `None`, and the
    /// frame is as it was, and no verdict: not sure.
    fn forward(&self, frame: &mut Frame, flow: PackedFlow, verdict: &mut Verdict) -> Option<()>;
    /// The general way: decides about any frame, and rewrites it.
    fn decide(&self, frame: &mut Frame) -> Verdict;
}

/// What is held of a frame between the stages.
#[derive(Clone, Copy)]
struct Held<'a> {
    lookup: Option<Lookup<'a>>,
    flow: Option<PackedFlow>,
}

/// Takes a batch through the stages, each a group of frames ahead of the next, since the tables are much larger than the
/// caches: what a later stage reads is asked for in an earlier one, so that misses overlap. The first of `verdicts` are
/// those of the frames, in order.
pub(super) fn run<L: Lane>(
    context: Context<'_>,
    lane: &L,
    frames: &mut [Frame],
    verdicts: &mut [Verdict; BATCH],
) {
    let mut held: [[Held<'_>; GROUP]; STAGES] =
        std::array::from_fn(|_| [Held { lookup: None, flow: None }; GROUP]);
    let groups = frames.len().div_ceil(GROUP);
    for turn in 0..groups + STAGES - 1 {
        // The frames that are in a stage now, and where they are held.
        let at = |stage: usize| {
            let group = turn.wrapping_sub(stage);
            let start = group.wrapping_mul(GROUP);
            (group < groups).then_some((start, group % STAGES))
        };
        if let Some((start, place)) = at(0) {
            key(context, lane, group(&frames[start..]), &mut held[place]);
        }
        if let Some((_, place)) = at(1) {
            seek(context, &mut held[place]);
        }
        if let Some((_, place)) = at(2) {
            find(context, lane, &mut held[place]);
        }
        if let Some((start, place)) = at(3) {
            let count = GROUP.min(frames.len() - start);
            finish(lane, &mut frames[start..start + count], &held[place], &mut verdicts[start..]);
        }
    }
}

fn group(frames: &[Frame]) -> &[Frame] {
    frames.get(..GROUP).unwrap_or(frames)
}

// Functions of their own, so that each has the registers to itself.

/// First stage: reads the keys, and asks for their buckets.
#[inline(never)]
fn key<'a, L: Lane>(
    Context { flows, umem, .. }: Context<'a>,
    lane: &L,
    frames: &[Frame],
    held: &mut [Held<'a>; GROUP],
) {
    for frame in frames {
        // The lines after it are fetched by the hardware, which sees where this goes.
        umem.prefetch(frame);
    }
    for (n, held) in held.iter_mut().enumerate() {
        held.lookup = frames.get(n).map(|frame| flows.begin(lane.key(umem.data(frame))));
    }
}

/// Second stage: reads the buckets, and asks for the records.
#[inline(never)]
fn seek<'a>(Context { flows, .. }: Context<'a>, held: &mut [Held<'a>; GROUP]) {
    for lookup in held.iter_mut().filter_map(|held| held.lookup.as_mut()) {
        flows.advance(lookup);
    }
}

/// Third stage: reads the records, and asks for what they lead to.
#[inline(never)]
fn find<L: Lane>(Context { flows, .. }: Context<'_>, lane: &L, held: &mut [Held<'_>; GROUP]) {
    for Held { lookup, flow } in held {
        *flow = lookup.as_ref().and_then(|lookup| flows.packed(lookup));
        if let Some(flow) = *flow {
            lane.expect(flow);
        }
    }
}

/// Last stage: decides and rewrites.
#[inline(never)]
fn finish<L: Lane>(lane: &L, frames: &mut [Frame], held: &[Held<'_>; GROUP], verdicts: &mut [Verdict]) {
    for ((frame, held), verdict) in frames.iter_mut().zip(held).zip(verdicts) {
        if held.flow.and_then(|flow| lane.forward(frame, flow, verdict)).is_none() {
            *verdict = lane.decide(frame);
        }
    }
}

/// A port with both roles: what is VXLAN for us is from the underlay, the rest from the outer network.
pub(super) struct Stick<'a> {
    underlay: FromUnderlay<'a, true>,
    uplink: FromUplink<'a>,
}

impl<'a> Stick<'a> {
    pub(super) fn new(context: Context<'a>, port: PortIndex) -> Self {
        Self { underlay: FromUnderlay::new(context, port), uplink: FromUplink::new(context, port) }
    }
}

impl Lane for Stick<'_> {
    fn key(&self, frame: &[u8]) -> FlowKey {
        if self.underlay.is_vxlan(frame) { self.underlay.key(frame) } else { self.uplink.key(frame) }
    }

    fn expect(&self, flow: PackedFlow) {
        self.underlay.expect(flow);
        self.uplink.expect(flow);
    }

    fn forward(&self, frame: &mut Frame, flow: PackedFlow, verdict: &mut Verdict) -> Option<()> {
        let is_vxlan = self.underlay.is_vxlan(self.underlay.bytes(frame));
        if is_vxlan {
            self.underlay.forward(frame, flow, verdict)
        } else {
            self.uplink.forward(frame, flow, verdict)
        }
    }

    fn decide(&self, frame: &mut Frame) -> Verdict {
        let is_vxlan = self.underlay.is_vxlan(self.underlay.bytes(frame));
        if is_vxlan { self.underlay.decide(frame) } else { self.uplink.decide(frame) }
    }
}

/// The type of an Ethernet frame, as it lies there.
#[inline(always)]
fn ethertype(frame: &[u8]) -> Option<u16> {
    frame.get(12..14).map(|bytes| u16::from_ne_bytes(take(bytes)))
}

/// EtherTypes, as they lie in a frame.
const IPV4: u16 = 0x0800_u16.to_be();
const IPV6: u16 = 0x86dd_u16.to_be();

/// Takes two frames with the same bytes the two ways, and panics unless both do the same: where the short way forwards,
/// the general one does, and makes the same of the frame; where it does not, it has left the frame alone. Whether the
/// short way forwarded. For tests and fuzzers.
pub(crate) fn agree(context: Context<'_>, port: PortIndex, frame: &mut Frame, twin: &mut Frame) -> bool {
    match context.tables.fixed.port(port).role {
        Role::Underlay if context.tables.overlays.shards.is_empty() => {
            agree_in(context, &FromUnderlay::<false>::new(context, port), frame, twin)
        }
        Role::Underlay => agree_in(context, &FromUnderlay::<true>::new(context, port), frame, twin),
        Role::Uplink => agree_in(context, &FromUplink::new(context, port), frame, twin),
        Role::Both => agree_in(context, &Stick::new(context, port), frame, twin),
    }
}

fn agree_in<L: Lane>(context: Context<'_>, lane: &L, frame: &mut Frame, twin: &mut Frame) -> bool {
    let Context { flows, umem, .. } = context;
    let mut lookup = flows.begin(lane.key(umem.data(frame)));
    flows.advance(&mut lookup);
    let mut verdict = Verdict::NONE;
    let forwarded = flows.packed(&lookup).and_then(|flow| lane.forward(frame, flow, &mut verdict));
    if forwarded.is_some() {
        let verdicts = [verdict, lane.decide(twin)];
        let same =
            matches!(verdicts, [Verdict::Transmit(short), Verdict::Transmit(general)] if short == general);
        assert!(same, "{verdicts:?}");
    }
    assert_eq!(umem.data(frame), umem.data(twin));
    forwarded.is_some()
}

#[cfg(test)]
mod tests;
