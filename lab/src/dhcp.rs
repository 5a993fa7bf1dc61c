//! Real DHCP servers and clients, for both families.

pub(crate) mod client;
pub(crate) mod server;
