//! Several gateways that share overlays: who is there, who serves which, and how one takes over for another. All of it
//! without I/O.

pub mod assign;
pub mod membership;
pub mod session;
