//! A timer for each entry: a wheel of slots, each the list of entries that are due in one tick.
//!
//! Setting and clearing a timer takes constant time, and a cleared one leaves nothing behind. What is due later than
//! the wheel reaches is put into its last slot, and from there onwards.

use std::time::{Duration, Instant};

use super::links::{Links, List};

/// Timers go off up to one tick late, never early.
const TICK: Duration = Duration::from_millis(64);
/// A wheel of nearly nine minutes: more than most timers take.
const SLOTS: usize = 8192;
const WORDS: usize = SLOTS / 64;

#[derive(Clone, Copy, Debug)]
struct Timer {
    /// In ticks since the wheel was made.
    due: u64,
    slot: Option<u16>,
}

/// The timers of all entries, by index.
#[derive(Debug)]
pub(super) struct Timers {
    epoch: Instant,
    /// Ticks before this one are over. Slots hold what is due in this one and those that follow.
    cursor: u64,
    slots: Box<[List]>,
    /// A bit for each slot that is not empty.
    occupied: [u64; WORDS],
    links: Links,
    timers: Vec<Timer>,
}

impl Timers {
    pub(super) fn new(entries: usize, now: Instant) -> Self {
        Self {
            epoch: now,
            cursor: 0,
            slots: vec![List::EMPTY; SLOTS].into(),
            occupied: [0; WORDS],
            links: Links::with_capacity(entries),
            timers: Vec::with_capacity(entries),
        }
    }

    /// Sets the one timer of an entry.
    pub(super) fn set(&mut self, index: u32, at: Instant) {
        self.clear(index);
        let since = at.saturating_duration_since(self.epoch).as_nanos();
        self.put(index, since.div_ceil(TICK.as_nanos()) as u64);
    }

    pub(super) fn clear(&mut self, index: u32) {
        let Some(timer) = self.timers.get_mut(index as usize) else { return };
        let Some(slot) = timer.slot.take().map(usize::from) else { return };
        self.links.remove(&mut self.slots[slot], index);
        if self.slots[slot].is_empty() {
            self.occupied[slot / 64] &= !(1 << (slot % 64));
        }
    }

    /// An entry whose timer has gone off, the earliest first. Its timer is clear.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<u32> {
        let now = (now.saturating_duration_since(self.epoch).as_nanos() / TICK.as_nanos()) as u64;
        while let Some((tick, index)) = self.first()
            && tick <= now
        {
            self.cursor = tick;
            let due = self.timers[index as usize].due;
            self.clear(index);
            if due <= now {
                return Some(index);
            }
            self.put(index, due);
        }
        self.cursor = self.cursor.max(now);
        None
    }

    /// When to call [`Timers::pop_due`] next, at the latest.
    pub(super) fn next(&self) -> Option<Instant> {
        let (tick, _) = self.first()?;
        // Ticks are counted from instants that existed, and a wheel further at most.
        Some(self.epoch + Duration::from_nanos(tick.saturating_mul(TICK.as_nanos() as u64)))
    }

    fn put(&mut self, index: u32, due: u64) {
        let tick = due.clamp(self.cursor, self.cursor + SLOTS as u64 - 1);
        let slot = (tick % SLOTS as u64) as usize;
        if self.timers.len() <= index as usize {
            self.timers.resize(index as usize + 1, Timer { due: 0, slot: None });
        }
        self.timers[index as usize] = Timer { due, slot: Some(slot as u16) };
        self.links.push_last(&mut self.slots[slot], index);
        self.occupied[slot / 64] |= 1 << (slot % 64);
    }

    /// The first tick with an occupied slot, and the first entry there.
    fn first(&self) -> Option<(u64, u32)> {
        let start = (self.cursor % SLOTS as u64) as usize;
        // The word of the first slot comes twice: first its upper bits, in the end the lower ones.
        let upper = !0 << (start % 64);
        for step in 0..=WORDS {
            let word = (start / 64 + step) % WORDS;
            let bits = match step {
                0 => self.occupied[word] & upper,
                WORDS => self.occupied[word] & !upper,
                _ => self.occupied[word],
            };
            if bits != 0 {
                let slot = word * 64 + bits.trailing_zeros() as usize;
                let distance = (slot + SLOTS - start) % SLOTS;
                return self.slots[slot].first().map(|index| (self.cursor + distance as u64, index));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a map: never early, at most a tick late, each once.
        #[test]
        fn timers_go_off_in_their_tick(
            steps in proptest::collection::vec((0..20_u32, prop_oneof![0..3_000_u64, 0..2_000_000_u64], 0..4_u8), 1..200),
        ) {
            let epoch = Instant::now();
            let mut timers = Timers::new(0, epoch);
            let mut map = BTreeMap::new();
            let mut now = epoch;
            for (index, millis, what) in steps {
                let span = Duration::from_millis(millis);
                match what {
                    0 => {
                        timers.set(index, now + span);
                        map.insert(index, now + span);
                    }
                    1 => {
                        // In the past: at once.
                        timers.set(index, epoch);
                        map.insert(index, now);
                    }
                    2 => {
                        timers.clear(index);
                        map.remove(&index);
                    }
                    _ => {
                        now += span;
                        while let Some(index) = timers.pop_due(now) {
                            prop_assert!(map.remove(&index).is_some_and(|at| at <= now), "{index}");
                        }
                        prop_assert!(map.values().all(|&at| at + TICK > now));
                    }
                }
                let first = map.values().min().copied();
                prop_assert_eq!(first.is_some(), timers.next().is_some());
                if let (Some(first), Some(next)) = (first, timers.next()) {
                    prop_assert!(next < first + TICK, "{:?} after {first:?}", next);
                }
            }
        }
    }
}
