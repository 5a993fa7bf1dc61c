//! BGP at work: the speaker in control's runtime, what it hears on the way to the engine, and what the gateway
//! announces.
//!
//! ```text
//! peers ══ TCP ══ evpn::net ── Change ──▶ feed ── Update::Announced, in batches ──▶ slow path
//!                  │    ▲                  └──── Event ──▶ log, `vxgate events`
//!                  │    ├── announce: MAC addresses and VTEPs of the gateway, by overlay
//!                  │    └── ingress: prefixes of the overlays, as the cluster says
//!                  └── views: `vxgate show bgp`
//! ```
//!
//! Nothing grows between the two: the engine has a few batches before it at most, and what it has not taken holds the
//! speaker back, and that its peers.

mod announce;
mod events;
mod feed;
mod ingress;
mod moves;
mod reflectors;
mod views;

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use engine::{Config, Engine, Shard};
use evpn::net::{Driver, Handle, Told};
use evpn::{EthernetSegment, Identity, PeerId, Speaker};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tracing::warn;
use wire::MacAddr;

use crate::cluster::{Inbox, Listener};
use crate::config::{
    BgpProblem, BgpSettings, ClusterSettings, GatewaySettings, PasswordError, any_of_families, own_mac,
};
use crate::events::Events;
pub(crate) use events::BgpEvents;
use ingress::Ingress;
pub(crate) use ingress::{NextHopProblem, next_hops};
pub(crate) use moves::Announcer;
pub(crate) use reflectors::WatchedRouters;
pub(crate) use views::{PathRow, PeerRow, RouteFilter};

/// The port of BGP (RFC 4271 §8.2.1).
const PORT: u16 = 179;

/// Overlays that are announced in one go: sessions get their turn in between.
const OVERLAYS_AT_ONCE: usize = 256;

/// What peers are told at the end (RFC 9003).
const LAST_WORDS: &str = "vxgate ends";

/// How long leaving the network may take, withdrawals included.
const LEAVING: Duration = Duration::from_secs(5);

/// Why there is no BGP.
#[derive(Debug, Error)]
pub(crate) enum BgpError {
    /// A password is missing.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// What the crate thinks of the peers.
    #[error(transparent)]
    Peer(#[from] BgpProblem),
    /// Which address the next hop is.
    #[error(transparent)]
    NextHop(#[from] NextHopProblem),
    /// The sockets.
    #[error(
        "BGP: {0}; stop the other BGP speaker of this host, or set listen in [bgp] to addresses of the gateway's own, or \
         to []"
    )]
    Listen(io::Error),
}

/// A speaker with its sockets, which has said nothing yet.
pub(crate) struct Ready {
    driver: Driver,
    handle: Handle,
    told: Feed,
    events: BgpEvents,
    common: announce::Common,
    overlays: Arc<[announce::Announced]>,
    ingress: Ingress,
}

impl Ready {
    /// Opens the sockets. To be called inside the runtime.
    pub(crate) fn new(
        settings: &BgpSettings,
        config: &Config,
        cluster: Option<&ClusterSettings>,
        events: Arc<Events>,
    ) -> Result<Self, BgpError> {
        let of_shards = config.shards.iter().flat_map(Shard::vteps);
        let discovered = cluster.filter(|cluster| cluster.discover);
        let segment = discovered.map(|cluster| EthernetSegment::of_cluster(cluster.number));
        let identity = Identity {
            // What others announce for our shards is what we announce ourselves, and no news.
            vteps: config.vteps.iter().copied().chain(of_shards).collect(),
            shared_macs: [config.router_mac].into_iter().collect(),
            cluster: cluster.map(Others::of).into_iter().flat_map(|others| others.vteps).collect(),
            segment,
        };
        let ingress = Ingress::new(settings, config, cluster)?;
        let mut speaker = Speaker::new(
            settings.local.clone(),
            identity,
            settings.duplicates,
            u64::from(std::process::id()),
        );
        let peers = settings.peer_configs()?;
        let addresses: Vec<IpAddr> = peers.iter().map(|peer| peer.address).collect();
        for peer in peers {
            speaker.add_peer(peer).map_err(BgpProblem::from)?;
        }
        speaker
            .set_overlays(config.overlays.iter().map(|overlay| (overlay.vni, settings.targets(overlay.vni))));
        let listen: Vec<SocketAddr> = match &settings.listen {
            Some(listen) => listen.iter().map(|&address| (address, PORT).into()).collect(),
            None => any_of_families(addresses.iter().copied(), PORT),
        };
        let (common, overlays) = announce::of(config);
        if let Some((segment, vtep)) = segment.zip(common.vtep()) {
            speaker.join_segment(segment, vtep);
        }
        let (driver, handle, told) = Driver::new(speaker, &listen).map_err(BgpError::Listen)?;
        let reflectors = settings.reflectors().collect();
        let told = Feed { told, of_cluster: cluster.map(Others::of), reflectors };
        let (overlays, events) = (overlays.into(), BgpEvents::new(addresses, events));
        Ok(Self { driver, handle, told, events, common, overlays, ingress })
    }

