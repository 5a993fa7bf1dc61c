//! What the fuzz target does, in reach of ordinary tests: a peer that may send anything, at any time.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use crate::{
    Arrival, Cause, Engine, Key, Output, Packet, Path, SessionConfig, SessionId, Standing, State, Timing,
    auth,
};

const OWN: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

/// Gives an engine the packets of a peer. Bits of the first byte: 1, the session has a key; 2, it is over several hops;
/// 4, packets that parse get our discriminator where they have another than 0, and with a key are signed.
///
/// Then records: one byte of what happens (even: a packet, whose length follows in one byte, and it; odd: time passes,
/// milliseconds by two bytes).
///
/// # Panics
/// If what the engine tells does not follow from what it told before, or it does not stop telling.
pub fn bfd(data: &[u8]) {
    let Some((&mode, mut data)) = data.split_first() else { return };
    let start = Instant::now();
    let mut test = Test::new(mode, start);
    test.turn(start);
    let mut now = start;
    while let [kind, rest @ ..] = data {
        if kind & 1 == 0 {
            let Some((&length, rest)) = rest.split_first() else { break };
            let (payload, rest) = rest.split_at(rest.len().min(length.into()));
            test.receive(payload, *kind, now);
            data = rest;
        } else {
            let Some((ms, rest)) = rest.split_first_chunk() else { break };
            now += Duration::from_millis(u16::from_be_bytes(*ms).into());
            data = rest;
        }
        test.turn(now);
    }
    // Some silence, which may end the session; and the operator, who surely does.
    for _ in 0..50 {
        let Some(due) = test.engine.deadline() else { break };
        now = now.max(due);
        test.turn(now);
    }
    test.engine.set_all_admin_down(true, now);
    test.turn(now);
    assert_eq!(test.state, State::AdminDown);
}

struct Test {
    mode: u8,
    engine: Engine,
    session: SessionId,
    state: State,
    sequence: u32,
}

impl Test {
    fn new(mode: u8, now: Instant) -> Self {
        let mut engine = Engine::new(1);
        let path = match mode & 2 {
            0 => Path::SingleHop { interface: 1 },
            _ => Path::MultiHop { min_ttl: 250 },
        };
        let keys = if mode & 1 == 0 { None } else { key() };
        let timing = Timing::symmetric(Duration::from_millis(10), 3);
        let config = SessionConfig { peer: PEER, local: OWN, path, timing, keys: keys.into_iter().collect() };
        let Ok(session) = engine.add(config, now) else { unreachable!("the configuration is valid") };
        Self { mode, engine, session, state: State::Down, sequence: 0 }
    }

    fn receive(&mut self, payload: &[u8], kind: u8, now: Instant) {
        let multihop = self.mode & 2 != 0;
        let arrival = Arrival { peer: PEER, local: OWN, interface: 1, ttl: 255 - (kind >> 6), multihop };
        let Ok((mut packet, _)) = Packet::parse(payload) else {
            return self.engine.received(payload, &arrival, now);
        };
        if self.mode & 4 == 0 {
            return self.engine.received(payload, &arrival, now);
        }
        if packet.your_discriminator != 0
            && let Some(view) = self.engine.session(self.session)
        {
            packet.your_discriminator = view.discriminator;
        }
        match key().filter(|_| self.mode & 1 != 0) {
            Some(key) => {
                self.sequence = self.sequence.wrapping_add(u32::from(kind >> 1 & 15));
                self.engine.received(&auth::sign(packet.emit(), &key, self.sequence), &arrival, now);
            }
            None => self.engine.received(&packet.emit(), &arrival, now),
        }
    }

    fn turn(&mut self, now: Instant) {
        self.engine.handle_timeout(now);
        let mut sent = 0;
        while let Some(output) = self.engine.poll() {
            match output {
                Output::Send { payload, .. } => {
                    sent += 1;
                    assert!(Packet::parse(&payload).is_ok(), "{payload:?}");
                }
                Output::Change(change) => {
                    assert_eq!(change.from, self.state);
                    assert!(
                        change.to != State::Down || change.from != State::Up || self.may_end(change.cause)
                    );
                    assert_eq!(change.standing == Standing::Up, change.to == State::Up);
                    self.state = change.to;
                }
                Output::Stolen(_) => {}
            }
        }
        assert!(sent <= 2, "{sent} packets in one turn");
        assert!(self.engine.deadline().is_none_or(|due| due > now));
    }

    fn may_end(&self, cause: Cause) -> bool {
        matches!(cause, Cause::Expired | Cause::PeerSaid(State::Down | State::AdminDown))
    }
}

fn key() -> Option<Key> {
    Key::new(1, b"secret")
}
