//! A storm of frames at a steady rate, to see what it does to others.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use sys::packet::{PacketSocket, Watch};

use crate::error::{Error, Result};
use crate::namespace::Namespace;

/// Longest pause, and so the time of the bursts that a storm comes in.
const PAUSE: Duration = Duration::from_millis(1);

/// A thread that sends frames on one netdev until stopped.
#[derive(Debug)]
pub struct Storm {
    interface: String,
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<io::Result<StormReport>>>,
    /// Keeps the lab from being torn down around the thread.
    _namespace: Namespace,
}

/// What was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StormReport {
    /// Frames that the kernel took.
    pub sent: u64,
    /// Frames that the kernel refused, because a queue was full.
    pub refused: u64,
    /// From the first frame to the stop.
    pub elapsed: Duration,
}

impl Storm {
    /// Sends `rate` frames a second on `interface`, or as many as the machine can. `frame` gets the number of each,
    /// from 0, and an empty buffer, into which it writes the whole frame from its destination MAC on.
    ///
    /// # Errors
    /// [`Error::Io`] if there is no such netdev.
    pub fn start(
        namespace: &Namespace,
        interface: &str,
        rate: u32,
        frame: impl FnMut(u64, &mut Vec<u8>) + Send + 'static,
    ) -> Result<Self> {
        let socket = namespace
            .enter(|| PacketSocket::open(interface, Watch::Incoming))?
            .map_err(Error::io(format!("open a raw socket on {interface} in {}", namespace.name())))?;
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let thread = thread::spawn({
            let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
            move || send(&socket, rate, frame, &stop, &sent)
        });
        let interface = interface.to_owned();
        Ok(Self { interface, stop, sent, thread: Some(thread), _namespace: namespace.clone() })
    }

    /// How many frames were sent so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Whether it has ended by itself.
    pub fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Ends it.
    ///
    /// # Errors
    /// [`Error::Io`] if it ended by itself: the netdev is down, or a frame was longer than the netdev's MTU.
    pub fn stop(mut self) -> Result<StormReport> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("taken only here, and `stop` consumes the storm");
        let report = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        report.map_err(Error::io(format!("send a storm on {}", self.interface)))
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl StormReport {
    /// Frames a second that were really sent.
    pub fn rate(&self) -> f64 {
        self.sent as f64 / self.elapsed.as_secs_f64()
    }
}

impl fmt::Display for StormReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, refused, elapsed } = self;
        write!(formatter, "{sent} frames in {elapsed:.0?}, {:.0} a second; {refused} refused", self.rate())
    }
}

fn send(
    socket: &PacketSocket,
    rate: u32,
    mut frame: impl FnMut(u64, &mut Vec<u8>),
    stop: &AtomicBool,
    sent: &AtomicU64,
) -> io::Result<StormReport> {
    let begin = Instant::now();
    let (mut tried, mut refused) = (0, 0);
    let mut buffer = Vec::new();
    loop {
        // Counted from the start: a thread that was late catches up.
        let due = (begin.elapsed().as_secs_f64() * f64::from(rate)) as u64;
        while tried < due && !stop.load(Ordering::Relaxed) {
            buffer.clear();
            frame(tried, &mut buffer);
            tried += 1;
            match socket.send(&buffer) {
                Ok(()) => sent.store(tried - refused, Ordering::Relaxed),
                Err(error) if error.raw_os_error() == Some(Errno::NOBUFS.raw_os_error()) => refused += 1,
                Err(error) => return Err(error),
            }
        }
        if stop.load(Ordering::Relaxed) {
            return Ok(StormReport { sent: tried - refused, refused, elapsed: begin.elapsed() });
        }
        thread::sleep(PAUSE);
    }
}
