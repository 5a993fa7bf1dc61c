//! The slow path: one thread, the only writer of the tables, that answers what stations ask of the router.

mod advertise;
mod announced;
mod arp;
mod dhcp;
mod fragment;
mod icmp;
mod learned;
mod link;
mod ndp;
mod neighbours;
mod outbox;
mod received;
mod resolve;
mod solicit;
mod strangers;
mod takeover;
mod tally;
mod waiting;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use port::MAX_FRAME;
use wire::Vni;

use crate::absence::{Absence, idle_time};
use crate::api::{
    AnnouncedStatistics, BindingCursor, BindingPage, Event, NeighbourStatistics, NeighbourStatus, PortIndex,
    Update,
};
use crate::counters::Reason;
use crate::pipeline::ip::IpHeader;
use crate::tables::flow::FlowKey;
use crate::tables::{OverlayIndex, Writer};
use advertise::Advertiser;
use announced::Announced;
use learned::Learned;
use neighbours::{Limits, Neighbours};
use outbox::{Outbox, Output};
use received::{Origin, Received};
use strangers::Strangers;
use takeover::Takeovers;
use waiting::WaitingPackets;

pub(crate) use link::{RING, WorkerLink};
pub use tally::Deed;
pub(crate) use tally::Tally;

/// Longest sleep: a bound on how late the thread notices that it is to stop.
const SLEEP: Duration = Duration::from_millis(100);
/// Sleep while frames wait for room in the ring to a worker.
const RETRY: Duration = Duration::from_micros(100);
/// Commands that are obeyed before readers see what changed and punts get their turn.
const COMMANDS_AT_ONCE: usize = 1024;
/// The same of announcements, of which a command brings many.
const ANNOUNCEMENTS_AT_ONCE: usize = 4096;

/// What the thread is told from outside.
pub(crate) enum Command {
    /// To change the tables.
    Update(Update),
    /// To tell what is known of addresses, of all overlays or of one.
    Neighbours(Option<Vni>, Sender<Vec<NeighbourStatus>>),
    /// To tell how many addresses are known, and what was refused.
    NeighbourStatistics(Sender<NeighbourStatistics>),
    /// To tell how much is announced, and what there was no room for.
    AnnouncedStatistics(Sender<AnnouncedStatistics>),
    /// To tell so many bindings from here on.
    Bindings(BindingCursor, usize, Sender<BindingPage>),
    /// To call when readers see what the commands before this one changed.
    Settle(Box<dyn FnOnce() + Send>),
}

/// What a worker hands over: a frame as it arrived. It is inside and not boxed: a worker does not allocate.
#[derive(Debug)]
pub(crate) struct Punted {
    /// What for.
    pub(crate) reason: Reason,
    /// Where it arrived.
    pub(crate) port: PortIndex,
    /// The overlay that it came from, or from the outer network is for.
    pub(crate) overlay: OverlayIndex,
    /// Of what is too long: the longest that could have passed.
    pub(crate) mtu: u16,
    pub(crate) frame: FrameCopy,
}

/// The bytes of a frame, out of the frame memory.
pub(crate) struct FrameCopy {
    len: u16,
    bytes: [u8; MAX_FRAME],
}

impl FrameCopy {
    /// A copy of at most [`MAX_FRAME`] bytes; what is beyond is cut off.
    #[inline]
    pub(crate) fn of(frame: &[u8]) -> Self {
        let len = frame.len().min(MAX_FRAME);
        let mut copy = Self { len: len as u16, bytes: [0; MAX_FRAME] };
        copy.bytes[..len].copy_from_slice(&frame[..len]);
        copy
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len.into()]
    }
}

impl std::fmt::Debug for FrameCopy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FrameCopy({} bytes)", self.len)
    }
}

/// What the slow path gives a worker to do.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Send this frame.
    Send { port: PortIndex, frame: FrameCopy },
    /// Take this frame through the pipeline, as if it had just arrived.
    Again { port: PortIndex, frame: FrameCopy },
}

