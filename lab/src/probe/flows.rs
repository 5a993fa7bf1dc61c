//! Many flows at once, each answered, to see what becomes of each.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::namespace::Namespace;
use crate::wait::wait_until;

/// How long after the last datagram an answer still on its way may arrive.
const STRAGGLERS: Duration = Duration::from_millis(300);

/// How often the answering side looks whether it is to stop.
const STOP_CHECK: Duration = Duration::from_millis(20);

/// UDP flows that differ in their source ports. Each sends a datagram every interval, and all that arrive are sent back.
#[derive(Debug)]
pub struct Flows {
    stop_sender: Arc<AtomicBool>,
    stop_echo: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    answered: Arc<[AtomicU64]>,
    sender: Option<JoinHandle<Duration>>,
    echo: Option<JoinHandle<()>>,
}

/// What became of the flows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowsReport {
    /// Datagrams that each flow was to send; one that the kernel refused to send counts.
    pub sent: u64,
    /// Datagrams of each flow that were answered.
    pub answered: Vec<u64>,
    /// Longest time that any flow got no answer.
    pub longest_silence: Duration,
}

impl FlowsReport {
    /// Datagrams of all flows that were not answered.
    pub fn lost(&self) -> u64 {
        self.answered.iter().map(|answered| self.sent.saturating_sub(*answered)).sum()
    }
}

impl Flows {
    /// `count` flows from `from` to `destination`, an address of `to`, until stopped.
    ///
    /// # Errors
    /// [`Error::Io`] if a socket cannot be opened.
    pub fn start(
        from: &Namespace,
        to: &Namespace,
        destination: IpAddr,
        count: usize,
        interval: Duration,
    ) -> Result<Self> {
        let any: IpAddr = if destination.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
        let failed = |namespace: &Namespace| Error::io(format!("open a socket in {}", namespace.name()));
        let (echo, port) = to
            .enter(|| {
                let socket = UdpSocket::bind((destination, 0))?;
                socket.set_read_timeout(Some(STOP_CHECK))?;
                let port = socket.local_addr()?.port();
                io::Result::Ok((socket, port))
            })?
            .map_err(failed(to))?;
        let sockets = from
            .enter(|| {
                let open = |_| {
                    let socket = UdpSocket::bind((any, 0))?;
                    socket.set_nonblocking(true)?;
                    Ok(socket)
                };
                (0..count).map(open).collect::<io::Result<Vec<_>>>()
            })?
            .map_err(failed(from))?;
        let [stop_sender, stop_echo] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let sent = Arc::new(AtomicU64::new(0));
        let answered: Arc<[AtomicU64]> = (0..count).map(|_| AtomicU64::new(0)).collect();
        let echo = thread::spawn({
            let stop = Arc::clone(&stop_echo);
            move || send_back(&echo, &stop)
        });
        let sender = thread::spawn({
            let target = SocketAddr::new(destination, port);
            let (stop, sent, answered) = (Arc::clone(&stop_sender), Arc::clone(&sent), Arc::clone(&answered));
            move || send(&sockets, target, interval, &stop, &sent, &answered)
        });
        Ok(Self { stop_sender, stop_echo, sent, answered, sender: Some(sender), echo: Some(echo) })
    }

    /// Datagrams of each flow that were answered so far.
    pub fn answered(&self) -> Vec<u64> {
        self.answered.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }

    /// Waits until `more` datagrams of each flow of all of them were answered.
    ///
    /// # Errors
    /// [`Error::Timeout`] if that takes longer than `timeout`: how many each had is in it.
    pub fn wait_answered(all: &[Self], more: u64, timeout: Duration) -> Result<()> {
        let answered = || all.iter().flat_map(Self::answered).collect::<Vec<_>>();
        let before = answered();
        wait_until("answers to all flows", timeout, || {
            let now = answered();
            let all = now.iter().zip(&before).all(|(now, before)| *now >= before + more);
            if all { Ok(()) } else { Err(format!("{before:?}, then {now:?}")) }
        })
    }

    /// Stops sending, waits for what is still on its way, and tells.
    pub fn stop(mut self) -> FlowsReport {
        self.stop_sender.store(true, Ordering::Relaxed);
        let join = "taken only here, and `stop` consumes the flows";
        let sender = self.sender.take().expect(join).join();
        let longest_silence = sender.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        self.stop_echo.store(true, Ordering::Relaxed);
        self.echo.take().expect(join).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        FlowsReport { sent: self.sent.load(Ordering::Relaxed), answered: self.answered(), longest_silence }
    }
}

impl Drop for Flows {
    fn drop(&mut self) {
        self.stop_sender.store(true, Ordering::Relaxed);
        self.stop_echo.store(true, Ordering::Relaxed);
    }
}

/// Sends a datagram of each flow every interval, and counts answers: the longest time without any to a flow.
fn send(
    sockets: &[UdpSocket],
    target: SocketAddr,
    interval: Duration,
    stop: &AtomicBool,
    sent: &AtomicU64,
    answered: &[AtomicU64],
) -> Duration {
    let start = Instant::now();
    let mut last = vec![start; sockets.len()];
    let (mut longest, mut due) = (Duration::ZERO, start);
    let mut stragglers = None;
    loop {
        if stop.load(Ordering::Relaxed) && stragglers.is_none() {
            stragglers = Some(Instant::now() + STRAGGLERS);
        }
        if stragglers.is_none() {
            let number = sent.fetch_add(1, Ordering::Relaxed);
            for socket in sockets {
                // No route or a netdev that is down: a datagram lost like any other.
                let _ = socket.send_to(&number.to_be_bytes(), target);
            }
        }
        due += interval;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        for ((socket, last), answered) in sockets.iter().zip(&mut last).zip(answered) {
            while socket.recv(&mut [0; 16]).is_ok() {
                let now = Instant::now();
                longest = longest.max(now - *last);
                *last = now;
                answered.fetch_add(1, Ordering::Relaxed);
            }
        }
        let sent = sent.load(Ordering::Relaxed);
        let all = || answered.iter().all(|answered| answered.load(Ordering::Relaxed) >= sent);
        if stragglers.is_some_and(|deadline| all() || Instant::now() >= deadline) {
            return longest;
        }
    }
}

fn send_back(socket: &UdpSocket, stop: &AtomicBool) {
    let mut buffer = [0; 16];
    while !stop.load(Ordering::Relaxed) {
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..length], from);
        }
    }
}
