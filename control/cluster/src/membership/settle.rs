//! What follows from all that is known. It is worked out anew after each change, in time that depends on the number of
//! members alone.

use std::time::Instant;

use super::peer::Peer;
use super::{Member, Reflectors};
use crate::assign::{self, GatewayId, Members};
use crate::event::{Cause, Event, Heard, Output, Presence, Stage, Unfit};

impl Member {
    pub(super) fn settle(&mut self) {
        self.wake = None;
        self.settle_peers();
        self.settle_fitness();
        self.settle_stage();
        self.settle_members();
        self.spread();
    }

    /// Asks to be woken, if that is still to come.
    fn wake_at(&mut self, at: Instant) {
        if at > self.now && self.wake.is_none_or(|wake| at < wake) {
            self.wake = Some(at);
        }
    }

    fn settle_peers(&mut self) {
        let now = self.now;
        let mut wakes = Vec::new();
        let mut changes = Vec::new();
        let mut gone = Vec::new();
        for (&id, peer) in &mut self.peers {
            let alive = peer.is_alive();
            if !alive {
                let died = peer.alive_since.take().is_some();
                if died && peer.connected && !peer.heard.contains(&Heard::AdminDown) {
                    // The session may be that of a process which is no more.
                    peer.close();
                    self.outputs.push_back(Output::CloseSession(id));
                } else if died && peer.report.as_ref().is_some_and(|report| report.joined) {
                    // It lets go of all, and may be back before it can tell us.
                    peer.report = None;
                    peer.unsaid = true;
                    self.groups.forget(id);
                }
                if !peer.connected {
                    // Whoever comes back may be a new one.
                    peer.forget();
                    self.groups.forget(id);
                    if !peer.configured && !peer.discovered {
                        gone.push(id);
                    }
                }
            } else if peer.alive_since.is_none() {
                peer.alive_since = Some(now);
                if peer.connected && peer.unsaid {
                    // It has told nothing since: its session hangs, or it knows of no AdminDown. In a new one it tells all.
                    peer.close();
                    self.outputs.push_back(Output::CloseSession(id));
                }
            }
            if peer.report.is_none() {
                wakes.extend(peer.alive_since.map(|since| since + self.settings.session_wait));
            } else {
                peer.restarted = false;
            }
            let presence = peer.presence(&self.settings, now);
            if presence != peer.presence {
                peer.presence = presence;
                changes.push(Event::Peer { peer: id, presence });
            }
            self.groups.set_peer(id, alive, peer.connected, presence, now);
        }
        wakes.into_iter().for_each(|at| self.wake_at(at));
        changes.into_iter().for_each(|event| self.event(event));
        for id in gone {
            self.peers.remove(&id);
            self.groups.remove_peer(id);
            self.event(Event::MemberRemoved(id));
        }
    }

    fn settle_fitness(&mut self) {
        if self.duplicate.is_some_and(|(until, _)| until <= self.now) {
            self.duplicate = None;
        }
        let unfit = self.unfitness();
        if let Some((until, _)) = self.duplicate {
            self.wake_at(until);
        }
        if unfit == self.unfit {
            return;
        }
        self.unfit = unfit;
        // There is nobody to say it to when we are cut off; and BFD is to find when that ends.
        let admin_down = unfit.is_some_and(|unfit| unfit != Unfit::CutOff);
        self.set_admin_down(admin_down);
        match unfit {
            Some(unfit) => {
                if self.groups.release_all() {
                    self.outputs.push_back(Output::ReleaseAll { cause: Cause::Unfit(unfit) });
                }
                if matches!(self.stage, Stage::Joining | Stage::Serving | Stage::Unfit) {
                    self.stage = Stage::Unfit;
                    self.tell_stage();
                }
            }
            None if self.stage == Stage::Unfit => self.join(),
            None => {}
        }
        self.report_to_all();
        if admin_down {
            self.settle_peers();
        }
    }

