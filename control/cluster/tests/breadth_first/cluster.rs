//! A state of the whole cluster, and what may happen next.

use std::time::Duration;

use cluster::message::Message;
use cluster::{Heard, Stage};

use crate::gateway::{GATEWAYS, Gateways, Input, MessageNumber, Number, SHARDS};

pub(crate) const PAIRS: [(u8, u8); 3] = [(0, 1), (0, 2), (1, 2)];
pub(crate) const EACH: [(u8, u8); 6] = [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)];

/// What may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Kill(u8),
    Start(u8),
    Cut(u8, u8),
    Mend(u8, u8),
    Sicken(u8),
    Heal(u8),
    Detect(u8, u8),
    Connect(u8, u8),
    Break(u8, u8),
    Deliver(u8, u8),
    Time,
}

/// What may happen next, and how much of its limits it takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choice {
    pub(crate) step: Step,
    swaps: u8,
}

/// What is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// How many faults there may be.
    pub(crate) faults: u8,
    /// How often the network may do another than the first of its steps; [`Limits::ALL`]: always.
    pub(crate) swaps: u8,
    pub(crate) ends: Ends,
}

/// When faults end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    /// At any moment.
    AnyMoment,
    /// When all is told of what happened until then.
    Told,
    /// The same, and nothing else goes wrong until all is told of the end.
    Alone,
}

impl Limits {
    pub(crate) const ALL: u8 = u8::MAX;
}

/// A bit for each pair and direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Pairs(u8);

/// The place of a pair and direction among all.
fn place(at: u8, of: u8) -> usize {
    usize::from(2 * at + of - u8::from(of > at))
}

impl Pairs {
    fn has(self, at: u8, of: u8) -> bool {
        self.0 >> place(at, of) & 1 == 1
    }

    fn set(&mut self, at: u8, of: u8, on: bool) {
        self.0 = self.0 & !(1 << place(at, of)) | u8::from(on) << place(at, of);
    }
}

/// Nothing is left to happen but with time.
fn told(steps: &[Step]) -> bool {
    steps.iter().all(|&step| step == Step::Time)
}

/// A state of the cluster. Small, as there are millions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    /// The gateways' states; none: it is dead.
    members: [Option<Number>; GATEWAYS as usize],
    /// Messages that are under way, and what BFD has told, by place of the pair.
    slots: [Option<MessageNumber>; 6],
    told: [Heard; 6],
    /// How many more faults there may be.
    faults: u8,
    /// Bits by gateway.
    healthy: u8,
    /// With the lower gateway first.
    cut: Pairs,
    session: Pairs,
    /// BFD is up, and has not begun anew on the other side.
    current: Pairs,
    /// The last session was with the process that is there now.
    known: Pairs,
    /// Who announced each shard last.
    believed: [u8; SHARDS as usize],
    /// How long each shard has been nobody's, in ms.
    nobody: [u16; SHARDS as usize],
    /// A fault has come before all was told of the one before.
    hasty: bool,
    /// How often more the network may do another than its first step.
    swaps: u8,
    /// A fault has ended, and not all is told of that; in [`Ends::Alone`].
    ending: bool,
}

impl State {
    /// All have joined, and nothing has gone wrong.
    pub(crate) fn new(gateways: &mut Gateways, limits: Limits) -> Result<Self, String> {
        let mut state = Self {
            members: [None; GATEWAYS as usize],
            slots: Default::default(),
            told: Default::default(),
            faults: limits.faults,
            healthy: (1 << GATEWAYS) - 1,
            cut: Pairs::default(),
            session: Pairs::default(),
            current: Pairs::default(),
            known: Pairs::default(),
            believed: [0; SHARDS as usize],
            nobody: [0; SHARDS as usize],
            hasty: false,
            swaps: limits.swaps,
            ending: false,
        };
        for at in 0..GATEWAYS {
            state.take(gateways, Step::Start(at))?;
        }
        while let Some(&step) = state.steps(gateways).first() {
            state.take(gateways, step)?;
        }
        Ok(state)
    }

    fn is_healthy(&self, at: u8) -> bool {
        self.healthy >> at & 1 == 1
    }

    fn is_cut(&self, a: u8, b: u8) -> bool {
        self.cut.has(a.min(b), a.max(b))
    }

    fn has_session(&self, at: u8, of: u8) -> bool {
        self.session.has(at, of)
    }