/// The thread's state.
pub(crate) struct SlowPath {
    writer: Writer,
    commands: Receiver<Command>,
    workers: Vec<WorkerLink>,
    /// Which of them sends what the slow path makes now. Any could; the one that handed something over does, so that no
    /// one's load is another's.
    sender: usize,
    events: Box<dyn Fn(Event) + Send>,
    stop: Arc<AtomicBool>,
    tally: Arc<Tally>,
    waiting: WaitingPackets,
    strangers: Strangers,
    announced: Announced,
    neighbours: Neighbours<Box<Punted>>,
    advertiser: Advertiser,
    takeovers: Takeovers,
    learned: Learned,
    absence: Absence,
}

impl SlowPath {
    /// What a thread for these workers starts with.
    pub(crate) fn new(
        writer: Writer,
        commands: Receiver<Command>,
        workers: Vec<WorkerLink>,
        events: Box<dyn Fn(Event) + Send>,
        stop: Arc<AtomicBool>,
        tally: Arc<Tally>,
    ) -> Self {
        let advertiser = Advertiser::new(&writer.current().overlays, fastrand::u64(..), Instant::now());
        let limits = Limits { entries: writer.max_flows(), ..Limits::default() };
        Self {
            writer,
            commands,
            workers,
            sender: 0,
            events,
            stop,
            tally,
            waiting: WaitingPackets::default(),
            strangers: Strangers::default(),
            announced: Announced::default(),
            neighbours: Neighbours::new(limits, fastrand::u64(..), Instant::now()),
            advertiser,
            takeovers: Takeovers::new(Instant::now()),
            learned: Learned::default(),
            absence: Absence::new(None),
        }
    }

    /// After times as long as this in which the thread did not run, what it was asked before is not answered any more, and shards
    /// are announced only after control had the time to let go of them.
    pub(crate) fn with_stale_after(mut self, time: Option<Duration>) -> Self {
        self.absence = Absence::new(time);
        self
    }

    /// Runs until told to stop. Workers and control unpark the thread when they have given it something.
    pub(crate) fn run(mut self) {
        while !self.stop.load(Ordering::Relaxed) {
            if self.absence.ends(idle_time) {
                self.discard(Instant::now());
            }
            let updated = self.obey();
            let punted = self.take_punts();
            self.poll(Instant::now());
            let maintained = self.writer.maintain();
            if !updated && !punted && !maintained {
                let sleep = self.time_to_sleep(Instant::now());
                let nanos = u64::try_from(sleep.as_nanos()).unwrap_or(u64::MAX);
                self.absence.sleeps_until(idle_time().saturating_add(nanos));
                std::thread::park_timeout(sleep);
            }
        }
    }

    /// Drops what waited over a time in which nobody ran: what workers had handed over and what was for them, and packets for
    /// neighbours.
    fn discard(&mut self, now: Instant) {
        let dropped =
            self.workers.iter_mut().map(WorkerLink::discard).sum::<usize>() + self.waiting.discard();
        (0..dropped).for_each(|_| self.tally.count(Deed::Stale));
        self.takeovers.hold_back(now);
    }

