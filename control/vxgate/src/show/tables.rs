//! Answers as tables.

mod bfd;
mod bgp;
mod cluster;

use std::collections::BTreeMap;

use crate::api::{
    Answer, CounterRow, LimitRow, NeighbourRow, OverlayRow, PortRow, PuntRow, RuleRow, StationRow, TapRow,
    WorkerRow,
};

/// The answer in columns.
pub(super) fn table(answer: &Answer, with_why: bool) -> String {
    match answer {
        Answer::Overlays(rows) => columns(
            &[
                "VNI",
                "SUBNETS",
                "ROUTERS",
                "ENDPOINTS",
                "MTU",
                "STATIONS",
                "EGRESS",
                "INGRESS",
                "OWNER",
                "ADMISSION",
                "PROXY",
                "EGRESS LIMIT",
                "INGRESS LIMIT",
            ],
            &[0, 4, 5, 6, 7],
            rows.iter().map(overlay_cells),
        ),
        Answer::Stations(rows) => {
            columns(&["VNI", "MAC", "ENDPOINT", "ADDRESSES"], &[0], rows.iter().map(station_cells))
        }
        Answer::Neighbours(rows) => {
            columns(&["VNI", "ADDRESS", "MAC", "STATE", "AGE"], &[0, 4], rows.iter().map(neighbour_cells))
        }
        Answer::Resolution(rows) => columns(
            &["FIGURE", "VALUE", "MEANING"],
            &[1],
            rows.iter().map(|row| vec![row.name.clone(), row.value.to_string(), row.description.clone()]),
        ),
        Answer::Ports(rows) => ports(rows),
        Answer::Workers(rows) => columns(
            &["WORKER", "CORE", "NODE", "POLLING", "PAGES", "ROUNDS", "SLEEPS", "FRAMES"],
            &[0, 1, 2, 5, 6, 7],
            rows.iter().map(worker_cells),
        ),
        Answer::Rules(rows) => rules(rows),
        Answer::Punts(rows) => columns(
            &["CLASS", "OVERLAY RATE", "BURST", "TOTAL RATE", "BURST", "HANDED OVER", "REFUSED"],
            &[1, 2, 3, 4, 5, 6],
            rows.iter().map(punt_cells),
        ),
        Answer::Taps(rows) => columns(&["FRAMES", "LOST", "FILTER"], &[0, 1], rows.iter().map(tap_cells)),
        Answer::Counters(rows) => counters(rows),
        Answer::Bfd(view) => bfd::sessions(view),
        Answer::BgpPeers(rows) => bgp::peers(rows),
        Answer::BgpRoutes(rows) => bgp::routes(rows, with_why),
        Answer::Cluster(rows) => cluster::gateways(rows),
        Answer::Assignments(rows) => cluster::assignments(rows),
        Answer::Moves(rows) => cluster::moves(rows),
        Answer::Imported => String::new(),
        Answer::Error(message) => message.clone(),
    }
}

fn join<T: ToString>(values: impl IntoIterator<Item = T>) -> String {
    let text = values.into_iter().map(|value| value.to_string()).collect::<Vec<_>>().join(" ");
    if text.is_empty() { "-".into() } else { text }
}

fn overlay_cells(row: &OverlayRow) -> Vec<String> {
    vec![
        row.vni.to_string(),
        join(row.subnets.iter().map(|subnet| subnet.prefix)),
        join(row.subnets.iter().map(|subnet| subnet.router)),
        join(&row.endpoints),
        row.mtu.to_string(),
        row.stations.to_string(),
        row.egress_packets.to_string(),
        row.ingress_packets.to_string(),
        if row.owner { "yes".into() } else { "no".into() },
        row.admission.clone(),
        row.proxy.clone(),
        limit(row.egress_limit),
        limit(row.ingress_limit),
    ]
}

fn limit(LimitRow { bits, packets }: LimitRow) -> String {
    let with_unit = |rate: Option<u64>, unit| rate.map(|rate| short(rate) + unit);
    join([with_unit(bits, "bit/s"), with_unit(packets, "p/s")].into_iter().flatten())
}

/// With the suffix that the configuration has for it, if it is round.
fn short(rate: u64) -> String {
    let suffixes = [(1_000_000_000, 'G'), (1_000_000, 'M'), (1_000, 'k')];
    match suffixes.iter().find(|(unit, _)| rate.is_multiple_of(*unit)) {
        Some((unit, suffix)) => format!("{}{suffix}", rate / unit),
        None => rate.to_string(),
    }
}

