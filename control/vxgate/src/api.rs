//! The control socket: a Unix stream socket; one line of JSON asks, one line of JSON answers.

mod rows;

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use engine::{Engine, Update};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;
use tracing::debug;
use wire::Vni;

use crate::bfd::{Bfd, BfdView};
use crate::bgp::{Bgp, PathRow, PeerRow, RouteFilter};
use crate::cluster::{AssignmentFilter, AssignmentRow, Cluster, GatewayRow, MoveFilter, MoveRow};
use crate::config::Settings;
use crate::events::{EventRow, Events};
use crate::observe::{self, Observe};

#[cfg(test)]
pub(crate) use rows::SubnetRow;
pub(crate) use rows::{
    BindingRow, CounterRow, LimitRow, NeighbourRow, OverlayRow, PortRow, PuntRow, ResolutionRow, RuleRow,
    StationRow, TapRow, WorkerRow,
};

/// Longest request, in bytes.
const MAX_REQUEST: u64 = 65_536;

/// Most bindings in a request: each takes 125 bytes at most.
pub(crate) const MAX_BINDINGS: usize = 500;

/// Most clients at a time; others wait.
const MAX_CLIENTS: usize = 16;

/// How long a client may take to ask and to read the answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What can be asked.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Request {
    /// What there is.
    Show(Question),
    /// To take bindings over, [`MAX_BINDINGS`] at most; those of stations that are not known are left out.
    Import(Vec<BindingRow>),
    /// To see packets: the answer is a stream.
    Observe(Observe),
    /// To see events, one a line: those that are kept, and if it is to follow, those that come.
    Events { follow: bool },
}

/// What can be shown.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Question {
    /// All overlays, or one.
    Overlays { vni: Option<u32> },
    /// All stations, or those of one overlay.
    Stations { vni: Option<u32> },
    /// The addresses that stations were learned to have, in all overlays or in one.
    Neighbours { vni: Option<u32> },
    /// How many addresses are known and asked for, and which limits were met.
    Resolution,
    /// The ports.
    Ports,
    /// The workers.
    Workers,
    /// The rules.
    Rules,
    /// What the slow path is given.
    Punts,
    /// Who observes packets.
    Taps,
    /// The counters.
    Counters,
    /// The gateways of the cluster.
    Cluster,
    /// The overlays or shards of the cluster, and who serves each.
    Assignments(AssignmentFilter),
    /// Which of them moved of late.
    Moves(MoveFilter),
    /// The peers of BGP.
    BgpPeers,
    /// Routes of BGP.
    BgpRoutes(RouteFilter),
    /// The sessions of BFD.
    Bfd,
}

/// What is answered.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Answer {
    Overlays(Vec<OverlayRow>),
    Stations(Vec<StationRow>),
    Neighbours(Vec<NeighbourRow>),
    Resolution(Vec<ResolutionRow>),
    Ports(Vec<PortRow>),
    Workers(Vec<WorkerRow>),
    Rules(Vec<RuleRow>),
    Punts(Vec<PuntRow>),
    Taps(Vec<TapRow>),
    Counters(Vec<CounterRow>),
    BgpPeers(Vec<PeerRow>),
    BgpRoutes(Vec<PathRow>),
    Cluster(Vec<GatewayRow>),
    Assignments(Vec<AssignmentRow>),
    Moves(Vec<MoveRow>),
    Bfd(BfdView),
    /// The bindings were handed to the engine.
    Imported,
    /// The request was not understood.
    Error(String),
}

/// Why there is no control socket.
#[derive(Debug, Error)]
pub(crate) enum SocketError {
    /// A gateway is there.
    #[error(
        "a gateway is running: it listens on {}; stop it first, or give this one another socket in [gateway]",
        .0.display()
    )]
    InUse(PathBuf),
    /// A file is there.
    #[error("{} is there and is no socket: remove it, or choose another socket in [gateway]", .0.display())]
    NotASocket(PathBuf),
    /// Something else.
    #[error("cannot make the control socket {}: {source}; choose another socket in [gateway]", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// Whether somebody listens there.
