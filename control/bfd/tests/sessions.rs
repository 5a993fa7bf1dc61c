//! An engine and a peer that says what the test wants.

use std::time::{Duration, Instant};

use bfd::{
    Arrival, Cause, Change, ConfigError, Diagnostic, Discard, Engine, Key, MAX_SESSIONS, Output, Packet,
    Path, SessionConfig, SessionId, Standing, State, Stolen, Timing,
};

const MS: Duration = Duration::from_millis(1);
const PEER: u32 = 77;

/// What an engine wanted and told since the last time.
#[derive(Debug, Default)]
struct Told {
    packets: Vec<Packet>,
    changes: Vec<Change>,
}

struct Stage {
    engine: Engine,
    session: SessionId,
    arrival: Arrival,
    now: Instant,
}

fn config(own: &str, peer: &str, path: Path) -> SessionConfig {
    SessionConfig {
        peer: peer.parse().unwrap(),
        local: own.parse().unwrap(),
        path,
        timing: Timing::symmetric(10 * MS, 3),
        keys: Vec::new(),
    }
}

impl Stage {
    fn new() -> Self {
        Self::with(config("192.0.2.1", "192.0.2.2", Path::SingleHop { interface: 4 }))
    }

    fn with(config: SessionConfig) -> Self {
        let (mut engine, now) = (Engine::new(1), Instant::now());
        let multihop = matches!(config.path, Path::MultiHop { .. });
        let arrival = Arrival { peer: config.peer, local: config.local, interface: 4, ttl: 255, multihop };
        let session = engine.add(config, now).unwrap();
        let mut stage = Self { engine, session, arrival, now };
        stage.turn();
        stage
    }

    fn up() -> Self {
        let mut stage = Self::new();
        stage.bring_up();
        stage
    }

    fn bring_up(&mut self) {
        self.say(State::Down);
        self.say(State::Up);
        assert_eq!(self.state(), State::Up);
        self.receive(Packet { is_final: true, ..self.packet(State::Up) });
    }

    fn view(&self) -> bfd::SessionView<'_> {
        self.engine.session(self.session).unwrap()
    }

    fn state(&self) -> State {
        self.view().state
    }

    fn packet(&self, state: State) -> Packet {
        Packet {
            diagnostic: Diagnostic::None,
            state,
            poll: false,
            is_final: false,
            control_plane_independent: false,
            demand: false,
            detect_multiplier: 3,
            my_discriminator: PEER,
            your_discriminator: self.view().discriminator,
            desired_min_tx: 10_000,
            required_min_rx: 10_000,
            required_min_echo_rx: 0,
        }
    }

    fn say(&mut self, state: State) -> Told {
        self.receive(self.packet(state))
    }

    fn receive(&mut self, packet: Packet) -> Told {
        self.receive_bytes(&packet.emit())
    }

    fn receive_bytes(&mut self, bytes: &[u8]) -> Told {
        self.engine.received(bytes, &self.arrival, self.now);
        self.turn()
    }

    fn turn(&mut self) -> Told {
        self.engine.handle_timeout(self.now);
        let mut told = Told::default();
        while let Some(output) = self.engine.poll() {
            match output {
                Output::Send { payload, .. } => told.packets.push(Packet::parse(&payload).unwrap().0),
                Output::Change(change) => told.changes.push(change),
                Output::Stolen(_) => {}
            }
        }
        told
    }

    /// Lets time pass as its timers want.
    fn pass(&mut self, time: Duration) -> Told {
        let end = self.now + time;
        let mut told = Told::default();
        while let Some(due) = self.engine.deadline().filter(|&due| due <= end) {
            self.now = due;
            let Told { packets, changes } = self.turn();
            told.packets.extend(packets);
            told.changes.extend(changes);
        }
        self.now = end;
        told
    }

    fn discarded(&self, reason: Discard) -> (u64, u64) {
        (self.view().discards.of(reason), self.engine.discards().of(reason))
    }
}

