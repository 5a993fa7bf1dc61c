//! What happens to sessions and routes, for the operator.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use evpn::{Event, PeerId};

use crate::events::{EventRow, Events};

/// Events of refused routes that are told in a second; the others are counted. A peer can send millions.
const REFUSALS: u32 = 50;

/// Events of BGP, on their way to those of the gateway.
#[derive(Debug)]
pub(crate) struct BgpEvents {
    peers: Vec<IpAddr>,
    state: Mutex<State>,
    events: Arc<Events>,
}

#[derive(Debug)]
struct State {
    /// The second, how many refusals were told in it, and how many were not.
    second: Instant,
    told: u32,
    suppressed: u64,
}

impl BgpEvents {
    /// Events about these peers, by their numbers.
    pub(super) fn new(peers: Vec<IpAddr>, events: Arc<Events>) -> Self {
        let state = State { second: Instant::now(), told: 0, suppressed: 0 };
        Self { peers, state: Mutex::new(state), events }
    }

    /// Something happened.
    pub(super) fn tell(&self, event: Event) {
        self.tell_at(event, Instant::now());
    }

    fn tell_at(&self, event: Event, now: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(event, Event::Rejected { .. } | Event::Malformed { .. } | Event::Duplicate { .. }) {
            if now.saturating_duration_since(state.second) >= Duration::from_secs(1) {
                (state.second, state.told) = (now, 0);
                let suppressed = std::mem::take(&mut state.suppressed);
                if suppressed > 0 {
                    let detail = format!("{suppressed} events of refused routes were not told");
                    self.events.publish(EventRow::now("suppressed", detail));
                }
            }
            if state.told >= REFUSALS {
                state.suppressed += 1;
                return;
            }
            state.told += 1;
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
        assert_eq!(store.follow().0.len(), REFUSALS as usize);
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
}
