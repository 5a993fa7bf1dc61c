//! Which groups this gateway serves, which its peers say that they serve, and what is to move.

mod bits;
mod evaluate;
mod review;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::assign::{GatewayId, Layout, Members};
use crate::event::{Action, Cause, Event, Group, Move, Presence};
use crate::message::{MAX_WORDS, Serves};
use crate::settings::{Mode, MoveLimit, Settings};
use bits::{Bits, numbers};
use review::Review;

/// What a peer says that it serves.
#[derive(Clone, Debug)]
struct Claims {
    serves: Bits,
    held: Bits,
    alive: bool,
    connected: bool,
    presence: Presence,
    since: Instant,
    /// It was dead for us, and may have announced what we do not know of.
    unseen: bool,
    /// What we have announced and it does not know, and what of it is on the way. In mode `floating`.
    untold: Bits,
    on_the_way: Bits,
}

/// How often a group has moved lately.
#[derive(Clone, Copy, Debug, Default)]
struct Moves {
    count: u8,
    last: Option<Instant>,
}

/// Moves since there was nothing to move.
#[derive(Clone, Copy, Debug)]
struct Round {
    cause: Cause,
    since: Instant,
    taken: u32,
    released: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct Responsibility {
    id: GatewayId,
    mode: Mode,
    groups: u32,
    limit: Option<MoveLimit>,
    grace: Duration,
    claim_wait: Duration,

    /// All members, and those that serve, this gateway among them if it does.
    all: Members,
    serving: Members,
    layout: Option<Layout>,
    /// When `serving` last changed.
    since: Instant,
    /// The winners are out of date by these that came, or wholly; those that went are looked up.
    came: BTreeSet<GatewayId>,
    recompute: bool,
    winners: Vec<Option<GatewayId>>,

    owned: Bits,
    /// Owned, and another has claimed it since it was taken: neighbours may believe that one.
    contested: Bits,
    held: Bits,
    held_until: BTreeSet<(Instant, u32)>,
    last_owner: Vec<Option<GatewayId>>,
    moves: Vec<Moves>,
    /// The highest mobility sequence seen or used; in mode `announce`.
    sequences: Vec<Option<u32>>,
    peers: BTreeMap<GatewayId, Claims>,

    review: Review,
    /// Nobody's, and until when their winners may take them.
    orphans: BTreeMap<u32, Instant>,
    /// Ours as orphans, and until when that counts.
    kept: BTreeMap<u32, Instant>,
    /// Until when we forward for others, and what of it still counts.
    former: VecDeque<(Instant, u32)>,
    former_until: BTreeMap<u32, Instant>,
    round: Option<Round>,
    /// Until when timers were looked at.
    handled: Instant,
    /// Words of `owned` and `held` that peers are to hear of: first and last.
    changed: Option<(u32, u32)>,
}

impl Responsibility {
    pub(crate) fn new(settings: &Settings, now: Instant) -> Self {
        let groups = settings.mode.groups();
        let count = groups as usize;
        let announce = matches!(settings.mode, Mode::Announce(_));
        Self {
            id: settings.id,
            mode: settings.mode.clone(),
            groups,
            limit: settings.move_limit,
            grace: if announce { settings.grace } else { Duration::ZERO },
            claim_wait: settings.claim_wait,
            all: Members::default(),
            serving: Members::default(),
            layout: None,
            since: now,
            came: BTreeSet::new(),
            recompute: false,
            winners: vec![None; count],
            owned: Bits::new(groups),
            contested: Bits::new(groups),
            held: Bits::new(groups),
            held_until: BTreeSet::new(),
            last_owner: vec![None; count],
            moves: vec![Moves::default(); count],
            sequences: vec![None; if announce { count } else { 0 }],
            peers: BTreeMap::new(),
            review: Review::new(groups),
            orphans: BTreeMap::new(),
            kept: BTreeMap::new(),
            former: VecDeque::new(),
            former_until: BTreeMap::new(),
            round: None,
            handled: now,
            changed: None,
        }
    }

    pub(crate) fn owned(&self) -> u32 {
        self.owned.len()
    }

