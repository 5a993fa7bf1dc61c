//! BGP without sockets: routes of one peer into the RIB and out as changes, and announcements into UPDATEs.

use std::fs;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use engine::offline::Intake;
use engine::{Announcement, Config, Overlay, PuntLimits};
use evpn::{
    Change, ConnectionId, DuplicatePolicy, Family, Identity, Local, Output, PeerConfig, PeerId, Reach,
    RouteTargets, SessionState, Speaker,
};
use port::Polling;
use serde_json::{Value, json};
use wire::{MacAddr, Vni};

use crate::clock;
use crate::figure::{Figure, Goal, median};
use crate::{Cores, Error, pin};

/// Routes of the peer, one an UPDATE: each overlay has a route target of its own, as from FRR.
const ROUTES: u32 = 1_000_000;
const OVERLAYS: u32 = 65_536;
/// Bytes given to the speaker at a time.
const PIECE: usize = 64 * 1024;
/// Pieces' changes that wait for the flow table: a gateway has about as many.
const IN_FLIGHT: usize = 4;
const ASN: u32 = 65_000;

/// Fewer than elsewhere: each takes millions of routes in.
const REPETITIONS: usize = 3;

/// How it is measured.
pub(super) fn modes() -> Value {
    json!({
        "repetitions": REPETITIONS, "routes": ROUTES, "overlays": OVERLAYS, "routes_an_update": 1, "sockets": "none",
        "flow_table": "written by a second thread, as in the gateway, on a core of its own if there is one; no readers",
    })
}

/// Measures everything.
pub(super) fn figures() -> Result<Vec<Figure>, Error> {
    // First, while nothing that was freed before could be used again.
    let memory = memory()?;
    let cores = pin()?;
    let runs = (0..REPETITIONS).map(|_| taking_in(cores)).collect::<Result<Vec<_>, _>>()?;
    let rate = |value: fn(&Rates) -> f64| median(runs.iter().map(value));
    Ok(vec![
        Figure::new("type 2 routes into RIB and flow table", rate(|run| run.entered.whole), "routes/s")
            .goal(Goal::AtLeast(300_000.0))
            .note(share(&runs, |run| run.entered)),
        Figure::new("MAC moves into RIB and flow table", rate(|run| run.followed.whole), "routes/s")
            .goal(Goal::AtLeast(50_000.0))
            .note(share(&runs, |run| run.followed)),
        Figure::new("type 2 routes into the RIB alone", rate(|run| run.announced), "routes/s"),
        Figure::new("memory of RIB and stations, resident", memory, "bytes a route")
            .goal(Goal::AtMost(400.0)),
        Figure::new("MAC moves into the RIB alone", rate(|run| run.moved), "routes/s"),
        Figure::new("routes withdrawn one by one", rate(|run| run.withdrawn), "routes/s"),
        Figure::new("routes gone with their session", rate(|run| run.lost), "routes/s"),
        Figure::new("routes announced, from reach() to bytes", rate(|run| run.told), "routes/s"),
    ])
}

/// A speaker with one session that is up.
struct Test {
    /// What is taken in is also entered by whoever listens.
    tables: Option<SyncSender<Vec<Announcement>>>,
    speaker: Speaker,
    peer: PeerId,
    connection: ConnectionId,
    now: Instant,
}