    /// Whether there was anything.
    pub(crate) fn obey(&mut self) -> bool {
        let (mut any, now) = (false, Instant::now());
        let (mut settled, mut announcements) = (Vec::new(), 0);
        for _ in 0..COMMANDS_AT_ONCE {
            let Ok(command) = self.commands.try_recv() else { break };
            any = true;
            match command {
                Command::Update(Update::Bindings(bindings)) => self.import(bindings, now),
                Command::Update(Update::Announced(some)) => {
                    self.announced(&some, now);
                    announcements += some.len();
                }
                Command::Update(Update::Responsibility(changes)) => self.change_responsibility(&changes, now),
                Command::Update(update @ Update::PortMac { .. }) => {
                    self.writer.apply(update);
                    self.announce_again(now);
                }
                Command::Update(update) => self.writer.apply(update),
                Command::Neighbours(vni, answer) => {
                    // Who asked may have gone.
                    let _ = answer.send(self.neighbours(vni, now));
                }
                Command::NeighbourStatistics(answer) => {
                    let _ = answer.send(self.neighbours.statistics());
                }
                Command::AnnouncedStatistics(answer) => {
                    let _ = answer.send(self.announced_statistics());
                }
                Command::Bindings(cursor, most, answer) => {
                    let _ = answer.send(self.bindings(cursor, most, now));
                }
                Command::Settle(then) => settled.push(then),
            }
            if announcements >= ANNOUNCEMENTS_AT_ONCE {
                break;
            }
        }
        any |= self.retry_announced(now);
        self.publish();
        for then in settled {
            then();
        }
        if any && !self.waiting.is_empty() {
            self.outbox(now).release();
        }
        self.wake_workers();
        any
    }

    /// Lets workers see what changed, and control what it is to find out.
    fn publish(&mut self) {
        self.writer.publish();
        if self.writer.take_endpoints_changed() {
            (self.events)(Event::Endpoints);
        }
    }

    /// Whether there was anything.
    pub(crate) fn take_punts(&mut self) -> bool {
        let (mut any, now) = (false, Instant::now());
        for worker in 0..self.workers.len() {
            self.sender = worker;
            // One ring's worth at most, so that updates get their turn under a storm.
            for _ in 0..RING {
                let Ok(punted) = self.workers[worker].punts.pop() else { break };
                any = true;
                self.handle(punted, now);
            }
        }
        self.wake_workers();
        any
    }

    /// Does what is due at `now`.
    pub(crate) fn poll(&mut self, now: Instant) {
        self.workers.iter_mut().for_each(WorkerLink::make_up);
        let writer = &mut self.writer;
        self.strangers.poll(now, |overlay, mac| writer.end_visit(overlay, mac));
        self.publish();
        let mut actions = Vec::new();
        self.neighbours.poll(now, &mut actions);
        self.carry_out(actions, now);
        let advertisements = self.advertiser.poll(self.writer.current(), &self.tally, now);
        self.send(advertisements, now);
        self.poll_takeovers(now);
        self.wake_workers();
    }

    /// For [`offline`](crate::offline): what the thread does between two turns, and what its tables take.
    pub(crate) fn maintain(&mut self, now: Instant) {
        self.poll(now);
        self.writer.maintain();
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.writer.memory_bytes()
    }

    fn time_to_sleep(&self, now: Instant) -> Duration {
        if self.workers.iter().any(WorkerLink::has_backlog) {
            return RETRY;
        }
        let deadlines = [
            self.strangers.deadline(),
            self.neighbours.next_deadline(),
            self.advertiser.deadline(),
            self.takeovers.deadline(),
        ];
        let deadline = deadlines.into_iter().flatten().min();
        deadline.map_or(SLEEP, |deadline| deadline.saturating_duration_since(now).min(SLEEP))
    }

    fn wake_workers(&mut self) {
        self.workers.iter_mut().for_each(WorkerLink::wake);
    }

