//! One peer: connecting to it, and the session.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use cluster::session::frame::Kind;
use cluster::session::hello::Hello;
use cluster::session::judge::{Choice, Refusal, choose};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_rustls::{TlsConnector, TlsStream};

use super::greet::{self, Candidate, greet};
use super::shared::{Outgoing, Shared};
use super::{Event, Timers, Why};

/// A connection to a gateway.
pub(super) type Link = Candidate<TlsStream<TcpStream>>;

/// What it takes to connect to a peer.
pub(super) struct Dialer {
    pub(super) own: Arc<Hello>,
    pub(super) shared: Arc<Shared>,
    pub(super) connector: TlsConnector,
    /// Own addresses, of which one of the peer's family is connected from.
    pub(super) from: Vec<IpAddr>,
    pub(super) timers: Timers,
}

/// What the task of a peer needs.
pub(super) struct Peer {
    pub(super) dialer: Dialer,
    /// Connections that the peer opened.
    pub(super) candidates: mpsc::Receiver<Link>,
    pub(super) events: mpsc::Sender<Event>,
}

/// How a session ended, and the connection that replaces it, if one does.
type End = (Why, Option<Link>);

impl Dialer {
    async fn dial(&self) -> Result<Link, Why> {
        let address = self.shared.address();
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        let is_usable = |from: &&IpAddr| from.is_ipv4() == address.is_ipv4() && !from.is_unspecified();
        if let Some(&from) = self.from.iter().find(is_usable) {
            socket.bind(SocketAddr::from((from, 0)))?;
        }
        let stream = socket.connect(address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::IpAddress(address.ip().into());
        let stream = self.connector.connect(name, stream).await?;
        greet(TlsStream::from(stream), &self.own, self.shared.id(), || self.shared.present()).await
    }
}

impl Peer {
    /// Keeps a session up, for ever.
    pub(super) async fn run(mut self) {
        let Dialer { timers, .. } = self.dialer;
        let mut pause = Pause::new(timers.retry);
        let mut next = None;
        loop {
            let link = match next.take() {
                Some(link) => link,
                None => self.connect(&mut pause).await,
            };
            let begin = Instant::now();
            let peer = self.dialer.shared.id();
            let (why, replacement) = self.session(link).await;
            next = replacement;
            self.dialer.shared.down(why.clone());
            if self.events.send(Event::Down { peer, why }).await.is_err() {
                return;
            }
            if begin.elapsed() > timers.retry.1 {
                pause.reset();
            }
        }
    }

    /// A connection that can be the session, whoever opened it.
    async fn connect(&mut self, pause: &mut Pause) -> Link {
        let Self { dialer, candidates, .. } = self;
        loop {
            let attempt = async {
                sleep(pause.next()).await;
                timeout(dialer.timers.handshake, dialer.dial()).await.unwrap_or(Err(Why::Slow))
            };
            let outcome = tokio::select! {
                Some(link) = candidates.recv() => return link,
                outcome = attempt => outcome,
            };
            match outcome {
                Ok(link) => return link,
                Err(why) => dialer.shared.failed(why, true).await,
            }
        }
    }

    /// From the first to the last of a session.
    async fn session(&mut self, link: Link) -> End {
        let Self { dialer: Dialer { own, shared, timers, .. }, candidates, events } = self;
        let Candidate { mut stream, buffer, hello } = link;
        if own.id < hello.id
            && let Err(why) = greet::write(&mut stream, Kind::Open, &[]).await
        {
            return (why, None);
        }
        let incarnation = hello.incarnation;
        let outgoing = shared.up(hello.clone());
        // From here on: whoever hears that it is up may end it at once.
        let ended = shared.ended.notified();
        if events.send(Event::Up { peer: shared.id(), hello }).await.is_err() {
            return (Why::Closed, None);
        }
        let (reading, writing) = tokio::io::split(stream);
        let mut reader = Reader { stream: reading, buffer, shared, events };
        let mut writer = Writer { stream: writing, outgoing, shared };
        let end = {
            let read = reader.run(timers.hold);
            let write = writer.run(timers.keepalive);
            let replaced = replaced(candidates, own, incarnation, shared.id());
            tokio::select! {
                why = read => (why, None),
                why = write => (why, None),
                end = replaced => end,
                () = ended => (Why::GivenUp, None),
            }
        };
        let stream = reader.stream.unsplit(writer.stream);
        drop(writer.outgoing);
        // Its last words are that it is a copy, if it lives all the same.
        let later = end.1.as_ref().map(|link| link.hello.incarnation).filter(|later| *later > incarnation);
        let last = later.map(|later| Refusal::Copy { id: shared.id(), earlier: incarnation, later });
        tokio::spawn(finish(stream, last, Arc::clone(own)));
        end
    }
}

/// Last words on a connection that is no session any longer.
async fn finish(mut stream: TlsStream<TcpStream>, last: Option<Refusal>, own: Arc<Hello>) {
    match last {
        Some(refusal) => greet::refuse(&mut stream, &refusal, &own).await,
        None => greet::linger_briefly(stream).await,
    }
}

/// Waits for a connection that replaces the session with this incarnation of the peer.
async fn replaced(
    candidates: &mut mpsc::Receiver<Link>,
    own: &Arc<Hello>,
    incarnation: u64,
    peer: u16,
) -> End {
    while let Some(mut link) = candidates.recv().await {
        match choose(Some(incarnation), link.hello.incarnation) {
            Choice::Take => return (Why::Restarted, Some(link)),
            // The other one decides, and has.
            Choice::Spare if own.id > peer => return (Why::Replaced, Some(link)),
            Choice::Spare => drop(tokio::spawn(greet::linger_briefly(link.stream))),
            Choice::Copy => {
                let refusal = Refusal::Copy { id: peer, earlier: link.hello.incarnation, later: incarnation };
                let own = Arc::clone(own);
                drop(tokio::spawn(async move { greet::refuse(&mut link.stream, &refusal, &own).await }));
            }
        }
    }
    std::future::pending().await
}

struct Reader<'a, S> {
    stream: ReadHalf<S>,
    buffer: BytesMut,
    shared: &'a Shared,
    events: &'a mpsc::Sender<Event>,
}

