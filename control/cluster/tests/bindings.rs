//! Bindings from one gateway to another, whatever changes meanwhile and however slow the other is.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use cluster::bindings::{Applied, Batch, Binding, MAX_BATCH, OutOfStep, Receiver, Sender, WINDOW};
use proptest::prelude::*;

/// Changes that the log remembers.
const REMEMBERED: usize = 300;

/// What a gateway has learned, as an engine keeps it: a table, a log of its changes, and cursors.
#[derive(Default)]
struct Learned {
    table: BTreeMap<u16, u8>,
    log: VecDeque<u16>,
    first: u64,
}

#[derive(Clone, Copy)]
enum Cursor {
    Snapshot { from: u32, log: Option<u64> },
    Log(u64),
}

impl Learned {
    fn learn(&mut self, station: u16, mac: u8) {
        self.table.insert(station, mac);
        self.log.push_back(station);
        if self.log.len() > REMEMBERED {
            self.log.pop_front();
            self.first += 1;
        }
    }

    fn page(&self, cursor: Cursor, most: usize) -> (Vec<Binding>, Cursor, bool) {
        let end = self.first + self.log.len() as u64;
        let binding = |station: u16| Binding {
            vni: 1,
            ip: IpAddr::from([10, 0, (station >> 8) as u8, station as u8]),
            mac: [2, 0, 0, 0, 0, self.table[&station]],
            age: 0,
        };
        let (from, log) = match cursor {
            Cursor::Log(at) if at >= self.first => {
                let told = self.log.iter().skip((at - self.first) as usize).take(most);
                let bindings: Vec<_> = told.copied().map(binding).collect();
                let next = at + bindings.len() as u64;
                return (bindings, Cursor::Log(next), next == end);
            }
            Cursor::Log(_) => (0, end),
            Cursor::Snapshot { from, log } => (from, log.unwrap_or(end)),
        };
        let rest = self.table.keys().copied().filter(|&station| u32::from(station) >= from);
        let told: Vec<u16> = rest.take(most).collect();
        let (next, all) = match told.last() {
            Some(&last) if told.len() == most => {
                (Cursor::Snapshot { from: u32::from(last) + 1, log: Some(log) }, false)
            }
            _ => (Cursor::Log(log), log == end),
        };
        (told.into_iter().map(binding).collect(), next, all)
    }
}

/// A session: what is under way in it, each way in order.
struct Session {
    learned: Learned,
    sender: Sender,
    cursor: Cursor,
    receiver: Receiver,
    batches: VecDeque<Batch>,
    answers: VecDeque<Applied>,
    has: BTreeMap<IpAddr, [u8; 6]>,
    complete: bool,
}

impl Session {
    fn new(stations: u16) -> Self {
        let mut learned = Learned::default();
        (0..stations).for_each(|station| learned.learn(station, 0));
        Self {
            learned,
            sender: Sender::default(),
            cursor: Cursor::Snapshot { from: 0, log: None },
            receiver: Receiver::default(),
            batches: VecDeque::new(),
            answers: VecDeque::new(),
            has: BTreeMap::new(),
            complete: false,
        }
    }

    /// Whether there was anything to say.
    fn send(&mut self) -> bool {
        let Some(room) = self.sender.room() else { return false };
        let (bindings, next, all) = self.learned.page(self.cursor, room);
        self.cursor = next;
        let batch = self.sender.batch(bindings, all);
        let said = batch.is_some();
        self.batches.extend(batch);
        let under_way: usize = self.batches.iter().map(|batch| batch.bindings.len()).sum();
        assert!(under_way <= WINDOW as usize);
        said || !all
    }

    fn receive(&mut self) -> bool {
        let Some(batch) = self.batches.pop_front() else { return false };
        assert!(batch.bindings.len() <= MAX_BATCH);
        self.complete |= self.receiver.batch(&batch).unwrap();
        self.has.extend(batch.bindings.into_iter().map(|binding| (binding.ip, binding.mac)));
        self.answers.push_back(self.receiver.applied());
        true
    }

