//! Several gateways that share overlays: who is there, who serves which, and how one takes over for another. All of it
//! without I/O.

pub mod assign;
pub mod bindings;
mod event;
#[doc(hidden)]
pub mod fuzz;
pub mod membership;
pub mod message;
mod responsibility;
pub mod session;
mod settings;

pub use event::{Action, Cause, Event, Group, Heard, Move, Output, Presence, Refusal, Segment, Stage, Unfit};
pub use membership::Member;
pub use settings::{Mode, MoveLimit, Settings};
