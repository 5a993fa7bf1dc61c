//! `vxgate run`, `check` and `cleanup`: everything wired together.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use engine::{Config, Engine, Event, StartError};
use thiserror::Error;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use crate::api::{self, Served, Server, SocketError, WorkerRow};
use crate::bfd::{self, Bfd, News};
use crate::bgp::{self, BgpError};
use crate::blackhole::{self, InstallError};
use crate::cluster::{self, ClusterError};
use crate::config::{BgpSettings, ConfigError, Settings, role_name};
use crate::events::Events;
use crate::igp::{Igp, IgpError};
use crate::mirror::netlink::{Netlink, NetlinkError};
use crate::mirror::{Driver, Mirror, Questions};
use crate::preflight::{self, Machine, Obstacles};

/// Questions of the engine that may wait; it asks again for what was lost.
const EVENT_QUEUE: usize = 1024;

/// Why a command failed.
#[derive(Debug, Error)]
pub(crate) enum RunError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Obstacles(#[from] Obstacles),
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error(transparent)]
    Blackhole(#[from] InstallError),
    #[error(transparent)]
    Bgp(#[from] BgpError),
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    Igp(#[from] IgpError),
    #[error("the data plane did not start: {0}")]
    Engine(#[from] StartError),
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    #[error("no asynchronous runtime or signal handler: {0}; see the limits of open files (ulimit -n)")]
    Runtime(#[from] io::Error),
}

/// Carries out a command that talks to the kernel; control has one thread, this one.
fn block_on(work: impl Future<Output = Result<(), RunError>>) -> Result<(), RunError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// Runs the gateway until a signal ends it.
pub(crate) fn run(path: &Path) -> Result<(), RunError> {
    let start = Instant::now();
    let settings = Settings::load(path)?;
    block_on(serve(&settings, start))
}

async fn serve(settings: &Settings, start: Instant) -> Result<(), RunError> {
    let mut signals = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];

    // Nothing is changed until all of this is right. A second gateway would find the ports taken too, but this says
    // it best.
    refuse_if_running(settings)?;
    let (netlink, notices) = Netlink::connect_for_notices()?;
    let machine = Machine::inspect(netlink.tables().await?);
    let config = preflight::prepare(settings, &machine)?;
    let server = Server::bind(&settings.socket)?;
    let events = Arc::new(Events::new());
    let of_cluster = settings.cluster.as_ref();
    let bgp = settings
        .bgp
        .as_ref()
        .map(|bgp| bgp::Ready::new(bgp, &config, of_cluster, Arc::clone(&events)))
        .transpose()?;
    let cluster = settings.cluster.as_ref().map(|of| cluster::Ready::new(settings, of)).transpose()?;
    let (bfd, news) = Bfd::start_for(settings.bgp.as_ref(), settings.cluster.as_ref())?.unzip();

    let igp = match settings.igp {
        true => Some(Igp::start(&config, of_cluster, netlink.clone()).await?),
        false => None,
    };
    let installed = blackhole::install(&netlink, &machine.tables.routes, &settings.blocks).await?;
    drop(machine);
    let (outlook, watched) = cluster::outlook_of(settings.cluster.as_ref(), config.ports.len());
    let routers = cluster::outlook_of_bgp(settings.cluster.as_ref(), &outlook);
    let mirror = Mirror::new(&config, watched, Arc::clone(&outlook));
    let (overlays, stations) = (config.overlays.len(), config.stations.len());
    let (ask, hosts) = mpsc::channel(EVENT_QUEUE);
    let endpoints_changed = Arc::new(Notify::new());
    let notify = Arc::clone(&endpoints_changed);
    let heard = Box::new(move |event| match event {
        // Full: the engine asks again.
        Event::Resolve(next_hop) => _ = ask.try_send(next_hop),
        Event::Endpoints => notify.notify_one(),
    });
    let engine = match Engine::start(config, heard) {
        Ok(engine) => Arc::new(engine),
        Err(error) => {
            // Some modes can be known only by trying; what could not be had must leave nothing behind.
            blackhole::remove(&netlink, &installed).await;
            return Err(error.into());
        }
    };
    for port in engine.ports() {
        info!(
            "port {}: {}, XDP {}, socket {}, queues {}, MAC {}, MTU {}",
            port.interface,
            role_name(port.role),
            port.xdp,
            port.bind,
            port.queues,
            port.mac,
            port.mtu
        );
        if let Some(fallback) = port.fallback {
            info!("port {}: no native XDP: {fallback}", port.interface);
        }
    }
    for worker in engine.workers().into_iter().map(WorkerRow::from) {
        let or_any = |number: Option<String>| number.unwrap_or_else(|| "any".into());
        info!(
            "worker {}: core {}, NUMA node {}, polling {}, frame memory of {} pages",
            worker.number,
            or_any(worker.core.map(|core| core.to_string())),
            or_any(worker.node.map(|node| node.to_string())),
            worker.polling,
            worker.pages
        );
    }
    info!("flow table: records of {} pages", engine.record_pages());
    if let Some(refusal) = engine.zero_copy_refusal() {
        info!("copy mode on all ports: {refusal}");
    }

    let tell = |update| engine.update(update);
    let endpoints = || engine.endpoints();
    let mut questions = Questions { hosts, endpoints_changed: &endpoints_changed, endpoints: &endpoints };
    let outcome = match Driver::start(netlink, notices, mirror, &tell).await {
        Ok(mut driver) => {
            // Without its routes the gateway drops what comes.
            engine.settle();
            if let Some(cluster) = &cluster {
                cluster.serve_nothing(&engine);
            }
            info!("{overlays} overlays, {stations} stations, started in {} ms", start.elapsed().as_millis());
            let mut bgp = match bgp {
                Some(ready) => Some(ready.start().await),
                None => None,
            };
            let cluster = cluster
                .map(|ready| ready.start(Arc::clone(&events), &engine, bfd.as_ref(), bgp.as_mut(), outlook))
                .transpose()?;
            let uplink = cluster.as_ref().map(cluster::Cluster::uplink);
            let mut igp_keeper = JoinSet::new();
            if let Some(igp) = igp {
                igp_keeper.spawn(igp.keep(uplink.clone()));
            }
            if let Some(bgp) = &mut bgp {
                bgp.announce_ingress(uplink);
            }
            info!("ready");
            let feed = bgp.as_mut().and_then(bgp::Bgp::take_feed);
            let served = Served {
                engine: &engine,
                settings,
                bgp: bgp.as_ref(),
                bfd: bfd.as_ref(),
                cluster: cluster.as_ref(),
                events: &events,
            };
            let mut asked = false;
            let outcome = tokio::select! {
                outcome = driver.run(&mut questions) => outcome,
                () = server.serve(&served) => Ok(()),
                () = follow(feed.zip(bgp.as_ref()), &engine, cluster.as_ref(), routers) => Ok(()),
                outcome = watch(bfd.as_ref().zip(news), settings.bgp.as_ref(), bgp.as_ref(), &events) => outcome,
                () = watch_gateways(cluster.as_ref(), bfd.as_ref()) => Ok(()),
                // Another gateway serves before this one does no longer, which may take a while: until then next hops and
                // stations are followed, and the operator is answered.
                () = leave(&mut signals, cluster.as_ref()) => {
                    asked = true;
                    Ok(())
                }
            };
            // Something else has ended it.
            if let Some(cluster) = cluster.filter(|_| !asked) {
                cluster.leave().await;
            }
            // Its devices go, and all routes by them.
            igp_keeper.shutdown().await;
            // Peers send elsewhere before nobody is here any longer.
            if let Some(bgp) = bgp {
                bgp.leave().await;
            }
            if let Some(bfd) = bfd {
                bfd.stop().await;
            }
            driver.clean_up().await;
            outcome
        }
        Err(error) => Err(error),
    };
    // Whoever else had it has ended.
    if let Some(engine) = Arc::into_inner(engine) {
        engine.stop();
    }
    info!("stopped; the blackhole routes of the blocks stay (`vxgate cleanup` removes them)");
    Ok(outcome?)
}

/// What the network says, to the engine; for ever.
async fn follow(
    feed: Option<(bgp::Feed, &bgp::Bgp)>,
    engine: &Engine,
    cluster: Option<&cluster::Cluster>,
    routers: bgp::WatchedRouters,
) {
    if let Some((feed, bgp)) = feed {
        feed.run(engine, bgp.events(), cluster.map(cluster::Cluster::inbox), routers).await;
        error!("BGP has ended: routes stay as they are; restart the gateway");
    }
    std::future::pending().await
}

/// Has BFD watch the other gateways of the cluster; for ever.
async fn watch_gateways(cluster: Option<&cluster::Cluster>, bfd: Option<&Bfd>) {
    if let (Some(cluster), Some(bfd)) = (cluster, bfd) {
        cluster.watch(bfd).await;
    }
    std::future::pending().await
}

/// Has BFD watch BGP peers, and tells what it finds; for ever.
async fn watch(
    bfd: Option<(&Bfd, mpsc::Receiver<News>)>,
    settings: Option<&BgpSettings>,
    bgp: Option<&bgp::Bgp>,
    events: &Arc<Events>,
) -> Result<(), NetlinkError> {
    match (bfd, settings, bgp) {
        (Some((bfd, news)), Some(settings), Some(bgp)) => {
            bfd::Clients::new(bfd, bfd::peer_sessions(settings))?.run(news, bgp).await;
        }
        (Some((_, mut news)), ..) => {
            let told = bgp::BgpEvents::new(Vec::new(), Arc::clone(events));
            while let Some(news) = news.recv().await {
                told.tell_bfd(&news);
            }
        }
        (None, ..) => {}
    }
    std::future::pending().await
}

fn refuse_if_running(settings: &Settings) -> Result<(), SocketError> {
    match api::is_served(&settings.socket) {
        true => Err(SocketError::InUse(settings.socket.clone())),
        false => Ok(()),
    }
}

async fn any([one, other]: &mut [Signal; 2]) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}

/// Waits for a signal, and leaves the cluster, unless another signal comes.
async fn leave(signals: &mut [Signal; 2], cluster: Option<&cluster::Cluster>) {
    any(signals).await;
    info!("stopping");
    let Some(cluster) = cluster else { return };
    tokio::select! {
        () = cluster.leave() => {}
        () = any(signals) => warn!("stopping at once, whoever serves"),
    }
}

/// Checks the file, then the machine; says what it found on standard output.
pub(crate) fn check(path: &Path) -> Result<(), RunError> {
    let settings = Settings::load(path)?;
    println!(
        "{}: valid: {} ports, {} overlays, {} stations",
        path.display(),
        settings.ports.len(),
        settings.overlays.len(),
        settings.stations.len()
    );
    block_on(async {
        let mut machine = Machine::inspect(Netlink::connect()?.tables().await?);
        if api::is_served(&settings.socket) {
            println!("a gateway is running: the XDP programs of the ports are taken to be its");
            machine.tables.links.iter_mut().for_each(|link| link.xdp_program = None);
        }
        let config = preflight::prepare(&settings, &machine)?;
        print_ports(&config);
        if let Some(bgp) = &settings.bgp {
            bgp.peer_configs().map_err(BgpError::from)?;
            if bgp.peers.iter().any(|peer| peer.is_told_prefixes()) {
                bgp::next_hops(bgp, &config).map_err(BgpError::from)?;
            }
            println!("BGP: AS {}, {} peers", bgp.local.asn, bgp.peers.len());
        }
        if let Some(of) = &settings.cluster {
            let pin = cluster::check(&settings, of)?;
            println!("cluster {}: gateway {} of {}, pin {pin}", of.number, of.id, of.gateways.len() + 1);
        }
        println!("this machine can run it");
        Ok(())
    })
}

fn print_ports(config: &Config) {
    let list = |addresses: &[IpAddr]| addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" ");
    for port in &config.ports {
        println!(
            "port {}: {}, MAC {}, MTU {}, addresses {}",
            port.interface,
            role_name(port.role),
            port.mac,
            port.mtu,
            list(&port.addresses)
        );
    }
    println!("VTEP addresses {}", list(&config.vteps));
}

/// Removes what this program put into the kernel, and says what.
pub(crate) fn cleanup(path: &Path) -> Result<(), RunError> {
    let settings = Settings::load(path)?;
    refuse_if_running(&settings)?;
    block_on(async {
        let netlink = Netlink::connect()?;
        let tables = netlink.tables().await?;
        for route in tables.routes.iter().filter(|route| blackhole::is_ours(route)) {
            if settings.blocks.contains(&route.prefix) {
                netlink.delete_blackhole(route.prefix).await?;
                println!("removed blackhole route {}", route.prefix);
            } else {
                println!("left blackhole route {}, which is no block of this configuration", route.prefix);
            }
        }
        let ports: Vec<u32> = tables
            .links
            .iter()
            .filter(|link| settings.ports.iter().any(|port| port.interface == link.name))
            .map(|link| link.index)
            .collect();
        for neighbour in netlink.neighbours().await? {
            if neighbour.ours && ports.contains(&neighbour.key.link) {
                match netlink.delete_neighbour(neighbour.key).await {
                    Ok(()) => println!("removed neighbour {}", neighbour.key.address),
                    Err(error) => warn!("neighbour {} stays: {error}", neighbour.key.address),
                }
            }
        }
        Ok(())
    })
}