    pub(crate) fn owner(&self, group: Group) -> Option<GatewayId> {
        let claims =
            || self.peers.iter().find(|(_, claims)| claims.serves.contains(group.0)).map(|(&id, _)| id);
        if self.owns(group) { Some(self.id) } else { claims() }
    }

    pub(crate) fn owns(&self, group: Group) -> bool {
        self.owned.contains(group.0)
    }

    pub(crate) fn serving(&self) -> &Members {
        &self.serving
    }

    pub(crate) fn set_order(&mut self, first: impl IntoIterator<Item = Group>) {
        self.review.set_order(first.into_iter().map(|group| group.0), self.groups);
    }

    pub(crate) fn sequence_seen(&mut self, group: Group, sequence: u32) {
        if let Some(seen) = self.sequences.get_mut(group.0 as usize) {
            *seen = (*seen).max(Some(sequence));
        }
    }

    /// Who is known, and who serves.
    pub(crate) fn set_members(&mut self, all: Members, serving: Members, now: Instant) {
        if all == self.all && serving == self.serving {
            return;
        }
        if let Mode::Floating(shards) = self.mode {
            if all != self.all {
                self.layout = None;
            }
            // The layout takes milliseconds, and who joins learns of one member after another.
            let owners = if serving.as_slice().is_empty() {
                None
            } else {
                let layout = self.layout.get_or_insert_with(|| Layout::new(all.clone(), shards));
                layout.owners(|id| serving.find(id).is_some())
            };
            self.winners = match owners {
                Some(owners) => owners.into_iter().map(Some).collect(),
                None => vec![None; self.groups as usize],
            };
        } else {
            for member in serving.as_slice() {
                match self.serving.find(member.id) {
                    Some(before) => self.recompute |= before.weight != member.weight,
                    None => _ = self.came.insert(member.id),
                }
            }
        }
        self.kept.clear();
        (self.all, self.serving, self.since) = (all, serving, now);
        self.review.mark_all();
    }

    /// What a peer is now.
    pub(crate) fn set_peer(
        &mut self,
        peer: GatewayId,
        alive: bool,
        connected: bool,
        presence: Presence,
        now: Instant,
    ) {
        let groups = self.groups;
        let shards = if self.is_floating() { groups } else { 0 };
        let claims = self.peers.entry(peer).or_insert_with(|| Claims {
            serves: Bits::new(groups),
            held: Bits::new(groups),
            alive: false,
            connected: false,
            presence: Presence::Unheard,
            since: now,
            unseen: false,
            untold: Bits::new(shards),
            on_the_way: Bits::new(shards),
        });
        if (claims.alive, claims.connected, claims.presence) == (alive, connected, presence) {
            return;
        }
        if claims.presence != presence {
            claims.since = now;
        }
        if claims.connected && !connected {
            claims.untold.extend(&claims.on_the_way);
            claims.on_the_way.clear();
        }
        (claims.alive, claims.connected, claims.presence) = (alive, connected, presence);
        let tells = matches!(
            presence,
            Presence::Joining | Presence::Serving | Presence::Unhealthy | Presence::Leaving
        );
        let back = claims.unseen && tells && connected;
        claims.unseen = !back && (claims.unseen || presence == Presence::Dead);
        if back && self.is_floating() {
            self.contested.extend(&self.owned);
        }
        self.review.mark_all();
    }

    /// What a peer has said counts no more.
    pub(crate) fn forget(&mut self, peer: GatewayId) {
        let said = |claims: &&mut Claims| claims.serves.len() + claims.held.len() > 0;
        if let Some(claims) = self.peers.get_mut(&peer).filter(said) {
            let served: Vec<u32> = claims.serves.iter().collect();
            claims.serves.clear();
            claims.held.clear();
            served.into_iter().for_each(|group| self.pass_on(peer, group));
            self.review.mark_all();
        }
    }

