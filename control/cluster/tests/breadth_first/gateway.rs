//! The states of one gateway, each kept once, and what follows from each for what happens to it. A cluster has many states,
//! and its gateways few: the rules are asked once for each.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::num::{NonZeroU8, NonZeroU32};
use std::time::{Duration, Instant};

use cluster::assign::{GatewayId, ShardCount, Weight};
use cluster::message::{Health, Message, Serves};
use cluster::{Action, Cause, Group, Heard, Member, Mode, Output, Segment, Settings, Stage};

use crate::hash::Mix;

pub(crate) const GATEWAYS: u8 = 3;
pub(crate) const SHARDS: u16 = 2;

/// Of a gateway's state.
pub(crate) type Number = NonZeroU32;
/// Of a message.
pub(crate) type MessageNumber = NonZeroU8;

/// What may happen to a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Input {
    Health(bool),
    Heard(u8, Heard),
    /// A session, with the process that the last one was with, or another.
    Connected(u8, bool),
    Disconnected(u8),
    Message(u8, MessageNumber),
    /// The session can take a message.
    Poll(u8),
    Time(Duration),
}

/// What it does then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The shards that it announced, as bits.
    pub(crate) announced: u8,
    /// The sessions that it closed, as bits.
    pub(crate) closed: u8,
    /// Its BFD sessions have begun anew.
    pub(crate) anew: bool,
    /// What it sent.
    pub(crate) sent: Option<MessageNumber>,
}

/// What is asked of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct View {
    /// The shards that it serves, as bits.
    pub(crate) owned: u8,
    pub(crate) stage: Stage,
    pub(crate) admin_down: bool,
    pub(crate) deadline: Option<Duration>,
}

/// One history that leads to a state.
#[derive(Clone)]
struct Gateway {
    member: Member,
    now: Instant,
    admin_down: bool,
    /// The incarnations and numbers of messages that are in it, by peer.
    incarnations: [u64; GATEWAYS as usize],
    numbers: [u32; GATEWAYS as usize],
    /// What is wrong with its moves.
    wrong: Option<String>,
}

fn id(at: u8) -> GatewayId {
    GatewayId::new(u16::from(at) + 1).unwrap()
}

fn health(healthy: bool) -> Health {
    Health { healthy, ..Health::default() }
}

impl Gateway {
    fn new(at: u8, healthy: bool, now: Instant) -> Self {
        let mut settings = Settings::new(id(at), 1, Mode::Floating(ShardCount::new(SHARDS).unwrap()));
        settings.reflectors = false;
        let mut member = Member::new(settings, now);
        for peer in (0..GATEWAYS).filter(|&peer| peer != at) {
            member.configure(id(peer), true, now);
        }
        member.set_health(health(healthy), now);
        let (incarnations, numbers) = Default::default();
        let mut gateway = Self { member, now, admin_down: false, incarnations, numbers, wrong: None };
        gateway.act(&mut Outcome::default());
        gateway
    }

    fn take(&mut self, input: Input, messages: &mut Messages) -> Outcome {
        let mut outcome = Outcome::default();
        match input {
            Input::Health(healthy) => self.member.set_health(health(healthy), self.now),
            Input::Heard(of, heard) => self.member.heard(id(of), Segment::Underlay, heard, self.now),
            Input::Connected(of, another) => {
                let incarnation = &mut self.incarnations[usize::from(of)];
                *incarnation += u64::from(another);
                self.member.session_up(id(of), *incarnation, Weight::default(), self.now);
                self.member.bindings_complete(id(of), *incarnation, self.now);
            }
            Input::Disconnected(of) => self.member.session_down(id(of), self.now),
            Input::Message(from, message) => {
                let message = match messages.get(message).clone() {
                    Message::Applied { .. } => Message::Applied { number: self.numbers[usize::from(from)] },
                    other => other,
                };
                self.member.handle_message(id(from), message, self.now);
            }
            Input::Poll(to) => {
                let message = self.member.poll_message(id(to));
                outcome.sent = message.map(|message| match message {
                    Message::Serves(Serves { number, place, words, held, announced }) => {
                        self.numbers[usize::from(to)] = number;
                        messages.number(Message::Serves(Serves { number: 0, place, words, held, announced }))
                    }
                    Message::Applied { .. } => messages.number(Message::Applied { number: 0 }),
                    other => messages.number(other),
                });
                return outcome;
            }
            Input::Time(time) => {
                self.now += time;
                self.member.handle_timeout(self.now);
            }
        }
        self.act(&mut outcome);
        outcome
    }

