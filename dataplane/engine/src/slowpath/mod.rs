//! The slow path: one thread, the only writer of the tables, that answers what stations ask of the router.

mod answer;
mod arp;
mod ndp;
mod waiting;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use wire::Vni;
use wire::ethernet::EthernetFrame;

use crate::api::{Event, NextHop, PortIndex, Update};
use crate::counters::Reason;
use crate::tables::{Snapshot, Writer};
use port::MAX_FRAME;
use waiting::WaitingPackets;

/// Entries of the rings between a worker and the slow path.
pub(crate) const RING: usize = 256;
/// Longest sleep: a bound on how late the thread notices that it is to stop.
const SLEEP: Duration = Duration::from_millis(100);
/// Updates that are applied before readers see them and punts get their turn.
const UPDATES_AT_ONCE: usize = 1024;

/// What a worker hands over. The frame is inside and not boxed: a worker does not allocate.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
pub(crate) enum Punted {
    /// An inner frame from an admitted station.
    FromStation { reason: Reason, vni: Vni, endpoint: IpAddr, frame: FrameCopy },
    /// An IP packet, not aged yet, for a neighbour that must be resolved.
    Resolve { next_hop: NextHop, packet: FrameCopy },
}

/// The bytes of a frame, out of the frame memory.
pub(crate) struct FrameCopy {
    len: u16,
    bytes: [u8; MAX_FRAME],
}

impl FrameCopy {
    /// A copy of at most [`MAX_FRAME`] bytes; what is beyond is cut off.
    #[inline]
    pub(crate) fn of(frame: &[u8]) -> Self {
        let len = frame.len().min(MAX_FRAME);
        let mut copy = Self { len: len as u16, bytes: [0; MAX_FRAME] };
        copy.bytes[..len].copy_from_slice(&frame[..len]);
        copy
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len.into()]
    }
}

impl std::fmt::Debug for FrameCopy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FrameCopy({} bytes)", self.len)
    }
}

/// A frame that the slow path made, for a worker to send.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) port: PortIndex,
    pub(crate) frame: FrameCopy,
}

/// The slow path's ends of the rings to a worker.
pub(crate) struct WorkerLink {
    pub(crate) punts: rtrb::Consumer<Punted>,
    pub(crate) answers: rtrb::Producer<Answer>,
    pub(crate) waker: port::Waker,
}

/// The thread's state.
pub(crate) struct SlowPath {
    writer: Writer,
    updates: Receiver<Update>,
    workers: Vec<WorkerLink>,
    events: Box<dyn Fn(Event) + Send>,
    stop: Arc<AtomicBool>,
    waiting: WaitingPackets,
}

impl SlowPath {
    /// What a thread for these workers starts with.
    pub(crate) fn new(
        writer: Writer,
        updates: Receiver<Update>,
        workers: Vec<WorkerLink>,
        events: Box<dyn Fn(Event) + Send>,
        stop: Arc<AtomicBool>,
    ) -> Self {
        Self { writer, updates, workers, events, stop, waiting: WaitingPackets::default() }
    }

    /// Runs until told to stop. Workers and control unpark the thread when they have given it something.
    pub(crate) fn run(mut self) {
        while !self.stop.load(Ordering::Relaxed) {
            let updated = self.apply_updates();
            let punted = self.take_punts();
            let maintained = self.writer.maintain();
            if !updated && !punted && !maintained {
                std::thread::park_timeout(SLEEP);
            }
        }
    }

    /// Whether there was anything.
    pub(crate) fn apply_updates(&mut self) -> bool {
        let mut any = false;
        for update in self.updates.try_iter().take(UPDATES_AT_ONCE) {
            self.writer.apply(update);
            any = true;
        }
        self.writer.publish();
        if any {
            self.send_waiting();
        }
        any
    }

    /// Sends the packets whose neighbours have become known.
    fn send_waiting(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let tables = self.writer.current();
        let known = |next_hop| tables.on_link.get(&next_hop)?.mac.get();
        // Any worker can send them: the first always exists.
        let worker = &mut self.workers[0];
        for (next_hop, mac, packet) in self.waiting.release(Instant::now(), known) {
            if let Some(answer) = answer::route_out(tables, next_hop.port, mac, packet.bytes()) {
                let _ = worker.answers.push(answer);
            }
        }
        worker.waker.wake();
    }

    /// Whether there was anything.
    pub(crate) fn take_punts(&mut self) -> bool {
        let mut any = false;
        for worker in &mut self.workers {
            let mut answered = false;
            // One ring's worth at most, so that updates get their turn under a storm.
            for _ in 0..RING {
                let Ok(punted) = worker.punts.pop() else { break };
                any = true;
                match punted {
                    Punted::Resolve { next_hop, packet } => {
                        self.waiting.keep(next_hop, packet, Instant::now());
                        (self.events)(Event::Resolve(next_hop));
                    }
                    Punted::FromStation { reason, vni, endpoint, frame } => {
                        if let Some(answer) =
                            answer(self.writer.current(), reason, vni, endpoint, frame.bytes())
                        {
                            // A full ring means that the worker can't keep up: the station asks again.
                            answered |= worker.answers.push(answer).is_ok();
                        }
                    }
                }
            }
            if answered {
                worker.waker.wake();
            }
        }
        any
    }
}

/// What the router says to a frame from a station, if anything.
pub(crate) fn answer(
    tables: &Snapshot,
    reason: Reason,
    vni: Vni,
    endpoint: IpAddr,
    frame: &[u8],
) -> Option<Answer> {
    let overlay = tables.overlays.get(tables.overlays.by_vni(vni)?);
    let sender = EthernetFrame::new_checked(frame).ok()?.src();
    let inner = match reason {
        Reason::Arp => arp::answer(&tables.fixed, overlay, frame)?,
        Reason::Ndp => ndp::answer(&tables.fixed, overlay, frame)?,
        _ => return None,
    };
    answer::encapsulate(tables, vni, endpoint, sender, &inner)
}

#[cfg(test)]
mod tests;
