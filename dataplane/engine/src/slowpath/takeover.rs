//! Shards that this gateway takes over: neighbours of its ports are told that it has their addresses now, and then asked
//! questions are answered.
//!
//! Announcements are ARP requests for the sender's own address (RFC 5227 §3: they overwrite an entry that is there, as a
//! reply need not) and unsolicited neighbour advertisements with the O flag (RFC 4861 §7.2.6). They are made on a change
//! alone, never because another gateway says that it has the address: two that both believe to be the owner would go on
//! for ever, and so the last one to take over has it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use wire::arp::{self, ArpOperation, ArpRepr};
use wire::ndp::{self, NeighbourAdvertisement};
use wire::{EtherType, MacAddr};

use super::outbox::frame;
use super::{Deed, Output, Punted, SlowPath, ndp as neighbour_discovery};
use crate::api::{Group, PortIndex, Responsibility};
use crate::pipeline::question::Question;
use crate::tables::Snapshot;

/// Time from each announcement of a shard's addresses to the next: at once, and at 5, 20, 100 and 1 000 milliseconds, for
/// who lost a frame. One that is late is not made up for.
const INTERVALS: [Duration; 4] = [
    Duration::from_millis(5),
    Duration::from_millis(15),
    Duration::from_millis(80),
    Duration::from_millis(900),
];
/// Frames that are handed over together: half of what the ring to a worker has room for.
const BATCH: usize = 128;
/// Time between two batches: half a million frames in a second, so that a worker has sent one before the next comes, and
/// the first round of 256 shards is out after two milliseconds.
const PACE: Duration = Duration::from_micros(250);
/// How long what was to be announced waits after nobody ran for a while. Control lets go of all shards meanwhile, if others have them.
const HELD_BACK: Duration = Duration::from_millis(50);

/// Which shard is to be announced when.
#[derive(Debug)]
pub(super) struct Takeovers {
    shards: HashMap<u16, Takeover, RandomState>,
    /// Each of them once, at its `due`.
    queue: BTreeSet<(Instant, u16)>,
    /// When the next batch may go.
    next_batch: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Takeover {
    due: Instant,
    /// How often it was announced.
    rounds: usize,
}

impl Takeovers {
    pub(super) fn new(now: Instant) -> Self {
        Self { shards: HashMap::default(), queue: BTreeSet::new(), next_batch: now }
    }

    /// A shard was taken over, or its addresses have moved to another MAC address.
    fn begin(&mut self, shard: u16, now: Instant) {
        self.cancel(shard);
        self.shards.insert(shard, Takeover { due: now, rounds: 0 });
        self.queue.insert((now, shard));
    }

    /// A shard was lost: nothing more is said of it.
    fn cancel(&mut self, shard: u16) {
        if let Some(takeover) = self.shards.remove(&shard) {
            self.queue.remove(&(takeover.due, shard));
        }
    }

    /// What is to be announced now waits for a while. What is taken over from now on does not.
    pub(super) fn hold_back(&mut self, now: Instant) {
        let until = now + HELD_BACK;
        while let Some((due, shard)) = self.queue.pop_first() {
            if due >= until {
                self.queue.insert((due, shard));
                break;
            }
            if let Some(takeover) = self.shards.get_mut(&shard) {
                takeover.due = until;
            }
            self.queue.insert((until, shard));
        }
    }

    /// The next shard that is due, which counts as announced then.
    fn next(&mut self, now: Instant) -> Option<u16> {
        let (_, shard) = self.queue.first().copied().filter(|(due, _)| *due <= now)?;
        self.queue.pop_first();
        let takeover = self.shards.get_mut(&shard)?;
        match INTERVALS.get(takeover.rounds) {
            Some(interval) => {
                (takeover.due, takeover.rounds) = (now + *interval, takeover.rounds + 1);
                self.queue.insert((takeover.due, shard));
            }
            None => _ = self.shards.remove(&shard),
        }
        Some(shard)
    }

    /// The next batch of what is due; `announce` makes the frames of a shard.
    fn poll(&mut self, now: Instant, mut announce: impl FnMut(u16) -> Vec<Output>) -> Vec<Output> {
        let mut outputs = Vec::new();
        if now < self.next_batch {
            return outputs;
        }
        while outputs.len() < BATCH
            && let Some(shard) = self.next(now)
        {
            outputs.extend(announce(shard));
        }
        if !outputs.is_empty() {
            self.next_batch = now + PACE;
        }
        outputs
    }

    /// When there is something to do next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.queue.first().map(|(due, _)| (*due).max(self.next_batch))
    }
}

