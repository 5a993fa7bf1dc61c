//! The control socket: a Unix stream socket; one line of JSON asks, one line of JSON answers.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use engine::{Engine, Outcome};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;
use tracing::debug;
use wire::Vni;

use crate::config::role_name;

/// Longest request, in bytes.
const MAX_REQUEST: u64 = 4096;

/// Most clients at a time; others wait.
const MAX_CLIENTS: usize = 16;

/// How long a client may take to ask and to read the answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What can be asked.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(tag = "show", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Request {
    /// All overlays, or one.
    Overlays { vni: Option<u32> },
    /// All stations, or those of one overlay.
    Stations { vni: Option<u32> },
    /// The ports.
    Ports {},
    /// The counters.
    Counters {},
}

/// What is answered.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Answer {
    Overlays(Vec<OverlayRow>),
    Stations(Vec<StationRow>),
    Ports(Vec<PortRow>),
    Counters(Vec<CounterRow>),
    /// The request was not understood.
    Error(String),
}

/// An overlay.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
pub(crate) struct OverlayRow {
    pub(crate) vni: u32,
    pub(crate) subnets: Vec<SubnetRow>,
    pub(crate) endpoints: Vec<IpAddr>,
    /// Bytes of the largest inner IP packet.
    pub(crate) mtu: u16,
    /// How many there are.
    pub(crate) stations: usize,
    /// Packets to the outer network, and bytes of those IP packets.
    pub(crate) egress_packets: u64,
    pub(crate) egress_bytes: u64,
    /// Packets to the stations, and bytes of those IP packets.
    pub(crate) ingress_packets: u64,
    pub(crate) ingress_bytes: u64,
}

/// A subnet of an overlay.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
pub(crate) struct SubnetRow {
    pub(crate) prefix: IpNet,
    pub(crate) router: IpAddr,
}

/// A station.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
pub(crate) struct StationRow {
    pub(crate) vni: u32,
    pub(crate) mac: String,
    pub(crate) endpoint: IpAddr,
    pub(crate) addresses: Vec<IpAddr>,
}

/// A port.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
pub(crate) struct PortRow {
    pub(crate) interface: String,
    pub(crate) role: String,
    /// Where the XDP program is: `native` or `generic`.
    pub(crate) xdp: String,
    /// How the socket is bound: `copy` or `zero-copy`.
    pub(crate) bind: String,
    /// Why `auto` did not end in native XDP, if it did not.
    pub(crate) fallback: Option<String>,
    pub(crate) queue: u32,
    pub(crate) mac: String,
    pub(crate) mtu: u16,
    pub(crate) rx_packets: u64,
    pub(crate) rx_bytes: u64,
    pub(crate) tx_packets: u64,
    pub(crate) tx_bytes: u64,
    /// Packets by the XDP program's verdict.
    pub(crate) verdicts: BTreeMap<String, u64>,
    /// The socket's counters.
    pub(crate) socket: BTreeMap<String, u64>,
}