fn tap_cells(row: &TapRow) -> Vec<String> {
    vec![row.frames.to_string(), row.lost.to_string(), row.filter.clone()]
}

fn neighbour_cells(row: &NeighbourRow) -> Vec<String> {
    let seconds = |milliseconds: u64| format!("{}.{:03} s", milliseconds / 1000, milliseconds % 1000);
    vec![row.vni.to_string(), row.address.to_string(), join(&row.mac), row.state.clone(), seconds(row.age_ms)]
}

fn rules(rows: &[RuleRow]) -> String {
    let any = |side: &[String]| if side.is_empty() { "any".into() } else { side.join(" ") };
    let cells = rows.iter().map(|row| {
        vec![
            row.number.to_string(),
            row.line.to_string(),
            if row.reply { format!("{} replies", row.action) } else { row.action.clone() },
            any(&row.from),
            any(&row.to),
            join(&row.protocol),
            join(&row.source_ports),
            join(&row.destination_ports),
        ]
    });
    let titles = ["RULE", "LINE", "ACTION", "FROM", "TO", "PROTOCOL", "SOURCE PORTS", "PORTS"];
    columns(&titles, &[0, 1], cells) + "what none matches is rejected between overlays, and allowed outward\n"
}

fn punt_cells(row: &PuntRow) -> Vec<String> {
    vec![
        row.class.clone(),
        row.overlay_rate.to_string(),
        row.overlay_burst.to_string(),
        row.total_rate.to_string(),
        row.total_burst.to_string(),
        row.handed_over.to_string(),
        row.refused.to_string(),
    ]
}

fn station_cells(row: &StationRow) -> Vec<String> {
    vec![row.vni.to_string(), row.mac.clone(), row.endpoint.to_string(), join(&row.addresses)]
}

fn counters(rows: &[CounterRow]) -> String {
    let (counted, zero): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.value != 0);
    let cells = counted.into_iter().map(|row| {
        vec![row.name.clone(), row.outcome.clone(), row.value.to_string(), row.description.clone()]
    });
    let text = columns(&["COUNTER", "OUTCOME", "COUNT", "MEANING"], &[2], cells);
    text + &and_zeros(zero.len())
}

/// Tables show what happened; all names are in the JSON form.
fn and_zeros(count: usize) -> String {
    format!("and {count} counters that are zero (-o json has them)\n")
}

fn worker_cells(row: &WorkerRow) -> Vec<String> {
    vec![
        row.number.to_string(),
        join(row.core),
        join(row.node),
        row.polling.clone(),
        row.pages.clone(),
        row.rounds.to_string(),
        row.sleeps.to_string(),
        row.frames.to_string(),
    ]
}

fn ports(rows: &[PortRow]) -> String {
    let mut text = columns(
        &[
            "PORT",
            "ROLE",
            "STATE",
            "XDP",
            "BIND",
            "QUEUES",
            "NODE",
            "MAC",
            "MTU",
            "RX PACKETS",
            "RX BYTES",
            "TX PACKETS",
            "TX BYTES",
        ],
        &[5, 6, 8, 9, 10, 11, 12],
        rows.iter().map(|row| {
            vec![
                row.interface.clone(),
                row.role.clone(),
                row.state.clone(),
                row.xdp.clone(),
                row.bind.clone(),
                row.queues.to_string(),
                join(row.node),
                row.mac.clone(),
                row.mtu.to_string(),
                row.rx_packets.to_string(),
                row.rx_bytes.to_string(),
                row.tx_packets.to_string(),
                row.tx_bytes.to_string(),
            ]
        }),
    );
    text.push('\n');
    for (interface, fallback) in rows.iter().filter_map(|row| Some((&row.interface, row.fallback.as_ref()?)))
    {
        text += &format!("{interface}: no native XDP: {fallback}\n\n");
    }
    let details = rows.iter().flat_map(|row| {
        let of = |of, counters: &BTreeMap<String, u64>| {
            counters
                .iter()
                .map(|(name, &value)| {
                    (value, vec![row.interface.clone(), String::from(of), name.clone(), value.to_string()])
                })
                .collect::<Vec<_>>()
        };
        of("xdp", &row.verdicts).into_iter().chain(of("socket", &row.socket))
    });
    let (counted, zero): (Vec<_>, Vec<_>) = details.partition(|(value, _)| *value != 0);
    let cells = counted.into_iter().map(|(_, cells)| cells);
    text + &columns(&["PORT", "OF", "COUNTER", "PACKETS"], &[3], cells) + &and_zeros(zero.len())
}

