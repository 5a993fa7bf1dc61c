//! What happens to sessions and routes, for the operator: in the log, and for `vxgate events`.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use evpn::{Event, PeerId};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use tracing::{info, warn};

/// Events that are kept for who asks later, and that a slow follower may be behind.
const KEPT: usize = 1024;
/// Events of one peer's routes, and of its sessions, that are told in a [`PERIOD`]; the others are counted. A peer can send
/// millions of bad routes, and connect thousands of times, and that hides nothing of other peers.
const A_PERIOD: u32 = 500;
const PERIOD: Duration = Duration::from_secs(10);

/// An event, as a line of JSON.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct EventRow {
    /// Seconds since 1970 in UTC, with milliseconds.
    pub(crate) time: String,
    /// `session`, `down`, `rejected`, `malformed`, `end-of-rib`, `duplicate`, `recovered`, `suppressed`.
    pub(crate) event: String,
    /// The peer that it is about.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) peer: Option<IpAddr>,
    /// The overlay that it is about.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) vni: Option<u32>,
    /// The station that it is about.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) mac: Option<String>,
    /// The route that it is about.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) route: Option<String>,
    /// The state of a session, or why.
    pub(crate) detail: String,
}

impl EventRow {
    /// Says that a follower was too slow for so many.
    pub(crate) fn missed(events: u64) -> Self {
        row("suppressed", format!("{events} events came faster than they were read"))
    }
}

/// All events, bounded.
#[derive(Debug)]
pub(crate) struct Events {
    peers: Vec<IpAddr>,
    state: Mutex<State>,
    followers: broadcast::Sender<EventRow>,
}

#[derive(Debug)]
struct State {
    kept: VecDeque<EventRow>,
    budgets: HashMap<(Option<PeerId>, About), Budget>,
}

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum About {
    Routes,
    Sessions,
}

/// How much is told: since when, how many events were told since then, and how many were not.
#[derive(Debug)]
struct Budget {
    start: Instant,
    told: u32,
    suppressed: u64,
}

impl Budget {
    fn new(now: Instant) -> Self {
        Self { start: now, told: 0, suppressed: 0 }
    }

    /// How many events were not told before, if that is to be said now, and whether one more is told.
    fn spend(&mut self, now: Instant) -> (u64, bool) {
        let mut suppressed = 0;
        if now.saturating_duration_since(self.start) >= PERIOD {
            suppressed = std::mem::replace(self, Self::new(now)).suppressed;
        }
        let is_told = self.told < A_PERIOD;
        if is_told {
            self.told += 1;
        } else {
            self.suppressed += 1;
        }
        (suppressed, is_told)
    }
}

impl Events {
    /// Events about these peers, by their numbers.
    pub(super) fn new(peers: Vec<IpAddr>) -> Self {
        let state = State { kept: VecDeque::new(), budgets: HashMap::new() };
        Self { peers, state: Mutex::new(state), followers: broadcast::channel(KEPT).0 }
    }

