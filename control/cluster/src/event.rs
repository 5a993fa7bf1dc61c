//! What a gateway of a cluster is to do, and what it tells.

use std::time::{Duration, Instant};

use crate::assign::GatewayId;
use crate::message::Reason;

/// What one gateway is responsible for as a whole: an overlay (by its place among the overlays) or a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group(pub u32);

/// A way between two gateways, with a BFD session of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Segment {
    /// Where endpoints are.
    Underlay,
    /// Where routers are.
    Uplink,
}

/// What BFD says of a peer on one segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Heard {
    /// Nothing: its session has not been up since it was begun.
    #[default]
    NotYet,
    /// The session is up.
    Up,
    /// It was up and has expired, or the peer says that it is down.
    Down,
    /// The peer says that it does not want to serve (RFC 5880 §6.8.16).
    AdminDown,
}

/// Why a peer session is refused, by either side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The settings that must agree do not.
    Settings {
        /// When the other one started, as its incarnation.
        incarnation: u64,
    },
    /// Another living gateway has the id.
    DuplicateId {
        /// When that one started.
        incarnation: u64,
    },
    /// Another version, another cluster, a stranger, a certificate that is not the expected one.
    Other,
}

/// Why a group moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Nobody was known to serve it.
    Unowned,
    /// Its gateway is dead.
    Died(GatewayId),
    /// Its gateway has started anew.
    Restarted(GatewayId),
    /// Its gateway says that it is unhealthy.
    Unhealthy(GatewayId),
    /// Its gateway leaves.
    Leaving(GatewayId),
    /// It is ours by assignment; this one had it.
    Won(GatewayId),
    /// It is this one's by assignment, who has taken it.
    Taken(GatewayId),
    /// Two served it, neither by assignment; it stays with this one.
    Yielded(GatewayId),
    /// Whose it is by assignment does not take it.
    Orphaned,
    /// Another one served it too, and no longer does.
    Contested,
    /// Ours is the fault: see [`Unfit`].
    Unfit(Unfit),
    /// The operator's wish.
    Operator,
    /// This process did not run for a while; others may have taken over.
    Resumed,
    /// The time for forwarding as a former owner is over.
    Over,
}

/// Why this gateway cannot serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unfit {
    /// Its own health.
    Unhealthy,
    /// No peer and no reflector is heard any more.
    CutOff,
    /// An older gateway has its id.
    DuplicateId,
}

/// One group moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// Which.
    pub group: Group,
    /// What is to be done.
    pub action: Action,
    /// Why.
    pub cause: Cause,
    /// When the cause was known.
    pub since: Instant,
}

/// What is to be done with a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Serve it, and announce it: REACH with this mobility sequence, or the shard's addresses.
    Take {
        /// In mode `announce`.
        sequence: Option<u32>,
    },
    /// It is ours and stays so, but neighbours may believe another: announce the shard's addresses again.
    AnnounceAgain,
    /// Serve it no more, and withdraw it. In mode `announce` go on forwarding what comes until `ForwardingEnds`.
    Release,
    /// Forward nothing more of it.
    ForwardingEnds,
}

/// What is to be done at once, and what is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Serve nothing more, and withdraw all: every group is let go of, with one cause.
    ReleaseAll {
        /// Why.
        cause: Cause,
    },
    /// Say AdminDown to all peers by BFD, or no longer. After `false` each BFD session is one that was not up yet.
    AdminDown(bool),
    /// Announce routes on the uplink, or withdraw them.
    UplinkRoutes(bool),
    /// Close the session with this peer.
    CloseSession(GatewayId),
    /// The operator's leave is done.
    Left,
    /// For the operator.
    Event(Event),
}

/// What happened in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A member is known.
    MemberAdded(GatewayId),
    /// A member was withdrawn, and is dead.
    MemberRemoved(GatewayId),
    /// There are too many members to take this one.
    TooManyMembers(GatewayId),
    /// A peer serves, or does so no more.
    Peer {
        /// Which.
        peer: GatewayId,
        /// What it is now.
        presence: Presence,
    },
    /// A session is refused.
    Refused {
        /// With whom.
        peer: GatewayId,
        /// Why.
        refusal: Refusal,
    },
    /// Another living gateway has this id. The one with the lower incarnation serves.
    DuplicateId {
        /// The id: ours or a peer's.
        id: GatewayId,
        /// When the other one started.
        incarnation: u64,
    },
    /// This gateway has become another: what it is, and what it waits for or why it is unfit.
    Stage {
        /// What it is.
        stage: Stage,
        /// Why it is unfit.
        unfit: Option<Unfit>,
        /// What its health report says.
        reasons: Vec<Reason>,
    },
    /// Groups have moved, all that were to move.
    Moved {
        /// Why, the first of them.
        cause: Cause,
        /// How many were taken.
        taken: u32,
        /// How many were let go of.
        released: u32,
        /// From the cause until the last was given out.
        duration: Duration,
    },
    /// A peer sent what it must not.
    BadMessage(GatewayId),
}

/// What a peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Presence {
    /// Never heard.
    Unheard,
    /// Heard, but it has not told what it serves.
    Silent,
    /// It joins.
    Joining,
    /// It serves.
    Serving,
    /// It is unhealthy.
    Unhealthy,
    /// It leaves.
    Leaving,
    /// It is dead.
    Dead,
    /// It has started anew, and has not told what it serves.
    Restarted,
}

/// What this gateway is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// It waits until it knows enough.
    Joining,
    /// It serves.
    Serving,
    /// It serves what nobody has taken.
    Leaving,
    /// It has left.
    Left,
    /// It must not serve.
    Unfit,
}
