//! `vxgate show` and `vxgate bindings`: ask the running gateway and print its answer.

mod tables;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::api::{Answer, BindingRow, MAX_BINDINGS, Question, Request};
use crate::bgp::RouteFilter;
use crate::cli::{Assignments, BgpWhat, Bindings, Events, Moves, Output, Show, Transfer, What};
use crate::cluster::{AssignmentFilter, MoveFilter};
pub(crate) use tables::columns;
use tables::table;

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
    /// The bindings to import cannot be read.
    #[error("cannot read bindings from {}: {source}; give the file that `vxgate bindings export` wrote", path.display())]
    Bindings { path: PathBuf, source: io::Error },
}

/// Asks and prints.
pub(crate) fn show(arguments: &Show) -> Result<(), ShowError> {
    let question = match &arguments.what {
        What::Overlays(filter) => Question::Overlays { vni: filter.vni },
        What::Stations(filter) => Question::Stations { vni: filter.vni },
        What::Neighbours(filter) => Question::Neighbours { vni: filter.vni },
        What::Resolution => Question::Resolution,
        What::Ports => Question::Ports,
        What::Workers => Question::Workers,
        What::Rules => Question::Rules,
        What::Punts => Question::Punts,
        What::Taps => Question::Taps,
        What::Counters => Question::Counters,
        What::Cluster => Question::Cluster,
        What::Assignments(Assignments { vni, owner, unowned, limit }) => {
            Question::Assignments(AssignmentFilter {
                vni: *vni,
                owner: *owner,
                unowned: *unowned,
                limit: *limit,
            })
        }
        What::Moves(Moves { gateway, group, limit }) => {
            Question::Moves(MoveFilter { gateway: *gateway, group: *group, limit: *limit })
        }
        What::Bfd => Question::Bfd,
        What::Bgp(BgpWhat::Peers) => Question::BgpPeers,
        What::Bgp(BgpWhat::Routes { family, paths }) => Question::BgpRoutes(RouteFilter {
            family: family.clone(),
            peer: paths.peer,
            limit: paths.limit,
            ..RouteFilter::default()
        }),
        What::Bgp(BgpWhat::Evpn { vni, mac, route_type, paths }) => Question::BgpRoutes(RouteFilter {
            family: Some("evpn".into()),
            vni: *vni,
            mac: mac.clone(),
            route_type: *route_type,
            peer: paths.peer,
            limit: paths.limit,
        }),
    };
    let with_why = match &arguments.what {
        What::Bgp(BgpWhat::Routes { paths, .. } | BgpWhat::Evpn { paths, .. }) => paths.why,
        _ => false,
    };
    let answer = ask(&arguments.socket, Request::Show(question))?;
    print(&match arguments.output {
        Output::Table => table(&answer, with_why),
        Output::Json => json(&answer)?,
    })?;
    Ok(())
}

/// Writes events as they come, until the gateway ends or nobody reads them.
pub(crate) fn events(arguments: &Events) -> Result<(), ShowError> {
    let no_gateway = |source| ShowError::NoGateway { path: arguments.socket.clone(), source };
    let mut stream = UnixStream::connect(&arguments.socket).map_err(no_gateway)?;
    let mut line = serde_json::to_vec(&Request::Events { follow: arguments.follow })
        .map_err(|error| ShowError::NoAnswer(error.into()))?;
    line.push(b'\n');
    stream.write_all(&line)?;
    for line in BufReader::new(stream).lines() {
        let line = line?;
        if let Ok(Answer::Error(message)) = serde_json::from_str(&line) {
            return Err(ShowError::Refused(message));
        }
        let mut out = io::stdout().lock();
        match writeln!(out, "{line}").and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            written => written?,
        }
    }
    Ok(())
}

/// Writes what stations were learned to have, or has the gateway take it over.
pub(crate) fn bindings(arguments: &Bindings) -> Result<(), ShowError> {
    match &arguments.transfer {
        Transfer::Export(filter) => {
            let answer = ask(&arguments.socket, Request::Show(Question::Neighbours { vni: filter.vni }))?;
            let Answer::Neighbours(rows) = answer else { return Err(unexpected()) };
            let rows: Vec<BindingRow> = rows.into_iter().filter_map(BindingRow::of).collect();
            print(&pretty(&rows)?)?;
        }
        Transfer::Import { file } => {
            let failed = |source| ShowError::Bindings { path: file.clone(), source };
            let rows = read_bindings(file).map_err(failed)?;
            for part in rows.chunks(MAX_BINDINGS) {
                let Answer::Imported = ask(&arguments.socket, Request::Import(part.to_vec()))? else {
                    return Err(unexpected());
                };
            }
            print(&format!(
                "{} bindings given to the gateway; it leaves out those of unknown stations\n",
                rows.len()
            ))?;
        }
    }
    Ok(())
}

fn read_bindings(path: &Path) -> io::Result<Vec<BindingRow>> {
    let mut text = String::new();
    match path == Path::new("-") {
        true => io::stdin().read_to_string(&mut text)?,
        false => File::open(path)?.read_to_string(&mut text)?,
    };
    let rows: Vec<BindingRow> = serde_json::from_str(&text)?;
    // All or none.
    for row in &rows {
        row.parse().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    }
    Ok(rows)
}

fn unexpected() -> ShowError {
    ShowError::NoAnswer(io::ErrorKind::InvalidData.into())
}

/// Writes to standard output.
pub(crate) fn print(text: &str) -> io::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        // `vxgate show … | head` is no failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome,
    }
}

/// The answer, if it is none that says no.
fn ask(path: &Path, request: Request) -> Result<Answer, ShowError> {
    let mut stream =
        UnixStream::connect(path).map_err(|source| ShowError::NoGateway { path: path.into(), source })?;
    let mut line = serde_json::to_string(&request).map_err(io::Error::from)?;
    line.push('\n');
    stream.write_all(line.as_bytes())?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    match serde_json::from_str(&answer).map_err(io::Error::from)? {
        Answer::Error(message) => Err(ShowError::Refused(message)),
        answer => Ok(answer),
    }
}

/// The rows alone, one array; of BFD, one object with them.
fn json(answer: &Answer) -> io::Result<String> {
    match answer {
        Answer::Overlays(rows) => pretty(rows),
        Answer::Stations(rows) => pretty(rows),
        Answer::Neighbours(rows) => pretty(rows),
        Answer::Resolution(rows) => pretty(rows),
        Answer::Ports(rows) => pretty(rows),
        Answer::Workers(rows) => pretty(rows),
        Answer::Rules(rows) => pretty(rows),
        Answer::Punts(rows) => pretty(rows),
        Answer::Taps(rows) => pretty(rows),
        Answer::Counters(rows) => pretty(rows),
        Answer::BgpPeers(rows) => pretty(rows),
        Answer::BgpRoutes(rows) => pretty(rows),
        Answer::Cluster(rows) => pretty(rows),
        Answer::Assignments(rows) => pretty(rows),
        Answer::Moves(rows) => pretty(rows),
        Answer::Bfd(view) => pretty(view),
        Answer::Imported => pretty(&[(); 0]),
        Answer::Error(message) => pretty(message),
    }
}

fn pretty<T: serde::Serialize + ?Sized>(value: &T) -> io::Result<String> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::CounterRow;

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
    fn nobody_there_is_said_with_the_remedy() {
        let error = ask(Path::new("/nonexistent/control.sock"), Request::Show(Question::Ports))
            .unwrap_err()
            .to_string();
        assert!(error.contains("/nonexistent/control.sock") && error.contains("--socket"), "{error}");
    }
}
