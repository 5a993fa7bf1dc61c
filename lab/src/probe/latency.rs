//! Loss and latency of a series of echo requests, while something else happens.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with};

use crate::error::{Error, Result};
use crate::namespace::Namespace;
use crate::topology::Family;
use crate::wait::wait_until;

/// How long after its request an answer may come; then it counts as lost.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often the receiver looks whether it is to stop.
const STOP_CHECK: Duration = Duration::from_millis(20);

/// Bytes of an ICMP header.
const HEADER: usize = 8;

/// Bytes of an echo message whose payload is its number.
const MESSAGE: usize = HEADER + 8;

/// Echo requests sent at a steady interval, whether answered or not, until dropped.
#[derive(Debug)]
pub struct LatencyProbe {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// The first request of the next window.
    window: usize,
    /// Keeps the lab from being torn down around the threads.
    _namespace: Namespace,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    /// By number.
    echoes: Mutex<Vec<Echo>>,
}

#[derive(Clone, Copy, Debug)]
struct Echo {
    sent: Instant,
    round_trip: Option<Duration>,
}

/// What became of the requests of a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LatencyReport {
    /// Requests that were to be sent; one that the kernel refused to send counts.
    pub sent: usize,
    /// Requests that were answered within a second.
    pub received: usize,
    /// Half of the answers took at most so long; zero if there was none.
    pub p50: Duration,
    /// 99 of 100 answers took at most so long.
    pub p99: Duration,
    /// The slowest answer took so long.
    pub max: Duration,
}

impl LatencyProbe {
    /// Sends an echo request from `namespace` to `destination` every `interval`.
    ///
    /// # Errors
    /// [`Error::Io`] if there is no route.
    pub fn start(namespace: &Namespace, destination: IpAddr, interval: Duration) -> Result<Self> {
        // Groups that may have a socket for echo requests.
        namespace.set("net.ipv4.ping_group_range", "0 0")?;
        let socket = namespace
            .enter(|| open(destination))?
            .map_err(Error::io(format!("send echo requests from {} to {destination}", namespace.name())))?;
        let (socket, shared) = (Arc::new(socket), Arc::new(Shared::default()));
        let request = match Family::of(destination) {
            Family::V4 => 8,
            Family::V6 => 128,
        };
        let sender = thread::spawn({
            let (socket, shared) = (Arc::clone(&socket), Arc::clone(&shared));
            move || send(&socket, request, interval, &shared)
        });
        let receiver = thread::spawn({
            let shared = Arc::clone(&shared);
            move || receive(&socket, &shared)
        });
        let threads = vec![sender, receiver];
        Ok(Self { shared, threads, window: 0, _namespace: namespace.clone() })
    }

    /// What became of the requests since the last window, of which there must be at least `count`: waits until so many
    /// are sent, and all that are sent by then answered or lost.
    ///
    /// # Errors
    /// [`Error::Timeout`] if not so many are sent in `timeout`.
    pub fn window(&mut self, count: usize, timeout: Duration) -> Result<LatencyReport> {
        let begin = self.window;
        let end = wait_until(&format!("{count} echo requests"), timeout, || {
            let sent = self.shared.echoes().len();
            if sent >= begin + count { Ok(sent) } else { Err(format!("{} sent", sent - begin)) }
        })?;
        self.window = end;
        // Those that are lost never come: that is no error.
        let _ = wait_until("the last answers", PATIENCE, || {
            self.shared.echoes()[begin..end].iter().all(|echo| echo.round_trip.is_some())
        });
        Ok(LatencyReport::of(&self.shared.echoes()[begin..end]))
    }
}

impl Drop for LatencyProbe {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic has been reported already.
            let _ = thread.join();
        }
    }
}

impl LatencyReport {
    /// Requests that were not answered.
    pub fn lost(&self) -> usize {
        self.sent - self.received
    }

    fn of(echoes: &[Echo]) -> Self {
        let mut times: Vec<Duration> =
            echoes.iter().filter_map(|echo| echo.round_trip.filter(|time| *time <= PATIENCE)).collect();
        times.sort_unstable();
        let percentile = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100);
            times.get(rank.saturating_sub(1)).copied().unwrap_or_default()
        };
        Self {
            sent: echoes.len(),
            received: times.len(),
            p50: percentile(50),
            p99: percentile(99),
            max: percentile(100),
        }
    }
}

impl fmt::Display for LatencyReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, p50, p99, max, .. } = self;
        write!(formatter, "{} of {sent} lost, p50 {p50:.0?}, p99 {p99:.0?}, max {max:.0?}", self.lost())
    }
}

impl Shared {
    fn echoes(&self) -> MutexGuard<'_, Vec<Echo>> {
        self.echoes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// A socket for echo requests (icmp(7), `IPPROTO_ICMP`): the kernel fills in identifier and checksum, and gives it the
/// answers alone. It is used as a UDP socket is.
fn open(destination: IpAddr) -> io::Result<UdpSocket> {
    let (family, protocol) = match destination {
        IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP),
        IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6),
    };
    let socket =
        UdpSocket::from(socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, Some(protocol))?);
    socket.connect(SocketAddr::new(destination, 0))?;
    socket.set_read_timeout(Some(STOP_CHECK))?;
    Ok(socket)
}

fn send(socket: &UdpSocket, request: u8, interval: Duration, shared: &Shared) {
    let mut due = Instant::now();
    let mut message = [0; MESSAGE];
    message[0] = request;
    while !shared.is_stopped() {
        let number = {
            let mut echoes = shared.echoes();
            echoes.push(Echo { sent: Instant::now(), round_trip: None });
            echoes.len() - 1
        };
        message[6..HEADER].copy_from_slice(&(number as u16).to_be_bytes());
        message[HEADER..].copy_from_slice(&(number as u64).to_be_bytes());
        // No route or a netdev that is down: a request lost like any other.
        let _ = socket.send(&message);
        due += interval;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

fn receive(socket: &UdpSocket, shared: &Shared) {
    let mut message = [0; MESSAGE];
    while !shared.is_stopped() {
        // An ICMP error is an error of the socket: a request lost like any other.
        let Ok(MESSAGE) = socket.recv(&mut message) else { continue };
        let now = Instant::now();
        let [_, _, _, _, _, _, _, _, number @ ..] = message;
        let mut echoes = shared.echoes();
        if let Some(echo) = echoes.get_mut(u64::from_be_bytes(number) as usize) {
            // The first of several counts.
            echo.round_trip.get_or_insert(now - echo.sent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_answers_in_time() {
        let echo = |round_trip| Echo { sent: Instant::now(), round_trip };
        let mut echoes: Vec<Echo> =
            (1..=200).rev().map(|number| echo(Some(Duration::from_micros(number)))).collect();
        echoes.extend([echo(None), echo(Some(PATIENCE * 2))]);
        let report = LatencyReport::of(&echoes);
        assert_eq!((report.sent, report.received, report.lost()), (202, 200, 2));
        assert_eq!([report.p50, report.p99, report.max], [100, 198, 200].map(Duration::from_micros));
        assert_eq!(report.to_string(), "2 of 202 lost, p50 100µs, p99 198µs, max 200µs");
        assert_eq!(LatencyReport::of(&[]), LatencyReport::default());
    }
}
