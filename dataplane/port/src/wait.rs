//! When a loop that polls is to sleep; and sleeping until a frame comes, or another thread calls.

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

/// Rounds without work before a sleep: some tens of microseconds, in which the next frame of a flow comes if it comes
/// soon.
const SPIN: u32 = 200;
/// So many times in a row it is looked for that long in vain before that is given up.
const DOUBT: u32 = 8;
/// After so many sleeps without, it is tried once more.
const RETRY: u32 = 64;

/// When a loop that polls is to sleep.
///
/// To look again and again pays where another core receives meanwhile. Where reception shares the loop's core nothing
/// can come until the loop sleeps, and looking only keeps it from coming: so this remembers whether it has paid.
#[derive(Debug, Default)]
pub struct Idle {
    /// Without work, since there was any or since the last sleep.
    rounds: u32,
    /// Whether there was no work since the last sleep: another look of that length would cost more than sleeping saves.
    slept: bool,
    /// Looks in vain in a row, and then sleeps without.
    vain: u32,
}

impl Idle {
    /// There was work in this round.
    #[inline]
    pub fn worked(&mut self) {
        if self.rounds > 0 && !self.slept {
            self.vain = 0;
        }
        self.rounds = 0;
        self.slept = false;
    }

    /// There was none: whether to sleep now.
    #[inline]
    pub fn is_to_sleep(&mut self) -> bool {
        self.rounds += 1;
        if !self.slept && self.vain < DOUBT && self.rounds < SPIN {
            return false;
        }
        if !self.slept {
            self.vain = if self.vain == DOUBT + RETRY { DOUBT - 1 } else { self.vain + 1 };
        }
        self.rounds = 0;
        self.slept = true;
        true
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Rounds until a sleep, the last included.
    fn rounds(idle: &mut Idle) -> u32 {
        (1..).find(|_| idle.is_to_sleep()).unwrap()
    }

    #[test]
    fn looking_that_pays_goes_on() {
        let mut idle = Idle::default();
        for _ in 0..1000 {
            assert!((1..SPIN).all(|_| !idle.is_to_sleep()));
            idle.worked();
        }
    }

    #[test]
    fn looking_in_vain_is_given_up_and_tried_again() {
        let mut idle = Idle::default();
        for _ in 0..3 {
            for _ in 0..DOUBT {
                assert_eq!(rounds(&mut idle), SPIN);
                assert_eq!(rounds(&mut idle), 1, "woken without work");
                idle.worked();
            }
            for _ in 0..=RETRY {
                assert_eq!(rounds(&mut idle), 1);
                idle.worked();
            }
            // Once, and it pays again.
            assert!(!idle.is_to_sleep());
            idle.worked();
        }
    }

    #[test]
    fn one_more_look_in_vain_is_enough_afterwards() {
        let mut idle = Idle::default();
        let lengths: Vec<u32> = (0..DOUBT + 3 * (RETRY + 2))
            .map(|_| {
                let rounds = rounds(&mut idle);
                idle.worked();
                rounds
            })
            .collect();
        assert_eq!(lengths.iter().filter(|&&rounds| rounds == SPIN).count() as u32, DOUBT + 3);
    }
}
