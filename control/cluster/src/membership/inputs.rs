//! What happens to a gateway.

use std::time::{Duration, Instant};

use super::peer::{Outbox, Peer};
use super::{Member, Reflectors};
use crate::assign::{GatewayId, Members, Weight};
use crate::event::{Cause, Event, Group, Heard, Output, Refusal, Segment, Stage};
use crate::message::{Health, Message};

impl Member {
    // Members.

    /// The configuration names a member, or no longer does.
    pub fn configure(&mut self, peer: GatewayId, configured: bool, now: Instant) {
        self.with_known(peer, configured, now, |peer| peer.configured = configured);
    }

    /// The weight that the configuration gives a member. It counts until that one has said its own, and while it is dead.
    pub fn expect_weight(&mut self, peer: GatewayId, weight: Weight, now: Instant) {
        self.advance(now);
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.expected = weight;
            self.settle();
        }
    }

    /// EVPN (an Ethernet Segment route, type 4) tells of a member, or no longer does. One that lives stays a member.
    pub fn discover(&mut self, peer: GatewayId, discovered: bool, now: Instant) {
        self.with_known(peer, discovered, now, |peer| peer.discovered = discovered);
    }

    fn with_known(&mut self, id: GatewayId, add: bool, now: Instant, change: impl FnOnce(&mut Peer)) {
        self.advance(now);
        if id == self.settings.id {
            return;
        }
        if add && !self.peers.contains_key(&id) {
            // This gateway is a member too.
            if self.peers.len() + 1 >= Members::MAX {
                self.event(Event::TooManyMembers(id));
                return;
            }
            self.peers.insert(id, Peer::new(self.now));
            self.event(Event::MemberAdded(id));
        }
        if let Some(peer) = self.peers.get_mut(&id) {
            change(peer);
        }
        self.settle();
    }

    // What is heard of peers.

    /// BFD hears a peer on a segment, or no longer. To be told again and again changes nothing, and does when that begins
    /// anew for this gateway.
    pub fn heard(&mut self, peer: GatewayId, segment: Segment, heard: Heard, now: Instant) {
        self.advance(now);
        if self.admin_down {
            // We say AdminDown ourselves: that our sessions are down tells nothing of peers.
            return;
        }
        if let Some(peer) = self.peers.get_mut(&peer)
            && std::mem::replace(&mut peer.heard[segment as usize], heard) != heard
        {
            self.settle();
        }
    }

    /// A peer says hello: whether its session may be. The one that started last has the id; an older one is refused.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn admit(&mut self, id: GatewayId, incarnation: u64, now: Instant) -> Result<(), Refusal> {
        self.advance(now);
        if id == self.settings.id {
            self.duplicate(incarnation);
            return Err(Refusal::DuplicateId { incarnation: self.settings.incarnation });
        }
        let peer = self.peers.get_mut(&id).ok_or(Refusal::Other)?;
        match peer.incarnation.filter(|_| peer.connected || peer.is_alive()) {
            Some(current) if incarnation < current => {
                peer.out.duplicate = Some(incarnation);
                if peer.duplicate.replace(incarnation) != Some(incarnation) {
                    self.event(Event::DuplicateId { id, incarnation });
                }
                Err(Refusal::DuplicateId { incarnation: current })
            }
            _ => Ok(()),
        }
    }

    /// The session with a peer is up, authenticated, and its settings agree with ours.
    pub fn session_up(&mut self, id: GatewayId, incarnation: u64, weight: Weight, now: Instant) {
        self.advance(now);
        let whole = self.groups.whole();
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.incarnation != Some(incarnation) {
            peer.restarted = peer.incarnation.replace(incarnation).is_some();
            // What it is waited for begins anew with it.
            peer.alive_since = None;
            peer.forget();
            self.groups.forget(id);
        }
        peer.connected = true;
        peer.unsaid = false;
        peer.refused = None;
        peer.said = Some(weight);
        peer.out = Outbox { serves: whole, report: true, ..Outbox::default() };
        self.settle();
    }

    /// The session with a peer is gone. Alone this moves nothing.
    pub fn session_down(&mut self, peer: GatewayId, now: Instant) {
        self.advance(now);
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.close();
            self.settle();
        }
    }

    /// A session is refused, by us or by the peer.
    pub fn session_refused(&mut self, id: GatewayId, refusal: Refusal, now: Instant) {
        self.advance(now);
        if let Refusal::DuplicateId { incarnation } = refusal {
            self.duplicate(incarnation);
        }
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.close();
        if peer.refused.replace(refusal) != Some(refusal) {
            self.event(Event::Refused { peer: id, refusal });
        }
        self.settle();
    }

    /// Another gateway with our id lives, or did a moment ago.
    fn duplicate(&mut self, incarnation: u64) {
        let known = self.duplicate.is_some_and(|(_, other)| other == incarnation);
        self.duplicate = Some((self.now + self.settings.session_wait, incarnation));
        if !known {
            self.event(Event::DuplicateId { id: self.settings.id, incarnation });
        }
        self.settle();
    }

    /// A peer's message. Those of bindings are not for us.
    pub fn handle_message(&mut self, id: GatewayId, message: Message, now: Instant) {
        self.advance(now);
        let Some(peer) = self.peers.get_mut(&id).filter(|peer| peer.connected) else { return };
        match message {
            Message::Report(report) => {
                peer.said = Some(Weight(report.weight));
                peer.report = Some(report);
                peer.unsaid = false;
                self.settle();
            }
            Message::Serves(serves) => {
                peer.out.applied = Some(serves.number);
                self.groups.serves(id, &serves, self.now);
                self.spread();
            }
            Message::Applied { number } if peer.out.in_flight && number == peer.out.number => {
                peer.out.in_flight = false;
                peer.out.number = number.wrapping_add(1);
                self.groups.applied(id);
            }
            Message::Applied { .. } => self.event(Event::BadMessage(id)),
            Message::Duplicate { incarnation } => self.duplicate(incarnation),
            Message::Bindings(_) | Message::BindingsApplied(_) | Message::Busiest(_) => {}
        }
    }

    /// All bindings that a peer of this incarnation had when its session came up are there.
    pub fn bindings_complete(&mut self, peer: GatewayId, incarnation: u64, now: Instant) {
        self.advance(now);
        let peer = self.peers.get_mut(&peer);
        if let Some(peer) = peer.filter(|peer| peer.connected && peer.incarnation == Some(incarnation))
            && !std::mem::replace(&mut peer.bindings_complete, true)
        {
            self.settle();
        }
    }

    // What is known of ourselves.

    /// Our own health.
    pub fn set_health(&mut self, health: Health, now: Instant) {
        self.advance(now);
        if self.health != health {
            self.health = health;
            self.report_to_all();
            self.settle();
        }
    }

    /// What is known of the reflectors. Losing them alone moves nothing.
    pub fn set_reflectors(&mut self, reflectors: Reflectors, now: Instant) {
        self.advance(now);
        if std::mem::replace(&mut self.reflectors, reflectors) != reflectors {
            self.settle();
        }
    }

    /// A route of the shared MAC has been seen, whoever's, with this mobility sequence. It is noted and never answered.
    pub fn sequence_seen(&mut self, group: Group, sequence: u32) {
        self.groups.sequence_seen(group, sequence);
    }

    /// The order in which groups move, those first that carry most; all others come behind.
    pub fn set_order(&mut self, first: impl IntoIterator<Item = Group>) {
        self.groups.set_order(first);
    }

    /// The operator wants this gateway to leave.
    pub fn leave(&mut self, now: Instant) {
        self.advance(now);
        if matches!(self.stage, Stage::Leaving | Stage::Left) {
            return;
        }
        self.stage = Stage::Leaving;
        self.stage_time = self.now + self.settings.leave_wait;
        self.report_to_all();
        self.tell_stage();
        self.settle();
    }

    /// This process did not run for so long that peers may have taken over. All is let go of, and state is read anew before
    /// anything is announced: sessions are closed, and reflectors and BFD are to be told anew.
    pub fn resumed(&mut self, now: Instant) {
        self.advance(now);
        if self.groups.release_all() {
            self.outputs.push_back(Output::ReleaseAll { cause: Cause::Resumed });
        }
        let mut closed = Vec::new();
        for (&id, peer) in &mut self.peers {
            if peer.connected {
                closed.push(Output::CloseSession(id));
            }
            peer.close();
            peer.heard = [Heard::NotYet; 2];
            peer.alive_since = None;
            peer.forget();
            self.groups.forget(id);
        }
        self.outputs.extend(closed);
        self.reflectors = Reflectors::Lost;
        if self.stage == Stage::Serving {
            self.join();
        } else if self.stage == Stage::Joining {
            self.stage_time = self.now;
        }
        self.settle();
    }

    /// How long a stop must have been for [`resumed`](Self::resumed): shorter than any peer takes to find a gateway dead.
    pub fn is_stop(gap: Duration, detection: Duration) -> bool {
        gap * 2 > detection
    }
}
