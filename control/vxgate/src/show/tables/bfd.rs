//! Sessions of BFD.

use std::collections::BTreeMap;

use super::columns;
use crate::bfd::BfdView;

/// Sessions, one a row; below them what is of none.
pub(super) fn sessions(view: &BfdView) -> String {
    let ms = |value: f64| format!("{value:.0}");
    let rows = view.sessions.iter().map(|row| {
        let mut dropped = reasons(&row.dropped);
        if let Some(refusal) = &row.send_refusal {
            dropped = format!("{dropped} ({} not sent: {refusal})", row.send_refused);
        }
        vec![
            row.peer.to_string(),
            row.segment.clone(),
            row.state.clone(),
            row.diagnostic.clone(),
            ms(row.transmit_ms),
            ms(row.receive_ms),
            row.detection_ms.map_or("-".into(), ms),
            row.silent_ms.map_or("-".into(), ms),
            row.sent.to_string(),
            row.received.to_string(),
            dropped,
        ]
    });
    let names = [
        "PEER",
        "SEGMENT",
        "STATE",
        "DIAGNOSTIC",
        "TX MS",
        "RX MS",
        "DETECT MS",
        "SILENT MS",
        "SENT",
        "RECEIVED",
        "DROPPED",
    ];
    let mut text = columns(&names, &[4, 5, 6, 7, 8, 9], rows);
    text += &format!(
        "\nports: {}\nreal-time priority: {}\nstolen: {} periods, {:.1} ms in all, the longest {:.1} ms\n\
         dropped, of no session: {}, broken {}\n",
        if view.ports.is_empty() { "none".into() } else { view.ports.join(", ") },
        if view.real_time { "yes" } else { "no" },
        view.stolen_periods,
        view.stolen_ms,
        view.stolen_longest_ms,
        reasons(&view.unclaimed),
        view.broken,
    );
    text
}

fn reasons(counts: &BTreeMap<String, u64>) -> String {
    if counts.is_empty() {
        return "0".into();
    }
    counts.iter().map(|(reason, count)| format!("{reason} {count}")).collect::<Vec<_>>().join(", ")
}
