//! The sessions, as `vxgate show bfd` tells them. Times are in milliseconds.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use bfd::{Discards, Path, SessionView};
use serde::{Deserialize, Serialize};

/// All that is known.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct BfdView {
    pub(crate) sessions: Vec<SessionRow>,
    /// The thread runs before all ordinary ones.
    pub(crate) real_time: bool,
    /// Those that are listened to: bound, or shared with another process.
    pub(crate) ports: Vec<String>,
    /// How often the thread did not run when it should have, how long in all, and the longest.
    pub(crate) stolen_periods: u64,
    pub(crate) stolen_ms: f64,
    pub(crate) stolen_longest_ms: f64,
    /// Packets that were no session's, by reason.
    pub(crate) unclaimed: BTreeMap<String, u64>,
    /// Datagrams with a wrong checksum or length, of a port that is shared.
    pub(crate) broken: u64,
}

/// A session.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct SessionRow {
    pub(crate) session: u32,
    pub(crate) peer: IpAddr,
    pub(crate) local: IpAddr,
    /// The interface, or `multihop`.
    pub(crate) segment: String,
    /// The lowest TTL that is taken.
    pub(crate) min_ttl: u8,
    pub(crate) authenticated: bool,
    /// `AdminDown`, `Down`, `Init`, `Up`.
    pub(crate) state: String,
    pub(crate) standing: String,
    pub(crate) diagnostic: String,
    pub(crate) remote_state: String,
    pub(crate) remote_diagnostic: String,
    pub(crate) discriminator: u32,
    pub(crate) remote_discriminator: u32,
    /// As agreed, before jitter.
    pub(crate) transmit_ms: f64,
    pub(crate) receive_ms: f64,
    /// Of the detection: none before the peer was heard.
    pub(crate) detection_ms: Option<f64>,
    /// In this state for so long.
    pub(crate) state_ms: f64,
    /// Since a packet was taken.
    pub(crate) silent_ms: Option<f64>,
    /// How often it came up.
    pub(crate) ups: u64,
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// Packets for it that were not taken, by reason.
    pub(crate) dropped: BTreeMap<String, u64>,
    /// Packets that the kernel did not send, and why not the last.
    pub(crate) send_refused: u64,
    pub(crate) send_refusal: Option<String>,
}

impl SessionRow {
    pub(super) fn of(view: &SessionView<'_>, segment: String, now: Instant) -> Self {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let ago = |then: Instant| ms(now.saturating_duration_since(then));
        Self {
            session: view.id.0,
            peer: view.config.peer,
            local: view.config.local,
            segment,
            min_ttl: match view.config.path {
                Path::SingleHop { .. } => 255,
                Path::MultiHop { min_ttl } => min_ttl,
            },
            authenticated: !view.config.keys.is_empty(),
            state: view.state.to_string(),
            standing: view.standing.to_string(),
            diagnostic: view.diagnostic.to_string(),
            remote_state: view.remote_state.to_string(),
            remote_diagnostic: view.remote_diagnostic.to_string(),
            discriminator: view.discriminator,
            remote_discriminator: view.remote_discriminator,
            transmit_ms: ms(view.transmit_interval),
            receive_ms: ms(view.receive_interval),
            detection_ms: view.detection_time.map(ms),
            state_ms: ago(view.since),
            silent_ms: view.heard.map(ago),
            ups: view.ups,
            sent: view.sent,
            received: view.received,
            dropped: reasons(view.discards),
            send_refused: 0,
            send_refusal: None,
        }
    }
}

/// Only those that were met.
pub(super) fn reasons(discards: &Discards) -> BTreeMap<String, u64> {
    discards.met().map(|(reason, count)| (reason.name().to_owned(), count)).collect()
}
