//! The edge to TCP, on tokio: one task owns the [`Speaker`]; each connection has two that read and write.
//!
//! Nothing grows: what is read waits until what was read before has been taken in, and that until its changes have been
//! taken by whoever listens. Timers run meanwhile. What is written is encoded when the socket takes it.

mod connection;
mod socket;

use std::collections::HashMap;
use std::future::{pending, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use crate::event::{Change, Event, PeerId};
use crate::session::ConnectionId;
use crate::speaker::{Output, Speaker};
use connection::Writer;

/// Changes and events that wait for whoever listens.
const TOLD: usize = 4096;

/// Pieces of streams that wait to be taken in.
const HAPPENINGS: usize = 8;

/// How long last words may take.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What a speaker tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// For the data plane.
    Change(Change),
    /// For the operator.
    Event(Event),
}

/// Something to do with the speaker.
type Call = Box<dyn FnOnce(&mut Speaker, Instant) + Send>;

/// Asks a running speaker. Clones ask the same one; when the last is gone, the speaker leaves the network.
#[derive(Clone, Debug)]
pub struct Handle {
    calls: mpsc::Sender<Call>,
}

impl Handle {
    /// Calls `call` with the speaker, between two of its own steps: to announce, to look, to change peers. `None` if it
    /// has ended.
    pub async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Speaker, Instant) -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        let call: Call = Box::new(|speaker, now| {
            // Nobody may want the answer any longer.
            let _ = answer.send(call(speaker, now));
        });
        self.calls.send(call).await.ok()?;
        answered.await.ok()
    }
}

/// A speaker with its sockets, to be [run](Driver::run).
#[derive(Debug)]
#[must_use = "a speaker does nothing until it is run"]
pub struct Driver {
    speaker: Speaker,
    listeners: Vec<TcpListener>,
    calls: mpsc::Receiver<Call>,
    told: mpsc::Sender<Told>,
    happenings: (mpsc::Sender<Happening>, mpsc::Receiver<Happening>),
    dials: HashMap<Key, AbortHandle>,
    writers: HashMap<Key, Writer>,
    /// What nobody has taken yet.
    next: Option<Told>,
}

/// A connection of a peer.
type Key = (PeerId, ConnectionId);

/// What tasks tell the one that owns the speaker.
#[derive(Debug)]
pub(crate) enum Happening {
    Connected(Key, io::Result<TcpStream>),
    Data(Key, Vec<u8>),
    /// What was given to write is written.
    Written(Key),
    Closed(Key),
}

impl Driver {
    /// Opens the sockets on which peers may connect; none for a speaker that connects alone. To be called inside a
    /// runtime, with all peers added: their passwords are set now.
    ///
    /// # Errors
    /// Those of the sockets, with the address: `EADDRINUSE` if another BGP speaker runs here, `EACCES` without
    /// CAP_NET_BIND_SERVICE for port 179.
    pub fn new(speaker: Speaker, listen: &[SocketAddr]) -> io::Result<(Self, Handle, mpsc::Receiver<Told>)> {
        let listeners = listen.iter().map(|&address| {
            socket::listen(address, &speaker)
                .map_err(|error| io::Error::new(error.kind(), format!("listen on {address}: {error}")))
        });
        let listeners = listeners.collect::<io::Result<_>>()?;
        let (calls, called) = mpsc::channel(64);
        let (told, telling) = mpsc::channel(TOLD);
        let driver = Self {
            speaker,
            listeners,
            calls: called,
            told,
            happenings: mpsc::channel(HAPPENINGS),
            dials: HashMap::new(),
            writers: HashMap::new(),
            next: None,
        };
        Ok((driver, Handle { calls }, telling))
    }

    /// Starts all peers and runs until the last [`Handle`] is gone and the network has been left, or
    /// [`Speaker::shut_down`] was called and that is done.
    pub async fn run(mut self, words: &str) {
        let peers: Vec<PeerId> = self.speaker.peers().map(|peer| peer.id).collect();
        peers.into_iter().for_each(|peer| self.speaker.start_peer(peer, Instant::now()));
        let (told, mut leaving) = (self.told.clone(), None);
        loop {
            self.follow();
            if self.speaker.is_leaving() {
                // A peer that reads nothing does not hold the process up.
                let deadline = *leaving.get_or_insert_with(|| Instant::now() + LAST_WORDS);
                if self.speaker.is_idle() || Instant::now() >= deadline {
                    break;
                }
            }
            let due = self.speaker.deadline().into_iter().chain(leaving).min();
            let takes_in = self.next.is_none();
            tokio::select! {
                // Timers and calls first: a flood of routes holds neither up.
                biased;
                () = sleep_until(due) => self.speaker.handle_timeout(Instant::now()),
                call = self.calls.recv(), if leaving.is_none() => match call {
                    Some(call) => call(&mut self.speaker, Instant::now()),
                    None => self.speaker.shut_down(words, Instant::now()),
                },
                permit = told.reserve(), if !takes_in => {
                    let told = self.next.take();
                    // An error: nobody listens, so nothing is to be told.
                    if let (Ok(permit), Some(told)) = (permit, told) {
                        permit.send(told);
                    }
                }
                Some(happening) = self.happenings.1.recv(), if takes_in => self.happen(happening),
                (stream, address) = accept(&self.listeners) => self.accepted(stream, address),
            }
        }
        let writers: Vec<_> = self.writers.drain().map(|(_, writer)| writer).collect();
        for writer in writers {
            writer.finish().await;
        }
    }

