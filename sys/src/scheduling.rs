//! Real-time priority (sched(7)).

use std::io;
use std::mem::zeroed;
use std::time::Duration;

/// Has the calling thread run before all ordinary ones (SCHED_FIFO), until it sleeps. `priority` is from 1 to 99; the
/// kernel's own interrupt threads have 50.
///
/// # Errors
/// `EPERM` without CAP_SYS_NICE or a limit (RLIMIT_RTPRIO) that allows it, or in a control group without real-time
/// budget; `EINVAL` for other priorities.
pub fn set_realtime(priority: i32) -> io::Result<()> {
    // SAFETY: `sched_param` is integers; all zeros is a value of it (musl's has more fields than the one).
    let mut parameters: libc::sched_param = unsafe { zeroed() };
    parameters.sched_priority = priority;
    // SAFETY: 0 is the calling thread; the pointer is to our own value, which is only read.
    let result = unsafe {
        libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &raw const parameters)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// For how long the calling thread has run since it began (CLOCK_THREAD_CPUTIME_ID): what else passed is time in which it slept,
/// was stopped, or had no core.
pub fn own_time() -> Duration {
    // SAFETY: `timespec` is integers; all zeros is a value of it.
    let mut time: libc::timespec = unsafe { zeroed() };
    // SAFETY: the pointer is to our own value. It cannot fail: Linux has this clock, and the pointer is good.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleep_is_no_time_of_ones_own() {
        let times = || {
            std::thread::spawn(|| {
                let before = own_time();
                std::thread::sleep(Duration::from_millis(50));
                let slept = own_time() - before;
                while own_time() - before < Duration::from_millis(5) {}
                slept
            })
        };
        assert!(times().join().unwrap() < Duration::from_millis(50));
    }

    #[test]
    fn the_calling_thread_alone_gets_it() {
        assert_eq!(set_realtime(0).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        let policy = || {
            // SAFETY: no pointers; 0 is the calling thread.
            unsafe { libc::sched_getscheduler(0) & !libc::SCHED_RESET_ON_FORK }
        };
        let got = std::thread::spawn(move || set_realtime(1).map(|()| policy())).join().unwrap();
        match got {
            Ok(policy) => assert_eq!(policy, libc::SCHED_FIFO),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied),
        }
        assert_eq!(policy(), libc::SCHED_OTHER);
    }
}
