//! Why a frame went the way it went: the copy is taken through the pipeline again, and each step told with the values
//! that it used.

use std::io;
use std::sync::Arc;

use port::{Batch, ChunkSize, FramePool, Umem};
use wire::Vni;

use super::narrate::{self, Scene};
use super::{Direction, Tapped};
use crate::counters::{Counters, Reason};
use crate::limit;
use crate::pipeline::{self, Context, Scratch, Verdict};
use crate::tables::Snapshot;
use crate::tables::flow::View;

/// A step of a frame's way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its name: a word.
    pub name: &'static str,
    /// What was found.
    pub detail: String,
}

/// The way of a received frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The VNI that it came with, or that it was encapsulated with.
    pub vni: Option<Vni>,
    /// As far as it came, in order.
    pub steps: Vec<Step>,
    /// How its way would end with the tables as they are now, if that is otherwise than it ended: they changed meanwhile,
    /// or a rate limit has.
    pub now: Option<Reason>,
}

/// A pipeline of its own, for one frame after the other.
pub(crate) struct Explainer {
    umem: Arc<Umem>,
    pool: FramePool,
    scratch: Box<Scratch>,
}

impl Explainer {
    pub(crate) fn new() -> io::Result<Self> {
        let (umem, pool) = Umem::new(1, ChunkSize::Large)?;
        Ok(Self { umem, pool, scratch: Scratch::new() })
    }

    /// Explains a received frame; of a transmitted one there is nothing to tell. `interfaces` are the names of the
    /// ports.
    pub(crate) fn explain(
        &mut self,
        tables: &Snapshot,
        flows: &View<'_>,
        counters: &Counters,
        interfaces: &[&str],
        tapped: &Tapped,
    ) -> Explanation {
        if tapped.direction == Direction::Transmitted {
            return Explanation { vni: None, steps: Vec::new(), now: None };
        }
        let (verdict, sent) = self.verdict(tables, flows, counters, tapped);
        let reason = match verdict {
            Verdict::Transmit(forwarded) => forwarded.reason,
            Verdict::Punt(punt) => punt.reason,
            Verdict::Drop(reason) => reason,
        };
        let scene = Scene { tables, flows, interfaces, tapped };
        let (vni, steps) = narrate::tell(&scene, verdict, reason, &sent);
        // What workers decide after the pipeline says nothing about the tables.
        let is_afterwards =
            matches!(tapped.reason, Reason::TransmitFull | Reason::Policed | Reason::PuntFull);
        let now = (reason != tapped.reason && !is_afterwards).then_some(reason);
        Explanation { vni, steps, now }
    }

    /// What the pipeline says, and what it makes of the frame.
    fn verdict(
        &mut self,
        tables: &Snapshot,
        flows: &View<'_>,
        counters: &Counters,
        tapped: &Tapped,
    ) -> (Verdict, Vec<u8>) {
        let mut frame = self.pool.take().expect("the one frame is put back below");
        let fits = frame.reset(tapped.frame.len());
        assert!(fits, "a copy holds no more than a frame");
        self.umem.data_mut(&mut frame).copy_from_slice(&tapped.frame);
        let mut batch = Batch::from_iter([frame]);
        let context = Context { tables, flows, umem: &self.umem, counters };
        limit::rehearse(|| pipeline::process(context, &mut self.scratch, tapped.port, &mut batch));
        let sent = batch.iter().flat_map(|frame| self.umem.data(frame)).copied().collect();
        batch.into_iter().for_each(|frame| self.pool.put(frame));
        (self.scratch.verdicts[0], sent)
    }
}
