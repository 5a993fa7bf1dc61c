//! What happened, for the operator: in the log, and for `vxgate events`.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use tracing::{info, warn};

/// Events that are kept for who asks later, and that a slow follower may be behind.
pub(crate) const KEPT: usize = 1024;

/// Bytes of the detail of an event: much of it is what peers say.
const LONGEST_DETAIL: usize = 1024;

/// An event, as a line of JSON.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct EventRow {
    /// Seconds since 1970 in UTC, with milliseconds.
    pub(crate) time: String,
    /// Of BGP `session`, `down`, `rejected`, `malformed`, `end-of-rib`, `duplicate`, `recovered`, `not-accepting`, `silence`, `suppressed`;
    /// of BFD `bfd`, `bfd-stolen`; of the cluster `cluster-up`, `cluster-down`, `cluster-refused`, `cluster-stranger`,
    /// `cluster-member`, `cluster-peer`, `cluster-stage`, `cluster-moved`, `cluster-announced`, `cluster-no-part`,
    /// `cluster-duplicate-id`, `cluster-bad-message`.
    pub(crate) event: String,
    /// The peer of BGP that it is about.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) peer: Option<IpAddr>,
    /// The gateway of the cluster that it is about.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) gateway: Option<u16>,
    /// The overlay that it is about.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) vni: Option<u32>,
    /// The station that it is about.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) mac: Option<String>,
    /// The route that it is about.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) route: Option<String>,
    /// The segment of a BFD session: an interface, or `multihop`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) segment: Option<String>,
    /// What made a BFD session change, or shards move.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) cause: Option<String>,
    /// Microseconds since a BFD session had heard its peer; or in which the thread of BFD did not run.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) silence_us: Option<u64>,
    /// Microseconds from what made shards move until they had moved.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) duration_us: Option<u64>,
    /// The state of a session, or why.
    pub(crate) detail: String,
}

impl EventRow {
    /// One that happens now, about nobody.
    pub(crate) fn now(event: &str, detail: String) -> Self {
        Self { time: time_ago(Duration::ZERO), event: event.into(), detail, ..Self::default() }
    }

    /// Says that a follower was too slow for so many.
    pub(crate) fn missed(events: u64) -> Self {
        Self::now("suppressed", format!("{events} events came faster than they were read"))
    }
}

/// The time of day so long ago.
pub(crate) fn time_ago(ago: Duration) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(ago);
    format!("{}.{:03}", now.as_secs(), now.subsec_millis())
}

/// All events, bounded.
#[derive(Debug)]
pub(crate) struct Events {
    kept: Mutex<VecDeque<EventRow>>,
    followers: broadcast::Sender<EventRow>,
}

impl Events {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self { kept: Mutex::default(), followers: broadcast::channel(KEPT).0 }
    }

    /// Those that are kept, the oldest first, and what comes after them.
    pub(crate) fn follow(&self) -> (Vec<EventRow>, broadcast::Receiver<EventRow>) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        (kept.iter().cloned().collect(), self.followers.subscribe())
    }

    /// Something happened.
    pub(crate) fn publish(&self, mut row: EventRow) {
        if row.detail.len() > LONGEST_DETAIL {
            let end = row.detail.floor_char_boundary(LONGEST_DETAIL);
            row.detail.truncate(end);
            row.detail.push_str(" ...");
        }
        // What is made of texts and numbers is always JSON.
        let line = serde_json::to_string(&row).unwrap_or_default();
        match row.event.as_str() {
            "session" | "end-of-rib" | "recovered" | "bfd" | "cluster-up" | "cluster-member"
            | "cluster-peer" | "cluster-stage" | "cluster-moved" => info!("event {line}"),
            _ => warn!("event {line}"),
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(row.clone());
        // Nobody may follow.
        let _ = self.followers.send(row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded() {
        let events = Events::new();
        for n in 0..2 * KEPT {
            events.publish(EventRow::now("end-of-rib", n.to_string()));
        }
        let (kept, _) = events.follow();
        assert_eq!((kept.len(), &*kept[0].detail), (KEPT, "1024"));
        // Each of them too, in whole characters.
        events.publish(EventRow::now("malformed", format!("a{}", "ü".repeat(5000))));
        let (kept, _) = events.follow();
        let detail = &kept.last().unwrap().detail;
        assert_eq!((detail.len(), detail.ends_with("ü ...")), (LONGEST_DETAIL - 1 + 4, true), "{detail}");
    }
}