    /// Does at once what it wants done.
    fn act(&mut self, outcome: &mut Outcome) {
        loop {
            while let Some(output) = self.member.poll() {
                match output {
                    Output::AdminDown(down) => {
                        self.admin_down = down;
                        outcome.anew = true;
                    }
                    Output::CloseSession(peer) => outcome.closed |= 1 << (peer.value() - 1),
                    Output::Event(cluster::Event::BadMessage(peer)) => {
                        self.wrong = Some(format!("a bad message of {peer}"));
                    }
                    _ => {}
                }
            }
            let Some(next) = self.member.poll_move(self.now) else { return };
            if matches!(next.action, Action::Take { .. } | Action::AnnounceAgain) {
                outcome.announced |= 1 << next.group.0;
            }
            self.check_cause(next.cause);
        }
    }

    /// No move without a cause: what it gives as one must be true.
    fn check_cause(&mut self, cause: Cause) {
        use cluster::Presence::{Dead, Leaving, Serving, Unhealthy, Unheard};
        let is = |peer: GatewayId| self.member.peers().find(|&(id, _)| id == peer).map(|(_, is)| is);
        let right = match cause {
            Cause::Died(peer) => matches!(is(peer), Some(Dead | Unheard)),
            Cause::Unhealthy(peer) => is(peer) == Some(Unhealthy),
            Cause::Won(peer) | Cause::Taken(peer) | Cause::Yielded(peer) => is(peer) == Some(Serving),
            Cause::Restarted(peer) => {
                !matches!(is(peer), Some(Dead | Unheard | Unhealthy | Serving | Leaving) | None)
            }
            Cause::Unowned | Cause::Orphaned | Cause::Contested => true,
            Cause::Leaving(_) | Cause::Unfit(_) | Cause::Operator | Cause::Resumed | Cause::Over => false,
        };
        if !right {
            self.wrong = Some(format!("there is no such cause: {cause:?}"));
        }
    }

    fn view(&self) -> View {
        let owned =
            (0..SHARDS).filter(|&shard| self.member.owns(Group(shard.into()))).map(|shard| 1 << shard).sum();
        let deadline = self.member.deadline().map(|at| at.saturating_duration_since(self.now));
        View { owned, stage: self.member.stage(), admin_down: self.admin_down, deadline }
    }

    fn digest(&self, at: u8) -> u64 {
        let mut hasher = DefaultHasher::new();
        at.hash(&mut hasher);
        self.member.digest(&mut hasher);
        hasher.finish()
    }
}

/// Messages, by number.
#[derive(Default)]
struct Messages(Vec<Message>);

impl Messages {
    fn number(&mut self, message: Message) -> MessageNumber {
        let known = self.0.iter().position(|known| *known == message);
        let at = known.unwrap_or_else(|| {
            self.0.push(message);
            self.0.len() - 1
        });
        u8::try_from(at + 1).ok().and_then(NonZeroU8::new).unwrap()
    }

    fn get(&self, number: MessageNumber) -> &Message {
        &self.0[usize::from(number.get()) - 1]
    }
}

struct State {
    at: u8,
    view: View,
    origin: Origin,
    /// Another history that led to it; of some.
    other: Option<Box<Gateway>>,
}

/// Where a state comes from. A gateway takes kilobytes, and there are many: most are made anew when asked.
enum Origin {
    Kept(Box<Gateway>),
    /// What happened in which state, so many steps behind one that is kept.
    After(Number, Input, u8),
}