impl<S: AsyncRead> Reader<'_, S> {
    /// Hands messages over until the session ends. While they are not taken nothing is read, and no silence counted.
    async fn run(&mut self, hold: Duration) -> Why {
        loop {
            match self.step(hold).await {
                Ok(()) => {}
                Err(why) => return why,
            }
        }
    }

    async fn step(&mut self, hold: Duration) -> Result<(), Why> {
        let copy = |(kind, body): (Kind, &[u8])| (kind, Bytes::copy_from_slice(body));
        while let Some((kind, body)) = greet::take(&mut self.buffer, copy)? {
            match kind {
                Kind::Ping => {}
                Kind::Message => {
                    self.shared.received.fetch_add(1, Ordering::Relaxed);
                    let message = Event::Message { peer: self.shared.id(), bytes: body };
                    self.events.send(message).await.map_err(|_| Why::Closed)?;
                }
                Kind::Refused => return Err(Refusal::decode(&body).into()),
                Kind::Hello | Kind::Open => return Err(Why::Protocol(format!("{kind:?} in a session"))),
            }
        }
        timeout(hold, greet::fill(&mut self.stream, &mut self.buffer))
            .await
            .unwrap_or(Err(Why::Silent(hold.as_secs())))
    }
}

struct Writer<'a, S> {
    stream: WriteHalf<S>,
    outgoing: Outgoing,
    shared: &'a Shared,
}

impl<S: AsyncWrite> Writer<'_, S> {
    /// Sends what there is, and signs of life, until the connection ends.
    async fn run(&mut self, keepalive: Duration) -> Why {
        let mut ticks = interval(keepalive);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let written = tokio::select! {
                // Signs of life are sent whatever else there is.
                biased;
                _ = ticks.tick() => greet::write(&mut self.stream, Kind::Ping, &[]).await,
                message = self.outgoing.next() => match message {
                    Some(message) => {
                        self.shared.sent.fetch_add(1, Ordering::Relaxed);
                        greet::write(&mut self.stream, Kind::Message, &message).await
                    }
                    None => return Why::Closed,
                },
            };
            if let Err(why) = written {
                return why;
            }
        }
    }
}

/// The time between attempts: doubled each time, with jitter of a quarter, so that two gateways don't meet for ever.
struct Pause {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Pause {
    fn new((first, most): (Duration, Duration)) -> Self {
        Self { first, most, next: first }
    }

    fn next(&mut self) -> Duration {
        let pause = self.next.mul_f64(0.75 + 0.5 * fastrand::f64());
        self.next = (self.next * 2).min(self.most);
        pause
    }

    fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_second() {
        let milliseconds = Duration::from_millis;
        let mut pause = Pause::new((milliseconds(50), milliseconds(1000)));
        for expected in [50, 100, 200, 400, 800, 1000, 1000] {
            let (low, high) = (milliseconds(expected * 3 / 4), milliseconds(expected * 5 / 4 + 1));
            let is = pause.next();
            assert!((low..=high).contains(&is), "{is:?}, {expected}");
        }
        pause.reset();
        assert!(pause.next() <= milliseconds(63));
    }
}
