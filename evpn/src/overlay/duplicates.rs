//! MAC addresses that jump between endpoints (RFC 7432 §15.1).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use wire::{MacAddr, Vni};

/// When a MAC address counts as duplicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DuplicatePolicy {
    /// So many moves ...
    pub moves: u16,
    /// ... within this time: its place is then held.
    pub window: Duration,
    /// After this time its routes count again. `None`: when told, or when nobody announces it any longer.
    pub recovery: Option<Duration>,
}

impl Default for DuplicatePolicy {
    /// 5 moves in 180 s, as RFC 7432 §15.1 and FRR have it; recovery after 180 s.
    fn default() -> Self {
        Self { moves: 5, window: Duration::from_secs(180), recovery: Some(Duration::from_secs(180)) }
    }
}

type Key = (Vni, MacAddr);

/// Most stations whose moves are counted at a time.
const MOST: usize = 1 << 20;

#[derive(Debug)]
struct Moves {
    count: u16,
    held: bool,
    /// When this is forgotten, or the hold ends.
    until: Option<Instant>,
}

/// Only what moved lately, or is held.
#[derive(Debug)]
pub(crate) struct Duplicates {
    policy: DuplicatePolicy,
    moves: HashMap<Key, Moves, RandomState>,
    /// When to look at whom; what was put off is looked at in vain.
    timers: VecDeque<(Instant, Key)>,
    /// The same for holds, whose time is another.
    holds: VecDeque<(Instant, Key)>,
}

impl Duplicates {
    pub(crate) fn new(policy: DuplicatePolicy) -> Self {
        Self { policy, moves: HashMap::default(), timers: VecDeque::new(), holds: VecDeque::new() }
    }

    pub(crate) fn policy(&self) -> &DuplicatePolicy {
        &self.policy
    }

    pub(crate) fn is_held(&self, key: Key) -> bool {
        !self.moves.is_empty() && self.moves.get(&key).is_some_and(|moves| moves.held)
    }

    /// The station is about to move: whether that is one move too many, and it is held from now on.
    pub(crate) fn is_one_too_many(&mut self, key: Key, now: Instant) -> bool {
        let policy = self.policy;
        // Made-up stations must not take all memory: those beyond may move as they like. A timer outlives what it was for.
        if self.moves.len().max(self.timers.len()) >= MOST && !self.moves.contains_key(&key) {
            return false;
        }
        let (timers, until) = (&mut self.timers, now + policy.window);
        let moves = self.moves.entry(key).or_insert_with(|| {
            timers.push_back((until, key));
            Moves { count: 0, held: false, until: Some(until) }
        });
        moves.count = moves.count.saturating_add(1);
        if moves.count < policy.moves.max(1) {
            return false;
        }
        moves.held = true;
        moves.until = policy.recovery.map(|recovery| now + recovery);
        if let Some(until) = moves.until {
            self.holds.push_back((until, key));
        }
        true
    }

    /// When [`expire`](Self::expire) is to be called.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let fronts = [self.timers.front(), self.holds.front()];
        fronts.into_iter().flatten().map(|(due, _)| *due).min()
    }

    /// The next one whose hold is over; forgets what moved long ago.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<Key> {
        for timers in [&mut self.timers, &mut self.holds] {
            while let Some(&(due, key)) = timers.front()
                && due <= now
            {
                timers.pop_front();
                if self.moves.get(&key).is_some_and(|moves| moves.until == Some(due))
                    && self.moves.remove(&key).is_some_and(|moves| moves.held)
                {
                    return Some(key);
                }
            }
        }
        None
    }

    /// The station's last route is gone: ends a hold that nothing else would end; whether there was one.
    pub(crate) fn forget_endless(&mut self, key: Key) -> bool {
        let endless = self.moves.get(&key).is_some_and(|moves| moves.held && moves.until.is_none());
        endless && self.clear(key)
    }

    /// Ends a hold by hand; whether there was one.
    pub(crate) fn clear(&mut self, key: Key) -> bool {
        self.moves.remove(&key).is_some_and(|moves| moves.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

    fn key() -> Key {
        (Vni::new(5).unwrap(), MAC)
    }

    #[test]
    fn the_fifth_move_in_the_window_is_one_too_many() {
        let start = Instant::now();
        let mut duplicates = Duplicates::new(DuplicatePolicy::default());
        let seconds = Duration::from_secs;
        for n in 0..4 {
            assert!(!duplicates.is_one_too_many(key(), start + seconds(n)));
        }
        assert!(!duplicates.is_held(key()));
        assert!(duplicates.is_one_too_many(key(), start + seconds(100)));
        assert!(duplicates.is_held(key()));
        // The window's end changes nothing; the hold's does.
        assert_eq!(duplicates.expire(start + seconds(180)), None);
        assert!(duplicates.is_held(key()));
        assert_eq!(duplicates.deadline(), Some(start + seconds(280)));
        assert_eq!(duplicates.expire(start + seconds(280)), Some(key()));
        assert!(!duplicates.is_held(key()));
    }

    #[test]
    fn slow_moves_are_none_too_many() {
        let start = Instant::now();
        let mut duplicates = Duplicates::new(DuplicatePolicy::default());
        for n in 0..100 {
            let now = start + Duration::from_secs(46 * n);
            assert_eq!(duplicates.expire(now), None);
            assert!(!duplicates.is_one_too_many(key(), now), "move {n}");
        }
        assert_eq!(duplicates.expire(start + Duration::from_secs(100_000)), None);
        assert!(duplicates.moves.is_empty() && duplicates.deadline().is_none());
    }

    #[test]
    fn what_is_kept_of_those_that_come_and_go_is_bounded() {
        let start = Instant::now();
        let policy = DuplicatePolicy { moves: 1, recovery: None, ..DuplicatePolicy::default() };
        let mut duplicates = Duplicates::new(policy);
        for _ in 0..MOST {
            assert!(duplicates.is_one_too_many(key(), start) && duplicates.forget_endless(key()));
        }
        assert!(!duplicates.is_one_too_many(key(), start), "it may move as it likes");
        assert_eq!((duplicates.timers.len(), duplicates.moves.len()), (MOST, 0));
        assert_eq!(duplicates.expire(start + policy.window), None);
        assert!(duplicates.is_one_too_many(key(), start + policy.window));
    }

    #[test]
    fn a_hold_without_recovery_ends_by_hand() {
        let start = Instant::now();
        let policy = DuplicatePolicy { moves: 1, recovery: None, ..DuplicatePolicy::default() };
        let mut duplicates = Duplicates::new(policy);
        assert!(duplicates.is_one_too_many(key(), start));
        assert_eq!(duplicates.expire(start + Duration::from_secs(1_000_000)), None);
        assert!(duplicates.is_held(key()) && duplicates.clear(key()) && !duplicates.clear(key()));
    }
}
