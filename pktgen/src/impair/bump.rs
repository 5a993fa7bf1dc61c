//! A bump in a wire: what comes in at one port goes out at the other, impaired one way.

use std::sync::Arc;

use port::{Batch, Frame, FramePool, Port, Umem};

use super::{Deeds, Impairment, Rules};

/// Two ports and what is between them.
pub struct Bump {
    umem: Arc<Umem>,
    pool: FramePool,
    /// The frames of the first are impaired on their way to the second.
    ports: [Vec<Port>; 2],
    impairment: Impairment,
    /// A frame that was due and did not fit.
    stuck: Option<Frame>,
}

impl Bump {
    /// Between two netdevs' ports, all over `umem`: what the first receives is impaired, the way back is not.
    /// `pool` must have as many frames as the ports' rings take, and as many to spare as may be on the way.
    pub fn new(umem: Arc<Umem>, mut pool: FramePool, mut ports: [Vec<Port>; 2], rules: Rules) -> Self {
        // What comes from now on is not lost, even if it is long until the first round.
        ports.iter_mut().flatten().for_each(|port| port.refill(&mut pool));
        Self { umem, pool, ports, impairment: Impairment::new(rules), stuck: None }
    }

    /// What was done so far.
    pub fn deeds(&self) -> Deeds {
        self.impairment.deeds()
    }

    /// Serves both ports once; whether anything moved. `clock` tells the time in nanoseconds: it is read after frames
    /// were taken, so that none is let go before its delay is over.
    pub fn round(&mut self, clock: impl Fn() -> u64) -> bool {
        let mut busy = false;
        for side in 0..2 {
            for queue in 0..self.ports[side].len() {
                let port = &mut self.ports[side][queue];
                port.reclaim(&mut self.pool);
                port.refill(&mut self.pool);
                let mut batch = Batch::new();
                if port.receive(&mut batch) == 0 {
                    continue;
                }
                busy = true;
                let now = clock();
                for frame in batch {
                    match side {
                        0 => self.impair(frame, now),
                        _ => self.pass_back(queue, frame),
                    }
                }
            }
        }
        busy |= self.send_due(clock());
        self.ports.iter_mut().flatten().for_each(Port::flush);
        busy
    }

    /// Ends it at `now`: what is held back is let go, what is due is sent, and what is not is counted as cut off.
    pub fn cut(&mut self, now: u64) {
        self.flush();
        self.send_due(now);
        self.ports.iter_mut().flatten().for_each(Port::flush);
        self.impairment.deeds.cut = self.impairment.line.len() as u64 + u64::from(self.stuck.is_some());
    }

    fn send_due(&mut self, now: u64) -> bool {
        let mut busy = false;
        while let Some(frame) = self.stuck.take().or_else(|| self.impairment.next(now)) {
            busy = true;
            // By one queue only: the order of several would be anybody's.
            if let Err(frame) = self.ports[1][0].transmit(frame) {
                self.stuck = Some(frame);
                break;
            }
        }
        busy
    }

    /// Lets go what is held back; to be called when nothing more comes.
    pub fn flush(&mut self) {
        self.impairment.line.flush();
    }

    fn impair(&mut self, mut frame: Frame, now: u64) {
        let Self { umem, pool, impairment, .. } = self;
        let fate = impairment.decide(umem.data_mut(&mut frame));
        let copy = |frame: &mut Frame| {
            let mut copy = pool.take()?;
            let bytes = umem.data(frame);
            if !copy.reset(bytes.len()) {
                pool.put(copy);
                return None;
            }
            umem.data_mut(&mut copy).copy_from_slice(bytes);
            Some(copy)
        };
        if let Some(lost) = impairment.carry(frame, fate, now, copy) {
            self.pool.put(lost);
        }
    }

    fn pass_back(&mut self, queue: usize, frame: Frame) {
        let queue = queue % self.ports[0].len();
        if let Err(frame) = self.ports[0][queue].transmit(frame) {
            self.pool.put(frame);
        }
    }
}