pub(crate) fn is_served(path: &Path) -> bool {
    std::os::unix::net::UnixStream::connect(path).is_ok()
}

/// The control socket; its file is removed when this is dropped.
pub(crate) struct Server {
    listener: UnixListener,
    path: PathBuf,
}

impl Server {
    /// Makes the socket, for this user alone. A file that a dead gateway left is replaced.
    pub(crate) fn bind(path: &Path) -> Result<Self, SocketError> {
        let failed = |source| SocketError::Io { path: path.into(), source };
        if is_served(path) {
            return Err(SocketError::InUse(path.into()));
        }
        match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.file_type().is_socket() => fs::remove_file(path).map_err(failed)?,
            Ok(_) => return Err(SocketError::NotASocket(path.into())),
            Err(_) => {}
        }
        if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
            DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        }
        let server = Self { listener: UnixListener::bind(path).map_err(failed)?, path: path.into() };
        fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(server)
    }

    /// Answers clients, for ever.
    pub(crate) async fn serve(&self, served: &Served<'_>) {
        let mut clients = FuturesUnordered::new();
        loop {
            tokio::select! {
                connection = self.listener.accept(), if clients.len() < MAX_CLIENTS => match connection {
                    Ok((stream, _)) => clients.push(serve_client(stream, served)),
                    Err(error) => {
                        // No descriptors left, say: those in use come back.
                        debug!("control socket: {error}");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
                Some(outcome) = clients.next() => {
                    if let Err(error) = outcome {
                        debug!("control client: {error}");
                    }
                }
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // If it is gone already, so much the better.
        let _ = fs::remove_file(&self.path);
    }
}

/// What clients ask about.
pub(crate) struct Served<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) settings: &'a Settings,
    pub(crate) bgp: Option<&'a Bgp>,
    pub(crate) cluster: Option<&'a Cluster>,
    pub(crate) events: &'a Events,
    pub(crate) bfd: Option<&'a Bfd>,
}

impl Served<'_> {
    fn bgp(&self) -> Result<&Bgp, String> {
        self.bgp.ok_or_else(|| "there is no [bgp] in the configuration".into())
    }

    async fn assignments(&self, filter: &AssignmentFilter) -> Result<Answer, String> {
        let cluster = self.cluster.ok_or("there is no [cluster] in the configuration")?;
        let rows = cluster.assignments(filter).await;
        rows.map(Answer::Assignments).ok_or_else(|| "this gateway has left its cluster".into())
    }

    async fn moves(&self, filter: &MoveFilter) -> Result<Answer, String> {
        let cluster = self.cluster.ok_or("there is no [cluster] in the configuration")?;
        let rows = cluster.moves(filter).await;
        rows.map(Answer::Moves).ok_or_else(|| "this gateway has left its cluster".into())
    }

    async fn bfd(&self) -> Result<Answer, String> {
        let bfd = self
            .bfd
            .ok_or("nothing in the configuration wants BFD: see bfd of [[bgp.peer]], and [cluster]")?;
        bfd.view().await.map(Answer::Bfd).ok_or_else(|| "the thread of BFD has ended".into())
    }
}

