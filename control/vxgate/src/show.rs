//! `vxgate show`: asks the running gateway and prints its answer.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::api::{Answer, CounterRow, OverlayRow, PortRow, Request, StationRow};
use crate::cli::{Output, Show, What};

/// Why nothing is shown.
#[derive(Debug, Error)]
pub(crate) enum ShowError {
    /// Nobody listens.
    #[error(
        "no gateway answers at {}: {source}; start one, or name its socket with --socket (needs the same user)",
        path.display()
    )]
    NoGateway { path: PathBuf, source: io::Error },
    /// It hung up, or spoke another language.
    #[error("the gateway did not answer: {0}; is it of the same version?")]
    NoAnswer(#[from] io::Error),
    /// It said no.
    #[error("the gateway answered: {0}")]
    Refused(String),
}

/// Asks and prints.
pub(crate) fn show(arguments: &Show) -> Result<(), ShowError> {
    let request = match &arguments.what {
        What::Overlays(filter) => Request::Overlays { vni: filter.vni },
        What::Stations(filter) => Request::Stations { vni: filter.vni },
        What::Ports => Request::Ports {},
        What::Counters => Request::Counters {},
    };
    let text = match (ask(&arguments.socket, request)?, arguments.output) {
        (Answer::Error(message), _) => return Err(ShowError::Refused(message)),
        (answer, Output::Table) => table(&answer),
        (answer, Output::Json) => json(&answer)?,
    };
    match io::stdout().write_all(text.as_bytes()) {
        // `vxgate show … | head` is no failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => Ok(outcome?),
    }
}

fn ask(path: &Path, request: Request) -> Result<Answer, ShowError> {
    let mut stream =
        UnixStream::connect(path).map_err(|source| ShowError::NoGateway { path: path.into(), source })?;
    let mut line = serde_json::to_string(&request).map_err(io::Error::from)?;
    line.push('\n');
    stream.write_all(line.as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    Ok(serde_json::from_str(&answer).map_err(io::Error::from)?)
}

/// The rows alone, one array.
fn json(answer: &Answer) -> io::Result<String> {
    let mut text = match answer {
        Answer::Overlays(rows) => serde_json::to_string_pretty(rows),
        Answer::Stations(rows) => serde_json::to_string_pretty(rows),
        Answer::Ports(rows) => serde_json::to_string_pretty(rows),
        Answer::Counters(rows) => serde_json::to_string_pretty(rows),
        Answer::Error(message) => serde_json::to_string_pretty(message),
    }?;
    text.push('\n');
    Ok(text)
}

fn table(answer: &Answer) -> String {
    match answer {
        Answer::Overlays(rows) => columns(
            &["VNI", "SUBNETS", "ROUTERS", "ENDPOINTS", "MTU", "STATIONS", "EGRESS", "INGRESS"],
            &[0, 4, 5, 6, 7],
            rows.iter().map(overlay_cells),
        ),
        Answer::Stations(rows) => {
            columns(&["VNI", "MAC", "ENDPOINT", "ADDRESSES"], &[0], rows.iter().map(station_cells))
        }
        Answer::Ports(rows) => ports(rows),
        Answer::Counters(rows) => counters(rows),
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
    let text = columns(&["COUNTER", "OUTCOME", "FRAMES", "MEANING"], &[2], cells);
    text + &and_zeros(zero.len())
}

/// Tables show what happened; all names are in the JSON form.
fn and_zeros(count: usize) -> String {
    format!("and {count} counters that are zero (-o json has them)\n")
}

fn ports(rows: &[PortRow]) -> String {
    let mut text = columns(
        &[
            "PORT",
            "ROLE",
            "XDP",
            "BIND",
            "QUEUE",
            "MAC",
            "MTU",
            "RX PACKETS",
            "RX BYTES",
            "TX PACKETS",
            "TX BYTES",
        ],
        &[4, 6, 7, 8, 9, 10],
        rows.iter().map(|row| {
            vec![
                row.interface.clone(),
                row.role.clone(),
                row.xdp.clone(),
                row.bind.clone(),
                row.queue.to_string(),
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
fn columns(titles: &[&str], right: &[usize], rows: impl Iterator<Item = Vec<String>>) -> String {
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
            egress_packets: 12,
            egress_bytes: 1000,
            ingress_packets: 9,
            ingress_bytes: 800,
        };
        let text = table(&Answer::Overlays(vec![row(7, &["198.18.0.11", "198.18.0.12"]), row(65_536, &[])]));
        let expected =
            "  VNI  SUBNETS      ROUTERS   ENDPOINTS                 MTU  STATIONS  EGRESS  INGRESS
    7  10.0.1.0/24  10.0.1.1  198.18.0.11 198.18.0.12  1500         3      12        9
65536  10.0.1.0/24  10.0.1.1  -                        1500         3      12        9
";
        assert_eq!(text, expected);
    }

    fn counter_row(name: &str, value: u64) -> CounterRow {
        CounterRow { name: name.into(), outcome: "forwarded".into(), value, description: "Sent.".into() }
    }

    #[test]
    fn json_is_the_rows_alone() {
        let text =
            json(&Answer::Counters(vec![counter_row("egress", 2), counter_row("ingress", 0)])).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&value[0]["name"], &value[0]["value"]), (&"egress".into(), &2.into()));
        assert_eq!(value[1]["name"], "ingress", "zeros are there");
    }

    #[test]
    fn tables_show_what_is_not_zero() {
        let text = table(&Answer::Counters(vec![counter_row("egress", 2), counter_row("ingress", 0)]));
        assert!(text.contains("egress   forwarded       2  Sent.") && !text.contains("ingress"), "{text}");
        assert!(text.ends_with("and 1 counters that are zero (-o json has them)\n"), "{text}");
    }

    #[test]
    fn nobody_there_is_said_with_the_remedy() {
        let error = ask(Path::new("/nonexistent/control.sock"), Request::Ports {}).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/control.sock") && error.contains("--socket"), "{error}");
    }
}
