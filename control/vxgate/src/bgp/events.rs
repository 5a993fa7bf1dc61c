//! What happens to sessions and routes, for the operator.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use evpn::{Event, PeerId};

use crate::bfd::News;
use crate::events::{EventRow, Events, time_ago};

/// Events of one peer's routes, and of its sessions, that are told in a [`PERIOD`]; the others are counted. A peer can send
/// millions of bad routes, and connect thousands of times, and that hides nothing of other peers.
const A_PERIOD: u32 = 500;
const PERIOD: Duration = Duration::from_secs(10);

/// Events of BGP and BFD, on their way to those of the gateway.
#[derive(Debug)]
pub(crate) struct BgpEvents {
    peers: Vec<IpAddr>,
    budgets: Mutex<BTreeMap<(Option<PeerId>, About), Budget>>,
    events: Arc<Events>,
}

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum About {
    Routes,
    Sessions,
    Bfd,
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

    /// How many were not told in a period that is over.
    fn settle(&mut self, now: Instant) -> Option<u64> {
        if now.saturating_duration_since(self.start) < PERIOD {
            return None;
        }
        let suppressed = std::mem::replace(self, Self::new(now)).suppressed;
        (suppressed > 0).then_some(suppressed)
    }

    /// Whether one more is told.
    fn take(&mut self) -> bool {
        let is_told = self.told < A_PERIOD;
        if is_told {
            self.told += 1;
        } else {
            self.suppressed += 1;
        }
        is_told
    }
}

impl BgpEvents {
    /// Events about these peers, by their numbers.
    pub(crate) fn new(peers: Vec<IpAddr>, events: Arc<Events>) -> Self {
        Self { peers, budgets: Mutex::default(), events }
    }

    /// Something happened.
    pub(super) fn tell(&self, event: Event) {
        self.tell_at(event, Instant::now());
    }

    /// Says how many events of the last period were not told, if that is over. To be called now and then: nothing else
    /// may happen.
    pub(super) fn settle(&self) {
        self.settle_at(Instant::now());
    }

    fn settle_at(&self, now: Instant) {
        let mut budgets = self.budgets.lock().unwrap_or_else(PoisonError::into_inner);
        for (&of, budget) in budgets.iter_mut() {
            if let Some(count) = budget.settle(now) {
                self.events.publish(self.suppressed(of, count));
            }
        }
    }

    /// Tells it if its peer's budget allows.
    fn publish(&self, of: (Option<PeerId>, About), row: impl FnOnce() -> EventRow, now: Instant) {
        self.settle_at(now);
        let mut budgets = self.budgets.lock().unwrap_or_else(PoisonError::into_inner);
        if budgets.entry(of).or_insert_with(|| Budget::new(now)).take() {
            self.events.publish(row());
        }
    }

    fn suppressed(&self, (peer, about): (Option<PeerId>, About), count: u64) -> EventRow {
        let about = match about {
            About::Routes => "routes",
            About::Sessions => "sessions",
            About::Bfd => "BFD",
        };
        let row = EventRow::now("suppressed", format!("{count} events of {about} were not told"));
        EventRow { peer: peer.and_then(|peer| self.address(peer)), ..row }
    }

    fn tell_at(&self, event: Event, now: Instant) {
        let of = match event {
            Event::Session { peer, .. }
            | Event::Down { peer, .. }
            | Event::Silence { peer, .. }
            | Event::EndOfRib { peer, .. } => (Some(peer), About::Sessions),
            Event::Rejected { peer, .. } | Event::Malformed { peer, .. } => (Some(peer), About::Routes),
            Event::Duplicate { .. } | Event::Recovered { .. } => (None, About::Routes),
            // One a second at most.
            Event::NotAccepting { .. } => (None, About::Sessions),
        };
        self.publish(of, || self.row(event), now);
    }

    fn address(&self, PeerId(number): PeerId) -> Option<IpAddr> {
        self.peers.get(usize::from(number)).copied()
    }

    /// A VTEP is announced as one of the cluster's, and is none of a gateway that is configured.
    pub(super) fn tell_stranger(&self, vtep: IpAddr) {
        let row = || {
            let detail = format!("{vtep} is announced as of this cluster, and is no address of its gateways");
            EventRow::now("cluster-stranger", detail)
        };
        self.publish((None, About::Routes), row, Instant::now());
    }

    /// A BFD session changed, or the thread of BFD did not run.
    pub(crate) fn tell_bfd(&self, news: &News) {
        // Somebody on the link may have sessions without a key flap as fast as he can send.
        if let Some(row) = bfd_row(news) {
            self.publish((None, About::Bfd), || row, Instant::now());
        }
    }

