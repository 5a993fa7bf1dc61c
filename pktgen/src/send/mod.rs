//! Sends the frames of a profile.

mod sent;

pub use sent::{Ended, Gaps, Sent, StreamSent};
