//! What the [runner](super::runner) is told from other threads. Most of it is the latest state alone, so that it is bounded
//! however fast things change; what is in order waits in a queue that holds back who fills it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;

use bfd::Standing;
use cluster::assign::GatewayId;
use cluster::membership::Reflectors;
use cluster::{Group, Heard, Segment};
use wire::Vni;

use super::discovery::Discovery;

/// What one BFD session says of its peer: one byte.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) peer: GatewayId,
    pub(super) segment: Segment,
    standing: AtomicU8,
}

impl Watched {
    pub(super) fn new(peer: GatewayId, segment: Segment) -> Self {
        Self { peer, segment, standing: AtomicU8::new(code(Standing::NotYetUp)) }
    }

    pub(super) fn heard(&self) -> Heard {
        match self.standing.load(Ordering::Acquire) {
            1 => Heard::Up,
            2 => Heard::Down,
            3 => Heard::AdminDown,
            _ => Heard::NotYet,
        }
    }
}

fn code(standing: Standing) -> u8 {
    match standing {
        Standing::NotYetUp => 0,
        Standing::Up => 1,
        Standing::Down => 2,
        Standing::PeerAdminDown => 3,
    }
}

/// What a segment's sessions say together: one address that answers is enough.
fn together(heard: impl Iterator<Item = Heard>) -> Heard {
    let rank = |heard: &Heard| match heard {
        Heard::NotYet => 0,
        Heard::Down => 1,
        Heard::Up => 2,
        Heard::AdminDown => 3,
    };
    heard.max_by_key(rank).unwrap_or_default()
}

/// What the runner looks at each time it wakes.
#[derive(Debug)]
pub(crate) struct Inbox {
    /// Those of a peer's segment are side by side.
    pub(super) watched: Vec<Watched>,
    /// Whom EVPN tells of.
    discovery: Discovery,
    reflectors: AtomicU8,
    /// Of overlays that are announced: the highest mobility sequence that was seen and not yet taken.
    sequences: Mutex<BTreeMap<Vni, u32>>,
    /// Groups in the order in which they are to move, if that is news.
    order: Mutex<Option<Vec<Group>>>,
    pub(super) leave: AtomicBool,
    runner: OnceLock<Thread>,
}

impl Inbox {
    pub(super) fn new(watched: Vec<Watched>, discovery: Discovery) -> Arc<Self> {
        Arc::new(Self {
            watched,
            discovery,
            reflectors: AtomicU8::new(0),
            sequences: Mutex::default(),
            order: Mutex::default(),
            leave: AtomicBool::new(false),
            runner: OnceLock::new(),
        })
    }

    /// The calling thread is the one to wake.
    pub(super) fn settle_in(&self) {
        // It is called once.
        let _ = self.runner.set(std::thread::current());
    }

    pub(super) fn wake(&self) {
        if let Some(runner) = self.runner.get() {
            runner.unpark();
        }
    }

    /// What BFD says of the session in this place of `watched`.
    pub(super) fn set_standing(&self, place: usize, standing: Standing) {
        self.watched[place].standing.store(code(standing), Ordering::Release);
        self.wake();
    }

    /// What BFD says of each peer on each segment.
    pub(super) fn heard(&self) -> impl Iterator<Item = ((GatewayId, Segment), Heard)> {
        let of = |watched: &Watched| (watched.peer, watched.segment);
        let segments = self.watched.chunk_by(move |one, next| of(one) == of(next));
        segments.map(move |segment| (of(&segment[0]), together(segment.iter().map(Watched::heard))))
    }

    /// EVPN tells of a VTEP of the cluster, or no longer does; false: it is none of a gateway that is configured.
    pub(crate) fn set_discovered(&self, vtep: IpAddr, discovered: bool) -> bool {
        let is_known = self.discovery.set(vtep, discovered);
        self.wake();
        is_known
    }

    /// Whom EVPN tells of, among the gateways that are configured.
    pub(super) fn discovered(&self) -> impl Iterator<Item = (GatewayId, bool)> {
        self.discovery.all()
    }

    /// What is known of the reflectors.
    pub(crate) fn set_reflectors(&self, reflectors: Reflectors) {
        self.reflectors.store(reflectors as u8, Ordering::Release);
        self.wake();
    }