#[test]
fn three_packets_bring_a_session_up() {
    let mut stage = Stage::new();
    let first = Packet { your_discriminator: 0, ..stage.packet(State::Down) };
    let told = stage.receive(first);
    let answer = told.packets[0];
    assert_eq!(
        (answer.state, answer.your_discriminator, answer.desired_min_tx),
        (State::Init, PEER, 1_000_000)
    );
    assert_eq!(told.changes[0].standing, Standing::NotYetUp);
    let told = stage.say(State::Up);
    let answer = told.packets[0];
    assert_eq!((answer.state, answer.desired_min_tx, answer.poll), (State::Up, 10_000, true));
    let change = &told.changes[0];
    assert_eq!((change.from, change.to, change.standing), (State::Init, State::Up, Standing::Up));
    assert_eq!(change.cause, Cause::PeerSaid(State::Up));
    // A peer that stands at Init comes up too.
    let mut stage = Stage::new();
    stage.say(State::Init);
    assert_eq!(stage.state(), State::Up);
}

#[test]
fn not_yet_up_is_slow_and_not_dead() {
    let mut stage = Stage::new();
    let told = stage.pass(60_000 * MS);
    assert!((60..=80).contains(&told.packets.len()), "{}", told.packets.len());
    assert!(told.changes.is_empty());
    assert_eq!(stage.engine.standing(stage.session), Some(Standing::NotYetUp));
}

#[test]
fn the_table_of_states() {
    use State::{AdminDown, Down, Init, Up};
    // RFC 5880 §6.2, §6.8.6: ours, what is heard, ours then.
    let table = [
        (Down, AdminDown, Down),
        (Down, Down, Init),
        (Down, Init, Up),
        (Down, Up, Down),
        (Init, AdminDown, Down),
        (Init, Down, Init),
        (Init, Init, Up),
        (Init, Up, Up),
        (Up, AdminDown, Down),
        (Up, Down, Down),
        (Up, Init, Up),
        (Up, Up, Up),
    ];
    for (ours, heard, then) in table {
        let mut stage = Stage::new();
        match ours {
            Init => drop(stage.say(Down)),
            Up => drop((stage.say(Down), stage.say(Up))),
            _ => {}
        }
        assert_eq!(stage.state(), ours);
        stage.say(heard);
        assert_eq!(stage.state(), then, "{ours}, {heard} heard");
        if then == Down && ours != Down {
            assert_eq!(stage.view().diagnostic, Diagnostic::NeighborSignaledDown);
        }
    }
}

#[test]
fn what_the_peer_holds_down_is_not_just_down() {
    let mut stage = Stage::up();
    let told = stage.say(State::AdminDown);
    assert_eq!((told.changes[0].to, told.changes[0].standing), (State::Down, Standing::PeerAdminDown));
    assert_eq!(told.changes[0].cause, Cause::PeerSaid(State::AdminDown));
    // It is news too of a session that was never up, and when it is over.
    let mut stage = Stage::new();
    let told = stage.say(State::AdminDown);
    assert_eq!((told.changes[0].from, told.changes[0].to), (State::Down, State::Down));
    assert_eq!(told.changes[0].standing, Standing::PeerAdminDown);
    let told = stage.say(State::Down);
    assert_eq!((told.changes[0].to, told.changes[0].standing), (State::Init, Standing::NotYetUp));
}

#[test]
fn silence_ends_it() {
    let mut stage = Stage::up();
    let told = stage.pass(30 * MS);
    let change = told.changes.last().unwrap();
    assert_eq!((change.to, change.standing, change.cause), (State::Down, Standing::Down, Cause::Expired));
    assert_eq!((change.diagnostic, change.silence), (Diagnostic::DetectionTimeExpired, Some(30 * MS)));
    let last = told.packets.last().unwrap();
    assert_eq!((last.state, last.your_discriminator), (State::Down, 0));
    assert_eq!(last.diagnostic, Diagnostic::DetectionTimeExpired);
    assert_eq!(stage.view().ups, 1);
}

