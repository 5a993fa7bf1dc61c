//! Holding one thread of another process, while its other threads go on (ptrace(2)): to see what happens then.

use std::ffi::{c_int, c_void};
use std::io;
use std::ptr::{null_mut, without_provenance_mut};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How often it is looked whether a held thread still lives.
const LOOK: Duration = Duration::from_millis(10);

/// In the upper half of a status: a stop that no signal to be delivered brought about (`PTRACE_EVENT_STOP`).
const EVENT_STOP: c_int = 128;

/// A thread that does not run until this is dropped.
///
/// The thread that traces another must be the one that lets go of it: there is one for each held thread.
#[derive(Debug)]
pub struct HeldThread {
    /// Dropped first, which lets the tracer end.
    release: Option<Sender<()>>,
    tracer: Option<JoinHandle<()>>,
}

impl HeldThread {
    /// Holds the thread with this number; when this returns, it stands still.
    ///
    /// # Errors
    /// `ESRCH` if there is none; `EPERM` if it is one of our own process, is traced already, or belongs to somebody else.
    pub fn hold(thread: i32) -> io::Result<Self> {
        let (release, released) = channel();
        let (tell, told) = channel();
        let tracer = thread::spawn(move || match stop(thread) {
            Ok(signal) => {
                let _ = tell.send(Ok(()));
                keep(thread, signal, &released);
            }
            Err(error) => {
                let _ = tell.send(Err(error));
            }
        });
        // It says something before it ends.
        told.recv().map_err(io::Error::other)??;
        Ok(Self { release: Some(release), tracer: Some(tracer) })
    }
}

impl Drop for HeldThread {
    fn drop(&mut self) {
        self.release = None;
        if let Some(tracer) = self.tracer.take() {
            // It cannot panic.
            let _ = tracer.join();
        }
    }
}

/// Stops a thread: the signal that it was about to get, or 0.
fn stop(thread: i32) -> io::Result<c_int> {
    request(libc::PTRACE_SEIZE, thread, 0)?;
    request(libc::PTRACE_INTERRUPT, thread, 0)?;
    let status = wait(thread, 0)?.ok_or_else(gone)?;
    if !libc::WIFSTOPPED(status) {
        return Err(gone());
    }
    Ok(if status >> 16 == EVENT_STOP { 0 } else { libc::WSTOPSIG(status) })
}

/// Waits until the thread shall be let go, or has ended.
fn keep(thread: i32, signal: c_int, released: &Receiver<()>) {
    while released.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
        // Its process can be killed; it ends only when its tracer has heard of its threads' ends.
        match wait(thread, libc::WNOHANG) {
            Ok(Some(status)) if libc::WIFSTOPPED(status) => {}
            Ok(None) => {}
            Ok(Some(_)) | Err(_) => return,
        }
    }
    // If it has ended meanwhile, there is nothing to let go.
    let _ = request(libc::PTRACE_DETACH, thread, signal);
}

fn gone() -> io::Error {
    io::Error::from_raw_os_error(libc::ESRCH)
}

/// Private, and called with those requests that take no address and a number as data.
fn request(request: libc::c_uint, thread: i32, data: c_int) -> io::Result<()> {
    let data: *mut c_void = without_provenance_mut(data as usize);
    // SAFETY: these requests dereference neither pointer: the address is 0, the data a number. They act on another thread.
    let result = unsafe { libc::ptrace(request as _, thread, null_mut::<c_void>(), data) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The status of a traced thread, `None` if it has not changed.
fn wait(thread: i32, options: c_int) -> io::Result<Option<c_int>> {
    let mut status = 0;
    loop {
        // SAFETY: the pointer is to our own value, which is written only during the call.
        let result = unsafe { libc::waitpid(thread, &raw mut status, options | libc::__WALL) };
        match result {
            0 => return Ok(None),
            1.. => return Ok(Some(status)),
            _ => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::{Child, Command};
    use std::time::Instant;

    use super::*;

    struct Killed(Child);

    impl Drop for Killed {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// Clock ticks that it ran in user mode and in the kernel (proc(5)).
    fn ticks(pid: u32) -> u64 {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<&str> = text.rsplit_once(')').unwrap().1.split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    fn state(pid: u32) -> char {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        text.rsplit_once(')').unwrap().1.trim_start().chars().next().unwrap()
    }

    fn wait_running(pid: u32) {
        let (before, deadline) = (ticks(pid), Instant::now() + Duration::from_secs(30));
        while ticks(pid) < before + 2 {
            assert!(Instant::now() < deadline, "it does not run");
            thread::yield_now();
        }
    }

    #[test]
    fn a_held_thread_stands_still_until_it_is_let_go() {
        let child = Killed(Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap());
        let pid = child.0.id();
        wait_running(pid);
        let held = HeldThread::hold(pid as i32).unwrap();
        assert_eq!(state(pid), 't');
        let before = ticks(pid);
        assert_eq!(HeldThread::hold(pid as i32).unwrap_err().raw_os_error(), Some(libc::EPERM));
        assert_eq!(ticks(pid), before);
        drop(held);
        assert_ne!(state(pid), 't');
        wait_running(pid);
    }

    #[test]
    fn who_is_held_can_be_killed() {
        let mut child = Killed(Command::new("sleep").arg("600").spawn().unwrap());
        let held = HeldThread::hold(child.0.id() as i32).unwrap();
        child.0.kill().unwrap();
        // Its end is told to its tracer and its parent, both of which we are: one of the two has the status.
        let _ = child.0.wait();
        drop(held);
        assert!(HeldThread::hold(i32::MAX).is_err());
    }
}
