//! Which gateway serves which overlay: highest random weight (HRW, rendezvous) hashing with weights for overlays, and
//! shards with quotas. All of it is a pure function of the members, so gateways agree without a word.
//!
//! The hash is part of the protocol between gateways: `docs/assignment.md` writes it down, and the vectors in
//! `tests/assignment-vectors.txt` pin it.

mod hash;
mod member;
mod quota;
mod rank;
mod shards;

pub use hash::{Key, distance};
pub use member::{GatewayId, Member, Members, MembersError, Weight};
pub use shards::{Layout, ShardCount, ShardCountError};
