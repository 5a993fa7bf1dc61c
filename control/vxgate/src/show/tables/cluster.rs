//! Gateways of the cluster.

use super::columns;
use crate::cluster::{AssignmentRow, GatewayRow, MoveRow};

/// Gateways, one a row.
pub(super) fn gateways(rows: &[GatewayRow]) -> String {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    let seconds = |milliseconds: u64| format!("{}.{:03} s", milliseconds / 1000, milliseconds % 1000);
    let cells = |row: &GatewayRow| {
        vec![
            row.id.to_string(),
            row.session.clone(),
            or_dash(row.part.clone()),
            or_dash(row.serves.map(|count| count.to_string())),
            or_dash(row.address.map(|address| address.to_string())),
            or_dash(row.since_ms.map(seconds)),
            or_dash(row.incarnation.map(|number| number.to_string())),
            row.weight.to_string(),
            row.sent.to_string(),
            row.received.to_string(),
            row.queued.to_string(),
            or_dash(row.why.clone()),
        ]
    };
    columns(
        &[
            "ID",
            "SESSION",
            "PART",
            "SERVES",
            "ADDRESS",
            "SINCE",
            "INCARNATION",
            "WEIGHT",
            "SENT",
            "RECEIVED",
            "QUEUED",
            "WHY",
        ],
        &[0, 3, 5, 6, 7, 8, 9, 10],
        rows.iter().map(cells),
    )
}

/// Overlays or shards, one a row.
pub(super) fn assignments(rows: &[AssignmentRow]) -> String {
    let list = |addresses: &[std::net::IpAddr]| {
        addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    let owner = |row: &AssignmentRow| match row.owner {
        Some(owner) if row.own => format!("{owner} (self)"),
        Some(owner) => owner.to_string(),
        None => "-".into(),
    };
    let cells = |row: &AssignmentRow| match (row.vni, row.shard) {
        (_, Some(shard)) => vec![shard.to_string(), owner(row), list(&row.vtep), list(&row.uplink)],
        (vni, None) => vec![vni.map_or_else(String::new, |vni| vni.to_string()), owner(row)],
    };
    let names: &[_] = match rows.first() {
        Some(row) if row.shard.is_some() => &["SHARD", "OWNER", "VTEP", "UPLINK"],
        _ => &["VNI", "OWNER"],
    };
    columns(names, &[0], rows.iter().map(cells))
}

/// Moves, one a row, oldest first.
pub(super) fn moves(rows: &[MoveRow]) -> String {
    let or_dash = |gateway: Option<u16>| gateway.map_or_else(|| "-".into(), |id| id.to_string());
    let cells = |row: &MoveRow| {
        let groups: Vec<_> = row.groups.iter().map(ToString::to_string).collect();
        let more = if row.count > Some(groups.len()) { " …" } else { "" };
        vec![
            row.time.clone(),
            row.action.clone(),
            row.count.map_or_else(|| "all".into(), |count| count.to_string()),
            or_dash(row.from),
            or_dash(row.to),
            format!("{}.{:03} ms", row.duration_us / 1000, row.duration_us % 1000),
            row.cause.clone(),
            groups.join(" ") + more,
        ]
    };
    let names = ["TIME", "ACTION", "COUNT", "FROM", "TO", "DURATION", "CAUSE", "GROUPS"];
    columns(&names, &[2, 3, 4, 5], rows.iter().map(cells))
}
