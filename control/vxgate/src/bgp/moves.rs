//! Announcing the router of overlays that this gateway takes, and withdrawing it where it lets go, in mode `announce`.
//!
//! ```text
//!  cluster's thread ── Announcer ── what is taken and let go of, one overlay after the other ──▶ task ──▶ speaker
//!                          └─────── all is let go of: before anything else ───────────────────▶
//! ```
//!
//! The task takes from the channel as fast as a peer takes routes, the cluster's thread moves what there is room for in the
//! channel: so a gateway that takes over tens of thousands of overlays begins with those that carry most, whatever peers can
//! take.

use std::sync::Arc;
use std::time::{Duration, Instant};

use evpn::Speaker;
use evpn::net::Handle;
use tokio::sync::{mpsc, watch};

use super::OVERLAYS_AT_ONCE;
use super::announce::{Announced, Common};

/// Overlays that wait for being announced.
const WAITING: usize = 256;

/// Overlays that are announced together.
const AT_ONCE: usize = 32;

/// Routes that may wait for peers' sockets when more are announced: some messages full.
const AHEAD: u64 = 256;

/// An overlay is taken, with this mobility sequence, or let go of.
#[derive(Clone, Copy, Debug)]
struct Change {
    /// How often all had been let go of before.
    round: u64,
    /// Its place among the overlays.
    overlay: u32,
    sequence: Option<u32>,
}

/// How the cluster's thread has overlays announced.
#[derive(Debug)]
pub(crate) struct Announcer {
    changes: mpsc::Sender<Change>,
    /// How often all were let go of.
    round: watch::Sender<u64>,
}

impl Announcer {
    /// For how many changes there is room. It does not get less but by [`announce`](Self::announce).
    pub(crate) fn room(&self) -> usize {
        self.changes.capacity()
    }

    /// Announces the router of the overlay in this place with a mobility sequence, or withdraws it.
    pub(crate) fn announce(&self, overlay: u32, sequence: Option<u32>) {
        let change = Change { round: *self.round.borrow(), overlay, sequence };
        // There is room, or nobody announces any more.
        let _ = self.changes.try_send(change);
    }

    /// Withdraws the router of all overlays; what waits for being announced is not.
    pub(crate) fn withdraw_all(&self) {
        self.round.send_modify(|round| *round += 1);
    }
}

/// The other end: what is announced of which overlay.
#[derive(Debug)]
pub(super) struct Moves {
    changes: mpsc::Receiver<Change>,
    round: watch::Receiver<u64>,
    common: Arc<Common>,
    overlays: Arc<[Announced]>,
    /// Whether the router is announced, by the place of the overlay.
    taken: Vec<bool>,
    /// As of which round.
    as_of: u64,
}

impl Moves {
    /// Of these overlays, none of which is taken.
    pub(super) fn new(common: Common, overlays: Arc<[Announced]>) -> (Announcer, Self) {
        let (sender, changes) = mpsc::channel(WAITING);
        let (rounds, round) = watch::channel(0);
        let taken = vec![false; overlays.len()];
        let announcer = Announcer { changes: sender, round: rounds };
        (announcer, Self { changes, round, common: Arc::new(common), overlays, taken, as_of: 0 })
    }

    /// Tells the speaker until nobody moves overlays any more. `room` is called when there is room for more; `told` when a peer's
    /// connection has all of them: how many there were, and how long that took from the first.
    pub(super) async fn run(mut self, speaker: Handle, room: impl Fn(), told: impl Fn(usize, Duration)) {
        let mut changes = Vec::with_capacity(AT_ONCE);
        // Since the last time that all was told.
        let mut begun: Option<(usize, Instant)> = None;
        loop {
            let is_last = begun.filter(|_| self.changes.is_empty());
            tokio::select! {
                biased;
                changed = self.round.changed() => match changed {
                    Ok(()) => self.withdraw_all(&speaker).await,
                    Err(_) => return,
                },
                count = self.changes.recv_many(&mut changes, AT_ONCE) => {
                    if count == 0 {
                        return;
                    }
                    room();
                    begun.get_or_insert((0, Instant::now())).0 += count;
                    self.withdraw_all(&speaker).await;
                    self.announce(&mut changes, &speaker).await;
                }
                Some(now) = speaker.call_paced(0, |_, now| now), if is_last.is_some() => {
                    if let Some((count, since)) = begun.take() {
                        told(count, now.saturating_duration_since(since));
                    }
                }
            }
        }
    }

    async fn announce(&mut self, changes: &mut Vec<Change>, speaker: &Handle) {
        // Whoever sent them knew of no later round.
        changes.retain(|change| change.round == self.as_of);
        let batch = std::mem::take(changes);
        for Change { overlay, sequence, .. } in &batch {
            if let Some(taken) = self.taken.get_mut(*overlay as usize) {
                *taken = sequence.is_some();
            }
        }
        let (common, overlays) = (Arc::clone(&self.common), Arc::clone(&self.overlays));
        let (round, as_of) = (self.round.clone(), self.as_of);
        let tell = move |speaker: &mut Speaker, _| {
            // It may have waited for long, and all been let go of meanwhile.
            if *round.borrow() != as_of {
                return;
            }
            for Change { overlay, sequence, .. } in batch {
                let Some(overlay) = overlays.get(overlay as usize) else { continue };
                match sequence {
                    Some(sequence) => overlay.take(sequence, &common, speaker),
                    None => overlay.release(&common, speaker),
                }
            }
        };
        tokio::select! {
            _ = speaker.call_paced(AHEAD, tell) => {}
            // A peer that takes nothing holds up no withdrawal of all.
            _ = self.round.changed() => self.withdraw_all(speaker).await,
        }
    }

    /// Withdraws what is announced, if all is let go of; whatever peers take.
    async fn withdraw_all(&mut self, speaker: &Handle) {
        let round = *self.round.borrow_and_update();
        if std::mem::replace(&mut self.as_of, round) == round {
            return;
        }
        let taken = std::mem::replace(&mut self.taken, vec![false; self.overlays.len()]);
        let places: Vec<usize> = (0..taken.len()).filter(|&place| taken[place]).collect();
        for places in places.chunks(OVERLAYS_AT_ONCE) {
            let (common, overlays) = (Arc::clone(&self.common), Arc::clone(&self.overlays));
            let places = places.to_vec();
            let tell = move |speaker: &mut Speaker, _| {
                places.iter().for_each(|&place| overlays[place].release(&common, speaker));
            };
            speaker.call(tell).await;
        }
    }
}
