//! Sleeping until a frame comes, or another thread calls.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fd::OwnedFd;

use crate::port::Port;

/// Wakes a worker that sleeps in [`wait`]; may be cloned and used from any thread.
#[derive(Clone)]
pub struct Waker {
    event: Arc<OwnedFd>,
}

impl Waker {
    /// Makes one for one sleeper.
    ///
    /// # Errors
    /// When no more descriptors can be had.
    pub fn new() -> io::Result<Self> {
        Ok(Self { event: Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?) })
    }

    /// Wakes the sleeper, now or when it next wants to sleep.
    pub fn wake(&self) {
        // Fails only when the counter is full: then the sleeper is being woken as it is.
        let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
    }
}

/// Sleeps until one of the ports has a frame, the waker is used, or the time is up. Ports in memory wake nobody.
pub fn wait(ports: &[Port], waker: &Waker, timeout: Duration) {
    // Workers own a handful of ports; what is beyond this is polled at the next wake-up.
    let mut fds = arrayvec::ArrayVec::<PollFd<'_>, 17>::new();
    fds.push(PollFd::new(&waker.event, PollFlags::IN));
    for port in ports.iter().take(16) {
        if let Some(socket) = port.socket() {
            fds.push(PollFd::from_borrowed_fd(socket, PollFlags::IN));
        }
    }
    let timeout = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: timeout.subsec_nanos().into() };
    // An interrupted sleep is a short one.
    let _ = poll(&mut fds, Some(&timeout));
    if fds[0].revents().contains(PollFlags::IN) {
        let _ = rustix::io::read(&waker.event, &mut [0; 8]);
    }
}
