//! Readers and the writer on threads of their own.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;

/// Keys that are present all the time, and whose flows change.
const STEADY: u32 = 500;
/// Keys that come and go.
const FLEETING: u32 = 30_000;
/// Keys that are never there.
const ABSENT: u32 = 500;
const WRITES: u64 = 75_000;
/// Each grows from one bucket.
const TABLES: u64 = 4;

fn key(n: u32) -> FlowKey {
    FlowKey::mac(Vni::new(n % 64 + 1).unwrap(), MacAddr([2, 0, 0, (n >> 16) as u8, (n >> 8) as u8, n as u8]))
}

/// A seed tells its key and how often that was written.
fn seed_of(n: u32, version: u32) -> u32 {
    n << 16 | version & 0xffff
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (((self.0 >> 33) * u64::from(bound)) >> 31) as u32
    }
}

fn read(mut reader: FlowReader, seed_number: u64, stop: &AtomicBool, rounds: &AtomicU64) {
    let mut random = Random(seed_number);
    let mut versions = vec![0; STEADY as usize];
    while !stop.load(Ordering::Relaxed) {
        let view = reader.view();
        let asked: [u32; 64] = std::array::from_fn(|_| random.below(STEADY + FLEETING + ABSENT));
        let steady: [u32; 16] = std::array::from_fn(|_| random.below(STEADY));
        let keys: Vec<FlowKey> = asked.iter().chain(&steady).map(|n| key(*n)).collect();
        view.get_all(&keys, |at, found| {
            let n = *asked.iter().chain(&steady).nth(at).unwrap();
            if n >= STEADY + FLEETING {
                assert_eq!(found, None, "key {n} was never written");
            }
            assert!(found.is_some() || n >= STEADY, "key {n} is always there");
            let Some(found) = found.map(seed) else { return };
            assert_eq!(found >> 16, n & 0xffff, "the flow of another key");
            if let Some(last) = versions.get_mut(n as usize) {
                assert!(found & 0xffff >= *last, "key {n} went back from {last} to {}", found & 0xffff);
                *last = found & 0xffff;
            }
        });
        match random.below(16) {
            0 => reader.offline(),
            _ => reader.quiesce(),
        }
        rounds.fetch_add(1, Ordering::Relaxed);
    }
}

/// Writes; waits for readers if the table says that it must.
fn set(writer: &mut FlowWriter, n: u32, version: u32) {
    while writer.insert(key(n), flow(seed_of(n, version))).is_err() {
        writer.maintain();
        std::thread::yield_now();
    }
}

fn write(writer: &mut FlowWriter, random: &mut Random) {
    let mut versions = vec![0; STEADY as usize];
    let mut present = std::collections::HashSet::new();
    for n in 0..WRITES {
        let key_number = random.below(STEADY + FLEETING);
        if let Some(version) = versions.get_mut((key_number % (4 * STEADY)) as usize) {
            *version += 1;
            set(writer, key_number % (4 * STEADY), *version);
        } else if key_number >= STEADY {
            // First more come than go, then more go.
            if random.below(4) == 0 || n > WRITES * 3 / 4 {
                assert_eq!(writer.remove(key(key_number)).is_some(), present.remove(&key_number));
            } else {
                set(writer, key_number, n as u32);
                present.insert(key_number);
            }
        }
        if random.below(64) == 0 {
            writer.maintain();
        }
    }
    assert_eq!(writer.len(), STEADY as usize + present.len());
}

#[test]
fn readers_always_find_what_is_there_while_all_of_it_moves() {
    for table in 1..=TABLES {
        let (mut writer, readers) = with_limits(40_000, 2, Secret::random(), 1, 1 << 13).unwrap();
        for n in 0..STEADY {
            set(&mut writer, n, 0);
        }
        let stop = AtomicBool::new(false);
        let rounds = [AtomicU64::new(0), AtomicU64::new(0)];
        std::thread::scope(|scope| {
            for (number, rounds) in (1..).zip(&rounds) {
                let reader = readers.reader().unwrap();
                let stop = &stop;
                scope.spawn(move || {
                    // The writer must not wait for a reader that failed.
                    struct Stop<'a>(&'a AtomicBool);
                    impl Drop for Stop<'_> {
                        fn drop(&mut self) {
                            self.0.store(true, Ordering::Relaxed);
                        }
                    }
                    let stopping = Stop(stop);
                    read(reader, table << 8 | number, stop, rounds);
                    drop(stopping);
                });
            }
            let go_on = || !stop.load(Ordering::Relaxed);
            while go_on() && rounds.iter().any(|rounds| rounds.load(Ordering::Relaxed) < 10) {
                std::thread::yield_now();
            }
            write(&mut writer, &mut Random(table));
            let before = rounds.each_ref().map(|rounds| rounds.load(Ordering::Relaxed));
            while go_on()
                && rounds.iter().zip(before).any(|(now, then)| now.load(Ordering::Relaxed) < then + 10)
            {
                std::thread::yield_now();
            }
            stop.store(true, Ordering::Relaxed);
        });
        let statistics = writer.statistics();
        assert!(statistics.growths >= 8, "{statistics:?}");
        while writer.maintain() {}
        assert_eq!(writer.statistics().retired, 0);
    }
}
