//! Those who believe what gateways announce: in mode `announce` a reflector and the endpoints behind it, in mode `floating`
//! neighbours on the segment.

use cluster::Stage;
use cluster::membership::Reflectors;

use crate::world::{Event, World};

/// Routes of groups: with a mobility sequence, or withdrawn.
pub(crate) type Routes = Vec<(u32, Option<u32>)>;

#[derive(Debug)]
pub(crate) enum News {
    /// A gateway's UPDATEs reach the reflector.
    Update { from: usize, generation: u64, routes: Routes },
    /// The reflector's best routes reach a gateway.
    Reflected { to: usize, routes: Vec<(u32, u32)> },
    /// The reflector has told a gateway everything again.
    Refresh { at: usize, generation: u64 },
    /// They reach the endpoints: who is the next hop.
    Endpoints(Vec<(u32, Option<usize>)>),
    /// ARP announcements and unsolicited NAs reach the neighbours.
    Announced { from: usize, groups: Vec<u32> },
}

pub(crate) struct Neighbours {
    announce: bool,
    /// What each gateway announces.
    sent: Vec<Vec<Option<u32>>>,
    /// What the reflector has of each gateway, and of which start of it.
    routes: Vec<Vec<Option<u32>>>,
    connected: Vec<Option<u64>>,
    last_arrival: Vec<u64>,
    /// Whom endpoints and neighbours send to.
    pub(crate) believed: Vec<Option<usize>>,
}

impl Neighbours {
    pub(crate) fn new(gateways: usize, groups: usize, announce: bool) -> Self {
        let none = || vec![vec![None; if announce { groups } else { 0 }]; gateways];
        Self {
            announce,
            sent: none(),
            routes: none(),
            connected: vec![None; gateways],
            last_arrival: vec![0; gateways],
            believed: vec![None; groups],
        }
    }

    /// A new process of a gateway has not said anything yet.
    pub(crate) fn begin(&mut self, at: usize) {
        self.sent[at].fill(None);
    }

    /// By mobility sequence, then the lowest next hop (RFC 7432 §7.7, and as FRR does it).
    fn best(&self, group: u32) -> Option<(u32, usize)> {
        let routes = self.routes.iter().enumerate();
        let routes = routes.filter_map(|(of, routes)| Some((routes[group as usize]?, of)));
        routes.max_by_key(|&(sequence, of)| (sequence, std::cmp::Reverse(of)))
    }
}

impl World {
    /// A gateway announces and withdraws.
    pub(crate) fn announce(&mut self, from: usize, routes: Routes) {
        let generation = self.gateways[from].generation;
        if self.neighbours.announce {
            for &(group, sequence) in &routes {
                self.neighbours.sent[from][group as usize] = sequence;
            }
            let delay = self.random.u64(500..5_000);
            let arrival = self.neighbours.last_arrival[from].max(self.now + delay);
            self.neighbours.last_arrival[from] = arrival;
            self.at(arrival, Event::Neighbours(News::Update { from, generation, routes }));
        } else if self.gateways[from].ports[0] {
            let groups = routes.into_iter().filter(|(_, on)| on.is_some()).map(|(group, _)| group).collect();
            // One segment, one order.
            self.after(200, Event::Neighbours(News::Announced { from, groups }));
        }
    }

    pub(crate) fn spread_news(&mut self, news: News) {
        match news {
            News::Announced { from, groups } => {
                for group in groups {
                    self.neighbours.believed[group as usize] = Some(from);
                }
            }
            News::Update { from, generation, routes } => {
                if self.neighbours.connected[from] == Some(generation) {
                    self.reflect(from, routes);
                }
            }
            News::Refresh { at, generation } => {
                if self.neighbours.connected[at] == Some(generation)
                    && self.gateways[at].generation == generation
                {
                    self.set_reflectors(at, Reflectors::Complete, Vec::new());
                }
            }
            News::Endpoints(routes) => {
                for (group, next_hop) in routes {
                    self.neighbours.believed[group as usize] = next_hop;
                }
            }
            News::Reflected { to, routes } => {
                if self.neighbours.connected[to] == Some(self.gateways[to].generation) {
                    let generation = self.gateways[to].generation;
                    self.with(to, generation, |member, _| {
                        routes.into_iter().for_each(|(group, sequence)| {
                            member.sequence_seen(cluster::Group(group), sequence);
                        });
                    });
                }
            }
        }
    }

    fn reflect(&mut self, from: usize, routes: Routes) {
        let mut changed = Vec::new();
        for (group, sequence) in routes {
            let before = self.neighbours.best(group);
            self.neighbours.routes[from][group as usize] = sequence;
            let best = self.neighbours.best(group);
            if best != before {
                changed.push((group, best));
            }
        }
        if changed.is_empty() {
            return;
        }
        let endpoints = changed.iter().map(|&(group, best)| (group, best.map(|(_, of)| of))).collect();
        self.after(50_000, Event::Neighbours(News::Endpoints(endpoints)));
        let routes: Vec<_> = changed.iter().filter_map(|&(group, best)| Some((group, best?.0))).collect();
        for to in 0..self.gateways.len() {
            if self.neighbours.connected[to].is_some() {
                let delay = self.random.u64(5_000..80_000);
                self.after(delay, Event::Neighbours(News::Reflected { to, routes: routes.clone() }));
            }
        }
    }

    /// The session of a gateway with the reflector comes or goes.
    pub(crate) fn reflector_session(&mut self, at: usize) {
        let generation = self.gateways[at].generation;
        let reachable = self.runs(at) && self.gateways[at].ports[0] && !self.gateways[at].reflector_cut;
        let groups = self.groups();
        let connected = self.neighbours.connected[at];
        if connected == Some(generation) && reachable {
            return;
        }
        if connected.is_some() {
            self.neighbours.connected[at] = None;
            if self.neighbours.announce {
                let gone = (0..groups).filter(|&group| self.neighbours.routes[at][group as usize].is_some());
                let gone = gone.map(|group| (group, None)).collect();
                self.reflect(at, gone);
            }
            self.note(|| format!("{at} loses the reflector"));
            self.set_reflectors(at, Reflectors::Lost, Vec::new());
        }
        if !reachable {
            return;
        }
        self.neighbours.connected[at] = Some(generation);
        if !self.neighbours.announce {
            self.set_reflectors(at, Reflectors::Complete, Vec::new());
            return;
        }
        let seen = (0..groups).filter_map(|group| Some((group, self.neighbours.best(group)?.0))).collect();
        if self.stage(at) == Some(Stage::Joining) {
            // It has let go of all, and may not have said so.
            let owned = |group: &u32| self.checks.owns(at, *group);
            let stale: Vec<_> = (0..groups).filter(|group| !owned(group)).collect();
            stale.into_iter().for_each(|group| self.neighbours.sent[at][group as usize] = None);
        }
        let again =
            (0..groups).filter_map(|group| Some((group, Some(self.neighbours.sent[at][group as usize]?))));
        let again = again.collect();
        self.reflect(at, again);
        self.set_reflectors(at, Reflectors::Complete, seen);
    }
}