    /// One that served a group is gone, and was the last to take it: neighbours believe it. Others that serve the group too
    /// may not have seen it: they hear of it from us.
    fn pass_on(&mut self, gone: GatewayId, group: u32) {
        if !self.is_floating() || self.last_owner[group as usize] != Some(gone) {
            return;
        }
        let mut others = self.peers.values_mut().filter(|claims| claims.serves.contains(group)).peekable();
        if others.peek().is_some() {
            others.for_each(|claims| _ = claims.untold.insert(group));
            self.change(group);
        }
    }

    pub(crate) fn remove_peer(&mut self, peer: GatewayId) {
        if self.peers.remove(&peer).is_some() {
            self.review.mark_all();
        }
    }

    /// A peer says what it serves.
    pub(crate) fn serves(&mut self, peer: GatewayId, serves: &Serves, now: Instant) {
        let Some(mut claims) = self.peers.remove(&peer) else { return };
        for (offset, &word) in serves.words.iter().enumerate() {
            let place = serves.place as usize + offset;
            let changed = claims.serves.replace_word(place, word);
            let gone = matches!(claims.presence, Presence::Unhealthy | Presence::Leaving | Presence::Dead);
            for group in numbers(place, changed) {
                if gone && !claims.serves.contains(group) {
                    self.pass_on(peer, group);
                }
                if claims.serves.contains(group) {
                    self.note_owner(group, peer, now);
                    if self.owned.contains(group) {
                        self.contested.insert(group);
                    }
                }
                self.review.mark(group);
            }
            let announced = serves.announced.get(offset).copied().unwrap_or(0) & claims.serves.valid(place);
            for group in numbers(place, announced) {
                if self.owned.contains(group) {
                    self.contested.insert(group);
                    self.review.mark(group);
                }
            }
            let held = serves.held.get(offset).copied().unwrap_or(0) & word;
            let changed = claims.held.replace_word(place, held);
            numbers(place, changed).for_each(|group| self.review.mark(group));
        }
        self.peers.insert(peer, claims);
    }

    /// For a peer, a part of what this gateway serves, of the words from `first` to `last`; the rest of them, if it is too
    /// long.
    pub(crate) fn tell(
        &mut self,
        peer: GatewayId,
        number: u32,
        (first, last): (u32, u32),
    ) -> (Serves, Option<(u32, u32)>) {
        let end = last.min(first + MAX_WORDS as u32 - 1);
        let range = first as usize..end as usize + 1;
        let list = |bits: &Bits| {
            let words = bits.words().get(range.clone()).unwrap_or_default();
            if words.iter().all(|&word| word == 0) { Vec::new() } else { words.to_vec() }
        };
        let words = self.owned.words().get(range.clone()).unwrap_or_default().to_vec();
        let mut serves =
            Serves { number, place: first, words, held: list(&self.held), announced: Vec::new() };
        if let Some(claims) = self.peers.get_mut(&peer) {
            serves.announced = list(&claims.untold);
            for place in range {
                claims.on_the_way.replace_word(place, claims.untold.words().get(place).copied().unwrap_or(0));
                claims.untold.replace_word(place, 0);
            }
        }
        (serves, (end < last).then_some((end + 1, last)))
    }

    /// A peer has applied what it was told last.
    pub(crate) fn applied(&mut self, peer: GatewayId) {
        if let Some(claims) = self.peers.get_mut(&peer) {
            claims.on_the_way.clear();
        }
    }

    fn is_floating(&self) -> bool {
        matches!(self.mode, Mode::Floating(_))
    }

    /// Neighbours are told that a group is ours, and peers are to know that they were.
    fn announced(&mut self, group: u32) {
        self.change(group);
        if self.is_floating() {
            self.peers.values_mut().for_each(|claims| _ = claims.untold.insert(group));
        }
    }

    /// All words; none if there are no groups.
    pub(crate) fn whole(&self) -> Option<(u32, u32)> {
        let words = self.owned.words().len() as u32;
        (words > 0).then(|| (0, words - 1))
    }

    /// The words that have changed since this was last asked.
    pub(crate) fn take_changed(&mut self) -> Option<(u32, u32)> {
        self.changed.take()
    }

    fn change(&mut self, group: u32) {
        let word = group / 64;
        let (first, last) = self.changed.unwrap_or((word, word));
        self.changed = Some((first.min(word), last.max(word)));
    }