    pub(super) fn reflectors(&self) -> Reflectors {
        match self.reflectors.load(Ordering::Acquire) {
            2 => Reflectors::Complete,
            1 => Reflectors::Reached,
            _ => Reflectors::Lost,
        }
    }

    /// Somebody announces an overlay's router with this mobility sequence.
    pub(crate) fn sequence_seen(&self, vni: Vni, sequence: u32) {
        let mut sequences = lock(&self.sequences);
        let seen = sequences.entry(vni).or_default();
        *seen = sequence.max(*seen);
    }

    /// What was seen since this was last asked. Whoever looks at [`reflectors`](Self::reflectors) before it misses nothing that
    /// they told.
    pub(super) fn take_sequences(&self) -> BTreeMap<Vni, u32> {
        std::mem::take(&mut lock(&self.sequences))
    }

    /// Groups are to move in this order.
    pub(super) fn set_order(&self, order: Vec<Group>) {
        *lock(&self.order) = Some(order);
    }

    /// The order, if there is a new one.
    pub(super) fn take_order(&self) -> Option<Vec<Group>> {
        lock(&self.order).take()
    }

    /// This gateway is to leave the cluster.
    pub(super) fn leave(&self) {
        self.leave.store(true, Ordering::Release);
        self.wake();
    }
}

/// A panic elsewhere while it was held cannot have left it half-changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_that_answers_is_enough_and_admin_down_is_said_by_one() {
        use Heard::{AdminDown, Down, NotYet, Up};
        for (heard, expected) in [
            (vec![], NotYet),
            (vec![NotYet, NotYet], NotYet),
            (vec![Down, NotYet], Down),
            (vec![Up, Down], Up),
            (vec![NotYet, Up], Up),
            (vec![Up, AdminDown], AdminDown),
        ] {
            assert_eq!(together(heard.iter().copied()), expected, "{heard:?}");
        }
    }

    #[test]
    fn the_latest_counts() {
        let id = GatewayId::new(2).unwrap();
        let inbox = Inbox::new(vec![Watched::new(id, Segment::Underlay)], Discovery::default());
        assert_eq!(inbox.watched[0].heard(), Heard::NotYet);
        for (standing, heard) in [
            (Standing::Up, Heard::Up),
            (Standing::Down, Heard::Down),
            (Standing::PeerAdminDown, Heard::AdminDown),
            (Standing::NotYetUp, Heard::NotYet),
        ] {
            inbox.set_standing(0, standing);
            assert_eq!(inbox.watched[0].heard(), heard);
        }
        for reflectors in [Reflectors::Complete, Reflectors::Reached, Reflectors::Lost] {
            inbox.set_reflectors(reflectors);
            assert_eq!(inbox.reflectors(), reflectors);
        }
    }

    #[test]
    fn the_highest_sequence_is_kept_until_it_is_taken() {
        let inbox = Inbox::new(Vec::new(), Discovery::default());
        let [one, two] = [1, 2].map(|vni| Vni::new(vni).unwrap());
        [(one, 3), (two, 0), (one, 2)]
            .into_iter()
            .for_each(|(vni, sequence)| inbox.sequence_seen(vni, sequence));
        assert_eq!(inbox.take_sequences(), [(one, 3), (two, 0)].into());
        assert!(inbox.take_sequences().is_empty());
    }

    #[test]
    fn addresses_of_a_segment_are_heard_together() {
        let [two, three] = [2, 3].map(|id| GatewayId::new(id).unwrap());
        let (underlay, uplink) = (Segment::Underlay, Segment::Uplink);
        let watched = [(two, underlay), (two, underlay), (two, uplink), (three, uplink)];
        let inbox =
            Inbox::new(watched.map(|(id, segment)| Watched::new(id, segment)).into(), Discovery::default());
        inbox.set_standing(0, Standing::Up);
        inbox.set_standing(1, Standing::Down);
        inbox.set_standing(2, Standing::Down);
        let heard: Vec<_> = inbox.heard().collect();
        let expected =
            [((two, underlay), Heard::Up), ((two, uplink), Heard::Down), ((three, uplink), Heard::NotYet)];
        assert_eq!(heard, expected);
    }
}
