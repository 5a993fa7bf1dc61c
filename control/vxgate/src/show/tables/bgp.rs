//! Peers and routes of BGP.

use super::columns;
use crate::bgp::{PathRow, PeerRow};

/// Peers, one a row.
pub(super) fn peers(rows: &[PeerRow]) -> String {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    let cells = |row: &PeerRow| {
        let received: Vec<String> = row
            .received
            .iter()
            .filter(|(name, _)| row.families.contains(name))
            .map(|(_, n)| n.to_string())
            .collect();
        vec![
            row.address.to_string(),
            or_dash(row.asn.map(|asn| asn.to_string())),
            or_dash(row.router_id.map(|id| id.to_string())),
            row.state.clone(),
            or_dash(row.state_age.map(|age| age.to_string())),
            or_dash(row.hold_time.map(|time| time.to_string())),
            or_dash(Some(row.families.join(" ")).filter(|names| !names.is_empty())),
            or_dash(Some(received.join(" ")).filter(|counts| !counts.is_empty())),
            row.own_routes.to_string(),
            row.announced.to_string(),
            if row.told_all { "yes" } else { "no" }.into(),
            if row.announce_ipv6_vtep { "yes" } else { "no" }.into(),
            or_dash(row.last_down.clone()),
        ]
    };
    columns(
        &[
            "PEER",
            "AS",
            "ROUTER ID",
            "STATE",
            "SECONDS",
            "HOLD",
            "FAMILIES",
            "RECEIVED",
            "OWN ROUTES",
            "ANNOUNCED",
            "TOLD ALL",
            "IPV6 VTEP",
            "LAST DOWN",
        ],
        &[1, 4, 5, 8, 9],
        rows.iter().map(cells),
    )
}

/// Paths, one a row; the best of each route has a `>`.
pub(super) fn routes(rows: &[PathRow], with_why: bool) -> String {
    let mut names = vec!["", "ROUTE", "VNI", "NEXT HOP", "PEER", "LOCAL PREF", "AS PATH", "COMMUNITIES"];
    names.extend(with_why.then_some("WHY"));
    let cells = |row: &PathRow| {
        let path: Vec<String> = row.as_path.iter().map(u32::to_string).collect();
        let mut cells = vec![
            match (row.best, row.stale) {
                (true, true) => ">s",
                (true, false) => ">",
                (false, true) => " s",
                (false, false) => "",
            }
            .into(),
            row.route.clone(),
            row.vni.map_or("-".into(), |vni| vni.to_string()),
            row.next_hop.to_string(),
            row.peer.to_string(),
            row.local_pref.to_string(),
            if path.is_empty() { "-".into() } else { path.join(" ") },
            row.communities.join(", "),
        ];
        if with_why {
            cells.push(row.why.clone().unwrap_or_else(|| "best".into()));
        }
        cells
    };
    columns(&names, &[2, 5], rows.iter().map(cells))
}
