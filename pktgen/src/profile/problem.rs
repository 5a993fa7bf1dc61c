//! What can be wrong with a profile, where, and what to do about it.

use std::fmt;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::rate::RateError;

/// A place in the file: line and column, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column, in bytes.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// Where the lines of a text begin.
pub(super) struct Lines(Vec<usize>);

impl Lines {
    pub(super) fn new(text: &str) -> Self {
        Self(std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect())
    }

    pub(super) fn place(&self, offset: usize) -> Place {
        // The first line begins at 0, so that at least one begins at or before any offset.
        let line = self.0.partition_point(|&start| start <= offset);
        Place { line, column: offset - self.0[line - 1] + 1 }
    }
}

/// Why a profile is refused.
#[derive(Debug, Error)]
pub enum ProfileError {
    /// The file cannot be read.
    #[error("cannot read the profile {}: {source}", path.display())]
    Read {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not TOML, or not of the expected tables and keys.
    #[error("{name}:{place}: {message}")]
    Syntax {
        /// Name of the profile.
        name: String,
        /// Where.
        place: Place,
        /// What.
        message: String,
    },
    /// It says something that cannot be.
    #[error("{name}:{place}: {problem}")]
    Invalid {
        /// Name of the profile.
        name: String,
        /// Where.
        place: Place,
        /// What.
        problem: Problem,
    },
}

/// What a profile says that cannot be. The messages end with the remedy.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum Problem {
    /// Nothing is to be sent.
    #[error("a profile needs a stream: add a [[stream]]")]
    NoStreams,
    /// More streams than a stamp can number.
    #[error("{0} streams are more than {max}: take fewer, with fields that change", max = super::MAX_STREAMS)]
    TooManyStreams(usize),
    /// Two of one name.
    #[error("two streams are called {0:?}: give each a name of its own")]
    NameTwice(String),
    /// More than one protocol at one place.
    #[error("{0} cannot be together: keep one of them")]
    Conflict(&'static str),
    /// A transport without IP.
    #[error("udp, tcp and icmp need ipv4 or ipv6 below: add one of them")]
    NoNetwork,
    /// No network header at all.
    #[error("what follows Ethernet is missing: add ipv4, ipv6 or arp")]
    NothingInside,
    /// VXLAN without an outer IP header.
    #[error("vxlan needs its outer ipv4 or ipv6: add one of them")]
    NoOuter,
    /// A frame that is too small for what is in it.
    #[error(
        "size {size} is too small: these headers, the payload's fields, the stamp and the FCS take {least} bytes"
    )]
    TooSmall {
        /// The size that was asked for.
        size: u64,
        /// The smallest there is.
        least: u64,
    },
    /// A frame that no wire takes.
    #[error(
        "size {size} is too large: with all headers and the FCS the frame would have {wire} bytes, and {max} are the most"
    )]
    TooLarge {
        /// The size that was asked for.
        size: u64,
        /// Bytes of the whole frame with its FCS.
        wire: u64,
        /// The most there can be.
        max: u64,
    },
    /// A field of the payload that is too wide for its place.
    #[error("a field of 1 to 4 bytes can be put into the payload: {0} is out of range")]
    PayloadWidth(u8),
    /// Values that a field of the payload cannot hold.
    #[error("{value} does not fit into {bytes} bytes: widen the field, or lower the values")]
    PayloadValue {
        /// The largest.
        value: u128,
        /// Bytes that there are.
        bytes: u8,
    },
    /// Fields of the payload in the same place.
    #[error("two fields of the payload share byte {0}: move one of them")]
    PayloadOverlap(u16),
    /// A list that would take too much memory.
    #[error("there are {0} sizes: take a range with a larger step")]
    TooManySizes(u64),
    /// Weights that no table holds.
    #[error("the weights, without their common divisor, add up to {sum}: let them be {max} at most")]
    Weights {
        /// What they add up to.
        sum: u64,
        /// The most there can be.
        max: u64,
    },
    /// Addresses of the other family.
    #[error("the outermost packets of stream {0:?} are of the other family: give addresses of theirs")]
    Family(String),
    /// A rate and a burst.
    #[error("burst says how fast as well as rate does: remove one of them")]
    RateAndBurst,
    /// A rate in per cent without a speed.
    #[error(transparent)]
    Rate(#[from] RateError),
}

/// A problem and its place; [`ProfileError::Invalid`] once the profile's name is added.
pub(super) struct Fault {
    /// Offset in the text.
    pub(super) at: usize,
    pub(super) problem: Problem,
}
