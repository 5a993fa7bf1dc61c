//! A steady stream of numbered datagrams, to see losses while something happens.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::namespace::Namespace;
use crate::wait::wait_until;

/// How long after the last datagram one still on its way may arrive.
const STRAGGLERS: Duration = Duration::from_secs(1);

/// How often the receiver looks whether it is to stop.
const STOP_CHECK: Duration = Duration::from_millis(20);

/// Datagrams sent from one namespace to another, one way, at a steady interval.
#[derive(Debug)]
pub struct SteadyProbe {
    stop_sender: Arc<AtomicBool>,
    stop_receiver: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    received: Arc<AtomicU64>,
    sender: Option<JoinHandle<()>>,
    receiver: Option<JoinHandle<io::Result<Arrivals>>>,
}

/// What became of the datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SteadyReport {
    /// Datagrams that were to be sent; one that the kernel refused to send counts.
    pub sent: u64,
    /// Different datagrams received.
    pub received: u64,
    /// Datagrams that arrived again.
    pub duplicates: u64,
    /// Longest time between two arrivals, or from the start to the first.
    pub longest_gap: Duration,
}

impl SteadyReport {
    /// Datagrams that never arrived.
    pub fn lost(&self) -> u64 {
        self.sent - self.received
    }
}

#[derive(Debug, Default)]
struct Arrivals {
    seen: HashSet<u64>,
    duplicates: u64,
    longest_gap: Duration,
}

impl SteadyProbe {
    /// Sends a datagram to `destination`, an address of `to`, every `interval`, until stopped.
    ///
    /// # Errors
    /// [`Error::Io`] if a socket cannot be opened.
    pub fn start(from: &Namespace, to: &Namespace, destination: IpAddr, interval: Duration) -> Result<Self> {
        let any: SocketAddr = match destination {
            IpAddr::V4(_) => ([0; 4], 0).into(),
            IpAddr::V6(_) => ([0u16; 8], 0).into(),
        };
        let open = |namespace: &Namespace, address: SocketAddr| {
            namespace
                .enter(|| UdpSocket::bind(address))?
                .map_err(Error::io(format!("open a probe's socket in {}", namespace.name())))
        };
        let sender = open(from, any)?;
        let receiver = open(to, SocketAddr::new(destination, 0))?;
        let setup = || {
            receiver.set_read_timeout(Some(STOP_CHECK))?;
            receiver.local_addr()
        };
        let target = setup().map_err(Error::io("set up a probe's socket"))?;

        let stop_sender = Arc::new(AtomicBool::new(false));
        let stop_receiver = Arc::new(AtomicBool::new(false));
        let (sent, received) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let receiver = thread::spawn({
            let (stop, received) = (Arc::clone(&stop_receiver), Arc::clone(&received));
            move || receive(&receiver, &stop, &received)
        });
        let sender = thread::spawn({
            let (stop, sent) = (Arc::clone(&stop_sender), Arc::clone(&sent));
            move || send(&sender, target, interval, &stop, &sent)
        });
        Ok(Self {
            stop_sender,
            stop_receiver,
            sent,
            received,
            sender: Some(sender),
            receiver: Some(receiver),
        })
    }

    /// How many datagrams were sent so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// How many different datagrams have arrived so far.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Stops sending, waits for those still on their way, and tells.
    ///
    /// # Errors
    /// [`Error::Io`] if the receiver failed.
    pub fn stop(mut self) -> Result<SteadyReport> {
        self.stop_sender.store(true, Ordering::Relaxed);
        let sender = self.sender.take().expect("taken only here, and `stop` consumes the probe");
        let receiver = self.receiver.take().expect("taken only here, and `stop` consumes the probe");
        sender.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let sent = self.sent();
        // Those that are lost never come: that is no error.
        let _ = wait_until("the last datagrams", STRAGGLERS, || self.received() >= sent);
        self.stop_receiver.store(true, Ordering::Relaxed);
        let arrivals = receiver.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let Arrivals { seen, duplicates, longest_gap } = arrivals.map_err(Error::io("receive a probe"))?;
        Ok(SteadyReport { sent, received: seen.len() as u64, duplicates, longest_gap })
    }
}

impl Drop for SteadyProbe {
    fn drop(&mut self) {
        self.stop_sender.store(true, Ordering::Relaxed);
        self.stop_receiver.store(true, Ordering::Relaxed);
    }
}

fn send(socket: &UdpSocket, target: SocketAddr, interval: Duration, stop: &AtomicBool, sent: &AtomicU64) {
    let mut due = Instant::now();
    let mut number = 0u64;
    while !stop.load(Ordering::Relaxed) {
        // No route or a netdev that is down: a datagram lost like any other.
        let _ = socket.send_to(&number.to_be_bytes(), target);
        number += 1;
        sent.store(number, Ordering::Relaxed);
        due += interval;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

fn receive(socket: &UdpSocket, stop: &AtomicBool, received: &AtomicU64) -> io::Result<Arrivals> {
    let mut arrivals = Arrivals::default();
    let mut last = Instant::now();
    let mut buffer = [0; 16];
    while !stop.load(Ordering::Relaxed) {
        match socket.recv(&mut buffer) {
            Ok(8) => {}
            Ok(_) => continue,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                continue;
            }
            Err(error) => return Err(error),
        }
        let now = Instant::now();
        arrivals.longest_gap = arrivals.longest_gap.max(now - last);
        last = now;
        let [a, b, c, d, e, f, g, h, ..] = buffer;
        if arrivals.seen.insert(u64::from_be_bytes([a, b, c, d, e, f, g, h])) {
            received.fetch_add(1, Ordering::Relaxed);
        } else {
            arrivals.duplicates += 1;
        }
    }
    Ok(arrivals)
}