async fn serve_client(stream: UnixStream, served: &Served<'_>) -> io::Result<()> {
    let engine = served.engine;
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    timeout(PATIENCE, (&mut stream).take(MAX_REQUEST).read_line(&mut line)).await??;
    let answer = match serde_json::from_str(&line) {
        Ok(Request::Show(Question::BgpPeers)) => match served.bgp() {
            Ok(bgp) => Ok(Answer::BgpPeers(bgp.peers().await)),
            Err(error) => Err(error),
        },
        Ok(Request::Show(Question::BgpRoutes(filter))) => match served.bgp() {
            Ok(bgp) => Ok(Answer::BgpRoutes(bgp.routes(filter).await)),
            Err(error) => Err(error),
        },
        Ok(Request::Show(Question::Bfd)) => served.bfd().await,
        Ok(Request::Show(Question::Cluster)) => match served.cluster {
            Some(cluster) => Ok(Answer::Cluster(cluster.gateways().await)),
            None => Err("there is no [cluster] in the configuration".into()),
        },
        Ok(Request::Show(Question::Assignments(filter))) => served.assignments(&filter).await,
        Ok(Request::Show(Question::Moves(filter))) => served.moves(&filter).await,
        Ok(Request::Show(question)) => show(question, engine, served.settings),
        Ok(Request::Events { follow }) => return tell_events(stream, served.events, follow).await,
        Ok(Request::Import(rows)) => import(&rows, engine),
        Ok(Request::Observe(wanted)) => return observe::serve(wanted, stream.into_inner(), engine).await,
        Err(error) => Err(format!("bad request: {error}")),
    };
    let mut text = serde_json::to_vec(&answer.unwrap_or_else(Answer::Error))?;
    text.push(b'\n');
    timeout(PATIENCE, stream.write_all(&text)).await??;
    stream.shutdown().await
}

/// Tells events until the client goes.
async fn tell_events(mut stream: BufReader<UnixStream>, events: &Events, follow: bool) -> io::Result<()> {
    let (kept, mut coming) = events.follow();
    let mut text = Vec::new();
    for row in &kept {
        serde_json::to_writer(&mut text, row)?;
        text.push(b'\n');
    }
    timeout(PATIENCE, stream.write_all(&text)).await??;
    if !follow {
        return stream.shutdown().await;
    }
    let mut unexpected = [0; 64];
    loop {
        tokio::select! {
            row = coming.recv() => match row {
                Ok(row) => {
                    let mut line = serde_json::to_vec(&row)?;
                    line.push(b'\n');
                    timeout(PATIENCE, stream.write_all(&line)).await??;
                }
                // It reads too slowly; `vxgate events` again has what is still kept.
                Err(RecvError::Lagged(missed)) => {
                    let mut line = serde_json::to_vec(&EventRow::missed(missed))?;
                    line.push(b'\n');
                    timeout(PATIENCE, stream.write_all(&line)).await??;
                }
                Err(RecvError::Closed) => break,
            },
            said = stream.read(&mut unexpected) => if said? == 0 { break },
        }
    }
    stream.shutdown().await
}

fn import(rows: &[BindingRow], engine: &Engine) -> Result<Answer, String> {
    let bindings = rows.iter().map(BindingRow::parse).collect::<Result<Vec<_>, _>>()?;
    engine.update(Update::Bindings(bindings));
    Ok(Answer::Imported)
}

fn show(question: Question, engine: &Engine, settings: &Settings) -> Result<Answer, String> {
    Ok(match question {
        Question::Overlays { vni } => {
            Answer::Overlays(engine.overlays(known_vni(vni)?).into_iter().map(OverlayRow::from).collect())
        }
        Question::Stations { vni } => {
            Answer::Stations(engine.stations(known_vni(vni)?).into_iter().map(StationRow::from).collect())
        }
        Question::Neighbours { vni } => {
            let mut neighbours = engine.neighbours(known_vni(vni)?);
            neighbours.sort_unstable_by_key(|neighbour| (neighbour.vni, neighbour.address));
            Answer::Neighbours(neighbours.into_iter().map(NeighbourRow::from).collect())
        }
        Question::Resolution => Answer::Resolution(resolution(engine)),
        Question::Ports => Answer::Ports(engine.ports().into_iter().map(PortRow::from).collect()),
        Question::Workers => Answer::Workers(engine.workers().into_iter().map(WorkerRow::from).collect()),
        Question::Rules => Answer::Rules(
            (1..).zip(&settings.rules).map(|(number, rule)| RuleRow::new(number, rule)).collect(),
        ),
        Question::Punts => {
            let row = |count| PuntRow::new(count, &settings.punt_limits);
            Answer::Punts(engine.punts().into_iter().map(row).collect())
        }
        Question::Taps => {
            let interfaces = observe::interfaces(engine);
            Answer::Taps(engine.taps().into_iter().map(|status| TapRow::new(status, &interfaces)).collect())
        }
        Question::Counters => {
            let of_workers = engine.counters().into_iter().map(CounterRow::from);
            let deeds = engine.deeds().into_iter().map(CounterRow::from);
            Answer::Counters(of_workers.chain(deeds).collect())
        }
        // Answered where one can wait.
        Question::BgpPeers
        | Question::BgpRoutes(_)
        | Question::Bfd
        | Question::Cluster
        | Question::Assignments(_)
        | Question::Moves(_) => {
            return Err("whoever knows was not asked".into());
        }
    })
}