impl Test {
    fn new() -> Result<Self, Error> {
        let now = Instant::now();
        let local = Local { asn: ASN, router_id: Ipv4Addr::new(10, 0, 0, 1), cluster: 1 };
        let mut speaker = Speaker::new(local, Identity::default(), DuplicatePolicy::default(), 1);
        speaker.set_overlays((1..=OVERLAYS).filter_map(Vni::new).map(|vni| (vni, RouteTargets::Frr)));
        let address = IpAddr::from([10, 0, 0, 2]);
        let peer = speaker.add_peer(PeerConfig { passive: true, ..PeerConfig::new(address, ASN) })?;
        speaker.start_peer(peer, now);
        let (peer, connection) = speaker.accept(address, now).ok_or("the peer was refused")?;
        let mut test = Self { tables: None, speaker, peer, connection, now };
        // OPEN: version 4, AS 65000, hold time 90, identifier 10.0.0.2, capabilities EVPN and four-octet AS.
        let mut open = header(43, 1).to_vec();
        open.extend([4, 0xfd, 0xe8, 0, 90, 10, 0, 0, 2, 14, 2, 12]);
        open.extend([1, 4, 0, 25, 0, 70, 65, 4, 0, 0, 0xfd, 0xe8]);
        test.receive(&open);
        test.receive(&header(19, 4));
        let up = test.speaker.peers().all(|peer| peer.state == SessionState::Established);
        if up { Ok(test) } else { Err("the session did not come up".into()) }
    }

    /// Takes bytes in and everything that follows out; how many changes there were.
    fn receive(&mut self, bytes: &[u8]) -> usize {
        self.speaker.received(self.peer, self.connection, bytes, self.now);
        self.poll()
    }

    fn poll(&mut self) -> usize {
        let (mut changes, mut announcements) = (0, Vec::new());
        while let Some(output) = self.speaker.poll(self.now) {
            let output = black_box(output);
            changes += usize::from(matches!(output, Output::Change(_)));
            match (&self.tables, output) {
                (Some(_), Output::Change(Change::Station { vni, mac, endpoint, .. })) => {
                    announcements.push(Announcement::Station { vni, mac, endpoint });
                }
                (Some(_), Output::Change(Change::StationGone { vni, mac })) => {
                    announcements.push(Announcement::StationGone { vni, mac });
                }
                _ => {}
            }
        }
        if let Some(tables) = &self.tables
            && !announcements.is_empty()
        {
            // Who listens does so to the end.
            let _ = tables.send(announcements);
        }
        changes
    }

    /// Takes in messages; how many changes there were.
    fn feed(&mut self, messages: &[u8]) -> usize {
        messages.chunks(PIECE).map(|piece| self.receive(piece)).sum()
    }
}

/// One UPDATE for each route, made by `message`.
fn messages(message: impl Fn(u32, &mut Vec<u8>)) -> Vec<u8> {
    let mut all = Vec::new();
    (0..ROUTES).for_each(|index| message(index, &mut all));
    all
}

fn header(length: u16, kind: u8) -> [u8; 19] {
    let mut header = [0xff; 19];
    header[16..18].copy_from_slice(&length.to_be_bytes());
    header[18] = kind;
    header
}

/// A type 2 route: RD 10.0.0.N:2, a MAC address, a VNI.
fn nlri(index: u32) -> [u8; 35] {
    let mut nlri = [0; 35];
    nlri[..2].copy_from_slice(&[2, 33]);
    nlri[2..10].copy_from_slice(&[0, 1, 10, 0, 1, (index % 251) as u8, 0, 2]);
    nlri[24] = 48;
    nlri[25..31].copy_from_slice(&mac(index).0);
    nlri[32..].copy_from_slice(&(index % OVERLAYS + 1).to_be_bytes()[1..]);
    nlri
}

fn mac(index: u32) -> MacAddr {
    let [a, b, c, d] = index.to_be_bytes();
    MacAddr([2, 0, a, b, c, d])
}

/// The route announced behind one of 250 endpoints.
fn announced(index: u32, endpoint: u8, to: &mut Vec<u8>) {
    let [_, a, b, c] = (index % OVERLAYS + 1).to_be_bytes();
    to.extend(header(19 + 4 + 33 + 3 + 9 + 35, 2));
    to.extend([0, 0, 0, 33 + 3 + 9 + 35]);
    // ORIGIN, AS_PATH, LOCAL_PREF; route target and encapsulation.
    to.extend([0x40, 1, 1, 0, 0x40, 2, 0, 0x40, 5, 4, 0, 0, 0, 100]);
    to.extend([0xc0, 16, 16, 0, 2, 0xfd, 0xe8, 0, a, b, c, 3, 12, 0, 0, 0, 0, 0, 8]);
    // MP_REACH: EVPN, next hop.
    to.extend([0x80, 14, 9 + 35, 0, 25, 70, 4, 10, 0, 1, endpoint, 0]);
    to.extend(nlri(index));
}