    fn outbox(&mut self, now: Instant) -> Outbox<'_> {
        Outbox {
            tables: self.writer.current(),
            worker: &mut self.workers[self.sender],
            waiting: &mut self.waiting,
            events: &self.events,
            tally: &self.tally,
            now,
        }
    }

    fn send(&mut self, outputs: impl IntoIterator<Item = Output>, now: Instant) {
        let mut outbox = self.outbox(now);
        outputs.into_iter().for_each(|output| outbox.send(output));
    }

    fn handle(&mut self, punted: Punted, now: Instant) {
        if punted.reason == Reason::Unresolved {
            return self.resolve_station(punted.overlay, punted, now);
        }
        if punted.reason == Reason::ShardQuestion {
            return self.answer_shard_question(&punted, now);
        }
        let Some(received) = Received::read(self.writer.current(), &punted) else { return };
        match punted.reason {
            Reason::Arp => self.handle_arp(&received, now),
            Reason::Ndp => self.handle_ndp(&received, now),
            Reason::Dhcp => self.relay_dhcp(&received, now),
            Reason::ToRouter if dhcp::is_dhcp(&received) => self.relay_dhcp(&received, now),
            Reason::ToRouter => {
                let answer = icmp::answer(self.writer.current(), &received, &self.tally);
                self.send(answer, now);
            }
            Reason::TtlExceeded
            | Reason::NoRoute
            | Reason::BetweenOverlays
            | Reason::RuleReject
            | Reason::TooBig => {
                let tables = self.writer.current();
                let error = icmp::error(tables, &received, punted.reason, punted.mtu, &self.tally);
                self.send(error, now);
            }
            Reason::Fragmented => {
                let pieces = fragment::pieces(self.writer.current(), &punted, &received, &self.tally);
                self.send(pieces, now);
            }
            Reason::Resolving => self.resolve_neighbour(&received, now),
            Reason::UnknownStation => {
                // Frames that were on their way here when their sender was let in are not held against it.
                if !self.is_known(&received) {
                    if !self.admit(&received, now) {
                        return self.tally.count(Deed::StrangerRefused);
                    }
                    self.tally.count(Deed::StrangerAdmitted);
                }
                self.send([Output::Again { port: punted.port, frame: Box::new(punted.frame) }], now);
            }
            _ => {}
        }
    }

    /// Keeps a packet for a neighbour on the uplink, one hop older, until that has told its MAC address.
    fn resolve_neighbour(&mut self, received: &Received<'_>, now: Instant) {
        let Ok(header) = IpHeader::parse(received.ethertype, received.packet) else { return };
        let mut packet = received.packet[..header.len.into()].to_vec();
        header.age(&mut packet);
        self.outbox(now).forward(&packet);
    }

    fn relay_dhcp(&mut self, received: &Received<'_>, now: Instant) {
        let tables = self.writer.current();
        let endpoint_of = |overlay, mac| {
            let flow = self.writer.flow(FlowKey::mac(tables.overlays.get(overlay).vni, mac))?;
            Some(tables.endpoints.get(flow.endpoint).address)
        };
        let outputs = dhcp::relay(tables, received, &self.tally, endpoint_of);
        self.send(outputs, now);
    }

    /// Whether the sender is in the flow table by now, as a station or a visitor.
    fn is_known(&self, received: &Received<'_>) -> bool {
        let vni = self.writer.current().overlays.get(received.overlay).vni;
        self.writer.flow(FlowKey::mac(vni, received.sender)).is_some()
    }

    /// Whether the sender, which is no station, is let in for now.
    fn admit(&mut self, received: &Received<'_>, now: Instant) -> bool {
        let Origin::Station { overlay, endpoint } = received.origin else { return false };
        // Nobody but this gateway sends from its own MAC address.
        if self.writer.current().overlays.get(overlay).own_mac == Some(received.sender) {
            return false;
        }
        self.strangers.admit(overlay, received.sender, now)
            && self.writer.begin_visit(overlay, received.sender, endpoint)
    }
}

/// For tests.
#[cfg(test)]
impl SlowPath {
    pub(crate) fn tables(&self) -> &crate::tables::Snapshot {
        self.writer.current()
    }

    pub(crate) fn published(&self) -> Arc<crate::tables::Snapshot> {
        self.writer.published().load_full()
    }

    pub(crate) fn writer(&self) -> &Writer {
        &self.writer
    }
}

/// Frames that waited, through the pipeline once more.
fn again(waited: impl IntoIterator<Item = Box<Punted>>) -> impl Iterator<Item = Output> {
    waited.into_iter().map(|punted| Output::Again { port: punted.port, frame: Box::new(punted.frame) })
}

#[cfg(test)]
mod tests;
