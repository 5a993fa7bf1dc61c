//! Which gateways EVPN tells of, by type 4 routes of the cluster's Ethernet segment (RFC 7432 §8.1.1). It says who is there, and
//! nothing more: who may be a member is for the configuration to say, which has its certificate.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use cluster::assign::GatewayId;

use crate::config::ClusterSettings;

/// The other gateways, with how many of their addresses are announced as VTEPs of the cluster.
#[derive(Debug, Default)]
pub(super) struct Discovery(Vec<(GatewayId, Vec<IpAddr>, AtomicU32)>);

impl Discovery {
    pub(super) fn of(settings: &ClusterSettings) -> Self {
        let of_gateway = |gateway: &crate::config::GatewaySettings| {
            Some((GatewayId::new(gateway.id)?, gateway.vteps().collect(), AtomicU32::new(0)))
        };
        Self(settings.gateways.iter().filter_map(of_gateway).collect())
    }

    /// A VTEP is announced, or no longer is; false: of a stranger.
    pub(super) fn set(&self, vtep: IpAddr, announced: bool) -> bool {
        let Some((_, _, count)) = self.0.iter().find(|(_, addresses, _)| addresses.contains(&vtep)) else {
            return false;
        };
        // Each address is told of in turn: there, and gone.
        match announced {
            true => count.fetch_add(1, Ordering::AcqRel),
            false => count.fetch_sub(1, Ordering::AcqRel),
        };
        true
    }

    /// Who is announced.
    pub(super) fn all(&self) -> impl Iterator<Item = (GatewayId, bool)> {
        self.0.iter().map(|(id, _, count)| (*id, count.load(Ordering::Acquire) > 0))
    }
}
