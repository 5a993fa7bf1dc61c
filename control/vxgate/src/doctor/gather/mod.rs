//! Looks at the machine. Nothing is judged here, and nothing is changed: what cannot be read stays empty.

mod host;
mod netdevs;
mod xdp_features;

use std::fs;
use std::path::Path;

use futures_util::{StreamExt, TryStreamExt};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::neighbour_table::{NeighbourTableAttribute, NeighbourTableMessage};
use rtnetlink::Handle;
use rtnetlink::packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};

use super::machine::{Machine, Network};
use crate::api;
use crate::mirror::netlink::{Netlink, NetlinkError};

/// Looks at all of it; `socket` is the control socket that a running gateway answers on.
///
/// # Errors
/// If the kernel tells nothing of its netdevs, addresses and routes.
pub(super) async fn machine(socket: &Path) -> Result<Machine, NetlinkError> {
    let tables = Netlink::connect()?.tables().await?;
    let (connection, handle, _) = rtnetlink::new_connection()?;
    tokio::spawn(connection);
    let links = handle.link().get().execute();
    // Without it nothing is known of how netdevs are stacked: less is found.
    let stacking: Vec<_> =
        links.map_ok(|message| netdevs::stacking(&message)).try_collect().await.unwrap_or_default();
    let [neighbours_ipv4, neighbours_ipv6] = neighbour_limits(handle).await;
    Ok(Machine {
        kernel: host::kernel(),
        process: host::process(),
        memory: host::memory(),
        cpu: host::cpu(),
        netdevs: netdevs::netdevs(&tables.links, &stacking),
        network: Network {
            tables,
            forwards_ipv4: forwards("/proc/sys/net/ipv4/conf"),
            forwards_ipv6: forwards("/proc/sys/net/ipv6/conf"),
            neighbours_ipv4,
            neighbours_ipv6,
            gateway_runs: api::is_served(socket),
        },
    })
}

/// Whether the kernel forwards what it receives on any netdev.
fn forwards(conf: &str) -> Option<bool> {
    let entries = fs::read_dir(conf).ok()?.flatten().filter(|entry| entry.file_name() != "default");
    let mut values = entries.filter_map(|entry| host::read(entry.path().join("forwarding")));
    Some(values.any(|value| value != "0"))
}

/// Most neighbours of IPv4 and IPv6. From netlink, since only the first network namespace has the sysctls.
async fn neighbour_limits(mut handle: Handle) -> [Option<u32>; 2] {
    let mut request: NetlinkMessage<RouteNetlinkMessage> =
        RouteNetlinkMessage::GetNeighbourTable(NeighbourTableMessage::default()).into();
    request.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut limits = [None; 2];
    let Ok(mut answers) = handle.request(request) else { return limits };
    while let Some(answer) = answers.next().await {
        let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbourTable(table)) = answer.payload
        else {
            continue;
        };
        let limit = table.attributes.iter().find_map(|attribute| match attribute {
            NeighbourTableAttribute::Threshold3(limit) => Some(*limit),
            _ => None,
        });
        let name = table.attributes.iter().find_map(|attribute| match attribute {
            NeighbourTableAttribute::Name(name) => Some(name.as_str()),
            _ => None,
        });
        match name {
            Some("arp_cache") => limits[0] = limits[0].or(limit),
            Some("ndisc_cache") => limits[1] = limits[1].or(limit),
            _ => {}
        }
    }
    limits
}