/// A gateway is kept after so many steps.
const KEPT: u8 = 6;
/// So many states keep another history.
const OTHERS: usize = 50_000;

/// All states of gateways that have been seen.
pub(crate) struct Gateways {
    begin: Instant,
    states: Vec<State>,
    by_digest: HashMap<u64, Number>,
    outcomes: HashMap<(Number, Input), (Number, Outcome), BuildHasherDefault<Mix>>,
    messages: Messages,
}

impl Gateways {
    pub(crate) fn new() -> Self {
        Self {
            begin: Instant::now(),
            states: Vec::new(),
            by_digest: HashMap::new(),
            outcomes: HashMap::default(),
            messages: Messages::default(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.states.len()
    }

    /// Two histories with one digest behave alike: what was asked of the one is asked of the other. How often that was.
    pub(crate) fn compare(&mut self) -> usize {
        let asked: Vec<_> = self.outcomes.iter().map(|(&from, &to)| (from, to)).collect();
        let mut compared = 0;
        for ((number, input), (next, outcome)) in asked {
            let state = &self.states[number.get() as usize - 1];
            let Some(mut other) = state.other.as_deref().cloned() else { continue };
            let at = state.at;
            assert_eq!(other.take(input, &mut self.messages), outcome, "{at}: {input:?}");
            assert_eq!(self.by_digest.get(&other.digest(at)), Some(&next), "{at}: {input:?}");
            compared += 1;
        }
        compared
    }

    pub(crate) fn view(&self, state: Number) -> View {
        self.states[state.get() as usize - 1].view
    }

    pub(crate) fn message(&self, message: MessageNumber) -> &Message {
        self.messages.get(message)
    }

    pub(crate) fn start(&mut self, at: u8, healthy: bool) -> Result<Number, String> {
        self.number(at, Gateway::new(at, healthy, self.begin), None)
    }

    pub(crate) fn take(&mut self, at: u8, state: Number, input: Input) -> Result<(Number, Outcome), String> {
        if let Some(&outcome) = self.outcomes.get(&(state, input)) {
            return Ok(outcome);
        }
        let mut gateway = self.gateway(state);
        let outcome = gateway.take(input, &mut self.messages);
        let next = self.number(at, gateway, Some((state, input)))?;
        self.outcomes.insert((state, input), (next, outcome));
        Ok((next, outcome))
    }

    /// The first history that led to a state.
    fn gateway(&mut self, state: Number) -> Gateway {
        match self.states[state.get() as usize - 1].origin {
            Origin::Kept(ref gateway) => (**gateway).clone(),
            Origin::After(before, input, _) => {
                let mut gateway = self.gateway(before);
                gateway.take(input, &mut self.messages);
                gateway
            }
        }
    }

    fn number(
        &mut self,
        at: u8,
        mut gateway: Gateway,
        from: Option<(Number, Input)>,
    ) -> Result<Number, String> {
        if let Some(wrong) = gateway.wrong.take() {
            return Err(format!("{at}: {wrong}"));
        }
        let view = gateway.view();
        let new = NonZeroU32::new(self.states.len() as u32 + 1).unwrap();
        let number = *self.by_digest.entry(gateway.digest(at)).or_insert(new);
        match self.states.get_mut(number.get() as usize - 1) {
            None => {
                let steps = |before: Number| match self.states[before.get() as usize - 1].origin {
                    Origin::Kept(_) => 1,
                    Origin::After(_, _, steps) => steps + 1,
                };
                let origin = from.map(|(before, input)| Origin::After(before, input, steps(before)));
                let origin = origin.filter(|origin| matches!(origin, Origin::After(_, _, 1..KEPT)));
                let origin = origin.unwrap_or_else(|| Origin::Kept(Box::new(gateway)));
                self.states.push(State { at, view, origin, other: None });
            }
            Some(known) => {
                assert_eq!(known.view, view, "two states with one digest");
                if known.other.is_none() && number.get() as usize <= OTHERS {
                    known.other = Some(Box::new(gateway));
                }
            }
        }
        Ok(number)
    }
}
