//! A packet's way, as it goes over the control socket.

use std::time::{SystemTime, UNIX_EPOCH};

use engine::{Explanation, Outcome, Tapped};
use serde::{Deserialize, Serialize};

/// The way of a received packet.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
pub(crate) struct Story {
    /// Nanoseconds since 1970, UTC.
    pub(crate) time_ns: u64,
    /// Where it came in.
    pub(crate) port: String,
    /// Bytes of the frame.
    pub(crate) bytes: usize,
    /// Of the overlay that it is of, where that is known.
    pub(crate) vni: Option<u32>,
    /// `forwarded`, `punted` (to the slow path) or `dropped`.
    pub(crate) outcome: String,
    /// The counter that it is in, and what that means.
    pub(crate) counter: String,
    pub(crate) description: String,
    /// The counter that it would be in now, if that is another: tables or limits changed meanwhile.
    pub(crate) now: Option<String>,
    /// In order, as far as it came.
    pub(crate) steps: Vec<StoryStep>,
}

/// A step of it.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
pub(crate) struct StoryStep {
    pub(crate) step: String,
    pub(crate) detail: String,
}

/// The last line of a trace.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
pub(crate) struct End {
    /// Packets that came faster than they could be told.
    pub(crate) lost: u64,
}

impl Story {
    pub(crate) fn new(tapped: &Tapped, explanation: Explanation, port: &str) -> Self {
        let Explanation { vni, steps, now } = explanation;
        let step = |step: engine::Step| StoryStep { step: step.name.into(), detail: step.detail };
        Self {
            time_ns: nanoseconds(tapped.time),
            port: port.into(),
            bytes: tapped.frame.len(),
            vni: vni.map(wire::Vni::value),
            outcome: outcome_name(tapped.reason.outcome()).into(),
            counter: tapped.reason.name().into(),
            description: tapped.reason.description().into(),
            now: now.map(|reason| reason.name().into()),
            steps: steps.into_iter().map(step).collect(),
        }
    }
}

/// Nanoseconds since 1970, UTC.
pub(super) fn nanoseconds(time: SystemTime) -> u64 {
    // A clock before 1970 is not set; 64 bits last until 2554.
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

pub(super) fn outcome_name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Forwarded => "forwarded",
        Outcome::Punted => "punted",
        Outcome::Dropped => "dropped",
    }
}
