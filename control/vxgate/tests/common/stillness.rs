//! Whether the machine itself stood still, and whom it lets run first.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Above the threads of BFD (40), and below the kernel's interrupt threads.
const WATCH_PRIORITY: i32 = 49;
/// How often watchers look at the clock.
const LOOK: Duration = Duration::from_millis(1);
/// The machine stands still when whoever comes before all others is late by more.
pub(crate) const STILL: Duration = Duration::from_millis(10);

/// Seconds since 1970.
pub(crate) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

/// From when to when the machine stood still, and the longest that a watcher was late.
pub(crate) type Seen = (Vec<(f64, f64)>, Duration);

/// One thread a core, which is late when nothing runs there.
pub(crate) struct Watcher {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Seen>>,
}

impl Watcher {
    pub(crate) fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let watch = |core: core_affinity::CoreId| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                assert!(core_affinity::set_for_current(core));
                sys::scheduling::set_realtime(WATCH_PRIORITY).unwrap();
                let (mut still, mut longest) = (Vec::new(), Duration::ZERO);
                while !stop.load(Ordering::Relaxed) {
                    let (begin, start) = (now(), Instant::now());
                    thread::sleep(LOOK);
                    let late = start.elapsed().saturating_sub(LOOK);
                    longest = longest.max(late);
                    if late > STILL {
                        still.push((begin, now()));
                    }
                }
                (still, longest)
            })
        };
        let threads = core_affinity::get_core_ids().unwrap().into_iter().map(watch).collect();
        Self { stop, threads }
    }

    pub(crate) fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = (Vec::new(), Duration::ZERO);
        for thread in self.threads {
            let (still, longest) = thread.join().unwrap();
            all.0.extend(still);
            all.1 = all.1.max(longest);
        }
        all
    }
}

/// Has the gateway's workers run before ordinary threads, as where they have cores of their own.
pub(crate) fn prefer_workers(pid: u32) {
    for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let task = task.unwrap();
        if fs::read_to_string(task.path().join("comm")).unwrap_or_default().starts_with("worker-") {
            let number = task.file_name().into_string().unwrap();
            assert!(Command::new("chrt").args(["-f", "-p", "10", &number]).status().unwrap().success());
        }
    }
}
