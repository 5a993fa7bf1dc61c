//! BFD at work: a thread of its own keeps the sessions, with real-time priority where that is allowed, so that neither
//! a long answer of control nor a busy core looks like the death of a peer.
//!
//! ```text
//! peers ══ UDP 3784, 4784 ══ thread: bfd::Engine ── News ──▶ clients: BGP sessions, events
//!                               ▲                               │
//!                               └──── calls (add, remove, …) ───┘
//! ```
//!
//! Nothing of the thread waits for others: news that nobody takes in time are joined, the last of a session stays.

mod clients;
mod keeper;
mod placed;
mod sockets;
mod views;

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, mpsc as std_mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bfd::{ConfigError, Key, SessionId, Standing, Timing};
use rustix::event::{EventfdFlags, eventfd};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use crate::config::{BgpSettings, ClusterSettings};

pub(crate) use clients::{Clients, peer_sessions};
use keeper::Keeper;
pub(crate) use placed::{Placed, way_to};
pub(crate) use views::BfdView;

/// News that wait for whoever listens.
const TOLD: usize = 1024;

/// How a session's packets go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Through this interface, to a neighbour on it (RFC 5881). One that is made anew under its name has another index: the
    /// session is to be begun anew on it.
    SingleHop { interface: String, index: u32 },
    /// By the kernel's routes (RFC 5883); with a lower TTL they are not taken.
    MultiHop { min_ttl: u8 },
}

/// A session that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) peer: IpAddr,
    pub(crate) local: IpAddr,
    pub(crate) way: Way,
    pub(crate) timing: Timing,
    /// None: not authenticated.
    pub(crate) keys: Vec<Key>,
}

/// Why a session could not be added.
#[derive(Debug, Error)]
pub(crate) enum AddError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("{0}")]
    Socket(#[from] io::Error),
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// A session came to another state, or its peer's is news.
    Change { peer: IpAddr, segment: String, change: bfd::Change },
    /// The thread did not run for this long, until then.
    Stolen { time: Duration, until: Instant },
}

/// Is told what a session says about its peer, by the thread of BFD: it must not block.
pub(crate) type Watcher = Box<dyn Fn(Standing) + Send>;

/// Who wants a session.
pub(crate) enum Client {
    /// A BGP peer, which hears of it by [`News`].
    Peer,
    /// The cluster, about another gateway, which is told when this one is not to be counted on: [`Holder`].
    Gateway(Watcher),
    /// The cluster, about a router.
    Router(Watcher),
}

impl Client {
    fn watcher(&self) -> Option<&Watcher> {
        match self {
            Self::Peer => None,
            Self::Gateway(watcher) | Self::Router(watcher) => Some(watcher),
        }
    }
}

/// Holds the sessions with other gateways down, all at once, and lets them go again.
#[derive(Clone, Debug)]
pub(crate) struct Holder {
    calls: std_mpsc::Sender<Call>,
    wake: Arc<OwnedFd>,
}

impl Holder {
    /// Says AdminDown to all other gateways, or no longer; waits for nothing. Counts for sessions that are added later too.
    pub(crate) fn hold(&self, down: bool) {
        // Both fail only when the thread has ended, which holds all down.
        let _ = self.calls.send(Box::new(move |keeper, now| keeper.hold(down, now)));
        let _ = rustix::io::write(&*self.wake, &1_u64.to_ne_bytes());
    }
}

/// Something to do between two turns of the thread.
type Call = Box<dyn FnOnce(&mut Keeper, Instant) + Send>;

/// The thread.
#[derive(Debug)]
pub(crate) struct Bfd {
    calls: std_mpsc::Sender<Call>,
    wake: Arc<OwnedFd>,
    thread: JoinHandle<()>,
}

impl Bfd {
    /// Starts the thread if a BGP peer or another gateway of the cluster is to be watched.
    pub(crate) fn start_for(
        bgp: Option<&BgpSettings>,
        cluster: Option<&ClusterSettings>,
    ) -> io::Result<Option<(Self, mpsc::Receiver<News>)>> {
        let by_bgp = bgp.is_some_and(|bgp| !peer_sessions(bgp).is_empty());
        (by_bgp || cluster.is_some_and(ClusterSettings::is_watched)).then(Self::start).transpose()
    }

    /// Starts the thread, without sessions.
    fn start() -> io::Result<(Self, mpsc::Receiver<News>)> {
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let (calls, called) = std_mpsc::channel();
        let (told, news) = mpsc::channel(TOLD);
        let awoken = Arc::clone(&wake);
        let thread = thread::Builder::new()
            .name("bfd".into())
            .spawn(move || Keeper::new(told).run(&awoken, &called))?;
        Ok((Self { calls, wake, thread }, news))
    }

    /// Adds a session, which starts at once. A watcher is told each change by the thread itself, so that nothing is in between.
    async fn add(&self, wanted: Wanted, client: Client) -> Result<SessionId, AddError> {
        let added = self.call(move |keeper, now| keeper.add(&wanted, client, now)).await;
        added.unwrap_or_else(|| Err(io::Error::other("the thread of BFD has ended").into()))
    }

    /// By which all sessions with other gateways are held down.
    pub(crate) fn holder(&self) -> Holder {
        Holder { calls: self.calls.clone(), wake: Arc::clone(&self.wake) }
    }

    /// Removes a session, whose peer is told that it is held down.
    async fn remove(&self, session: SessionId) {
        self.call(move |keeper, now| keeper.remove(session, now)).await;
    }

    /// All sessions, as they are.
    pub(crate) async fn view(&self) -> Option<BfdView> {
        self.call(|keeper, now| keeper.view(now)).await
    }

    /// Holds all sessions down, so that peers know, and ends the thread.
    pub(crate) async fn stop(self) {
        self.call(Keeper::end).await;
        // It ends after this turn. A panic in it has ended the process, or been told on standard error.
        let _ = self.thread.join();
    }

    /// Has the thread do something; `None` if it has ended.
    async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Keeper, Instant) -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        let call: Call = Box::new(|keeper, now| {
            // Nobody may want the answer any longer.
            let _ = answer.send(call(keeper, now));
        });
        self.calls.send(call).ok()?;
        // It cannot overflow: the thread takes it in each turn.
        rustix::io::write(&*self.wake, &1_u64.to_ne_bytes()).ok()?;
        answered.await.ok()
    }
}
