//! Speakers in virtual time: connections with delay and loss, and what the speakers' changes add up to.

pub(crate) mod scripted;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use evpn::{
    Change, ConnectionId, DuplicatePolicy, Event, Family, Identity, Local, Output, PeerConfig, PeerId,
    RouteTargets, SessionState, Speaker,
};
use ipnet::IpNet;
use wire::{MacAddr, Vni};

pub(crate) const ASN: u32 = 65000;

pub(crate) fn vni(value: u32) -> Vni {
    Vni::new(value).unwrap()
}

pub(crate) fn mac(number: u32) -> MacAddr {
    let [a, b, c, d] = number.to_be_bytes();
    MacAddr([2, 0, a, b, c, d])
}

/// What a speaker's changes add up to. Refuses changes that do not follow from those before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) stations: BTreeMap<(Vni, MacAddr), IpAddr>,
    pub(crate) addresses: BTreeSet<(Vni, MacAddr, IpAddr)>,
    pub(crate) floods: BTreeSet<(Vni, IpAddr)>,
    pub(crate) members: BTreeSet<IpAddr>,
    pub(crate) prefixes: BTreeMap<IpNet, IpAddr>,
    /// Mobility sequences of shared MAC addresses, in the order in which they came.
    pub(crate) shared: Vec<(Vni, u32)>,
}

impl View {
    pub(crate) fn apply(&mut self, change: Change) {
        match change {
            Change::Station { vni, mac, endpoint, .. } => {
                self.stations.insert((vni, mac), endpoint);
            }
            Change::StationGone { vni, mac } => {
                assert!(self.stations.remove(&(vni, mac)).is_some(), "{mac} goes and was not there");
                let mut left = self.addresses.range((vni, mac, Ipv4Addr::UNSPECIFIED.into())..);
                assert!(
                    left.next().is_none_or(|left| (left.0, left.1) != (vni, mac)),
                    "{mac} leaves addresses"
                );
            }
            Change::Address { vni, mac, ip, .. } => {
                assert!(self.stations.contains_key(&(vni, mac)), "{ip} of a station that is not there");
                self.addresses.insert((vni, mac, ip));
            }
            Change::AddressGone { vni, mac, ip } => {
                assert!(self.addresses.remove(&(vni, mac, ip)), "{ip} goes and was not there");
            }
            Change::Flood { vni, endpoint } => assert!(self.floods.insert((vni, endpoint)), "twice"),
            Change::FloodGone { vni, endpoint } => assert!(self.floods.remove(&(vni, endpoint))),
            Change::SharedMac { vni, sequence } => self.shared.push((vni, sequence)),
            Change::Member { vtep } => assert!(self.members.insert(vtep), "twice"),
            Change::MemberGone { vtep } => assert!(self.members.remove(&vtep)),
            Change::Prefix { prefix, next_hop } => {
                assert_ne!(
                    self.prefixes.insert(prefix, next_hop),
                    Some(next_hop),
                    "{prefix} has not changed"
                );
            }
            Change::PrefixGone { prefix } => assert!(self.prefixes.remove(&prefix).is_some()),
        }
    }
}

pub(crate) struct Node {
    pub(crate) speaker: Speaker,
    pub(crate) address: IpAddr,
    pub(crate) view: View,
    pub(crate) events: Vec<Event>,
    /// Off the network.
    pub(crate) isolated: bool,
    /// Its connections, and which end of each it is.
    links: Vec<(usize, usize)>,
    /// When it is woken next.
    timer: Option<Instant>,
}