    fn unfitness(&self) -> Option<Unfit> {
        let older = |(_, other): (Instant, u64)| other >= self.settings.incarnation;
        if self.duplicate.is_some_and(older) {
            return Some(Unfit::DuplicateId);
        }
        if !self.health.healthy {
            return Some(Unfit::Unhealthy);
        }
        let alone = self.peers.values().any(|peer| peer.is_dead())
            && !self.peers.values().any(|peer| peer.is_alive());
        let cut_off = self.settings.reflectors && self.reflectors == Reflectors::Lost && alone;
        cut_off.then_some(Unfit::CutOff)
    }

    pub(super) fn set_admin_down(&mut self, admin_down: bool) {
        if self.admin_down == admin_down {
            return;
        }
        self.admin_down = admin_down;
        self.outputs.push_back(Output::AdminDown(admin_down));
        // Either way sessions begin anew, and not yet up is not dead.
        self.peers.values_mut().for_each(|peer| peer.heard = [Heard::NotYet; 2]);
    }

    /// Joins, from the beginning.
    pub(super) fn join(&mut self) {
        self.stage = Stage::Joining;
        self.stage_time = self.now;
        self.report_to_all();
        self.tell_stage();
    }

    pub(super) fn tell_stage(&mut self) {
        let (stage, unfit, reasons) = (self.stage, self.unfit, self.health.reasons.clone());
        self.event(Event::Stage { stage, unfit, reasons });
    }

    fn settle_stage(&mut self) {
        match self.stage {
            Stage::Joining => self.join_if_ready(),
            Stage::Leaving => {
                // Who has no session with us learns of it by AdminDown alone.
                let takes = |peer: &Peer| peer.connected && peer.presence == Presence::Serving;
                let awaited = self.peers.values().any(takes);
                if self.groups.owned() == 0 || !awaited || self.stage_time <= self.now {
                    if self.groups.release_all() {
                        self.outputs.push_back(Output::ReleaseAll { cause: Cause::Operator });
                    }
                    self.stage = Stage::Left;
                    self.tell_stage();
                    self.set_admin_down(true);
                    self.outputs.push_back(Output::Left);
                } else {
                    self.wake_at(self.stage_time);
                }
            }
            Stage::Serving | Stage::Left | Stage::Unfit => {}
        }
        let uplink_routes = matches!(self.stage, Stage::Serving | Stage::Leaving);
        if self.uplink_routes != uplink_routes {
            self.uplink_routes = uplink_routes;
            self.outputs.push_back(Output::UplinkRoutes(uplink_routes));
        }
    }

    fn join_if_ready(&mut self) {
        let mut ready = !self.settings.reflectors || self.reflectors == Reflectors::Complete;
        let waits: Vec<_> = self
            .peers
            .iter()
            .map(|(id, peer)| peer.waits(&self.settings, id.value(), self.stage_time))
            .collect();
        for until in waits {
            match until {
                Ok(until) if until <= self.now => continue,
                Ok(until) => self.wake_at(until),
                Err(()) => {}
            }
            ready = false;
        }
        if ready {
            self.stage = Stage::Serving;
            self.report_to_all();
            self.tell_stage();
        }
    }

    fn settle_members(&mut self) {
        let own = assign::Member { id: self.settings.id, weight: self.settings.weight };
        let member = |(&id, peer): (&GatewayId, &Peer)| assign::Member { id, weight: peer.weight() };
        let all = self.peers.iter().map(member).chain([own]);
        let serving = self.who_serves();
        // Ids are distinct, and no more than there may be.
        if let (Ok(all), Ok(serving)) = (Members::new(all), Members::new(serving)) {
            self.groups.set_members(all, serving, self.now);
        }
    }

    fn who_serves(&self) -> impl Iterator<Item = assign::Member> + '_ {
        let own = assign::Member { id: self.settings.id, weight: self.settings.weight };
        let others = self.peers.iter().filter(|(_, peer)| peer.presence == Presence::Serving);
        let others = others.map(|(&id, peer)| assign::Member { id, weight: peer.weight() });
        others.chain((self.stage == Stage::Serving).then_some(own))
    }

    /// The gateways that serve as far as is known here, this one among them if it does.
    pub fn serving(&self) -> &Members {
        self.groups.serving()
    }
}
