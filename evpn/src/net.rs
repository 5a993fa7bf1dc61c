//! The edge to TCP, on tokio: one task owns the [`Speaker`]; each connection has two that read and write.
//!
//! Nothing grows: what is read waits until what was read before has been taken in, and that while too much waits for
//! whoever listens. Timers run meanwhile, and a peer that waits so is not taken for dead. What is written is encoded when
//! the socket takes it. Work on all routes is done in steps, in between which everybody has a turn.

mod connection;
mod happening;
mod socket;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout_at;

use crate::event::{Change, Event, PeerId};
use crate::family::Family;
use crate::session::ConnectionId;
use crate::speaker::{Output, Speaker};
use connection::Writer;
use happening::{Happening, Happenings};

/// Changes and events that wait for whoever listens.
const TOLD: usize = 4096;

/// Changes and events beyond which peers are not heard until some have been taken: what they say waits in their sockets.
/// Below it they are, however slowly whoever listens takes what is told.
const BACKLOG: usize = 16 * 1024;

/// How long last words may take, and the peer's end of the connection.
const LAST_WORDS: Duration = Duration::from_secs(4);

/// After so much of it a peer that has not taken all withdrawals is told Cease, which means the same for its routes.
const WITHDRAWING: Duration = Duration::from_secs(3);

/// Connections that end in good order at a time; of more, as a peer makes that comes again and again, nothing is waited
/// for.
const CLOSING: usize = 256;

/// How long no connection is accepted when there are no descriptors for them.
const DEAF: Duration = Duration::from_secs(1);

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

/// Something to do with it as soon as no more than so many changes of EVPN announcements wait for peers.
struct Paced {
    ahead: u64,
    call: Call,
}

impl fmt::Debug for Paced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Paced").field("ahead", &self.ahead).finish_non_exhaustive()
    }
}

/// Asks a running speaker. Clones ask the same one; when the last is gone, the speaker leaves the network.
#[derive(Clone, Debug)]
pub struct Handle {
    calls: mpsc::Sender<Call>,
    paced: mpsc::Sender<Paced>,
}

impl Handle {
    /// Calls `call` with the speaker, between two of its own steps: to announce, to look, to change peers. `None` if it
    /// has ended.
    pub async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Speaker, Instant) -> T + Send + 'static,
    ) -> Option<T> {
        let (call, answered) = to_call(call);
        self.calls.send(call).await.ok()?;
        answered.await.ok()
    }

    /// As [`call`](Self::call), one after the other, as soon as no more than `ahead` changes of EVPN announcements wait for the
    /// peer that has taken most: for announcements whose order counts, and of which there are many. Without a peer that speaks
    /// EVPN nothing is waited for. It is called even if nobody waits for the answer any longer.
    pub async fn call_paced<T: Send + 'static>(
        &self,
        ahead: u64,
        call: impl FnOnce(&mut Speaker, Instant) -> T + Send + 'static,
    ) -> Option<T> {
        let (call, answered) = to_call(call);
        self.paced.send(Paced { ahead, call }).await.ok()?;
        answered.await.ok()
    }
}

/// The call, and where its answer comes.
fn to_call<T: Send + 'static>(
    call: impl FnOnce(&mut Speaker, Instant) -> T + Send + 'static,
) -> (Call, oneshot::Receiver<T>) {
    let (answer, answered) = oneshot::channel();
    let call: Call = Box::new(|speaker, now| {
        // Nobody may want the answer any longer.
        let _ = answer.send(call(speaker, now));
    });
    (call, answered)
}

