//! What gets through, and how well.

pub(crate) mod flows;
pub(crate) mod gaps;
pub(crate) mod iperf;
pub(crate) mod latency;
pub(crate) mod ping;
pub(crate) mod steady;
pub(crate) mod storm;
pub(crate) mod tracepath;
pub(crate) mod traceroute;
pub(crate) mod transfer;