impl Node {
    pub(crate) fn is_up(&self) -> bool {
        self.speaker.peers().all(|peer| peer.state == SessionState::Established)
    }
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct End {
    node: usize,
    peer: PeerId,
    connection: ConnectionId,
}

#[derive(Debug)]
struct Link {
    ends: [End; 2],
    /// When the last thing sent by each end arrives: order is kept.
    last_arrival: [Instant; 2],
    open: bool,
    /// What is sent gets lost, unnoticed; and which ends have given it up.
    dead: bool,
    given_up: [bool; 2],
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Connect(End),
    Data { link: usize, from: usize, bytes: Vec<u8> },
    Closed { link: usize, from: usize },
    Timer(usize),
}

pub(crate) struct Sim {
    pub(crate) now: Instant,
    pub(crate) nodes: Vec<Node>,
    pub(crate) random: fastrand::Rng,
    /// Longest delay of a connection.
    pub(crate) delay: Duration,
    links: Vec<Link>,
    queue: BinaryHeap<Reverse<(Instant, u64, Happening)>>,
    sequence: u64,
}

impl Sim {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            now: Instant::now(),
            nodes: Vec::new(),
            random: fastrand::Rng::with_seed(seed),
            delay: Duration::from_millis(20),
            links: Vec::new(),
            queue: BinaryHeap::new(),
            sequence: 0,
        }
    }

    pub(crate) fn address(number: usize) -> IpAddr {
        IpAddr::from([10, 0, (number >> 8) as u8, (number & 255) as u8])
    }

    /// Adds a speaker whose cluster number is its own, and which takes part in overlays 1 to 8.
    pub(crate) fn add(&mut self, asn: u32) -> usize {
        self.add_with(asn, self.nodes.len() as u16 + 1)
    }

    /// The same with this cluster number.
    pub(crate) fn add_with(&mut self, asn: u32, cluster: u16) -> usize {
        let number = self.nodes.len();
        let address = Self::address(number + 1);
        let IpAddr::V4(router_id) = address else { unreachable!() };
        let local = Local { asn, router_id, cluster };
        let identity = Identity { vteps: [address].into(), ..Identity::default() };
        let seed = self.random.u64(..);
        let mut speaker = Speaker::new(local, identity, DuplicatePolicy::default(), seed);
        speaker.set_overlays((1..=8).map(|number| (vni(number), RouteTargets::Frr)));
        let view = View::default();
        self.nodes.push(Node {
            speaker,
            address,
            view,
            events: Vec::new(),
            isolated: false,
            links: Vec::new(),
            timer: None,
        });
        number
    }

    /// Makes two speakers peers of each other.
    pub(crate) fn peer(&mut self, a: usize, b: usize, change: impl Fn(usize, &mut PeerConfig)) {
        for (own, other) in [(a, b), (b, a)] {
            let mut config = PeerConfig::new(self.nodes[other].address, ASN);
            config.families = Family::ALL.to_vec();
            change(own, &mut config);
            self.nodes[own].speaker.add_peer(config).unwrap();
        }
    }

    pub(crate) fn start(&mut self) {
        for node in 0..self.nodes.len() {
            let now = self.now;
            let peers: Vec<_> = self.nodes[node].speaker.peers().map(|peer| peer.id).collect();
            peers.into_iter().for_each(|peer| self.nodes[node].speaker.start_peer(peer, now));
            self.follow(node);
        }
    }

    fn at(&mut self, time: Instant, happening: Happening) {
        self.sequence += 1;
        self.queue.push(Reverse((time, self.sequence, happening)));
    }

    fn random_delay(&mut self) -> Duration {
        self.delay.mul_f64(self.random.f64())
    }

    /// Does what a speaker wants. To be called after anything was asked of it.
    pub(crate) fn follow(&mut self, node: usize) {
        loop {
            let now = self.now;
            while let Some(output) = self.nodes[node].speaker.poll(now) {
                match output {
                    Output::Change(change) => self.nodes[node].view.apply(change),
                    Output::Event(event) => self.nodes[node].events.push(event),
                    Output::Dial { peer, connection } => {
                        let time = now + self.random_delay();
                        self.at(time, Happening::Connect(End { node, peer, connection }));
                    }
                    Output::Close { peer, connection, last } => {
                        if let Some((link, from)) = self.link_of(End { node, peer, connection }) {
                            self.send(link, from, last);
                            let time = self.links[link].last_arrival[from];
                            self.at(time, Happening::Closed { link, from });
                        }
                    }
                }
            }
            let mut sent = false;
            let ends: Vec<_> = self.open_links(node).collect();
            for (link, from) in ends {
                let End { peer, connection, .. } = self.links[link].ends[from];
                let mut buffer = Vec::new();
                while self.nodes[node].speaker.transmit(peer, connection, &mut buffer, now) {
                    sent = true;
                    self.send(link, from, std::mem::take(&mut buffer));
                }
            }
            if !sent {
                break;
            }
        }
        if let Some(due) = self.nodes[node].speaker.deadline()
            && self.nodes[node].timer.is_none_or(|timer| due < timer)
        {
            self.nodes[node].timer = Some(due);
            self.at(due.max(self.now), Happening::Timer(node));
        }
    }

    fn open_links(&self, node: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.nodes[node].links.iter().copied().filter(|&(link, _)| self.links[link].open)
    }

    fn link_of(&self, end: End) -> Option<(usize, usize)> {
        self.open_links(end.node).find(|&(link, from)| self.links[link].ends[from] == end)
    }

    fn send(&mut self, link: usize, from: usize, bytes: Vec<u8>) {
        let arrival = (self.now + self.random_delay()).max(self.links[link].last_arrival[from]);
        self.links[link].last_arrival[from] = arrival;
        if !bytes.is_empty() {
            self.at(arrival, Happening::Data { link, from, bytes });
        }
    }

    /// Breaks a connection at once: what is on its way is lost.
    pub(crate) fn cut(&mut self, link: usize) {
        self.links[link].open = false;
        for End { node, peer, connection } in self.links[link].ends {
            let now = self.now;
            self.nodes[node].speaker.closed(peer, connection, now);
            self.follow(node);
        }
    }

    /// Breaks a connection chosen at random, if there is one.
    pub(crate) fn cut_any(&mut self) {
        let open: Vec<usize> = (0..self.links.len()).filter(|&link| self.links[link].open).collect();
        if !open.is_empty() {
            let link = open[self.random.usize(..open.len())];
            self.cut(link);
        }
    }

    /// Takes a speaker off the network, so that others notice by their hold timers alone; or puts it back.
    pub(crate) fn isolate(&mut self, node: usize, isolated: bool) {
        self.nodes[node].isolated = isolated;
        let links = self.links.iter_mut().filter(|link| link.ends.iter().any(|end| end.node == node));
        links.for_each(|link| link.dead = true);
    }

    /// How many connections are open.
    pub(crate) fn connections(&self) -> usize {
        self.links.iter().filter(|link| link.open).count()
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.queue.peek().is_some_and(|Reverse((time, ..))| *time <= end) {
            let Some(Reverse((time, _, happening))) = self.queue.pop() else { break };
            self.now = time;
            self.happen(happening);
        }
        self.now = end;
    }

    /// Lets time pass until something is so. Panics if it is not after `limit`.
    pub(crate) fn run_until(&mut self, limit: Duration, mut so: impl FnMut(&Self) -> bool) {
        let end = self.now + limit;
        while !so(self) {
            assert!(self.now < end, "not so after {limit:?}: {:?}", self.states());
            self.run(Duration::from_millis(100));
        }
    }

    fn states(&self) -> Vec<(usize, Vec<SessionState>)> {
        let states = |node: &Node| node.speaker.peers().map(|peer| peer.state).collect();
        self.nodes.iter().enumerate().map(|(number, node)| (number, states(node))).collect()
    }

    fn happen(&mut self, happening: Happening) {
        let now = self.now;
        match happening {
            Happening::Timer(node) => {
                if self.nodes[node].timer.is_some_and(|timer| timer <= now) {
                    self.nodes[node].timer = None;
                    self.nodes[node].speaker.handle_timeout(now);
                    self.follow(node);
                }
            }
            Happening::Connect(end) => self.connect(end),
            Happening::Data { link, from, bytes } => {
                let End { node, peer, connection } = self.links[link].ends[1 - from];
                if self.links[link].open && !self.links[link].dead {
                    self.nodes[node].speaker.received(peer, connection, &bytes, now);
                    self.follow(node);
                }
            }
            Happening::Closed { link, from } => {
                let known = &mut self.links[link];
                if known.dead {
                    known.given_up[from] = true;
                    known.open = known.given_up != [true; 2];
                } else if std::mem::take(&mut known.open) {
                    let End { node, peer, connection } = self.links[link].ends[1 - from];
                    self.nodes[node].speaker.closed(peer, connection, now);
                    self.follow(node);
                }
            }
        }
    }

    fn connect(&mut self, end: End) {
        let now = self.now;
        let to = self.nodes[end.node].speaker.config(end.peer).address;
        let to = self.nodes.iter().position(|node| node.address == to).unwrap();
        let from = self.nodes[end.node].address;
        let reachable = !self.nodes[to].isolated && !self.nodes[end.node].isolated;
        match reachable.then(|| self.nodes[to].speaker.accept(from, now)).flatten() {
            Some((peer, connection)) => {
                let other = End { node: to, peer, connection };
                for (place, End { node, .. }) in [end, other].into_iter().enumerate() {
                    let links = &self.links;
                    self.nodes[node].links.retain(|&(link, _)| links[link].open);
                    self.nodes[node].links.push((links.len(), place));
                }
                self.links.push(Link {
                    ends: [end, other],
                    last_arrival: [now; 2],
                    open: true,
                    dead: false,
                    given_up: [false; 2],
                });
                self.nodes[end.node].speaker.connected(end.peer, end.connection, now);
            }
            None => self.nodes[end.node].speaker.connect_failed(
                end.peer,
                end.connection,
                "nobody listens".into(),
                now,
            ),
        }
        self.follow(to);
        self.follow(end.node);
    }
}
