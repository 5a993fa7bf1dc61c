//! Whether what the network announces is all there: a gateway that joins its cluster waits for it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cluster::membership::Reflectors;
use evpn::{Event, Family, PeerId, SessionState};

/// After so long a peer is taken to have told all: not every speaker sends End-of-RIB (RFC 4724 §2), and FRR does to those alone
/// that offer graceful restart.
const PATIENCE: Duration = Duration::from_secs(10);

/// Peers with a session: since when, and whether all EVPN routes have been told.
#[derive(Debug, Default)]
pub(super) struct Tracker(BTreeMap<PeerId, (Instant, bool)>);

impl Tracker {
    /// Something happened.
    pub(super) fn hear(&mut self, event: &Event, now: Instant) {
        match *event {
            Event::Session { peer, state: SessionState::Established, .. } => {
                self.0.insert(peer, (now, false));
            }
            Event::Session { peer, .. } | Event::Down { peer, .. } => {
                self.0.remove(&peer);
            }
            Event::EndOfRib { peer, family: Family::Evpn } => {
                if let Some((_, told)) = self.0.get_mut(&peer) {
                    *told = true;
                }
            }
            _ => {}
        }
    }

    /// One peer that has told all is enough: reflectors of a fabric know the same.
    pub(super) fn state(&self, now: Instant) -> Reflectors {
        let has_told =
            |(since, told): &(Instant, bool)| *told || now.saturating_duration_since(*since) >= PATIENCE;
        match self.0.values().any(has_told) {
            true => Reflectors::Complete,
            false if self.0.is_empty() => Reflectors::Lost,
            false => Reflectors::Reached,
        }
    }
}

#[cfg(test)]
mod tests {
    use evpn::DownReason;

    use super::*;

    #[test]
    fn one_that_has_told_all_is_enough() {
        let (start, mut tracker) = (Instant::now(), Tracker::default());
        let up = |peer| Event::Session { peer, state: SessionState::Established, router_id: None };
        let [one, other] = [PeerId(0), PeerId(1)];
        assert_eq!(tracker.state(start), Reflectors::Lost);
        tracker.hear(&up(one), start);
        tracker.hear(&Event::EndOfRib { peer: one, family: Family::Ipv4 }, start);
        assert_eq!(tracker.state(start), Reflectors::Reached);
        assert_eq!(tracker.state(start + PATIENCE), Reflectors::Complete, "it never says so");
        tracker.hear(&up(other), start);
        tracker.hear(&Event::EndOfRib { peer: other, family: Family::Evpn }, start);
        assert_eq!(tracker.state(start), Reflectors::Complete);
        tracker.hear(&Event::Down { peer: other, reason: DownReason::HoldTimer }, start);
        assert_eq!(tracker.state(start), Reflectors::Reached);
        tracker.hear(&Event::Down { peer: one, reason: DownReason::HoldTimer }, start);
        assert_eq!(tracker.state(start + PATIENCE), Reflectors::Lost);
    }
}
