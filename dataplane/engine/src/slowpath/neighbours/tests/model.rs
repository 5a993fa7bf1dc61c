//! Random events in virtual time, against what must always hold.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use proptest::prelude::*;

use super::*;

const LIMIT: usize = 3;

#[derive(Clone, Debug)]
enum Event {
    Resolve(NeighbourKey),
    Heard(NeighbourKey, MacAddr, Evidence),
    Import(NeighbourKey, MacAddr, Duration),
    Pass(Duration),
}

fn any_event() -> impl Strategy<Value = Event> {
    let key = || {
        (0..3_u32, 0..12_u32, any::<bool>()).prop_map(|(overlay, number, is_v4)| {
            key_in(overlay, if is_v4 { v4(number) } else { v6(number) }.address)
        })
    };
    let station = || (0..4_u32).prop_map(mac);
    let evidence = prop_oneof![
        any::<bool>().prop_map(|override_| Evidence::Reply { override_ }),
        Just(REQUEST),
        any::<bool>().prop_map(|override_| Evidence::Announcement { override_ }),
    ];
    let time = prop_oneof![3 => 0..3_000_u64, 1 => 0..400_000_u64].prop_map(Duration::from_millis);
    prop_oneof![
        8 => key().prop_map(Event::Resolve),
        8 => (key(), station(), evidence).prop_map(|(key, mac, evidence)| Event::Heard(key, mac, evidence)),
        2 => (key(), station(), time.clone()).prop_map(|(key, mac, age)| Event::Import(key, mac, age)),
        6 => time.prop_map(Event::Pass),
    ]
}

/// A packet is a share of one value, so that all there are can be counted.
type Packet = Rc<()>;

struct Model {
    limits: Limits,
    neighbours: Neighbours<Packet>,
    now: Instant,
    /// What the flow table has.
    bound: HashMap<NeighbourKey, MacAddr>,
    /// What anybody ever said.
    said: HashSet<(NeighbourKey, MacAddr)>,
    packets: Packet,
    /// Packets that came in; that were answered for by an action.
    sent: u64,
    answered: u64,
    refused_full: u64,
}

impl Model {
    fn new(limits: Limits, seed: u64) -> Self {
        let now = Instant::now();
        Self {
            limits,
            neighbours: Neighbours::new(limits, seed, now),
            now,
            bound: HashMap::new(),
            said: HashSet::new(),
            packets: Rc::new(()),
            sent: 0,
            answered: 0,
            refused_full: 0,
        }
    }

    fn event(&mut self, event: Event) {
        let mut out = Vec::new();
        let before = self.neighbours.statistics();
        match event {
            Event::Resolve(key) => {
                self.sent += 1;
                self.neighbours.resolve(key, Rc::clone(&self.packets), self.now, &mut out);
                self.refused_full += self.neighbours.statistics().refused_full - before.refused_full;
            }
            Event::Heard(key, mac, evidence) => {
                self.said.insert((key, mac));
                self.neighbours.heard(key, mac, evidence, LIMIT, self.now, &mut out);
            }
            Event::Import(key, mac, age) => {
                self.said.insert((key, mac));
                self.neighbours.import(key, mac, age, LIMIT, self.now, &mut out);
            }
            Event::Pass(time) => self.now += time,
        }
        self.take(out);
        self.poll();
        self.check();
    }

    /// All that is due.
    fn poll(&mut self) {
        while self.neighbours.next_deadline().is_some_and(|deadline| deadline <= self.now) {
            let mut out = Vec::new();
            self.neighbours.poll(self.now, &mut out);
            self.take(out);
        }
    }

