//! What the tasks of a peer, the listener, and who sends know of it together.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use cluster::session::frame::MAX_MESSAGE;
use cluster::session::hello::Hello;
use thiserror::Error;
use tokio::sync::{Notify, mpsc};

use super::{Event, PeerConfig, Why};

/// Messages for a peer that may wait.
pub(super) const QUEUED_MESSAGES: usize = 1024;

/// Bytes for a peer that may wait.
pub(super) const QUEUED_BYTES: usize = 1 << 20;

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum SendError {
    /// The peer takes less than is said to it.
    #[error("the peer does not take what there is for it")]
    Full,
    /// There is no session.
    #[error("there is no session")]
    Down,
    /// It does not fit a frame.
    #[error("more than {MAX_MESSAGE} bytes")]
    TooLong,
}

/// How a session is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// There is none; why the last attempt failed.
    Connecting(Option<Why>),
    /// It may be no peer, until a configuration is changed.
    Refused(Why),
    /// There is one, with who said this.
    Up(Hello),
}

/// How a peer is.
#[derive(Clone, Debug)]
pub(crate) struct Status {
    pub(crate) id: u16,
    pub(crate) state: State,
    pub(crate) since: Instant,
    /// Messages in all sessions.
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// Bytes that wait for being sent.
    pub(crate) queued: usize,
}

#[derive(Debug)]
pub(super) struct Shared {
    config: PeerConfig,
    events: mpsc::Sender<Event>,
    inner: Mutex<Inner>,
    queued: Arc<AtomicUsize>,
    /// Rings when the session is to end.
    pub(super) ended: Notify,
    pub(super) sent: AtomicU64,
    pub(super) received: AtomicU64,
}

#[derive(Debug)]
struct Inner {
    state: State,
    since: Instant,
    outlet: Option<mpsc::Sender<Bytes>>,
    /// The refusal that was told last, since the last session.
    told: Option<Why>,
}

/// Where the messages for a session come out.
pub(super) struct Outgoing {
    messages: mpsc::Receiver<Bytes>,
    queued: Arc<AtomicUsize>,
}

impl Outgoing {
    /// The next message, once it comes.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        let bytes = self.messages.recv().await?;
        self.queued.fetch_sub(bytes.len(), Ordering::Relaxed);
        Some(bytes)
    }
}

impl Shared {
    pub(super) fn new(config: PeerConfig, events: mpsc::Sender<Event>) -> Self {
        let inner = Inner { state: State::Connecting(None), since: Instant::now(), outlet: None, told: None };
        Self {
            config,
            events,
            inner: Mutex::new(inner),
            queued: Arc::default(),
            ended: Notify::new(),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
        }
    }

    pub(super) fn id(&self) -> u16 {
        self.config.id
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.config.address
    }

    pub(super) fn config(&self) -> &PeerConfig {
        &self.config
    }

    /// The incarnation with which there is a session.
    pub(super) fn present(&self) -> Option<u64> {
        match &self.inner().state {
            State::Up(hello) => Some(hello.incarnation),
            State::Connecting(_) | State::Refused(_) => None,
        }
    }

    pub(super) fn status(&self) -> Status {
        let inner = self.inner();
        Status {
            id: self.config.id,
            state: inner.state.clone(),
            since: inner.since,
            sent: self.sent.load(Ordering::Relaxed),
            received: self.received.load(Ordering::Relaxed),
            queued: self.queued.load(Ordering::Relaxed),
        }
    }

    pub(super) fn send(&self, bytes: Bytes) -> Result<(), SendError> {
        if bytes.len() > MAX_MESSAGE {
            return Err(SendError::TooLong);
        }
        let inner = self.inner();
        let outlet = inner.outlet.as_ref().ok_or(SendError::Down)?;
        let len = bytes.len();
        // Nobody else adds meanwhile: the lock is held.
        if self.queued.load(Ordering::Relaxed) + len > QUEUED_BYTES {
            return Err(SendError::Full);
        }
        self.queued.fetch_add(len, Ordering::Relaxed);
        outlet.try_send(bytes).map_err(|error| {
            self.queued.fetch_sub(len, Ordering::Relaxed);
            match error {
                mpsc::error::TrySendError::Full(_) => SendError::Full,
                mpsc::error::TrySendError::Closed(_) => SendError::Down,
            }
        })
    }

    pub(super) fn close(&self) {
        // Who comes later is not meant.
        self.ended.notify_waiters();
    }

    /// A session begins.
    pub(super) fn up(&self, hello: Hello) -> Outgoing {
        let (outlet, messages) = mpsc::channel(QUEUED_MESSAGES);
        let mut inner = self.inner();
        self.queued.store(0, Ordering::Relaxed);
        inner.outlet = Some(outlet);
        inner.told = None;
        Self::turn(&mut inner, State::Up(hello));
        Outgoing { messages, queued: Arc::clone(&self.queued) }
    }

    /// It has ended. The receiver of its messages must be gone.
    pub(super) fn down(&self, why: Why) {
        let mut inner = self.inner();
        inner.outlet = None;
        self.queued.store(0, Ordering::Relaxed);
        Self::turn(&mut inner, State::Connecting(Some(why)));
    }

    /// A connection did not become a session. What a listener saw of one says less than the own attempts.
    pub(super) async fn failed(&self, why: Why, by_own_attempt: bool) {
        let refused = {
            let mut inner = self.inner();
            match (&inner.state, why.is_refusal()) {
                // That there is a copy is told beside the session with the other.
                (State::Up(_), _) if !why.is_copy() => None,
                (state, true) => {
                    let is_up = matches!(state, State::Up(_));
                    let is_new = inner.told.as_ref() != Some(&why);
                    inner.told = Some(why.clone());
                    if !is_up {
                        Self::turn(&mut inner, State::Refused(why.clone()));
                    }
                    Some((why, is_new))
                }
                (_, false) => {
                    if by_own_attempt {
                        Self::turn(&mut inner, State::Connecting(Some(why)));
                    }
                    None
                }
            }
        };
        if let Some((why, is_new)) = refused {
            // Without anybody who listens all of this ends.
            let _ = self.events.send(Event::Refused { peer: self.config.id, why, is_new }).await;
        }
    }

    fn turn(inner: &mut Inner, state: State) {
        if std::mem::discriminant(&state) != std::mem::discriminant(&inner.state) {
            inner.since = Instant::now();
        }
        inner.state = state;
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