    /// Lets go of all at once. Whether there was anything.
    pub(crate) fn release_all(&mut self) -> bool {
        let any = self.owned.len() > 0;
        for set in [&mut self.owned, &mut self.contested, &mut self.held] {
            set.clear();
        }
        self.held_until.clear();
        self.orphans.clear();
        self.kept.clear();
        self.former.clear();
        self.former_until.clear();
        self.round = None;
        if any {
            self.changed = self.whole();
        }
        any
    }

    /// When time alone changes something. What is due already waits to be asked for.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let former = self.former.iter().map(|&(until, _)| until).find(|&until| until > self.handled);
        let held = self.held_until.first().map(|&(until, _)| until);
        let orphans = self.orphans.values().copied().filter(|&until| until > self.handled);
        former.into_iter().chain(held).chain(orphans).chain(self.kept.values().copied()).min()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.handled = now;
        while let Some(&(until, group)) = self.held_until.first().filter(|&&(until, _)| until <= now) {
            self.held_until.remove(&(until, group));
            self.held.remove(group);
            self.change(group);
            self.hold_if_restless(group, now);
        }
        let kept: Vec<u32> =
            self.kept.extract_if(.., |_, until| *until <= now).map(|(group, _)| group).collect();
        kept.into_iter().for_each(|group| self.review.mark(group));
        let due: Vec<u32> =
            self.orphans.iter().filter(|&(_, &until)| until <= now).map(|(&group, _)| group).collect();
        due.into_iter().for_each(|group| self.review.mark(group));
    }

    /// The next move, in the caller's order. What is not asked for is not yet done, and is told to nobody.
    pub(crate) fn poll_move(&mut self, now: Instant) -> Option<Move> {
        while let Some(&(until, group)) = self.former.front().filter(|&&(until, _)| until <= now) {
            self.former.pop_front();
            if self.former_until.get(&group) == Some(&until) {
                self.former_until.remove(&group);
                let action = Action::ForwardingEnds;
                return Some(Move { group: Group(group), action, cause: Cause::Over, since: until });
            }
        }
        while let Some(group) = self.review.next() {
            let Some((action, cause, since)) = self.evaluate(group, now) else { continue };
            let round = self.round.get_or_insert(Round { cause, since, taken: 0, released: 0 });
            match action {
                Action::Take { .. } => round.taken += 1,
                Action::Release => round.released += 1,
                Action::AnnounceAgain | Action::ForwardingEnds => {}
            }
            return Some(Move { group: Group(group), action, cause, since });
        }
        self.came.clear();
        self.recompute = false;
        None
    }

    /// What has moved, when nothing is left to move.
    pub(crate) fn round(&mut self, now: Instant) -> Option<Event> {
        let Round { cause, since, taken, released } = self.round.take_if(|_| self.review.is_empty())?;
        let duration = now.saturating_duration_since(since);
        (taken + released > 0).then_some(Event::Moved { cause, taken, released, duration })
    }

    /// All that the rules look at, with times as what is left of them.
    pub(crate) fn digest(&self, now: Instant, hasher: &mut impl std::hash::Hasher) {
        use std::hash::Hash;
        (&self.winners, &self.owned, &self.contested, &self.held).hash(hasher);
        self.last_owner.hash(hasher);
        (&self.sequences, self.review.due(), &self.came, self.recompute).hash(hasher);
        for timers in [&self.orphans, &self.kept] {
            timers.len().hash(hasher);
            for (group, until) in timers {
                (group, until.saturating_duration_since(now)).hash(hasher);
            }
        }
        for (id, claims) in &self.peers {
            (id, &claims.serves, &claims.held, claims.alive, claims.connected, claims.presence).hash(hasher);
        }
        for claims in self.peers.values() {
            (claims.unseen, &claims.untold, &claims.on_the_way).hash(hasher);
        }
        for moves in &self.moves {
            let until = moves.last.zip(self.limit).map(|(last, limit)| last + limit.window);
            let window = until.map(|until| until.saturating_duration_since(now));
            (moves.count, window).hash(hasher);
        }
    }
}
