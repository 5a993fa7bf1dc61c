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

use arrayvec::ArrayVec;
use port::{BATCH, Frame};
use sys::prefetch;

use super::{Context, Verdict};
use crate::api::{PortIndex, Role};
use crate::tables::flow::{Candidate, FlowKey, Hash, PackedFlow};

pub(super) use plain::take;
pub(super) use underlay::FromUnderlay;
pub(super) use uplink::FromUplink;

/// Frames that go through a stage together. What is asked for in one stage must arrive before the next; but a core has
/// only some two dozen cache lines on their way at a time, and frames begin at the same places of their chunks, so that few
/// of them fit into the first-level cache side by side.
const GROUP: usize = 8;
/// Stages that frames go through.
const STAGES: usize = 4;

/// Verdicts of a batch.
type Verdicts = ArrayVec<Verdict, BATCH>;

/// What is done with the frames of a port by its role.
pub(super) trait Lane {
    /// The key of the station that a plain frame is from or for; of any other frame, any key.
    fn key(&self, frame: &[u8]) -> FlowKey;
    /// Asks for what will be read because of the flow.
    fn expect(&self, flow: PackedFlow);
    /// The short way: rewrites a plain frame, the flow of whose key is `flow`, and adds the verdict. `None`, and the
    /// frame is as it was, and no verdict: not sure.
    fn forward(&self, frame: &mut Frame, flow: PackedFlow, verdicts: &mut Verdicts) -> Option<()>;
    /// The general way: decides about any frame, and rewrites it.
    fn decide(&self, frame: &mut Frame) -> Verdict;
}

/// What is held of a frame between the stages.
#[derive(Clone, Copy)]
struct Held<'a> {
    key: FlowKey,
    hash: Hash,
    candidate: Option<Candidate<'a>>,
    flow: Option<PackedFlow>,
}

/// Takes a batch through the stages, each a group of frames ahead of the next, since the tables are much larger than the
/// caches: what a later stage reads is asked for in an earlier one, so that misses overlap. `verdicts` gets one for each
/// frame, in order.
pub(super) fn run<L: Lane>(context: Context<'_>, lane: &L, frames: &mut [Frame], verdicts: &mut Verdicts) {
    let nothing = Held { key: FlowKey::NOBODY, hash: Hash::default(), candidate: None, flow: None };
    let mut held = [nothing; BATCH];
    let count = frames.len();
    let groups = count.div_ceil(GROUP);
    for turn in 0..groups + STAGES - 1 {
        let [keyed, sought, found, done] = [0, 1, 2, 3].map(|stage| {
            let group = turn.checked_sub(stage).filter(|group| *group < groups)?;
            Some(group * GROUP..count.min((group + 1) * GROUP))
        });
        if let Some(group) = keyed {
            key(context, lane, &frames[group.clone()], &mut held[group]);
        }
        if let Some(group) = sought {
            seek(context, &mut held[group]);
        }
        if let Some(group) = found {
            find(context, lane, &mut held[group]);
        }
        if let Some(group) = done {
            finish(lane, &mut frames[group.clone()], &held[group], verdicts);
        }
    }
}

// Functions of their own, so that each has the registers to itself.

/// First stage: reads the keys, and asks for their buckets.
#[inline(never)]
fn key<L: Lane>(Context { flows, umem, .. }: Context<'_>, lane: &L, frames: &[Frame], held: &mut [Held<'_>]) {
    for frame in frames {
        // The lines after it are fetched by the hardware, which sees where this goes.
        prefetch::read_at(umem.data(frame), 0);
    }
    for (frame, held) in frames.iter().zip(held) {
        held.key = lane.key(umem.data(frame));
        held.hash = flows.hash(held.key);
        flows.prefetch(held.hash);
    }
}

/// Second stage: reads the buckets, and asks for the records.
#[inline(never)]
fn seek<'a>(Context { flows, .. }: Context<'a>, held: &mut [Held<'a>]) {
    for held in held {
        held.candidate = Some(flows.candidate(held.hash));
    }
}

/// Third stage: reads the records, and asks for what they lead to.
#[inline(never)]
fn find<L: Lane>(Context { flows, .. }: Context<'_>, lane: &L, held: &mut [Held<'_>]) {
    for held in held {
        let Some(candidate) = held.candidate else { continue };
        held.flow = flows.packed(held.key, held.hash, candidate);
        if let Some(flow) = held.flow {
            lane.expect(flow);
        }
    }
}

/// Last stage: decides and rewrites.
#[inline(never)]
fn finish<L: Lane>(lane: &L, frames: &mut [Frame], held: &[Held<'_>], verdicts: &mut Verdicts) {
    for (frame, held) in frames.iter_mut().zip(held) {
        if held.flow.and_then(|flow| lane.forward(frame, flow, verdicts)).is_none() {
            verdicts.push(lane.decide(frame));
        }
    }
}

/// A port with both roles: what is VXLAN for us is from the underlay, the rest from the outer network.
pub(super) struct Stick<'a> {
    underlay: FromUnderlay<'a>,
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

    fn forward(&self, frame: &mut Frame, flow: PackedFlow, verdicts: &mut Verdicts) -> Option<()> {
        let is_vxlan = self.underlay.is_vxlan(self.underlay.bytes(frame));
        if is_vxlan {
            self.underlay.forward(frame, flow, verdicts)
        } else {
            self.uplink.forward(frame, flow, verdicts)
        }
    }

    fn decide(&self, frame: &mut Frame) -> Verdict {
        let is_vxlan = self.underlay.is_vxlan(self.underlay.bytes(frame));
        if is_vxlan { self.underlay.decide(frame) } else { self.uplink.decide(frame) }
    }
}

/// The type of an Ethernet frame.
#[inline(always)]
fn ethertype(frame: &[u8]) -> Option<u16> {
    frame.get(12..14).map(|bytes| u16::from_be_bytes(take(bytes)))
}

/// EtherTypes.
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

/// Takes two frames with the same bytes the two ways, and panics unless both do the same: where the short way forwards,
/// the general one does, and makes the same of the frame; where it does not, it has left the frame alone. Whether the
/// short way forwarded. For tests and fuzzers.
pub(crate) fn agree(context: Context<'_>, port: PortIndex, frame: &mut Frame, twin: &mut Frame) -> bool {
    match context.tables.fixed.port(port).role {
        Role::Underlay => agree_in(context, &FromUnderlay::new(context, port), frame, twin),
        Role::Uplink => agree_in(context, &FromUplink::new(context, port), frame, twin),
        Role::Both => agree_in(context, &Stick::new(context, port), frame, twin),
    }
}

fn agree_in<L: Lane>(context: Context<'_>, lane: &L, frame: &mut Frame, twin: &mut Frame) -> bool {
    let Context { flows, umem, .. } = context;
    let key = lane.key(umem.data(frame));
    let hash = flows.hash(key);
    let flow = flows.packed(key, hash, flows.candidate(hash));
    let mut verdicts = Verdicts::new();
    let forwarded = flow.and_then(|flow| lane.forward(frame, flow, &mut verdicts));
    if forwarded.is_some() {
        verdicts.push(lane.decide(twin));
        let same = matches!(verdicts[..], [Verdict::Transmit(short), Verdict::Transmit(general)] if short == general);
        assert!(same, "{verdicts:?}");
    }
    assert_eq!(umem.data(frame), umem.data(twin));
    forwarded.is_some()
}

#[cfg(test)]
mod tests;
