//! What a speaker and its peers are told at the start.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::family::Family;

/// Bytes of attributes for each route that a peer may have: nearly twice what a reflected EVPN route costs that shares
/// none of them with another.
const ATTRIBUTE_BYTES: usize = 512;

/// A peer with few routes may have these: some hundred of the longest attributes there are.
const LEAST_ATTRIBUTE_BYTES: usize = 16 << 20;

/// The speaker itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// AS number.
    pub asn: u32,
    /// BGP identifier, not zero; no other speaker of the AS has it (RFC 6286).
    pub router_id: Ipv4Addr,
    /// The cluster's number: the administrator part of each route distinguisher, `cluster:VNI` of type 0 (RFC 4364
    /// §4.2). Gateways of a cluster share it; others must have another.
    pub cluster: u16,
}

/// How the session's TCP connections are made; read by [`net`](crate::net) only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Transport {
    /// Local address; the kernel chooses if there is none.
    pub local: Option<IpAddr>,
    /// TCP port of the peer, if not 179.
    pub port: Option<u16>,
    /// TCP MD5 signature (RFC 2385): 1 to 80 bytes.
    pub password: Option<String>,
    /// Most routers between the two, plus one. `Some(n)`: what came over more hops than `n` is dropped by the kernel
    /// (GTSM, RFC 5082); sent with TTL 255.
    pub ttl_security: Option<u8>,
    /// TTL of what is sent, where `ttl_security` is not set. `None`: 1 for an eBGP peer (a peer on the link), the
    /// kernel's default for an iBGP peer. A number makes eBGP multihop.
    pub ttl: Option<u8>,
}

/// Not the password: what is logged is read by others.
impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { local, port, password, ttl_security, ttl } = self;
        f.debug_struct("Transport")
            .field("local", local)
            .field("port", port)
            .field("password", &password.as_ref().map(|_| "..."))
            .field("ttl_security", ttl_security)
            .field("ttl", ttl)
            .finish()
    }
}

/// One peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerConfig {
    /// Its address.
    pub address: IpAddr,
    /// Its AS number; `None`: any but our own (eBGP with whoever it is).
    pub asn: Option<u32>,
    /// What is spoken with it.
    pub families: Vec<Family>,
    /// Wait for its connections, do not connect.
    pub passive: bool,
    /// Proposed hold time: 0 (no keepalives), or 3 s to 65 535 s. A peer's proposal below 3 s is refused.
    pub hold_time: u16,
    /// How long after a failed or lost connection the next is tried; up to a quarter less, at random.
    pub connect_retry: Duration,
    /// How many routes a family may have before the session is ended (Cease, RFC 4486 §3). It bounds what their
    /// attributes take too: 512 bytes a route on average, or 16 MiB if that is more.
    pub max_routes: usize,
    /// How long the session then stays down; `None`: until it is started again.
    pub max_routes_restart: Option<Duration>,
    /// Graceful restart (RFC 4724), as helper and when restarting: how many seconds, at most 4 095, the other's routes
    /// are kept. `None`: off, as it must be inside a cluster, where it would keep a dead gateway's routes alive.
    pub graceful_restart: Option<u16>,
    /// Announce routes whose next hop is an IPv6 VTEP. Off by default: FRR 8.4 ends the session on them.
    pub announce_ipv6_vtep: bool,
    /// Put the R flag of RFC 9047 on routes of a router's addresses. To be switched off for GoBGP 3.10, which drops
    /// routes that have the community, without a word.
    pub announce_router_flag: bool,
    /// Announce [prefixes](crate::Speaker::announce_prefix), of the unicast families that are spoken.
    pub announce_prefixes: bool,
    /// The same for [host routes](crate::Speaker::announce_host_route). Off by default.
    pub announce_host_routes: bool,
    /// How it is connected to.
    pub transport: Transport,
}

impl PeerConfig {
    /// A peer in AS `asn` with which EVPN is spoken.
    pub fn new(address: IpAddr, asn: u32) -> Self {
        Self {
            address,
            asn: Some(asn),
            families: vec![Family::Evpn],
            passive: false,
            hold_time: 90,
            connect_retry: Duration::from_secs(5),
            max_routes: 4_000_000,
            max_routes_restart: None,
            graceful_restart: None,
            announce_ipv6_vtep: false,
            announce_router_flag: true,
            announce_prefixes: true,
            announce_host_routes: false,
            transport: Transport::default(),
        }
    }

    /// Whether the session is internal (iBGP).
    pub fn is_internal(&self, local: &Local) -> bool {
        self.asn == Some(local.asn)
    }

    /// How many bytes the attributes of its routes may take, each set counted once.
    pub(crate) fn max_attribute_bytes(&self) -> usize {
        self.max_routes.saturating_mul(ATTRIBUTE_BYTES).max(LEAST_ATTRIBUTE_BYTES)
    }

