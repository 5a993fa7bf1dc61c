//! The speaker at its sockets, on the loopback of a namespace: slow listeners, peers that read nothing, no descriptors
//! left. Needs root.

#[allow(dead_code, reason = "the rest is for speakers in virtual time")]
#[path = "speaker/support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use evpn::net::{Driver, Handle, Told};
use evpn::{
    Change, DuplicatePolicy, Event, Family, Identity, Local, PeerConfig, Reach, RouteTargets, SessionState,
    Speaker,
};
use lab::{Lab, Namespace, wait_until};
use rustbgpd_wire::{Message, UpdateMessage, attribute, encode_message};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::scripted::{Scripted, mac_route};
use support::{ASN, mac, vni};
use tokio::sync::mpsc::Receiver;

const PATIENCE: Duration = Duration::from_secs(60);
const OWN: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const PEERS: [Ipv4Addr; 2] = [Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3)];
const HOLD_TIME: u16 = 3;

/// One of these tests takes all descriptors of the process.
static ALONE: Mutex<()> = Mutex::new(());

/// A speaker with two peers, which connect; `follow` takes what it tells.
struct Running {
    _alone: MutexGuard<'static, ()>,
    _lab: Lab,
    namespace: Namespace,
    handle: Option<Handle>,
    runtime: tokio::runtime::Runtime,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Running {
    fn start(follow: impl FnMut(Told) + Send + 'static) -> Self {
        Self::start_with(async move |mut told: Receiver<Told>| {
            let mut follow = follow;
            while let Some(told) = told.recv().await {
                follow(told);
            }
        })
    }

    fn start_with(follow: impl AsyncFnOnce(Receiver<Told>) + Send + 'static) -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let lab = Lab::new().unwrap();
        let namespace = lab.namespace("speaker").unwrap();
        let local = Local { asn: ASN, router_id: Ipv4Addr::new(10, 0, 0, 1), cluster: 1 };
        let mut speaker = Speaker::new(local, Identity::default(), DuplicatePolicy::default(), 1);
        speaker.set_overlays([(vni(1), RouteTargets::Frr)]);
        for peer in PEERS {
            let config = PeerConfig::new(peer.into(), ASN);
            speaker.add_peer(PeerConfig { passive: true, ..config }).unwrap();
        }
        let (started, start) = mpsc::channel();
        let inner = namespace.clone();
        let thread = std::thread::spawn(move || {
            let inside = || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let (driver, handle, told) =
                        Driver::new(speaker, &[SocketAddr::new(OWN.into(), 179)]).unwrap();
                    started.send(handle).unwrap();
                    tokio::join!(driver.run("the test is over"), follow(told));
                });
            };
            inner.enter(inside).unwrap();
        });
        let handle = Some(start.recv().unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        Self { _alone: alone, _lab: lab, namespace, handle, runtime, thread: Some(thread) }
    }

    fn call<T: Send + 'static>(&self, call: impl FnOnce(&mut Speaker) -> T + Send + 'static) -> T {
        let handle = self.handle.as_ref().unwrap();
        self.runtime.block_on(handle.call(|speaker, _| call(speaker))).unwrap()
    }

    fn wait(&self, what: &str, so: impl Fn(&mut Speaker) -> bool + Send + Clone + 'static) {
        wait_until(what, PATIENCE, || self.call(so.clone())).unwrap();
    }

    fn state(&self, peer: usize) -> SessionState {
        self.call(move |speaker| speaker.peers().nth(peer).unwrap().state)
    }

    /// A socket that has the address of a peer, not connected yet.
    fn socket(&self, peer: usize) -> rustix::fd::OwnedFd {
        use rustix::net::{AddressFamily, SocketType, bind, socket};
        let inside = || {
            let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
            bind(&socket, &SocketAddr::new(PEERS[peer].into(), 0)).unwrap();
            socket
        };
        self.namespace.enter(inside).unwrap()
    }

    fn connect(&self, peer: usize) -> std::net::TcpStream {
        let socket = self.socket(peer);
        rustix::net::connect(&socket, &SocketAddr::new(OWN.into(), 179)).unwrap();
        socket.into()
    }

    /// The same, with a session that comes up.
    fn session(&self, peer: usize, hold_time: u16) -> std::net::TcpStream {
        let mut stream = self.connect(peer);
        let open = Message::Open(rustbgpd_wire::OpenMessage { hold_time, ..Scripted::open() });
        for message in [open, Message::Keepalive] {
            stream.write_all(&encode_message(&message).unwrap()).unwrap();
        }
        self.wait("the session", move |speaker| {
            speaker.peers().nth(peer).unwrap().state == SessionState::Established
        });
        stream
    }

    fn leave(&mut self) {
        self.handle = None;
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Sends keepalives on a connection until told otherwise; reads what comes, so that nothing stands in the way.
fn keep_alive(mut stream: std::net::TcpStream, until: Arc<AtomicBool>) -> std::thread::JoinHandle<()> {
    stream.set_read_timeout(Some(Duration::from_millis(250))).unwrap();
    std::thread::spawn(move || {
        let keepalive = encode_message(&Message::Keepalive).unwrap();
        let mut heard = Instant::now();
        while !until.load(Ordering::Relaxed) {
            stream.write_all(&keepalive).expect("the session is there");
            match stream.read(&mut [0; 4096]) {
                Ok(0) => panic!("closed"),
                Ok(_) => heard = Instant::now(),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
            assert!(heard.elapsed() < Duration::from_secs(HOLD_TIME.into()), "no keepalive");
        }
    })
}

/// Stations of overlay 1, as a peer announces them.
fn stations(numbers: std::ops::Range<u32>, next_hop: IpAddr) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in numbers {
        let [_, a, b, c] = number.to_be_bytes();
        let mut encoded = Vec::new();
        let attributes = mac_route(1, [2, 0, 0, a, b, c], None, next_hop);
        attribute::encode_path_attributes(&attributes, &mut encoded, true, false).unwrap();
        let (withdrawn_routes, nlri) = Default::default();
        let update = UpdateMessage { withdrawn_routes, path_attributes: encoded.into(), nlri };
        bytes.extend_from_slice(&encode_message(&Message::Update(update)).unwrap());
    }
    bytes
}

#[test]
fn a_healthy_peer_is_heard_while_the_loss_of_another_is_worked_off() {
    const STATIONS: u32 = 100_000;
    let (slow, events) = (Arc::new(AtomicBool::new(false)), mpsc::channel());
    let (gone, told_gone) = mpsc::channel();
    let pace = slow.clone();
    let mut speaker = Running::start_with(async move |mut told: Receiver<Told>| {
        let (mut batch, mut left) = (Vec::new(), BTreeSet::new());
        while told.recv_many(&mut batch, 1024).await > 0 {
            for told in batch.drain(..) {
                match told {
                    Told::Change(Change::Station { mac, .. }) => assert!(left.insert(mac.0)),
                    Told::Change(Change::StationGone { mac, .. }) => assert!(left.remove(&mac.0)),
                    Told::Change(change) => panic!("{change:?}"),
                    Told::Event(event) => drop(events.0.send(event)),
                }
            }
            if pace.load(Ordering::Relaxed) {
                // As a table does that has much else to do.
                tokio::time::sleep(Duration::from_millis(80)).await;
                if left.is_empty() {
                    let _ = gone.send(());
                }
            }
        }
    });
    let over = Arc::new(AtomicBool::new(false));
    let healthy = keep_alive(speaker.session(1, HOLD_TIME), over.clone());
    let mut other = speaker.session(0, 90);
    for from in (0..STATIONS).step_by(1000) {
        other.write_all(&stations(from..from + 1000, [10, 0, 0, 9].into())).unwrap();
    }
    speaker.wait("all stations", |speaker| speaker.stations() == STATIONS as usize);
    let start = Instant::now();
    slow.store(true, Ordering::Relaxed);
    drop(other);
    told_gone.recv_timeout(PATIENCE).unwrap();
    assert!(start.elapsed() > 2 * Duration::from_secs(HOLD_TIME.into()), "{:?}: too fast", start.elapsed());
    let downs = events.1.try_iter().filter(|event| matches!(event, Event::Down { .. })).count();
    over.store(true, Ordering::Relaxed);
    healthy.join().unwrap();
    assert_eq!(downs, 1, "the other's");
    speaker.leave();
}

#[test]
fn peers_are_accepted_again_when_there_are_descriptors() {
    let (tell, told) = mpsc::channel();
    let mut speaker = Running::start(move |told| {
        if let Told::Event(event) = told {
            let _ = tell.send(event);
        }
    });
    assert_eq!(speaker.state(0), SessionState::Active);
    let socket = speaker.socket(0);
    let before = getrlimit(Resource::Nofile);
    // No new descriptor can be had.
    setrlimit(Resource::Nofile, Rlimit { current: Some(0), ..before }).unwrap();
    let connected = rustix::net::connect(&socket, &SocketAddr::new(OWN.into(), 179));
    let next = || told.recv_timeout(PATIENCE).ok();
    let event = std::iter::from_fn(next).find(|event| matches!(event, Event::NotAccepting { .. }));
    setrlimit(Resource::Nofile, before).unwrap();
    connected.unwrap();
    let Some(Event::NotAccepting { error }) = event else { panic!("{event:?}") };
    assert!(error.contains("Too many open files"), "{error}");
    // Nothing else happens there that would wake it.
    let mut stream = std::net::TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut header = [0; 19];
    stream.read_exact(&mut header).unwrap();
    assert_eq!(header[18], 1, "OPEN");
    drop(stream);
    speaker.leave();
}

#[test]
fn announcements_that_can_wait_do_while_no_peer_takes_any() {
    const ALL: u32 = 200_000;
    const AT_ONCE: u32 = 250;
    const AHEAD: u64 = 256;
    let mut speaker = Running::start(|_| {});
    let announce = |handle: Handle| async move {
        for first in (0..ALL).step_by(AT_ONCE as usize) {
            // Each has attributes, and so an UPDATE, of its own.
            let reach = move |number| Reach {
                vni: vni(1),
                mac: mac(number),
                ip: None,
                endpoint: OWN.into(),
                sequence: number,
                sticky: false,
                default_gateway: false,
                router: false,
                local_pref: None,
            };
            let call = move |speaker: &mut Speaker, _| {
                (first..first + AT_ONCE).for_each(|number| speaker.reach(&reach(number)));
            };
            handle.call_paced(AHEAD, call).await.unwrap();
        }
    };
    // It reads nothing, but it is there.
    let mut stream = speaker.session(0, 90);
    let handle = speaker.handle.clone().unwrap();
    let announcing = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(announce(handle));
    });
    let (mut last, mut times) = (0, 0);
    wait_until("the announcements to wait", PATIENCE, || {
        let (announced, unsent) =
            speaker.call(|speaker| (speaker.announced(Family::Evpn), speaker.unsent(Family::Evpn)));
        assert!(unsent <= AHEAD + u64::from(AT_ONCE), "{unsent} of {announced}");
        times = if announced == last { times + 1 } else { 0 };
        last = announced;
        if announced > 0 && times > 20 { Ok(()) } else { Err(format!("{announced}, {unsent}")) }
    })
    .unwrap();
    assert!(last < ALL as usize, "{last}");
    // Others are not held up by that.
    speaker.call(|speaker| speaker.unreach(vni(1), mac(0), None));
    assert_eq!(speaker.call(|speaker| speaker.announced(Family::Evpn)), last - 1);
    let mut buffer = vec![0; 1 << 20];
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    while !announcing.is_finished() {
        let _ = stream.read(&mut buffer);
    }
    announcing.join().unwrap();
    assert_eq!(speaker.call(|speaker| speaker.announced(Family::Evpn)), ALL as usize - 1);
    drop(stream);
    speaker.leave();
}
