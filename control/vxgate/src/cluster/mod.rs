//! A cluster of gateways: who they are ([`keys`]), what they must have alike ([`digest`]), and how they speak
//! ([`session`]), and who serves what ([`runner`]).

mod bfd_keys;
mod bindings;
mod digest;
mod discovery;
mod health;
mod inbox;
mod keys;
mod moves;
mod order;
mod outlook;
mod runner;
mod session;
mod tell;
mod uplink;
mod views;
mod watch;

use std::io;
use std::sync::{Arc, mpsc as std_mpsc};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cluster::assign::{GatewayId, ShardCount, Weight};
use cluster::message::Message;
use cluster::session::hello::{Hello, VERSIONS};
use engine::Engine;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch as watch_channel};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::bfd::Bfd;
use crate::bgp::Bgp;
use crate::cli::ClusterCommand;
use crate::config::{ClusterSettings, GatewaySettings, Settings};
use crate::events::{EventRow, Events};
use crate::mirror::Outlook;
use bindings::{Complete, Exchange};
use discovery::Discovery;
use keys::Identity;
use order::Order;
use session::{Config, Event, Handle, PeerConfig, Running, Sessions, Timers, Tls};

pub(crate) use inbox::Inbox;
pub(crate) use keys::{KeyError, Pin};
pub(crate) use moves::{MoveFilter, MoveRow};
pub(crate) use outlook::{of as outlook_of, of_bgp as outlook_of_bgp};
use runner::{Asker, Parts, Runner};
use uplink::Publisher;
pub(crate) use uplink::{Listener, Uplink};
use views::View;
pub(crate) use views::{AssignmentFilter, AssignmentRow, GatewayRow};
use watch::Ways;

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
    /// The configuration has none such.
    #[error("cluster: 0 is the id of no gateway")]
    Id,
    /// No thread.
    #[error("cluster: no thread: {0}")]
    Thread(io::Error),
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
    bfd_keys: Vec<bfd::Key>,
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
    #[expect(clippy::disallowed_methods, reason = "once, and only compared between processes of one id")]
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
    Ok(Prepared { own, pin, peers, tls, bfd_keys: bfd_keys::load(&cluster.bfd_keys)? })
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
    /// What is shared among the gateways.
    mode: cluster::Mode,
    bfd_keys: Vec<bfd::Key>,
}

impl Ready {
    /// Reads the key, and opens the sockets. To be called inside the runtime.
    pub(crate) fn new(settings: &Settings, cluster: &ClusterSettings) -> Result<Self, ClusterError> {
        let Prepared { own, pin, peers, tls, bfd_keys } = prepare(settings, cluster)?;
        let timers = Timers { keepalive: cluster.keepalive, hold: cluster.hold_time, ..Timers::default() };
        let config = Config { own: own.clone(), listen: cluster.listen.clone(), peers, timers };
        let sessions = Sessions::bind(config, tls).map_err(ClusterError::Listen)?;
        let mode = mode(settings, cluster);
        Ok(Self { sessions, own, pin, settings: cluster.clone(), mode, bfd_keys })
    }

    /// Lets the engine serve nothing. To be called before anybody knows of this gateway.
    pub(crate) fn serve_nothing(&self, engine: &Engine) {
        engine.update(runner::nothing(&runner::groups(&self.mode)));
    }

