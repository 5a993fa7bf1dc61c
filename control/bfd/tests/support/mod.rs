//! Two engines and a network between them, in virtual time.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use bfd::{Arrival, Change, Engine, Key, Output, Path, SessionConfig, SessionId, State, Timing};

pub(crate) const MS: Duration = Duration::from_millis(1);

/// What the network does to packets.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weather {
    /// Of a thousand packets, so many are lost, and so many come twice.
    pub(crate) lost: u32,
    pub(crate) twice: u32,
    /// A packet takes up to this long; those that take longer are overtaken.
    pub(crate) delay: Duration,
    /// Nothing goes from this node.
    pub(crate) cut: [bool; 2],
}

pub(crate) struct Node {
    pub(crate) engine: Engine,
    pub(crate) session: SessionId,
    pub(crate) changes: Vec<Change>,
    /// Does not run until then; whether what comes meanwhile waits in its socket, or is lost.
    stopped: Option<(Instant, bool)>,
    socket: Vec<Vec<u8>>,
}

impl Node {
    pub(crate) fn state(&self) -> State {
        self.engine.session(self.session).unwrap().state
    }
}

pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) nodes: [Node; 2],
    pub(crate) weather: Weather,
    on_the_way: BTreeMap<(Instant, u64), (usize, Vec<u8>)>,
    packets: u64,
    random: fastrand::Rng,
}

pub(crate) fn config(node: usize, timing: Timing, key: Option<&[u8]>) -> SessionConfig {
    let addresses: [IpAddr; 2] = ["192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()];
    SessionConfig {
        peer: addresses[1 - node],
        local: addresses[node],
        path: Path::SingleHop { interface: 1 },
        timing,
        keys: key.into_iter().map(|secret| Key::new(1, secret).unwrap()).collect(),
    }
}

pub(crate) fn arrival(config: &SessionConfig) -> Arrival {
    Arrival { peer: config.peer, local: config.local, interface: 1, ttl: 255, multihop: false }
}

impl World {
    pub(crate) fn new(seed: u64, timing: [Timing; 2], key: Option<&[u8]>) -> Self {
        let now = Instant::now();
        let mut random = fastrand::Rng::with_seed(seed);
        let nodes = [0, 1].map(|node| {
            let mut engine = Engine::new(random.u64(..));
            let session = engine.add(config(node, timing[node], key), now).unwrap();
            Node { engine, session, changes: Vec::new(), stopped: None, socket: Vec::new() }
        });
        let weather = Weather::default();
        Self { now, nodes, weather, on_the_way: BTreeMap::new(), packets: 0, random }
    }

    /// A node is new: nobody knows what it knew.
    pub(crate) fn restart(&mut self, node: usize, timing: Timing, key: Option<&[u8]>) {
        let mut engine = Engine::new(self.random.u64(..));
        let session = engine.add(config(node, timing, key), self.now).unwrap();
        self.nodes[node] = Node { engine, session, changes: Vec::new(), stopped: None, socket: Vec::new() };
    }

    /// The node does not run for a while.
    pub(crate) fn stop(&mut self, node: usize, time: Duration, keeps_packets: bool) {
        self.nodes[node].stopped = Some((self.now + time, keeps_packets));
    }

    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let due = |node: &Node| match node.stopped {
                Some((until, _)) => Some(until),
                None => node.engine.deadline(),
            };
            let timer = self.nodes.iter().filter_map(due).min();
            let packet = self.on_the_way.keys().next().map(|&(at, _)| at);
            let Some(next) = timer.into_iter().chain(packet).min().filter(|&next| next <= end) else { break };
            self.now = self.now.max(next);
            while let Some(entry) = self.on_the_way.first_entry()
                && entry.key().0 <= self.now
            {
                let (to, payload) = entry.remove();
                let node = &mut self.nodes[to];
                if node.stopped.is_none_or(|(_, keeps)| keeps) {
                    node.socket.push(payload);
                }
            }
            for number in 0..2 {
                self.turn(number);
            }
        }
        self.now = end;
    }

    /// Until `done`, for a minute at most; how long it took.
    pub(crate) fn run_until(&mut self, what: &str, done: impl Fn(&Self) -> bool) -> Duration {
        let start = self.now;
        while !done(self) {
            assert!(self.now - start < 60_000 * MS, "never: {what}");
            self.run(MS);
        }
        self.now - start
    }

    pub(crate) fn run_until_up(&mut self) -> Duration {
        self.run_until("both up", |world| world.nodes.iter().all(|node| node.state() == State::Up))
    }

    fn turn(&mut self, number: usize) {
        let now = self.now;
        let node = &mut self.nodes[number];
        if node.stopped.is_some_and(|(until, _)| until > now) {
            return;
        }
        node.stopped = None;
        let arrival = arrival(node.engine.session(node.session).unwrap().config);
        for payload in std::mem::take(&mut node.socket) {
            node.engine.received(&payload, &arrival, now);
        }
        node.engine.handle_timeout(now);
        let mut sent = Vec::new();
        while let Some(output) = node.engine.poll() {
            match output {
                Output::Send { payload, .. } => sent.push(payload.to_vec()),
                Output::Change(change) => node.changes.push(change),
                Output::Stolen(_) => {}
            }
        }
        for payload in sent {
            self.send(number, payload);
        }
    }

    fn send(&mut self, from: usize, payload: Vec<u8>) {
        let Weather { lost, twice, delay, cut } = self.weather;
        if cut[from] {
            return;
        }
        let copies = 1 + usize::from(self.random.u32(0..1000) < twice);
        for _ in 0..copies {
            if self.random.u32(0..1000) < lost {
                continue;
            }
            let micros = self.random.u64(0..=delay.as_micros() as u64);
            self.packets += 1;
            self.on_the_way.insert(
                (self.now + Duration::from_micros(micros), self.packets),
                (1 - from, payload.clone()),
            );
        }
    }
}
