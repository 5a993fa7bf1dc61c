//! What stations this gateway has learned is told to the others, and what they tell is entered: who takes over need not ask
//! stations anew. A task of its own, so that no number of stations delays the rules of the cluster.
//!
//! ```text
//!  engine ── pages, as there is credit ─▶ Sender ──▶ session
//!  engine ◀── a batch at a time ── Receiver ◀────── session       then: that more may come, and once that all is there
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cluster::assign::GatewayId;
use cluster::bindings::{Batch, Binding, OutOfStep, Receiver, Sender};
use cluster::membership::Reflectors;
use cluster::message::Message;
use engine::{BindingCursor, Engine, Update};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tracing::warn;
use wire::{MacAddr, Vni};

use super::Inbox;
use super::session::{Event, Handle, SendError};

/// How often the engine is asked for what is new. What is learned of a station whose MAC address has been announced a moment
/// ago is thereby told when others have heard of it too.
const CHANGES: Duration = Duration::from_secs(1);

/// How soon a session that is full is tried again, and how often it is looked whether stations are known.
const AGAIN: Duration = Duration::from_millis(50);

/// Events that may wait. Messages beyond are more than credit allows, with as many gateways as there may be.
pub(super) const EVENTS: usize = 1024;

/// Of each peer, the incarnation whose bindings are all here; 0: none.
#[derive(Debug)]
pub(super) struct Complete(Vec<(GatewayId, AtomicU64)>);

impl Complete {
    pub(super) fn new(peers: impl Iterator<Item = GatewayId>) -> Arc<Self> {
        Arc::new(Self(peers.map(|peer| (peer, AtomicU64::new(0))).collect()))
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (GatewayId, u64)> {
        self.0.iter().map(|(peer, incarnation)| (*peer, incarnation.load(Ordering::Acquire)))
    }

    fn set(&self, peer: u16, incarnation: u64) {
        if let Some((_, of_peer)) = self.0.iter().find(|(id, _)| id.value() == peer) {
            of_peer.store(incarnation, Ordering::Release);
        }
    }
}

/// The task.
pub(super) struct Exchange {
    pub(super) engine: Arc<Engine>,
    pub(super) handle: Handle,
    pub(super) inbox: Arc<Inbox>,
    pub(super) complete: Arc<Complete>,
    /// All that happens to sessions, but messages about something else.
    pub(super) events: mpsc::Receiver<Event>,
    /// Bindings can be entered: the stations that they are of are known. Until then nobody is asked to tell.
    pub(super) listens: bool,
}

/// A session.
struct Peer {
    incarnation: u64,
    sender: Sender,
    cursor: BindingCursor,
    receiver: Receiver,
    /// What the session could not take: that more may come, and a batch.
    owes: bool,
    unsent: Option<Bytes>,
    /// When there may be something to say.
    due: Instant,
}

impl Exchange {
    /// Runs until nobody tells of sessions any longer.
    pub(super) async fn run(mut self) {
        let mut peers = BTreeMap::new();
        loop {
            let due = self.next_due(&peers);
            match timeout_at(due, self.events.recv()).await {
                Ok(Some(event)) => self.hear(event, &mut peers).await,
                Ok(None) => return,
                Err(_) => {}
            }
            if !self.listens && self.inbox.reflectors() == Reflectors::Complete {
                self.listens = true;
                for (&id, peer) in &mut peers {
                    self.ask(id, peer);
                }
            }
            for (&id, peer) in &mut peers {
                if peer.due <= Instant::now() && !self.tell(id, peer).await {
                    return;
                }
            }
        }
    }

    fn next_due(&self, peers: &BTreeMap<u16, Peer>) -> Instant {
        let look = Instant::now() + if self.listens { CHANGES } else { AGAIN };
        peers.values().map(|peer| peer.due).fold(look, Instant::min)
    }