#[test]
fn the_peers_multiplier_and_interval_count() {
    let mut stage = Stage::up();
    let slower = Packet { detect_multiplier: 5, desired_min_tx: 40_000, ..stage.packet(State::Up) };
    stage.receive(slower);
    assert_eq!(stage.view().detection_time, Some(200 * MS));
    assert!(stage.pass(199 * MS).changes.is_empty());
    assert_eq!(stage.pass(MS).changes[0].to, State::Down);
}

#[test]
fn polls_are_answered_at_once_and_once_a_turn() {
    let mut stage = Stage::up();
    let poll = Packet { poll: true, ..stage.packet(State::Up) };
    let told = stage.receive(poll);
    assert_eq!(
        told.packets.iter().map(|packet| (packet.is_final, packet.poll)).collect::<Vec<_>>(),
        [(true, false)]
    );
    // A storm of them in one socket.
    (0..100).for_each(|_| stage.engine.received(&poll.emit(), &stage.arrival, stage.now));
    assert_eq!(stage.turn().packets.len(), 1);
}

#[test]
fn other_intervals_are_told_by_a_poll_sequence() {
    let mut stage = Stage::up();
    let timing = Timing::symmetric(100 * MS, 4);
    stage.engine.change(stage.session, timing, Vec::new(), stage.now).unwrap();
    let said = stage.turn().packets[0];
    assert_eq!((said.poll, said.desired_min_tx, said.required_min_rx), (true, 100_000, 100_000));
    assert_eq!(said.detect_multiplier, 4);
    // As before, until the peer has answered; it is waited for at once.
    assert_eq!((stage.view().transmit_interval, stage.view().detection_time), (10 * MS, Some(300 * MS)));
    stage.receive(Packet { is_final: true, ..stage.packet(State::Up) });
    assert_eq!(stage.view().transmit_interval, 100 * MS);
    assert!(!stage.pass(100 * MS).packets[0].poll);
}

#[test]
fn a_peer_that_wants_nothing_gets_answers_alone() {
    let mut stage = Stage::up();
    let quiet = Packet { required_min_rx: 0, desired_min_tx: 1_000_000, ..stage.packet(State::Up) };
    stage.receive(quiet);
    assert!(stage.pass(2_000 * MS).packets.is_empty());
    assert!(stage.receive(Packet { poll: true, ..quiet }).packets[0].is_final);
    // One in demand mode too, while both are up.
    stage.receive(Packet { demand: true, required_min_rx: 10_000, ..quiet });
    assert!(stage.pass(2_000 * MS).packets.is_empty());
    assert!(!stage.pass(1_000 * MS).packets.is_empty(), "silent for 3 s: down, and heard again");
}

#[test]
fn held_down_here() {
    let mut stage = Stage::up();
    stage.engine.set_all_admin_down(true, stage.now);
    let told = stage.turn();
    assert_eq!((told.changes[0].to, told.changes[0].cause), (State::AdminDown, Cause::HeldDown));
    assert_eq!(told.packets[0].diagnostic, Diagnostic::AdministrativelyDown);
    assert_eq!((told.packets[0].state, told.packets[0].desired_min_tx), (State::AdminDown, 1_000_000));
    // It goes on saying so, and hears nothing else.
    assert!((4..=6).contains(&stage.pass(4_500 * MS).packets.len()));
    assert!(stage.say(State::Down).changes.is_empty());
    assert_eq!(stage.discarded(Discard::AdminDown), (1, 0));
    stage.engine.set_admin_down(stage.session, false, stage.now).unwrap();
    let told = stage.turn();
    assert_eq!((told.changes[0].to, told.changes[0].standing), (State::Down, Standing::NotYetUp));
    stage.bring_up();
}

