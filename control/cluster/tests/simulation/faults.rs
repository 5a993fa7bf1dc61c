//! What goes wrong.

use cluster::Heard;

use crate::world::{Event, World};

#[derive(Clone, Debug)]
pub(crate) enum Fault {
    Kill(usize),
    Start(usize),
    /// Ways between two, by segment.
    Cut {
        pairs: Vec<(usize, usize)>,
        segments: [bool; 2],
        cut: bool,
    },
    /// A port, which its gateway sees.
    Port {
        at: usize,
        segment: usize,
        up: bool,
    },
    /// Everything of a gateway, which it does not see.
    Isolate {
        at: usize,
        isolated: bool,
    },
    Health {
        at: usize,
        healthy: bool,
    },
    Session {
        pair: (usize, usize),
        cut: bool,
    },
    Reflector {
        at: Vec<usize>,
        cut: bool,
    },
    Stop(usize),
    Resume(usize),
    Leave(usize),
    Delay(u64),
}

impl World {
    pub(crate) fn fault(&mut self, fault: Fault) {
        self.note(|| format!("--- {fault:?}"));
        self.last_fault = self.now;
        match fault {
            Fault::Kill(at) => {
                if self.gateways[at].member.is_some() {
                    self.kill(at);
                }
            }
            Fault::Start(at) => {
                if self.gateways[at].member.is_none() {
                    self.start(at);
                }
            }
            Fault::Cut { pairs, segments, cut } => {
                for (a, b) in pairs {
                    let link = &mut self.links[a.min(b)][a.max(b)];
                    for (way, _) in link.cut.iter_mut().zip(segments).filter(|(_, chosen)| *chosen) {
                        *way = cut;
                    }
                    self.recheck_pair(a, b);
                }
            }
            Fault::Port { at, segment, up } => {
                self.gateways[at].ports[segment] = up;
                self.gateways[at].healthy = self.gateways[at].ports == [true; 2];
                let generation = self.gateways[at].generation;
                self.after(10_000, Event::Health { at, generation });
                self.recheck(at);
            }
            Fault::Isolate { at, isolated } => {
                self.gateways[at].ports = [!isolated; 2];
                self.recheck(at);
            }
            Fault::Health { at, healthy } => {
                self.gateways[at].healthy = healthy && self.gateways[at].ports == [true; 2];
                let generation = self.gateways[at].generation;
                self.after(10_000, Event::Health { at, generation });
            }
            Fault::Session { pair: (a, b), cut } => {
                self.links[a.min(b)][a.max(b)].session_cut = cut;
                self.recheck_pair(a, b);
            }
            Fault::Reflector { at, cut } => {
                for at in at {
                    self.gateways[at].reflector_cut = cut;
                    let delay = self.random.u64(50_000..200_000);
                    self.after(delay, Event::Reflector { at });
                }
            }
            Fault::Stop(at) => {
                if self.runs(at) {
                    self.gateways[at].stopped = Some(self.now);
                    self.recheck(at);
                }
            }
            Fault::Resume(at) => {
                if self.gateways[at].member.is_none() || self.gateways[at].stopped.take().is_none() {
                    return;
                }
                let generation = self.gateways[at].generation;
                self.gateways[at].forget_wake();
                for other in (0..self.gateways.len()).filter(|&other| other != at) {
                    self.links[at][other].forget(Heard::NotYet);
                }
                self.with(at, generation, |member, now| member.resumed(now));
                self.recheck(at);
                // It asks the reflector for everything again.
                let delay = self.random.u64(5_000..100_000);
                self.after(delay, Event::Neighbours(crate::neighbours::News::Refresh { at, generation }));
            }
            Fault::Leave(at) => {
                let generation = self.gateways[at].generation;
                self.with(at, generation, |member, now| member.leave(now));
            }
            Fault::Delay(delay) => {
                self.delay = delay;
                self.slowest = self.slowest.max(delay);
            }
        }
    }

    /// Random faults from `from` to `until`, and all mended then.
    pub(crate) fn plan(&mut self, count: usize, from: u64, until: u64) {
        let gateways = self.gateways.len();
        let all: Vec<usize> = (0..gateways).collect();
        for _ in 0..count {
            let at = self.random.u64(from..until);
            let long = [50_000, 500_000, 5_000_000, 20_000_000][self.random.usize(..4)];
            let mut end = at + self.random.u64(long / 2..long);
            let one = self.random.usize(..gateways);
            let other = (one + self.random.usize(1..gateways)) % gateways;
            let (begin, mend) = match self.random.u32(..14) {
                0..=2 => (Fault::Kill(one), Fault::Start(one)),
                3 => {
                    let side: Vec<bool> = all.iter().map(|_| self.random.bool()).collect();
                    let cross = all.iter().flat_map(|&a| all.iter().map(move |&b| (a, b)));
                    let pairs: Vec<_> = cross.filter(|&(a, b)| a < b && side[a] != side[b]).collect();
                    let segments = if self.random.u32(..3) == 0 { [true, false] } else { [true; 2] };
                    let cut = |cut| Fault::Cut { pairs: pairs.clone(), segments, cut };
                    (cut(true), cut(false))
                }
                4..=5 => {
                    let segments = [[true, false], [false, true], [true, true]][self.random.usize(..3)];
                    let cut = |cut| Fault::Cut { pairs: vec![(one, other)], segments, cut };
                    (cut(true), cut(false))
                }
                6 => {
                    let segment = self.random.usize(..2);
                    let port = |up| Fault::Port { at: one, segment, up };
                    (port(false), port(true))
                }
                7 => {
                    let isolate = |isolated| Fault::Isolate { at: one, isolated };
                    (isolate(true), isolate(false))
                }
                8 => {
                    let health = |healthy| Fault::Health { at: one, healthy };
                    (health(false), health(true))
                }
                9 => {
                    let session = |cut| Fault::Session { pair: (one, other), cut };
                    (session(true), session(false))
                }
                10 => {
                    let who = if self.random.bool() { all.clone() } else { vec![one] };
                    let reflector = |cut| Fault::Reflector { at: who.clone(), cut };
                    (reflector(true), reflector(false))
                }
                11 => {
                    // A stop that nobody noticed is none.
                    end = end.max(at + 200_000);
                    (Fault::Stop(one), Fault::Resume(one))
                }
                12 => (Fault::Leave(one), Fault::Start(one)),
                _ => (Fault::Delay(self.random.u64(2_000..1_000_000)), Fault::Delay(2_000)),
            };
            self.at(at, Event::Fault(begin));
            self.at(end.min(until), Event::Fault(mend));
        }
        let cross = all.iter().flat_map(|&a| all.iter().map(move |&b| (a, b)));
        let pairs: Vec<_> = cross.filter(|&(a, b)| a < b).collect();
        for &(a, b) in &pairs {
            self.at(until, Event::Fault(Fault::Session { pair: (a, b), cut: false }));
        }
        self.at(until, Event::Fault(Fault::Cut { pairs, segments: [true; 2], cut: false }));
        self.at(until, Event::Fault(Fault::Reflector { at: all.clone(), cut: false }));
        self.at(until, Event::Fault(Fault::Delay(2_000)));
        for at in all {
            self.at(until, Event::Fault(Fault::Resume(at)));
            self.at(until + 11_000_000, Event::Fault(Fault::Start(at)));
            for segment in 0..2 {
                self.at(until, Event::Fault(Fault::Port { at, segment, up: true }));
            }
            self.at(until, Event::Fault(Fault::Health { at, healthy: true }));
        }
    }
}