    async fn hear(&self, event: Event, peers: &mut BTreeMap<u16, Peer>) {
        match event {
            Event::Up { peer: id, hello } => {
                self.complete.set(id, 0);
                let mut peer = Peer {
                    incarnation: hello.incarnation,
                    sender: Sender::default(),
                    cursor: BindingCursor::START,
                    receiver: Receiver::default(),
                    owes: false,
                    unsent: None,
                    due: Instant::now(),
                };
                if self.listens {
                    self.ask(id, &mut peer);
                }
                peers.insert(id, peer);
            }
            Event::Down { peer, .. } => {
                self.complete.set(peer, 0);
                peers.remove(&peer);
            }
            Event::Message { peer: id, bytes } => {
                let Some(peer) = peers.get_mut(&id) else { return };
                let outcome = match Message::decode(&bytes) {
                    Ok(Message::Bindings(batch)) => self.enter(id, peer, batch).await,
                    Ok(Message::BindingsApplied(applied)) => {
                        peer.due = Instant::now();
                        peer.sender.applied(applied).map_err(|error| error.to_string())
                    }
                    Ok(_) => Ok(()),
                    Err(error) => Err(error.to_string()),
                };
                if let Err(error) = outcome {
                    warn!("cluster: gateway {id}: {error}; its session is begun anew");
                    self.handle.close(id);
                    peers.remove(&id);
                }
            }
            Event::Refused { .. } | Event::Stranger { .. } => {}
        }
    }

    /// Enters what a peer told. The engine takes what can be: of addresses in the overlay's prefixes, and stations that are
    /// known to it by configuration or EVPN.
    async fn enter(&self, id: u16, peer: &mut Peer, batch: Batch) -> Result<(), String> {
        let complete = peer.receiver.batch(&batch).map_err(|error: OutOfStep| error.to_string())?;
        let bindings = batch.bindings.into_iter().filter_map(entry).collect();
        self.engine.update(Update::Bindings(bindings));
        // More is let come only when this has been entered.
        let (done, wait) = oneshot::channel();
        self.engine.after_updates(move || _ = done.send(()));
        // Fails only when the engine stops.
        let _ = wait.await;
        self.ask(id, peer);
        if complete {
            self.complete.set(id, peer.incarnation);
            self.inbox.wake();
        }
        Ok(())
    }

    /// Lets a peer tell (more).
    fn ask(&self, id: u16, peer: &mut Peer) {
        let message = Message::BindingsApplied(peer.receiver.applied());
        peer.owes = self.is_full(id, message.encode().into());
        if peer.owes {
            peer.due = peer.due.min(Instant::now() + AGAIN);
        }
    }

    /// Sends. Without a session nothing is to be said; another tells all anew.
    fn is_full(&self, id: u16, bytes: Bytes) -> bool {
        self.handle.send(id, bytes) == Err(SendError::Full)
    }

    /// Tells a part of what there is to tell; whether the engine goes on.
    async fn tell(&self, id: u16, peer: &mut Peer) -> bool {
        let now = Instant::now();
        peer.due = now + CHANGES;
        if peer.owes {
            self.ask(id, peer);
        }
        let bytes = match peer.unsent.take() {
            Some(bytes) => bytes,
            None => {
                // It says when there is room again.
                let Some(room) = peer.sender.room() else { return true };
                let (engine, cursor) = (Arc::clone(&self.engine), peer.cursor);
                let page = tokio::task::spawn_blocking(move || engine.bindings(cursor, room)).await;
                let Ok(Some(page)) = page else { return false };
                peer.cursor = page.next;
                if !page.is_complete {
                    peer.due = now;
                }
                let told = page.bindings.into_iter().map(told).collect();
                let Some(batch) = peer.sender.batch(told, page.is_complete) else { return true };
                Message::Bindings(batch).encode().into()
            }
        };
        if self.is_full(id, bytes.clone()) {
            peer.unsent = Some(bytes);
            peer.due = now + AGAIN;
        }
        true
    }
}

fn told(binding: engine::Binding) -> Binding {
    Binding {
        vni: binding.vni.value(),
        ip: binding.address,
        mac: binding.mac.0,
        age: binding.age.as_millis().try_into().unwrap_or(u32::MAX),
    }
}

fn entry(binding: Binding) -> Option<engine::Binding> {
    Some(engine::Binding {
        vni: Vni::new(binding.vni)?,
        address: binding.ip,
        mac: MacAddr(binding.mac),
        age: Duration::from_millis(binding.age.into()),
    })
}