fn resolution(engine: &Engine) -> Vec<ResolutionRow> {
    let row = |(name, value, description): (&str, _, &str)| ResolutionRow {
        name: name.into(),
        value,
        description: description.into(),
    };
    let announced = engine.announced_statistics();
    engine.neighbour_statistics().each().chain(announced.each()).map(row).collect()
}

fn known_vni(number: Option<u32>) -> Result<Option<Vni>, String> {
    number.map(|number| Vni::new(number).ok_or_else(|| format!("{number} is no VNI"))).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("vxgate-api-{}-{name}", std::process::id()))
    }

    fn within_tokio<T>(work: impl FnOnce() -> T) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _entered = runtime.enter();
        work()
    }

    #[test]
    fn requests_are_one_line_each() {
        let line = serde_json::to_string(&Request::Show(Question::Overlays { vni: Some(7) })).unwrap();
        assert_eq!(line, r#"{"show":{"overlays":{"vni":7}}}"#);
        let parse = |text| serde_json::from_str::<Request>(text);
        assert_eq!(parse(r#"{"show":"ports"}"#).unwrap(), Request::Show(Question::Ports));
        let request = parse(r#"{"show":{"stations":{}}}"#).unwrap();
        assert_eq!(request, Request::Show(Question::Stations { vni: None }));
        assert!(parse(r#"{"show":"secrets"}"#).is_err());
        assert!(parse(r#"{"show":{"stations":{"mac":1}}}"#).is_err());
    }

    #[test]
    fn a_full_import_fits_a_request() {
        let row = BindingRow {
            vni: Vni::MAX,
            address: "2001:1db8:ffff:ffff:ffff:ffff:ffff:ffff".parse().unwrap(),
            mac: "02:00:00:00:00:01".into(),
            age_ms: u64::MAX,
        };
        let request = Request::Import(vec![row; MAX_BINDINGS]);
        let len = serde_json::to_string(&request).unwrap().len() as u64;
        assert!(len < MAX_REQUEST, "{len}");
    }

    #[test]
    fn the_socket_is_private_and_leaves_nothing() {
        within_tokio(|| {
            let directory = directory("private");
            let path = directory.join("control.sock");
            let server = Server::bind(&path).unwrap();
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!((mode(&directory), mode(&path)), (0o700, 0o600));
            assert!(matches!(Server::bind(&path), Err(SocketError::InUse(_))), "a second gateway");
            drop(server);
            assert!(!path.exists());
            fs::remove_dir_all(directory).unwrap();
        });
    }

    #[test]
    fn what_a_dead_gateway_left_is_replaced_but_no_other_file() {
        within_tokio(|| {
            let directory = directory("stale");
            fs::create_dir_all(&directory).unwrap();
            let path = directory.join("control.sock");
            drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
            assert!(path.exists());
            drop(Server::bind(&path).unwrap());
            fs::write(&path, "mine").unwrap();
            assert!(matches!(Server::bind(&path), Err(SocketError::NotASocket(_))));
            assert_eq!(fs::read(&path).unwrap(), b"mine");
            fs::remove_dir_all(directory).unwrap();
        });
    }
}