    /// Those that are kept, the oldest first, and what comes after them.
    pub(crate) fn follow(&self) -> (Vec<EventRow>, broadcast::Receiver<EventRow>) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.kept.iter().cloned().collect(), self.followers.subscribe())
    }

    /// Something happened.
    pub(super) fn tell(&self, event: Event) {
        self.tell_at(event, Instant::now());
    }

    fn tell_at(&self, event: Event, now: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (peer, about) = match event {
            Event::Session { peer, .. } | Event::Down { peer, .. } | Event::EndOfRib { peer, .. } => {
                (Some(peer), About::Sessions)
            }
            Event::Rejected { peer, .. } | Event::Malformed { peer, .. } => (Some(peer), About::Routes),
            Event::Duplicate { .. } | Event::Recovered { .. } => (None, About::Routes),
        };
        let budget = state.budgets.entry((peer, about)).or_insert_with(|| Budget::new(now));
        let (suppressed, is_told) = budget.spend(now);
        if suppressed > 0 {
            let about = match about {
                About::Routes => "routes",
                About::Sessions => "sessions",
            };
            let row = row("suppressed", format!("{suppressed} events of {about} were not told"));
            self.publish(&mut state, EventRow { peer: peer.and_then(|peer| self.address(peer)), ..row });
        }
        if is_told {
            let row = self.row(event);
            self.publish(&mut state, row);
        }
    }

    fn address(&self, PeerId(number): PeerId) -> Option<IpAddr> {
        self.peers.get(usize::from(number)).copied()
    }

    fn publish(&self, state: &mut State, row: EventRow) {
        // What is made of texts and numbers is always JSON.
        let line = serde_json::to_string(&row).unwrap_or_default();
        match row.event.as_str() {
            "session" | "end-of-rib" | "recovered" => info!("event {line}"),
            _ => warn!("event {line}"),
        }
        if state.kept.len() == KEPT {
            state.kept.pop_front();
        }
        state.kept.push_back(row.clone());
        // Nobody may follow.
        let _ = self.followers.send(row);
    }

    fn row(&self, event: Event) -> EventRow {
        let of = |peer: PeerId, row: EventRow| EventRow { peer: self.address(peer), ..row };
        match event {
            Event::Session { peer, state, router_id } => {
                let id = router_id.map_or_else(String::new, |id| format!(", router id {id}"));
                of(peer, row("session", format!("{state}{id}")))
            }
            Event::Down { peer, reason } => of(peer, row("down", reason.to_string())),
            Event::Rejected { peer, reason, route } => {
                let row = row("rejected", reason.to_string());
                of(peer, EventRow { route: Some(route), ..row })
            }
            Event::Malformed { peer, detail } => of(peer, row("malformed", detail)),
            Event::EndOfRib { peer, family } => of(peer, row("end-of-rib", family.to_string())),
            Event::Duplicate { vni, mac, held, other, recovery } => {
                let until = recovery
                    .map_or("it is cleared".into(), |time| format!("{} s have passed", time.as_secs()));
                EventRow {
                    vni: Some(vni.value()),
                    mac: Some(mac.to_string()),
                    ..row("duplicate", format!("held behind {held}, against {other}, until {until}"))
                }
            }
            Event::Recovered { vni, mac } => EventRow {
                vni: Some(vni.value()),
                mac: Some(mac.to_string()),
                ..row("recovered", "its routes count again".into())
            },
        }
    }
}

fn row(event: &str, detail: String) -> EventRow {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let time = format!("{}.{:03}", now.as_secs(), now.subsec_millis());
    EventRow { time, event: event.into(), peer: None, vni: None, mac: None, route: None, detail }
}

#[cfg(test)]
mod tests {
    use evpn::Rejection;

    use super::*;

    #[test]
    fn events_of_a_peer_are_few_and_the_others_counted() {
        let peers: [IpAddr; 2] = ["192.0.2.9", "2001:db8::9"].map(|peer| peer.parse().unwrap());
        let events = Events::new(peers.to_vec());
        let start = Instant::now();
        let rejected = |route: u32| Event::Rejected {
            peer: PeerId(0),
            reason: Rejection::VniZero,
            route: route.to_string(),
        };
        (0..1000).for_each(|route| events.tell_at(rejected(route), start));
        assert_eq!(events.follow().0.len(), A_PERIOD as usize);
        // Nothing of its sessions, nor of another peer, is hidden by that.
        let down = |peer| Event::Down { peer: PeerId(peer), reason: evpn::DownReason::HoldTimer };
        (0..1000).for_each(|_| events.tell_at(down(0), start));
        events.tell_at(down(1), start);
        let rows = events.follow().0;
        assert_eq!(rows.len(), 2 * A_PERIOD as usize + 1);
        assert_eq!(rows.last().unwrap().peer, Some(peers[1]));
        let (_, mut follower) = events.follow();
        events.tell_at(rejected(1), start + PERIOD);
        let suppressed = follower.try_recv().unwrap();
        assert_eq!((&*suppressed.event, suppressed.peer), ("suppressed", Some(peers[0])));
        assert!(suppressed.detail.starts_with("500 "), "{suppressed:?}");
        let row = follower.try_recv().unwrap();
        assert_eq!((row.peer, row.route.as_deref(), &*row.detail), (Some(peers[0]), Some("1"), "VNI 0"));
        let line = serde_json::to_string(&row).unwrap();
        assert_eq!(serde_json::from_str::<EventRow>(&line).unwrap(), row);
        assert!(!line.contains("null"), "{line}");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let events = Events::new(Vec::new());
        let start = Instant::now();
        for second in 0..2 * KEPT as u64 {
            let event = Event::EndOfRib { peer: PeerId(0), family: evpn::Family::Evpn };
            events.tell_at(event, start + Duration::from_secs(second));
        }
        assert_eq!(events.follow().0.len(), KEPT);
    }
}
