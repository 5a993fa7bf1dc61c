//! What the rules of a cluster depend on.

use std::sync::Arc;
use std::time::Duration;

use crate::assign::{GatewayId, ShardCount, Weight};

/// What gateways share among them, as groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Each overlay is a group, and is announced by its owner alone. Their VNIs, in the order of the groups.
    Announce(Arc<[u32]>),
    /// Overlays hash into this many shards.
    Floating(ShardCount),
}

impl Mode {
    /// How many groups there are.
    pub fn groups(&self) -> u32 {
        match self {
            // There are 2^24 VNIs.
            Self::Announce(vnis) => vnis.len() as u32,
            Self::Floating(shards) => u32::from(shards.value()),
        }
    }
}

/// How often a group may move by preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MoveLimit {
    /// This many moves within the window (RFC 7432 §15.1 says 5).
    pub moves: u8,
    /// The window (RFC 7432 §15.1 says 180 s).
    pub window: Duration,
}

impl Default for MoveLimit {
    fn default() -> Self {
        Self { moves: 3, window: Duration::from_secs(180) }
    }
}

/// What a gateway of a cluster must know beforehand.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its own number.
    pub id: GatewayId,
    /// Its weight.
    pub weight: Weight,
    /// Which start of this gateway it is: higher with each, as [`Hello`](crate::session::hello::Hello) has it.
    pub incarnation: u64,
    /// What is shared.
    pub mode: Mode,
    /// Whether there are reflectors, so that their loss tells something.
    pub reflectors: bool,
    /// How long a joining gateway waits for members that were never heard.
    pub join_wait: Duration,
    /// How long for those that live and have no session with it.
    pub session_wait: Duration,
    /// How long for those that BFD finds dead, which may be because they had found it dead.
    pub revive_wait: Duration,
    /// How long a shard may be nobody's before another than its winner takes it.
    pub claim_wait: Duration,
    /// How long a former owner forwards.
    pub grace: Duration,
    /// How long a leaving gateway serves what nobody takes.
    pub leave_wait: Duration,
    /// How often a group may move by preference; none: as often as members come and go. A shard's moves change no route.
    pub move_limit: Option<MoveLimit>,
}

impl Settings {
    /// Settings with default times.
    pub fn new(id: GatewayId, incarnation: u64, mode: Mode) -> Self {
        Self {
            id,
            weight: Weight::default(),
            incarnation,
            move_limit: matches!(mode, Mode::Announce(_)).then(MoveLimit::default),
            mode,
            reflectors: true,
            join_wait: Duration::from_secs(3),
            session_wait: Duration::from_secs(30),
            revive_wait: Duration::from_secs(1),
            claim_wait: Duration::from_millis(200),
            grace: Duration::from_secs(2),
            leave_wait: Duration::from_secs(10),
        }
    }
}