    /// Looks for what cannot work.
    ///
    /// # Errors
    /// The first mistake, with what to change.
    pub fn check(&self) -> Result<(), ConfigError> {
        let peer = self.address;
        if self.address.is_unspecified()
            || self.address.is_multicast()
            || self.address == IpAddr::V4(Ipv4Addr::BROADCAST)
        {
            return Err(ConfigError::Address { peer });
        }
        if let IpAddr::V6(address) = peer {
            if let Some(mapped) = address.to_ipv4_mapped() {
                return Err(ConfigError::Mapped { peer, mapped });
            }
            if address.is_unicast_link_local() {
                return Err(ConfigError::LinkLocal { peer });
            }
        }
        if self.asn == Some(0) {
            return Err(ConfigError::Asn { peer });
        }
        if self.families.is_empty() {
            return Err(ConfigError::NoFamily { peer });
        }
        if matches!(self.hold_time, 1 | 2) {
            return Err(ConfigError::HoldTime { peer, hold_time: self.hold_time });
        }
        if self.connect_retry.is_zero() {
            return Err(ConfigError::ConnectRetry { peer });
        }
        if self.graceful_restart.is_some_and(|seconds| seconds > 4095) {
            return Err(ConfigError::RestartTime { peer });
        }
        if self.transport.password.as_ref().is_some_and(|text| text.is_empty() || text.len() > 80) {
            return Err(ConfigError::Password { peer });
        }
        if self.transport.ttl_security == Some(0) || self.transport.ttl == Some(0) {
            return Err(ConfigError::Ttl { peer });
        }
        if self.transport.local.is_some_and(|local| local.is_ipv4() != peer.is_ipv4()) {
            return Err(ConfigError::LocalAddress { peer });
        }
        Ok(())
    }
}

/// A configuration that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No address of a host.
    #[error("peer {peer}: give the unicast address of a host")]
    Address {
        /// The peer.
        peer: IpAddr,
    },
    /// An IPv4 address written as IPv6: its connections come as IPv4.
    #[error("peer {peer}: write {mapped}, which is the same host over IPv4")]
    Mapped {
        /// The peer.
        peer: IpAddr,
        /// As it should be written.
        mapped: Ipv4Addr,
    },
    /// Ambiguous without the link's name.
    #[error("peer {peer}: a link-local address does not say on which link, give the peer's global address")]
    LinkLocal {
        /// The peer.
        peer: IpAddr,
    },
    /// AS 0 (RFC 7607).
    #[error("peer {peer}: AS 0 is reserved, give the peer's AS number")]
    Asn {
        /// The peer.
        peer: IpAddr,
    },
    /// Nothing to speak.
    #[error("peer {peer}: name at least one address family")]
    NoFamily {
        /// The peer.
        peer: IpAddr,
    },
    /// RFC 4271 §4.2.
    #[error("peer {peer}: a hold time of {hold_time} s is not allowed, take 3 s or more, or 0 for none")]
    HoldTime {
        /// The peer.
        peer: IpAddr,
        /// What was given.
        hold_time: u16,
    },
    /// It would try for ever without a pause.
    #[error("peer {peer}: a pause of 0 s between attempts to connect is none, take 1 s or more")]
    ConnectRetry {
        /// The peer.
        peer: IpAddr,
    },
    /// Twelve bits on the wire.
    #[error("peer {peer}: the restart time is at most 4095 s")]
    RestartTime {
        /// The peer.
        peer: IpAddr,
    },
    /// The kernel's limit.
    #[error("peer {peer}: a TCP MD5 password has 1 to 80 bytes")]
    Password {
        /// The peer.
        peer: IpAddr,
    },
    /// Nothing would arrive.
    #[error("peer {peer}: a TTL of 0 reaches nobody, take 1 to 255")]
    Ttl {
        /// The peer.
        peer: IpAddr,
    },
    /// Families differ.
    #[error("peer {peer}: the local address is of the other IP version")]
    LocalAddress {
        /// The peer.
        peer: IpAddr,
    },
    /// Two peers with one address.
    #[error("peer {peer} is there twice: keep one")]
    Twice {
        /// The peer.
        peer: IpAddr,
    },
    /// More than can be numbered.
    #[error("more than 65536 peers: take fewer")]
    TooManyPeers,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown() {
        let mut peer = PeerConfig::new(IpAddr::from([192, 0, 2, 9]), 65000);
        assert!(format!("{peer:?}").contains("password: None"));
        peer.transport.password = Some("hunter2".to_owned());
        let shown = format!("{peer:?} {peer:#?}");
        assert!(shown.contains("password: Some") && !shown.contains("hunter2"), "{shown}");
    }
}
