//! Compact keys of routes.

use std::fmt;
use std::net::IpAddr;

use rustbgpd_wire::{EvpnRoute, EvpnRouteKey, RouteDistinguisher};
use wire::MacAddr;

/// What tells EVPN routes apart (RFC 7432 §7). Millions of type 2, few of the others.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum EvpnKey {
    MacIp(MacIpKey),
    Other(Box<EvpnRouteKey>),
}

/// Key of a type 2 route, in 35 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct MacIpKey {
    rd: [u8; 8],
    tag: [u8; 4],
    pub(crate) mac: MacAddr,
    /// 0, 4 or 16 bytes of `ip` count.
    ip_length: u8,
    ip: [u8; 16],
}

impl MacIpKey {
    pub(crate) fn ip(&self) -> Option<IpAddr> {
        match (self.ip_length, self.ip) {
            (4, [a, b, c, d, ..]) => Some(IpAddr::from([a, b, c, d])),
            (16, octets) => Some(IpAddr::from(octets)),
            _ => None,
        }
    }
}

impl EvpnKey {
    pub(crate) fn new(route: &EvpnRoute) -> Self {
        let EvpnRoute::MacIp(route) = route else { return Self::Other(Box::new(route.key())) };
        let mut ip = [0; 16];
        let ip_length = match route.ip {
            None => 0,
            Some(IpAddr::V4(address)) => {
                ip[..4].copy_from_slice(&address.octets());
                4
            }
            Some(IpAddr::V6(address)) => {
                ip = address.octets();
                16
            }
        };
        let (rd, tag) = (route.rd.0, route.ethernet_tag.0.to_be_bytes());
        Self::MacIp(MacIpKey { rd, tag, mac: MacAddr(route.mac.0), ip_length, ip })
    }

    /// Number of the route type.
    pub(crate) fn route_type(&self) -> u8 {
        match self {
            Self::MacIp(_) => 2,
            Self::Other(key) => match **key {
                EvpnRouteKey::EadPerEs { .. } | EvpnRouteKey::EadPerEvi { .. } => 1,
                EvpnRouteKey::MacIp { .. } => 2,
                EvpnRouteKey::Imet { .. } => 3,
                EvpnRouteKey::Es { .. } => 4,
                EvpnRouteKey::IpPrefix { .. } => 5,
                _ => 6,
            },
        }
    }
}

/// As FRR writes it: `[2]:[rd]:[tag]:[mac]:[ip]`.
impl fmt::Display for EvpnKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Other(key) = self else {
            let Self::MacIp(key) = self else { return Ok(()) };
            let (rd, tag) = (RouteDistinguisher(key.rd), u32::from_be_bytes(key.tag));
            write!(f, "[2]:[{rd}]:[{tag}]:[{}]", key.mac)?;
            return key.ip().map_or(Ok(()), |ip| write!(f, ":[{ip}]"));
        };
        match &**key {
            EvpnRouteKey::EadPerEs { rd, esi, ethernet_tag }
            | EvpnRouteKey::EadPerEvi { rd, esi, ethernet_tag } => {
                write!(f, "[1]:[{rd}]:[{}]:[{esi}]", ethernet_tag.0)
            }
            EvpnRouteKey::Imet { rd, ethernet_tag, originator_ip } => {
                write!(f, "[3]:[{rd}]:[{}]:[{originator_ip}]", ethernet_tag.0)
            }
            EvpnRouteKey::Es { rd, esi, originator_ip } => write!(f, "[4]:[{rd}]:[{esi}]:[{originator_ip}]"),
            EvpnRouteKey::IpPrefix { rd, ethernet_tag, prefix } => {
                write!(f, "[5]:[{rd}]:[{}]:[{prefix}]", ethernet_tag.0)
            }
            other => write!(f, "[6]:{other:?}"),
        }
    }
}
