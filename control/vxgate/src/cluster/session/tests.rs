//! Sessions on loopback: real sockets, real TLS, real time.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use cluster::session::frame::MAX_MESSAGE;
use cluster::session::hello::{Section, VERSIONS};
use cluster::session::judge::Refusal;
use graviola::signing::eddsa::Ed25519SigningKey;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::time::timeout;

use super::tls::Unpinned;
use super::*;
use crate::cluster::keys::{self, Dates, Identity};

mod peers;
mod strangers;
#[path = "../../../tests/common/trusting.rs"]
mod trusting;

/// How long anything may take on a machine that others use too.
const PATIENCE: Duration = Duration::from_secs(60);

/// As long as a test may take: what is not about silence must not end by it.
const TIMERS: Timers = Timers {
    keepalive: Duration::from_millis(100),
    hold: PATIENCE,
    handshake: PATIENCE,
    retry: (Duration::from_millis(10), Duration::from_millis(100)),
};

/// A key that can be used more than once.
struct Keys {
    key: Vec<u8>,
    dates: fn() -> Dates,
}

impl Keys {
    fn new() -> Self {
        let mut buffer = [0; 128];
        let key = Ed25519SigningKey::generate().unwrap().to_pkcs8_der(&mut buffer).unwrap().to_vec();
        Self { key, dates: || Dates::Long }
    }

    fn identity(&self) -> Identity {
        let key = Ed25519SigningKey::from_pkcs8_der(&self.key).unwrap();
        let certificate = keys::certify(&key, (self.dates)()).unwrap();
        let pin = Pin::of(&certificate).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()));
        Identity { key, certificate, pin }
    }

    fn pin(&self) -> Pin {
        self.identity().pin
    }
}

/// An address that nobody else uses: of this process, and of one gateway.
fn address() -> SocketAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [.., a, b] = std::process::id().to_be_bytes();
    (Ipv4Addr::new(127, a, b, NEXT.fetch_add(1, Ordering::Relaxed)), 4795).into()
}

fn hello(id: u16, incarnation: u64) -> Hello {
    let sections = [(Section::MODE, [1; 32]), (Section::OVERLAYS, [2; 32])].into();
    Hello { versions: VERSIONS, cluster: 7, id, incarnation, weight: 100, sections }
}

/// A gateway that may be started.
struct Gateway {
    keys: Keys,
    own: Hello,
    address: SocketAddr,
    peers: Vec<PeerConfig>,
    timers: Timers,
}

impl Gateway {
    fn new(id: u16) -> Self {
        Self {
            keys: Keys::new(),
            own: hello(id, u64::from(id)),
            address: address(),
            peers: Vec::new(),
            timers: TIMERS,
        }
    }

    /// As others have it in their configuration.
    fn as_peer(&self) -> PeerConfig {
        PeerConfig { id: self.own.id, address: self.address, pin: self.keys.pin() }
    }

    /// Puts each into the configuration of all others.
    fn introduce(gateways: &mut [&mut Self]) {
        let peers: Vec<PeerConfig> = gateways.iter().map(|gateway| gateway.as_peer()).collect();
        for gateway in gateways {
            let others = peers.iter().filter(|peer| peer.id != gateway.own.id);
            gateway.peers = others.cloned().collect();
        }
    }

    fn pair() -> (Self, Self) {
        let (mut one, mut two) = (Self::new(1), Self::new(2));
        Self::introduce(&mut [&mut one, &mut two]);
        (one, two)
    }

    fn start(&self) -> Running {
        let tls = Tls::new(&self.keys.identity(), &self.peers).unwrap();
        let config = Config {
            own: self.own.clone(),
            listen: vec![self.address],
            peers: self.peers.clone(),
            timers: self.timers,
        };
        Sessions::bind(config, tls).unwrap().start()
    }
}

impl Running {
    /// Ends it, sockets and all.
    async fn end(mut self) {
        self.tasks.shutdown().await;
    }

    /// The next event that is wanted.
    async fn wait<T>(&mut self, what: &str, mut wanted: impl FnMut(&Event) -> Option<T>) -> T {
        let mut seen = Vec::new();
        let found = timeout(PATIENCE, async {
            loop {
                let event = self.events.recv().await.expect("the sessions run");
                match wanted(&event) {
                    Some(found) => return found,
                    None => seen.push(format!("{event:?}")),
                }
            }
        });
        found.await.unwrap_or_else(|_| panic!("{what} did not come: {:#?}", self.handle.statuses()))
    }

    async fn up(&mut self, id: u16) -> Hello {
        self.wait("up", |event| match event {
            Event::Up { peer, hello } if *peer == id => Some(hello.clone()),
            _ => None,
        })
        .await
    }

    async fn down(&mut self, id: u16) -> Why {
        self.wait("down", |event| match event {
            Event::Down { peer, why } if *peer == id => Some(why.clone()),
            _ => None,
        })
        .await
    }

    /// Waits until the peer is refused for a reason that will do.
    async fn refused(&mut self, id: u16, will_do: impl Fn(&Why) -> bool) {
        self.wait("refused", |event| match event {
            Event::Refused { peer, why, .. } if *peer == id && will_do(why) => Some(()),
            Event::Up { peer, .. } if *peer == id => panic!("{id} is up"),
            _ => None,
        })
        .await;
    }

    /// The same while there is a session.
    async fn refused_beside(&mut self, id: u16, will_do: impl Fn(&Why) -> bool) {
        self.refused(id, will_do).await;
        assert!(self.handle.statuses().iter().any(|status| matches!(status.state, State::Up(_))));
    }

    async fn message(&mut self, id: u16) -> Bytes {
        self.wait("a message", |event| match event {
            Event::Message { peer, bytes } if *peer == id => Some(bytes.clone()),
            Event::Down { peer, why } if *peer == id => panic!("{id} is down: {why}"),
            _ => None,
        })
        .await
    }

    /// The same for a stranger.
    async fn stranger(&mut self, will_do: impl Fn(&Why) -> bool) {
        self.wait("a stranger", |event| match event {
            Event::Stranger { why, .. } if will_do(why) => Some(()),
            _ => None,
        })
        .await;
    }
}

fn is(refusal: Refusal) -> impl Fn(&Why) -> bool {
    move |why| *why == Why::Refused(refusal.clone())
}

/// Whether it is the other end that refuses, in words of which these are some.
fn theirs(words: &str) -> impl Fn(&Why) -> bool {
    move |why| matches!(why, Why::Refused(Refusal::Theirs { text, .. }) if text.contains(words))
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}
