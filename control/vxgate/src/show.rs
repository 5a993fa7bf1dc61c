//! `vxgate show`: asks the running gateway and prints its answer.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::api::{Answer, OverlayRow, PortRow, Request, StationRow};
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
            &["VNI", "SUBNETS", "ROUTERS", "ENDPOINTS", "MTU", "STATIONS"],
            &[0, 4, 5],
            rows.iter().map(overlay_cells),
        ),
        Answer::Stations(rows) => {
            columns(&["VNI", "MAC", "ENDPOINT", "ADDRESSES"], &[0], rows.iter().map(station_cells))
        }
        Answer::Ports(rows) => ports(rows),
        Answer::Counters(rows) => columns(
            &["COUNTER", "OUTCOME", "FRAMES", "MEANING"],
            &[2],
            rows.iter().map(|row| {
                vec![row.name.clone(), row.outcome.clone(), row.value.to_string(), row.description.clone()]
            }),
        ),
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
    ]
}

fn station_cells(row: &StationRow) -> Vec<String> {
    vec![row.vni.to_string(), row.mac.clone(), row.endpoint.to_string(), join(&row.addresses)]
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
    let details = rows.iter().flat_map(|row| {
        let cells = |of: &'static str| {
            move |(name, value): (&String, &u64)| {
                vec![row.interface.clone(), of.into(), name.clone(), value.to_string()]
            }
        };
        row.verdicts.iter().map(cells("xdp")).chain(row.socket.iter().map(cells("socket")))
    });
    text.push_str(&columns(&["PORT", "OF", "COUNTER", "PACKETS"], &[3], details));
    text
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
    use crate::api::{CounterRow, SubnetRow};

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
        };
        let text = table(&Answer::Overlays(vec![row(7, &["198.18.0.11", "198.18.0.12"]), row(65_536, &[])]));
        let expected = "  VNI  SUBNETS      ROUTERS   ENDPOINTS                 MTU  STATIONS
    7  10.0.1.0/24  10.0.1.1  198.18.0.11 198.18.0.12  1500         3
65536  10.0.1.0/24  10.0.1.1  -                        1500         3
";
        assert_eq!(text, expected);
    }

    #[test]
    fn json_is_the_rows_alone() {
        let row = CounterRow {
            name: "egress".into(),
            outcome: "forwarded".into(),
            value: 2,
            description: "Sent.".into(),
        };
        let text = json(&Answer::Counters(vec![row])).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value[0]["name"], "egress");
        assert_eq!(value[0]["value"], 2);
    }

    #[test]
    fn nobody_there_is_said_with_the_remedy() {
        let error = ask(Path::new("/nonexistent/control.sock"), Request::Ports {}).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/control.sock") && error.contains("--socket"), "{error}");
    }
}
