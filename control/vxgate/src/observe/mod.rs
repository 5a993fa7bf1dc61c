//! `vxgate capture` and `vxgate trace`, both ends of what goes over the control socket.
//!
//! A client asks by one line of JSON, as for all else. The answer is one line too, and after `"started"` a stream: for a
//! capture pcapng, for a trace a line of JSON a packet. It ends when as much was seen as was asked for, or when the
//! client shuts its side down; what the tap's ring still holds then comes first, and last what was lost. A client that
//! is too slow loses frames, in that ring: the gateway does not wait for it.

mod client;
mod filter;
mod serve;
mod story;

use std::num::{NonZeroU32, NonZeroU64};

use serde::{Deserialize, Serialize};

pub(crate) use client::{ObserveError, follow, run};
pub(crate) use filter::{FilterArguments, TapDirection, describe};
pub(crate) use serve::{interfaces, serve};
#[cfg(test)]
pub(crate) use story::StoryStep;
pub(crate) use story::{End, Story};

/// What can be observed.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Observe {
    /// Frames, as pcapng.
    Capture {
        filter: FilterArguments,
        direction: TapDirection,
        dropped: bool,
        /// Whether inner frames are to come instead of the VXLAN that they are in.
        inner: bool,
        /// Most bytes of a frame.
        snaplen: Option<NonZeroU32>,
        until: Until,
    },
    /// Ways of received packets, as lines of [`Story`], and at last [`End`].
    Trace { filter: FilterArguments, dropped: bool, every: NonZeroU32, until: Until },
}

/// When it is to end by itself.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Until {
    /// After so many packets.
    pub(crate) count: Option<NonZeroU64>,
    /// After so many seconds.
    pub(crate) seconds: Option<NonZeroU32>,
}

/// The first line of the answer.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Start {
    /// From now on nothing is missed.
    Started,
    /// It cannot be done.
    Error(String),
}
