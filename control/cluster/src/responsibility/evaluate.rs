//! The rules for one group.

use std::time::Instant;

use super::{Claims, Moves, Responsibility};
use crate::assign::{GatewayId, Key, Members};
use crate::event::{Action, Cause, Presence};
use crate::settings::Mode;

/// For so many times `claim_wait` an orphan is let go of to a lower id alone. Its winner has another view than we: to let go of
/// it for each other would go on and on.
const KEPT: u32 = 50;

impl Responsibility {
    /// What is to be done with a group, why, and since when that has been known. It is done with this: the books are
    /// changed.
    pub(super) fn evaluate(&mut self, group: u32, now: Instant) -> Option<(Action, Cause, Instant)> {
        let winner = self.winner(group);
        let ours = winner == Some(self.id);
        match (self.owned.contains(group), ours) {
            (true, _) => {
                let successor = if ours { None } else { self.successor(group, winner) };
                if let Some(cause) = successor {
                    self.release(group, now);
                    return Some((Action::Release, cause, self.since));
                }
                let again = self.announce_again(group);
                again.then_some((Action::AnnounceAgain, Cause::Contested, self.since))
            }
            (false, true) => {
                self.orphans.remove(&group);
                if self.is_held_by_its_owner(group) {
                    return None;
                }
                let (cause, since) = self.cause(group);
                Some((self.take(group, now), cause, since))
            }
            (false, false) => {
                if !winner.is_some_and(|winner| self.is_orphan(group, winner)) {
                    self.orphans.remove(&group);
                    return None;
                }
                // One after the other, so that one of them takes it.
                let before =
                    self.serving.as_slice().iter().filter(|m| m.id < self.id && Some(m.id) != winner).count();
                let until = now + self.claim_wait * (before as u32 + 1);
                let until = *self.orphans.entry(group).or_insert(until);
                if until > now {
                    return None;
                }
                self.orphans.remove(&group);
                self.kept.insert(group, now + self.claim_wait * KEPT);
                Some((self.take(group, now), Cause::Orphaned, until))
            }
        }
    }

    /// Whose a group is by assignment, among those that serve.
    fn winner(&mut self, group: u32) -> Option<GatewayId> {
        let before = self.winners[group as usize];
        let Mode::Announce(vnis) = &self.mode else { return before };
        let known = before.and_then(|id| self.serving.find(id)).filter(|_| !self.recompute);
        let key = Key::overlay(vnis[group as usize]);
        let winner = match known {
            Some(_) if self.came.is_empty() => return before,
            // Each draws for itself: the best of all is the best of the best before and those that came.
            Some(known) => {
                let came =
                    self.came.iter().filter(|&&id| id != known.id).filter_map(|&id| self.serving.find(id));
                Members::new(came.chain([known])).ok().and_then(|members| members.winner(key))
            }
            None => self.serving.winner(key),
        };
        self.winners[group as usize] = winner;
        winner
    }

    fn take(&mut self, group: u32, now: Instant) -> Action {
        self.owned.insert(group);
        self.contested.remove(group);
        self.former_until.remove(&group);
        self.announced(group);
        self.note_owner(group, self.id, now);
        let sequence = self.sequences.get_mut(group as usize).map(|sequence| {
            let next = sequence.map_or(0, |highest| highest.saturating_add(1));
            *sequence = Some(next);
            next
        });
        Action::Take { sequence }
    }

    fn release(&mut self, group: u32, now: Instant) {
        self.owned.remove(group);
        self.kept.remove(&group);
        self.contested.remove(group);
        self.held.remove(group);
        self.change(group);
        if !self.grace.is_zero() {
            let until = now + self.grace;
            self.former.push_back((until, group));
            self.former_until.insert(group, until);
        }
    }

    /// Whether a group of ours was another's too, and is no longer. In mode `announce` endpoints fall back by themselves
    /// when the other one withdraws its route.
    fn announce_again(&mut self, group: u32) -> bool {
        if !self.contested.contains(group) || self.is_claimed(group) {
            return false;
        }
        self.contested.remove(group);
        if self.is_floating() {
            self.announced(group);
        }
        self.is_floating()
    }

