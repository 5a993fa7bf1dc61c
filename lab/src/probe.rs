//! What gets through, and how well.

pub(crate) mod iperf;
pub(crate) mod ping;
pub(crate) mod steady;