    /// Starts to speak with the others, and to serve. To be called when the engine forwards.
    pub(crate) fn start(
        self,
        events: Arc<Events>,
        engine: &Arc<Engine>,
        bfd: Option<&Bfd>,
        bgp: Option<&mut Bgp>,
        outlook: Arc<Outlook>,
    ) -> Result<Cluster, ClusterError> {
        let Self { sessions, own, pin, settings, mode, bfd_keys } = self;
        let Running { handle, events: coming, mut tasks } = sessions.start();
        let (to_runner, for_runner) = mpsc::channel(EVENTS);
        let (told, mut rows) = mpsc::channel(EVENTS);
        let publish = Arc::clone(&events);
        tasks.spawn(async move {
            while let Some(row) = rows.recv().await {
                publish.publish(row);
            }
        });
        outlook::watch_files(&settings.health.tracks, &outlook).map_err(ClusterError::Thread)?;
        if bfd_keys.is_empty() && settings.is_watched() {
            warn!(
                "cluster: BFD is not authenticated, and whoever is on a link of the gateways can forge it: give [cluster.bfd] keys"
            );
        }
        let ways = Ways::of(&settings, bfd_keys, Arc::clone(&outlook));
        let inbox = ways.inbox(Discovery::of(&settings));
        let reflectors = bgp.as_ref().is_some_and(|bgp| bgp.has_reflectors());
        let rules = rules(&settings, &own, mode.clone(), reflectors)?;
        let wake = Arc::clone(&inbox);
        let announcer = match (&mode, bgp) {
            (cluster::Mode::Announce(_), Some(bgp)) => {
                let events = Arc::clone(&events);
                let told = move |count, duration| events.publish(tell::announced(count, duration));
                Some(bgp.announcer(move || wake.wake(), told))
            }
            _ => None,
        };
        let order = Arc::new(Order::new(Arc::clone(&inbox)));
        if let cluster::Mode::Announce(vnis) = &mode {
            let engine = Arc::downgrade(engine);
            tasks.spawn(order::follow(Arc::clone(vnis), engine, Arc::clone(&order), handle.clone()));
        }
        let (ask, asked) = std_mpsc::channel();
        let shards = if matches!(mode, cluster::Mode::Floating(_)) { mode.groups() } else { 0 };
        let (publisher, uplink) = Publisher::new(shards);
        let complete = Complete::new(settings.gateways.iter().filter_map(|one| GatewayId::new(one.id)));
        let (to_exchange, for_exchange) = mpsc::channel(bindings::EVENTS);
        let exchange = Exchange {
            engine: Arc::clone(engine),
            handle: handle.clone(),
            inbox: Arc::clone(&inbox),
            complete: Arc::clone(&complete),
            events: for_exchange,
            listens: !reflectors,
        };
        tasks.spawn(exchange.run());
        let runner = Runner::new(Parts {
            settings: rules,
            peers: settings.gateways.iter().filter_map(GatewaySettings::member).collect(),
            discover: settings.discover,
            inbox: Arc::clone(&inbox),
            sessions: for_runner,
            bindings: complete,
            handle: handle.clone(),
            engine: Arc::clone(engine),
            outlook,
            announcer,
            holder: bfd.map(Bfd::holder),
            told,
            asked,
            uplink: publisher,
            detection: settings.detection(),
        });
        let (end, ended) = watch_channel::channel(false);
        let run = move || {
            runner.run();
            // Nobody may wait.
            let _ = end.send(true);
        };
        thread::Builder::new().name("cluster".into()).spawn(run).map_err(ClusterError::Thread)?;
        let followers = Followers {
            runner: to_runner,
            inbox: Arc::clone(&inbox),
            exchange: to_exchange,
            order: Arc::clone(&order),
            handle: handle.clone(),
        };
        tasks.spawn(follow(coming, events, followers));
        Ok(Cluster {
            handle,
            own,
            pin,
            settings,
            mode,
            inbox,
            ways,
            ask,
            ended,
            uplink,
            order,
            _tasks: tasks,
        })
    }
}

/// What is shared among the gateways: all have the same overlays, and the same shards, or there is no session.
fn mode(settings: &Settings, cluster: &ClusterSettings) -> cluster::Mode {
    let shards = cluster.floating.as_ref().and_then(|floating| ShardCount::new(floating.shards).ok());
    match shards {
        Some(shards) => cluster::Mode::Floating(shards),
        None => {
            cluster::Mode::Announce(settings.overlays.iter().map(|overlay| overlay.vni.value()).collect())
        }
    }
}

/// What the rules of the cluster depend on.
fn rules(
    settings: &ClusterSettings,
    own: &Hello,
    mode: cluster::Mode,
    reflectors: bool,
) -> Result<cluster::Settings, ClusterError> {
    let id = GatewayId::new(settings.id).ok_or(ClusterError::Id)?;
    let limit = matches!(mode, cluster::Mode::Announce(_)).then_some(settings.move_limit);
    let rules = cluster::Settings::new(id, own.incarnation, mode);
    Ok(cluster::Settings { weight: Weight(settings.weight), reflectors, move_limit: limit, ..rules })
}

/// A gateway at work in its cluster.
pub(crate) struct Cluster {
    handle: Handle,
    own: Hello,
    pin: Pin,
    settings: ClusterSettings,
    mode: cluster::Mode,
    inbox: Arc<Inbox>,
    ways: Ways,
    ask: std_mpsc::Sender<Asker>,
    /// Its thread has ended.
    ended: watch_channel::Receiver<bool>,
    uplink: Listener,
    order: Arc<Order>,
    _tasks: JoinSet<()>,
}

impl Cluster {
    /// All gateways, this one first.
    pub(crate) async fn gateways(&self) -> Vec<GatewayRow> {
        let busiest = |id| match &self.mode {
            cluster::Mode::Announce(vnis) => vnis.get(self.order.busiest(id)?.0 as usize).copied(),
            cluster::Mode::Floating(_) => None,
        };
        let ids = self.settings.gateways.iter().map(|gateway| gateway.id);
        let busiest: Vec<_> = ids.filter_map(|id| Some((id, busiest(id)?))).collect();
        // Asked for behind it, so that the rules follow what is shown.
        let view = self.view().await;
        views::rows(&self.own, self.pin, &self.settings, self.handle.statuses(), &busiest, view.as_ref())
    }

    /// Overlays or shards, and who serves each; `None` when this gateway has left.
    pub(crate) async fn assignments(&self, filter: &AssignmentFilter) -> Option<Vec<AssignmentRow>> {
        let view = self.view().await?;
        Some(views::assignments(&view, &self.mode, self.settings.floating.as_ref(), self.own.id, filter))
    }

