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
    #[expect(clippy::disallowed_methods, reason = "compared with events")]
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

/// For so long after the machine stood still a session may end because of it: the detection time of 10 ms × 3, and one packet's
/// more.
const AFTERMATH: f64 = 0.040;

/// What watchers saw.
#[derive(Debug, Default)]
pub(crate) struct Stillness {
    /// From when to when the machine stood still, in seconds since 1970.
    pub(crate) times: Vec<(f64, f64)>,
    /// The longest that a watcher was late.
    pub(crate) longest: Duration,
}

impl Stillness {
    /// Whether it may be why something happened then.
    pub(crate) fn excuses(&self, time: f64) -> bool {
        self.times.iter().any(|&(from, to)| (from..to + AFTERMATH).contains(&time))
    }
}

/// One thread a core, which is late when nothing runs there.
pub(crate) struct Watcher {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Stillness>>,
}

impl Watcher {
    pub(crate) fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let watch = |core: core_affinity::CoreId| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || {
                assert!(core_affinity::set_for_current(core));
                sys::scheduling::set_realtime(WATCH_PRIORITY).unwrap();
                let mut seen = Stillness::default();
                while !stop.load(Ordering::Relaxed) {
                    let (begin, start) = (now(), Instant::now());
                    thread::sleep(LOOK);
                    let late = start.elapsed().saturating_sub(LOOK);
                    seen.longest = seen.longest.max(late);
                    if late > STILL {
                        seen.times.push((begin, now()));
                    }
                }
                seen
            })
        };
        let threads = core_affinity::get_core_ids().unwrap().into_iter().map(watch).collect();
        Self { stop, threads }
    }

    pub(crate) fn stop(self) -> Stillness {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Stillness::default();
        for thread in self.threads {
            let Stillness { times, longest } = thread.join().unwrap();
            all.times.extend(times);
            all.longest = all.longest.max(longest);
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
