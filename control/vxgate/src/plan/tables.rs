//! Plans and studies as tables.

use super::change::{GatewayRow, Report};
use super::study::Study;
use crate::show::columns;

/// Part of one, in hundredths.
fn percent(part: f64) -> String {
    format!("{:.1} %", part * 100.0)
}

fn signed(part: Option<f64>) -> String {
    part.map_or("-".into(), |part| format!("{:+.1} %", part * 100.0))
}

pub(super) fn change(report: &Report) -> String {
    let mut text = gateways(report, &report.before);
    let (Some(after), Some(moves)) = (&report.after, &report.moves) else { return text + &each(report) };
    text += "\nAfter the change:\n";
    text += &gateways(report, after);
    let (unit, moved, all) = match (report.shards, moves.shards) {
        (Some(all), Some(moved)) => ("shards", moved, all),
        _ => ("overlays", moves.overlays, report.overlays),
    };
    text += &format!("\n{moved} of {all} {unit} move, {} more than must", moved - moves.least);
    if moves.shards.is_some() {
        text += &format!("; {} of {} overlays are in them", moves.overlays, report.overlays);
    }
    text += "\n";
    if !moves.ways.is_empty() {
        let rows = moves.ways.iter().map(|way| {
            let shards = way.shards.map(|shards| shards.to_string());
            let mut cells = vec![way.from.to_string(), way.to.to_string(), way.overlays.to_string()];
            cells.extend(shards);
            cells
        });
        let titles: &[&str] = match report.shards {
            Some(_) => &["FROM", "TO", "OVERLAYS", "SHARDS"],
            None => &["FROM", "TO", "OVERLAYS"],
        };
        text += &columns(titles, &[0, 1, 2, 3], rows);
    }
    text + &each(report)
}

fn gateways(report: &Report, rows: &[GatewayRow]) -> String {
    let cells = |row: &GatewayRow| {
        let mut cells = vec![
            row.gateway.to_string(),
            row.weight.to_string(),
            percent(row.share),
            row.overlays.to_string(),
            signed(row.off),
        ];
        cells.extend(row.shards.map(|shards| shards.to_string()));
        cells
    };
    let titles: &[&str] = match report.shards {
        Some(_) => &["GATEWAY", "WEIGHT", "SHARE", "OVERLAYS", "OFF", "SHARDS"],
        None => &["GATEWAY", "WEIGHT", "SHARE", "OVERLAYS", "OFF"],
    };
    let off = rows.iter().filter_map(|row| row.off);
    let (least, most) = off.fold((f64::MAX, f64::MIN), |(least, most), off| (least.min(off), most.max(off)));
    format!(
        "{}All are within {} and {} of their shares.\n",
        columns(titles, &[0, 1, 2, 3, 4, 5], rows.iter().map(cells)),
        signed(Some(least)),
        signed(Some(most)),
    )
}

fn each(report: &Report) -> String {
    if report.each.is_empty() {
        return String::new();
    }
    let after = |after: Option<u16>| after.map_or("-".into(), |id| id.to_string());
    let rows = report.each.iter().map(|row| match (row.vni, row.shard) {
        (Some(vni), _) => vec![
            vni.to_string(),
            row.before.to_string(),
            after(row.after),
            row.order.iter().map(u16::to_string).collect::<Vec<_>>().join(" "),
        ],
        (_, shard) => vec![
            shard.unwrap_or_default().to_string(),
            row.before.to_string(),
            after(row.after),
            row.overlays.to_string(),
        ],
    });
    let (titles, right): (&[&str], &[usize]) = match report.shards {
        Some(_) => (&["SHARD", "BEFORE", "AFTER", "OVERLAYS"], &[0, 1, 2, 3]),
        None => (&["VNI", "BEFORE", "AFTER", "ORDER"], &[0, 1, 2]),
    };
    "\n".to_owned() + &columns(titles, right, rows)
}

pub(super) fn study(study: &Study) -> String {
    let shares = study.shares.iter().map(|row| {
        let quantiles = &row.quantiles;
        let of_one =
            [quantiles.p5, quantiles.p25, quantiles.p50, quantiles.p75, quantiles.p95, quantiles.p99];
        let mut cells = vec![row.sigma.to_string(), format!("{:.3}", row.mu), row.overlays.to_string()];
        cells.extend(of_one.map(percent));
        cells.push(percent(row.mean));
        cells
    });
    let titles = ["SIGMA", "MU", "OVERLAYS", "5 %", "25 %", "MEDIAN", "75 %", "95 %", "99 %", "MEAN"];
    let ties = study.ties.iter().map(|row| {
        vec![
            row.levels.to_string(),
            format!("{:.2} %", row.found * 100.0),
            format!("{:.2} %", row.expected * 100.0),
        ]
    });
    format!(
        "What the busier of two gateways carries, {} samples, seed {}:\n{}\n\
         What the gateway that wins all ties gets, with random costs:\n{}",
        study.samples,
        study.seed,
        columns(&titles, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], shares),
        columns(&["LEVELS", "FOUND", "1/2 + 1/(2s)"], &[0, 1, 2], ties),
    )
}
