//! Sessions between gateways: TLS 1.3 over TCP, both certificates pinned, one session a pair.
//!
//! ```text
//!  dial (peer) ───┐                          ┌─▶ Event::{Up, Down, Refused, Stranger, Message}, bounded
//!                 ├─ greet ─▶ peer: one task ┤
//!  listen ── gate ┘    a peer, one session   └── Handle::send, bounded
//! ```
//!
//! Both gateways connect, so that a filter in one direction harms nobody. The one with the lower id decides which
//! connection is the session ([`choose`](cluster::session::judge::choose)).

mod gate;
mod greet;
mod listen;
mod peer;
mod shared;
#[cfg(test)]
mod tests;
mod tls;
mod why;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cluster::session::hello::Hello;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::keys::Pin;
use shared::Shared;
pub(crate) use shared::{SendError, State, Status};
pub(crate) use tls::Tls;
pub(crate) use why::Why;

/// Events that may wait. When they are not taken, peers are not read from.
const EVENTS: usize = 256;

/// What a set of sessions is made of.
#[derive(Debug)]
pub(crate) struct Config {
    /// This gateway, as it says.
    pub(crate) own: Hello,
    /// Where it listens. One of these addresses, unless unspecified, is also where it connects from.
    pub(crate) listen: Vec<SocketAddr>,
    /// The others.
    pub(crate) peers: Vec<PeerConfig>,
    pub(crate) timers: Timers,
}

/// Another gateway.
#[derive(Clone, Debug)]
pub(crate) struct PeerConfig {
    pub(crate) id: u16,
    pub(crate) address: SocketAddr,
    pub(crate) pin: Pin,
}

/// How long what takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timers {
    /// Between two signs of life.
    pub(crate) keepalive: Duration,
    /// For how long a peer may be silent.
    pub(crate) hold: Duration,
    /// Until a connection has become a session, TLS and all.
    pub(crate) handshake: Duration,
    /// Between attempts to connect: at first, and at most.
    pub(crate) retry: (Duration, Duration),
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            keepalive: Duration::from_secs(1),
            hold: Duration::from_secs(3),
            handshake: Duration::from_secs(5),
            retry: (Duration::from_millis(50), Duration::from_secs(1)),
        }
    }
}

/// What happens.
#[derive(Debug)]
pub(crate) enum Event {
    /// A session is up; what is sent from now on arrives in order or the session ends.
    Up { peer: u16, hello: Hello },
    /// It has ended. What was sent and not answered may have arrived or not.
    Down { peer: u16, why: Why },
    /// A peer may not be one, or does not want to; told at each attempt. `is_new`: the reason is another than before.
    Refused { peer: u16, why: Why, is_new: bool },
    /// Who is no peer tried to be one; so many others did since the last was told.
    Stranger { address: IpAddr, why: Why, others: u64 },
    /// A message, at most [`MAX_MESSAGE`](cluster::session::frame::MAX_MESSAGE) bytes long.
    Message { peer: u16, bytes: Bytes },
}

/// By which messages are sent, and the sessions are looked at.
#[derive(Clone, Debug)]
pub(crate) struct Handle(Arc<[Arc<Shared>]>);

impl Handle {
    /// Hands a message over for sending; it waits for nothing.
    ///
    /// # Errors
    /// [`SendError::Full`] when the peer does not take what there is for it (a mebibyte, or 1 024 messages): keep what is to be
    /// said and try again later, the latest state alone if that is enough. [`SendError::Down`] without a session: say it
    /// anew after [`Event::Up`].
    pub(crate) fn send(&self, peer: u16, bytes: Bytes) -> Result<(), SendError> {
        let peer = self.0.iter().find(|shared| shared.id() == peer).ok_or(SendError::Down)?;
        peer.send(bytes)
    }

    /// Ends the session with a peer, if there is one; another is begun.
    pub(crate) fn close(&self, peer: u16) {
        self.0.iter().filter(|shared| shared.id() == peer).for_each(|shared| shared.close());
    }

    /// How all peers are.
    pub(crate) fn statuses(&self) -> Vec<Status> {
        self.0.iter().map(|shared| shared.status()).collect()
    }
}

/// Sessions with their sockets, which nobody is connected by yet.
pub(crate) struct Sessions {
    config: Config,
    tls: Tls,
    listeners: Vec<TcpListener>,
}

impl Sessions {
    /// Opens the sockets. To be called inside the runtime.
    ///
    /// # Errors
    /// As the address cannot be had.
    pub(crate) fn bind(config: Config, tls: Tls) -> io::Result<Self> {
        let listeners =
            config.listen.iter().map(|&address| listen::bind(address)).collect::<Result<_, _>>()?;
        Ok(Self { config, tls, listeners })
    }

    /// Starts to connect and to be connected to.
    pub(crate) fn start(self) -> Running {
        let Self { config, tls, listeners } = self;
        let (tell, events) = mpsc::channel(EVENTS);
        let mut tasks = JoinSet::new();
        let own = Arc::new(config.own);
        let (mut all, mut ends) = (Vec::new(), Vec::new());
        for (peer, connector) in config.peers.iter().zip(tls.connectors) {
            let shared = Arc::new(Shared::new(peer.clone(), tell.clone()));
            let (candidates, inbox) = mpsc::channel(1);
            let dialer = peer::Dialer {
                own: Arc::clone(&own),
                shared: Arc::clone(&shared),
                connector,
                from: config.listen.iter().map(SocketAddr::ip).collect(),
                timers: config.timers,
            };
            tasks.spawn(peer::Peer { dialer, candidates: inbox, events: tell.clone() }.run());
            all.push(Arc::clone(&shared));
            ends.push(listen::End { shared, candidates });
        }
        let desk = Arc::new(listen::Desk::new(own, tls.acceptor, ends, config.timers, tell));
        for listener in listeners {
            tasks.spawn(Arc::clone(&desk).serve(listener));
        }
        Running { handle: Handle(all.into()), events, tasks }
    }
}

/// Sessions at work.
pub(crate) struct Running {
    pub(crate) handle: Handle,
    pub(crate) events: mpsc::Receiver<Event>,
    /// Sessions end with them.
    pub(crate) tasks: JoinSet<()>,
}
