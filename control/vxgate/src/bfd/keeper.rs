//! The thread: waits, takes all packets, lets time pass, sends.
//!
//! As long as sessions stay as they are it allocates nothing: the allocator's locks are shared with threads of ordinary
//! priority, which may have to wait for a processor while they hold them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use bfd::{Engine, Output, Path, SessionConfig, SessionId};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::sockets::{Port, Sender};
use super::views::{BfdView, SessionRow};
use super::{AddError, Call, Client, News, Wanted, Way};

/// Below the kernel's interrupt threads (50), above all else of this program.
const PRIORITY: i32 = 40;

/// Ports that there can be: of IPv4 and IPv6, for a single hop and for several.
const PORTS: usize = 4;

/// What the thread owns.
pub(super) struct Keeper {
    engine: Engine,
    ports: ArrayVec<Port, PORTS>,
    sessions: BTreeMap<SessionId, Kept>,
    told: mpsc::Sender<News>,
    /// What could not be told at once: the last of each session.
    untold: BTreeMap<SessionId, News>,
    realtime: bool,
    /// Sessions with other gateways are held down.
    held: bool,
    ended: bool,
}

/// What belongs to a session.
struct Kept {
    sender: Sender,
    peer: IpAddr,
    segment: String,
    client: Client,
}

impl Keeper {
    pub(super) fn new(told: mpsc::Sender<News>) -> Self {
        Self {
            engine: Engine::new(fastrand::u64(..)),
            ports: ArrayVec::new(),
            sessions: BTreeMap::new(),
            told,
            untold: BTreeMap::new(),
            realtime: false,
            held: false,
            ended: false,
        }
    }

    /// Runs until [`end`](Self::end).
    pub(super) fn run(mut self, wake: &OwnedFd, calls: &Receiver<Call>) {
        match sys::scheduling::set_realtime(PRIORITY) {
            Ok(()) => {
                self.realtime = true;
                info!("BFD: real-time priority {PRIORITY} (SCHED_FIFO)");
            }
            Err(error) => warn!(
                "BFD: no real-time priority ({error}): a busy machine may delay packets; allow it by CAP_SYS_NICE"
            ),
        }
        while !self.ended {
            self.wait(wake);
            // Read before the sockets are: what a peer sent until now counts before its session ends.
            let now = Instant::now();
            self.ports.iter_mut().for_each(|port| port.drain(&mut self.engine, now));
            let mut count = [0; 8];
            // Nothing to read: nobody called.
            let _ = rustix::io::read(wake, &mut count);
            while let Ok(call) = calls.try_recv() {
                call(&mut self, now);
            }
            self.engine.handle_timeout(now);
            self.follow(now);
        }
    }

    fn wait(&self, wake: &OwnedFd) {
        let left = self.engine.deadline().map(|due| due.saturating_duration_since(Instant::now()));
        let left = left.map(|left| Timespec {
            // A minute at most, or some hours if a peer wants it so.
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: left.subsec_nanos().into(),
        });
        let readable = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let ports = self.ports.iter().map(|port| port.as_fd());
        let mut fds: ArrayVec<PollFd<'_>, { PORTS + 1 }> =
            ports.chain([wake.as_fd()]).map(readable).collect();
        // Interrupted: the turn finds nothing, and waits again.
        let _ = poll(&mut fds, left.as_ref());
    }

    fn follow(&mut self, now: Instant) {
        while let Some(output) = self.engine.poll() {
            match output {
                Output::Send { session, payload } => {
                    if let Some(kept) = self.sessions.get_mut(&session) {
                        kept.sender.send(&payload);
                    }
                }
                Output::Change(change) => {
                    let Some(kept) = self.sessions.get(&change.session) else { continue };
                    // First of all: takeover waits for it.
                    if let Some(watcher) = kept.client.watcher() {
                        watcher(change.standing);
                    }
                    let (peer, segment) = (kept.peer, kept.segment.clone());
                    self.untold.insert(change.session, News::Change { peer, segment, change });
                    self.tell();
                }
                // Counted in any case.
                Output::Stolen(time) => drop(self.told.try_send(News::Stolen { time, until: now })),
            }
        }
        self.tell();
    }

    fn tell(&mut self) {
        while let Some(entry) = self.untold.first_entry() {
            match self.told.try_reserve() {
                Ok(permit) => permit.send(entry.remove()),
                Err(mpsc::error::TrySendError::Full(())) => break,
                // Nobody listens.
                Err(mpsc::error::TrySendError::Closed(())) => drop(entry.remove()),
            }
        }
    }

    // Calls.

    pub(super) fn add(
        &mut self,
        wanted: &Wanted,
        client: Client,
        now: Instant,
    ) -> Result<SessionId, AddError> {
        let multihop = matches!(wanted.way, Way::MultiHop { .. });
        let v6 = wanted.local.is_ipv6();
        let sender = Sender::open(wanted)?;
        if !self.ports.iter().any(|port| port.is(v6, multihop)) {
            self.ports.push(Port::open(v6, multihop)?);
        }
        let (path, segment) = match &wanted.way {
            Way::SingleHop { interface, index } => (Path::SingleHop { interface: *index }, interface.clone()),
            Way::MultiHop { min_ttl } => (Path::MultiHop { min_ttl: *min_ttl }, "multihop".into()),
        };
        let config = SessionConfig {
            peer: wanted.peer,
            local: wanted.local,
            path,
            timing: wanted.timing,
            keys: wanted.keys.clone(),
        };
        let session = self.engine.add(config, now)?;
        let is_held = self.held && matches!(client, Client::Gateway(_));
        self.sessions.insert(session, Kept { sender, peer: wanted.peer, segment, client });
        if is_held {
            self.engine.set_admin_down(session, true, now)?;
        }
        Ok(session)
    }

    pub(super) fn hold(&mut self, down: bool, now: Instant) {
        self.held = down;
        for (&session, _) in
            self.sessions.iter().filter(|(_, kept)| matches!(kept.client, Client::Gateway(_)))
        {
            // It is there.
            let _ = self.engine.set_admin_down(session, down, now);
        }
    }

    pub(super) fn remove(&mut self, session: SessionId, now: Instant) {
        // One that is not there any longer is removed.
        if self.engine.set_admin_down(session, true, now).is_ok() {
            self.follow(now);
        }
        self.engine.remove(session);
        self.sessions.remove(&session);
        self.untold.remove(&session);
    }

    pub(super) fn end(&mut self, now: Instant) {
        self.engine.set_all_admin_down(true, now);
        self.ended = true;
    }

    pub(super) fn view(&self, now: Instant) -> BfdView {
        let millis = |time: Duration| time.as_secs_f64() * 1e3;
        let stolen = self.engine.stolen();
        let rows = self.engine.sessions().filter_map(|view| {
            let kept = self.sessions.get(&view.id)?;
            let row = SessionRow::of(&view, kept.segment.clone(), now);
            let (refused, refusal) = (kept.sender.refused, kept.sender.refusal.clone());
            Some(SessionRow { send_refused: refused, send_refusal: refusal, ..row })
        });
        BfdView {
            sessions: rows.collect(),
            real_time: self.realtime,
            ports: self.ports.iter().map(Port::name).collect(),
            stolen_periods: stolen.periods,
            stolen_ms: millis(stolen.total),
            stolen_longest_ms: millis(stolen.longest),
            unclaimed: super::views::reasons(self.engine.discards()),
            broken: self.ports.iter().map(|port| port.broken).sum(),
        }
    }
}