    /// Does what the cache wants done, if it may want that.
    fn take(&mut self, out: Vec<Action<Packet>>) {
        for action in out {
            match action {
                Action::SolicitAll(key) => assert_eq!(self.bound.get(&key), None),
                Action::Probe(key, mac) => assert_eq!(self.bound.get(&key), Some(&mac)),
                Action::Bind(key, mac) => {
                    assert!(self.said.contains(&(key, mac)), "nobody said {key:?} {mac}");
                    assert_ne!(self.bound.insert(key, mac), Some(mac), "bound already");
                }
                Action::Unbind(key) => assert!(self.bound.remove(&key).is_some(), "was not bound"),
                Action::Release(key, mac, packets) => {
                    assert_eq!(self.bound.get(&key), Some(&mac));
                    assert!((1..=self.limits.waiting_per_address).contains(&packets.len()));
                    self.answered += packets.len() as u64;
                }
                Action::Unreachable(key, packets) => {
                    assert_eq!(self.bound.get(&key), None);
                    assert!((1..=self.limits.waiting_per_address).contains(&packets.len()));
                    self.answered += packets.len() as u64;
                }
            }
        }
    }

    fn check(&self) {
        let (limits, statistics) = (self.limits, self.neighbours.statistics());
        let mut counts = NeighbourStatistics::default();
        let mut bound = HashMap::new();
        let mut unresolved: HashMap<u32, usize> = HashMap::new();
        let mut addresses: HashMap<(u32, MacAddr), usize> = HashMap::new();
        for Neighbour { key, mac, state, .. } in self.neighbours.iter(self.now) {
            *match state {
                NeighbourState::Incomplete => &mut counts.incomplete,
                NeighbourState::Reachable => &mut counts.reachable,
                NeighbourState::Stale => &mut counts.stale,
                NeighbourState::Probe => &mut counts.probe,
                NeighbourState::Failed => &mut counts.failed,
            } += 1;
            match mac {
                Some(mac) => {
                    assert_eq!(bound.insert(key, mac), None, "{key:?} twice");
                    *addresses.entry((key.overlay.0, mac)).or_default() += 1;
                }
                None => *unresolved.entry(key.overlay.0).or_default() += 1,
            }
        }
        assert_eq!(bound, self.bound);
        let of_entries = NeighbourStatistics {
            incomplete: statistics.incomplete,
            reachable: statistics.reachable,
            stale: statistics.stale,
            probe: statistics.probe,
            failed: statistics.failed,
            ..NeighbourStatistics::default()
        };
        assert_eq!(of_entries, counts);

        assert!(addresses.values().all(|&count| count <= LIMIT));
        assert!(unresolved.values().all(|&count| count <= limits.unresolved_per_overlay));
        assert!(counts.incomplete + counts.failed <= limits.unresolved);
        let learned = counts.reachable + counts.stale + counts.probe;
        assert!(learned + counts.incomplete + counts.failed <= limits.entries);
        assert!(statistics.waiting <= limits.waiting);

        // No packet is lost: it waits, an action has it, or a count says why it was dropped.
        assert_eq!(Rc::strong_count(&self.packets) - 1, statistics.waiting);
        let dropped = statistics.displaced
            + statistics.refused_waiting
            + statistics.refused_by_overlay
            + statistics.refused_unresolved
            + self.refused_full;
        assert_eq!(self.sent, self.answered + dropped + statistics.waiting as u64);
    }
}

proptest! {
    #[test]
    fn holds_whatever_happens(
        events in proptest::collection::vec(any_event(), 1..400),
        seed: u64,
        tight: bool,
    ) {
        let limits = match tight {
            true => Limits {
                entries: 20,
                unresolved: 10,
                unresolved_per_overlay: 5,
                waiting: 8,
                waiting_per_overlay: 5,
                ..Limits::default()
            },
            false => Limits { entries: 1000, ..Limits::default() },
        };
        let mut model = Model::new(limits, seed);
        for event in events {
            model.event(event);
        }
        // Nobody says anything any more: all ends.
        while let Some(deadline) = model.neighbours.next_deadline() {
            model.now = model.now.max(deadline);
            model.poll();
        }
        model.check();
        let statistics = model.neighbours.statistics();
        prop_assert!(model.bound.is_empty());
        prop_assert_eq!(statistics.incomplete + statistics.failed + statistics.waiting, 0);
    }
}
