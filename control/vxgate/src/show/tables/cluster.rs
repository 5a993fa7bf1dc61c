//! Gateways of the cluster.

use super::columns;
use crate::cluster::GatewayRow;

/// Gateways, one a row.
pub(super) fn gateways(rows: &[GatewayRow]) -> String {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    let seconds = |milliseconds: u64| format!("{}.{:03} s", milliseconds / 1000, milliseconds % 1000);
    let cells = |row: &GatewayRow| {
        vec![
            row.id.to_string(),
            row.session.clone(),
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
        &["ID", "SESSION", "ADDRESS", "SINCE", "INCARNATION", "WEIGHT", "SENT", "RECEIVED", "QUEUED", "WHY"],
        &[0, 3, 4, 5, 6, 7, 8],
        rows.iter().map(cells),
    )
}
