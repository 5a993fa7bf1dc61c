//! What an engine wants done, and tells.

use std::fmt;
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;

use crate::packet::{Diagnostic, MAX_LENGTH, State};

/// A session of an engine; numbers are not used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u32);

/// The payload of a UDP datagram.
pub type Payload = ArrayVec<u8, MAX_LENGTH>;

/// What an engine wants done, or tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this to the session's peer, from a port of 49152 or above, with TTL 255 (RFC 5881 §4, §5).
    Send {
        /// Whose.
        session: SessionId,
        /// It.
        payload: Payload,
    },
    /// A session came to another state, or its peer's is news.
    Change(Change),
    /// For this long the caller did not run though it had been asked to: no evidence against anybody.
    Stolen(Duration),
}

/// News of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// It.
    pub session: SessionId,
    /// Its state before.
    pub from: State,
    /// Its state now. The same as before if only the peer's is news.
    pub to: State,
    /// What it says about the peer.
    pub standing: Standing,
    /// Why it was last left.
    pub diagnostic: Diagnostic,
    /// What made it change.
    pub cause: Cause,
    /// How long nothing had been heard; `None`: nothing ever was.
    pub silence: Option<Duration>,
    /// When.
    pub at: Instant,
}

/// What makes a session change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The peer said that it is in this state.
    PeerSaid(State),
    /// Nothing was heard for the detection time.
    Expired,
    /// Held down here.
    HeldDown,
    /// No longer held down here.
    Released,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PeerSaid(state) => write!(f, "the peer said {state}"),
            Self::Expired => f.write_str("nothing heard for the detection time"),
            Self::HeldDown => f.write_str("held down here"),
            Self::Released => f.write_str("no longer held down here"),
        }
    }
}

/// What a session says about its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// Nothing: it has not been up since it was made, or is or was held down here.
    NotYetUp,
    /// The peer is there.
    Up,
    /// It was up, and is not.
    Down,
    /// The peer holds it down: it wants to be taken for absent.
    PeerAdminDown,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::NotYetUp => "not yet up",
            Self::Up => "up",
            Self::Down => "down",
            Self::PeerAdminDown => "held down by the peer",
        })
    }
}
