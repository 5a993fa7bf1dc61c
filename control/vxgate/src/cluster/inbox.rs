//! What the [runner](super::runner) is told from other threads. Most of it is the latest state alone, so that it is bounded
//! however fast things change; what is in order waits in a queue that holds back who fills it.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;

use bfd::Standing;
use cluster::assign::GatewayId;
use cluster::membership::Reflectors;
use cluster::{Heard, Segment};

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
    reflectors: AtomicU8,
    pub(super) leave: AtomicBool,
    runner: OnceLock<Thread>,
}

impl Inbox {
    pub(super) fn new(watched: Vec<Watched>) -> Arc<Self> {
        Arc::new(Self {
            watched,
            reflectors: AtomicU8::new(0),
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

    /// This gateway is to leave the cluster.
    pub(super) fn leave(&self) {
        self.leave.store(true, Ordering::Release);
        self.wake();
    }
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
        let inbox = Inbox::new(vec![Watched::new(id, Segment::Underlay)]);
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
    fn addresses_of_a_segment_are_heard_together() {
        let [two, three] = [2, 3].map(|id| GatewayId::new(id).unwrap());
        let (underlay, uplink) = (Segment::Underlay, Segment::Uplink);
        let watched = [(two, underlay), (two, underlay), (two, uplink), (three, uplink)];
        let inbox = Inbox::new(watched.map(|(id, segment)| Watched::new(id, segment)).into());
        inbox.set_standing(0, Standing::Up);
        inbox.set_standing(1, Standing::Down);
        inbox.set_standing(2, Standing::Down);
        let heard: Vec<_> = inbox.heard().collect();
        let expected =
            [((two, underlay), Heard::Up), ((two, uplink), Heard::Down), ((three, uplink), Heard::NotYet)];
        assert_eq!(heard, expected);
    }
}
