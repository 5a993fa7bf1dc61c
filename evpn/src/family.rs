//! The address families that are spoken.

use std::fmt;

use rustbgpd_wire::{Afi, Safi};

/// An address family of MP-BGP (RFC 4760).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// L2VPN EVPN (RFC 7432).
    Evpn,
    /// IPv4 unicast.
    Ipv4,
    /// IPv6 unicast.
    Ipv6,
}

impl Family {
    /// All of them; in this order wherever there is one of something for each.
    pub const ALL: [Self; 3] = [Self::Evpn, Self::Ipv4, Self::Ipv6];

    /// Its place in arrays of one element a family.
    pub(crate) const fn index(self) -> usize {
        self as usize
    }

    /// Numbers of the wire.
    pub(crate) const fn codes(self) -> (Afi, Safi) {
        match self {
            Self::Evpn => (Afi::L2Vpn, Safi::Evpn),
            Self::Ipv4 => (Afi::Ipv4, Safi::Unicast),
            Self::Ipv6 => (Afi::Ipv6, Safi::Unicast),
        }
    }

    /// `None` for a family that is not spoken.
    pub(crate) fn of(afi: Afi, safi: Safi) -> Option<Self> {
        Self::ALL.into_iter().find(|family| family.codes() == (afi, safi))
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Evpn => "l2vpn evpn",
            Self::Ipv4 => "ipv4 unicast",
            Self::Ipv6 => "ipv6 unicast",
        })
    }
}
