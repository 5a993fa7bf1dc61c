//! A cluster of gateways: who they are ([`keys`]), what they must have alike ([`digest`]), and how they speak
//! ([`session`]).

mod digest;
mod keys;
mod session;
mod views;

use std::io;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use cluster::session::hello::{Hello, VERSIONS};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::debug;

use crate::cli::ClusterCommand;
use crate::config::{ClusterSettings, Settings};
use crate::events::{EventRow, Events};
use keys::Identity;
use session::{Config, Event, Handle, PeerConfig, Running, Sessions, Timers, Tls};

pub(crate) use keys::{KeyError, Pin};
pub(crate) use views::GatewayRow;

/// Why this gateway cannot be one of a cluster.
#[derive(Debug, Error)]
pub(crate) enum ClusterError {
    /// The files.
    #[error("cluster: {0}")]
    Key(#[from] KeyError),
    /// They do not belong together, or the library does not take them.
    #[error("cluster: {key} and {certificate}: {source}; give both files of one `vxgate cluster keygen`")]
    Tls { key: String, certificate: String, source: rustls::Error },
    /// A peer has the same key.
    #[error(
        "cluster: gateway {id} has the pin of this gateway's own key: make a key for each by `vxgate cluster keygen`"
    )]
    OwnPin { id: u16 },
    /// The sockets.
    #[error("cluster: {0}; set listen in [cluster] to an address of this host and a port that is free")]
    Listen(io::Error),
}

/// What is known of the cluster before anybody is spoken with.
struct Prepared {
    own: Hello,
    pin: Pin,
    peers: Vec<PeerConfig>,
    tls: Tls,
}

fn prepare(settings: &Settings, cluster: &ClusterSettings) -> Result<Prepared, ClusterError> {
    let identity = Identity::load(&cluster.key, &cluster.certificate)?;
    let pin = identity.pin;
    let peers: Vec<PeerConfig> = cluster
        .gateways
        .iter()
        .map(|gateway| PeerConfig { id: gateway.id, address: gateway.session, pin: gateway.pin })
        .collect();
    if let Some(&PeerConfig { id, .. }) = peers.iter().find(|peer| peer.pin == pin) {
        return Err(ClusterError::OwnPin { id });
    }
    let tls = Tls::new(&identity, &peers).map_err(|source| ClusterError::Tls {
        key: cluster.key.display().to_string(),
        certificate: cluster.certificate.display().to_string(),
        source,
    })?;
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let own = Hello {
        versions: VERSIONS,
        cluster: cluster.number,
        id: cluster.id,
        // Enough for 584 years.
        incarnation: started.as_nanos() as u64,
        weight: cluster.weight.into(),
        sections: digest::sections(settings, cluster, pin),
    };
    Ok(Prepared { own, pin, peers, tls })
}

/// Whether all is there that the cluster needs: the pin of this gateway.
pub(crate) fn check(settings: &Settings, cluster: &ClusterSettings) -> Result<Pin, ClusterError> {
    prepare(settings, cluster).map(|prepared| prepared.pin)
}

/// A gateway of a cluster with its sockets, which has spoken with nobody yet.
pub(crate) struct Ready {
    sessions: Sessions,
    own: Hello,
    pin: Pin,
    settings: ClusterSettings,
}

impl Ready {
    /// Reads the key, and opens the sockets. To be called inside the runtime.
    pub(crate) fn new(settings: &Settings, cluster: &ClusterSettings) -> Result<Self, ClusterError> {
        let Prepared { own, pin, peers, tls } = prepare(settings, cluster)?;
        let timers = Timers { keepalive: cluster.keepalive, hold: cluster.hold_time, ..Timers::default() };
        let config = Config { own: own.clone(), listen: cluster.listen.clone(), peers, timers };
        let sessions = Sessions::bind(config, tls).map_err(ClusterError::Listen)?;
        Ok(Self { sessions, own, pin, settings: cluster.clone() })
    }

    /// Starts to speak with the others.
    pub(crate) fn start(self, events: Arc<Events>) -> Cluster {
        let Self { sessions, own, pin, settings } = self;
        let Running { handle, events: coming, tasks } = sessions.start();
        let mut tasks = tasks;
        tasks.spawn(follow(coming, events));
        Cluster { handle, own, pin, settings, _tasks: tasks }
    }
}

/// A gateway at work in its cluster; it leaves when this is dropped.
pub(crate) struct Cluster {
    handle: Handle,
    own: Hello,
    pin: Pin,
    settings: ClusterSettings,
    _tasks: JoinSet<()>,
}

impl Cluster {
    /// All gateways, this one first.
    pub(crate) fn gateways(&self) -> Vec<GatewayRow> {
        views::rows(&self.own, self.pin, &self.settings, self.handle.statuses())
    }
}

/// What happens to sessions, for the operator.
async fn follow(mut coming: mpsc::Receiver<Event>, events: Arc<Events>) {
    while let Some(event) = coming.recv().await {
        let row = |gateway: Option<u16>, event: &str, detail: String| {
            events.publish(EventRow { gateway, ..EventRow::now(event, detail) });
        };
        match event {
            Event::Up { peer, hello } => {
                let detail = format!("incarnation {}, weight {}", hello.incarnation, hello.weight);
                row(Some(peer), "cluster-up", detail);
            }
            Event::Down { peer, why } => row(Some(peer), "cluster-down", why.to_string()),
            Event::Refused { peer, why } => row(Some(peer), "cluster-refused", why.to_string()),
            Event::Stranger { address, why, others } => {
                let more =
                    if others > 0 { format!("; and {others} others since the last") } else { String::new() };
                row(None, "cluster-stranger", format!("{address}: {why}{more}"));
            }
            Event::Message { peer, bytes } => {
                debug!("gateway {peer}: a message of {} bytes, which nobody expects", bytes.len());
            }
        }
    }
}

/// `vxgate cluster`.
pub(crate) fn command(command: &ClusterCommand) -> Result<(), KeyError> {
    match command {
        ClusterCommand::Keygen { out } => {
            let ([key, certificate], pin) = keys::generate(out)?;
            println!(
                "# Of this gateway, in its [cluster]:\nkey = {key:?}\ncertificate = {certificate:?}\n\n\
                 # In its [[cluster.gateway]] on the other gateways, beside its id and session:\npin = \"{pin}\""
            );
        }
        ClusterCommand::Fingerprint { file } => println!("{}", keys::fingerprint(file)?),
    }
    Ok(())
}
