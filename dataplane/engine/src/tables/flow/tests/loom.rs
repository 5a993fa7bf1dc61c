//! The protocol under loom: every interleaving of a writer and a reader, up to a number of preemptions, with every value
//! that the memory model lets a load return.
//!
//! Buckets have two slots, a step of growth is one bucket, an epoch has one record. What is covered: publication of
//! records and slots, quiescence and reuse of records, coming online, growth with its `migrated` counter, the change of
//! layouts, moving entries to their second buckets. Not covered: arc-swap's inside, a stand-in for which publishes
//! layouts with release and acquire; more than one reader, since readers share nothing but what the writer writes; and
//! the release of a quiescent reader's slot, for loom lets no load see a store that comes later.
//!
//! `ci/loom` runs it.

use super::sync::{AtomicU64, Ordering};
use super::*;

/// Makes a table, writes `before`, takes so many steps of growth, then does what `write` does while a reader does what `read` does.
fn model(
    (buckets, max_buckets): (usize, usize),
    (before, steps): (Vec<FlowKey>, usize),
    write: impl Fn(&mut FlowWriter, &[FlowKey]) + Send + Sync + 'static,
    read: impl Fn(&mut FlowReader, &[FlowKey]) + Copy + Send + Sync + 'static,
) {
    let mut builder = ::loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.max_branches = 100_000;
    builder.check(move || {
        let (mut writer, readers) = with_limits(8, 1, SECRET, buckets, max_buckets).unwrap();
        for (n, key) in before.iter().enumerate() {
            writer.insert(*key, flow(n as u32)).unwrap();
        }
        for _ in 0..steps {
            writer.maintain();
        }
        let keys = before.clone();
        let mut reader = readers.reader().unwrap();
        let thread = ::loom::thread::spawn(move || read(&mut reader, &keys));
        write(&mut writer, &before);
        thread.join().unwrap();
    });
}

/// Keys with these first and second buckets of four, in order.
fn keys(choices: &[(u32, u32)]) -> Vec<FlowKey> {
    let mut candidates = (1..).map(FlowKey);
    let matching = |&(first, second): &(u32, u32)| {
        candidates
            .find(|key| {
                let hash = SECRET.hash(*key);
                (hash.first() % 4, hash.second() % 4) == (first, second)
            })
            .unwrap()
    };
    choices.iter().map(matching).collect()
}

/// A view of it finds every key, with a flow that was its own at some time.
fn finds_all(reader: &mut FlowReader, keys: &[FlowKey]) {
    let view = reader.view();
    for (n, key) in keys.iter().enumerate() {
        let found = view.get(*key).map(seed);
        assert_eq!(found.map(|seed| seed % 16), Some(n as u32), "key {n}");
    }
}

/// Quiescence alone, so small that all preemptions can be tried.
#[test]
fn a_freed_record_is_read_by_nobody() {
    let mut builder = ::loom::model::Builder::new();
    builder.preemption_bound = None;
    builder.check(|| {
        let quiescence = Arc::new(Quiescence::new(1));
        // The index of the record that can be found, and two records of two equal words.
        let words: Arc<[AtomicU64; 5]> = Arc::new(std::array::from_fn(|_| AtomicU64::new(0)));
        let thread = ::loom::thread::spawn({
            let (quiescence, words) = (Arc::clone(&quiescence), Arc::clone(&words));
            move || {
                let read = || {
                    let record = 1 + 2 * words[0].load(Ordering::Acquire) as usize;
                    let [one, two] = [0, 1].map(|word| words[record + word].load(Ordering::Relaxed));
                    assert_eq!(one, two, "the record was used again");
                };
                let slot = quiescence.enter().unwrap();
                quiescence.online(slot);
                read();
                quiescence.quiesce(slot);
                read();
            }
        });
        let mut retired = quiescence::Retired::default();
        words[0].store(1, Ordering::Release);
        retired.push(0, &quiescence);
        for _ in retired.take_free(&quiescence) {
            words[1].store(7, Ordering::Relaxed);
            words[2].store(7, Ordering::Relaxed);
        }
        thread.join().unwrap();
    });
}

#[test]
fn replaced_records_are_not_used_again_under_a_reader() {
    model(
        (1, 1),
        (keys(&[(0, 1)]), 0),
        |writer, keys| {
            for version in 1..4 {
                writer.insert(keys[0], flow(version * 16)).unwrap();
            }
        },
        |reader, keys| {
            finds_all(reader, keys);
            reader.quiesce();
            finds_all(reader, keys);
        },
    );
}

