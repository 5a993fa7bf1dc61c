//! Packets that wait for a neighbour's MAC address (RFC 1122 §2.3.2.2: at least the latest must be kept).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use wire::MacAddr;

use super::FrameCopy;
use crate::api::NextHop;

/// Packets that are kept for one neighbour; the oldest gives way.
const PER_NEIGHBOUR: usize = 3;
/// Packets that are kept in all; the oldest gives way.
const IN_ALL: usize = 256;
/// How long a packet waits: what comes later is of no use to anybody.
const PATIENCE: Duration = Duration::from_secs(3);

/// A packet that waits.
#[derive(Debug)]
struct Waiting {
    next_hop: NextHop,
    packet: FrameCopy,
    since: Instant,
}

/// All that wait, the oldest first. Small enough to be searched.
#[derive(Debug, Default)]
pub(super) struct WaitingPackets(VecDeque<Waiting>);

impl WaitingPackets {
    /// Keeps an IP packet until its neighbour is known.
    pub(super) fn keep(&mut self, next_hop: NextHop, packet: FrameCopy, now: Instant) {
        self.0.retain(|waiting| now.duration_since(waiting.since) < PATIENCE);
        let same = |waiting: &Waiting| waiting.next_hop == next_hop;
        if self.0.iter().filter(|waiting| same(waiting)).count() >= PER_NEIGHBOUR
            && let Some(oldest) = self.0.iter().position(same)
        {
            self.0.remove(oldest);
        }
        if self.0.len() >= IN_ALL {
            self.0.pop_front();
        }
        self.0.push_back(Waiting { next_hop, packet, since: now });
    }

    /// Takes out, in their order, the packets whose neighbour `known` knows.
    pub(super) fn release(
        &mut self,
        now: Instant,
        known: impl Fn(NextHop) -> Option<MacAddr>,
    ) -> Vec<(NextHop, MacAddr, FrameCopy)> {
        let mut released = Vec::new();
        for waiting in std::mem::take(&mut self.0) {
            if now.duration_since(waiting.since) >= PATIENCE {
                continue;
            }
            match known(waiting.next_hop) {
                Some(mac) => released.push((waiting.next_hop, mac, waiting.packet)),
                None => self.0.push_back(waiting),
            }
        }
        released
    }

    /// Drops all: how many there were.
    pub(super) fn discard(&mut self) -> usize {
        std::mem::take(&mut self.0).len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::PortIndex;

    fn hop(number: u8) -> NextHop {
        NextHop { port: PortIndex(1), address: [198, 18, 1, number].into() }
    }

    fn numbers(released: &[(NextHop, MacAddr, FrameCopy)]) -> Vec<u8> {
        released.iter().map(|(_, _, packet)| packet.bytes()[0]).collect()
    }

    #[test]
    fn the_latest_few_come_out_in_order_and_only_for_known_neighbours() {
        let (mut waiting, now) = (WaitingPackets::default(), Instant::now());
        for number in 0..5 {
            waiting.keep(hop(1), FrameCopy::of(&[number]), now);
        }
        waiting.keep(hop(2), FrameCopy::of(&[9]), now);
        let mac = |next_hop| (next_hop == hop(1)).then_some(MacAddr::BROADCAST);
        assert_eq!(numbers(&waiting.release(now, mac)), [2, 3, 4]);
        assert_eq!(numbers(&waiting.release(now, |_| Some(MacAddr::BROADCAST))), [9]);
        assert!(waiting.is_empty());
    }

    #[test]
    fn they_are_bounded_and_do_not_wait_for_ever() {
        let (mut waiting, now) = (WaitingPackets::default(), Instant::now());
        for number in 0..=u8::MAX {
            for _ in 0..3 {
                waiting.keep(hop(number), FrameCopy::of(&[number]), now);
            }
        }
        assert_eq!(waiting.0.len(), IN_ALL);
        assert_eq!((waiting.discard(), waiting.is_empty()), (IN_ALL, true));
        waiting.keep(hop(1), FrameCopy::of(&[1]), now);
        assert!(waiting.release(now + PATIENCE, |_| Some(MacAddr::ZERO)).is_empty());
        assert!(waiting.is_empty());
    }
}