    fn path(&self, a: u8, b: u8) -> bool {
        !self.is_cut(a, b) && self.members[usize::from(a)].is_some() && self.members[usize::from(b)].is_some()
    }

    fn admin_down(&self, gateways: &Gateways, at: u8) -> bool {
        self.members[usize::from(at)].is_some_and(|state| gateways.view(state).admin_down)
    }

    /// What BFD is going to tell.
    fn truth(&self, gateways: &Gateways, at: u8, of: u8) -> Heard {
        let told = self.told[place(at, of)];
        if self.members[usize::from(at)].is_none() || self.admin_down(gateways, at) {
            return told;
        }
        match (self.path(at, of), self.admin_down(gateways, of)) {
            (true, true) if told != Heard::NotYet => Heard::AdminDown,
            // Whoever begins anew, a new process or one that has said AdminDown, begins with Down.
            (true, false) if told == Heard::Up && !self.current.has(at, of) => Heard::Down,
            (true, false) => Heard::Up,
            (_, _) if told == Heard::NotYet => Heard::NotYet,
            (_, _) => Heard::Down,
        }
    }

    /// What the network does by itself, then what time does, if that is all that is left.
    fn steps(&self, gateways: &Gateways) -> Vec<Step> {
        let mut steps = Vec::new();
        for (at, of) in EACH {
            if self.slots[place(at, of)].is_some() && self.path(at, of) {
                steps.push(Step::Deliver(at, of));
            }
            if self.truth(gateways, at, of) != self.told[place(at, of)] {
                steps.push(Step::Detect(at, of));
            }
            if self.has_session(at, of) && (!self.has_session(of, at) || !self.path(at, of)) {
                steps.push(Step::Break(at, of));
            }
        }
        for (a, b) in PAIRS {
            if self.path(a, b) && !self.has_session(a, b) && !self.has_session(b, a) {
                steps.push(Step::Connect(a, b));
            }
        }
        if steps.is_empty() && self.deadline(gateways).is_some() {
            steps.push(Step::Time);
        }
        steps
    }

    /// All that may happen next, and whether it is at rest: nothing happens by itself.
    pub(crate) fn choices(&self, gateways: &Gateways, limits: Limits) -> (Vec<Choice>, bool) {
        let steps = self.steps(gateways);
        let rest = steps.is_empty();
        let told = told(&steps);
        let swap = |place: usize| u8::from(place > 0 && limits.swaps != Limits::ALL);
        let own = steps.into_iter().enumerate().map(|(place, step)| Choice { step, swaps: swap(place) });
        let mut choices: Vec<_> = own.filter(|choice| choice.swaps <= self.swaps).collect();
        let mut add =
            |steps: Vec<Step>| choices.extend(steps.into_iter().map(|step| Choice { step, swaps: 0 }));
        if !self.ending {
            add(self.faults());
        }
        if told || limits.ends == Ends::AnyMoment {
            add(self.ends());
        }
        (choices, rest)
    }

    /// The state after one of them.
    pub(crate) fn after(
        mut self,
        gateways: &mut Gateways,
        limits: Limits,
        Choice { step, swaps }: Choice,
    ) -> Result<Self, String> {
        self.swaps -= swaps;
        if matches!(step, Step::Kill(_) | Step::Cut(..) | Step::Sicken(_)) {
            self.hasty |= !told(&self.steps(gateways));
        }
        let end = matches!(step, Step::Start(_) | Step::Heal(_) | Step::Mend(..));
        self.take(gateways, step)?;
        self.ending |= end && limits.ends == Ends::Alone;
        self.ending = self.ending && !told(&self.steps(gateways));
        Ok(self)
    }

    /// What may go wrong.
    fn faults(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.faults > 0 {
            let well = |&at: &u8| self.members[usize::from(at)].is_some() && self.is_healthy(at);
            steps.extend((0..GATEWAYS).filter(well).flat_map(|at| [Step::Sicken(at), Step::Kill(at)]));
            let whole = PAIRS.into_iter().filter(|&(a, b)| !self.is_cut(a, b));
            steps.extend(whole.map(|(a, b)| Step::Cut(a, b)));
        }
        steps
    }