    /// Who serves a group of ours that we are not to serve: its winner, else the lowest of those who do.
    fn successor(&self, group: u32, winner: Option<GatewayId>) -> Option<Cause> {
        let serves = |claims: &Claims| {
            claims.connected && claims.presence == Presence::Serving && claims.serves.contains(group)
        };
        let kept = self.kept.contains_key(&group);
        let winner = winner.filter(|&winner| !kept || winner < self.id);
        let winner = winner.filter(|winner| self.peers.get(winner).is_some_and(serves));
        if let Some(winner) = winner {
            return Some(Cause::Taken(winner));
        }
        let we_serve = self.serving.find(self.id).is_some();
        let others = self.peers.iter().filter(|&(&id, claims)| serves(claims) && (id < self.id || !we_serve));
        others.map(|(&id, _)| Cause::Yielded(id)).next()
    }

    /// Whether a living peer says that it serves a group.
    fn is_claimed(&self, group: u32) -> bool {
        self.peers.values().any(|claims| claims.alive && claims.serves.contains(group))
    }

    /// Whether who serves it says that it has moved too often.
    fn is_held_by_its_owner(&self, group: u32) -> bool {
        self.peers.values().any(|claims| claims.presence == Presence::Serving && claims.held.contains(group))
    }

    /// Whether a shard is nobody's: its winner could tell us that it serves it, and does not. Views of who serves may differ
    /// for long where not every gateway hears every other, and quotas make winners depend on all of them. The best of the
    /// overlays' winners is the best in each view: there it cannot be.
    fn is_orphan(&self, group: u32, winner: GatewayId) -> bool {
        self.is_floating()
            && self.serving.find(self.id).is_some()
            && self.peers.get(&winner).is_some_and(|claims| claims.connected)
            && !self.is_claimed(group)
    }

    /// Why a group is ours now, and since when.
    fn cause(&self, group: u32) -> (Cause, Instant) {
        let Some(owner) = self.last_owner[group as usize].filter(|&owner| owner != self.id) else {
            return (Cause::Unowned, self.since);
        };
        let Some(claims) = self.peers.get(&owner) else { return (Cause::Died(owner), self.since) };
        let cause = match claims.presence {
            Presence::Serving => return (Cause::Won(owner), self.since),
            Presence::Unheard | Presence::Dead => Cause::Died(owner),
            Presence::Silent | Presence::Joining | Presence::Restarted => Cause::Restarted(owner),
            Presence::Unhealthy => Cause::Unhealthy(owner),
            Presence::Leaving => Cause::Leaving(owner),
        };
        (cause, claims.since)
    }

    /// Notes who has taken a group. It is a move if another had it before.
    pub(super) fn note_owner(&mut self, group: u32, owner: GatewayId, now: Instant) {
        let before = self.last_owner[group as usize].replace(owner);
        let moved = before.is_some_and(|before| before != owner);
        if let Some(limit) = self.limit.filter(|_| moved) {
            let Moves { count, last } = &mut self.moves[group as usize];
            let recent = last.is_some_and(|last| now.saturating_duration_since(last) < limit.window);
            *count = if recent { count.saturating_add(1) } else { 1 };
            *last = Some(now);
        }
        self.hold_if_restless(group, now);
    }

    /// A group of ours that has moved too often says so, until it has rested for a window.
    pub(super) fn hold_if_restless(&mut self, group: u32, now: Instant) {
        let (Some(limit), Moves { count, last: Some(last) }) = (self.limit, self.moves[group as usize])
        else {
            return;
        };
        let until = last + limit.window;
        let restless = count >= limit.moves && until > now;
        if restless && self.owned.contains(group) && self.held.insert(group) {
            self.held_until.insert((until, group));
            self.change(group);
        }
    }
}
