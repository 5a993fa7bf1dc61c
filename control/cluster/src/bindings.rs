//! Stations' bindings (IP address → MAC address), as gateways tell each other.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Most bindings of a batch: each takes 34 bytes at most.
pub const MAX_BATCH: usize = 1024;

/// One binding.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Binding {
    /// The overlay.
    pub vni: u32,
    /// The station's address.
    pub ip: IpAddr,
    /// Its MAC address; none: the binding is gone.
    pub mac: Option<[u8; 6]>,
    /// Since when it has been known to be so, in milliseconds before it was sent.
    pub age: u32,
}

/// Bindings that follow those of the batch before.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Batch {
    /// The number of the first; each binding of a session has the next one, from 0.
    pub first: u64,
    /// At most [`MAX_BATCH`].
    pub bindings: Vec<Binding>,
    /// With these the receiver has all that the sender had when the session began.
    pub complete: bool,
}

impl Batch {
    pub(crate) fn is_bounded(&self) -> bool {
        self.bindings.len() <= MAX_BATCH
    }
}

/// How far bindings have been applied, and how many more may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Applied {
    /// The number of the first that is not applied.
    pub next: u64,
    /// How many may be under way from there on.
    pub credit: u32,
}
