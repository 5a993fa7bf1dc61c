//! What gateways of a cluster say to each other, inside their session.
//!
//! The session carries each message whole, in order, and once. A message is one byte that says its kind, and its fields as
//! [postcard](https://postcard.jamesmunns.com) writes them. The session's handshake settles the version.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Most bytes of a message.
pub const MAX_BYTES: usize = 65_000;
/// Most words of groups in a message: 131 072 groups, each word three times with ten bytes at most.
pub const MAX_WORDS: usize = 2048;
/// Most reasons in a report.
pub const MAX_REASONS: usize = 8;
/// Most bytes of a track's name.
pub const MAX_NAME: usize = 64;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Message {
    /// How the sender is.
    Report(Report),
    /// Which groups the sender serves.
    Serves(Serves),
    /// The last [`Serves`] with this number has been applied.
    Applied {
        /// Its number.
        number: u32,
    },
    /// A gateway with the receiver's id was refused, because it started earlier.
    Duplicate {
        /// The incarnation of that one.
        incarnation: u64,
    },
    /// Bindings of stations.
    Bindings(crate::bindings::Batch),
    /// How far bindings have been applied.
    BindingsApplied(crate::bindings::Applied),
}

/// How a gateway is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Report {
    /// It has all that it needs to serve.
    pub joined: bool,
    /// It is about to leave.
    pub leaving: bool,
    /// Its weight.
    pub weight: u16,
    /// Its health.
    pub health: Health,
}

/// Whether a gateway is able to serve.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Health {
    /// All in all.
    pub healthy: bool,
    /// An underlay port is up.
    pub underlay: bool,
    /// An uplink port is up and its router alive.
    pub uplink: bool,
    /// What is wrong, for the operator; at most [`MAX_REASONS`].
    pub reasons: Vec<Reason>,
}

impl Default for Health {
    fn default() -> Self {
        Self { healthy: true, underlay: true, uplink: true, reasons: Vec::new() }
    }
}

/// Why a gateway is unhealthy.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// A worker does not advance.
    Worker(u16),
    /// No underlay port is up.
    Underlay,
    /// No uplink port is up.
    Uplink,
    /// The router of the uplink is not alive.
    Router,
    /// A track of the operator says so; its name, at most [`MAX_NAME`] bytes.
    Track(String),
}

/// A part of the groups, and which of them the sender serves. It says what is, not what changed: so it may be left out
/// where a later one covers the same groups.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Serves {
    /// Counts up from 0 in a session; the receiver says it back.
    pub number: u32,
    /// The first 64 groups of this part are those from 64 times this on.
    pub place: u32,
    /// 64 groups each, the lowest in the lowest bit; at most [`MAX_WORDS`].
    pub words: Vec<u64>,
    /// Which of those served have moved too often to move again by preference. Empty: none; otherwise as long as `words`.
    pub held: Vec<u64>,
    /// Which the sender, or one that is gone, has announced since the receiver applied the last word of it, though it may serve
    /// them no more: who believed the receiver believes that one now. In the form of `held`.
    pub announced: Vec<u64>,
}

/// Bytes that are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MessageError {
    /// Longer than [`MAX_BYTES`].
    #[error("a message of {0} bytes; {MAX_BYTES} are allowed")]
    TooLong(usize),
    /// They do not say anything that is known.
    #[error("no message")]
    Malformed,
    /// Behind the message there is more.
    #[error("{0} bytes behind the message")]
    Trailing(usize),
    /// A list in it is too long, or two that must be equally long are not.
    #[error("a list of a wrong length")]
    Length,
}

impl Message {
    /// Whether these bytes, if they are a message at all, are one about bindings: it may wait behind others.
    pub fn is_about_bindings(bytes: &[u8]) -> bool {
        // The number of the variant comes first.
        matches!(bytes.first(), Some(4 | 5))
    }

    /// The bytes of this message, at most [`MAX_BYTES`].
    pub fn encode(&self) -> Vec<u8> {
        // Writing into a vector, numbers, lists and strings: nothing can fail.
        postcard::to_allocvec(self).unwrap_or_default()
    }

    /// The message of these bytes, all of them.
    ///
    /// # Errors
    /// If they are none that a gateway sends.
    pub fn decode(bytes: &[u8]) -> Result<Self, MessageError> {
        if bytes.len() > MAX_BYTES {
            return Err(MessageError::TooLong(bytes.len()));
        }
        // A number of a variant that takes more bytes than it needs: what a message is about is told by the first alone.
        if bytes.first().is_some_and(|first| first & 0x80 != 0) {
            return Err(MessageError::Malformed);
        }
        let (message, rest) = postcard::take_from_bytes(bytes).map_err(|_| MessageError::Malformed)?;
        if !rest.is_empty() {
            return Err(MessageError::Trailing(rest.len()));
        }
        let right = match &message {
            Self::Report(Report { health, .. }) => {
                let long = |reason: &Reason| matches!(reason, Reason::Track(name) if name.len() > MAX_NAME);
                health.reasons.len() <= MAX_REASONS && !health.reasons.iter().any(long)
            }
            Self::Serves(Serves { words, held, announced, .. }) => {
                let fits = |list: &Vec<u64>| list.is_empty() || list.len() == words.len();
                words.len() <= MAX_WORDS && fits(held) && fits(announced)
            }
            Self::Bindings(batch) => batch.is_bounded(),
            Self::Applied { .. } | Self::Duplicate { .. } | Self::BindingsApplied(_) => true,
        };
        right.then_some(message).ok_or(MessageError::Length)
    }
}