    /// Starts the sessions, and announces what the gateway is. To be called when it forwards.
    pub(crate) async fn start(self) -> Bgp {
        let Self { driver, handle, told, events, common, overlays, ingress } = self;
        let task = tokio::spawn(driver.run(LAST_WORDS));
        for overlays in overlays.chunks(OVERLAYS_AT_ONCE) {
            let (common, overlays) = (common.clone(), overlays.to_vec());
            let announce = move |speaker: &mut Speaker, _| {
                overlays.iter().for_each(|overlay| overlay.announce(&common, speaker));
            };
            handle.call(announce).await;
        }
        Bgp {
            task,
            handle,
            told: Some(told),
            events,
            common,
            overlays,
            moves: None,
            ingress: Some(ingress),
            keeper: JoinSet::new(),
        }
    }
}

/// A speaker at work.
pub(crate) struct Bgp {
    task: JoinHandle<()>,
    handle: Handle,
    told: Option<Feed>,
    events: BgpEvents,
    common: announce::Common,
    overlays: Arc<[announce::Announced]>,
    /// Announces what the cluster's thread takes.
    moves: Option<JoinHandle<()>>,
    ingress: Option<Ingress>,
    /// Keeps it as the cluster says.
    keeper: JoinSet<()>,
}

impl Bgp {
    /// What the network says, which goes to the engine by [`feed`](Feed::run).
    pub(crate) fn take_feed(&mut self) -> Option<Feed> {
        self.told.take()
    }

    /// How the routers of overlays, by their place, are announced and withdrawn, in mode `announce`. `room` is called when there
    /// is room for more, `told` when a peer has been told all that was moved: how many overlays, and how long that took.
    pub(crate) fn announcer(
        &mut self,
        room: impl Fn() + Send + 'static,
        told: impl Fn(usize, Duration) + Send + 'static,
    ) -> Announcer {
        let (announcer, moves) = moves::Moves::new(self.common.clone(), Arc::clone(&self.overlays));
        self.moves = Some(tokio::spawn(moves.run(self.handle.clone(), room, told)));
        announcer
    }

    /// Announces the overlays' prefixes, as the cluster says; at once if there are no rules of a cluster (`None`).
    pub(crate) fn announce_ingress(&mut self, uplink: Option<Listener>) {
        if let Some(ingress) = self.ingress.take() {
            self.keeper.spawn(ingress::keep(ingress, self.handle.clone(), uplink));
        }
    }

    /// Whether there is a peer that tells of stations and endpoints. To be asked before the [feed](Self::take_feed) is taken.
    pub(crate) fn has_reflectors(&self) -> bool {
        self.told.as_ref().is_some_and(|feed| !feed.reflectors.is_empty())
    }

    /// What happened.
    pub(crate) fn events(&self) -> &BgpEvents {
        &self.events
    }

    /// BFD says that a peer is dead: its routes go at once.
    pub(crate) async fn peer_down(&self, peer: PeerId) {
        self.handle.call(move |speaker: &mut Speaker, now| speaker.peer_down(peer, now)).await;
    }

    /// Withdraws all, and ends the sessions in order. What peers still say is not heard.
    pub(crate) async fn leave(self) {
        let Self { task, handle, told, moves, mut keeper, .. } = self;
        if let Some(moves) = moves {
            moves.abort();
            // Until then it could announce something.
            let _ = moves.await;
        }
        keeper.shutdown().await;
        drop((handle, told));
        if timeout(LEAVING, task).await.is_err() {
            warn!("BGP: a peer has not taken all withdrawals in {} s: its session is cut", LEAVING.as_secs());
        }
    }
}

/// What the network says.
pub(crate) struct Feed {
    told: mpsc::Receiver<Told>,
    /// In a cluster.
    of_cluster: Option<Others>,
    reflectors: HashSet<PeerId>,
}

/// The cluster's other gateways, which have a MAC address of their own in each overlay, and are no stations.
struct Others {
    macs: HashSet<MacAddr>,
    vteps: HashSet<IpAddr>,
}

impl Others {
    fn of(cluster: &ClusterSettings) -> Self {
        Self {
            macs: cluster.gateways.iter().map(|gateway| own_mac(gateway.id)).collect(),
            vteps: cluster.gateways.iter().flat_map(GatewaySettings::vteps).collect(),
        }
    }
}

impl Feed {
    /// Hands it over until the speaker ends.
    pub(crate) async fn run(
        self,
        engine: &Engine,
        events: &BgpEvents,
        cluster: Option<&Inbox>,
        routers: WatchedRouters,
    ) {
        let Self { told, of_cluster, reflectors } = self;
        feed::run(told, engine, events, (of_cluster.as_ref(), cluster), (reflectors, routers)).await;
    }
}