#[test]
fn only_what_comes_over_the_right_path_counts() {
    let mut stage = Stage::up();
    let packet = stage.packet(State::Down).emit();
    let right = stage.arrival;
    let from = |peer: &str| Arrival { peer: peer.parse().unwrap(), ..right };
    for (arrival, reason) in [
        (Arrival { ttl: 254, ..right }, Discard::Ttl),
        (Arrival { interface: 5, ..right }, Discard::OtherPath),
        (Arrival { multihop: true, ..right }, Discard::OtherPath),
        (from("192.0.2.3"), Discard::OtherPath),
        (from("::ffff:192.0.2.2"), Discard::OtherPath),
    ] {
        let before = stage.discarded(reason).0;
        stage.engine.received(&packet, &arrival, stage.now);
        assert!(stage.turn().changes.is_empty(), "{arrival:?}");
        assert_eq!(stage.discarded(reason), (before + 1, 0), "{arrival:?}");
    }
}

#[test]
fn sessions_are_told_apart_in_both_families_and_over_several_hops() {
    let mut engine = Engine::new(1);
    let now = Instant::now();
    let hop = |interface| Path::SingleHop { interface };
    let many = Path::MultiHop { min_ttl: 250 };
    let configs = [
        config("192.0.2.1", "192.0.2.2", hop(4)),
        config("192.0.2.1", "192.0.2.2", hop(5)),
        config("fe80::1", "fe80::2", hop(4)),
        config("fe80::1", "fe80::2", hop(5)),
        config("192.0.2.1", "192.0.2.2", many),
        config("192.0.2.9", "192.0.2.2", many),
        config("2001:db8::1", "2001:db8::2", many),
    ];
    let ids = configs.clone().map(|config| engine.add(config, now).unwrap());
    let discriminators: std::collections::HashSet<_> =
        engine.sessions().map(|view| view.discriminator).collect();
    assert_eq!(discriminators.len(), ids.len());
    for (config, id) in configs.iter().zip(ids) {
        assert_eq!(engine.add(config.clone(), now), Err(ConfigError::Twice { peer: config.peer }));
        let (interface, multihop, ttl) = match config.path {
            Path::SingleHop { interface } => (interface, false, 255),
            Path::MultiHop { .. } => (9, true, 250),
        };
        let arrival = Arrival { peer: config.peer, local: config.local, interface, ttl, multihop };
        let packet = Packet { your_discriminator: 0, ..Stage::new().packet(State::Down) };
        engine.received(&packet.emit(), &arrival, now);
        assert_eq!(engine.session(id).unwrap().state, State::Init, "{config:?}");
        if multihop {
            engine.received(&packet.emit(), &Arrival { ttl: 249, ..arrival }, now);
            assert_eq!(engine.session(id).unwrap().discards.of(Discard::Ttl), 1);
        }
        assert!(engine.remove(id) && !engine.remove(id));
        engine.received(&packet.emit(), &arrival, now);
    }
    assert_eq!(engine.discards().of(Discard::UnknownPeer), ids.len() as u64);
    assert_eq!((engine.sessions().count(), engine.deadline()), (0, None));
}

#[test]
fn what_is_wrong_is_refused() {
    let (mut engine, now) = (Engine::new(1), Instant::now());
    let right = config("192.0.2.1", "192.0.2.2", Path::SingleHop { interface: 4 });
    let timed = |timing| SessionConfig { timing, ..right.clone() };
    let mixed = config("192.0.2.1", "2001:db8::2", right.path);
    assert!(matches!(engine.add(mixed, now), Err(ConfigError::Families { .. })));
    for interval in [Duration::ZERO, MS / 2, 60_001 * MS] {
        let refused = engine.add(timed(Timing::symmetric(interval, 3)), now);
        assert_eq!(refused, Err(ConfigError::Interval { interval }));
    }
    assert_eq!(engine.add(timed(Timing::symmetric(MS, 0)), now), Err(ConfigError::DetectMultiplier));
    for interface in 0..MAX_SESSIONS as u32 {
        engine.add(config("192.0.2.1", "192.0.2.2", Path::SingleHop { interface }), now).unwrap();
    }
    let path = Path::SingleHop { interface: u32::MAX };
    assert_eq!(engine.add(config("192.0.2.1", "192.0.2.2", path), now), Err(ConfigError::TooMany));
}