    fn answer(&mut self) -> bool {
        let Some(answer) = self.answers.pop_front() else { return false };
        self.sender.applied(answer).unwrap();
        true
    }

    fn run(&mut self) {
        while self.send() | self.receive() | self.answer() {}
    }
}

#[derive(Clone, Debug)]
enum Step {
    Learn { station: u16, mac: u8, count: u16 },
    Send,
    Receive,
    Answer,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..2000_u16, any::<u8>(), 1..200_u16).prop_map(|(station, mac, count)| Step::Learn {
            station,
            mac,
            count
        }),
        Just(Step::Send),
        Just(Step::Receive),
        Just(Step::Answer),
    ]
}

proptest! {
    #[test]
    fn in_the_end_both_have_the_same(stations in 0..3000_u16, steps in prop::collection::vec(step(), 0..200)) {
        let mut session = Session::new(stations);
        session.answers.push_back(session.receiver.applied());
        for step in steps {
            match step {
                Step::Learn { station, mac, count } => {
                    (station..station + count).for_each(|station| session.learned.learn(station, mac));
                }
                Step::Send => _ = session.send(),
                Step::Receive => _ = session.receive(),
                Step::Answer => _ = session.answer(),
            }
            if session.complete {
                // Those that were there from the beginning.
                prop_assert!(session.has.len() >= usize::from(stations));
            }
        }
        session.run();
        prop_assert!(session.complete);
        let all: Vec<_> = session.has.values().map(|mac| mac[5]).collect();
        let expected: Vec<_> = session.learned.table.values().copied().collect();
        prop_assert_eq!(all, expected);
        // Nothing more is said.
        prop_assert!(!session.send());
    }
}

#[test]
fn nothing_is_said_to_who_does_not_listen_yet() {
    let mut session = Session::new(5);
    session.run();
    assert!(session.has.is_empty());
    session.answers.push_back(session.receiver.applied());
    session.run();
    assert_eq!((session.has.len(), session.complete), (5, true));
    // Nothing is something too.
    let mut session = Session::new(0);
    session.answers.push_back(session.receiver.applied());
    session.run();
    assert!(session.complete);
}

#[test]
fn what_a_peer_cannot_say_ends_the_session() {
    let binding = Binding { vni: 1, ip: [10, 0, 0, 1].into(), mac: [2; 6], age: 0 };
    let batch = |first, count, complete| Batch { first, bindings: vec![binding.clone(); count], complete };
    let mut receiver = Receiver::default();
    assert_eq!(receiver.batch(&batch(0, 1, false)), Err(OutOfStep::Credit(1, 0)), "not asked for");
    assert_eq!(receiver.applied(), Applied { next: 0, credit: WINDOW });
    assert_eq!(receiver.batch(&batch(1, 1, false)), Err(OutOfStep::Number(1, 0)));
    assert_eq!(receiver.batch(&batch(0, MAX_BATCH, true)), Ok(true));
    assert_eq!(receiver.batch(&batch(256, 1, true)), Err(OutOfStep::Nothing));
    assert_eq!(receiver.batch(&batch(256, 0, false)), Err(OutOfStep::Nothing));
    for first in [256, 512, 768] {
        assert_eq!(receiver.batch(&batch(first, MAX_BATCH, false)), Ok(false));
    }
    assert_eq!(receiver.batch(&batch(1024, 1, false)), Err(OutOfStep::Credit(1025, 1024)));

    let mut sender = Sender::default();
    assert_eq!(sender.applied(Applied { next: 1, credit: 5 }), Err(OutOfStep::Applied(1, 0, 0)));
    sender.applied(Applied { next: 0, credit: 5 }).unwrap();
    assert_eq!(sender.room(), Some(5));
    assert_eq!(sender.batch(vec![binding; 5], false).map(|batch| batch.first), Some(0));
    assert_eq!(sender.room(), None);
    sender.applied(Applied { next: 3, credit: u32::MAX }).unwrap();
    assert_eq!(sender.room(), Some(MAX_BATCH));
    assert_eq!(sender.applied(Applied { next: 2, credit: 0 }), Err(OutOfStep::Applied(2, 3, 5)));
}