/// Columns as wide as their widest cell, two spaces apart; those in `right` are aligned right.
pub(crate) fn columns(titles: &[&str], right: &[usize], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut lines = vec![titles.iter().map(|title| (*title).to_owned()).collect::<Vec<_>>()];
    lines.extend(rows);
    let widths: Vec<usize> = (0..titles.len())
        .map(|column| lines.iter().map(|cells| cells[column].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for cells in &lines {
        let mut line = String::new();
        for (column, (cell, &width)) in cells.iter().zip(&widths).enumerate() {
            let gap = if column == 0 { "" } else { "  " };
            line += &match right.contains(&column) {
                true => format!("{gap}{cell:>width$}"),
                false => format!("{gap}{cell:<width$}"),
            };
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::SubnetRow;

    #[test]
    fn overlays_in_columns() {
        let row = |vni, endpoints: &[&str]| OverlayRow {
            vni,
            subnets: vec![SubnetRow {
                prefix: "10.0.1.0/24".parse().unwrap(),
                router: "10.0.1.1".parse().unwrap(),
            }],
            endpoints: endpoints.iter().map(|text| text.parse().unwrap()).collect(),
            mtu: 1500,
            stations: 3,
            owner: true,
            own_mac: None,
            admission: "loose".into(),
            proxy: "own".into(),
            advertise: true,
            dhcp_servers: vec![],
            egress_limit: LimitRow { bits: Some(100_000_000), packets: Some(1500) },
            ingress_limit: LimitRow { bits: None, packets: None },
            egress_packets: 12,
            egress_bytes: 1000,
            ingress_packets: 9,
            ingress_bytes: 800,
        };
        let text =
            table(&Answer::Overlays(vec![row(7, &["198.18.0.11", "198.18.0.12"]), row(65_536, &[])]), false);
        let expected =
            "  VNI  SUBNETS      ROUTERS   ENDPOINTS                 MTU  STATIONS  EGRESS  INGRESS  OWNER  ADMISSION  \
             PROXY  EGRESS LIMIT       INGRESS LIMIT
    7  10.0.1.0/24  10.0.1.1  198.18.0.11 198.18.0.12  1500         3      12        9  yes    loose      \
             own    100Mbit/s 1500p/s  -
65536  10.0.1.0/24  10.0.1.1  -                        1500         3      12        9  yes    loose      \
             own    100Mbit/s 1500p/s  -
";
        assert_eq!(text, expected);
    }

    fn counter_row(name: &str, value: u64) -> CounterRow {
        CounterRow { name: name.into(), outcome: "forwarded".into(), value, description: "Sent.".into() }
    }

    #[test]
    fn tables_show_what_is_not_zero() {
        let text = table(&Answer::Counters(vec![counter_row("egress", 2), counter_row("ingress", 0)]), false);
        assert!(text.contains("egress   forwarded      2  Sent.") && !text.contains("ingress"), "{text}");
        assert!(text.ends_with("and 1 counters that are zero (-o json has them)\n"), "{text}");
    }

    #[test]
    fn rules_in_their_order() {
        let rule = |number, reply| RuleRow {
            number,
            line: 12,
            reply,
            action: "allow".into(),
            from: vec!["10.0.1.0/24".into(), "VNI 7".into()],
            to: vec![],
            protocol: Some("tcp".into()),
            source_ports: None,
            destination_ports: Some("80".into()),
        };
        let text = table(&Answer::Rules(vec![rule(1, false), rule(2, true)]), false);
        let expected = "RULE  LINE  ACTION         FROM               TO   PROTOCOL  SOURCE PORTS  PORTS
   1    12  allow          10.0.1.0/24 VNI 7  any  tcp       -             80
   2    12  allow replies  10.0.1.0/24 VNI 7  any  tcp       -             80
what none matches is rejected between overlays, and allowed outward
";
        assert_eq!(text, expected);
    }

    #[test]
    fn ages_and_rates() {
        let row = NeighbourRow {
            vni: 7,
            address: "fd00::1".parse().unwrap(),
            mac: None,
            state: "incomplete".into(),
            age_ms: 12_005,
        };
        let text = table(&Answer::Neighbours(vec![row]), false);
        assert_eq!(text.lines().last(), Some("  7  fd00::1  -    incomplete  12.005 s"));
        assert_eq!([2_500, 3_000, 4_000_000_000].map(short), ["2500", "3k", "4G"]);
    }
}