fn authenticated() -> Stage {
    let config = config("192.0.2.1", "192.0.2.2", Path::SingleHop { interface: 4 });
    Stage::with(SessionConfig { keys: vec![Key::new(3, b"secret").unwrap()], ..config })
}

/// What a peer with a key would send, from an engine of its own.
struct Signer(Engine, Instant);

impl Signer {
    fn new(key: &[u8]) -> Self {
        let config = config("192.0.2.2", "192.0.2.1", Path::SingleHop { interface: 4 });
        let (mut engine, now) = (Engine::new(2), Instant::now());
        let keys = vec![Key::new(3, key).unwrap()];
        engine.add(SessionConfig { keys, ..config }, now).unwrap();
        Self(engine, now)
    }

    fn next(&mut self) -> Vec<u8> {
        self.1 += 1_000 * MS;
        self.0.handle_timeout(self.1);
        loop {
            match self.0.poll().expect("a packet is due each second") {
                Output::Send { payload, .. } => return payload.to_vec(),
                Output::Change(_) | Output::Stolen(_) => {}
            }
        }
    }
}

#[test]
fn a_key_is_needed_and_numbers_only_rise() {
    let mut stage = authenticated();
    stage.receive(Packet { your_discriminator: 0, ..stage.packet(State::Down) });
    assert_eq!((stage.state(), stage.discarded(Discard::AuthMissing)), (State::Down, (1, 0)));
    stage.receive_bytes(&Signer::new(b"guess").next());
    assert_eq!((stage.state(), stage.discarded(Discard::AuthHash)), (State::Down, (1, 0)));
    let mut signer = Signer::new(b"secret");
    let packets: Vec<_> = (0..12).map(|_| signer.next()).collect();
    stage.receive_bytes(&packets[1]);
    assert_eq!(stage.state(), State::Init);
    for (place, reason) in [(1, true), (0, true), (11, true), (10, false), (2, true)] {
        let before = stage.discarded(Discard::AuthSequence).0;
        stage.receive_bytes(&packets[place]);
        assert_eq!(stage.discarded(Discard::AuthSequence).0 > before, reason, "packet {place}");
    }
    // One without keys wants none.
    let mut stage = Stage::new();
    stage.receive_bytes(&packets[0]);
    assert_eq!((stage.state(), stage.discarded(Discard::AuthUnexpected)), (State::Down, (1, 0)));
}

#[test]
fn what_was_recorded_of_a_session_does_not_bring_up_the_next() {
    let mut stage = authenticated();
    let first = stage.view().discriminator;
    stage.receive_bytes(&Signer::new(b"secret").next());
    assert_eq!(stage.state(), State::Init);
    stage.pass(3_000 * MS);
    assert_eq!(stage.state(), State::Down);
    assert_ne!(stage.view().discriminator, first);
    // Whatever it holds, it is for a session that nobody has.
    let recorded = Packet { your_discriminator: first, ..stage.packet(State::Init) };
    stage.receive(recorded);
    assert_eq!(stage.discarded(Discard::UnknownDiscriminator), (0, 1));
    // A peer that starts anew, with any number, is heard.
    stage.receive_bytes(&Signer::new(b"secret").next());
    assert_eq!(stage.state(), State::Init);
}