/// A counter of frames.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
pub(crate) struct CounterRow {
    pub(crate) name: String,
    /// `forwarded`, `punted` (to the slow path) or `dropped`.
    pub(crate) outcome: String,
    pub(crate) value: u64,
    pub(crate) description: String,
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
    pub(crate) async fn serve(&self, engine: &Engine) {
        let mut clients = FuturesUnordered::new();
        loop {
            tokio::select! {
                connection = self.listener.accept(), if clients.len() < MAX_CLIENTS => match connection {
                    Ok((stream, _)) => clients.push(timeout(PATIENCE, serve_client(stream, engine))),
                    Err(error) => {
                        // No descriptors left, say: those in use come back.
                        debug!("control socket: {error}");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
                Some(outcome) = clients.next() => match outcome {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => debug!("control client: {error}"),
                    Err(_) => debug!("control client: too slow"),
                },
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

async fn serve_client(stream: UnixStream, engine: &Engine) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    (&mut stream).take(MAX_REQUEST).read_line(&mut line).await?;
    let answer = match serde_json::from_str(&line) {
        Ok(request) => answer(request, engine),
        Err(error) => Answer::Error(format!("bad request: {error}")),
    };
    let mut text = serde_json::to_vec(&answer)?;
    text.push(b'\n');
    stream.write_all(&text).await?;
    stream.shutdown().await
}

fn answer(request: Request, engine: &Engine) -> Answer {
    match request {
        Request::Overlays { vni } => match known_vni(vni) {
            Ok(vni) => Answer::Overlays(engine.overlays(vni).into_iter().map(overlay_row).collect()),
            Err(error) => error,
        },
        Request::Stations { vni } => match known_vni(vni) {
            Ok(vni) => Answer::Stations(engine.stations(vni).into_iter().map(station_row).collect()),
            Err(error) => error,
        },
        Request::Ports {} => Answer::Ports(engine.ports().into_iter().map(port_row).collect()),
        Request::Counters {} => Answer::Counters(engine.counters().into_iter().map(counter_row).collect()),
    }
}

fn known_vni(number: Option<u32>) -> Result<Option<Vni>, Answer> {
    match number.map(|number| Vni::new(number).ok_or(number)).transpose() {
        Ok(vni) => Ok(vni),
        Err(number) => Err(Answer::Error(format!("{number} is no VNI"))),
    }
}

fn overlay_row(status: engine::OverlayStatus) -> OverlayRow {
    let subnet = |subnet: &engine::Subnet| SubnetRow { prefix: subnet.prefix, router: subnet.router };
    OverlayRow {
        vni: status.overlay.vni.value(),
        subnets: status.overlay.subnets.iter().map(subnet).collect(),
        endpoints: status.overlay.endpoints.to_vec(),
        mtu: status.overlay.mtu,
        stations: status.stations,
        egress_packets: status.traffic.egress_packets,
        egress_bytes: status.traffic.egress_bytes,
        ingress_packets: status.traffic.ingress_packets,
        ingress_bytes: status.traffic.ingress_bytes,
    }
}

fn station_row(station: engine::Station) -> StationRow {
    StationRow {
        vni: station.vni.value(),
        mac: station.mac.to_string(),
        endpoint: station.endpoint,
        addresses: station.addresses,
    }
}

fn port_row(port: engine::PortStatus) -> PortRow {
    PortRow {
        interface: port.interface,
        role: role_name(port.role).into(),
        xdp: port.xdp.to_string(),
        bind: port.bind.to_string(),
        fallback: port.fallback,
        queue: port.queue,
        mac: port.mac.to_string(),
        mtu: port.mtu,
        rx_packets: port.traffic.rx_packets,
        rx_bytes: port.traffic.rx_bytes,
        tx_packets: port.traffic.tx_packets,
        tx_bytes: port.traffic.tx_bytes,
        verdicts: port.verdicts.into_iter().collect(),
        socket: BTreeMap::from([
            ("rx_dropped".into(), port.socket.rx_dropped),
            ("rx_ring_full".into(), port.socket.rx_ring_full),
            ("fill_ring_empty".into(), port.socket.fill_ring_empty),
            ("tx_invalid".into(), port.socket.tx_invalid),
        ]),
    }
}

fn counter_row(counter: engine::Counter) -> CounterRow {
    let outcome = match counter.outcome {
        Outcome::Forwarded => "forwarded",
        Outcome::Punted => "punted",
        Outcome::Dropped => "dropped",
    };
    CounterRow {
        name: counter.reason.name().into(),
        outcome: outcome.into(),
        value: counter.value,
        description: counter.reason.description().into(),
    }
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
        let line = serde_json::to_string(&Request::Overlays { vni: Some(7) }).unwrap();
        assert_eq!(line, r#"{"show":"overlays","vni":7}"#);
        assert_eq!(serde_json::from_str::<Request>(r#"{"show":"ports"}"#).unwrap(), Request::Ports {});
        let request = serde_json::from_str::<Request>(r#"{"show":"stations"}"#).unwrap();
        assert_eq!(request, Request::Stations { vni: None });
        assert!(serde_json::from_str::<Request>(r#"{"show":"secrets"}"#).is_err());
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