    fn row(&self, event: Event) -> EventRow {
        let of = |peer: PeerId, row: EventRow| EventRow { peer: self.address(peer), ..row };
        match event {
            Event::Session { peer, state, router_id } => {
                let id = router_id.map_or_else(String::new, |id| format!(", router id {id}"));
                of(peer, EventRow::now("session", format!("{state}{id}")))
            }
            Event::Down { peer, reason } => of(peer, EventRow::now("down", reason.to_string())),
            Event::Silence { peer, silent } => {
                let detail =
                    if silent { "nothing heard for two thirds of the hold time" } else { "heard again" };
                of(peer, EventRow::now("silence", detail.into()))
            }
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

/// Pauses of the thread are told from here on: it is as long as the shortest detection time that is usual.
const LONG_PAUSE: Duration = Duration::from_millis(30);

fn bfd_row(news: &News) -> Option<EventRow> {
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    match news {
        News::Change { peer, segment, change } => {
            let standing = change.standing;
            let text =
                format!("{} to {}: {standing}, diagnostic {}", change.from, change.to, change.diagnostic);
            Some(EventRow {
                time: time_ago(change.at.elapsed()),
                peer: Some(*peer),
                segment: Some(segment.clone()),
                cause: Some(change.cause.to_string()),
                silence_us: change.silence.map(micros),
                ..EventRow::now("bfd", text)
            })
        }
        News::Stolen { time, until } if *time >= LONG_PAUSE => Some(EventRow {
            time: time_ago(until.elapsed()),
            silence_us: Some(micros(*time)),
            ..EventRow::now(
                "bfd-stolen",
                format!("the thread of BFD did not run for {} ms", time.as_millis()),
            )
        }),
        News::Stolen { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use evpn::Rejection;

    use super::*;
    use crate::events::KEPT;

    #[test]
    fn events_of_a_peer_are_few_and_the_others_counted() {
        let peers: [IpAddr; 2] = ["192.0.2.9", "2001:db8::9"].map(|peer| peer.parse().unwrap());
        let store = Arc::new(Events::new());
        let events = BgpEvents::new(peers.to_vec(), Arc::clone(&store));
        let start = Instant::now();
        let rejected = |route: u32| Event::Rejected {
            peer: PeerId(0),
            reason: Rejection::VniZero,
            route: route.to_string(),
        };
        (0..1000).for_each(|route| events.tell_at(rejected(route), start));
        assert_eq!(store.follow().0.len(), A_PERIOD as usize);
        // Nothing of its sessions, nor of another peer, is hidden by that.
        let down = |peer| Event::Down { peer: PeerId(peer), reason: evpn::DownReason::HoldTimer };
        (0..1000).for_each(|_| events.tell_at(down(0), start));
        events.tell_at(down(1), start);
        let rows = store.follow().0;
        assert_eq!(rows.len(), 2 * A_PERIOD as usize + 1);
        assert_eq!(rows.last().unwrap().peer, Some(peers[1]));
        let (_, mut follower) = store.follow();
        events.tell_at(rejected(1), start + PERIOD);
        let suppressed = follower.try_recv().unwrap();
        assert_eq!((&*suppressed.event, suppressed.peer), ("suppressed", Some(peers[0])));
        assert_eq!(suppressed.detail, "500 events of routes were not told");
        assert_eq!(follower.try_recv().unwrap().detail, "500 events of sessions were not told");
        let row = follower.try_recv().unwrap();
        assert_eq!((row.peer, row.route.as_deref(), &*row.detail), (Some(peers[0]), Some("1"), "VNI 0"));
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
        assert_eq!(told.len(), A_PERIOD as usize + 1);
        assert_eq!(told.last().unwrap().peer, Some(other));
        // Though nothing else happens.
        events.settle_at(start + PERIOD - Duration::from_millis(1));
        assert!(follower.try_recv().is_err());
        events.settle_at(start + PERIOD);
        let suppressed = follower.try_recv().unwrap();
        assert_eq!((&*suppressed.event, suppressed.peer), ("suppressed", Some(flapping)));
        assert!(suppressed.detail.starts_with("500 "), "{suppressed:?}");
        events.settle_at(start + 2 * PERIOD);
        assert!(follower.try_recv().is_err(), "told once");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let store = Arc::new(Events::new());
        let events = BgpEvents::new(Vec::new(), Arc::clone(&store));
        let start = Instant::now();
        for second in 0..2 * KEPT as u64 {
            let event = Event::EndOfRib { peer: PeerId(0), family: evpn::Family::Evpn };
            events.tell_at(event, start + Duration::from_secs(second));
        }
        assert_eq!(store.follow().0.len(), KEPT);
    }
}