impl SlowPath {
    /// Takes over what control says. Costs as much as there are groups: what an overlay does by itself looks at its
    /// group's state when its time has come.
    pub(super) fn change_responsibility(&mut self, changes: &[(Group, Responsibility)], now: Instant) {
        for &(group, responsibility) in changes {
            let change = self.writer.set_responsibility(group, responsibility);
            let (Group::Shard(shard), Some((was_owner, is_owner))) = (group, change) else { continue };
            match (was_owner, is_owner) {
                (false, true) => self.takeovers.begin(shard, now),
                (true, false) => self.takeovers.cancel(shard),
                _ => {}
            }
        }
    }

    /// A port has another MAC address: so have the shards' addresses.
    pub(super) fn announce_again(&mut self, now: Instant) {
        for shard in self.writer.current().overlays.shards.owned() {
            self.takeovers.begin(shard, now);
        }
    }

    /// Announces what is due.
    pub(super) fn poll_takeovers(&mut self, now: Instant) {
        let tables = self.writer.current();
        let outputs = self.takeovers.poll(now, |shard| announcements(tables, shard));
        outputs.iter().for_each(|_| self.tally.count(Deed::ShardAnnounced));
        self.send(outputs, now);
    }

    /// Answers who asks for an address of a shard, if this gateway owns it. Anything else is for the owner to answer.
    pub(super) fn answer_shard_question(&mut self, punted: &Punted, now: Instant) {
        let tables = self.writer.current();
        let Some(question) = Question::read(tables, punted.port, punted.frame.bytes()) else { return };
        let is_owner = tables.overlays.shards.get(question.shard).is_some_and(|shard| shard.state.is_owner());
        if !is_owner || question.is_announcement {
            return self.tally.count(Deed::ShardNotAnswered);
        }
        let answer = answer(tables, punted.port, &question);
        self.tally.count(Deed::ShardAnswered);
        self.send(answer, now);
    }
}

/// The answer; `None` only if the asker's address is of another family.
fn answer(tables: &Snapshot, port: PortIndex, question: &Question) -> Option<Output> {
    let own_mac = tables.fixed.port_mac(port);
    let frame = match (question.target, question.asker) {
        (IpAddr::V4(target), asker @ (None | Some(IpAddr::V4(_)))) => {
            let target_ip = match asker {
                Some(IpAddr::V4(asker)) => asker,
                _ => [0; 4].into(),
            };
            let reply = ArpRepr {
                operation: ArpOperation::Reply,
                sender_mac: own_mac,
                sender_ip: target,
                target_mac: question.mac,
                target_ip,
            };
            arp_frame(own_mac, question.mac, &reply)
        }
        (IpAddr::V6(target), asker @ (None | Some(IpAddr::V6(_)))) => {
            // Who detects duplicates has no address yet, and all must hear (RFC 4861 §7.2.4).
            let (destination, mac) = match asker {
                Some(IpAddr::V6(asker)) => (asker, question.mac),
                _ => (ndp::ALL_NODES, ndp::multicast_mac(ndp::ALL_NODES)),
            };
            let advertisement = NeighbourAdvertisement {
                router: is_uplink(tables, question.shard, question.target),
                solicited: asker.is_some(),
                override_: true,
                target,
                target_mac: Some(own_mac),
            };
            let packet = neighbour_discovery::advertise(&advertisement, destination);
            frame(own_mac, mac, EtherType::Ipv6, &packet)
        }
        _ => return None,
    };
    Some(Output::Link { port, frame })
}

/// One for each address of the shard at each port that it is at.
fn announcements(tables: &Snapshot, shard: u16) -> Vec<Output> {
    let addresses = tables.overlays.shards.addresses(shard);
    let mut outputs = Vec::new();
    for (port, record) in (0..).map(PortIndex).zip(&tables.fixed.ports) {
        for address in addresses.at_ports(record.role) {
            outputs.push(Output::Link { port, frame: announcement(tables, port, shard, address) });
        }
    }
    outputs
}

fn announcement(tables: &Snapshot, port: PortIndex, shard: u16, address: IpAddr) -> Vec<u8> {
    let own_mac = tables.fixed.port_mac(port);
    match address {
        IpAddr::V4(ip) => {
            let request = ArpRepr {
                operation: ArpOperation::Request,
                sender_mac: own_mac,
                sender_ip: ip,
                target_mac: MacAddr::ZERO,
                target_ip: ip,
            };
            arp_frame(own_mac, MacAddr::BROADCAST, &request)
        }
        IpAddr::V6(target) => {
            let advertisement = NeighbourAdvertisement {
                router: is_uplink(tables, shard, address),
                solicited: false,
                override_: true,
                target,
                target_mac: Some(own_mac),
            };
            let packet = neighbour_discovery::advertise(&advertisement, ndp::ALL_NODES);
            frame(own_mac, ndp::multicast_mac(ndp::ALL_NODES), EtherType::Ipv6, &packet)
        }
    }
}