    fn happen(&mut self, happening: Happening) {
        let now = Instant::now();
        match happening {
            Happening::Connected(key @ (peer, connection), result) => {
                if self.dials.remove(&key).is_none() {
                    return;
                }
                match result.and_then(|stream| self.adopt(key, stream)) {
                    Ok(()) => self.speaker.connected(peer, connection, now),
                    Err(error) => self.speaker.connect_failed(peer, connection, error.to_string(), now),
                }
            }
            Happening::Data((peer, connection), bytes) => {
                self.speaker.received(peer, connection, &bytes, now);
            }
            Happening::Written(key) => {
                if let Some(writer) = self.writers.get_mut(&key) {
                    writer.ready();
                }
            }
            Happening::Closed(key @ (peer, connection)) => {
                if self.writers.remove(&key).is_some() {
                    self.speaker.closed(peer, connection, now);
                }
            }
        }
    }
}

impl Driver {
    /// Does what the speaker wants, as far as it can be done without waiting.
    fn follow(&mut self) {
        loop {
            self.poll();
            let mut sent = false;
            for (&(peer, connection), writer) in &mut self.writers {
                let speaker = &mut self.speaker;
                sent |= writer.offer(|buffer| {
                    speaker.transmit(peer, connection, buffer, Instant::now());
                });
            }
            if !sent {
                break;
            }
        }
    }

    /// Takes what the speaker tells, until there is something that has to wait for its listener.
    fn poll(&mut self) {
        while self.next.is_none()
            && let Some(output) = self.speaker.poll(Instant::now())
        {
            match output {
                Output::Dial { peer, connection } => self.dial((peer, connection)),
                Output::Close { peer, connection, last } => {
                    if let Some(dial) = self.dials.remove(&(peer, connection)) {
                        dial.abort();
                    }
                    if let Some(writer) = self.writers.remove(&(peer, connection)) {
                        writer.close(last);
                    }
                }
                Output::Change(change) => self.tell(Told::Change(change)),
                Output::Event(event) => self.tell(Told::Event(event)),
            }
        }
    }

    fn tell(&mut self, told: Told) {
        if let Err(mpsc::error::TrySendError::Full(told)) = self.told.try_send(told) {
            self.next = Some(told);
        }
    }

    fn dial(&mut self, key: Key) {
        let config = self.speaker.config(key.0).clone();
        let internal = self.speaker.is_internal(key.0);
        let happenings = self.happenings.0.clone();
        let task = tokio::spawn(async move {
            let result = socket::connect(&config, internal).await;
            // The driver may have ended.
            let _ = happenings.send(Happening::Connected(key, result)).await;
        });
        self.dials.insert(key, task.abort_handle());
    }

    fn accepted(&mut self, stream: TcpStream, from: SocketAddr) {
        let Some(peer) = self.speaker.peer_at(from.ip()) else { return };
        // Before it is taken for the peer: a new connection takes the place of one that is not up yet.
        if let Err(error) = socket::check_distance(&stream, self.speaker.config(peer)) {
            return self.speaker.turned_away(peer, error.to_string());
        }
        let Some(key) = self.speaker.accept(from.ip(), Instant::now()) else { return };
        if let Err(error) = self.adopt(key, stream) {
            self.speaker.connect_failed(key.0, key.1, error.to_string(), Instant::now());
        }
    }

    fn adopt(&mut self, key: Key, stream: TcpStream) -> io::Result<()> {
        socket::prepare(&stream, self.speaker.config(key.0), self.speaker.is_internal(key.0))?;
        self.writers.insert(key, connection::spawn(key, stream, self.happenings.0.clone()));
        Ok(())
    }
}

/// The next connection on any of the sockets.
async fn accept(listeners: &[TcpListener]) -> (TcpStream, SocketAddr) {
    poll_fn(|context| {
        for listener in listeners {
            // An error is that of one connection that was given up, or of too few descriptors: the next try tells.
            if let Poll::Ready(Ok(accepted)) = listener.poll_accept(context) {
                return Poll::Ready(accepted);
            }
        }
        Poll::Pending
    })
    .await
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => pending().await,
    }
}
