//! The example gateway in a cluster with two shards: overlay 100 is in the first, which it owns, and 200 in the second.

use super::packets::vxlan_to;
use super::{Harness, config, updates};
use crate::api::*;

/// Their VTEP addresses, by shard and family.
pub(crate) const VTEPS: [[&str; 2]; 2] =
    [["198.18.0.100", "2001:db8:0:1::100"], ["198.18.0.101", "2001:db8:0:1::101"]];
/// Their uplink addresses, by shard and family.
pub(crate) const UPLINKS: [[&str; 2]; 2] =
    [["198.18.1.100", "2001:db8:0:2::100"], ["198.18.1.101", "2001:db8:0:2::101"]];
/// Of this gateway alone, in every overlay.
pub(crate) const OWN_MAC: wire::MacAddr = wire::MacAddr([2, 0, 0x5e, 0, 1, 1]);

pub(crate) fn shards() -> Vec<Shard> {
    let shard = |number: usize| Shard {
        vtep_v4: Some(VTEPS[number][0].parse().unwrap()),
        vtep_v6: Some(VTEPS[number][1].parse().unwrap()),
        uplink_v4: Some(UPLINKS[number][0].parse().unwrap()),
        uplink_v6: Some(UPLINKS[number][1].parse().unwrap()),
    };
    [0, 1].map(shard).to_vec()
}

/// Its configuration: it owns nothing yet.
pub(crate) fn sharded() -> Config {
    let mut config = config();
    config.shards = shards();
    for (number, overlay) in (0..).zip(&mut config.overlays) {
        (overlay.shard, overlay.own_mac) = (Some(number), Some(OWN_MAC));
    }
    config
}

/// The gateway, whose announcements are over.
pub(crate) fn gateway() -> Harness {
    let mut gateway = Harness::with(sharded());
    gateway.apply(updates());
    gateway.apply([own(0, Responsibility::Owner)]);
    for _ in 0..10 {
        gateway.slow_path.poll(std::time::Instant::now() + std::time::Duration::from_secs(2));
    }
    gateway.sent();
    gateway
}

pub(crate) fn own(shard: u16, responsibility: Responsibility) -> Update {
    Update::Responsibility(vec![(Group::Shard(shard), responsibility)])
}

/// `inner` in VXLAN from an endpoint to the VTEP address of a shard.
pub(crate) fn vxlan_to_shard(shard: usize, endpoint: &str, vni: u32, inner: &[u8]) -> Vec<u8> {
    vxlan_to(VTEPS[shard][usize::from(endpoint.contains(':'))], endpoint, vni, inner)
}
