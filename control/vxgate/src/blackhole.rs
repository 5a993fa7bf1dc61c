//! Blackhole routes: one for each block, so that the kernel never forwards overlay traffic when the engine does not
//! run. They outlive the process on purpose; `vxgate cleanup` removes them.

use ipnet::IpNet;
use thiserror::Error;

use crate::mirror::kernel::{KernelRoute, RouteKind};
use crate::mirror::netlink::{Netlink, NetlinkError, PROTOCOL, blackhole_metric};

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

/// Whether the route keeps the kernel from forwarding into the block, whoever installed it.
pub(crate) fn guards(route: &KernelRoute, block: IpNet) -> bool {
    route.prefix == block && route.kind == RouteKind::Blackhole && route.metric == blackhole_metric(block)
}

/// Whether the route leads into the block past its blackhole route: to the block itself no worse, or to a part of it.
pub(crate) fn leads_past(route: &KernelRoute, block: IpNet) -> bool {
    matches!(route.kind, RouteKind::Unicast(_))
        && block.contains(&route.prefix)
        && (route.prefix != block || route.metric <= blackhole_metric(block))
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
        if present.iter().any(|route| guards(route, block)) {
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