#[test]
fn what_it_says_itself_is_no_peer() {
    let [one, two] = ["192.0.2.2", "192.0.2.3"].map(|peer| {
        let keys = vec![Key::new(3, b"secret").unwrap()];
        let path = Path::SingleHop { interface: 4 };
        SessionConfig { keys, ..config("192.0.2.1", peer, path) }
    });
    let mut stage = Stage::with(one);
    let first = stage.session;
    let second = stage.engine.add(two, stage.now).unwrap();
    // Each packet comes back, as from the peer that it was for, and as from the other, which has the same key.
    for _ in 0..20 {
        stage.now = stage.engine.deadline().unwrap();
        stage.engine.handle_timeout(stage.now);
        let sent: Vec<_> = std::iter::from_fn(|| stage.engine.poll()).collect();
        for output in sent {
            let Output::Send { payload, .. } = output else { panic!("{output:?}") };
            for session in [first, second] {
                let peer = stage.engine.session(session).unwrap().config.peer;
                stage.engine.received(&payload, &Arrival { peer, ..stage.arrival }, stage.now);
            }
        }
    }
    for session in [first, second] {
        let view = stage.engine.session(session).unwrap();
        assert_eq!((view.state, view.heard), (State::Down, None));
        assert!(view.discards.of(Discard::Reflected) >= 20, "{:?}", view.discards);
    }
}

#[test]
fn keys_change_without_a_gap() {
    let mut stage = authenticated();
    let keys = [Key::new(4, b"new").unwrap(), Key::new(3, b"secret").unwrap()];
    stage.engine.change(stage.session, Timing::symmetric(10 * MS, 3), keys.to_vec(), stage.now).unwrap();
    stage.receive_bytes(&Signer::new(b"secret").next());
    assert_eq!(stage.state(), State::Init);
    // It signs by the first.
    stage.now += 2_000 * MS;
    stage.engine.handle_timeout(stage.now);
    let Some(Output::Send { payload, .. }) =
        std::iter::from_fn(|| stage.engine.poll()).find(|output| matches!(output, Output::Send { .. }))
    else {
        panic!("nothing was sent")
    };
    assert_eq!((payload.len(), payload[bfd::packet::LENGTH + 2]), (52, 4));
}

#[test]
fn a_flood_of_nonsense_leaves_numbers_alone() {
    let mut stage = Stage::up();
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..100_000 {
        let mut packet = stage.packet(State::Up);
        packet.your_discriminator = random.u32(..).max(1);
        packet.my_discriminator = random.u32(1..);
        stage.engine.received(&packet.emit(), &stage.arrival, stage.now);
    }
    assert!(stage.turn().packets.is_empty());
    assert!(stage.engine.discards().of(Discard::UnknownDiscriminator) >= 99_999);
    assert_eq!(stage.engine.sessions().count(), 1);
}

#[test]
fn a_pause_of_the_caller_is_counted_and_no_evidence() {
    let mut stage = Stage::up();
    stage.pass(20 * MS);
    assert_eq!(stage.engine.stolen(), Stolen::default());
    let due = stage.engine.deadline().unwrap();
    stage.now = due + 5_000 * MS;
    assert!(stage.turn().changes.is_empty());
    let stolen = stage.engine.stolen();
    assert_eq!(stolen, Stolen { periods: 1, total: 5_000 * MS, longest: 5_000 * MS });
    // Now it is evidence again: what is left of the time, at least that of one packet.
    assert!(stage.pass(9 * MS).changes.is_empty());
    assert_eq!(stage.pass(11 * MS).changes[0].cause, Cause::Expired);
}

#[test]
fn a_packet_found_after_a_pause_counts_from_when_it_was_found() {
    let mut stage = Stage::up();
    stage.pass(20 * MS);
    stage.now += 5_000 * MS;
    assert!(stage.say(State::Up).changes.is_empty());
    assert!(stage.pass(29 * MS).changes.is_empty());
    assert_eq!(stage.pass(MS).changes[0].cause, Cause::Expired);
}
