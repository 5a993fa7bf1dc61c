//! Blackhole routes: one for each block, so that the kernel never forwards overlay traffic when the engine does not
//! run. They outlive the process on purpose; `vxgate cleanup` removes them.

use ipnet::IpNet;
use thiserror::Error;

use crate::mirror::kernel::{KernelRoute, RouteKind};
use crate::mirror::netlink::{BLACKHOLE_METRIC, Netlink, NetlinkError, PROTOCOL};

/// A block that has no blackhole route now.
#[derive(Debug, Error)]
#[error("cannot install the blackhole route of block {block}: {source}; nothing was started")]
pub(crate) struct InstallError {
    block: IpNet,
    source: NetlinkError,
}

/// Whether this program installed the route.
pub(crate) fn is_ours(route: &KernelRoute) -> bool {
    route.protocol == PROTOCOL && route.kind == RouteKind::Blackhole
}

/// Installs what is missing; what an earlier run or the operator left is fine. All or nothing; returns what it
/// installed.
pub(crate) async fn install(
    netlink: &Netlink,
    present: &[KernelRoute],
    blocks: &[IpNet],
) -> Result<Vec<IpNet>, InstallError> {
    let mut added = Vec::new();
    for &block in blocks {
        let is_there = |route: &KernelRoute| {
            route.prefix == block && route.kind == RouteKind::Blackhole && route.metric == BLACKHOLE_METRIC
        };
        if present.iter().any(is_there) {
            continue;
        }
        if let Err(source) = netlink.add_blackhole(block).await {
            remove(netlink, &added).await;
            return Err(InstallError { block, source });
        }
        added.push(block);
    }
    Ok(added)
}

/// Takes back what [`install`] did, when nothing came of it.
pub(crate) async fn remove(netlink: &Netlink, blocks: &[IpNet]) {
    for &block in blocks {
        if let Err(error) = netlink.delete_blackhole(block).await {
            tracing::warn!("the blackhole route of {block} stays: {error}");
        }
    }
}
