//! What a session is asked to be.

use std::net::IpAddr;
use std::time::Duration;

use thiserror::Error;

use crate::auth::Key;

/// Most sessions of an engine.
pub const MAX_SESSIONS: usize = 4096;

/// Shortest interval.
pub const MIN_INTERVAL: Duration = Duration::from_millis(1);

/// Longest interval.
pub const MAX_INTERVAL: Duration = Duration::from_secs(60);

/// How a session's packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Path {
    /// On one link (RFC 5881): UDP port 3784, TTL 255 on both ends.
    SingleHop {
        /// The index of the link's interface.
        interface: u32,
    },
    /// Over routers (RFC 5883): UDP port 4784.
    MultiHop {
        /// The lowest TTL or hop limit with which packets are taken; 255 less the routers between, for best.
        min_ttl: u8,
    },
}

/// How often packets go and come, and how many may be missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// We would send this often, once up; the peer may want fewer.
    pub desired_min_tx: Duration,
    /// We can take packets this often.
    pub required_min_rx: Duration,
    /// The peer misses this many of ours before it takes us for dead.
    pub detect_multiplier: u8,
}

impl Timing {
    /// The same interval both ways.
    pub fn symmetric(interval: Duration, detect_multiplier: u8) -> Self {
        Self { desired_min_tx: interval, required_min_rx: interval, detect_multiplier }
    }

    /// Looks for what cannot be.
    ///
    /// # Errors
    /// An interval out of bounds, or no multiplier.
    pub fn check(&self) -> Result<(), ConfigError> {
        for interval in [self.desired_min_tx, self.required_min_rx] {
            if !(MIN_INTERVAL..=MAX_INTERVAL).contains(&interval) {
                return Err(ConfigError::Interval { interval });
            }
        }
        if self.detect_multiplier == 0 {
            return Err(ConfigError::DetectMultiplier);
        }
        Ok(())
    }
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionConfig {
    /// The peer's address.
    pub peer: IpAddr,
    /// Ours.
    pub local: IpAddr,
    /// How packets go.
    pub path: Path,
    /// How often.
    pub timing: Timing,
    /// With keys, both ends authenticate by Meticulous Keyed SHA1: the first signs, all are taken. None: no
    /// authentication.
    pub keys: Vec<Key>,
}

impl SessionConfig {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if self.peer.is_ipv4() != self.local.is_ipv4() {
            return Err(ConfigError::Families { peer: self.peer, local: self.local });
        }
        self.timing.check()
    }
}

/// Why there is no such session.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ConfigError {
    /// IPv4 and IPv6.
    #[error("peer {peer} and own address {local} are of different IP versions")]
    Families {
        /// The peer's.
        peer: IpAddr,
        /// Ours.
        local: IpAddr,
    },
    /// Out of [`MIN_INTERVAL`] to [`MAX_INTERVAL`].
    #[error("an interval of {interval:?}: from {MIN_INTERVAL:?} to {MAX_INTERVAL:?} are possible")]
    Interval {
        /// It.
        interval: Duration,
    },
    /// It is 0.
    #[error("a detect multiplier of 0: from 1 to 255 are possible")]
    DetectMultiplier,
    /// There is a session with this peer on this path.
    #[error("two sessions with {peer} on one path")]
    Twice {
        /// The peer.
        peer: IpAddr,
    },
    /// More than [`MAX_SESSIONS`].
    #[error("more than {MAX_SESSIONS} sessions")]
    TooMany,
    /// It was removed, or is another engine's.
    #[error("there is no such session")]
    NoSuchSession,
}