/// Whether the address is a next hop of routers, which is what makes its owner a router there.
fn is_uplink(tables: &Snapshot, shard: u16, address: IpAddr) -> bool {
    tables.overlays.shards.addresses(shard).uplinks().any(|uplink| uplink == address)
}

fn arp_frame(own_mac: MacAddr, to: MacAddr, arp: &ArpRepr) -> Vec<u8> {
    let mut payload = [0; arp::LEN];
    arp.emit(&mut payload);
    frame(own_mac, to, EtherType::Arp, &payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn milliseconds(begin: Instant, now: Instant) -> u128 {
        now.saturating_duration_since(begin).as_millis()
    }

    /// When each shard was announced, in milliseconds, if the thread wakes exactly when it asks to.
    fn run(takeovers: &mut Takeovers, begin: Instant) -> Vec<(u16, u128)> {
        let mut announced = Vec::new();
        while let Some(now) = takeovers.deadline() {
            takeovers.poll(now, |shard| {
                announced.push((shard, milliseconds(begin, now)));
                Vec::new()
            });
        }
        announced
    }

    #[test]
    fn a_shard_is_announced_five_times() {
        let begin = Instant::now();
        let mut takeovers = Takeovers::new(begin);
        takeovers.begin(7, begin);
        assert_eq!(run(&mut takeovers, begin), [0, 5, 20, 100, 1000].map(|at| (7, at)));
        assert_eq!(takeovers.deadline(), None);
        // Again from the start, if it was lost in between.
        takeovers.begin(7, begin);
        takeovers.poll(begin, |_| Vec::new());
        takeovers.begin(7, begin + Duration::from_millis(3));
        assert_eq!(run(&mut takeovers, begin), [3, 8, 23, 103, 1003].map(|at| (7, at)));
    }

    #[test]
    fn what_is_let_go_of_while_held_back_is_not_announced() {
        let begin = Instant::now();
        let mut takeovers = Takeovers::new(begin);
        [7, 8].into_iter().for_each(|shard| takeovers.begin(shard, begin));
        let resumed = begin + Duration::from_secs(5);
        takeovers.hold_back(resumed);
        assert!(takeovers.poll(resumed, |_| panic!("too soon")).is_empty());
        takeovers.cancel(8);
        assert_eq!(run(&mut takeovers, begin)[0], (7, 5050), "nobody else has it");
    }

    #[test]
    fn a_lost_shard_is_announced_no_more() {
        let begin = Instant::now();
        let mut takeovers = Takeovers::new(begin);
        takeovers.begin(7, begin);
        takeovers.begin(8, begin);
        takeovers.poll(begin, |_| Vec::new());
        takeovers.cancel(7);
        assert_eq!(run(&mut takeovers, begin), [5, 20, 100, 1000].map(|at| (8, at)));
    }

    /// Of 256 shards with four frames each the first round goes before any second, in batches that a ring has room for,
    /// and soon.
    #[test]
    fn many_are_paced() {
        let begin = Instant::now();
        let mut takeovers = Takeovers::new(begin);
        (0..256).for_each(|shard| takeovers.begin(shard, begin));
        let (mut batches, mut rounds) = (Vec::new(), HashMap::<u16, usize>::new());
        while let Some(now) = takeovers.deadline() {
            let frames = takeovers.poll(now, |shard| {
                *rounds.entry(shard).or_default() += 1;
                (0..4).map(|_| Output::Link { port: PortIndex(0), frame: Vec::new() }).collect()
            });
            batches.push((now, frames.len()));
            if batches.len() == 8 {
                assert_eq!(rounds.len(), 256);
                assert!(rounds.values().all(|rounds| *rounds == 1));
                assert!(now - begin < Duration::from_millis(3));
            }
        }
        assert!(batches.windows(2).all(|pair| pair[1].0 - pair[0].0 >= PACE));
        assert!(batches.iter().all(|(_, frames)| *frames <= BATCH));
        assert!(rounds.values().all(|rounds| *rounds == 5));
        assert_eq!(batches.iter().map(|(_, frames)| frames).sum::<usize>(), 256 * 4 * 5);
    }
}
