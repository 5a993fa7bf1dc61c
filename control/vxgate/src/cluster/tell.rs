//! What happens in the cluster, in words.

use std::time::Duration;

use cluster::message::Reason;
use cluster::{Cause, Event, Presence, Refusal, Stage, Unfit};

use crate::events::EventRow;

/// The line of `vxgate events`.
pub(super) fn row(event: &Event) -> EventRow {
    let about = |gateway: cluster::assign::GatewayId, name: &str, detail: String| EventRow {
        gateway: Some(gateway.value()),
        ..EventRow::now(name, detail)
    };
    match event {
        Event::MemberAdded(id) => about(*id, "cluster-member", "known".into()),
        Event::MemberRemoved(id) => about(*id, "cluster-member", "removed".into()),
        Event::TooManyMembers(id) => about(*id, "cluster-member", "left out: there are too many".into()),
        Event::Peer { peer, presence: is } => about(*peer, "cluster-peer", presence(*is).into()),
        Event::Refused { peer, refusal } => {
            let why = match refusal {
                Refusal::Settings { .. } => "its settings differ",
                Refusal::DuplicateId { .. } => "another gateway has its id",
                Refusal::Other => "see cluster-refused",
            };
            about(*peer, "cluster-no-part", why.into())
        }
        Event::DuplicateId { id, incarnation } => {
            about(*id, "cluster-duplicate-id", format!("another with this id, of incarnation {incarnation}"))
        }
        Event::Stage { stage: is, unfit: why, reasons } => {
            let mut detail = stage(*is).to_owned();
            if let Some(why) = why {
                detail += ": ";
                detail += unfit(*why);
            }
            if !reasons.is_empty() {
                let reasons: Vec<String> = reasons.iter().map(reason).collect();
                detail += &format!(" ({})", reasons.join(", "));
            }
            EventRow::now("cluster-stage", detail)
        }
        Event::Moved { cause: why, taken, released, duration } => EventRow {
            cause: Some(cause(*why)),
            duration_us: Some(micros(*duration)),
            ..EventRow::now("cluster-moved", format!("{taken} taken, {released} let go of"))
        },
        Event::BadMessage(id) => about(*id, "cluster-bad-message", "it said what it must not".into()),
    }
}

/// A peer of BGP has been told of all overlays that were taken and let go of.
pub(super) fn announced(count: usize, duration: Duration) -> EventRow {
    EventRow {
        duration_us: Some(micros(duration)),
        ..EventRow::now("cluster-announced", format!("{count} overlays told to BGP"))
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// All is let go of at once.
pub(super) fn released(why: Cause) -> EventRow {
    EventRow { cause: Some(cause(why)), ..EventRow::now("cluster-moved", "all let go of".into()) }
}

pub(super) fn presence(presence: Presence) -> &'static str {
    match presence {
        Presence::Unheard => "unheard",
        Presence::Silent => "silent",
        Presence::Joining => "joining",
        Presence::Serving => "serving",
        Presence::Unhealthy => "unhealthy",
        Presence::Leaving => "leaving",
        Presence::Dead => "dead",
        Presence::Restarted => "restarted",
    }
}

pub(super) fn stage(stage: Stage) -> &'static str {
    match stage {
        Stage::Joining => "joining",
        Stage::Serving => "serving",
        Stage::Leaving => "leaving",
        Stage::Left => "left",
        Stage::Unfit => "unfit",
    }
}

pub(super) fn unfit(unfit: Unfit) -> &'static str {
    match unfit {
        Unfit::Unhealthy => "unhealthy",
        Unfit::CutOff => "cut off from all peers and reflectors",
        Unfit::DuplicateId => "another gateway has its id",
    }
}

fn reason(reason: &Reason) -> String {
    match reason {
        Reason::Worker(number) => format!("worker {number} stands still"),
        Reason::Underlay => "no underlay port is up and leads where it did".into(),
        Reason::Uplink => "no uplink port is up and leads where it did".into(),
        Reason::Router => "the uplink's router is not alive".into(),
        Reason::Track(name) => format!("track {name}"),
    }
}

pub(super) fn cause(cause: Cause) -> String {
    match cause {
        Cause::Unowned => "nobody served it".into(),
        Cause::Died(id) => format!("gateway {id} is dead"),
        Cause::Restarted(id) => format!("gateway {id} has restarted"),
        Cause::Unhealthy(id) => format!("gateway {id} is unhealthy"),
        Cause::Leaving(id) => format!("gateway {id} leaves"),
        Cause::Won(id) => format!("won from gateway {id}"),
        Cause::Taken(id) => format!("gateway {id} has taken it"),
        Cause::Yielded(id) => format!("gateway {id} serves it too, and stays"),
        Cause::Orphaned => "whose it is does not take it".into(),
        Cause::Contested => "another served it too, and no longer does".into(),
        Cause::Unfit(why) => unfit(why).into(),
        Cause::Operator => "the operator".into(),
        Cause::Resumed => "this process did not run for a while".into(),
        Cause::Over => "time is over".into(),
    }
}
