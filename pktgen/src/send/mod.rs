//! Sends the frames of a profile.

mod dry;
mod live;
mod pace;
mod replay;
mod sender;
mod sent;
mod source;
mod start;
#[cfg(test)]
mod tests;
mod wait;

pub use dry::dry_run;
pub use live::{LiveSendError, send_live};
pub use replay::{Timing, replay};
pub use sender::Progress;
pub use sent::{Ended, Gaps, Sent, StreamSent};
pub use start::{Options, SendError, Sending, start};