    /// What the rules have come to, as of now; `None` when this gateway has left.
    async fn view(&self) -> Option<View> {
        self.ask(Asker::View).await
    }

    /// What moved of late; `None` when this gateway has left.
    pub(crate) async fn moves(&self, filter: &MoveFilter) -> Option<Vec<MoveRow>> {
        Some(moves::rows(&self.ask(Asker::Moves).await?, self.own.id, filter))
    }

    /// Asks the cluster's thread.
    async fn ask<T>(&self, asker: impl FnOnce(oneshot::Sender<T>) -> Asker) -> Option<T> {
        let (sender, answer) = oneshot::channel();
        // Fails as the answer does: the thread has ended.
        self.ask.send(asker(sender)).ok()?;
        self.inbox.wake();
        answer.await.ok()
    }

    /// Where the rules are told of what control hears.
    pub(crate) fn inbox(&self) -> &Inbox {
        &self.inbox
    }

    /// What BGP is to know of it.
    pub(crate) fn uplink(&self) -> Listener {
        self.uplink.clone()
    }

    /// Keeps BFD sessions with the other gateways; for ever.
    pub(crate) async fn watch(&self, bfd: &Bfd) {
        self.ways.watch(bfd, &self.inbox).await;
        std::future::pending().await
    }

    /// Leaves the cluster: others take over, and only then this gateway lets go. Until then it serves: all else is to go on.
    /// Once it has left, there is nothing to do.
    pub(crate) async fn leave(&self) {
        self.inbox.leave();
        if timeout(LEAVING, self.ended.clone().wait_for(|&ended| ended)).await.is_err() {
            warn!("cluster: nobody took over in {} s", LEAVING.as_secs());
        }
    }
}

/// Events of sessions that wait for the runner.
const EVENTS: usize = 256;

/// How long leaving may take: longer than the rules give it.
const LEAVING: Duration = Duration::from_secs(12);

/// Who hears what happens to sessions.
struct Followers {
    runner: mpsc::Sender<Event>,
    inbox: Arc<Inbox>,
    exchange: mpsc::Sender<Event>,
    order: Arc<Order>,
    handle: Handle,
}

impl Followers {
    async fn hear(&self, event: Event) {
        match event {
            Event::Message { peer, ref bytes } if Message::is_about_bindings(bytes) => {
                if let Err(mpsc::error::TrySendError::Full(_)) = self.exchange.try_send(event) {
                    warn!(
                        "cluster: gateway {peer} tells more of bindings than it may; its session is begun anew"
                    );
                    self.handle.close(peer);
                }
                return;
            }
            Event::Message { peer, ref bytes } if Message::is_about_traffic(bytes) => {
                match Message::decode(bytes) {
                    Ok(Message::Busiest(groups)) => self.order.hear(peer, groups),
                    Ok(_) => {}
                    Err(error) => {
                        warn!("cluster: gateway {peer}: {error}; its session is begun anew");
                        self.handle.close(peer);
                    }
                }
                return;
            }
            Event::Up { peer, ref hello } => {
                _ = self.exchange.send(Event::Up { peer, hello: hello.clone() }).await;
            }
            Event::Down { peer, ref why } => {
                _ = self.exchange.send(Event::Down { peer, why: why.clone() }).await;
            }
            Event::Message { .. } | Event::Refused { .. } | Event::Stranger { .. } => {}
        }
        // Nobody takes it: the gateway has left.
        let _ = self.runner.send(event).await;
        self.inbox.wake();
    }
}

/// What happens to sessions, for the operator and for the rules.
async fn follow(mut coming: mpsc::Receiver<Event>, events: Arc<Events>, followers: Followers) {
    while let Some(event) = coming.recv().await {
        tell_session(&event, &events);
        followers.hear(event).await;
    }
}

fn tell_session(event: &Event, events: &Events) {
    let row = |gateway: Option<u16>, event: &str, detail: String| {
        events.publish(EventRow { gateway, ..EventRow::now(event, detail) });
    };
    match event {
        Event::Up { peer, hello } => {
            let detail = format!("incarnation {}, weight {}", hello.incarnation, hello.weight);
            row(Some(*peer), "cluster-up", detail);
        }
        Event::Down { peer, why } => row(Some(*peer), "cluster-down", why.to_string()),
        Event::Refused { peer, why, is_new: true } => {
            row(Some(*peer), "cluster-refused", why.to_string());
        }
        Event::Refused { .. } => {}
        Event::Stranger { address, why, others } => {
            let more =
                if *others > 0 { format!("; and {others} others since the last") } else { String::new() };
            row(None, "cluster-stranger", format!("{address}: {why}{more}"));
        }
        Event::Message { peer, bytes } => debug!("gateway {peer}: a message of {} bytes", bytes.len()),
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