fn withdrawn(index: u32, to: &mut Vec<u8>) {
    to.extend(header(19 + 4 + 6 + 35, 2));
    to.extend([0, 0, 0, 6 + 35, 0x80, 15, 3 + 35, 0, 25, 70]);
    to.extend(nlri(index));
}

/// Routes a second.
struct Rates {
    entered: Piped,
    followed: Piped,
    announced: f64,
    moved: f64,
    withdrawn: f64,
    lost: f64,
    told: f64,
}

/// Routes through two threads.
#[derive(Clone, Copy)]
struct Piped {
    /// Routes a second, by the wall's clock: from the first byte until the last route is in the table.
    whole: f64,
    /// Routes a second of processor time, of each thread.
    rib: f64,
    table: f64,
}

fn share(runs: &[Rates], of: fn(&Rates) -> Piped) -> String {
    let rate = |value: fn(Piped) -> f64| median(runs.iter().map(|run| value(of(run))));
    format!(
        "by the wall's clock; of processor time the RIB's thread {:.0}, the flow table's {:.0}",
        rate(|piped| piped.rib),
        rate(|piped| piped.table)
    )
}

fn rate(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

fn taking_in(cores: Cores) -> Result<Rates, Error> {
    let [first, second] = [0, 1].map(|more| {
        messages(move |index, to: &mut Vec<u8>| announced(index, ((index + more) % 250) as u8, to))
    });
    let gone = messages(withdrawn);
    let mut test = Test::new()?;
    let all = ROUTES as usize;
    let timed = |test: &mut Test, what: &str, work: &dyn Fn(&mut Test) -> usize| {
        let start = clock::processor_time();
        let changes = work(test);
        let time = clock::processor_time() - start;
        if changes == all {
            Ok(rate(all, time))
        } else {
            Err(Error::from(format!("{what}: {changes} changes")))
        }
    };
    let announced = timed(&mut test, "announced", &|test| test.feed(&first))?;
    let moved = timed(&mut test, "moved", &|test| test.feed(&second))?;
    let withdrawn = timed(&mut test, "withdrawn", &|test| test.feed(&gone))?;
    test.feed(&first);
    let lost = timed(&mut test, "lost", &|test| {
        test.speaker.closed(test.peer, test.connection, test.now);
        test.poll()
    })?;
    drop(test);
    let (mut test, mut tables) = (Test::new()?, tables());
    let entered = piped(cores, &mut test, &mut tables, &first)?;
    let followed = piped(cores, &mut test, &mut tables, &second)?;
    let in_tables = tables.statistics();
    if (in_tables.stations, in_tables.lacking) != (all, 0) {
        return Err(format!("in the tables: {in_tables:?}").into());
    }
    Ok(Rates { entered, followed, announced, moved, withdrawn, lost, told: telling()? })
}

/// Takes messages in by one thread, and writes the flow table by another, as control and slow path do, each on a core of its
/// own: the scheduler of a machine that has nothing else to do may well let them share one.
fn piped(cores: Cores, test: &mut Test, tables: &mut Intake, messages: &[u8]) -> Result<Piped, Error> {
    let (told, hears) = sync_channel::<Vec<Announcement>>(IN_FLIGHT);
    let other = cores.other;
    test.tables = Some(told);
    let start = Instant::now();
    let (changes, of_rib, of_table) = thread::scope(|scope| {
        let writer = scope.spawn(move || {
            other.map(core_affinity::set_for_current);
            hears.into_iter().for_each(|announcements| tables.announce(announcements));
            clock::processor_time()
        });
        let begin = clock::processor_time();
        let changes = test.feed(messages);
        test.tables = None;
        (changes, clock::processor_time() - begin, writer.join().unwrap_or_default())
    });
    let whole = start.elapsed();
    if changes != ROUTES as usize {
        return Err(format!("into RIB and flow table: {changes} changes").into());
    }
    Ok(Piped { whole: rate(changes, whole), rib: rate(changes, of_rib), table: rate(changes, of_table) })
}

/// The tables of a gateway with all overlays.
fn tables() -> Intake {
    let overlay = |vni: Vni| Overlay {
        vni,
        subnets: Vec::new(),
        endpoints: Arc::default(),
        mtu: 1500,
        owner: true,
        shard: None,
        own_mac: None,
        policy: Arc::default(),
    };
    Intake::new(Config {
        ports: Vec::new(),
        vteps: vec![IpAddr::from([10, 0, 0, 1])],
        shards: Vec::new(),
        polling: Polling::Busy,
        workers: Vec::new(),
        router_mac: MacAddr([2, 0, 0x5e, 0, 0, 1]),
        blocks: Vec::new(),
        overlays: (1..=OVERLAYS).filter_map(Vni::new).map(overlay).collect(),
        stations: Vec::new(),
        rules: Vec::new(),
        punt_limits: PuntLimits::default(),
        max_flows: 2 * ROUTES,
        stale_after: None,
    })
}

/// Five routes an overlay, as a gateway announces them.
fn telling() -> Result<f64, Error> {
    let mut test = Test::new()?;
    let start = clock::processor_time();
    let endpoint = IpAddr::from([10, 0, 0, 1]);
    for vni in (1..=OVERLAYS).filter_map(Vni::new) {
        let shared = MacAddr([2, 0, 0x5e, 0, 0, 1]);
        test.speaker.join_flood(vni, endpoint);
        let [_, a, b, c] = vni.value().to_be_bytes();
        let addresses = [IpAddr::from([10, a, b, c]), IpAddr::from(shared.link_local())];
        for (mac, ip) in [
            (mac(vni.value()), None),
            (shared, None),
            (shared, Some(addresses[0])),
            (shared, Some(addresses[1])),
        ] {
            test.speaker.reach(&Reach {
                vni,
                mac,
                ip,
                endpoint,
                sequence: 1,
                sticky: false,
                default_gateway: mac == shared,
                router: ip.is_some(),
                local_pref: None,
            });
        }
    }
    let mut buffer = Vec::new();
    while test.speaker.transmit(test.peer, test.connection, &mut buffer, test.now) {
        black_box(&buffer);
        buffer.clear();
    }
    let seconds = (clock::processor_time() - start).as_secs_f64();
    Ok(test.speaker.announced(Family::Evpn) as f64 / seconds)
}

/// Bytes that a route takes: resident memory, with all routes there.
fn memory() -> Result<f64, Error> {
    let mut test = Test::new()?;
    let before = resident()?;
    let mut piece = Vec::with_capacity(2 * PIECE);
    for index in 0..ROUTES {
        announced(index, (index % 250) as u8, &mut piece);
        if piece.len() >= PIECE || index + 1 == ROUTES {
            test.receive(&piece);
            piece.clear();
        }
    }
    let after = resident()?;
    if test.speaker.stations() != ROUTES as usize {
        return Err("not all routes came to be stations".into());
    }
    Ok((after - before) / f64::from(ROUTES))
}

fn resident() -> Result<f64, Error> {
    let text = fs::read_to_string("/proc/self/statm")?;
    let pages: f64 = text.split_whitespace().nth(1).ok_or("no resident memory")?.parse()?;
    Ok(pages * rustix::param::page_size() as f64)
}
