//! Gateways of the cluster.

use super::columns;
use crate::cluster::{AssignmentRow, GatewayRow};

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
