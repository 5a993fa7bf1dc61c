//! From ports to the books.

use std::sync::Arc;

use port::{Batch, FramePool, Port, Umem};

use super::Meter;
use crate::clock;

/// What receives: ports over one memory, and the meter that their frames go to.
pub struct Intake {
    /// The memory of all frames.
    umem: Arc<Umem>,
    pool: FramePool,
    ports: Vec<Port>,
    meter: Meter,
}

impl Intake {
    /// Over ports of `umem`, to whose rings its frames are given at once.
    pub fn new(umem: Arc<Umem>, mut pool: FramePool, mut ports: Vec<Port>, meter: Meter) -> Self {
        ports.iter_mut().for_each(|port| port.refill(&mut pool));
        Self { umem, pool, ports, meter }
    }

    /// Takes a batch from each port; how many frames there were. Allocates nothing.
    ///
    /// The frames of a batch get one time, read right after the batch was taken: with several queues the order of
    /// packets on different ones is that in which they are looked at.
    #[inline]
    pub fn round(&mut self) -> usize {
        let mut frames = 0;
        for port in &mut self.ports {
            let mut batch = Batch::new();
            if port.receive(&mut batch) > 0 {
                let now = clock::now();
                frames += batch.len();
                for frame in batch {
                    self.meter.take(self.umem.data(&frame), now);
                    self.pool.put(frame);
                }
            }
            port.refill(&mut self.pool);
        }
        frames
    }

    /// The ports, to wait for frames at.
    pub fn ports(&self) -> &[Port] {
        &self.ports
    }

    /// The books.
    pub fn meter(&mut self) -> &mut Meter {
        &mut self.meter
    }

    /// The books, when nothing more is to be received.
    pub fn into_meter(self) -> Meter {
        self.meter
    }
}