/// A speaker with its sockets, to be [run](Driver::run).
#[derive(Debug)]
#[must_use = "a speaker does nothing until it is run"]
pub struct Driver {
    speaker: Speaker,
    listeners: Vec<TcpListener>,
    calls: mpsc::Receiver<Call>,
    paced: mpsc::Receiver<Paced>,
    /// The next of them.
    waiting: Option<Paced>,
    told: mpsc::Sender<Told>,
    happenings: Happenings,
    /// Until when nobody is accepted.
    deaf: Option<Instant>,
    dials: HashMap<Key, AbortHandle>,
    writers: HashMap<Key, Writer>,
    /// Connections on which last words are said.
    closing: JoinSet<()>,
    /// What nobody has taken yet: one change, or events of sessions.
    untold: VecDeque<Told>,
}

/// A connection of a peer.
type Key = (PeerId, ConnectionId);

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
        let (paced, called_paced) = mpsc::channel(1);
        let (told, telling) = mpsc::channel(TOLD);
        let driver = Self {
            speaker,
            listeners,
            calls: called,
            paced: called_paced,
            waiting: None,
            told,
            happenings: Happenings::new(),
            deaf: None,
            dials: HashMap::new(),
            writers: HashMap::new(),
            closing: JoinSet::new(),
            untold: VecDeque::new(),
        };
        Ok((driver, Handle { calls, paced }, telling))
    }

    /// Starts all peers and runs until the last [`Handle`] is gone and the network has been left, or
    /// [`Speaker::shut_down`] was called and that is done.
    pub async fn run(mut self, words: &str) {
        let peers: Vec<PeerId> = self.speaker.peers().map(|peer| peer.id).collect();
        peers.into_iter().for_each(|peer| self.speaker.start_peer(peer, Instant::now()));
        let (told, mut leaving) = (self.told.clone(), None);
        loop {
            self.follow();
            let now = Instant::now();
            let unsent = self.speaker.unsent(Family::Evpn);
            if let Some(paced) = self.waiting.take_if(|paced| unsent <= paced.ahead) {
                (paced.call)(&mut self.speaker, now);
                continue;
            }
            if self.speaker.is_leaving() {
                let since = *leaving.get_or_insert(now);
                if self.speaker.is_idle() {
                    break;
                }
                if now >= since + WITHDRAWING {
                    self.speaker.cut_short(now);
                    self.follow();
                    break;
                }
            }
            // Timers first: a flood of routes does not hold them up. Nor are they late where its steps take long.
            if self.deadline().is_some_and(|due| due <= now) {
                self.expire(now);
                continue;
            }
            // A step at most, and only when the last one's changes have gone. Who leaves keeps what it knows.
            let works = leaving.is_none() && self.untold.is_empty() && self.speaker.work(now);
            let due = self.deadline().into_iter().chain(leaving.map(|since| since + WITHDRAWING)).min();
            let hears = self.untold.len() + self.speaker.backlog() < BACKLOG;
            let accepts = hears && self.deaf.is_none();
            let listeners = if accepts { &self.listeners[..] } else { &[] };
            let waits = !self.untold.is_empty();
            tokio::select! {
                // Calls are ours: no peer holds them up.
                biased;
                () = sleep_until(due) => {}
                call = self.calls.recv(), if leaving.is_none() => match call {
                    Some(call) => call(&mut self.speaker, Instant::now()),
                    None => self.speaker.shut_down(words, Instant::now()),
                },
                Some(paced) = self.paced.recv(), if leaving.is_none() && self.waiting.is_none() => {
                    self.waiting = Some(paced);
                }
                happening = self.happenings.next(hears, listeners, waits.then_some(&told), works) => {
                    if let Some(happening) = happening {
                        self.happen(happening);
                    }
                }
            }
            while self.closing.try_join_next().is_some() {}
        }
        self.happenings.close();
        let until = leaving.unwrap_or_else(Instant::now) + LAST_WORDS;
        for (_, writer) in self.writers.drain() {
            self.closing.spawn(writer.finish());
        }
        // Whoever is not done by then is cut off.
        let _ = timeout_at(until.into(), async { while self.closing.join_next().await.is_some() {} }).await;
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
            Happening::Accepted(accepted) => match accepted {
                Ok((stream, address)) => self.accepted(stream, address, now),
                Err(error) => {
                    self.deaf = Some(now + DEAF);
                    self.tell(Told::Event(Event::NotAccepting { error: error.to_string() }));
                }
            },
            Happening::Data(key @ (peer, connection), bytes) => {
                if let Some(writer) = self.writers.get(&key) {
                    writer.taken_in();
                    self.speaker.received(peer, connection, &bytes, now);
                }
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

    /// When [`expire`](Self::expire) is to be called.
    fn deadline(&self) -> Option<Instant> {
        self.speaker.deadline().into_iter().chain(self.deaf).min()
    }

    fn expire(&mut self, now: Instant) {
        self.deaf.take_if(|until| *until <= now);
        for (&(peer, connection), writer) in &self.writers {
            if writer.has_unread() {
                self.speaker.heard(peer, connection, now);
            }
        }
        self.speaker.handle_timeout(now);
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

    /// Takes what the speaker tells, until there is something that has to wait for its listener. What sessions want does
    /// not wait.
    fn poll(&mut self) {
        while let Some(output) = self.speaker.poll_session() {
            self.output(output);
        }
        while let Some(told) = self.untold.pop_front() {
            if let Err(mpsc::error::TrySendError::Full(told)) = self.told.try_send(told) {
                self.untold.push_front(told);
                return;
            }
        }
        while self.untold.is_empty()
            && let Some(output) = self.speaker.poll_routes()
        {
            self.output(output);
        }
    }

    fn output(&mut self, output: Output) {
        match output {
            Output::Dial { peer, connection } => self.dial((peer, connection)),
            Output::Close { peer, connection, last } => {
                if let Some(dial) = self.dials.remove(&(peer, connection)) {
                    dial.abort();
                }
                if let Some(writer) = self.writers.remove(&(peer, connection)) {
                    let closing = writer.close(last);
                    if self.closing.len() < CLOSING || self.speaker.is_leaving() {
                        self.closing.spawn(closing);
                    }
                }
            }
            Output::Change(change) => self.tell(Told::Change(change)),
            Output::Event(event) => self.tell(Told::Event(event)),
        }
    }

    /// Nobody may listen any longer: then nothing is to be told.
    fn tell(&mut self, told: Told) {
        if !self.untold.is_empty() {
            self.untold.push_back(told);
        } else if let Err(mpsc::error::TrySendError::Full(told)) = self.told.try_send(told) {
            self.untold.push_back(told);
        }
    }

    fn dial(&mut self, key: Key) {
        let config = self.speaker.config(key.0).clone();
        let internal = self.speaker.is_internal(key.0);
        let happenings = self.happenings.done();
        let task = tokio::spawn(async move {
            let result = socket::connect(&config, internal).await;
            // The driver may have ended.
            let _ = happenings.send(Happening::Connected(key, result)).await;
        });
        self.dials.insert(key, task.abort_handle());
    }

    fn accepted(&mut self, stream: TcpStream, from: SocketAddr, now: Instant) {
        let Some(peer) = self.speaker.peer_at(from.ip()) else { return };
        // Before it is taken for the peer: a new connection takes the place of one that is not up yet.
        if let Err(error) = socket::check_distance(&stream, self.speaker.config(peer)) {
            return self.speaker.turned_away(peer, error.to_string());
        }
        let Some(key) = self.speaker.accept(from.ip(), now) else { return };
        if let Err(error) = self.adopt(key, stream) {
            self.speaker.connect_failed(key.0, key.1, error.to_string(), now);
        }
    }

    fn adopt(&mut self, key: Key, stream: TcpStream) -> io::Result<()> {
        socket::prepare(&stream, self.speaker.config(key.0), self.speaker.is_internal(key.0))?;
        self.writers.insert(key, connection::spawn(key, stream, &self.happenings));
        Ok(())
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => pending().await,
    }
}
