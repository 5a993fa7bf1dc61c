//! Neighbours in the overlays: which MAC address of an overlay has an IP address.
//!
//! The state machine of Neighbour Unreachability Detection (RFC 4861 §7.2, §7.3 and appendix C), for ND and, with its
//! own rule for changed addresses, for ARP (RFC 826, RFC 5227). It does no I/O: calls bring the time, and what is to be
//! done comes out as [`Action`]s.
//!
//! | state | event | becomes | actions |
//! | --- | --- | --- | --- |
//! | (none) | a packet | Incomplete | solicit all |
//! | (none) | any evidence | Stale | bind |
//! | Incomplete | a second without an answer, twice | Incomplete | solicit all |
//! | Incomplete | the third time | Failed | packets unreachable |
//! | Incomplete, Failed | a reply; other evidence | Reachable; Stale | bind, release packets |
//! | Failed | a packet during the back-off; after it | Failed; Incomplete | unreachable; solicit all |
//! | Failed | 30 seconds after the back-off | (none) | |
//! | Reachable, Stale, Probe | a reply of the same station | Reachable | |
//! | Stale, Probe | other evidence of the same station | Stale | |
//! | Reachable, Stale, Probe | another station takes the address | Reachable or Stale | bind |
//! | Reachable | another claims it, which ND does not allow | Stale, probed soon | |
//! | Reachable, Stale | its lifetime is over | Probe | probe |
//! | Probe | a second without an answer, twice | Probe | probe |
//! | Probe | the third time | (none) | unbind |
//!
//! Where it differs from RFC 4861: workers forward by bindings without asking, so every binding counts as in use, and
//! a stale one is probed when its lifetime is over, not when a packet comes. There is no state DELAY: a binding in
//! doubt is a stale one that is probed soon.
//!
//! Everything is bounded, whatever stations do: see [`Limits`]. A learned binding takes 110 to 150 bytes (an entry of 48,
//! a timer of 24, links of 8, its share of the index and of its station), reserved when the cache is made and backed by
//! memory only as it is used.

mod cache;
mod entries;
mod learning;
mod links;
mod overlay_counts;
mod stations;
#[cfg(test)]
mod tests;
mod timers;
mod unresolved;
mod waiting;

use std::net::IpAddr;
use std::time::Duration;

use wire::MacAddr;

use crate::api::NeighbourState;
use crate::tables::OverlayIndex;

pub(crate) use cache::Neighbours;

/// Solicitations to all of the overlay before an address counts as unreachable (MAX_MULTICAST_SOLICIT, RFC 4861 §10).
const MAX_MULTICAST_SOLICIT: u8 = 3;
/// Probes of one station before its binding is given up (MAX_UNICAST_SOLICIT).
const MAX_UNICAST_SOLICIT: u8 = 3;
/// Time between two solicitations or probes (RETRANS_TIMER).
const RETRANS_TIMER: Duration = Duration::from_secs(1);
/// How soon a binding in doubt is probed (DELAY_FIRST_PROBE_TIME).
const DELAY_FIRST_PROBE_TIME: Duration = Duration::from_secs(5);
/// How long after evidence for one MAC address ARP for another is ignored, unless it is an announcement: of several
/// answers the first is taken, as Linux does (`locktime`).
const ARP_LOCK_TIME: Duration = Duration::from_secs(1);
/// The longest back-off between two attempts to resolve an address; the first is a second, each next twice as long.
const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// How long a failure is remembered after its back-off, so that the next is longer.
const FAILURE_MEMORY: Duration = Duration::from_secs(30);
/// Timers that are handled in one call of [`Neighbours::poll`].
const TIMERS_AT_ONCE: usize = 1024;

/// An IP address in an overlay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct NeighbourKey {
    pub(crate) overlay: OverlayIndex,
    pub(crate) address: IpAddr,
}

/// What the cache may hold, and how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Entries in all. Room for them is reserved at once.
    pub(crate) entries: usize,
    /// Entries without a MAC address, incomplete or failed, in all.
    pub(crate) unresolved: usize,
    /// The same of one overlay.
    pub(crate) unresolved_per_overlay: usize,
    /// Waiting packets in all.
    pub(crate) waiting: usize,
    /// Waiting packets of one overlay.
    pub(crate) waiting_per_overlay: usize,
    /// Waiting packets for one address.
    pub(crate) waiting_per_address: usize,
    /// After how long without evidence a learned binding is probed, on average: each time a random one between half
    /// and one and a half of it (RFC 4861 §6.3.2, ReachableTime).
    pub(crate) lifetime: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 1 << 20,
            unresolved: 65_536,
            unresolved_per_overlay: 256,
            waiting: 4096,
            waiting_per_overlay: 64,
            waiting_per_address: 3,
            lifetime: Duration::from_secs(300),
        }
    }
}

/// What a station said about an address that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Evidence {
    /// It answered: an ARP reply to the router (where `override_` counts for nothing), a neighbour advertisement with
    /// the S flag.
    Reply {
        /// The O flag.
        override_: bool,
    },
    /// It used the address to ask: sender of an ARP request, source link-layer address option of a neighbour
    /// solicitation.
    Request,
    /// It told all: gratuitous ARP (`override_` set), a neighbour advertisement without the S flag.
    Announcement {
        /// The O flag.
        override_: bool,
    },
}

/// What is to be done, in this order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action<P> {
    /// Ask all of the overlay: a broadcast ARP request, a solicitation to the solicited-node group.
    SolicitAll(NeighbourKey),
    /// Ask this station alone.
    Probe(NeighbourKey, MacAddr),
    /// From now on packets to the address go to this MAC address, whatever was before.
    Bind(NeighbourKey, MacAddr),
    /// From now on the address has no MAC address.
    Unbind(NeighbourKey),
    /// These packets waited, the oldest first, and may go.
    Release(NeighbourKey, MacAddr, Vec<P>),
    /// Nobody has the address: these packets' senders are told (ICMP address unreachable).
    Unreachable(NeighbourKey, Vec<P>),
}

/// An entry, for display and for export to other gateways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Neighbour {
    pub(crate) key: NeighbourKey,
    pub(crate) mac: Option<MacAddr>,
    pub(crate) state: NeighbourState,
    /// Time since the last evidence; of what is incomplete or failed, since it became so.
    pub(crate) age: Duration,
}
