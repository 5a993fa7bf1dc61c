//! Who may begin a handshake now. Each costs a signature and memory, and anybody can ask for one.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Handshakes at a time of addresses that are no peer's, all together.
const STRANGERS: usize = 16;

/// How many of those may begin in a second, and at once after a pause.
const STRANGERS_RATE: f64 = 20.0;

/// Handshakes at a time of each peer's address. A stranger can't use them: it would have to receive at that address.
const EACH_PEER: usize = 4;

/// Counts handshakes.
#[derive(Debug)]
pub(super) struct Gate(Mutex<State>);

#[derive(Debug)]
struct State {
    peers: HashMap<IpAddr, usize>,
    strangers: usize,
    tokens: f64,
    refilled: Instant,
}

/// A handshake that has begun; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Admitted {
    gate: Arc<Gate>,
    address: IpAddr,
}

impl Gate {
    pub(super) fn new(peers: impl Iterator<Item = IpAddr>, now: Instant) -> Arc<Self> {
        let peers = peers.map(|address| (address.to_canonical(), 0)).collect();
        let state = State { peers, strangers: 0, tokens: STRANGERS_RATE, refilled: now };
        Arc::new(Self(Mutex::new(state)))
    }

    /// Whether a connection from this address may go on; one that may not is closed at once.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr, now: Instant) -> Option<Admitted> {
        let address = address.to_canonical();
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = state.peers.get_mut(&address) {
            if *count == EACH_PEER {
                return None;
            }
            *count += 1;
        } else {
            let passed = now.saturating_duration_since(state.refilled).as_secs_f64();
            state.refilled = now;
            state.tokens = (state.tokens + passed * STRANGERS_RATE).min(STRANGERS_RATE);
            if state.strangers == STRANGERS || state.tokens < 1.0 {
                return None;
            }
            state.tokens -= 1.0;
            state.strangers += 1;
        }
        Some(Admitted { gate: Arc::clone(self), address })
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut state = self.gate.0.lock().unwrap_or_else(PoisonError::into_inner);
        match state.peers.get_mut(&self.address) {
            Some(count) => *count -= 1,
            None => state.strangers -= 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn strangers_are_few_and_take_nothing_from_peers() {
        let now = Instant::now();
        let [peer, stranger]: [IpAddr; 2] = ["192.0.2.1", "192.0.2.66"].map(|text| text.parse().unwrap());
        let gate = Gate::new([peer].into_iter(), now);
        let mut inside: Vec<Admitted> = (0..1000).filter_map(|_| gate.admit(stranger, now)).collect();
        assert_eq!(inside.len(), STRANGERS);
        let peers: Vec<Admitted> = (0..1000).filter_map(|_| gate.admit(peer, now)).collect();
        assert_eq!(peers.len(), EACH_PEER);
        drop(peers);
        assert!(gate.admit("::ffff:192.0.2.1".parse().unwrap(), now).is_some());

        // Those that end at once are limited by their rate.
        inside.clear();
        let more = (0..1000).filter_map(|_| gate.admit(stranger, now)).count();
        assert_eq!(more, STRANGERS_RATE as usize - STRANGERS);
        let later = now + Duration::from_millis(500);
        let more = (0..1000).filter_map(|_| gate.admit(stranger, later)).count();
        assert_eq!(more, STRANGERS_RATE as usize / 2);
        assert!(gate.admit(stranger, now).is_none(), "a clock that goes back gives nothing");
    }
}
