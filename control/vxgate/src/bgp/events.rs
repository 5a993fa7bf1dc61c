//! What happens to sessions and routes, for the operator.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use evpn::{Event, PeerId};

use crate::events::{EventRow, Events};

/// Events of refused routes that are told in a second, and events of each peer's session; the others are counted. A peer
/// can send millions of the former, and come and go as fast as it likes.
const MOST: u32 = 50;

/// Events of BGP, on their way to those of the gateway.
#[derive(Debug)]
pub(crate) struct BgpEvents {
    peers: Vec<IpAddr>,
    state: Mutex<State>,
    events: Arc<Events>,
}

#[derive(Debug)]
struct State {
    refusals: Budget,
    /// By number of the peer: one that flaps does not silence the others.
    sessions: Vec<Budget>,
}

/// What is told in a second.
#[derive(Clone, Debug)]
struct Budget {
    second: Instant,
    told: u32,
    suppressed: u64,
}

impl Budget {
    fn new(now: Instant) -> Self {
        Self { second: now, told: 0, suppressed: 0 }
    }

    /// How many were not told in a second that is over.
    fn settle(&mut self, now: Instant) -> Option<u64> {
        if now.saturating_duration_since(self.second) < Duration::from_secs(1) {
            return None;
        }
        let suppressed = self.suppressed;
        *self = Self::new(now);
        (suppressed > 0).then_some(suppressed)
    }

    /// Whether one more is told.
    fn take(&mut self) -> bool {
        let has_room = self.told < MOST;
        if has_room {
            self.told += 1;
        } else {
            self.suppressed += 1;
        }
        has_room
    }
}

impl BgpEvents {
    /// Events about these peers, by their numbers.
    pub(super) fn new(peers: Vec<IpAddr>, events: Arc<Events>) -> Self {
        let budget = Budget::new(Instant::now());
        let state = State { refusals: budget.clone(), sessions: vec![budget; peers.len()] };
        Self { peers, state: Mutex::new(state), events }
    }

    /// Something happened.
    pub(super) fn tell(&self, event: Event) {
        self.tell_at(event, Instant::now());
    }

    /// Says how many events of the last second were not told, if that is over. To be called now and then: nothing else
    /// may happen.
    pub(super) fn settle(&self) {
        self.settle_at(Instant::now());
    }

    fn settle_at(&self, now: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = state.refusals.settle(now) {
            self.events.publish(EventRow::now(
                "suppressed",
                format!("{count} events of refused routes were not told"),
            ));
        }
        for place in 0..state.sessions.len() {
            if let Some(count) = state.sessions[place].settle(now) {
                let detail = format!(
                    "{count} events of the session were not told; vxgate show bgp peers has its state"
                );
                let row =
                    EventRow { peer: self.peers.get(place).copied(), ..EventRow::now("suppressed", detail) };
                self.events.publish(row);
            }
        }
    }

    fn tell_at(&self, event: Event, now: Instant) {
        self.settle_at(now);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let budget = match &event {
            Event::Rejected { .. }
            | Event::Malformed { .. }
            | Event::Duplicate { .. }
            | Event::Recovered { .. } => Some(&mut state.refusals),
            Event::Session { peer, .. } | Event::Down { peer, .. } | Event::EndOfRib { peer, .. } => {
                state.sessions.get_mut(usize::from(peer.0))
            }
            // One a second at most.
            Event::NotAccepting { .. } => None,
        };
        if budget.is_some_and(|budget| !budget.take()) {
            return;
        }
        self.events.publish(self.row(event));
    }

