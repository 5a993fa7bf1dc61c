//! What is known of one peer, and what follows from it.

use std::time::Instant;

use crate::assign::Weight;
use crate::event::{Heard, Presence, Refusal};
use crate::message::Report;
use crate::settings::Settings;

/// A peer.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) configured: bool,
    pub(super) discovered: bool,
    /// As the configuration has it, and as it has said.
    pub(super) expected: Weight,
    pub(super) said: Option<Weight>,
    /// By [`Segment`](crate::Segment).
    pub(super) heard: [Heard; 2],
    pub(super) connected: bool,
    pub(super) refused: Option<Refusal>,
    pub(super) incarnation: Option<u64>,
    /// Of one with its id that was refused, as it was told last.
    pub(super) duplicate: Option<u64>,
    /// It has shown itself with another incarnation than before.
    pub(super) restarted: bool,
    /// The last of its incarnation.
    pub(super) report: Option<Report>,
    /// What it had said counts no more since it was heard to say AdminDown, and it has said nothing since.
    pub(super) unsaid: bool,
    pub(super) bindings_complete: bool,
    pub(super) known_since: Instant,
    pub(super) alive_since: Option<Instant>,
    pub(super) presence: Presence,
    pub(super) out: Outbox,
}

/// What is to be sent to it.
#[derive(Clone, Debug, Default)]
pub(super) struct Outbox {
    /// Words of groups, first and last.
    pub(super) serves: Option<(u32, u32)>,
    /// All groups have been told once.
    pub(super) told_all: bool,
    pub(super) number: u32,
    /// The last one has not been applied yet.
    pub(super) in_flight: bool,
    pub(super) report: bool,
    pub(super) applied: Option<u32>,
    pub(super) duplicate: Option<u64>,
}

impl Peer {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            configured: false,
            discovered: false,
            expected: Weight::default(),
            said: None,
            heard: [Heard::NotYet; 2],
            connected: false,
            refused: None,
            incarnation: None,
            duplicate: None,
            restarted: false,
            report: None,
            unsaid: false,
            bindings_complete: false,
            known_since: now,
            alive_since: None,
            presence: Presence::Unheard,
            out: Outbox::default(),
        }
    }

    /// How much of the work is to be its own. What it has said counts while it lives: others may not have heard it, and of one
    /// that is dead they never will. With other weights than theirs two gateways would serve one shard for as long.
    pub(super) fn weight(&self) -> Weight {
        self.said.filter(|_| self.is_alive()).unwrap_or(self.expected)
    }

    /// BFD says that it is dead: one session says AdminDown, or all that have been up are down.
    pub(super) fn is_dead(&self) -> bool {
        self.heard.contains(&Heard::AdminDown)
            || self.heard.contains(&Heard::Down) && !self.heard.contains(&Heard::Up)
    }

    /// BFD hears it; where it has not yet, its session counts. Not yet up is not dead.
    pub(super) fn is_alive(&self) -> bool {
        !self.is_dead() && (self.heard.contains(&Heard::Up) || self.connected)
    }

    /// What it is. Its own report decides whether it can serve, with one of its BFD sessions down or none.
    pub(super) fn presence(&self, settings: &Settings, now: Instant) -> Presence {
        if self.is_dead() {
            return Presence::Dead;
        }
        let Some(since) = self.alive_since.filter(|_| self.is_alive()) else { return Presence::Unheard };
        match &self.report {
            Some(report) if !report.health.healthy => Presence::Unhealthy,
            Some(report) if report.leaving => Presence::Leaving,
            Some(report) if report.joined => Presence::Serving,
            Some(_) => Presence::Joining,
            None if self.is_refused() => Presence::Silent,
            None if self.restarted => Presence::Restarted,
            // It will say of us what we say of it: both serve their shares.
            None if now >= since + settings.session_wait => Presence::Serving,
            None => Presence::Silent,
        }
    }

    fn is_refused(&self) -> bool {
        matches!(self.refused, Some(Refusal::Settings { .. } | Refusal::DuplicateId { .. }))
    }

    /// Until when a gateway that joins, and began to at `joining`, waits for this one; `Err`: as long as things are so.
    pub(super) fn waits(&self, settings: &Settings, id: u16, joining: Instant) -> Result<Instant, ()> {
        if self.heard.contains(&Heard::AdminDown) {
            return Ok(joining);
        }
        if self.is_dead() {
            // Or it says so because we were: then it is heard again as soon as its sessions are up.
            return Ok(joining + settings.revive_wait);
        }
        let unheard = self.known_since.max(joining) + settings.join_wait;
        let heard = self.heard.contains(&Heard::Up);
        match (&self.report, self.refused) {
            (Some(_), _) if self.bindings_complete && heard => Ok(joining),
            _ if !self.is_alive() => Ok(unheard),
            (Some(_), _) if self.bindings_complete => Ok(unheard),
            (None, Some(Refusal::Settings { incarnation })) => {
                let older = (incarnation, id) < (settings.incarnation, settings.id.value());
                if older { Err(()) } else { Ok(joining) }
            }
            _ => Ok(self.alive_since.unwrap_or(joining).max(joining) + settings.session_wait),
        }
    }

    /// There is no session.
    pub(super) fn close(&mut self) {
        self.connected = false;
        self.out = Outbox::default();
    }

    /// What it has said counts no more.
    pub(super) fn forget(&mut self) {
        self.report = None;
        self.bindings_complete = false;
    }
}

#[cfg(test)]
mod tests {
    use Heard::{AdminDown, Down, NotYet, Up};

    use super::*;

    #[test]
    fn who_is_dead_and_who_alive_by_its_two_sessions_of_bfd() {
        let table = [
            ([NotYet, NotYet], false, false),
            ([NotYet, Up], false, true),
            ([Up, Up], false, true),
            ([Up, Down], false, true),
            ([NotYet, Down], true, false),
            ([Down, Down], true, false),
            ([AdminDown, Up], true, false),
            ([AdminDown, Down], true, false),
            ([AdminDown, NotYet], true, false),
            ([AdminDown, AdminDown], true, false),
        ];
        for ([one, other], dead, alive) in table {
            for heard in [[one, other], [other, one]] {
                let peer = Peer { heard, ..Peer::new(Instant::now()) };
                assert_eq!((peer.is_dead(), peer.is_alive()), (dead, alive), "{heard:?}");
            }
        }
    }
}