    /// What may be mended.
    fn ends(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        for at in 0..GATEWAYS {
            match (self.members[usize::from(at)].is_some(), self.is_healthy(at)) {
                (false, _) => steps.push(Step::Start(at)),
                (true, false) => steps.push(Step::Heal(at)),
                (true, true) => {}
            }
        }
        let cut = PAIRS.into_iter().filter(|&(a, b)| self.is_cut(a, b));
        steps.extend(cut.map(|(a, b)| Step::Mend(a, b)));
        steps
    }

    fn deadline(&self, gateways: &Gateways) -> Option<Duration> {
        self.members.iter().flatten().filter_map(|&state| gateways.view(state).deadline).min()
    }

    fn take(&mut self, gateways: &mut Gateways, step: Step) -> Result<(), String> {
        match step {
            Step::Kill(at) => {
                self.faults -= 1;
                self.members[usize::from(at)] = None;
                self.forget_told(at);
                for peer in (0..GATEWAYS).filter(|&peer| peer != at) {
                    self.session.set(at, peer, false);
                    for bits in [&mut self.current, &mut self.known] {
                        bits.set(at, peer, false);
                        bits.set(peer, at, false);
                    }
                    (self.slots[place(at, peer)], self.slots[place(peer, at)]) = (None, None);
                }
            }
            Step::Start(at) => {
                let healthy = self.is_healthy(at);
                self.members[usize::from(at)] = Some(gateways.start(at, healthy)?);
                self.send(gateways, at)?;
            }
            Step::Cut(a, b) => {
                self.faults -= 1;
                self.cut.set(a, b, true);
            }
            Step::Mend(a, b) => self.cut.set(a, b, false),
            Step::Sicken(at) | Step::Heal(at) => {
                let healthy = matches!(step, Step::Heal(_));
                self.faults -= u8::from(!healthy);
                self.healthy ^= 1 << at;
                self.give(gateways, at, Input::Health(healthy))?;
            }
            Step::Detect(at, of) => {
                let heard = self.truth(gateways, at, of);
                self.told[place(at, of)] = heard;
                self.current.set(at, of, heard == Heard::Up);
                self.give(gateways, at, Input::Heard(of, heard))?;
            }
            Step::Connect(a, b) => {
                for (at, of) in [(a, b), (b, a)] {
                    self.session.set(at, of, true);
                }
                for (at, of) in [(a, b), (b, a)] {
                    let another = !self.known.has(at, of);
                    self.known.set(at, of, true);
                    self.give(gateways, at, Input::Connected(of, another))?;
                }
            }
            Step::Break(at, of) => self.close(gateways, at, of)?,
            Step::Deliver(from, to) => {
                let Some(message) = self.slots[place(from, to)].take() else { return Ok(()) };
                if self.has_session(to, from) {
                    self.give_alone(gateways, to, Input::Message(from, message))?;
                    // That it was applied is known at once: fewer orders, none of which matter to what is served.
                    let answer = if matches!(gateways.message(message), Message::Serves(_)) {
                        self.poll(gateways, to, from)?
                    } else {
                        None
                    };
                    if let Some(answer) = answer {
                        self.give_alone(gateways, from, Input::Message(to, answer))?;
                    }
                    self.send(gateways, to)?;
                }
                self.send(gateways, from)?;
            }
            Step::Time => {
                let Some(time) = self.deadline(gateways) else { return Ok(()) };
                self.check_nobody(gateways, time)?;
                for at in 0..GATEWAYS {
                    self.give(gateways, at, Input::Time(time))?;
                }
            }
        }
        for shard in 0..usize::from(SHARDS) {
            if self.owners(gateways).any(|(_, owned)| owned >> shard & 1 == 1) {
                self.nobody[shard] = 0;
            }
        }
        Ok(())
    }

    fn forget_told(&mut self, at: u8) {
        for of in (0..GATEWAYS).filter(|&of| of != at) {
            self.told[place(at, of)] = Heard::NotYet;
            self.current.set(at, of, false);
        }
    }

    fn close(&mut self, gateways: &mut Gateways, at: u8, of: u8) -> Result<(), String> {
        self.session.set(at, of, false);
        (self.slots[place(at, of)], self.slots[place(of, at)]) = (None, None);
        self.give(gateways, at, Input::Disconnected(of))
    }

    /// Something happens to a gateway, and it sends what it then has to send.
    fn give(&mut self, gateways: &mut Gateways, at: u8, input: Input) -> Result<(), String> {
        self.give_alone(gateways, at, input)?;
        self.send(gateways, at)
    }