    fn row(&self, event: Event) -> EventRow {
        let of = |PeerId(number): PeerId, row: EventRow| EventRow {
            peer: self.peers.get(usize::from(number)).copied(),
            ..row
        };
        match event {
            Event::Session { peer, state, router_id } => {
                let id = router_id.map_or_else(String::new, |id| format!(", router id {id}"));
                of(peer, EventRow::now("session", format!("{state}{id}")))
            }
            Event::Down { peer, reason } => of(peer, EventRow::now("down", reason.to_string())),
            Event::Rejected { peer, reason, route } => {
                let row = EventRow::now("rejected", reason.to_string());
                of(peer, EventRow { route: Some(route), ..row })
            }
            Event::Malformed { peer, detail } => of(peer, EventRow::now("malformed", detail)),
            Event::NotAccepting { error } => {
                EventRow::now("not-accepting", format!("peers cannot connect for now: {error}"))
            }
            Event::EndOfRib { peer, family } => of(peer, EventRow::now("end-of-rib", family.to_string())),
            Event::Duplicate { vni, mac, held, other, recovery } => {
                let until = recovery
                    .map_or("it is cleared".into(), |time| format!("{} s have passed", time.as_secs()));
                EventRow {
                    vni: Some(vni.value()),
                    mac: Some(mac.to_string()),
                    ..EventRow::now(
                        "duplicate",
                        format!("held behind {held}, against {other}, until {until}"),
                    )
                }
            }
            Event::Recovered { vni, mac } => EventRow {
                vni: Some(vni.value()),
                mac: Some(mac.to_string()),
                ..EventRow::now("recovered", "its routes count again".into())
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use evpn::Rejection;

    use super::*;

    #[test]
    fn refusals_are_few_and_the_others_counted() {
        let peer: IpAddr = "192.0.2.9".parse().unwrap();
        let store = Arc::new(Events::new());
        let events = BgpEvents::new(vec![peer], Arc::clone(&store));
        let start = Instant::now();
        let rejected = |route: u32| Event::Rejected {
            peer: PeerId(0),
            reason: Rejection::VniZero,
            route: route.to_string(),
        };
        (0..1000).for_each(|route| events.tell_at(rejected(route), start));
        assert_eq!(store.follow().0.len(), MOST as usize);
        let (_, mut follower) = store.follow();
        events.tell_at(rejected(1), start + Duration::from_secs(1));
        let suppressed = follower.try_recv().unwrap();
        assert_eq!((&*suppressed.event, suppressed.peer), ("suppressed", None));
        assert!(suppressed.detail.starts_with("950 "), "{suppressed:?}");
        let row = follower.try_recv().unwrap();
        assert_eq!((row.peer, row.route.as_deref(), &*row.detail), (Some(peer), Some("1"), "VNI 0"));
        let line = serde_json::to_string(&row).unwrap();
        assert_eq!(serde_json::from_str::<EventRow>(&line).unwrap(), row);
        assert!(!line.contains("null"), "{line}");
    }

    #[test]
    fn a_peer_that_flaps_is_told_of_now_and_then_and_others_as_ever() {
        let (flapping, other): (IpAddr, IpAddr) =
            ("192.0.2.9".parse().unwrap(), "2001:db8::9".parse().unwrap());
        let store = Arc::new(Events::new());
        let events = BgpEvents::new(vec![flapping, other], Arc::clone(&store));
        let start = Instant::now();
        let down = |peer| Event::Down { peer: PeerId(peer), reason: evpn::DownReason::Closed };
        (0..1000).for_each(|_| events.tell_at(down(0), start));
        events.tell_at(down(1), start);
        let (told, mut follower) = store.follow();
        assert_eq!(told.len(), MOST as usize + 1);
        assert_eq!(told.last().unwrap().peer, Some(other));
        // Though nothing else happens.
        events.settle_at(start + Duration::from_millis(999));
        assert!(follower.try_recv().is_err());
        events.settle_at(start + Duration::from_secs(1));
        let suppressed = follower.try_recv().unwrap();
        assert_eq!((&*suppressed.event, suppressed.peer), ("suppressed", Some(flapping)));
        assert!(suppressed.detail.starts_with("950 "), "{suppressed:?}");
        events.settle_at(start + Duration::from_secs(2));
        assert!(follower.try_recv().is_err(), "told once");
    }
}
