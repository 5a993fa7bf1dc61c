//! Connections that others open.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cluster::session::hello::Hello;
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_rustls::{TlsAcceptor, TlsStream};
use tracing::debug;

use super::gate::{Admitted, Gate};
use super::greet::{greet, linger_briefly};
use super::peer::Link;
use super::shared::Shared;
use super::{Event, Timers, Why, tls};

/// Connections that the kernel keeps until they are looked at.
const BACKLOG: u32 = 128;

/// Strangers are told of no more often.
const STRANGERS_TOLD: Duration = Duration::from_secs(1);

/// A listening socket. One of IPv6 is of that alone, so that one of IPv4 can have the same port.
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let open = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        if address.is_ipv6() {
            sockopt::set_ipv6_v6only(&socket, true)?;
        }
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    open().map_err(|error: io::Error| io::Error::new(error.kind(), format!("{address}: {error}")))
}

/// Where connections of a peer go.
pub(super) struct End {
    pub(super) shared: Arc<Shared>,
    pub(super) candidates: mpsc::Sender<Link>,
}

/// Takes connections in.
pub(super) struct Desk {
    own: Arc<Hello>,
    acceptor: TlsAcceptor,
    ends: Vec<End>,
    timers: Timers,
    events: mpsc::Sender<Event>,
    gate: Arc<Gate>,
    /// When a stranger was told of, and how many were not since.
    strangers: Mutex<(Option<Instant>, u64)>,
}

impl Desk {
    pub(super) fn new(
        own: Arc<Hello>,
        acceptor: TlsAcceptor,
        ends: Vec<End>,
        timers: Timers,
        events: mpsc::Sender<Event>,
    ) -> Self {
        let gate = Gate::new(ends.iter().map(|end| end.shared.address().ip()), Instant::now());
        Self { own, acceptor, ends, timers, events, gate, strangers: Mutex::default() }
    }

    /// Accepts, for ever.
    pub(super) async fn serve(self: Arc<Self>, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, address)) => {
                    if let Some(admitted) = self.gate.admit(address.ip(), Instant::now()) {
                        tokio::spawn(Arc::clone(&self).receive(stream, address.ip(), admitted));
                    }
                }
                Err(error) => {
                    // No descriptors left, say: those in use come back.
                    debug!("cluster sessions: {error}");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// From a connection to a candidate; what became of it is told.
    async fn receive(self: Arc<Self>, stream: TcpStream, address: IpAddr, _admitted: Admitted) {
        let mut end = None;
        let outcome = timeout(self.timers.handshake, self.shake_hands(stream, &mut end)).await;
        match (outcome.unwrap_or(Err(Why::Slow)), end) {
            (Ok(link), Some(end)) => {
                // If the peer's task has another one already it does without this.
                let _ = end.candidates.try_send(link);
            }
            (Err(why), Some(end)) => end.shared.failed(why, false).await,
            (Err(why), None) => self.stranger(address, why).await,
            (Ok(_), None) => {}
        }
    }

    async fn shake_hands<'a>(&'a self, stream: TcpStream, end: &mut Option<&'a End>) -> Result<Link, Why> {
        stream.set_nodelay(true)?;
        let stream = match self.acceptor.accept(stream).into_fallible().await {
            Ok(stream) => stream,
            Err((error, stream)) => {
                // The alert says why; it is lost if the connection is reset.
                linger_briefly(stream).await;
                return Err(error.into());
            }
        };
        let pin = tls::peer_pin(stream.get_ref().1);
        let found = self.ends.iter().find(|end| Some(end.shared.config().pin) == pin);
        // The verifier took no other.
        let found = found.ok_or(Why::NotAccepted)?;
        *end = Some(found);
        let shared = &found.shared;
        greet(TlsStream::from(stream), &self.own, shared.id(), || shared.present()).await
    }

    /// Somebody who is no peer, or the peer at this address with another certificate.
    async fn stranger(&self, address: IpAddr, why: Why) {
        let mut at_address =
            self.ends.iter().filter(|end| end.shared.address().ip() == address.to_canonical());
        match (at_address.next(), at_address.next(), &why) {
            (Some(end), None, why) if why.is_refusal() => return end.shared.failed(why.clone(), false).await,
            // A peer lets go of an attempt when it has the session by another connection.
            (Some(_), _, Why::Io(_) | Why::Closed | Why::Slow) => return,
            _ => {}
        }
        let others = {
            let mut strangers = self.strangers.lock().unwrap_or_else(PoisonError::into_inner);
            let (told, others) = &mut *strangers;
            if told.is_some_and(|told| told.elapsed() < STRANGERS_TOLD) {
                *others += 1;
                return;
            }
            *told = Some(Instant::now());
            std::mem::take(others)
        };
        // Without anybody who listens all of this ends.
        let _ = self.events.send(Event::Stranger { address, why, others }).await;
    }
}