    fn give_alone(&mut self, gateways: &mut Gateways, at: u8, input: Input) -> Result<(), String> {
        let Some(state) = self.members[usize::from(at)] else { return Ok(()) };
        let (next, outcome) = gateways.take(at, state, input)?;
        self.members[usize::from(at)] = Some(next);
        if outcome.anew {
            self.forget_told(at);
            (0..GATEWAYS).filter(|&peer| peer != at).for_each(|peer| self.current.set(peer, at, false));
        }
        for shard in 0..usize::from(SHARDS) {
            if outcome.announced >> shard & 1 == 1 {
                self.believed[shard] = at;
            }
        }
        for of in (0..GATEWAYS).filter(|&of| outcome.closed >> of & 1 == 1) {
            self.close(gateways, at, of)?;
        }
        Ok(())
    }

    fn send(&mut self, gateways: &mut Gateways, at: u8) -> Result<(), String> {
        for to in (0..GATEWAYS).filter(|&to| to != at) {
            // What is sent on a session that the other side has closed is lost with it, and told again on the next one.
            let session = self.has_session(at, to) && self.has_session(to, at);
            if session && self.slots[place(at, to)].is_none() {
                self.slots[place(at, to)] = self.poll(gateways, at, to)?;
            }
        }
        Ok(())
    }

    fn poll(&mut self, gateways: &mut Gateways, at: u8, to: u8) -> Result<Option<MessageNumber>, String> {
        let Some(state) = self.members[usize::from(at)] else { return Ok(None) };
        let (next, outcome) = gateways.take(at, state, Input::Poll(to))?;
        self.members[usize::from(at)] = Some(next);
        Ok(outcome.sent)
    }

    /// Those that live, and what they serve.
    fn owners<'a>(&'a self, gateways: &'a Gateways) -> impl Iterator<Item = (u8, u8)> + 'a {
        let owned = |at: u8| Some((at, gateways.view(self.members[usize::from(at)]?).owned));
        (0..GATEWAYS).filter_map(owned)
    }

    /// All is told, and time passes: nothing stays nobody's for long, if anybody serves.
    fn check_nobody(&mut self, gateways: &Gateways, time: Duration) -> Result<(), String> {
        let serves = |&state: &Number| gateways.view(state).stage == Stage::Serving;
        for shard in 0..usize::from(SHARDS) {
            let owned = self.owners(gateways).any(|(_, owned)| owned >> shard & 1 == 1);
            if !owned && self.members.iter().flatten().any(serves) {
                self.nobody[shard] += time.as_millis() as u16;
                if self.nobody[shard] > 1000 {
                    return Err(format!("shard {shard} is nobody's for {} ms", self.nobody[shard]));
                }
            }
        }
        Ok(())
    }

    /// Nothing more happens by itself: what must hold then.
    pub(crate) fn check_rest(&self, gateways: &Gateways) -> Result<(), String> {
        let there: Vec<u8> = (0..GATEWAYS)
            .filter(|&at| self.members[usize::from(at)].is_some() && self.is_healthy(at))
            .collect();
        for &at in &there {
            let stage = self.members[usize::from(at)].map(|state| gateways.view(state).stage);
            if stage != Some(Stage::Serving) {
                return Err(format!("{at} is {stage:?}"));
            }
        }
        for shard in 0..usize::from(SHARDS) {
            let owns = |(at, owned): (u8, u8)| (owned >> shard & 1 == 1).then_some(at);
            let owners: Vec<u8> = self.owners(gateways).filter_map(owns).collect();
            // Two serve it only if they don't see each other.
            let apart = owners.iter().all(|&a| owners.iter().all(|&b| a == b || self.is_cut(a, b)));
            let able = owners.iter().all(|at| there.contains(at));
            if !apart || !able || owners.is_empty() != there.is_empty() {
                return Err(format!("shard {shard} is served by {owners:?} of {there:?}"));
            }
            // What a gateway announced and told nobody before it was gone, nobody announces again.
            let believed = self.believed[shard];
            if !self.hasty && !owners.is_empty() && !owners.contains(&believed) {
                return Err(format!("shard {shard} is served by {owners:?}; neighbours believe {believed}"));
            }
        }
        Ok(())
    }
}