#[test]
fn a_reader_that_comes_online_again_is_seen() {
    model(
        (1, 1),
        (keys(&[(0, 1)]), 0),
        |writer, keys| {
            for version in 1..4 {
                writer.insert(keys[0], flow(version * 16)).unwrap();
            }
        },
        |reader, keys| {
            finds_all(reader, keys);
            reader.offline();
            finds_all(reader, keys);
        },
    );
}

#[test]
fn another_key_never_gets_the_record_under_a_reader() {
    model(
        (1, 1),
        (keys(&[(0, 1)]), 0),
        |writer, keys| {
            let other = FlowKey(1 << 100);
            writer.remove(keys[0]).unwrap();
            writer.maintain();
            writer.insert(other, flow(32)).unwrap();
            writer.insert(keys[0], flow(48)).unwrap();
        },
        |reader, keys| {
            for _ in 0..2 {
                let found = reader.view().get(keys[0]).map(seed);
                assert!(matches!(found, None | Some(0 | 48)), "{found:?}");
                reader.quiesce();
            }
        },
    );
}

#[test]
fn keys_stay_found_while_the_table_grows() {
    model(
        (1, 4),
        (keys(&[(0, 1), (3, 2)]), 0),
        |writer, keys| {
            writer.insert(FlowKey(1 << 100), flow(32)).unwrap();
            while writer.statistics().growing {
                writer.maintain();
            }
            writer.insert(keys[0], flow(16)).unwrap();
            writer.insert(keys[0], flow(32)).unwrap();
        },
        |reader, keys| {
            finds_all(reader, keys);
            reader.quiesce();
            finds_all(reader, keys);
        },
    );
}

#[test]
fn keys_stay_found_while_they_move_to_their_second_bucket() {
    model(
        (4, 4),
        (keys(&[(0, 1), (0, 2)]), 0),
        |writer, _| {
            let third = *keys(&[(0, 1), (0, 2), (0, 0)]).last().unwrap();
            writer.insert(third, flow(32)).unwrap();
            assert_eq!(writer.statistics().displaced, 1);
        },
        |reader, keys| {
            finds_all(reader, keys);
            finds_all(reader, keys);
        },
    );
}

#[test]
fn keys_stay_found_while_they_move_and_the_table_grows() {
    model(
        (2, 4),
        // Of two buckets, the first is full of keys whose second is the other.
        (keys(&[(2, 1), (0, 3)]), 0),
        |writer, _| {
            // The table is crowded: growth begins, and the first to come finds its only bucket full.
            let third = *keys(&[(2, 1), (0, 3), (0, 2)]).last().unwrap();
            writer.insert(third, flow(32)).unwrap();
            while writer.statistics().growing {
                writer.maintain();
            }
        },
        |reader, keys| {
            finds_all(reader, keys);
            finds_all(reader, keys);
        },
    );
}

#[test]
fn a_second_bucket_is_looked_for_where_it_is_by_then() {
    model(
        (2, 4),
        // The third makes the table grow; the first of two buckets is migrated before the reader begins.
        (keys(&[(0, 1), (0, 2), (1, 3)]), 1),
        |writer, _| {
            // The second is, and then the first key moves from bucket 0 of four to bucket 1.
            let fourth = *keys(&[(0, 1), (0, 2), (1, 3), (0, 0)]).last().unwrap();
            writer.insert(fourth, flow(48)).unwrap();
            let statistics = writer.statistics();
            assert_eq!((statistics.displaced, statistics.growing), (1, false));
        },
        finds_all,
    );
}

#[test]
fn nothing_moves_from_one_array_to_another() {
    model(
        (2, 4),
        (keys(&[(1, 0), (1, 1)]), 0),
        |writer, _| {
            let more = keys(&[(1, 0), (1, 1), (0, 0), (1, 3)]);
            // Growth begins.
            writer.insert(more[2], flow(32)).unwrap();
            // Bucket 0 is migrated. Of the full bucket 1, one key's second is 0: migrated already.
            writer.insert(more[3], flow(48)).unwrap();
            let statistics = writer.statistics();
            assert_eq!((statistics.displaced, statistics.hurried), (0, 1));
        },
        finds_all,
    );
}
