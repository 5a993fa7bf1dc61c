//! Packet headers: checked views over bytes, and plain values that parse and emit.
//!
//! Every protocol has one module of the same shape:
//!
//! - A *view*, such as [`ipv4::Ipv4Packet`], wraps bytes. `new_checked` looks once at all that the accessors
//!   rely on (the header fits, the lengths it states lie inside the buffer); after it no accessor and no
//!   setter can panic, whatever the bytes are. The fields that the check rests on have no public setter, so
//!   the promise holds for the life of the view. It is made for buffers whose `as_ref` and `as_mut` give the
//!   same bytes each time, as slices, arrays and `Vec` do.
//! - A *value*, such as [`ipv4::Ipv4Repr`], is a header in host terms. `parse` makes it of a view, and
//!   refuses what the value cannot hold; `emit` writes it at the start of a buffer, every byte of it. A
//!   buffer that is too short for `emit` is the caller's mistake and panics.
//!
//! Views and values allocate nothing but where a list or a changed copy needs it, off the path of packets:
//! [`ndp::RouterAdvertisement::parse`], [`DomainName`], [`ipv4::fragment`], and the copies of [`dhcpv4`].

#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod addr;
mod bytes;
mod domain;
mod error;
mod numbers;

pub mod arp;
pub mod checksum;
pub mod dhcpv4;
pub mod dhcpv6;
pub mod ethernet;
#[doc(hidden)]
pub mod fuzz;
pub mod icmpv4;
pub mod icmpv6;
pub mod ipv4;
pub mod ipv6;
pub mod ndp;
pub mod udp;
pub mod vlan;
pub mod vxlan;

pub use addr::{MacAddr, ParseMacError, Vni};
pub use domain::{DomainName, ParseDomainError};
pub use error::Error;
pub use numbers::{EtherType, IpProtocol};
